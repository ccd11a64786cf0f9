"""Which parameter server holds an id: the one rule, for numpy and for graphs. ``docs/formats/partition.md`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mexport_pb._proto.tensor_pb2 import DT_INT32, DT_UINT64
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.emitter import Emitter

__all__ = ["check_num_ps", "ps_of", "ps_of_tensor"]


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
    if array.dtype not in (np.int64, np.uint64):
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
