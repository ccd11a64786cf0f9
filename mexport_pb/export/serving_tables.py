"""Tables of a training job's graph as an exporting model_fn would have built them."""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.hash_table_pb2 import (
    EmbeddingHashTableConfig,
    EntryConfig,
    MultiEmbeddingHashTableConfig,
)
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import SavedModelError
from mexport_pb.graph.index import node_of
from mexport_pb.graph.strip import refresh_op_list
from mexport_pb.messages import parse, serialize, to_message

__all__ = ["make_tables_serve"]

# Their stand-ins take no more attributes than this.
_STAND_INS: Final = {
    "MonolithHashFilter": "MonolithDummyHashFilter",
    "MonolithProbabilisticFilter": "MonolithDummyHashFilter",
    "MonolithParameterSyncClient": "MonolithDummySyncClient",
}
_KEPT_ATTRS: Final = frozenset({"container", "shared_name"})

M = TypeVar("M", EmbeddingHashTableConfig, MultiEmbeddingHashTableConfig)


def make_tables_serve(meta_graph: Message) -> MetaGraphDef:
    """Return a copy in which the tables are for serving: without optimizers, filters and pushing of updates.

    A table of which a segment has no compression cannot be, and stays for training.

    Args:
        meta_graph: A MetaGraphDef.

    Raises:
        SavedModelError: a table's configuration is damaged.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    nodes = {node.name: node for node in copy.graph_def.node}
    for node in copy.graph_def.node:
        if node.op == "MonolithHashTable" and "config" in node.attr:
            config = _parse(EmbeddingHashTableConfig, node, node.attr["config"].s)
            if _serve(config):
                node.attr["config"].s = serialize(config)
        elif node.op == "CreateMonolithMultiHashTable" and node.input:
            _serve_many(node, nodes.get(node_of(node.input[0])))
        elif node.op in _STAND_INS:
            node.op = _STAND_INS[node.op]
            for name in [name for name in node.attr if name not in _KEPT_ATTRS and not name.startswith("_")]:
                del node.attr[name]
    refresh_op_list(copy)
    return copy


def _serve_many(creator: NodeDef, source: NodeDef | None) -> None:
    if source is None or source.op != "Const" or len(source.attr["value"].tensor.string_val) != 1:
        return
    value = source.attr["value"].tensor
    multi = _parse(MultiEmbeddingHashTableConfig, creator, value.string_val[0])
    # One kind for all: a save or a push to some of them only would be refused for all.
    if all(_has_compression(config) for config in multi.configs):
        for config in multi.configs:
            _serve(config)
        value.string_val[0] = serialize(multi)


def _serve(config: EmbeddingHashTableConfig) -> bool:
    if not _has_compression(config):
        return False
    config.entry_config.entry_type = EntryConfig.SERVING
    return True


def _has_compression(config: EmbeddingHashTableConfig) -> bool:
    return all(segment.comp_config.WhichOneof("type") is not None for segment in config.entry_config.segments)


def _parse(cls: type[M], node: NodeDef, data: bytes) -> M:
    try:
        return parse(cls, data)
    except SavedModelError as error:
        raise SavedModelError(f"node {node.name!r}: {error}") from error
