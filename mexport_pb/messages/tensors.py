"""TensorProto: arrays and scalars to protos and back.

:func:`make_tensor_proto` chooses the same fields as TensorFlow's function of that name, so the bytes are equal:

* the elements of strings, booleans, complex numbers, uint16 and types below 8 bits go into the typed field of their
  dtype, one by one;
* any other dtype uses its typed field for one element and ``tensor_content`` (row major, little endian) for more;
* a tensor of no elements is dtype and shape.
"""

from __future__ import annotations

import numbers
import reprlib
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.tensor_pb2 import DataType, TensorProto, TensorShapeProto
from mexport_pb.errors import DataError, InvalidArgumentError, UnsupportedError
from mexport_pb.messages.shapes import ShapeLike, count_elements, make_tensor_shape
from mexport_pb.messages.wire import MAX_MESSAGE_BYTES, to_message

__all__ = ["MAX_EXPANDED_BYTES", "is_raw_content", "make_tensor_proto", "tensor_proto_to_array"]

MAX_EXPANDED_BYTES: Final = 1 << 26
"""The largest array that :func:`tensor_proto_to_array` allocates, unless told otherwise, for values that a proto leaves
out: 64 MiB. A proto of a few bytes can ask for any number."""

_FLOAT8: Final = frozenset(
    {
        tensor_pb2.DT_FLOAT8_E5M2,
        tensor_pb2.DT_FLOAT8_E4M3FN,
        tensor_pb2.DT_FLOAT8_E4M3FNUZ,
        tensor_pb2.DT_FLOAT8_E4M3B11FNUZ,
        tensor_pb2.DT_FLOAT8_E5M2FNUZ,
        tensor_pb2.DT_FLOAT4_E2M1FN,
    }
)
_BELOW_8_BITS: Final = frozenset({tensor_pb2.DT_INT4, tensor_pb2.DT_UINT4, tensor_pb2.DT_INT2, tensor_pb2.DT_UINT2})
_ALWAYS_TYPED: Final = _BELOW_8_BITS | {
    tensor_pb2.DT_BOOL,
    tensor_pb2.DT_COMPLEX64,
    tensor_pb2.DT_COMPLEX128,
    tensor_pb2.DT_UINT16,  # for no better reason than that TensorFlow does so
}
_OPAQUE: Final = frozenset({tensor_pb2.DT_RESOURCE, tensor_pb2.DT_VARIANT})

# dtype -> its field, and how the field holds an element: the numpy type that the array is viewed as. Everything that is
# not listed is an integer in int_val.
_TYPED_FIELDS: Final[dict[int, tuple[str, npt.DTypeLike]]] = {
    tensor_pb2.DT_FLOAT: ("float_val", np.float32),
    tensor_pb2.DT_DOUBLE: ("double_val", np.float64),
    tensor_pb2.DT_INT64: ("int64_val", np.int64),
    tensor_pb2.DT_UINT32: ("uint32_val", np.uint32),
    tensor_pb2.DT_UINT64: ("uint64_val", np.uint64),
    tensor_pb2.DT_BOOL: ("bool_val", np.bool_),
    tensor_pb2.DT_HALF: ("half_val", np.uint16),
    tensor_pb2.DT_BFLOAT16: ("half_val", np.uint16),
    tensor_pb2.DT_COMPLEX64: ("scomplex_val", np.float32),
    tensor_pb2.DT_COMPLEX128: ("dcomplex_val", np.float64),
}

Array = npt.NDArray[Any]


