"""What a GraphBuilder refuses, and what it offers beside the nodes that the parity tests compare."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mexport_pb._proto.graph_pb2 import AttrValue, FunctionDef, OpDef
from mexport_pb.bundle import parse_shape_and_slice
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import GraphBuilder, SaveSlice, get_default_graph, has_default_graph
from mexport_pb.messages import make_tensor_info, tensor_proto_to_array


@pytest.fixture
def g() -> GraphBuilder:
    return GraphBuilder()


def refuses(what: str):
    return pytest.raises(InvalidArgumentError, match=what)


def test_default_graphs_nest_and_belong_to_a_thread(g):
    assert not has_default_graph()
    with refuses("no default graph"):
        get_default_graph()
    other = GraphBuilder()
    seen = []
    with g.as_default() as entered:
        assert entered is get_default_graph() is g
        with other.as_default():
            assert get_default_graph() is other
        thread = threading.Thread(target=lambda: seen.append(has_default_graph()))
        thread.start()
        thread.join()
        assert get_default_graph() is g
    assert seen == [False]
    assert not has_default_graph()


def test_tensors_describe_themselves(g):
    x = g.placeholder("float32", [None, 3], name="x")
    assert (x.name, x.input_name, x.dtype, x.shape, x.device, x.graph) == ("x:0", "x", 1, [None, 3], "", g)
    x.shape.append(7)
    assert x.shape == [None, 3]
    assert g.placeholder("int64").shape is None
    parts = g.split(x, 3, axis=1)
    assert [part.name for part in parts] == ["split:0", "split:1", "split:2"]
    assert parts[1].input_name == "split:1"
    assert g.get_tensor("split:2") is parts[2]
    assert g.get_tensor("x") is x
    assert g.get_operation("x") is x.op
    info = make_tensor_info(x)
    assert (info.name, info.dtype) == ("x:0", 1)
    assert repr(x) == "<Tensor 'x:0' shape=[None, 3] dtype=float32>"
    for name in ("y", "x:1", "x:a", "split:3"):
        with refuses("no operation|no tensor|not a tensor"):
            g.get_tensor(name)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda g, x: g.op("MatMul", [x]), r"MatMul: got 1 inputs, want 2 \(a, b\)"),
        (lambda g, x: g.op("MatMul", [x, g.const(1)]), r"MatMul: input 'b' \(Const:0\): got int32, want float32"),
        (lambda g, x: g.matmul(x, [[1.0], [2.0]]), "inner sizes of a product: got 3 and 2"),
        (lambda g, x: g.op("MatMul", [x, x], attrs={"adj_x": True}), "MatMul has no attribute 'adj_x'"),
        (lambda g, x: g.op("MatMul", [x, x], attrs={"transpose_a": 1}), "MatMul: attribute 'transpose_a'"),
        (lambda g, x: g.op("Relu", [g.const("a")]), "attribute 'T': got string, want one of float32"),
        (lambda g, x: g.op("StringToHashBucketFast", ["a"]), "attribute 'num_buckets' is missing"),
        (lambda g, x: g.op("StringToHashBucketFast", ["a"], attrs={"num_buckets": 0}), "got 0, want >= 1"),
        (lambda g, x: g.squeeze(x, 1), "got size 3, want 1"),
        (lambda g, x: g.op("ConcatV2", [[x], 0]), "attribute 'N': got 1, want >= 2"),
        (lambda g, x: g.op("ConcatV2", [x, 0]), "input 'values': got .*, want a list"),
        (lambda g, x: g.op("AddN", [[x, x]], attrs={"N": 3}), "got 2 tensors, want 3 as attribute 'N' says"),
        (lambda g, x: g.op("IdentityN", [[x]], attrs={"T": ["int32", "int32"]}), "got 1 tensors, want 2"),
        (lambda g, x: g.op("Mine", [x]), "Mine: an op without a known signature needs dtypes"),
        (lambda g, x: g.op("Mine", [x], dtypes=["float32"], attrs={"a": []}), "an empty list without a type"),
        (lambda g, x: g.op("Mine", [x], dtypes=["float32"], shapes=[[], []]), "got 2 shapes, want 1"),
        (lambda g, x: g.op("Relu", [x], dtypes=["int32"]), "Relu: outputs are of types"),
        (lambda g, x: g.op("Assign", [x, x]), "got a value, want a ref variable"),
        (lambda g, x: g.add(x, "a"), "cannot make float32"),
        (lambda g, x: g.add(x, np.ones([2])), "shapes of operands: got .None, 3. and .2."),
        (lambda g, x: g.add(x, GraphBuilder().const(1.0)), "belongs to another graph"),
        (lambda g, x: g.concat([x, g.const(1.0)], 0), "different ranks"),
        (lambda g, x: g.concat([x, x], 2), "axis of a tensor of rank 2: got 2"),
        (lambda g, x: g.stack([x, g.ones([2, 2])]), "shapes of equal tensors"),
        (lambda g, x: g.unstack(x), "has no known size, want num"),
        (lambda g, x: g.unstack(x, num=2, axis=1), "got size 3, want 2"),
        (lambda g, x: g.transpose(g.placeholder("float32")), "its rank is unknown, want perm"),
        (lambda g, x: g.transpose(x, [0, 0]), "order of the axes of a tensor of rank 2: got .0, 0."),
        (lambda g, x: g.reduce_sum(x, 2), "axis of a tensor of rank 2: got 2"),
        (lambda g, x: g.reshape(g.ones([6]), [4, -1]), "reshape of 6 elements"),
        (lambda g, x: g.reshape(g.ones([6]), [7]), "reshape of 6 elements"),
        (lambda g, x: g.split(x, 2, axis=1), "got 2 parts of equal size"),
        (lambda g, x: g.split(x, [1, 1], axis=1), "got sizes"),
        (lambda g, x: g.slice(x, [0, 2], [1, 2]), r"slice of axis 1: got \[2, 4\) of 3"),
        (lambda g, x: g.tile(x, [1]), "multiples of a tensor of rank 2"),
        (lambda g, x: g.range(0, 5, 0), "step of a range: got 0"),
        (lambda g, x: g.where(g.greater(x, 0), x), "want both x and y"),
        (lambda g, x: g.bias_add(x, [1.0, 2.0]), "shapes of equal tensors"),
        (lambda g, x: g.add_n([]), "got no inputs"),
        (lambda g, x: g.group("x"), "group: got 'x'"),
        (lambda g, x: g.op("NoOp", control_inputs=["x"]), "got 'x', want an operation"),
        (lambda g, x: g.op("NoOp", device="/nope:1:2:3"), "unknown part"),
        (lambda g, x: g.const(None), "got None"),
        (lambda g, x: g.const(1.5, "int32"), "cannot make int32"),
        (lambda g, x: g.no_op(name="a b"), "illegal scope name|illegal node name"),
        (lambda g, x: g.no_op(name="x/"), "node 'x' exists already"),
        (lambda g, x: g.colocate_with(None).__enter__(), "wants ignore_existing=True"),
        (lambda g, x: g.to_tensor(x, "int32"), "got float32, want int32"),
        (lambda g, x: g.placeholder("nope"), "nope"),
        (lambda g, x: g.placeholder("float32", [-2]), "got size -2|size"),
        (lambda g, x: g.range(g.const("a"), 3), "range: got"),
    ],
)
def test_refused(g, build, message):
    x = g.placeholder("float32", [None, 3], name="x")
    with refuses(message):
        build(g, x)


def test_errors_of_shapes_name_the_node(g):
    with refuses(r"node 'layer/product' \(MatMul\)"), g.name_scope("layer"):
        g.matmul(g.ones([2, 3]), g.ones([2, 3]), name="product")


def test_constants_take_the_type_of_the_tensor_beside_them(g):
    x = g.placeholder("float64", [])
    assert g.maximum(0, x).dtype == x.dtype
    assert g.sub(1, x).dtype == x.dtype
    assert (2 * x).dtype == x.dtype
    assert g.equal(["a"], g.placeholder("string", [1])).op.inputs[0].dtype == 7


def test_variables_are_tensors_to_every_op(g):
    resource = g.variable("r", [2, 2])
    ref = g.variable("f", [2, 2], use_resource=False)
    for variable in (resource, ref):
        results = [variable + 1, 1 - variable, variable * variable, variable / 2, variable @ variable, -variable]
        results += [
            1 + variable,
            variable - 1,
            2 * variable,
            2 / variable,
            g.relu(variable),
            g.stack([variable, variable]),
        ]
        assert {one.dtype for one in results} == {1}
    assert resource.is_resource
    assert not ref.is_resource
    assert (ref.handle.dtype, ref.dtype) == (101, 1)
    assert repr(resource) == "<Variable 'r:0' shape=[2, 2] dtype=float32>"
    definition = resource.to_variable_def()
    assert definition.snapshot_name == "r/Read/ReadVariableOp:0"
    assert ref.to_variable_def().snapshot_name == "f/read:0"
    assert g.get_collection("variables") == g.get_collection("trainable_variables") == [resource, ref]


def test_variables_refuse(g):
    with refuses("got shape None, want a known one or an initial value"):
        g.variable("w")
    with refuses(r"got shape \[None, 2\], want a known one"):
        g.variable("w", [None, 2])
    with refuses(r"got an initial value of shape \[2\], want \[3\]"):
        g.variable("w", [3], initial_value=[1.0, 2.0])
    with refuses("cannot make int32"):
        g.variable("w", [1], "int32", initial_value=[1.5])
    with refuses(r"slice 2,3 leaves the shape \(4,\)"):
        g.variable("w", [3], save_slice=SaveSlice("whole", [4], [2]))
    with refuses("got 3 parts of shape"):
        g.partitioned_variable("p", [2, 2], num_shards=3)


def test_partitions_share_out_the_rows(g):
    parts = g.partitioned_variable("p", [7, 2], num_shards=3)
    assert [part.shape for part in parts] == [[3, 2], [2, 2], [2, 2]]
    assert [list(part.save_slice.offset) for part in parts] == [[0, 0], [3, 0], [5, 0]]
    assert [part.name for part in parts] == ["p/part_0:0", "p/part_1:0", "p/part_2:0"]


def test_global_step_is_made_once_at_the_root(g):
    with g.name_scope("s"), g.control_dependencies([g.no_op()]):
        step = g.global_step()
    assert step.name == "global_step:0"
    assert g.global_step() is step
    assert g.get_collection("global_step") == [step]
    assert g.get_collection("trainable_variables") == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "b"), (3, "i"), (0.5, "f"), ("a", "s"), (b"a", "s"), ([1, 2], "list"), (AttrValue(i=4), "i")],
)
def test_attributes_of_custom_ops_follow_their_values(g, value, kind):
    op = g.op("Mine", [1.0], dtypes=["int64", "string"], attrs={"a": value}, shapes=[[3], None])
    assert op.node_def.attr["a"].WhichOneof("value") == kind
    assert [(t.dtype, t.shape) for t in op.outputs] == [(9, [3]), (7, None)]
    assert op.inputs[0].name == "Mine/input_0:0"


def test_given_op_defs_are_used_and_listed():
    mine = OpDef(name="Mine")
    mine.input_arg.add(name="x", type_attr="T")
    mine.output_arg.add(name="y", type_attr="T")
    mine.attr.add(name="T", type="type")
    mine.attr.add(name="k", type="int").default_value.i = 5
    g = GraphBuilder(op_defs=[mine])
    y = g.op("Mine", [1.0]).output
    assert (y.dtype, y.op.node_def.attr["k"].i) == (1, 5)
    meta = g.to_meta_graph(strip_default_attrs=True)
    assert [op.name for op in meta.meta_info_def.stripped_op_list.op] == ["Const", "Mine"]
    assert "k" not in meta.graph_def.node[1].attr
    assert "k" in y.op.node_def.attr


def test_exports_are_copies(g):
    x = g.placeholder("float32", name="x")
    first = g.to_graph_def()
    first.node[0].name = "changed"
    g.identity(x)
    second = g.to_graph_def()
    assert [node.name for node in second.node] == ["x", "Identity"]
    assert "_output_shapes" not in g.to_graph_def(add_shapes=False).node[0].attr
    assert first.versions.producer == 2474


def test_meta_graph_options(g):
    with g.device("/job:ps"):
        g.identity(g.const(1.0))
    meta = g.to_meta_graph(["a", "b"], clear_devices=True, strip_default_attrs=True)
    assert list(meta.meta_info_def.tags) == ["a", "b"]
    assert meta.meta_info_def.stripped_default_attrs
    assert not any(node.device for node in meta.graph_def.node)
    assert g.operations[0].device == "/job:ps"


def test_functions_join_the_library(g):
    body = FunctionDef(signature=OpDef(name="f"))
    g.add_function(body)
    g.add_function(body)
    other = FunctionDef(signature=OpDef(name="f", is_stateful=True))
    with refuses("function 'f' exists already"):
        g.add_function(other)
    graph = g.to_graph_def()
    assert [one.signature.name for one in graph.library.function] == ["f"]
    assert graph.versions.min_consumer == 12


@pytest.mark.parametrize("values", [[1, "a"], ["a", 1], [True], [1, True], [object()], [1.0, 1]])
def test_collections_hold_one_kind(g, values):
    for value in values:
        g.add_to_collection("c", value)
    with refuses("collection 'c'"):
        g.to_meta_graph()


def test_collections_of_variables_hold_variables(g):
    g.add_to_collection("variables", g.const(1.0))
    with refuses("collection 'variables'"):
        g.to_meta_graph()


def test_save_slices_describe_parts():
    part = SaveSlice("w", [5, 2], [0, 0])
    assert part.shape_and_slice([3, 2]) == "5 2 0,3:0,2"
    message = part.to_message([3, 2])
    assert (list(message.full_shape), list(message.var_offset), list(message.var_shape)) == ([5, 2], [0, 0], [3, 2])
    assert SaveSlice.from_message(message) == SaveSlice("w", (5, 2), (0, 0))
    assert parse_shape_and_slice("5 2 0,3:0,2")[1].extents == ((0, 3), (0, 2))


@pytest.mark.parametrize(
    ("full", "offset", "shape"),
    [
        ([5, 2], [0, 0], [3]),
        ([5, 2], [0], [3, 2]),
        ([5], [0, 0], [3, 2]),
        ([5, 2], [3, 0], [3, 2]),
        ([5, 2], [0, -1], [3, 2]),
        ([5, 2], [0, 0], [-1, 2]),
        ([5, 2], [0, 0], [0, 2]),
        ([-5, 2], [0, 0], [3, 2]),
        ([2**63], [2**63 - 1], [2]),
    ],
)
def test_parts_outside_the_whole_are_refused(full, offset, shape):
    with refuses("slice"):
        SaveSlice("w", full, offset).shape_and_slice(shape)


def test_static_values_are_followed_through_shape_arithmetic(g):
    x = g.placeholder("float32", [None, 8], name="x")
    wanted = g.concat([g.shape(x), g.const([2, 4])], 0)
    assert g.reshape(g.placeholder("float32"), wanted).shape == [None, 8, 2, 4]
    assert g.reshape(x, [-1, 2, 4]).shape == [None, 2, 4]
    assert g.fill(g.stack([3, g.size(x)]), 1.0).shape == [3, None]


def test_long_chains_of_shapes_do_not_exhaust_the_stack(g):
    shape = g.shape(g.placeholder("float32", [None, None]))
    for _ in range(3000):
        shape = g.identity(shape)
    assert g.reshape(g.placeholder("float32"), shape).shape == [None, None]


def test_const_values_are_stored_as_given(g):
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    const = g.const(array)
    np.testing.assert_array_equal(tensor_proto_to_array(const.op.node_def.attr["value"].tensor), array)
    filled = g.const(7, "int32", [2, 2]).op.node_def.attr["value"].tensor
    assert (list(filled.int_val), [dim.size for dim in filled.tensor_shape.dim]) == ([7], [2, 2])
