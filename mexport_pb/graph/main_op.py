"""The operation that a loader runs once after the restore."""

from __future__ import annotations

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph.builder import GraphBuilder
from mexport_pb.graph.graph_variables import variable_defs
from mexport_pb.graph.index import NodeIndex, node_of
from mexport_pb.graph.names import names_and_scopes
from mexport_pb.graph.op_defs import OpDefs
from mexport_pb.graph.strip import refresh_op_list, strip_nodes
from mexport_pb.messages import make_node_list, to_message
from mexport_pb.messages.constants import (
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    LOCAL_VARIABLES_COLLECTION,
    MAIN_OP_COLLECTION,
    TABLE_INITIALIZERS_COLLECTION,
)

__all__ = ["add_main_op", "table_initializers"]

_NAME = "init_all_tables"


def add_main_op(meta_graph: Message) -> MetaGraphDef:
    """Return a copy that initialises its lookup tables and local variables when it is loaded.

    The new operation, "init_all_tables", is in the collection ``saved_model_main_op``. A graph that has a main op (in
    that collection, in ``legacy_init_op`` or as a signature), or nothing to initialise, stays as it is.

    Args:
        meta_graph: A MetaGraphDef. Its tables' initializers are in the collection ``table_initializer``.

    Raises:
        InvalidArgumentError: an initializer is not in the graph.
        SavedModelError: the collection ``local_variables`` is damaged.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    present = (MAIN_OP_COLLECTION in copy.collection_def, LEGACY_INIT_OP_COLLECTION in copy.collection_def)
    names = _initializers(copy)
    if any(present) or INIT_OP_SIGNATURE in copy.signature_def or not names:
        return copy
    index = NodeIndex(copy.graph_def.node)
    graph = GraphBuilder(names_in_use=names_and_scopes(index.nodes))
    main_op = graph.group(*(graph.refer_to(index.get(name), (), ()) for name in names), name=_NAME)
    nodes = graph.to_graph_def().node
    if copy.meta_info_def.stripped_default_attrs:
        strip_nodes(nodes, OpDefs())
    copy.graph_def.node.extend(nodes)
    copy.collection_def[MAIN_OP_COLLECTION].CopyFrom(make_node_list([main_op.name]))
    refresh_op_list(copy)
    return copy


def _initializers(meta_graph: MetaGraphDef) -> list[str]:
    local = variable_defs(meta_graph, LOCAL_VARIABLES_COLLECTION) or []
    names = [node_of(definition.initializer_name) for definition in local]
    return list(dict.fromkeys([*names, *table_initializers(meta_graph)]))


def table_initializers(meta_graph: MetaGraphDef) -> list[str]:
    """Return the operations that fill lookup tables, by the collection ``table_initializer``."""
    if TABLE_INITIALIZERS_COLLECTION not in meta_graph.collection_def:
        return []
    return [node_of(name) for name in meta_graph.collection_def[TABLE_INITIALIZERS_COLLECTION].node_list.value]
