"""What tensors of either kind of graph say of themselves, and small nodes on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from mexport_pb import dtypes
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.emitter import Emitter

__all__ = ["Shape", "as_ids", "concat", "datatype_of_tensor", "placeholder", "static_shape", "with_shape"]

Shape: TypeAlias = tuple[int | None, ...] | None
"""A static shape: None for an unknown rank, within it None for an unknown size."""


def static_shape(tensor: Any) -> Shape:
    """The static shape of a tensor of a GraphBuilder or a ``tf.Graph``."""
    shape = tensor.shape
    # A TensorShape has a rank, None if it is unknown; the shapes of a GraphBuilder are lists.
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return tuple(shape.as_list() if hasattr(shape, "as_list") else shape)


def datatype_of_tensor(tensor: Any) -> int:
    """The DataType number of a tensor of either kind; that of the elements for a reference."""
    return dtypes.base_datatype(int(getattr(tensor.dtype, "as_datatype_enum", tensor.dtype)))


def placeholder(graph: Emitter, dtype: int, shape: Shape, name: str = "Placeholder") -> Any:
    """An input of the graph."""
    attrs = {"dtype": dtype, "shape": None if shape is None else list(shape)}
    return graph.op("Placeholder", attrs=attrs, name=name).outputs[0]


def with_shape(graph: Emitter, tensor: Any, shape: Shape) -> Any:
    """The tensor with what is known of its shape; an element too many or too few is an error of the step that runs.

    The tensor itself where it says as much already.
    """
    if shape is None:
        return tensor
    known = static_shape(tensor)
    same_rank = known is not None and len(known) == len(shape)
    if same_rank and all(want in (None, got) for got, want in zip(known or (), shape, strict=True)):
        return tensor
    return graph.op("EnsureShape", [tensor], attrs={"shape": list(shape)}).outputs[0]


def concat(graph: Emitter, tensors: Sequence[Any]) -> Any:
    """One behind another. An op of one tensor is refused; the tensor itself may not be copied to serve."""
    return graph.op("ConcatV2", [list(tensors), 0]).outputs[0] if len(tensors) > 1 else tensors[0]


def as_ids(graph: Emitter, ids: Any, what: str) -> Any:
    """An int64 tensor, or a list of ids as a constant.

    Raises:
        InvalidArgumentError: it is of another type or rank than [n].
    """
    if not (hasattr(ids, "dtype") and hasattr(ids, "op")):
        ids = graph.const(ids, dtypes.datatype_of("int64"))
    if datatype_of_tensor(ids) != dtypes.datatype_of("int64"):
        got = dtypes.name_of(datatype_of_tensor(ids))
        raise InvalidArgumentError(f"{what}: got ids of {got}, want int64")
    shape = static_shape(ids)
    if shape is not None and len(shape) != 1:
        raise InvalidArgumentError(f"{what}: got ids of shape {list(shape)}, want [n]")
    return ids
