"""How graphs and checkpoints name tables: collections, shared names, files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto
from mexport_pb.errors import InvalidArgumentError

__all__ = [
    "DUMMY_FILTER_PREFIX",
    "DUMMY_SYNC_CLIENT",
    "FILTER_PREFIX",
    "HASH_TABLES_COLLECTION",
    "MULTI_HASH_TABLES_COLLECTION",
    "MULTI_TABLE_PREFIX",
    "PROBABILISTIC_FILTER_PREFIX",
    "SYNC_CLIENT_PREFIX",
    "TABLE_COLLECTIONS",
    "TABLE_PREFIX",
    "check_new_name",
    "file_prefix",
    "share_embedding_number",
    "share_embedding_of",
    "strip_scope",
]

HASH_TABLES_COLLECTION: Final = "monolith_hash_tables"  # bytes_list of HashTableProto
MULTI_HASH_TABLES_COLLECTION: Final = "monolith_multi_hash_tables"  # bytes_list of MultiHashTableProto
TABLE_COLLECTIONS: Final = (HASH_TABLES_COLLECTION, MULTI_HASH_TABLES_COLLECTION)

# Nodes, shared names and files of tables begin with these; the suffix is the caller's.
TABLE_PREFIX: Final = "MonolithHashTable_"
MULTI_TABLE_PREFIX: Final = "MonolithMultiHashTable_"
FILTER_PREFIX: Final = "MonolithHashFilter"
PROBABILISTIC_FILTER_PREFIX: Final = "MonolithProbabilisticFilter"
DUMMY_FILTER_PREFIX: Final = "DummyHashFilter"
DUMMY_SYNC_CLIENT: Final = "MonolithDummySyncClient"
SYNC_CLIENT_PREFIX: Final = "MonolithSyncClient_"


def file_prefix(name: str) -> str:
    """What the files of a table of that name begin with: the name, each ``:`` and ``/`` a ``-``."""
    return name.replace(":", "-").replace("/", "-")


def check_new_name(collection: str, name: str, names: Iterable[str]) -> None:
    """Refuse a table of a name that its collection has, or of which the files would be those of another table.

    Raises:
        InvalidArgumentError: it is taken, or, of several tables, cannot be a file's.
    """
    several = collection == MULTI_HASH_TABLES_COLLECTION
    if several and "/" in name:
        raise InvalidArgumentError(f"shared_name {name}: want the name of a file, without '/'")
    for other in names:
        if other == name:
            raise InvalidArgumentError(f"shared_name {name} has already been used in the collection {collection!r}")
        if not several and file_prefix(other) == file_prefix(name):
            raise InvalidArgumentError(f"shared_name {name}: its files {file_prefix(name)} would be those of {other}")


def strip_scope(name: str, scope: str | None) -> str:
    """A name relative to a scope; a name of another scope as it is."""
    return name.removeprefix(f"{scope.rstrip('/')}/") if scope else name


def share_embedding_number(share: bool | None) -> HashTableProto.OptionalBool:
    """A table's own setting as HashTableProto has it."""
    if share is None:
        return HashTableProto.kBoolNone
    return HashTableProto.kTrue if share else HashTableProto.kFalse


def share_embedding_of(proto: HashTableProto) -> bool | None:
    """A table's own setting: whether an export reads it from the checkpoint; None leaves it to the exporter."""
    return {HashTableProto.kTrue: True, HashTableProto.kFalse: False}.get(proto.export_share_embedding)
