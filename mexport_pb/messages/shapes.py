"""Static shapes: Python lists and TensorShapeProto turned into one another."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

from google.protobuf.message import Message

from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.wire import to_message

__all__ = ["ShapeLike", "make_tensor_shape", "shape_to_list"]

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
        raise InvalidArgumentError(f"not a shape: got {shape!r}, want None or a sequence of sizes")
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


def _size(size: Any, shape: object) -> int:
    if size is None:
        return -1
    try:
        number = operator.index(size)
    except TypeError:
        raise InvalidArgumentError(f"shape {shape!r}: got size {size!r}, want an integer or None") from None
    if not -1 <= number < 2**63:
        raise InvalidArgumentError(f"shape {shape!r}: got size {number}, want -1 or more")
    return number
