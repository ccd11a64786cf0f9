"""The operator ``x[...]`` in terms of StridedSlice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_INT32, DT_INT64
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.tensor import Tensor
from mexport_pb.graph.variable import Variable

if TYPE_CHECKING:
    from mexport_pb.graph.ops_array import ArrayOps

__all__ = ["Slicing", "slicing_of"]


@dataclass(slots=True)
class Slicing:
    """The inputs and masks of a StridedSlice, an element and a bit for each entry of the key."""

    begin: list[Any] = field(default_factory=list)
    end: list[Any] = field(default_factory=list)
    strides: list[Any] = field(default_factory=list)
    masks: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0
        )
    )

    def add(self, begin: Any, end: Any, stride: Any, *masks: str) -> None:
        """Append an entry and set its bit in the masks."""
        for mask in masks:
            self.masks[mask] |= 1 << len(self.begin)
        self.begin.append(begin)
        self.end.append(end)
        self.strides.append(stride)


def slicing_of(graph: ArrayOps, key: Any) -> Slicing:
    """Translate the key of ``x[key]``; bounds that are tensors may need nodes.

    Raises:
        InvalidArgumentError: an entry that is no int, slice, None, ``...`` or scalar tensor of int32 or int64.
    """
    slicing = Slicing()
    for entry in key if isinstance(key, tuple | list) else [key]:
        if entry is Ellipsis:
            if slicing.masks["ellipsis_mask"]:
                raise InvalidArgumentError("index: got `...` twice")
            slicing.add(0, 0, 1, "ellipsis_mask")
        elif entry is None:
            slicing.add(0, 0, 1, "new_axis_mask")
        elif isinstance(entry, slice):
            _add_slice(graph, slicing, entry)
        else:
            index = _bound(graph, entry)
            if isinstance(index, Tensor):
                after = graph.op("AddV2", [index, 1], name="add").output
                is_long = dtypes.base_datatype(index.dtype) == DT_INT64
                slicing.add(index, after, graph.const(1, DT_INT64) if is_long else 1, "shrink_axis_mask")
            else:
                slicing.add(index, index + 1, 1, "shrink_axis_mask")
    return slicing


def _add_slice(graph: ArrayOps, slicing: Slicing, entry: slice) -> None:
    bounds = [None if one is None else _bound(graph, one) for one in (entry.start, entry.stop, entry.step)]
    datatype = max((dtypes.base_datatype(one.dtype) for one in bounds if isinstance(one, Tensor)), default=None)
    masks = [mask for mask, bound in (("begin_mask", bounds[0]), ("end_mask", bounds[1])) if bound is None]
    begin, end, stride = (
        bound if bound is not None else default if datatype is None else graph.const(default, datatype)
        for bound, default in zip(bounds, (0, 0, 1), strict=True)
    )
    slicing.add(begin, end, stride, *masks)


def _bound(graph: ArrayOps, value: Any) -> Any:
    if isinstance(value, Tensor | Variable):
        tensor = graph.to_tensor(value)
        if dtypes.base_datatype(tensor.dtype) not in (DT_INT32, DT_INT64) or tensor.shape not in (None, []):
            raise InvalidArgumentError(
                f"index: got {tensor!r}, want a scalar of int32 or int64; gather takes rows by a vector of indices,"
                " and where makes indices of a mask"
            )
        return tensor
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise InvalidArgumentError(
        f"index: got {value!r}, want ints, slices, None, `...` or scalar tensors; gather takes rows by indices"
    )
