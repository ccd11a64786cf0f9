"""Which parameter server holds an id: the one rule, for numpy and for graphs. ``docs/formats/partition.md`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mexport_pb._proto.tensor_pb2 import DT_INT32, DT_UINT64
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.emitter import Emitter

__all__ = ["IdParts", "check_num_ps", "part_ids", "part_rows", "ps_of", "ps_of_tensor", "sum_by_id"]


def check_num_ps(num_ps: int) -> None:
    """Refuse a number of parameter servers that is none.

    Raises:
        InvalidArgumentError: it is not from 1 to 2^31 - 1.
    """
    if isinstance(num_ps, bool) or not isinstance(num_ps, int | np.integer) or not 1 <= num_ps < 2**31:
        raise InvalidArgumentError(f"num_ps: got {num_ps!r}, want 1 to 2147483647")


def ps_of(ids: npt.ArrayLike | Sequence[int], num_ps: int) -> npt.NDArray[np.int32]:
    """The parameter server of each id: the id as an unsigned number of 64 bits, modulo ``num_ps``.

    Args:
        ids: int64 or uint64, of any shape; the same bits give the same server.
        num_ps: How many servers.

    Returns:
        int32 of the shape of ``ids``, from 0 to ``num_ps - 1``.

    Raises:
        InvalidArgumentError: ids of another type, or ``num_ps`` is not from 1 to 2^31 - 1.
    """
    check_num_ps(num_ps)
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(array.shape, np.int32)
    if array.dtype.newbyteorder("=") not in (np.int64, np.uint64):
        raise InvalidArgumentError(f"ids: got {array.dtype}, want int64 or uint64")
    # astype wraps around, as a change of view does, and takes arrays of any strides and byte order.
    return (array.astype(np.uint64, copy=False) % np.uint64(num_ps)).astype(np.int32)


def ps_of_tensor(graph: Emitter, ids: Any, num_ps: int) -> Any:
    """:func:`ps_of` as nodes of a graph.

    Args:
        graph: The graph.
        ids: An int64 tensor.
        num_ps: How many servers.

    Returns:
        An int32 tensor of the shape of ``ids``.

    Raises:
        InvalidArgumentError: as :func:`ps_of`.
    """
    check_num_ps(num_ps)
    # FloorMod of int64 would send the ids from 2^63 on elsewhere, unless num_ps is a power of two.
    unsigned = graph.op("Bitcast", [ids], attrs={"type": DT_UINT64}).outputs[0]
    remainder = graph.op("FloorMod", [unsigned, graph.const(num_ps, DT_UINT64)]).outputs[0]
    return graph.op("Cast", [remainder], attrs={"DstT": DT_INT32}).outputs[0]


@dataclass(frozen=True)
class IdParts:
    """Ids by parameter server, and the way back.

    Attributes:
        ids: The ids of each server, int64 [m].
        positions: Where they come from, int32 [m]: each number from 0 to their count - 1 once.
        inverse: Where among them each of the first ids is, int32 [n]; None where they are the first ids.
    """

    ids: list[Any]
    positions: list[Any]
    inverse: Any

    def join(self, graph: Emitter, vectors: Sequence[Any]) -> Any:
        """The vectors, float32 [m, dim] of each server, in the order of the first ids: float32 [n, dim]."""
        rows = graph.op("ParallelDynamicStitch", [self.positions, list(vectors)]).outputs[0]
        return rows if self.inverse is None else graph.op("GatherV2", [rows, self.inverse, 0]).outputs[0]


def part_ids(graph: Emitter, ids: Any, num_ps: int, *, unique: bool) -> IdParts:
    """Divide ids among parameter servers.

    Args:
        graph: The graph.
        ids: int64 [n].
        num_ps: How many servers.
        unique: Whether an id that comes several times is asked for once.
    """
    inverse = None
    if unique:
        ids, inverse = graph.op("Unique", [ids]).outputs
    servers = ps_of_tensor(graph, ids, num_ps)
    count = graph.op("Size", [ids]).outputs[0]
    positions = graph.op("Range", [0, count, 1]).outputs[0]
    return IdParts(part_rows(graph, ids, servers, num_ps), part_rows(graph, positions, servers, num_ps), inverse)


def part_rows(graph: Emitter, rows: Any, servers: Any, num_ps: int) -> list[Any]:
    """Divide rows, [n, ...], by the servers that :func:`ps_of_tensor` said, in their order."""
    return list(graph.op("DynamicPartition", [rows, servers], attrs={"num_partitions": num_ps}).outputs)


def sum_by_id(graph: Emitter, ids: Any, values: Any) -> tuple[Any, Any]:
    """Each id once, int64 [m], and the sum of its rows, float32 [m, dim]."""
    unique, inverse = graph.op("Unique", [ids]).outputs
    count = graph.op("Size", [unique]).outputs[0]
    return unique, graph.op("UnsortedSegmentSum", [values, inverse, count]).outputs[0]
