"""The tables of a meta graph, read from its collections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto, MultiHashTableProto
from mexport_pb._proto.hash_table_pb2 import (
    EmbeddingHashTableConfig,
    EntryConfig,
    MultiEmbeddingHashTableConfig,
    SlotExpireTimeConfig,
)
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import MexportError, MismatchError, SavedModelError
from mexport_pb.graph.index import NodeIndex, node_of, split_tensor_name
from mexport_pb.graph.prune_tables import parse_table_entry
from mexport_pb.messages import parse
from mexport_pb.table.collections import (
    HASH_TABLES_COLLECTION,
    MULTI_HASH_TABLES_COLLECTION,
    file_prefix,
    share_embedding_of,
)
from mexport_pb.table.expiry import expire_days
from mexport_pb.table.graph_config import dim_of

__all__ = ["GraphTable", "graph_tables", "has_tables", "multi_tables", "single_tables"]

_HANDLES = frozenset({"MonolithHashTable"})
_MULTI_HANDLES = frozenset({"ReadMonolithMultiHashTable", "CreateMonolithMultiHashTable"})
_MAX_CHAIN = 64
# What a file system takes as a name, less the suffix "-00000-of-00001" and ".meta".
_MAX_PREFIX_BYTES = 255 - 20


@dataclass(frozen=True)
class GraphTable:
    """An entry of one of the collections of tables.

    Attributes:
        name: The shared name.
        handle: The tensor that is the handle.
        initializer: The operation that makes the tables, of many; None for a single one.
        dims: The floats of a vector, by table: the one of the shared name, or many in their order.
        prefixes: What the table's files in a checkpoint may begin with, the present name first.
        expire: After how many days entries are left out of dumps.
        share_embedding: The table's own word on being read from the checkpoint; None leaves it to the exporter.
        serving: Whether the table is configured for serving; None where the graph's constants do not say.
        one_bit: The tables (of ``dims``) that decode zeros as something else.
    """

    name: str
    handle: str
    initializer: str | None
    dims: dict[str, int]
    prefixes: tuple[str, ...]
    expire: SlotExpireTimeConfig
    share_embedding: bool | None
    serving: bool | None
    one_bit: frozenset[str]

    @property
    def is_multi(self) -> bool:
        """Whether it stands for many tables in one set of files."""
        return self.initializer is not None


def has_tables(meta_graph: MetaGraphDef) -> bool:
    """Whether the graph has a collection of tables."""
    return any(key in meta_graph.collection_def for key in (HASH_TABLES_COLLECTION, MULTI_HASH_TABLES_COLLECTION))


def graph_tables(meta_graph: MetaGraphDef) -> list[GraphTable]:
    """Return all tables, the many-table ones first, as exporters restore them.

    Raises:
        SavedModelError: an entry of a collection is damaged, or names what is not in the graph.
        MismatchError: an entry and the node's configuration have different dimensions.
    """
    index = NodeIndex(meta_graph.graph_def.node)
    return [*multi_tables(meta_graph, index), *single_tables(meta_graph, index)]


def single_tables(meta_graph: MetaGraphDef, index: NodeIndex) -> list[GraphTable]:
    """Return the tables of the collection ``monolith_hash_tables``; errors as of :func:`graph_tables`."""
    found: list[GraphTable] = []
    for where, proto in _entries(meta_graph, HASH_TABLES_COLLECTION, HashTableProto):
        name = _text(where, "shared_name", proto.shared_name)
        node = _handle_node(where, "table_tensor", proto.table_tensor, index, _HANDLES)
        extras = [_text(where, "extra_restore_names", extra) for extra in proto.extra_restore_names]
        configs = _single_config(where, node)
        found.append(
            GraphTable(
                name,
                proto.table_tensor,
                None,
                _dims(where, {name: proto.dim_size}, configs),
                tuple(_prefix(where, file_prefix(one)) for one in (name, *extras)),
                _expire(where, proto.slot_expire_time_config),
                share_embedding_of(proto),
                _is_serving(configs),
                _one_bit([name], configs),
            )
        )
    return _unique(HASH_TABLES_COLLECTION, found)


def multi_tables(meta_graph: MetaGraphDef, index: NodeIndex) -> list[GraphTable]:
    """Return the tables of the collection ``monolith_multi_hash_tables``; errors as of :func:`graph_tables`."""
    found: list[GraphTable] = []
    for where, proto in _entries(meta_graph, MULTI_HASH_TABLES_COLLECTION, MultiHashTableProto):
        name = _text(where, "shared_name", proto.shared_name)
        _handle_node(where, "handle_tensor", proto.handle_tensor, index, _MULTI_HANDLES)
        creator = index.nodes.get(proto.initializer_op)
        if creator is None or creator.op != "CreateMonolithMultiHashTable":
            raise SavedModelError(f"{where}: initializer_op {proto.initializer_op!r}: want an operation that makes it")
        names = [_text(where, "table_names", one) for one in proto.table_names]
        if len(names) != len(proto.dims) or len(set(names)) != len(names) or not names:
            raise SavedModelError(
                f"{where}: got {len(names)} table_names, {len(proto.dims)} dims, want as many, each once"
            )
        configs = _multi_config(where, creator, index, names)
        found.append(
            GraphTable(
                name,
                proto.handle_tensor,
                creator.name,
                _dims(where, dict(zip(names, proto.dims, strict=True)), configs),
                (_prefix(where, name),),
                _expire(where, proto.slot_expire_time_config),
                None,
                _is_serving(configs),
                _one_bit(names, configs),
            )
        )
    return _unique(MULTI_HASH_TABLES_COLLECTION, found)


def _entries(meta_graph: MetaGraphDef, key: str, cls: Any) -> list[tuple[str, Any]]:
    if key not in meta_graph.collection_def:
        return []
    collection = meta_graph.collection_def[key]
    kind = collection.WhichOneof("kind")
    if kind not in ("bytes_list", None):
        raise SavedModelError(f"collection {key!r}: got a {kind}, want a bytes_list of {cls.DESCRIPTOR.name}")
    found = []
    for position, data in enumerate(collection.bytes_list.value):
        where = f"collection {key!r} element {position}"
        found.append((where, parse_table_entry(cls, data, where)))
    return found


def _text(where: str, field: str, value: str) -> str:
    if value and value.isprintable():
        return value
    raise SavedModelError(f"{where}: {field}: got {value!r}, want a name")


def _prefix(where: str, prefix: str) -> str:
    if "/" in prefix:
        raise SavedModelError(f"{where}: got the name {prefix!r} of files, want one component without '/'")
    if len(prefix.encode()) > _MAX_PREFIX_BYTES:
        raise SavedModelError(f"{where}: a name of files of {len(prefix.encode())} bytes, want {_MAX_PREFIX_BYTES}")
    return prefix


def _handle_node(where: str, field: str, tensor: str, index: NodeIndex, ops: frozenset[str]) -> NodeDef:
    try:
        name, output = split_tensor_name(tensor)
    except MexportError as error:
        raise SavedModelError(f"{where}: {field}: {error}") from error
    node = index.nodes.get(name)
    for _ in range(_MAX_CHAIN):
        if node is None or node.op != "Identity" or not node.input:
            break
        node = index.nodes.get(node_of(node.input[0]))
    if node is None or output != 0 or node.op not in ops:
        got = "nothing in the graph" if node is None else f"output {output} of a {node.op}"
        raise SavedModelError(f"{where}: {field} {tensor!r}: got {got}, want the handle of a {sorted(ops)[-1]}")
    return node


def _single_config(where: str, node: NodeDef) -> list[EmbeddingHashTableConfig]:
    if "config" not in node.attr:
        raise SavedModelError(f"{where}: node {node.name!r} has no attribute 'config'")
    return [_parse_config(where, EmbeddingHashTableConfig, node.attr["config"].s)]


def _multi_config(
    where: str, creator: NodeDef, index: NodeIndex, names: list[str]
) -> list[EmbeddingHashTableConfig] | None:
    source = index.nodes.get(node_of(creator.input[0])) if creator.input else None
    if source is None or source.op != "Const" or len(source.attr["value"].tensor.string_val) != 1:
        return None
    multi = _parse_config(where, MultiEmbeddingHashTableConfig, source.attr["value"].tensor.string_val[0])
    if list(multi.names) != names or len(multi.configs) != len(names):
        raise MismatchError(f"{where}: got tables {names}, but the graph makes {list(multi.names)}")
    return list(multi.configs)


def _parse_config(where: str, cls: Any, data: bytes) -> Any:
    try:
        return parse(cls, data)
    except MexportError as error:
        raise SavedModelError(f"{where}: the table's configuration: {error}") from error


def _expire(where: str, data: bytes) -> SlotExpireTimeConfig:
    try:
        config = parse(SlotExpireTimeConfig, data)
        expire_days(config)
    except MexportError as error:
        raise SavedModelError(f"{where}: slot_expire_time_config: {error}") from error
    return config


def _dims(where: str, dims: dict[str, int], configs: list[EmbeddingHashTableConfig] | None) -> dict[str, int]:
    for position, (name, dim) in enumerate(dims.items()):
        if dim < 1:
            raise SavedModelError(f"{where}: table {name!r}: got {dim} dimensions, want at least 1")
        if configs is not None and dim_of(configs[position]) != dim:
            raise MismatchError(
                f"{where}: table {name!r}: got {dim} dimensions, but its configuration has {dim_of(configs[position])}"
            )
    return dims


def _is_serving(configs: list[EmbeddingHashTableConfig] | None) -> bool | None:
    return None if configs is None else all(one.entry_config.entry_type == EntryConfig.SERVING for one in configs)


def _one_bit(names: list[str], configs: list[EmbeddingHashTableConfig] | None) -> frozenset[str]:
    if configs is None:
        return frozenset(names)
    return frozenset(
        name
        for name, config in zip(names, configs, strict=True)
        if any(one.comp_config.WhichOneof("type") == "one_bit" for one in config.entry_config.segments)
    )


def _unique(key: str, tables: list[GraphTable]) -> list[GraphTable]:
    by_prefix: dict[str, str] = {}
    for table in tables:
        other = by_prefix.get(table.prefixes[0])
        if other == table.name:
            raise SavedModelError(f"collection {key!r}: the shared_name {table.name!r} comes twice")
        if other is not None:
            # One of them was saved over the other.
            raise SavedModelError(
                f"collection {key!r}: the shared_names {other!r} and {table.name!r} have the same files"
            )
        by_prefix[table.prefixes[0]] = table.name
    return tables
