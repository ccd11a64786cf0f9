"""The main op: the one operation that a loader runs after it restored the variables."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.builder import GraphBuilder
from mexport_pb.graph.graph_variables import variable_defs
from mexport_pb.graph.index import NodeIndex, node_of
from mexport_pb.graph.names import taken_names
from mexport_pb.graph.strip import refresh_op_list
from mexport_pb.messages import make_node_list, to_message
from mexport_pb.messages.constants import (
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    LOCAL_VARIABLES_COLLECTION,
    MAIN_OP_COLLECTION,
    TABLE_INITIALIZERS_COLLECTION,
)

__all__ = ["add_main_op", "main_op_keys", "set_main_op", "table_initializers"]

_GROUP = "group_deps"


def add_main_op(
    meta_graph: Message,
    operations: Iterable[str] = (),
    *,
    name: str = _GROUP,
    names_in_use: Iterable[str] | None = None,
) -> MetaGraphDef:
    """Return a copy with a main op: a NoOp, named in the collection ``saved_model_main_op``.

    It runs ``operations``, and the initializers of lookup tables (collection ``table_initializer``) and of local
    variables, without which a served model fails at its first request. A main op that the graph has already (also as
    ``legacy_init_op``, or as a signature) stays the main op when there are no ``operations``.

    The nodes are those of ``tf.group(*operations)``: one NoOp on the operations' device, or, where they are on several,
    one for each device and another that waits for these.

    Args:
        meta_graph: A MetaGraphDef.
        operations: Names of further operations to run.
        name: Of the new node, made unique.
        names_in_use: As for :func:`~mexport_pb.graph.saver.add_saver`.

    Raises:
        InvalidArgumentError: the graph has a main op and ``operations`` were given, or an operation is not there.
        SavedModelError: the collection ``local_variables`` is damaged.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    wanted = list(operations)
    if present := main_op_keys(copy):
        if wanted:
            raise InvalidArgumentError(f"the graph has a main op already ({present[0]!r})")
        return copy
    local = variable_defs(copy, LOCAL_VARIABLES_COLLECTION) or []
    wanted += [node_of(definition.initializer_name) for definition in local]
    wanted += table_initializers(copy)
    index = NodeIndex(copy.graph_def.node)
    graph = GraphBuilder(names_in_use=taken_names(index.nodes, names_in_use))
    main_op = graph.group(*(graph.refer_to(index.get(one), (), ()) for one in wanted), name=name)
    copy.graph_def.node.extend(graph.to_graph_def().node)
    copy.collection_def[MAIN_OP_COLLECTION].CopyFrom(make_node_list([main_op.name]))
    refresh_op_list(copy)
    return copy


def set_main_op(meta_graph: Message, operation: str) -> MetaGraphDef:
    """Return a copy whose main op is an operation that the graph has.

    Args:
        meta_graph: A MetaGraphDef without a main op.
        operation: The operation's name.

    Raises:
        InvalidArgumentError: the graph has a main op, or no such operation.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    if present := main_op_keys(copy):
        raise InvalidArgumentError(f"the graph has a main op already ({present[0]!r})")
    node = NodeIndex(copy.graph_def.node).get(operation)
    copy.collection_def[MAIN_OP_COLLECTION].CopyFrom(make_node_list([node.name]))
    return copy


def main_op_keys(meta_graph: MetaGraphDef) -> list[str]:
    """Return where the graph names a main op: collections, and the key of a signature."""
    collections = (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION)
    present = [key for key in collections if key in meta_graph.collection_def]
    return present + [INIT_OP_SIGNATURE] * (INIT_OP_SIGNATURE in meta_graph.signature_def)


def table_initializers(meta_graph: MetaGraphDef) -> list[str]:
    """Return the operations that fill lookup tables, by the collection ``table_initializer``."""
    if TABLE_INITIALIZERS_COLLECTION not in meta_graph.collection_def:
        return []
    return [node_of(name) for name in meta_graph.collection_def[TABLE_INITIALIZERS_COLLECTION].node_list.value]
