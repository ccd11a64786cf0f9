"""The main op: the one operation that a loader runs after it restored the variables."""

from __future__ import annotations

from collections.abc import Iterable

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.names import NameStack
from mexport_pb.messages import make_node_def, make_node_list
from mexport_pb.messages.constants import (
    LEGACY_INIT_OP_COLLECTION,
    MAIN_OP_COLLECTION,
    TABLE_INITIALIZERS_COLLECTION,
)

__all__ = ["add_main_op"]

_NAME = "init"


def add_main_op(meta_graph: MetaGraphDef, operations: Iterable[str] = ()) -> MetaGraphDef:
    """Adds a NoOp that runs ``operations`` and the graph's table initializers, and makes it the main op.

    The initializers of the collection ``table_initializer`` fill lookup tables, without which a served model fails at
    its first request. A main op that the graph has already (also under the older name ``legacy_init_op``) stays the
    main op when there are no ``operations``.

    Args:
        meta_graph: The graph; it is not changed.
        operations: Names of further operations to run.

    Returns:
        The graph with a main op.

    Raises:
        InvalidArgumentError: The graph has a main op already, and ``operations`` were given.
    """
    result = MetaGraphDef()
    result.CopyFrom(meta_graph)
    wanted = list(operations)
    present = [k for k in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION) if k in result.collection_def]
    if present:
        if wanted:
            raise InvalidArgumentError(f"the graph has a main op already (collection {present[0]!r})")
        return result
    if TABLE_INITIALIZERS_COLLECTION in result.collection_def:
        wanted += result.collection_def[TABLE_INITIALIZERS_COLLECTION].node_list.value
    names = NameStack(node.name for node in result.graph_def.node)
    # Sorted by bytes, as every list of control inputs is.
    controls = sorted({f"^{name}" for name in wanted}, key=lambda name: name.encode())
    node = make_node_def("NoOp", names.unique(_NAME), controls)
    result.graph_def.node.append(node)
    result.collection_def[MAIN_OP_COLLECTION].CopyFrom(make_node_list([node.name]))
    return result