def make_tensor_proto(value: Any, dtype: dtypes.DTypeLike = None, shape: ShapeLike = None) -> TensorProto:
    """A TensorProto, byte for byte that of ``tf.make_tensor_proto``, save for these exceptions.

    Where TensorFlow's function changes values without a word, this one raises: integers that do not fit `dtype` (there
    they wrap around), complex arrays as real ones (there the imaginary part goes), arrays of text as bool, sizes of
    `shape` that are no integers ("2", 2.5), and an array with more elements than `shape`. It writes big-endian arrays
    in little-endian order, as the format asks, and Python values whose `shape` has no element keep their own dtype
    instead of becoming float32. It does not take ``tf.compat.v1.Dimension``, but ranges, lists of arrays and of numpy's
    booleans, and Python integers as quantised types, which TensorFlow's function refuses.

    Args:
        value: A Python scalar, nested lists of equal length, a numpy array or scalar, or anything that numpy takes for
            an array. Text is encoded as UTF-8. A TensorProto is copied; dtype and shape must then be None.
        dtype: Python values must fit it, arrays are cast to it (``ndarray.astype``). By default arrays keep theirs,
            a Python float is float32, and a Python int is int32, or int64 where int32 cannot hold all of them.
        shape: By default the value's. It may hold more elements than the value: readers repeat the last one. Python
            values, but not arrays, are dropped if it holds none.

    Raises:
        InvalidArgumentError: a value that does not fit, lists of unequal length, text that is no Unicode, more elements
            than `shape` holds, more than 254 dimensions, or more than 2 GiB.
    """
    if isinstance(value, Message):
        if dtype is not None or shape is not None:
            raise InvalidArgumentError("a TensorProto takes no other dtype or shape")
        return to_message(value, TensorProto)
    number = None if dtype is None else dtypes.base_datatype(dtypes.datatype_of(dtype))
    if number in _OPAQUE:
        raise InvalidArgumentError(f"dtype {dtypes.name_of(number)} has no value outside its process")
    given, elements = _given_shape(shape)
    if _is_array_like(value):
        array = _from_array(value, number)
    else:
        array = _from_python(value, number)
        if elements == 0:
            array = np.empty(0, array.dtype)
    if number is None:
        number = dtypes.datatype_of(array.dtype)
    if given is None or elements is None:
        given, elements = make_tensor_shape(array.shape), array.size

    proto = TensorProto(dtype=cast(DataType, number), tensor_shape=given)
    if array.size > elements:
        raise InvalidArgumentError(f"too many elements for shape {_sizes(given)}: got {array.size}, want <= {elements}")
    if array.nbytes > MAX_MESSAGE_BYTES:
        raise InvalidArgumentError(f"tensor is too large: got {array.nbytes} bytes, want <= {MAX_MESSAGE_BYTES}")

    if number == tensor_pb2.DT_STRING:
        proto.string_val.extend([_to_bytes(element) for element in array.ravel()])
    elif elements == array.size and is_raw_content(number, elements):
        proto.tensor_content = array.tobytes()
    elif array.size:
        _fill_typed_field(proto, array.ravel())
    return proto


def is_raw_content(dtype: int, elements: int) -> bool:
    """True if a tensor of so many elements is kept in ``tensor_content``: row major, little endian, nothing else.

    Args:
        dtype: A ``DataType`` number.
        elements: How many, all of them given.
    """
    return elements > 1 and dtype != tensor_pb2.DT_STRING and dtype not in _ALWAYS_TYPED


def tensor_proto_to_array(proto: Message, *, max_expanded_bytes: int = MAX_EXPANDED_BYTES) -> Array:
    """The value of a TensorProto as a read-only array (copy it to write into it).

    Strings are an ``object`` array of bytes. Where the proto holds fewer elements than its shape, the last one is
    repeated; where it holds none, all are zero or empty. An array of equal elements takes the memory of one: mind that
    it may be huge nevertheless, and that a copy or a list of it is.

    Args:
        proto: A TensorProto, ours or TensorFlow's.
        max_expanded_bytes: The largest array to allocate for elements of which only some, but more than one, are given.

    Raises:
        DataError: the value does not fit dtype and shape, or the shape is not fully known, or none that TensorFlow has.
        UnsupportedError: a dtype without a numpy form (resources, variants), more dimensions than numpy has, or more
            than `max_expanded_bytes`.
    """
    tensor = proto if isinstance(proto, TensorProto) else to_message(proto, TensorProto)
    try:
        number = dtypes.base_datatype(tensor.dtype)
        if number in _OPAQUE:
            raise UnsupportedError(f"tensor of dtype {dtypes.name_of(number)}: it has no array form")
        dtype = dtypes.numpy_dtype(number)
    except InvalidArgumentError as error:
        raise DataError(f"tensor: {error}") from None
    try:
        elements = count_elements(tensor.tensor_shape)
    except DataError as error:
        raise DataError(f"tensor: {error}") from None
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_content:
        values = _from_content(tensor.tensor_content, number, dtype, elements)
    else:
        values = _from_typed_field(tensor, number, dtype)
        if values.size > elements:
            raise DataError(
                f"tensor of shape {_sizes(tensor.tensor_shape)}: got {values.size} values, want <= {elements}"
            )
    array = _expand(values, shape, elements, dtype, max_expanded_bytes)
    array.flags.writeable = False
    return array


def _given_shape(shape: ShapeLike) -> tuple[TensorShapeProto | None, int | None]:
    if shape is None:
        return None, None
    given = make_tensor_shape(shape)
    try:
        return given, count_elements(given)
    except DataError as error:
        raise InvalidArgumentError(f"shape of a tensor's value: {error}") from None


