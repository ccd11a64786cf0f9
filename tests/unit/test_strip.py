"""Op lists, default attributes and devices, without TensorFlow; parity compares with its results."""

from __future__ import annotations

import pytest

from mexport_pb._proto.graph_pb2 import FunctionDef, OpDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import GraphBuilder, clear_devices, op_list, strip_default_attrs


def graph() -> GraphBuilder:
    g = GraphBuilder()
    with g.device("/job:ps"):
        y = g.matmul(g.placeholder("float32", [2, 2]), g.ones([2, 2]))
    body = FunctionDef(signature=OpDef(name="f"))
    inner = body.node_def.add(name="n", op="MatMul", device="/job:ps")
    inner.attr["transpose_a"].b = False
    inner.attr["transpose_b"].b = True
    body.node_def.add(name="m", op="Tanh")
    g.add_function(body)
    g.op("f", [y], dtypes=["float32"], attrs={"transpose_a": False})
    g.op("Mine", [y], dtypes=["float32"], attrs={"transpose_a": False, "k": 5})
    return g


def test_lists_ops_of_called_functions_and_not_unknown_ones():
    assert [op.name for op in op_list(graph().to_graph_def()).op] == ["Const", "MatMul", "Placeholder", "Tanh"]
    mine = OpDef(name="Mine")
    assert "Mine" in [op.name for op in op_list(graph().to_meta_graph(), [mine]).op]


def test_a_meta_graphs_own_list_comes_before_the_table():
    meta = graph().to_meta_graph()
    own = meta.meta_info_def.stripped_op_list
    own.op.append(OpDef(name="Mine"))
    next(op for op in own.op if op.name == "Tanh").is_stateful = True
    got = op_list(meta)
    assert next(op for op in got.op if op.name == "Tanh").is_stateful
    assert "Mine" in [op.name for op in got.op]


def test_only_equal_defaults_of_known_ops_go():
    meta = graph().to_meta_graph()
    before = meta.SerializeToString(deterministic=True)
    got = strip_default_attrs(meta)
    assert meta.SerializeToString(deterministic=True) == before
    nodes = {node.op: node for node in got.graph_def.node}
    assert set(nodes["MatMul"].attr) == {"T", "_output_shapes"}
    assert "transpose_a" in nodes["f"].attr
    assert {"transpose_a", "k"} <= set(nodes["Mine"].attr)
    inner = got.graph_def.library.function[0].node_def[0]
    assert set(inner.attr) == {"transpose_b"}
    assert got.meta_info_def.stripped_default_attrs
    mine = OpDef(name="Mine")
    mine.attr.add(name="k", type="int").default_value.i = 5
    assert "k" not in {n.op: n for n in strip_default_attrs(meta, [mine]).graph_def.node}["Mine"].attr


def test_devices_of_nodes_go_and_those_in_functions_stay():
    meta = graph().to_meta_graph()
    got = clear_devices(meta)
    assert not any(node.device for node in got.graph_def.node)
    assert any(node.device for node in meta.graph_def.node)
    assert got.graph_def.library.function[0].node_def[0].device == "/job:ps"


@pytest.mark.parametrize("function", [strip_default_attrs, clear_devices, op_list])
def test_other_messages_are_refused(function):
    with pytest.raises(InvalidArgumentError, match="wrong kind of message"):
        function(OpDef())
