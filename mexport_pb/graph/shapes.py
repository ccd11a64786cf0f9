"""Arithmetic of static shapes, and what is known of a tensor's value before the graph runs."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import TensorProto
from mexport_pb.errors import DataError, InvalidArgumentError, UnsupportedError
from mexport_pb.graph.tensor import Shape, Tensor
from mexport_pb.messages import tensor_proto_to_array

__all__ = [
    "broadcast",
    "constant_of",
    "merge",
    "normalise_axis",
    "permute",
    "product",
    "shape_value",
    "slice_size",
    "with_rank",
]

# Constants that say something about shapes are short; longer ones are data.
_MAX_CONSTANT: Final = 256
# How far a shape is followed through the nodes that compute it.
_MAX_DEPTH: Final = 8


def broadcast(left: Shape, right: Shape) -> Shape:
    """Return the shape that two operands have together.

    Raises:
        InvalidArgumentError: sizes differ and none of them is 1.
    """
    if left is None or right is None:
        return None
    rank = max(len(left), len(right))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (left, right)]
    sizes: list[int | None] = []
    for a, b in zip(*padded, strict=True):
        if b in (a, 1):
            sizes.append(a)
        elif a == 1:
            sizes.append(b)
        elif a is None or b is None:
            # The unknown one must be 1 or the same.
            sizes.append(b if a is None else a)
        else:
            raise InvalidArgumentError(f"shapes of operands: got {list(left)} and {list(right)}")
    return tuple(sizes)


def merge(left: Shape, right: Shape) -> Shape:
    """Return what two descriptions of one shape say together.

    Raises:
        InvalidArgumentError: they contradict each other.
    """
    if left is None or right is None:
        return right if left is None else left
    if len(left) != len(right) or any(
        a is not None and b is not None and a != b for a, b in zip(left, right, strict=True)
    ):
        raise InvalidArgumentError(f"shapes of equal tensors: got {list(left)} and {list(right)}")
    return tuple(b if a is None else a for a, b in zip(left, right, strict=True))


def with_rank(shape: Shape, rank: int) -> tuple[int | None, ...]:
    """Return the shape, or one of unknown sizes if its rank was unknown.

    Raises:
        InvalidArgumentError: it has another rank.
    """
    if shape is None:
        return (None,) * rank
    if len(shape) != rank:
        raise InvalidArgumentError(f"shape: got {list(shape)}, want rank {rank}")
    return shape


def normalise_axis(axis: int, rank: int) -> int:
    """Return an axis counted from the front.

    Raises:
        InvalidArgumentError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise InvalidArgumentError(f"axis of a tensor of rank {rank}: got {axis}")
    return axis % rank


def product(shape: Shape) -> int | None:
    """Return the number of elements, None if it is unknown."""
    if shape is None:
        return None
    if 0 in shape:
        return 0
    known = [size for size in shape if size is not None]
    return math.prod(known) if len(known) == len(shape) else None


def permute(shape: Shape, order: list[int] | None, order_shape: Shape) -> Shape:
    """Return the shape of a transposed tensor.

    Raises:
        InvalidArgumentError: ``order`` is no permutation of the axes.
    """
    if order is None:
        rank = len(shape) if shape is not None else (order_shape[0] if order_shape else None)
        return None if rank is None else (None,) * rank
    if shape is None:
        return (None,) * len(order)
    axes = [normalise_axis(axis, len(shape)) for axis in order]
    if sorted(axes) != list(range(len(shape))):
        raise InvalidArgumentError(f"order of the axes of a tensor of rank {len(shape)}: got {order}")
    return tuple(shape[axis] for axis in axes)


def slice_size(size: int | None, begin: int | None, end: int | None, step: int) -> int | None:
    """Return how many elements ``[begin:end:step]`` takes of an axis, None if that is unknown.

    Raises:
        InvalidArgumentError: the step is 0.
    """
    if step == 0:
        raise InvalidArgumentError("step of a slice: got 0")
    if size is not None:
        return len(range(*slice(begin, end, step).indices(size)))
    # Of an unknown size only an empty slice is known, as [0:0].
    same_sign = begin is not None and end is not None and (begin < 0) == (end < 0)
    if same_sign and begin is not None and end is not None and (end - begin) * step <= 0:
        return 0
    return None


