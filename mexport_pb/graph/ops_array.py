"""Operations on the shape and the elements of tensors, named as ``tf`` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_BOOL, DT_FLOAT, DT_INT32, DT_INT64, DT_STRING
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.core import GraphCore
from mexport_pb.graph.slicing import slicing_of
from mexport_pb.graph.tensor import Tensor
from mexport_pb.graph.variable import Variable

__all__ = ["ArrayOps", "TensorLike"]

TensorLike: TypeAlias = Any
"""A tensor, a variable (its value is read) or a constant."""

# Constants with more equal elements than this are made by a Fill when the graph runs.
_LARGEST_FILLED_CONST = 1000


def _known(shape: list[int | None] | None) -> list[int] | None:
    sizes = None if shape is None else [size for size in shape if size is not None]
    return sizes if shape is not None and sizes is not None and len(sizes) == len(shape) else None


class ArrayOps(GraphCore):
    """Each method adds the nodes that the function of that name in ``tf`` adds, and returns the result.

    All raise InvalidArgumentError for types and shapes that do not go together.
    """

    def identity(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return a tensor with the value of ``x``."""
        return self.op("Identity", [x], name=name).output

    def cast(self, x: TensorLike, dtype: dtypes.DTypeLike, name: str | None = None) -> Tensor:
        """Return ``x`` as another type; ``x`` itself if it is of that type."""
        wanted = dtypes.datatype_of(dtype)
        if isinstance(x, Tensor) and dtypes.base_datatype(x.dtype) == wanted:
            return x
        with self.name_scope(name or "Cast") as scope:
            tensor = self.to_tensor(x, name="x")
            if dtypes.base_datatype(tensor.dtype) == wanted:
                return tensor
            return self.op("Cast", [tensor], attrs={"DstT": wanted}, name=scope).output

    def reshape(self, x: TensorLike, shape: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x`` with another shape, in which one size may be -1."""
        return self.op("Reshape", [x, shape], name=name).output

    def expand_dims(self, x: TensorLike, axis: int, name: str | None = None) -> Tensor:
        """Insert an axis of size 1."""
        return self.op("ExpandDims", [x, axis], name=name).output

    def squeeze(self, x: TensorLike, axis: int | Sequence[int] | None = None, name: str | None = None) -> Tensor:
        """Remove axes of size 1: the given ones, or all."""
        axes = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        return self.op("Squeeze", [x], attrs={"squeeze_dims": axes}, name=name).output

    def concat(self, values: Sequence[TensorLike], axis: int, name: str | None = None) -> Tensor:
        """Join tensors along an axis."""
        if len(values) == 1:
            with self.name_scope(name or "concat"):
                self.const(axis, DT_INT32, name="concat_dim")
                return self.op("Identity", values, name="concat").output
        return self.op("ConcatV2", [list(values), axis], name=name or "concat").output

    def stack(self, values: Sequence[TensorLike], axis: int = 0, name: str | None = None) -> Tensor:
        """Join tensors of one shape along a new axis."""
        return self.op("Pack", [list(values)], attrs={"axis": axis}, name=name or "stack").output

    def unstack(self, x: TensorLike, num: int | None = None, axis: int = 0, name: str | None = None) -> list[Tensor]:
        """Take a tensor apart along an axis; ``num`` is needed where its size is not known."""
        tensor = self.to_tensor(x, name="value")
        if num is None:
            if tensor.shape is None or not -len(tensor.shape) <= axis < len(tensor.shape):
                raise InvalidArgumentError(
                    f"unstack of {tensor.name}: got shape {tensor.shape} and axis {axis}, want num"
                )
            num = tensor.shape[axis]
            if num is None:
                raise InvalidArgumentError(f"unstack of {tensor.name}: axis {axis} has no known size, want num")
        return list(self.op("Unpack", [tensor], attrs={"num": num, "axis": axis}, name=name or "unstack").outputs)

    def transpose(self, x: TensorLike, perm: Sequence[int] | None = None, name: str | None = None) -> Tensor:
        """Permute the axes; by default reverse them, for which the rank must be known."""
        with self.name_scope(name or "transpose") as scope:
            tensor = self.to_tensor(x, name="a")
            if perm is None:
                if tensor.shape is None:
                    raise InvalidArgumentError(f"transpose of {tensor.name}: its rank is unknown, want perm")
                perm = list(range(len(tensor.shape)))[::-1]
            order = np.asarray(perm, np.int32)
            return self.op("Transpose", [tensor, order], name=scope).output

    def split(
        self, value: TensorLike, num_or_size_splits: int | Sequence[int], axis: int = 0, name: str | None = None
    ) -> list[Tensor]:
        """Cut a tensor along an axis: into so many equal parts, or into parts of these sizes (one may be -1)."""
        if isinstance(num_or_size_splits, int):
            attrs = {"num_split": num_or_size_splits}
            return list(self.op("Split", [axis, value], attrs=attrs, name=name or "split").outputs)
        sizes = self.const(list(num_or_size_splits), DT_INT32)
        attrs = {"num_split": len(num_or_size_splits)}
        return list(self.op("SplitV", [value, sizes, axis], attrs=attrs, name=name or "split").outputs)

    def slice(self, x: TensorLike, begin: TensorLike, size: TensorLike, name: str | None = None) -> Tensor:
        """Take a part: from ``begin``, ``size`` elements on each axis (-1: the rest)."""
        return self.op("Slice", [x, begin, size], name=name).output

    def strided_slice(
        self,
        x: TensorLike,
        begin: TensorLike,
        end: TensorLike,
        strides: TensorLike,
        begin_mask: int = 0,
        end_mask: int = 0,
        ellipsis_mask: int = 0,
        new_axis_mask: int = 0,
        shrink_axis_mask: int = 0,
        name: str | None = None,
    ) -> Tensor:
        """Take every ``strides``-th element from ``begin`` to before ``end``, on each axis.

        A mask's bits are entries of ``begin``: bounds to ignore, ``...``, new axes, and axes to drop.
        """
        masks = {
            "begin_mask": begin_mask,
            "end_mask": end_mask,
            "ellipsis_mask": ellipsis_mask,
            "new_axis_mask": new_axis_mask,
            "shrink_axis_mask": shrink_axis_mask,
        }
        return self.op("StridedSlice", [x, begin, end, strides], attrs=masks, name=name).output

    def getitem(self, x: TensorLike, key: Any) -> Tensor:
        """Return ``x[key]``.

        Args:
            x: Of any type.
            key: An int, slice, None (a new axis), ``...``, scalar tensor of int32 or int64, or a tuple of these;
                bounds of slices may be tensors too.
        """
        tensor = self.to_tensor(x)
        slicing = slicing_of(self, key)
        with self.name_scope("strided_slice") as scope:
            if not slicing.begin:
                empty = self.const([], DT_INT32)
                return self.op("StridedSlice", [tensor, empty, empty, empty], attrs=slicing.masks, name=scope).output
            bounds = [self.to_tensor(one, name="stack") for one in (slicing.begin, slicing.end, slicing.strides)]
            if any(one.dtype == DT_INT64 for one in bounds):
                bounds = [self.cast(one, DT_INT64) for one in bounds]
            return self.op("StridedSlice", [tensor, *bounds], attrs=slicing.masks, name=scope).output

    def tile(self, x: TensorLike, multiples: TensorLike, name: str | None = None) -> Tensor:
        """Repeat a tensor along each axis."""
        return self.op("Tile", [x, multiples], name=name).output

    def gather(
        self,
        params: TensorLike,
        indices: TensorLike,
        axis: int = 0,
        batch_dims: int = 0,
        name: str | None = None,
    ) -> Tensor:
        """Take the slices ``indices`` of ``params`` along an axis.

        A resource variable is not read as a whole: its rows are gathered where it lives.
        """
        if isinstance(params, Variable) and params.is_resource and axis == 0 and batch_dims == 0:
            return self.op(
                "ResourceGather", [params, indices], attrs={"dtype": params.dtype}, name=name or "Gather"
            ).output
        attrs = {"batch_dims": batch_dims}
        return self.op("GatherV2", [params, indices, axis], attrs=attrs, name=name or "GatherV2").output

    def embedding_lookup(self, params: Variable, indices: TensorLike, name: str | None = None) -> Tensor:
        """Gather rows of one variable, on the variable's device."""
        with self.name_scope(name or "embedding_lookup") as scope:
            ids = self.to_tensor(indices, name="ids")
            with self.colocate_with(params):
                rows = self.gather(params, ids, name=scope)
            return self.identity(rows)

    def one_hot(
        self,
        indices: TensorLike,
        depth: TensorLike,
        on_value: TensorLike = None,
        off_value: TensorLike = None,
        axis: int = -1,
        dtype: dtypes.DTypeLike = None,
        name: str | None = None,
    ) -> Tensor:
        """Return ``on_value`` (1) at each index, ``off_value`` (0) elsewhere, along a new axis of size ``depth``.

        The type is ``dtype``, or that of a value given as a tensor, or float32.
        """
        with self.name_scope(name or "one_hot") as scope:
            wanted = None if dtype is None else dtypes.datatype_of(dtype)
            for given in (on_value, off_value):
                if wanted is None and isinstance(given, Tensor | Variable):
                    wanted = dtypes.base_datatype(given.dtype)
            wanted = DT_FLOAT if wanted is None else wanted
            on = self.to_tensor(1 if on_value is None else on_value, wanted, name="on_value")
            off = self.to_tensor(0 if off_value is None else off_value, wanted, name="off_value")
            return self.op("OneHot", [indices, depth, on, off], attrs={"axis": axis}, name=scope).output

    def shape(self, x: TensorLike, out_type: dtypes.DTypeLike = DT_INT32, name: str | None = None) -> Tensor:
        """Return the shape of a tensor as a vector; a constant if it is known."""
        with self.name_scope(name or "Shape") as scope:
            tensor = self.to_tensor(x, name="input")
            sizes = _known(tensor.shape)
            if sizes is not None:
                return self.const(sizes, out_type, name=scope)
            return self.op("Shape", [tensor], attrs={"out_type": out_type}, name=scope).output

    def size(self, x: TensorLike, out_type: dtypes.DTypeLike = DT_INT32, name: str | None = None) -> Tensor:
        """Return the number of elements; a constant if it is known."""
        with self.name_scope(name or "Size") as scope:
            tensor = self.to_tensor(x, name="input")
            sizes = _known(tensor.shape)
            if sizes is not None:
                return self.const(int(np.prod(sizes, dtype=np.int64)), out_type, name=scope)
            return self.op("Size", [tensor], attrs={"out_type": out_type}, name=scope).output

    def rank(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return the number of axes; a constant if it is known."""
        with self.name_scope(name or "Rank") as scope:
            tensor = self.to_tensor(x, name="input")
            if tensor.shape is not None:
                return self.const(len(tensor.shape), DT_INT32, name=scope)
            return self.op("Rank", [tensor], name=scope).output

    def zeros(self, shape: Sequence[int], dtype: dtypes.DTypeLike = DT_FLOAT, name: str | None = None) -> Tensor:
        """Return zeros (False, empty strings) of a known shape."""
        datatype = dtypes.datatype_of(dtype)
        zero: object = "" if datatype == DT_STRING else False if datatype == DT_BOOL else 0
        return self._filled(zero, shape, datatype, name or "zeros")

    def ones(self, shape: Sequence[int], dtype: dtypes.DTypeLike = DT_FLOAT, name: str | None = None) -> Tensor:
        """Return ones (True) of a known shape."""
        datatype = dtypes.datatype_of(dtype)
        return self._filled(True if datatype == DT_BOOL else 1, shape, datatype, name or "ones")

    def _filled(self, value: object, shape: Sequence[int], datatype: int, name: str) -> Tensor:
        with self.name_scope(name) as scope:
            sizes = [int(size) for size in shape]
            if np.prod(sizes, dtype=np.float64) < _LARGEST_FILLED_CONST:
                return self.const(value, datatype, sizes, name=scope)
            vector = self.const(sizes, DT_INT32, name="shape_as_tensor")
            return self.op("Fill", [vector, self.const(value, datatype)], name=scope).output

    def zeros_like(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return zeros of the shape and type of ``x``; a constant if its shape is known."""
        with self.name_scope(name or "zeros_like") as scope:
            tensor = self.to_tensor(x, name="tensor")
            sizes = _known(tensor.shape)
            if sizes is not None:
                return self.zeros(sizes, dtypes.base_datatype(tensor.dtype), name=scope)
            return self.op("ZerosLike", [tensor], name=scope).output

    def ones_like(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ones of the shape and type of ``x``; a constant if its shape is known."""
        with self.name_scope(name or "ones_like") as scope:
            tensor = self.to_tensor(x, name="tensor")
            sizes = _known(tensor.shape)
            if sizes is not None:
                return self.ones(sizes, dtypes.base_datatype(tensor.dtype), name=scope)
            return self.op("OnesLike", [tensor], name=scope).output

    def fill(self, dims: TensorLike, value: TensorLike, name: str | None = None) -> Tensor:
        """Return a tensor of shape ``dims`` with one value everywhere."""
        return self.op("Fill", [dims, value], name=name).output

    def range(
        self, start: TensorLike, limit: TensorLike = None, delta: TensorLike = 1, name: str | None = None
    ) -> Tensor:
        """Return ``start``, ``start + delta``, ... below ``limit``; ``range(limit)`` starts at 0."""
        if limit is None:
            start, limit = 0, start
        with self.name_scope(name or "range") as scope:
            parts = [
                self.to_tensor(value, name=part)
                for value, part in ((start, "start"), (limit, "limit"), (delta, "delta"))
            ]
            ranking = [DT_INT32, DT_INT64, DT_FLOAT, dtypes.datatype_of("float64")]
            types = {dtypes.base_datatype(part.dtype) for part in parts}
            if not types <= set(ranking):
                raise InvalidArgumentError(f"range: got {[dtypes.name_of(one) for one in sorted(types)]}")
            widest = max(types, key=ranking.index)
            return self.op("Range", [self.cast(part, widest) for part in parts], name=scope).output

    def where(
        self, condition: TensorLike, x: TensorLike = None, y: TensorLike = None, name: str | None = None
    ) -> Tensor:
        """Return ``x`` where the condition holds, else ``y``; without them, the indices where it holds (int64)."""
        if x is None and y is None:
            return self.op("Where", [condition], name=name).output
        if x is None or y is None:
            raise InvalidArgumentError("where: want both x and y, or neither")
        return self.op("SelectV2", [condition, x, y], name=name).output

    def select(self, condition: TensorLike, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x`` where the condition holds, else ``y``, of one shape (``tf.compat.v1.where``)."""
        return self.op("Select", [condition, x, y], name=name).output

    def argmax(
        self, x: TensorLike, axis: int = 0, output_type: dtypes.DTypeLike = DT_INT64, name: str | None = None
    ) -> Tensor:
        """Return the index of the largest element along an axis."""
        return self.op("ArgMax", [x, axis], attrs={"output_type": output_type}, name=name).output
