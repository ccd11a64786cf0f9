"""The order and the shapes that frozen graphs have in exports."""

from __future__ import annotations

import numpy as np
import pytest

from mexport_pb import messages as mm
from mexport_pb._proto.graph_pb2 import GraphDef, NodeDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.freeze_import import rewrite_as_imported


def graph_of(*nodes):
    return GraphDef(node=[NodeDef(name=name, op=op, input=inputs) for name, op, *inputs in nodes])


def rewritten(graph, before=None):
    rewrite_as_imported(graph, before or GraphDef())
    return " ".join(node.name for node in graph.node)


def shapes_of(node):
    return [mm.shape_to_list(shape) for shape in node.attr["_output_shapes"].list.shape]


@pytest.mark.parametrize(
    ("nodes", "order"),
    [
        ([("b", "Neg", "a"), ("a", "Const")], "a b"),
        ([("c", "Add", "a", "b"), ("b", "Neg", "a"), ("a", "Const"), ("d", "Const")], "a b c d"),
        ([("b", "NoOp", "^a"), ("c", "NoOp"), ("a", "NoOp")], "c a b"),
        ([("b", "Add", "a", "a:1"), ("a", "Split")], "a b"),
        # What lets the merge go comes first, and what it waits for as a loop not at all.
        ([("next", "NextIteration", "body"), ("body", "Neg", "merge"), ("merge", "Merge", "enter", "next"),
          ("enter", "Enter", "c"), ("c", "Const")], "c enter merge body next"),
        ([("merge", "Merge", "enter", "next", "^d"), ("enter", "Enter", "c"), ("next", "NextIteration", "merge"),
          ("c", "Const"), ("d", "NoOp")], "c enter d merge next"),
        # Nothing can import these.
        ([("b", "Neg", "a"), ("a", "Neg", "b"), ("c", "Const")], "b a c"),
        ([("b", "Neg", "a"), ("a", "Merge", "b", "c"), ("c", "Const")], "b a c"),
        ([("b", "Neg", "gone"), ("c", "Const")], "b c"),
        ([], ""),
    ],
)  # fmt: skip
def test_order(nodes, order):
    graph = graph_of(*nodes)
    assert rewritten(graph) == order
    # Again: no change.
    assert rewritten(graph) == order


def test_shapes():
    before = graph_of(("w", "VarHandleOp"), ("read", "ReadVariableOp", "w"), ("y", "Neg", "read"), ("s", "Switch", "w"))
    shape = mm.make_attr_value([[5, -1]], "list(shape)")
    for name in ("w", "read", "y"):
        next(node for node in before.node if node.name == name).attr["_output_shapes"].CopyFrom(shape)
    graph = graph_of(
        ("read", "Identity", "w"),
        ("w", "Const"),
        ("y", "Neg", "read"),
        ("s", "Switch", "w", "read"),
        ("t", "Identity", "s:1"),
        ("u", "Identity", "s:7"),
        ("z", "Const"),
        ("n", "NoOp"),
    )
    graph.node[1].attr["value"].tensor.CopyFrom(mm.make_tensor_proto(np.zeros([5, 2], np.float32)))
    rewrite_as_imported(graph, before)
    got = {node.name: shapes_of(node) for node in graph.node if "_output_shapes" in node.attr}
    assert got == {"w": [[5, 2]], "read": [[5, 2]], "y": [[5, None]], "s": [[5, 2], [5, 2]], "t": [[5, 2]]}
    assert "value" not in graph.node[-1].attr


def test_illegal_inputs_are_refused():
    before = graph_of(("a", "VarHandleOp"))
    before.node[0].attr["_output_shapes"].list.shape.add()
    with pytest.raises(InvalidArgumentError, match=r"got 'a:99.*want node:index"):
        rewrite_as_imported(graph_of(("a", "Const"), ("b", "Identity", "a:" + "9" * 5000)), before)


def test_without_shapes_none_are_added():
    graph = graph_of(("a", "Const"))
    graph.node[0].attr["value"].tensor.CopyFrom(mm.make_tensor_proto(1.0))
    rewrite_as_imported(graph, graph_of(("a", "VarHandleOp")))
    assert "_output_shapes" not in graph.node[0].attr


def test_only_an_empty_library_goes():
    graph = GraphDef()
    graph.library.SetInParent()
    rewrite_as_imported(graph, graph)
    assert not graph.HasField("library")
    graph.library.function.add(signature={"name": "f"})
    rewrite_as_imported(graph, graph)
    assert graph.library.function[0].signature.name == "f"


def test_time_is_linear_in_long_chains():
    graph = graph_of(*((f"n{i}", "Neg", f"n{i - 1}") for i in range(20_000, 0, -1)), ("n0", "Const"))
    assert rewritten(graph).startswith("n0 n1 n2 ")