def constant_of(tensor: Tensor, *, integers_only: bool = True) -> list[int] | None:
    """Return the numbers of a short constant, flat; None for any other tensor.

    Args:
        tensor: Of any kind.
        integers_only: False takes constants of floating-point numbers too.
    """
    array = _constant_array(tensor)
    if array is None or (integers_only and array.dtype.kind not in "iu") or array.dtype.kind not in "iuf":
        return None
    return list(array.ravel().tolist())


def _constant_array(tensor: Tensor) -> np.ndarray[Any, Any] | None:
    shape = tensor.static_shape
    elements = product(shape)
    if elements is None or elements > _MAX_CONSTANT:
        return None
    if tensor.op.type == "Cast" and tensor.op.inputs[0].op.type == "Const":
        inner = _constant_array(tensor.op.inputs[0])
        return (
            None if inner is None or inner.dtype.kind not in "iuf" else inner.astype(dtypes.numpy_dtype(tensor.dtype))
        )
    if tensor.op.type != "Const":
        return None
    proto: TensorProto = tensor.op.node_def.attr["value"].tensor
    try:
        return tensor_proto_to_array(proto)
    except (DataError, UnsupportedError):
        return None


def shape_value(tensor: Tensor, depth: int = 0) -> Shape:
    """Return the shape that an integer vector holds, as far as it is known before the graph runs.

    Constants, the shapes of tensors, and packed, joined and sliced pieces of these are followed.
    """
    constant = constant_of(tensor)
    if constant is not None:
        return tuple(None if size < 0 else size for size in constant)
    length = tensor.static_shape
    unknown: Shape = (None,) * length[0] if length and length[0] is not None else None
    if depth == _MAX_DEPTH:
        return unknown
    inputs = tensor.op.inputs
    match tensor.op.type:
        case "Shape":
            return inputs[0].static_shape
        case "Pack" if tensor.static_shape is not None and len(tensor.static_shape) == 1:
            return tuple(_scalar_value(one, depth + 1) for one in inputs)
        case "ConcatV2":
            parts = [shape_value(one, depth + 1) for one in inputs[:-1]]
            if any(part is None for part in parts):
                return unknown
            return tuple(size for part in parts if part is not None for size in part)
        case "StridedSlice":
            return _sliced(tensor, depth) if length and len(length) == 1 else unknown
        case "Fill" if length and length[0] is not None:
            value = _scalar_value(inputs[1], depth + 1)
            return unknown if value is None else (value,) * length[0]
        case "Cast" | "Identity":
            return shape_value(inputs[0], depth + 1)
    return unknown


def _scalar_value(tensor: Tensor, depth: int) -> int | None:
    constant = constant_of(tensor)
    if constant is not None and len(constant) == 1:
        return None if constant[0] < 0 else constant[0]
    if tensor.op.type == "StridedSlice" and tensor.op.node_def.attr["shrink_axis_mask"].i == 1:
        begin = constant_of(tensor.op.inputs[1])
        value = shape_value(tensor.op.inputs[0], depth + 1)
        if value is not None and begin is not None and len(begin) == 1 and -len(value) <= begin[0] < len(value):
            return value[begin[0]]
    return None


def _sliced(tensor: Tensor, depth: int) -> Shape:
    attrs = tensor.op.node_def.attr
    value = shape_value(tensor.op.inputs[0], depth + 1)
    bounds = [constant_of(one) for one in tensor.op.inputs[1:]]
    length = tensor.static_shape
    unknown: Shape = (None,) * length[0] if length and length[0] is not None else None
    if value is None or any(bound is None or len(bound) != 1 for bound in bounds):
        return unknown
    if attrs["ellipsis_mask"].i or attrs["new_axis_mask"].i:
        return unknown
    begin, end, step = (bound[0] for bound in bounds if bound is not None)
    return value[
        slice(
            None if attrs["begin_mask"].i & 1 else begin,
            None if attrs["end_mask"].i & 1 else end,
            step or 1,
        )
    ]