def _sizes(shape: TensorShapeProto) -> str:
    """The shape for a message: a few dimensions tell which it is."""
    return reprlib.repr([dim.size for dim in shape.dim])


def _is_array_like(value: object) -> bool:
    if isinstance(value, np.ndarray | np.generic | bytearray | memoryview):
        return True
    return callable(getattr(value, "__array__", None)) and not isinstance(value, type)


def _from_array(value: Any, number: int | None) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, NotImplementedError) as error:  # a tensor of a graph has no value
        raise InvalidArgumentError(f"cannot make a tensor of {reprlib.repr(value)}: {error}") from None
    if array.dtype.kind in "SUO":
        if number in (None, tensor_pb2.DT_STRING):
            return array.astype(object) if array.dtype.kind != "O" else array
        if array.dtype.kind == "O":
            return _from_python(array.tolist(), number)
        raise InvalidArgumentError(f"cannot make {dtypes.name_of(number)} of a {array.dtype} array")
    if number == tensor_pb2.DT_STRING:
        if array.size:
            raise InvalidArgumentError(f"cannot make string of a {array.dtype} array")
        return array.astype(object)
    dtype = dtypes.numpy_dtype(dtypes.datatype_of(array.dtype) if number is None else number)
    if array.dtype.kind == "c" and dtype.kind != "c":
        raise InvalidArgumentError(f"cannot make {dtype} of a {array.dtype} array")
    return _cast(array, dtype)


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    # A quantised type is a structure of one field, which numpy fills from numbers, but does not take out of another.
    source = array.view(array.dtype[0]) if array.dtype.fields and array.dtype != dtype else array
    try:
        if dtype.fields and not source.dtype.fields:
            return source.astype(dtype[0]).view(dtype)
        return source.astype(dtype, copy=False)
    except (TypeError, ValueError) as error:  # times, and one type below 8 bits as another
        raise InvalidArgumentError(f"cannot make {dtype} of a {array.dtype} array: {error}") from None


def _from_python(value: Any, number: int | None) -> Array:
    if value is None:
        raise InvalidArgumentError("tensor value: got None")
    if number == tensor_pb2.DT_STRING or (number is None and _has_strings(value)):
        # Through object arrays: numpy's own string arrays drop trailing NUL bytes.
        return _dense(value, np.dtype(object))
    if number is None:
        array = _dense(value, None)
        if array.dtype == np.float64:
            return array.astype(np.float32)
        if array.dtype == np.int64:
            narrow = array.astype(np.int32)
            return narrow if np.array_equal(narrow, array) else array
        if array.dtype.kind in "OSU":  # numpy turns the numbers of a mixed list into text
            raise InvalidArgumentError(f"cannot make a tensor of {reprlib.repr(value)}")
        return array
    dtype = dtypes.numpy_dtype(number)
    natural = _dense(value, None)
    if natural.size and not _fits_kind(_kind_of(natural), dtype, number):
        raise InvalidArgumentError(f"cannot make {dtypes.name_of(number)} of {reprlib.repr(value)}")
    if dtype.fields:
        return _dense(value, dtype[0]).view(dtype)
    return _dense(value, dtype)


def _kind_of(natural: Array) -> str:
    """The letter that numpy has for the kind of the elements; objects that are no numpy type may be numbers, too."""
    if natural.dtype.kind != "O":
        return natural.dtype.kind
    for kind, abstract in (("i", numbers.Integral), ("f", numbers.Real), ("c", numbers.Complex)):
        if all(isinstance(element, abstract) for element in natural.flat):
            return kind
    return "O"


def _fits_kind(natural: str, wanted: np.dtype[Any], number: int) -> bool:
    """May Python values of that kind become `wanted`? Ints become floats, not the reverse."""
    if natural == "b":
        return True
    if number == tensor_pb2.DT_BOOL:
        return False
    if wanted.kind == "c":
        return natural in "iufc"
    if wanted.kind == "f" or number == tensor_pb2.DT_BFLOAT16 or number in _FLOAT8:
        return natural in "iufV"
    return natural in "iuV"


