"""Element types: the ``DataType`` enum of the schemas, numpy's dtypes, and names, turned into one another.

Below every room, so that bundles and messages speak of the same types. bfloat16, float8, float4 and the integers of
fewer than 8 bits come from ``ml_dtypes``; the quantised types are one-field structures, as TensorFlow gives them to
numpy (``[("qint8", "i1")]``); strings are ``object`` arrays of bytes.
"""

from __future__ import annotations

import functools
from typing import Any, Final, TypeAlias

import numpy as np

from mexport_pb._proto import tensor_pb2
from mexport_pb.errors import InvalidArgumentError

__all__ = [
    "DTypeLike",
    "base_datatype",
    "datatype_of",
    "element_size",
    "is_ref",
    "name_of",
    "numpy_dtype",
    "ref_datatype",
]

DTypeLike: TypeAlias = Any
"""A DataType number, a name ("float32", "DT_FLOAT", "float32_ref"), a numpy dtype or type, float, int, bool, complex,
str, bytes, or anything with an ``as_datatype_enum`` (a tf.DType)."""

_REF_OFFSET: Final = 100

# The names that users see. Those of numpy and ml_dtypes, except for the types that numpy has not.
_NAMES: Final[dict[int, str]] = {
    tensor_pb2.DT_FLOAT: "float32",
    tensor_pb2.DT_DOUBLE: "float64",
    tensor_pb2.DT_INT32: "int32",
    tensor_pb2.DT_UINT8: "uint8",
    tensor_pb2.DT_INT16: "int16",
    tensor_pb2.DT_INT8: "int8",
    tensor_pb2.DT_STRING: "string",
    tensor_pb2.DT_COMPLEX64: "complex64",
    tensor_pb2.DT_INT64: "int64",
    tensor_pb2.DT_BOOL: "bool",
    tensor_pb2.DT_QINT8: "qint8",
    tensor_pb2.DT_QUINT8: "quint8",
    tensor_pb2.DT_QINT32: "qint32",
    tensor_pb2.DT_BFLOAT16: "bfloat16",
    tensor_pb2.DT_QINT16: "qint16",
    tensor_pb2.DT_QUINT16: "quint16",
    tensor_pb2.DT_UINT16: "uint16",
    tensor_pb2.DT_COMPLEX128: "complex128",
    tensor_pb2.DT_HALF: "float16",
    tensor_pb2.DT_RESOURCE: "resource",
    tensor_pb2.DT_VARIANT: "variant",
    tensor_pb2.DT_UINT32: "uint32",
    tensor_pb2.DT_UINT64: "uint64",
    tensor_pb2.DT_FLOAT8_E5M2: "float8_e5m2",
    tensor_pb2.DT_FLOAT8_E4M3FN: "float8_e4m3fn",
    tensor_pb2.DT_FLOAT8_E4M3FNUZ: "float8_e4m3fnuz",
    tensor_pb2.DT_FLOAT8_E4M3B11FNUZ: "float8_e4m3b11fnuz",
    tensor_pb2.DT_FLOAT8_E5M2FNUZ: "float8_e5m2fnuz",
    tensor_pb2.DT_INT4: "int4",
    tensor_pb2.DT_UINT4: "uint4",
    tensor_pb2.DT_INT2: "int2",
    tensor_pb2.DT_UINT2: "uint2",
    tensor_pb2.DT_FLOAT4_E2M1FN: "float4_e2m1fn",
}

_QUANTISED: Final[dict[int, str]] = {
    tensor_pb2.DT_QINT8: "i1",
    tensor_pb2.DT_QUINT8: "u1",
    tensor_pb2.DT_QINT16: "i2",
    tensor_pb2.DT_QUINT16: "u2",
    tensor_pb2.DT_QINT32: "i4",
}

# Opaque to numpy: their elements are handles and serialised objects.
_WITHOUT_NUMPY: Final = frozenset({tensor_pb2.DT_RESOURCE, tensor_pb2.DT_VARIANT})
_OF_VARIABLE_SIZE: Final = _WITHOUT_NUMPY | {tensor_pb2.DT_STRING}

# What tf.constant makes of Python's own values.
_PYTHON_TYPES: Final[dict[type, int]] = {
    float: tensor_pb2.DT_FLOAT,
    int: tensor_pb2.DT_INT32,
    bool: tensor_pb2.DT_BOOL,
    str: tensor_pb2.DT_STRING,
    bytes: tensor_pb2.DT_STRING,
    object: tensor_pb2.DT_STRING,
}


