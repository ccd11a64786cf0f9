"""A frozen graph as TensorFlow writes it down after an import into a new graph: sorted, and with shapes.

Functions stay as they are. docs/formats/freeze.md says what differs from TensorFlow's result.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Final

from mexport_pb._proto.graph_pb2 import AttrValue, GraphDef, NodeDef
from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb.graph.index import node_of, split_tensor_name

__all__ = ["rewrite_as_imported"]

_SHAPES: Final = "_output_shapes"
_MERGES: Final = frozenset({"Merge", "RefMerge"})
_BACK_EDGES: Final = frozenset({"NextIteration", "RefNextIteration"})

# How many outputs have the first input's shape; those of other ops are as they were before the freezing.
_PASSED_ON: Final = {"Identity": 1, "Enter": 1, "Exit": 1, "Switch": 2}


def rewrite_as_imported(graph_def: GraphDef, before: GraphDef) -> None:
    """Sort the nodes of a frozen graph, and give back the shapes that freezing took. Changes the graph that is given.

    A graph on a cycle that is no loop, which nothing can import, stays as it is.

    Args:
        graph_def: A frozen graph; no two nodes have one name.
        before: The graph that it was made of. If no node of it says its shapes, none is added.

    Raises:
        InvalidArgumentError: an input has no legal name.
    """
    nodes = list(graph_def.node)
    positions = _import_order(nodes)
    if len(positions) < len(nodes):
        return
    graph_def.node.sort(key=lambda node: positions[node.name])
    if not graph_def.library.ByteSize():
        graph_def.ClearField("library")
    known = {node.name: node.attr[_SHAPES] for node in before.node if _SHAPES in node.attr}
    if known:
        _add_shapes(graph_def.node, known)


def _import_order(nodes: Sequence[NodeDef]) -> dict[str, int]:
    """Return the positions: of all nodes whose inputs are there already, the one that was first comes next.

    A merge of a loop does not wait for data, only for control inputs.
    """
    places = {node.name: place for place, node in enumerate(nodes)}
    waiting = []
    readers: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes):
        sources = [places.get(node_of(entry)) for entry in node.input]
        looped = node.op in _MERGES and any(one is not None and nodes[one].op in _BACK_EDGES for one in sources)
        # One more than there are: the first data input to come lets it go.
        controls = sum(entry.startswith("^") for entry in node.input)
        waiting.append(controls + 1 if looped else len(sources))
        for source in sources:
            if source is not None:
                readers[source].append(place)
    ready = [place for place, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    positions: dict[str, int] = {}
    while ready:
        place = heapq.heappop(ready)
        positions[nodes[place].name] = len(positions)
        for reader in readers[place]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    return positions


def _add_shapes(nodes: Sequence[NodeDef], known: Mapping[str, AttrValue]) -> None:
    """Say the shapes of sorted nodes that have none, by the values of constants, their inputs, or ``known``."""
    shapes: dict[str, Sequence[TensorShapeProto]] = {}
    for node in nodes:
        if _SHAPES not in node.attr:
            if node.op == "Const" and "value" in node.attr:
                node.attr[_SHAPES].list.shape.add().CopyFrom(node.attr["value"].tensor.tensor_shape)
            elif node.op in _PASSED_ON and (shape := _shape_of_input(node, shapes)) is not None:
                node.attr[_SHAPES].list.shape.extend([shape] * _PASSED_ON[node.op])
            elif node.name in known:
                node.attr[_SHAPES].CopyFrom(known[node.name])
        if _SHAPES in node.attr:
            shapes[node.name] = node.attr[_SHAPES].list.shape


def _shape_of_input(node: NodeDef, shapes: Mapping[str, Sequence[TensorShapeProto]]) -> TensorShapeProto | None:
    if not node.input or node.input[0].startswith("^"):
        return None
    source, output = split_tensor_name(node.input[0])
    given = shapes.get(source, ())
    return given[output] if output < len(given) else None
