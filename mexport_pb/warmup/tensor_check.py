"""Does the value of a tensor fit what a signature says of an input?"""

from __future__ import annotations

import reprlib
from typing import Final

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DataType, TensorProto, TensorShapeProto
from mexport_pb.errors import DataError, InvalidArgumentError, UnsupportedError
from mexport_pb.messages.shapes import count_elements, shape_to_list
from mexport_pb.messages.tensors import tensor_proto_to_array

__all__ = ["dtype_name", "why_unfit"]

_MAX_BYTES: Final = 2**31 - 1
_STRING_BYTES: Final = 24
"""What a server takes for an empty string."""


def why_unfit(tensor: TensorProto, dtype: int | None, shape: TensorShapeProto | None) -> str | None:
    """Why a value cannot be fed to a tensor of that dtype and shape (None: of any), or None if it can."""
    if dtype is not None and tensor.dtype != _base(dtype):
        return f"dtype: got {dtype_name(tensor.dtype)}, want {dtype_name(_base(dtype))}"
    try:
        elements = count_elements(tensor.tensor_shape)
        wanted = None if shape is None else shape_to_list(shape)
        got = [dim.size for dim in tensor.tensor_shape.dim]
        if wanted is not None and not _fits(got, wanted):
            return f"shape: got {reprlib.repr(got)}, want {_show(wanted)}"
        size = elements * (dtypes.element_size(tensor.dtype) or _STRING_BYTES)
        if size > _MAX_BYTES:
            return f"value: got {size} bytes of {elements} elements, want at most {_MAX_BYTES}"
        tensor_proto_to_array(tensor, max_expanded_bytes=_MAX_BYTES)
    except (DataError, UnsupportedError, InvalidArgumentError) as error:
        return f"value: {error}"
    return None


def dtype_name(number: int) -> str:
    """The name for a message; numbers that are no dtype are shown as they are."""
    if number == 0:
        return "none"
    return dtypes.name_of(number) if number in DataType.values() else str(number)


def _base(number: int) -> int:
    return dtypes.base_datatype(number) if number in DataType.values() else number


def _fits(got: list[int], wanted: list[int | None]) -> bool:
    return len(got) == len(wanted) and all(want in (None, size) for size, want in zip(got, wanted, strict=True))


def _show(sizes: list[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in sizes) + "]"
