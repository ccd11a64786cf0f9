"""What to expect of a feature of tf.Example messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_INT32

__all__ = ["Feature", "FixedLenFeature", "FixedLenSequenceFeature", "RaggedFeature", "VarLenFeature"]


@dataclass(frozen=True)
class FixedLenFeature:
    """As many values in every example.

    Attributes:
        shape: Of one example's values.
        dtype: float32, int64 or string.
        default_value: For examples without the feature; None makes them an error.
    """

    shape: Sequence[int]
    dtype: dtypes.DTypeLike
    default_value: Any = None


@dataclass(frozen=True)
class FixedLenSequenceFeature:
    """Any number of items of one shape; a batch is padded to the longest.

    Attributes:
        shape: Of one item.
        dtype: float32, int64 or string.
        default_value: A scalar to pad with; by default 0 or "".
    """

    shape: Sequence[int]
    dtype: dtypes.DTypeLike
    default_value: Any = None


@dataclass(frozen=True)
class VarLenFeature:
    """Any number of values, to become a SparseTensor.

    Attributes:
        dtype: float32, int64 or string.
    """

    dtype: dtypes.DTypeLike


@dataclass(frozen=True)
class RaggedFeature:
    """Any number of values, to become a RaggedTensor.

    Attributes:
        dtype: float32, int64 or string.
        row_splits_dtype: int32 or int64.
    """

    dtype: dtypes.DTypeLike
    row_splits_dtype: dtypes.DTypeLike = DT_INT32


Feature: TypeAlias = FixedLenFeature | FixedLenSequenceFeature | VarLenFeature | RaggedFeature
