"""make_tensor_proto and tensor_proto_to_array against tf.make_tensor_proto and tf.make_ndarray."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from mexport_pb import messages as mm
from mexport_pb.errors import InvalidArgumentError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

FLOATS = ["float16", "float32", "float64", "bfloat16"]
FLOAT8 = ["float8_e5m2", "float8_e4m3fn"]
# TensorFlow's Python functions take these in tensor_content only; its runtime takes them in both forms.
FLOAT8_OF_RUNTIME = ["float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"]
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
SMALL = ["int4", "uint4", "int2", "uint2", "float4_e2m1fn"]
COMPLEX = ["complex64", "complex128"]
DTYPES = [*FLOATS, *FLOAT8, *INTEGERS, *SMALL, *COMPLEX, "bool"]
SHAPES = [(), (1,), (0,), (3,), (2, 3), (2, 0, 3), (1, 1, 1), (2, 1, 2, 2)]


def numpy_type(name):
    return np.dtype(getattr(ml_dtypes, name, name))


def array_of(name, shape, seed=0):
    rng = np.random.default_rng(seed)
    dtype = numpy_type(name)
    if name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if name.startswith("complex"):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if name in SMALL:
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    if name in INTEGERS:
        info = np.iinfo(dtype)
        return np.asarray(rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True))
    return np.asarray(rng.normal(size=shape)).astype(dtype)


def check_same(ours, theirs):
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_arrays(name, shape):
    array = array_of(name, shape)
    theirs = tf.make_tensor_proto(array)
    ours = mm.make_tensor_proto(array)
    check_same(ours, theirs)
    back = mm.tensor_proto_to_array(theirs)
    assert back.dtype == array.dtype
    assert back.shape == shape
    np.testing.assert_array_equal(back.view(np.uint8) if shape else back, array.view(np.uint8) if shape else array)
    np.testing.assert_array_equal(back, tf.make_ndarray(theirs))


@pytest.mark.parametrize("name", FLOAT8_OF_RUNTIME)
def test_arrays_of_the_rarer_float8_types(name):
    array = array_of(name, (2, 3))
    check_same(mm.make_tensor_proto(array), tf.make_tensor_proto(array))
    for shape in ((), (1,), (0,)):
        array = array_of(name, shape)
        back = mm.tensor_proto_to_array(mm.make_tensor_proto(array))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 2)], ids=str)
@pytest.mark.parametrize("name", ["qint8", "quint8", "qint16", "quint16", "qint32"])
def test_quantised_arrays(name, shape):
    dtype = tf.as_dtype(name)
    plain = np.arange(1, 5)[: int(np.prod(shape))].reshape(shape)
    structured = np.zeros(shape, dtype.as_numpy_dtype)
    structured[structured.dtype.names[0]] = plain
    theirs = tf.make_tensor_proto(structured, dtype=dtype)
    check_same(mm.make_tensor_proto(structured, dtype), theirs)
    check_same(mm.make_tensor_proto(plain, name), theirs)
    check_same(mm.make_tensor_proto(plain.tolist(), name), theirs)
    back = mm.tensor_proto_to_array(theirs)
    np.testing.assert_array_equal(back[back.dtype.names[0]], plain)


@pytest.mark.parametrize("name", [*FLOATS, *FLOAT8, *INTEGERS, *COMPLEX])
@pytest.mark.parametrize("value", [0, 1, [1], [1, 2], [[1, 2, 3], [4, 5, 6]], [], [[], []]], ids=str)
def test_python_integers_as_any_number(name, value):
    check_same(mm.make_tensor_proto(value, name), tf.make_tensor_proto(value, dtype=name))


@pytest.mark.parametrize(
    "value",
    [
        0,
        7,
        -1,
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        [1, 2**40],
        2**63,
        1.5,
        [1, 2.5],
        [[1.0], [2.0]],
        True,
        [True, False],
        [True, 1],
        1j,
        [1j, 2],
        "text",
        "ü",
        b"\x00\xff\x00",
        ["a", b"b\x00"],
        [["a", "b"], ["", "d"]],
        ("x", "y"),
        [],
        [[]],
        float("nan"),
        float("inf"),
        np.float64(1.5),
        np.int64(3),
        np.str_("s"),
        np.bytes_(b"s"),
        [np.float32(1.5), np.float32(2)],
        np.array(["ab", "ü"]),
        np.array([b"ab", b"c"]),
        np.array(["ab", b"c\x00"], object),
        np.array("scalar"),
        bytearray(b"abc"),
        pytest.param(memoryview(b"abc"), id="memoryview"),
        (1, 2),
        [(1, 2), [3, 4]],
    ],
    ids=repr,
)
def test_inferred_dtypes(value):
    check_same(mm.make_tensor_proto(value), tf.make_tensor_proto(value))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, "float64"),
        ([1, 2], "float16"),
        (True, "int32"),
        (True, "float32"),
        ("x", "string"),
        (["x", b"\x00"], "string"),
        ([], "string"),
        (np.array([1.7, -2.9]), "int32"),
        (np.array([1, 2]), "bool"),
        (np.array([1, 2]), "float32"),
        (np.array([300]), "uint8"),
        (np.array(["x"]), "string"),
        (1 + 2j, "complex64"),
        (2.5, "complex128"),
        (2**64, "float32"),
        ([2**70, 1], "float64"),
        (Fraction(1, 2), "float32"),
        ([Fraction(1, 2), 1], "complex64"),
        (np.array([1, 2], object), "float32"),
        (np.array([1, 2], object), "int64"),
        (np.zeros((0, 3), np.float32), "string"),
    ],
    ids=repr,
)
def test_given_dtypes(value, dtype):
    check_same(mm.make_tensor_proto(value, dtype), tf.make_tensor_proto(value, dtype=dtype))


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1, None, [3]),
        ([1, 2], None, [4]),
        ([1.0, 2.0], "float64", [2, 1]),
        ([1, 2, 3, 4], None, [2, 2]),
        ("a", None, [2]),
        ([], "int32", [0, 3]),
        (5, "int64", [0]),
        ([1.0, 2.0], None, [0, 2]),
        ([1, 2], "float32", [0]),
        (1, None, tf.TensorShape([2])),
        (1, None, np.array([2])),
        (np.float32(2), None, [2, 2]),
        (np.array([7], np.uint8), None, []),
        (np.array([True]), None, [5]),
    ],
    ids=repr,
)
def test_given_shapes(value, dtype, shape):
    theirs = tf.make_tensor_proto(value, dtype=dtype, shape=shape)
    check_same(mm.make_tensor_proto(value, dtype, shape), theirs)
    np.testing.assert_array_equal(mm.tensor_proto_to_array(theirs), tf.make_ndarray(theirs))


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1.5, "int32", None),
        ("x", "int32", None),
        (1, "bool", None),
        (1, "string", None),
        ([1, "x"], None, None),
        (["x", 1], None, None),
        ([1, [2]], None, None),
        ([[1], [2, 3]], None, None),
        (None, None, None),
        ([None], None, None),
        pytest.param(object(), None, None, id="object"),
        (2**70, None, None),
        (2**70, "int64", None),
        (1j, "float32", None),
        ([1, 2, 3], None, [2]),
        (np.array([1, 2]), None, [0]),
        (np.array(["x"]), "int32", None),
        (np.array(["2020-01-01"], "M8[D]"), None, None),
        (np.array([1, None], object), None, None),
        ({"a": 1}, None, None),
    ],
    ids=repr,
)
def test_both_refuse(value, dtype, shape):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        tf.make_tensor_proto(value, dtype=dtype, shape=shape)
    with pytest.raises(InvalidArgumentError):
        mm.make_tensor_proto(value, dtype, shape)


def test_big_endian_arrays_are_turned():
    array = np.array([1.5, 2.5], ">f4")
    check_same(mm.make_tensor_proto(array), tf.make_tensor_proto(array.astype("<f4")))


def test_fortran_order_and_strides():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    for view in (np.asfortranarray(array), array[::2, ::-1], array.T):
        check_same(mm.make_tensor_proto(view), tf.make_tensor_proto(view))


def test_eager_tensors_and_protos():
    tensor = tf.constant([[1.0, 2.0]])
    check_same(mm.make_tensor_proto(tensor), tf.make_tensor_proto(tensor))
    proto = tf.make_tensor_proto([1, 2])
    check_same(mm.make_tensor_proto(proto), proto)


@pytest.mark.parametrize(
    "value",
    [tf.constant(["a", "", "long" * 100]), tf.constant([True, False]), tf.constant(3.5)],
    ids=["strings", "bools", "scalar"],
)
def test_values_that_the_cpp_runtime_packs(value):
    """Tensor::AsProtoTensorContent, which Python's make_tensor_proto never writes for these dtypes."""
    packed = tf.io.serialize_tensor(value).numpy()
    proto = mm.parse(type(mm.make_tensor_proto(0)), packed)
    np.testing.assert_array_equal(mm.tensor_proto_to_array(proto), value.numpy())


@pytest.mark.parametrize("name", [*FLOATS, *FLOAT8, *FLOAT8_OF_RUNTIME, *INTEGERS, *COMPLEX, "bool"])
def test_the_runtime_reads_repeated_values_alike(name):
    """A typed field shorter than the shape: the runtime and we repeat the last value."""
    given = array_of(name, (1,), seed=3)
    proto = mm.make_tensor_proto(given, shape=[5])
    node = tf.compat.v1.NodeDef.FromString(
        mm.serialize(
            mm.make_node_def(
                "Const",
                "c",
                attrs={"dtype": mm.make_attr_value(given.dtype, "type"), "value": mm.make_attr_value(proto, "tensor")},
            )
        )
    )
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(tf.compat.v1.GraphDef(node=[node]), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        value = session.run("c:0")
    np.testing.assert_array_equal(mm.tensor_proto_to_array(proto), value)
