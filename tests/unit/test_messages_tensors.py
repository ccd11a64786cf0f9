"""Tensor values without TensorFlow: literal bytes, limits, and bytes from outside."""

from __future__ import annotations

import time
import tracemalloc
from decimal import Decimal
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from mexport_pb import messages as mm
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.tensor_pb2 import TensorProto
from mexport_pb.errors import DataError, InvalidArgumentError, MexportError, UnsupportedError
from mexport_pb.messages.tensors import MAX_EXPANDED_BYTES


class Valueless:
    """As a tensor of a TensorFlow graph."""

    def __array__(self, dtype=None, copy=None):
        raise NotImplementedError("symbolic")


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (7, "0803 1200 3a0107"),
        ([1, 2], "0803 1204 12020802 2208 01000000 02000000"),
        (0.5, "0801 1200 2a04 0000003f"),
        ("ab", "0807 1200 4202 6162"),
        (["a", b"\x00"], "0807 1204 12020802 4201 61 4201 00"),
        ([True, False], "080a 1204 12020802 5a02 0100"),
        (np.float16(1), "0813 1200 6a02 8078"),
        (np.zeros([0], np.float64), "0802 1202 1200"),
        (np.array([1, 2], np.uint16), "0811 1204 12020802 3a02 0102"),
        (ml_dtypes.bfloat16(1), "080e 1200 6a02 807f"),
    ],
    ids=repr,
)
def test_bytes(value, data):
    assert mm.serialize(mm.make_tensor_proto(value)) == bytes.fromhex(data)


def test_ints_widen_only_when_they_must():
    assert mm.make_tensor_proto(2**31 - 1).dtype == tensor_pb2.DT_INT32
    assert mm.make_tensor_proto(2**31).dtype == tensor_pb2.DT_INT64


def test_ref_dtypes_are_stored_as_their_base():
    assert mm.make_tensor_proto(1.0, "float32_ref").dtype == tensor_pb2.DT_FLOAT


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "message"),
    [
        (1, "resource", None, "dtype resource has no value"),
        (300, "uint8", None, "cannot make a tensor of 300"),
        (-1, "uint32", None, "cannot make a tensor of -1"),
        ([1, [2]], None, None, "cannot make a tensor of"),
        ([["a"], ["b", "c"]], None, None, "lists of unequal length"),
        (None, None, None, "got None"),
        ([1, "a"], None, None, "cannot make a tensor of"),
        (["a", 1], None, None, "got element 1, want str or bytes"),
        (1, None, [None], r"shape of a tensor's value: got shape \[-1\], want a fully known one"),
        (1, "float32", [None], "want a fully known one"),
        (1, None, 2, "not a shape: got 2"),
        (1, None, [2.0], "got size 2.0, want an integer"),
        (1, None, [1] * 255, "got 255 dimensions, want <= 254"),
        (1, None, [2**62, 2], "want fewer than 2\\*\\*63 elements"),
        (np.array([1, 2]), None, [0], r"too many elements for shape \[0\]: got 2, want <= 0"),
        ("\ud800", None, None, "surrogates not allowed"),
        (["a", "\ud800"], "string", None, "string tensor: element '.*surrogates not allowed"),
        (np.array(["2020"], "M8[D]"), "bfloat16", None, "cannot make bfloat16 of a datetime64"),
        (np.array(["2020"], "M8[D]"), "float8_e5m2", None, "cannot make float8_e5m2 of a datetime64"),
        (np.array(["2020"], "M8[D]"), "int4", None, "cannot make int4 of a datetime64"),
        (np.array([1], ml_dtypes.uint4), "int4", None, "cannot make int4 of a uint4 array"),
        (2**64, "int64", None, "cannot make a tensor of 18446744073709551616"),
        (Fraction(1, 2), "int32", None, "cannot make int32 of"),
        (Fraction(1, 2), "bool", None, "cannot make bool of"),
        (Decimal(1), "float32", None, "cannot make float32 of"),
        (np.array([1, "a"], object), "float32", None, "cannot make float32 of"),
        ([1, 2], None, [1], r"too many elements for shape \[1\]: got 2, want <= 1"),
        (np.array([1j]), "float32", None, "cannot make float32 of a complex128 array"),
        (Valueless(), None, None, "cannot make a tensor of"),
        (TensorProto(), "int32", None, "a TensorProto takes no other dtype"),
        (TensorProto(), None, [1], "a TensorProto takes no other dtype"),
        (1, "no_such_dtype", None, "unknown dtype"),
    ],
)
def test_refused_values(value, dtype, shape, message):
    with pytest.raises(InvalidArgumentError, match=message):
        mm.make_tensor_proto(value, dtype, shape)


