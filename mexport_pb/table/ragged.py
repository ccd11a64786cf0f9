"""Ids and vectors of several tables in a row, as the ops of many tables behind one handle take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mexport_pb._proto.tensor_pb2 import DT_INT64
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.tensors import concat

__all__ = ["RaggedIds", "embeddings_of", "ragged_ids", "row_lengths", "split_rows"]


class RaggedIds(NamedTuple):
    """The ids of all tables, those of one table behind those of another.

    Attributes:
        values: int64 [n].
        row_splits: int64 [tables + 1], from 0 to n.
    """

    values: Any
    row_splits: Any


def ragged_ids(graph: Emitter, names: Sequence[str], slot_to_id: Mapping[str, Any]) -> RaggedIds:
    """Ids (int64 tensors [n], or lists) by table, in the order of ``names``; those of missing tables none."""
    parts = [slot_to_id.get(name) for name in names]
    tensors = [_const(graph, [] if one is None else one) for one in parts]
    values = concat(graph, tensors)
    lengths = [graph.op("Size", [one], attrs={"out_type": DT_INT64}).outputs[0] for one in tensors]
    ends = graph.op("Cumsum", [graph.op("Pack", [lengths]).outputs[0], 0]).outputs[0]
    return RaggedIds(values, concat(graph, [_const(graph, [0]), ends]))


def embeddings_of(
    graph: Emitter, ragged_id: Any, value: Any, names: Sequence[str], dims: Sequence[int]
) -> dict[str, Any]:
    """The vectors of ragged ids, float32 [sum] in a row, by table: float32 [n, dim]."""
    lengths = row_lengths(graph, ragged_id, len(names))
    sizes = graph.op("Mul", [lengths, _const(graph, list(dims))]).outputs[0]
    parts = split_rows(graph, value, sizes, len(names))
    return {
        name: graph.op("Reshape", [part, [-1, dim]]).outputs[0]
        for name, dim, part in zip(names, dims, parts, strict=True)
    }


def row_lengths(graph: Emitter, ragged_id: Any, count: int) -> Any:
    """The number of ids of each of ``count`` tables: int64 [count]."""
    splits = ragged_id.row_splits
    ends = graph.op("Slice", [splits, [1], [count]]).outputs[0]
    begins = graph.op("Slice", [splits, [0], [count]]).outputs[0]
    return graph.op("Sub", [ends, begins]).outputs[0]


def split_rows(graph: Emitter, tensor: Any, sizes: Any, count: int) -> list[Any]:
    """A tensor cut along its first axis into ``count`` parts of the given sizes."""
    return list(graph.op("SplitV", [tensor, sizes, 0], attrs={"num_split": count}).outputs)


def _const(graph: Emitter, value: Any) -> Any:
    """A tensor as it is, a list as a constant."""
    if hasattr(value, "dtype") and hasattr(value, "op"):
        return value
    return graph.const(value, DT_INT64)
