"""Python's operators, indexing and misuse of tensors; parity compares the nodes with TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import (
    FixedLenFeature,
    GraphBuilder,
    RaggedFeature,
    RaggedTensor,
    SparseTensor,
    VarLenFeature,
)


@pytest.fixture
def g():
    return GraphBuilder()


def refuses(message):
    return pytest.raises(InvalidArgumentError, match=message)


@pytest.fixture(params=["tensor", "variable"])
def value(request, g):
    return g.placeholder("float32", [None, 3], name="v") if request.param == "tensor" else g.variable("v", [2, 3])


def test_values_are_not_python_values(value):
    with refuses("v:0: used as a Python bool"):
        bool(value)
    with refuses("Greater:0: used as a Python bool"):
        _ = 0 < value < 1
    with refuses("v:0: iterated over"):
        list(value)
    with refuses("v:0: iterated over"):
        _, _ = value
    with refuses("its length is asked for"):
        len(value)
    with refuses("iterated over"):
        _ = 1.0 in value
    with pytest.raises(TypeError):
        int(value)


def test_equality_is_identity(value):
    other = value + 1.0
    assert value == value
    assert value != other
    assert (value == 0) is False
    assert value in {value}


def test_numpy_leaves_operators_to_tensors(g):
    x = g.placeholder("float32", [2], name="x")
    array = np.array([1, 2], np.float32)
    for one in (array + x, array**x, array < x, np.float32(1) // x, array % x):
        assert one.shape == [2]


def test_indexing_knows_shapes(g):
    x = g.placeholder("float32", [None, 3, 4], name="x")
    t = g.placeholder("int32", [], name="t")
    wanted = [
        (x[0], [3, 4]),
        (x[:, 1], [None, 4]),
        (x[..., 0], [None, 3]),
        (x[None], [1, None, 3, 4]),
        (x[:, ::-2], [None, 2, 4]),
        (x[:, t:], [None, None, 4]),
        (x[t, 1:3], [None, 4]),
        (x[np.int64(0), 1, 2], []),
        (x[()], [None, 3, 4]),
    ]
    for got, shape in wanted:
        assert got.shape == shape, got
    assert g.variable("w", [10, 4])[1:3].shape == [2, 4]


def test_indexing_refuses(g):
    x = g.placeholder("float32", [None, 3], name="x")
    with refuses("index: got 1.5, want ints"):
        x[1.5]
    with refuses("index: got True"):
        x[True]
    with refuses("gather takes rows"):
        x[g.placeholder("int32", [2])]
    with refuses("where makes indices of a mask"):
        x[x > 0]
    with refuses(r"got `\.\.\.` twice"):
        x[..., 0, ...]
    with refuses("slice of a tensor of rank 2: got 3 axes"):
        x[0, 0, 0]
    with refuses("step of a slice: got 0"):
        x[::0]


def test_misspelt_ops_are_met_with_near_names(g):
    x = g.placeholder("float32", [2, 2])
    with refuses("MatMull: an op without a known signature needs dtypes; near: .*MatMul"):
        g.op("MatMull", [x, x])
    with refuses("Zzyzx9: an op without a known signature needs dtypes$"):
        g.op("Zzyzx9", [x])


def test_errors_name_the_argument(g):
    with refuses("control_inputs: got 'x', want an operation"):
        g.op("NoOp", control_inputs=["x"])
    with refuses("colocate_with: got 'x'"), g.colocate_with("x"):
        pass


def test_parse_example_returns_what_the_features_say(g):
    messages = g.placeholder("string", [None], name="messages")
    parsed = g.parse_example(
        messages,
        {"d": FixedLenFeature([2], "float32"), "s": VarLenFeature("int64"), "r": RaggedFeature("string")},
    )
    assert list(parsed) == ["d", "r", "s"]
    sparse, ragged = parsed["s"], parsed["r"]
    assert isinstance(sparse, SparseTensor)
    assert isinstance(ragged, RaggedTensor)
    assert parsed["d"].shape == [None, 2]
    assert [one.shape for one in (sparse.indices, sparse.values, sparse.dense_shape)] == [[None, 2], [None], [2]]
    assert [one.name for one in (ragged.values, ragged.row_splits)] == [
        "ParseExample/ParseExampleV2:4",
        "ParseExample/ParseExampleV2:5",
    ]


def test_parse_example_refuses(g):
    messages = g.placeholder("string", [None], name="messages")
    with refuses("got no features"):
        g.parse_example(messages, {})
    with refuses("unknown kinds"):
        g.parse_example(messages, {"a": "float32"})
    with refuses("want known sizes"):
        g.parse_example(messages, {"a": FixedLenFeature([None], "float32")})
    with refuses("want one of"):
        g.parse_example(messages, {"a": FixedLenFeature([1], "int32")})
    with refuses("unknown rank, with ragged"):
        g.parse_example(g.placeholder("string"), {"a": RaggedFeature("int64")})


def test_tables_join_the_collections(g):
    with g.name_scope("front"):
        lines = g.lookup_table_from_file("dir/vocabulary.txt", -1, name="ids")
    pairs = g.lookup_table(["a"], [1.0], 0.0)
    assert g.get_collection("table_initializer") == [lines.initializer, pairs.initializer]
    assert [one.name for one in g.get_collection("asset_filepaths")] == ["front/asset_path:0"]
    names = [one.handle.op.node_def.attr["shared_name"].s for one in (lines, pairs)]
    assert names == [b"hash_table_front/ids", b"hash_table_hash_table"]
    assert lines.lookup(["a", "b"]).shape == [2]
    assert lines.lookup("a").op.name == "ids_Lookup_1/LookupTableFindV2"


def test_tables_refuse(g):
    with refuses("key of a table: got index -1 of string"):
        g.lookup_table_from_file("v", "", key_index=-1, value_dtype="string", value_index=-2)
    with refuses("value of a table: got index -3"):
        g.lookup_table_from_file("v", 0, value_index=-3)
    table = g.lookup_table(["a"], [1.0], 0.0)
    with refuses("got int64, want string"):
        table.lookup(g.placeholder("int64", [2]))


def test_lookups_refuse(g):
    w = g.variable("w", [10, 4])
    ids = SparseTensor(*(g.placeholder("int64", shape) for shape in ([None, 2], [None], [2])))
    with refuses("combiner: got 'max'"):
        g.embedding_lookup_sparse(w, ids, combiner="max")
    with refuses("shapes of equal tensors"):
        g.unsorted_segment_sum(g.placeholder("float32", [3, 2]), g.placeholder("int32", [4]), 2)
