"""Embedding tables while a graph is cut down: what each needs, and which are left."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, TypeVar

from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto, MultiHashTableProto
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import SavedModelError
from mexport_pb.graph.index import node_of
from mexport_pb.messages import parse

__all__ = ["keep_tables", "parse_table_entry", "table_needs"]

_SINGLE: Final = "monolith_hash_tables"
_MULTI: Final = "monolith_multi_hash_tables"

M = TypeVar("M", HashTableProto, MultiHashTableProto)


def parse_table_entry(cls: type[M], data: bytes, where: str) -> M:
    """Return the message of an entry of a collection of tables.

    Args:
        cls: HashTableProto or MultiHashTableProto.
        data: Its bytes.
        where: The entry, for errors.

    Raises:
        SavedModelError: the bytes are none, or hold text that is not UTF-8.
    """
    try:
        message = parse(cls, data)
    except SavedModelError as error:
        raise SavedModelError(f"{where}: {error}") from error
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            for one in [value] if isinstance(value, str | bytes) else value:
                # The runtime hands out bytes, or surrogates, for text that is none.
                if not isinstance(one, str) or not _is_utf8(one):
                    raise SavedModelError(f"{where}: {field.name}: got {one!r}, want UTF-8")
    return message


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def table_needs(meta_graph: MetaGraphDef) -> list[tuple[str, list[str]]]:
    """Return the node of each table's handle, and what must stay with it: what makes it, and its learning rates.

    The rates are named by the collection, which Monolith's loaders look up.

    Raises:
        SavedModelError: a collection is damaged.
    """
    return [(handle, needs) for key in (_SINGLE, _MULTI) for _, handle, needs in _entries(meta_graph, key)]


def keep_tables(meta_graph: MetaGraphDef, present: Collection[str]) -> None:
    """Drop the tables of which a node is gone from the collections. Changes the message that is given.

    Raises:
        SavedModelError: a collection is damaged.
    """
    for key in (_SINGLE, _MULTI):
        if key not in meta_graph.collection_def:
            continue
        left = [
            data
            for data, handle, needs in _entries(meta_graph, key)
            if handle in present and all(node_of(name) in present for name in needs)
        ]
        if left:
            values = meta_graph.collection_def[key].bytes_list.value
            del values[:]
            values.extend(left)
        else:
            del meta_graph.collection_def[key]


def _entries(meta_graph: MetaGraphDef, key: str) -> Iterator[tuple[bytes, str, list[str]]]:
    if key not in meta_graph.collection_def:
        return
    for position, data in enumerate(meta_graph.collection_def[key].bytes_list.value):
        where = f"collection {key!r} element {position}"
        if key == _SINGLE:
            single = parse_table_entry(HashTableProto, data, where)
            handle, needs = single.table_tensor, [single.learning_rate_tensor]
        else:
            multi = parse_table_entry(MultiHashTableProto, data, where)
            handle, needs = multi.handle_tensor, [multi.initializer_op, multi.learning_rate_tensor]
        yield data, node_of(handle), [name for name in needs if name]
