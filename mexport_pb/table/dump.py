"""A table's entries as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mexport_pb import _core
from mexport_pb.errors import InvalidArgumentError

__all__ = ["OptimizerState", "TableDump"]

Columns: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], list[tuple[str, list[Any]]]]


@dataclass(frozen=True, slots=True, eq=False)
class OptimizerState:
    """What the optimizer of one segment remembers of each entry.

    Attributes:
        kind: The optimizer, by its field in OptimizerConfig: ``"adagrad"``, ``"sgd"``, ``"ftrl"``, …
        columns: By the field of its dump message, all of them: float32 [n, dim of the segment], or float32 [n] and
            int64 [n] for what an entry has once. Empty for ``"sgd"``.
    """

    kind: str
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TableDump:
    """The entries of one table; row i of every array belongs to ``ids[i]``.

    Attributes:
        ids: int64 [n]. Ids from 2^63 on are negative here.
        values: float32 [n, dim], all segments side by side.
        timestamps: int64 [n], the second of each entry's last update; 0 where a dump does not say.
        opt: The state of each segment's optimizer, in the order of the segments. Empty for entries without one. A
            segment whose optimizer leaves nothing in a dump (``moving_average``) is not in it.
    """

    ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    timestamps: npt.NDArray[np.int64]
    opt: tuple[OptimizerState, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """The floats of an entry."""
        return int(self.values.shape[1])


@cache
def state_fields() -> dict[str, list[tuple[str, bool, bool]]]:
    """For each kind of optimizer the fields of its dump: name, one for each dimension?, integer?"""
    return dict(_core.optimizer_states())


def from_columns(columns: Columns) -> TableDump:
    """Make the dump of what the compiled reader returned."""
    ids, values, timestamps, segments = columns
    return TableDump(ids, values, timestamps, tuple(OptimizerState(kind, dict(fields)) for kind, fields in segments))


def check_dump(dump: object) -> None:
    """Raises: InvalidArgumentError: for what is no TableDump."""
    if not isinstance(dump, TableDump):
        raise InvalidArgumentError(f"dump: got {type(dump).__name__}, want a TableDump")


def to_columns(dump: TableDump) -> _core.TableColumns:
    """Check a dump and lend its arrays to the compiled writer, without a copy where they are contiguous.

    Raises:
        InvalidArgumentError: for arrays that do not belong together, an unknown optimizer or one whose columns are not
            those of its dump.
    """
    check_dump(dump)
    segments = []
    for state in dump.opt:
        fields = state_fields().get(state.kind)
        if fields is None:
            raise InvalidArgumentError(f"optimizer: got {state.kind!r}, want one of {', '.join(state_fields())}")
        names = [name for name, _, _ in fields]
        if sorted(names) != sorted(state.columns):
            raise InvalidArgumentError(f"columns of {state.kind}: got {sorted(state.columns)}, want {sorted(names)}")
        arrays = [
            _array(f"{state.kind}'s {name}", state.columns[name], np.int64 if is_integer else np.float32)
            for name, _, is_integer in fields
        ]
        segments.append((state.kind, arrays))
    return _core.TableColumns(
        _array("ids", dump.ids, np.int64),
        _array("values", dump.values, np.float32),
        _array("timestamps", dump.timestamps, np.int64),
        segments,
    )


def _array(name: str, value: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.dtype == np.uint64 and dtype is np.int64:
        array = array.view(np.int64)  # ids have no sign; the message's field has
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise InvalidArgumentError(f"{name}: got {array.dtype} values, want {np.dtype(dtype)}")
    return np.ascontiguousarray(array, dtype=dtype)
