"""Static shapes: Python lists and TensorShapeProto turned into one another."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb.errors import DataError, InvalidArgumentError
from mexport_pb.messages.wire import to_message

__all__ = ["MAX_DIMENSIONS", "ShapeLike", "count_elements", "make_tensor_shape", "shape_to_list"]

MAX_DIMENSIONS: Final = 254
"""TensorFlow has no shape of more."""

ShapeLike: TypeAlias = Sequence[int | None] | Message | Any | None
"""None (unknown rank), a sequence of sizes with None or -1 where unknown, a TensorShapeProto, or anything with an
``as_proto()`` or ``as_list()`` (a tf.TensorShape)."""


def make_tensor_shape(shape: ShapeLike) -> TensorShapeProto:
    """The TensorShapeProto of a shape, see :data:`ShapeLike`.

    Raises:
        InvalidArgumentError: not a shape, or a size below -1.
    """
    if shape is None:
        return TensorShapeProto(unknown_rank=True)
    if isinstance(shape, Message):
        return to_message(shape, TensorShapeProto)
    if hasattr(shape, "as_proto"):
        return to_message(shape.as_proto(), TensorShapeProto)
    if hasattr(shape, "as_list"):
        return make_tensor_shape(shape.as_list())
    if isinstance(shape, str | bytes) or not hasattr(shape, "__iter__"):
        raise InvalidArgumentError(f"not a shape: got {reprlib.repr(shape)}, want None or a sequence of sizes")
    proto = TensorShapeProto()
    for size in shape:
        proto.dim.add(size=_size(size, shape))
    return proto


def shape_to_list(shape: Message) -> list[int | None] | None:
    """The sizes of a TensorShapeProto with None where unknown; None for an unknown rank."""
    proto = shape if isinstance(shape, TensorShapeProto) else to_message(shape, TensorShapeProto)
    if proto.unknown_rank:
        return None
    return [None if dim.size < 0 else dim.size for dim in proto.dim]


def count_elements(shape: TensorShapeProto) -> int:
    """How many elements a tensor of that shape has, fewer than 2**63.

    Raises:
        DataError: the shape is not fully known, or none that TensorFlow has.
    """
    if shape.unknown_rank:
        raise DataError("got an unknown rank, want a fully known shape")
    # Before anything else: the product of very many sizes takes very long, and so does printing it.
    if len(shape.dim) > MAX_DIMENSIONS:
        raise DataError(f"shape: got {len(shape.dim)} dimensions, want <= {MAX_DIMENSIONS}")
    sizes = [dim.size for dim in shape.dim]
    if any(size < 0 for size in sizes):
        raise DataError(f"got shape {reprlib.repr(sizes)}, want a fully known one")
    elements = math.prod(sizes)
    if elements >= 2**63:
        raise DataError(f"got shape {reprlib.repr(sizes)}, want fewer than 2**63 elements")
    return elements


def _size(size: Any, shape: object) -> int:
    if size is None:
        return -1
    try:
        number = operator.index(size)
    except TypeError:
        raise InvalidArgumentError(
            f"shape {reprlib.repr(shape)}: got size {reprlib.repr(size)}, want an integer or None"
        ) from None
    if not -1 <= number < 2**63:
        raise InvalidArgumentError(f"shape {reprlib.repr(shape)}: got size {number}, want -1 or more")
    return number
