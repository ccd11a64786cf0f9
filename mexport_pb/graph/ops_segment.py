"""Pooling: sums and means over segments, and over the looked-up rows of sparse ids."""

from __future__ import annotations

from dataclasses import dataclass

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_BFLOAT16, DT_FLOAT, DT_HALF, DT_INT32
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.ops_array import TensorLike
from mexport_pb.graph.ops_nn import NNOps
from mexport_pb.graph.tensor import Tensor
from mexport_pb.graph.variable import Variable

__all__ = ["RaggedTensor", "SegmentOps", "SparseTensor"]


@dataclass(frozen=True, slots=True)
class SparseTensor:
    """The elements of a tensor that are there.

    Attributes:
        indices: int64 [n, rank], in row-major order.
        values: [n].
        dense_shape: int64 [rank].
    """

    indices: Tensor
    values: Tensor
    dense_shape: Tensor


@dataclass(frozen=True, slots=True)
class RaggedTensor:
    """Rows of different lengths.

    Attributes:
        values: The rows one after the other.
        row_splits: [rows + 1]: where each row begins, and where the last one ends.
    """

    values: Tensor
    row_splits: Tensor


class SegmentOps(NNOps):
    """Each method adds the nodes that the function of that name in ``tf`` adds, and returns the result.

    All raise InvalidArgumentError for types and shapes that do not go together.
    """

    def segment_sum(self, data: TensorLike, segment_ids: TensorLike, name: str | None = None) -> Tensor:
        """Sum the rows of each segment; ``segment_ids`` (int32 or int64 [rows]) must be sorted."""
        return self.op("SegmentSum", [data, segment_ids], name=name).output

    def segment_mean(self, data: TensorLike, segment_ids: TensorLike, name: str | None = None) -> Tensor:
        """Average the rows of each segment; ``segment_ids`` must be sorted."""
        return self.op("SegmentMean", [data, segment_ids], name=name).output

    def unsorted_segment_sum(
        self, data: TensorLike, segment_ids: TensorLike, num_segments: TensorLike, name: str | None = None
    ) -> Tensor:
        """Sum the rows of each of ``num_segments`` segments; rows of negative ids are left out."""
        return self.op("UnsortedSegmentSum", [data, segment_ids, num_segments], name=name).output

    def unsorted_segment_mean(
        self, data: TensorLike, segment_ids: TensorLike, num_segments: TensorLike, name: str | None = None
    ) -> Tensor:
        """Average the rows of each of ``num_segments`` segments; empty ones give 0."""
        with self.name_scope(name or "UnsortedSegmentMean"):
            rows, ids = self.to_tensor(data), self.to_tensor(segment_ids)
            number = self.to_tensor(num_segments)
            counted = self._ones_of_shape(self.shape(ids), dtypes.base_datatype(rows.dtype))
            counts = self.unsorted_segment_sum(counted, ids, number)
            column = number[None]
            new_axes = self.sub(self.rank(rows), self.rank(ids), name="sub")
            known = None if rows.shape is None or ids.shape is None else len(rows.shape) - len(ids.shape)
            shape = self.concat([column, self._ones_of_length(new_axes, known, number.dtype)], 0)
            # As little as TensorFlow knows of it.
            shapes = None if known is None or number.op.type == "Const" else [[None] * (known + 1)]
            divisors = self.maximum(self.op("Reshape", [counts, shape], shapes=shapes).output, 1)
            return self.unsorted_segment_sum(rows, ids, num_segments) / divisors

    def _ones_of_shape(self, shape: Tensor, dtype: int) -> Tensor:
        with self.name_scope("ones") as scope:
            return self.op("Fill", [shape, self.const(1, dtype)], name=scope).output

    def _ones_of_length(self, length: Tensor, known: int | None, dtype: int) -> Tensor:
        with self.name_scope("ones") as scope:
            shape = self.op("Pack", [[length]], name="packed").output
            one = self.const(1, dtypes.base_datatype(dtype))
            return self.op("Fill", [shape, one], name=scope, shapes=[[known]]).output

    def embedding_lookup_sparse(
        self,
        params: Variable,
        sp_ids: SparseTensor,
        sp_weights: SparseTensor | None = None,
        combiner: str = "mean",
        name: str | None = None,
    ) -> Tensor:
        """Look up the rows of each example's ids in one variable and pool them: [batch, dim].

        Examples at the end that have no ids are not in the result; empty ones between give 0.

        Args:
            params: [rows, dim].
            sp_ids: int32 or int64 ids; the first axis is the example.
            sp_weights: A factor for each id, of the same indices; by default 1.
            combiner: "sum"; "mean", divided by the sum of weights; or "sqrtn", by the root of the sum of their squares.
            name: Of the result.
        """
        if combiner not in ("sum", "mean", "sqrtn"):
            raise InvalidArgumentError(f"combiner: got {combiner!r}, want sum, mean or sqrtn")
        with self.name_scope(name or "embedding_lookup_sparse") as scope:
            segments = sp_ids.indices[:, 0]
            ids, positions = self.op("Unique", [sp_ids.values]).outputs
            rows = self.embedding_lookup(params, ids)
            if dtypes.base_datatype(rows.dtype) in (DT_HALF, DT_BFLOAT16):
                rows = self.cast(rows, DT_FLOAT)
            if sp_weights is None:
                pooled = {"sum": "SparseSegmentSum", "mean": "SparseSegmentMean", "sqrtn": "SparseSegmentSqrtN"}
                return self.op(pooled[combiner], [rows, positions, segments], name=scope).output
            segments = self.cast(segments, DT_INT32)
            rows = self.gather(rows, positions)
            factors = sp_weights.values
            if dtypes.base_datatype(factors.dtype) != dtypes.base_datatype(rows.dtype):
                factors = self.cast(factors, dtypes.base_datatype(rows.dtype))
            factors = self.reshape(factors, self._with_axes_of(rows, factors))
            rows = rows * factors
            if combiner == "sum":
                return self.segment_sum(rows, segments, name=scope)
            total = self.segment_sum(rows, segments)
            if combiner == "mean":
                return self.op("DivNoNan", [total, self.segment_sum(factors, segments)], name=scope).output
            squares = self.segment_sum(self.pow(factors, 2), segments)
            return self.op("DivNoNan", [total, self.sqrt(squares)], name=scope).output

    def _with_axes_of(self, rows: Tensor, factors: Tensor) -> Tensor:
        """Return the shape of the weights with an axis of size 1 for each further axis of the rows."""
        new_axes = self.sub(self.rank(rows), 1, name="sub")
        length = self.expand_dims(new_axes, 0)
        shape = self.shape(factors)
        with self.name_scope("ones") as scope:
            known = None if rows.shape is None else len(rows.shape) - 1
            ones = self.op("Fill", [length, self.const(1, DT_INT32)], name=scope, shapes=[[known]]).output
        return self.concat([shape, ones], 0)

    def top_k(
        self, x: TensorLike, k: TensorLike = 1, sorted: bool = True, name: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the ``k`` largest elements along the last axis, and their indices (int32)."""
        values, indices = self.op("TopKV2", [x, k], attrs={"sorted": sorted}, name=name).outputs
        return values, indices

    def string_split(
        self, source: TensorLike, sep: str = " ", skip_empty: bool = True, name: str | None = None
    ) -> SparseTensor:
        """Split strings ([n]) at each character of ``sep`` into a SparseTensor of n rows."""
        with self.name_scope(name or "StringSplit"):
            strings = self.to_tensor(source, name="source")
            delimiter = self.const(sep)
            indices, values, shape = self.op(
                "StringSplit", [strings, delimiter], attrs={"skip_empty": skip_empty}
            ).outputs
            return SparseTensor(indices, values, shape)