def _names_to_numbers() -> dict[str, int]:
    names = {name: number for number, name in _NAMES.items()}
    names |= {"half": tensor_pb2.DT_HALF, "float": tensor_pb2.DT_FLOAT, "double": tensor_pb2.DT_DOUBLE}
    names |= {f"{name}_ref": number + _REF_OFFSET for name, number in names.items()}
    names |= {name: number for name, number in tensor_pb2.DataType.items() if number != tensor_pb2.DT_INVALID}
    return names


_NUMBERS: Final = _names_to_numbers()


@functools.cache
def _numpy_dtypes() -> dict[int, np.dtype[Any]]:
    import ml_dtypes

    dtypes: dict[int, np.dtype[Any]] = {}
    for number, name in _NAMES.items():
        if number in _WITHOUT_NUMPY:
            continue
        if number == tensor_pb2.DT_STRING:
            dtypes[number] = np.dtype(object)
        elif number in _QUANTISED:
            dtypes[number] = np.dtype([(name, _QUANTISED[number])])
        else:
            dtypes[number] = np.dtype(getattr(ml_dtypes, name, name))
    return dtypes


@functools.cache
def _numpy_numbers() -> dict[np.dtype[Any], int]:
    return {dtype: number for number, dtype in _numpy_dtypes().items()}


def is_ref(datatype: int) -> bool:
    """True for the reference form of a type (``DT_FLOAT_REF``), which only ref variables have."""
    return _known(datatype) > _REF_OFFSET


def base_datatype(datatype: int) -> int:
    """The type itself, for a type and for its reference form."""
    number = _known(datatype)
    return number - _REF_OFFSET if number > _REF_OFFSET else number


def ref_datatype(datatype: int) -> int:
    """The reference form, for a type and for its reference form."""
    return base_datatype(datatype) + _REF_OFFSET


def name_of(datatype: int) -> str:
    """The short name: "float32", "string", "bfloat16"; "float32_ref" for a reference form."""
    name = _NAMES[base_datatype(datatype)]
    return f"{name}_ref" if is_ref(datatype) else name


def numpy_dtype(datatype: int) -> np.dtype[Any]:
    """The numpy dtype of a type or of its reference form; ``object`` for strings.

    Raises:
        InvalidArgumentError: an unknown number, or a resource or variant, which have no numpy form.
    """
    number = base_datatype(datatype)
    if number in _WITHOUT_NUMPY:
        raise InvalidArgumentError(f"dtype {_NAMES[number]} has no numpy form")
    return _numpy_dtypes()[number]


def element_size(datatype: int) -> int | None:
    """Bytes that one element takes in memory and in a bundle; None for strings, resources and variants.

    The types of fewer than 8 bits take one byte each.
    """
    number = base_datatype(datatype)
    return None if number in _OF_VARIABLE_SIZE else _numpy_dtypes()[number].itemsize


def datatype_of(dtype: DTypeLike) -> int:
    """The ``DataType`` number of whatever names an element type, see :data:`DTypeLike`.

    ``float`` is float32 and ``int`` is int32, as in ``tf.constant``. numpy's byte, str and object dtypes are strings.
    Byte order plays no part: a big-endian float32 is a float32.

    Raises:
        InvalidArgumentError: nothing known by that number or name, or a numpy dtype without a TensorFlow counterpart.
    """
    if isinstance(dtype, int | np.integer) and not isinstance(dtype, bool):
        return _known(int(dtype))
    if isinstance(dtype, str) and dtype in _NUMBERS:
        return _NUMBERS[dtype]
    if isinstance(dtype, type) and dtype in _PYTHON_TYPES:
        return _PYTHON_TYPES[dtype]
    enum = getattr(dtype, "as_datatype_enum", None)
    if enum is not None:
        return _known(int(enum))
    numbers = _numpy_numbers()
    try:
        native = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"unknown dtype: got {dtype!r}") from None
    if dtype is None:  # numpy reads None as float64
        raise InvalidArgumentError("unknown dtype: got None")
    if native.kind in "SU":
        return tensor_pb2.DT_STRING
    if native not in numbers:
        raise InvalidArgumentError(f"numpy dtype without a TensorFlow counterpart: got {dtype!r}")
    return numbers[native]


def _known(datatype: int) -> int:
    base = datatype - _REF_OFFSET if datatype > _REF_OFFSET else datatype
    if base not in _NAMES:
        raise InvalidArgumentError(f"unknown dtype number: got {datatype}")
    return datatype