def test_a_proto_is_copied():
    proto = mm.make_tensor_proto([1, 2])
    copy = mm.make_tensor_proto(proto)
    assert copy == proto
    assert copy is not proto


ARRAYS = st.one_of(
    *(
        hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
        for dtype in (
            np.float32,
            np.float64,
            np.float16,
            np.int8,
            np.uint16,
            np.int64,
            np.uint64,
            np.bool_,
            np.complex64,
        )
    )
)


@settings(deadline=None)
@given(ARRAYS)
def test_arrays_survive(array):
    back = mm.tensor_proto_to_array(mm.make_tensor_proto(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@settings(deadline=None)
@given(st.lists(st.binary(), max_size=5))
def test_strings_survive(values):
    back = mm.tensor_proto_to_array(mm.make_tensor_proto(values, "string"))
    assert back.tolist() == values


def test_arrays_are_read_only():
    for value in (1, [1, 2], "a", np.zeros((0,)), [True, False]):
        with pytest.raises(ValueError, match="read-only"):
            mm.tensor_proto_to_array(mm.make_tensor_proto(value))[...] = 0


def proto(dtype, sizes, **fields):
    made = TensorProto(dtype=dtype, **fields)
    for size in sizes:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("made", "want"),
    [
        (proto(1, [3]), [0.0, 0.0, 0.0]),
        (proto(1, [3], float_val=[2]), [2.0, 2.0, 2.0]),
        (proto(1, [4], float_val=[1, 2]), [1.0, 2.0, 2.0, 2.0]),
        (proto(7, [2]), [b"", b""]),
        (proto(7, [3], string_val=[b"a", b"b"]), [b"a", b"b", b"b"]),
        (proto(10, [2], bool_val=[True]), [True, True]),
        (proto(10, [3], tensor_content=b"\x00\x01\x02"), [False, True, True]),
        (proto(8, [2], scomplex_val=[1, 2]), [1 + 2j, 1 + 2j]),
        (proto(7, [2], tensor_content=b"\x01\x00a"), [b"a", b""]),
        (proto(7, [1], tensor_content=b"\x80\x01" + b"x" * 128), [b"x" * 128]),
        (proto(29, [2], int_val=[-8, 7]), [-8, 7]),
        (proto(1, [0]), []),
        (proto(101, [1], float_val=[3]), [3.0]),
        (proto(12, [2], int_val=[5]), [(5,), (5,)]),
    ],
    ids=str,
)
def test_what_a_proto_leaves_out(made, want):
    assert mm.tensor_proto_to_array(made).tolist() == want


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (proto(1, [2], tensor_content=b"1234"), "got 4 bytes of tensor_content, want 8"),
        (
            proto(1, [2**62, 4], tensor_content=b"1234"),
            r"got shape \[4611686018427387904, 4\], want fewer than 2\*\*63",
        ),
        (proto(1, [2**62] * 300, tensor_content=b"1234"), "got 300 dimensions, want <= 254"),
        (proto(1, [2**62] * 254, float_val=[1, 2]), r"got shape \[.*, \.\.\.\], want fewer than 2\*\*63 elements"),
        (proto(1, [2] * 50, float_val=[1] * 3, tensor_content=b"1"), "got 1 bytes of tensor_content"),
        (proto(1, [0] * 200, float_val=[1]), r"tensor of shape \[0, 0, 0, 0, 0, 0, \.\.\.\]: got 1 values"),
        (proto(1, [1], float_val=[1, 2]), r"tensor of shape \[1\]: got 2 values, want <= 1"),
        (proto(1, [-1], float_val=[1]), r"got shape \[-1\], want a fully known one"),
        (proto(0, []), "unknown dtype number: got 0"),
        (proto(77, []), "unknown dtype number: got 77"),
        (proto(6, [1], int_val=[128]), "int_val: a value is out of range for int8"),
        (proto(30, [1], int_val=[16]), "int_val: a value is out of range for uint4"),
        (proto(11, [1], int_val=[128]), "qint8: int_val"),
        (proto(19, [1], half_val=[65536]), "half_val"),
        (proto(8, [1], scomplex_val=[1]), "scomplex_val"),
        (proto(7, [3], tensor_content=b"\x01"), "got 1 bytes of tensor_content, want 3 or more"),
        (proto(7, [2], tensor_content=b"\x05\x05ab"), "got 4 bytes of tensor_content, want 12"),
        (proto(7, [1], tensor_content=b"\xff" * 9), "bad length at byte 5 of tensor_content"),
        (proto(7, [1], tensor_content=b"\x80"), "bad length at byte 1 of tensor_content"),
    ],
    ids=str,
)
def test_damaged_protos(made, message):
    with pytest.raises(DataError, match=message):
        mm.tensor_proto_to_array(made)


