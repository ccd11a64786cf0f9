"""Under which key of a checkpoint each variable of a graph is found."""

from __future__ import annotations

from collections.abc import Iterable

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph.graph_variables import VARIABLE_OPS, find_variables
from mexport_pb.graph.index import NodeIndex, attr_dtype, attr_shape
from mexport_pb.graph.save_plan import SaveItem, restored_variables
from mexport_pb.graph.slices import full_shape_of
from mexport_pb.messages.constants import VARIABLES_COLLECTION

__all__ = ["frozen_variables"]


def frozen_variables(meta_graph: MetaGraphDef, index: NodeIndex, nodes: Iterable[NodeDef]) -> dict[str, SaveItem]:
    """Return what to read for each variable, by the name of its node.

    The collection ``variables`` says it, or else the graph's saver. A variable that neither knows shares the key of one
    with the same container and shared name, or has its own name as its key.

    Raises:
        InvalidArgumentError: a variable has no dtype, or the collection or the saver names nodes that are not there.
        SavedModelError: the collection is damaged.
    """
    known = {name: (item.key, item.shape_and_slice) for name, item in restored_variables(meta_graph).items()}
    if VARIABLES_COLLECTION in meta_graph.collection_def:
        for variable in find_variables(meta_graph, index):
            known[variable.name] = variable.key, variable.shape_and_slice
    shared = {
        _identity(index.nodes[name]): place for name, place in known.items() if index.nodes[name].op in VARIABLE_OPS
    }
    items = {}
    for node in nodes:
        key, part = known.get(node.name) or shared.get(_identity(node)) or (node.name, "")
        shape = full_shape_of(part, attr_shape(node, "shape"))
        items[node.name] = SaveItem(key, part, attr_dtype(node, "dtype"), shape)
    return items


def _identity(node: NodeDef) -> tuple[str, bytes, bytes]:
    """Return what two nodes of one variable have in common."""
    container = node.attr["container"].s if "container" in node.attr else b""
    shared_name = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    return node.op, container, shared_name or node.name.encode()
