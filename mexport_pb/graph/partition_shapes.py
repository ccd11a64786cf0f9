"""Static shapes of the outputs of ops that part tensors and put the parts together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mexport_pb import dtypes
from mexport_pb.graph.shapes import merge
from mexport_pb.graph.tensor import Shape

if TYPE_CHECKING:
    from mexport_pb.graph.shape_functions import InferenceContext

__all__ = ["PARTITION_SHAPES"]


def _bitcast(context: InferenceContext) -> Sequence[Shape]:
    (tensor,) = context.inputs
    before, after = (dtypes.numpy_dtype(one) for one in (tensor.dtype, context.attr("type").type))
    # Elements of another size make one more or one fewer axis.
    return [context.shape(0) if before.itemsize == after.itemsize else None]


def _dynamic_partition(context: InferenceContext) -> Sequence[Shape]:
    data, partitions = context.shape(0), context.shape(1)
    part: Shape = None
    if data is not None and partitions is not None:
        merge(data[: len(partitions)], partitions)
        part = (None, *data[len(partitions) :])
    return [part] * context.outputs


def _dynamic_stitch(context: InferenceContext) -> Sequence[Shape]:
    count = len(context.inputs) // 2
    rest: Shape = None
    for at in range(count):
        indices, data = context.shape(at), context.shape(count + at)
        if indices is not None and data is not None:
            rest = merge(rest, data[len(indices) :])
    return [None if rest is None else (None, *rest)]


PARTITION_SHAPES: Final = {
    "Bitcast": _bitcast,
    "DynamicPartition": _dynamic_partition,
    "DynamicStitch": _dynamic_stitch,
    "ParallelDynamicStitch": _dynamic_stitch,
}
"""Shape functions by op."""