def _dense(value: Any, dtype: np.dtype[Any] | None) -> Array:
    try:
        array = np.array(value, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgumentError(f"cannot make a tensor of {reprlib.repr(value)}: {error}") from None
    if array.dtype == object and any(isinstance(element, list | tuple) for element in array.flat):
        raise InvalidArgumentError(f"lists of unequal length: got {reprlib.repr(value)}")
    return array


def _has_strings(value: Any) -> bool:
    """Does a nested list hold text? Its first leaf tells; a list of text and numbers fails when it is encoded."""
    while isinstance(value, list | tuple):
        if not value:
            return False
        value = value[0]
    return isinstance(value, str | bytes)


def _to_bytes(element: Any) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"string tensor: element {reprlib.repr(element)}: {error}") from None
    raise InvalidArgumentError(f"string tensor: got element {reprlib.repr(element)}, want str or bytes")


def _fill_typed_field(proto: TensorProto, flat: Array) -> None:
    if proto.dtype in _FLOAT8:
        proto.float8_val = flat.tobytes()
        return
    field, view = _TYPED_FIELDS.get(proto.dtype, ("int_val", None))
    if view is not None:
        elements = np.ascontiguousarray(flat).view(view)
    elif flat.dtype.fields:
        elements = flat.view(flat.dtype[0])
    else:
        elements = flat.astype(np.int32)
    getattr(proto, field).extend(elements.tolist())


def _from_content(content: bytes, number: int, dtype: np.dtype[Any], elements: int) -> Array:
    if number == tensor_pb2.DT_STRING:
        return _split_strings(content, elements)
    if len(content) != elements * dtype.itemsize:
        raise DataError(
            f"tensor of {elements} {dtypes.name_of(number)} elements: got {len(content)} bytes of tensor_content, "
            f"want {elements * dtype.itemsize}"
        )
    if number == tensor_pb2.DT_BOOL:
        # Other bytes than 0 and 1 would make numpy's booleans misbehave.
        return np.not_equal(np.frombuffer(content, np.uint8), 0)
    return np.frombuffer(content, dtype)


def _split_strings(content: bytes, elements: int) -> Array:
    """The C++ runtime's packing of strings: the lengths of all as varints, then their bytes."""
    if elements > len(content):
        raise DataError(
            f"tensor of {elements} strings: got {len(content)} bytes of tensor_content, want {elements} or more"
        )
    lengths = []
    position = 0
    for _ in range(elements):
        length = shift = 0
        while True:
            if position == len(content) or shift > 28:
                raise DataError(f"tensor of {elements} strings: bad length at byte {position} of tensor_content")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise DataError(
            f"tensor of {elements} strings: got {len(content)} bytes of tensor_content, want {position + sum(lengths)}"
        )
    values = np.empty(elements, object)
    for index, length in enumerate(lengths):
        values[index] = content[position : position + length]
        position += length
    return values


def _from_typed_field(tensor: TensorProto, number: int, dtype: np.dtype[Any]) -> Array:
    if number == tensor_pb2.DT_STRING:
        values = np.empty(len(tensor.string_val), object)
        values[:] = list(tensor.string_val)
        return values
    if number in _FLOAT8:
        return np.frombuffer(tensor.float8_val, np.uint8).view(dtype)
    field, stored = _TYPED_FIELDS.get(number, ("int_val", None))
    raw = getattr(tensor, field)
    try:
        if stored is not None:
            return np.array(raw, stored).view(dtype)
        if dtype.fields:
            return np.array(raw, dtype[0]).view(dtype)
        return _exact_integers(np.array(raw, np.int64), dtype)
    except (OverflowError, ValueError) as error:
        raise DataError(f"tensor of dtype {dtypes.name_of(number)}: {field}: {error}") from None


def _exact_integers(wide: Array, dtype: np.dtype[Any]) -> Array:
    values = wide.astype(dtype)
    if not np.array_equal(values.astype(np.int64), wide):
        raise ValueError(f"a value is out of range for {dtype}")
    return values


def _expand(values: Array, shape: tuple[int, ...], elements: int, dtype: np.dtype[Any], limit: int) -> Array:
    try:
        if values.size == elements:
            return values.reshape(shape)
        if values.size > 1:
            if elements * dtype.itemsize > limit:
                raise UnsupportedError(
                    f"tensor of shape {reprlib.repr(list(shape))}: {values.size} values expand to "
                    f"{elements * dtype.itemsize} bytes, want <= {limit}"
                )
            full = np.empty(elements, dtype)
            full[: values.size] = values
            full[values.size :] = values[-1]
            return full.reshape(shape)
        if values.size == 0:
            values = np.array([b""], object) if dtype.kind == "O" else np.zeros(1, dtype)
        return np.broadcast_to(values.reshape(()), shape)
    except ValueError as error:  # numpy counts elements and dimensions in fewer bits than the format
        raise UnsupportedError(f"tensor of shape {reprlib.repr(list(shape))}: {error}") from None