def test_unknown_rank():
    made = TensorProto(dtype=1)
    made.tensor_shape.unknown_rank = True
    with pytest.raises(DataError, match="unknown rank"):
        mm.tensor_proto_to_array(made)


@pytest.mark.parametrize(
    "made",
    [
        proto(20, []),
        proto(21, []),
        proto(1, [1] * 100),
        proto(1, [0, 2**62, 2**62]),
        proto(1, [2**62], float_val=[1, 2]),
    ],
)
def test_what_numpy_cannot_hold(made):
    with pytest.raises(UnsupportedError):
        mm.tensor_proto_to_array(made)


def test_small_protos_of_huge_shapes_take_no_memory():
    tracemalloc.start()
    for fields in ({}, {"float_val": [1.5]}):
        array = mm.tensor_proto_to_array(proto(1, [1 << 20, 1 << 20], **fields))
        assert array.shape == (1 << 20, 1 << 20)
        assert array[5, 7] == fields.get("float_val", [0.0])[0]
    strings = mm.tensor_proto_to_array(proto(7, [1 << 40]))
    assert strings[1 << 39] == b""
    for made in (proto(1, [1 << 40], float_val=[1, 2]), proto(4, [1 << 31], int_val=[1, 2])):
        with pytest.raises(UnsupportedError, match=f"want <= {MAX_EXPANDED_BYTES}"):
            mm.tensor_proto_to_array(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_limit_on_expansion_is_the_callers_to_choose():
    made = proto(4, [MAX_EXPANDED_BYTES + 1], int_val=[1, 2])
    with pytest.raises(UnsupportedError, match=r"2 values expand to 67108865 bytes, want <= 67108864"):
        mm.tensor_proto_to_array(made)
    array = mm.tensor_proto_to_array(made, max_expanded_bytes=MAX_EXPANDED_BYTES + 1)
    assert array[:3].tolist() == [1, 2, 2]
    with pytest.raises(UnsupportedError, match="3 bytes, want <= 2"):
        mm.tensor_proto_to_array(proto(4, [3], int_val=[1, 2]), max_expanded_bytes=2)


def test_very_many_dimensions_take_no_time():
    start = time.process_time()
    with pytest.raises(DataError, match="got 160000 dimensions, want <= 254"):
        mm.tensor_proto_to_array(proto(1, [2**62] * 160_000))
    assert time.process_time() - start < 1


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=64),
    st.sampled_from(list(tensor_pb2.DataType.values())),
    st.lists(st.integers(-1, 2**40), max_size=3),
)
def test_any_bytes_give_an_array_or_one_of_our_errors(data, dtype, sizes):
    try:
        made = TensorProto.FromString(data)
    except Exception:
        made = TensorProto(tensor_content=data)
    made.dtype = dtype
    for size in sizes:
        made.tensor_shape.dim.add(size=size)
    try:
        array = mm.tensor_proto_to_array(made)
    except MexportError:
        return
    assert array.shape == tuple(dim.size for dim in made.tensor_shape.dim)
