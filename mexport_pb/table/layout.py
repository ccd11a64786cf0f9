"""Which columns the entries of a table have, and what they are called in files of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mexport_pb.table.dump import OptimizerState, TableDump, state_fields

__all__ = ["Column", "TableLayout", "concatenate", "take"]

Index: TypeAlias = slice | npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of optimizer state.

    Attributes:
        segment: Its segment, by number.
        kind: The optimizer of the segment.
        field: The field of its dump message.
        width: The floats of an entry, or None for what an entry has once.
        is_integer: int64, not float32.
    """

    segment: int
    kind: str
    field: str
    width: int | None
    is_integer: bool

    @property
    def name(self) -> str:
        """``opt_0_ftrl_zero``: what the column is called in a file."""
        return f"opt_{self.segment}_{self.kind}_{self.field}"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the column's array."""
        return np.dtype(np.int64 if self.is_integer else np.float32)

    @property
    def row_bytes(self) -> int:
        """What an entry takes in the column's array."""
        return self.dtype.itemsize * (1 if self.width is None else self.width)


@dataclass(frozen=True, slots=True)
class TableLayout:
    """What all entries of a table have in common.

    Attributes:
        dim: The floats of an entry.
        kinds: The optimizer of each segment that a dump tells of.
        columns: The columns of optimizer state in the order of the segments and fields.
    """

    dim: int
    kinds: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    @classmethod
    def of(cls, dump: TableDump) -> TableLayout:
        """The layout of some entries. REQUIRES: known kinds and all their columns, as readers return them."""
        columns = []
        for segment, state in enumerate(dump.opt):
            for field, _, is_integer in state_fields()[state.kind]:
                array = state.columns[field]
                columns.append(
                    Column(segment, state.kind, field, array.shape[1] if array.ndim == 2 else None, is_integer)
                )
        return cls(dump.dim, tuple(state.kind for state in dump.opt), tuple(columns))

    @property
    def row_bytes(self) -> int:
        """What an entry takes as columns."""
        return 16 + 4 * self.dim + self.state_bytes

    @property
    def state_bytes(self) -> int:
        """What of :attr:`row_bytes` is optimizer state."""
        return sum(column.row_bytes for column in self.columns)

    def describe(self) -> str:
        """For messages: ``dim 3, adagrad norm [3]``."""
        parts = [f"dim {self.dim}"]
        for segment, kind in enumerate(self.kinds):
            own = [c for c in self.columns if c.segment == segment]
            parts.append(" ".join([kind, *(c.field if c.width is None else f"{c.field} [{c.width}]" for c in own)]))
        return ", ".join(parts)

    def dump(
        self, ids: npt.NDArray[Any], values: npt.NDArray[Any], timestamps: npt.NDArray[Any], states: Sequence[Any]
    ) -> TableDump:
        """Make a dump of arrays, those of ``states`` in the order of :attr:`columns`."""
        fields: list[dict[str, npt.NDArray[Any]]] = [{} for _ in self.kinds]
        for column, array in zip(self.columns, states, strict=True):
            fields[column.segment][column.field] = array
        opt = tuple(OptimizerState(kind, columns) for kind, columns in zip(self.kinds, fields, strict=True))
        return TableDump(ids, values, timestamps, opt)

    def states(self, dump: TableDump) -> list[npt.NDArray[Any]]:
        """The arrays of a dump of this layout in the order of :attr:`columns`."""
        return [dump.opt[column.segment].columns[column.field] for column in self.columns]


@cache
def _state_columns() -> dict[str, tuple[str, str, bool, bool]]:
    """Kind, field, one for each dimension?, integer? by what stands behind ``opt_<segment>_``."""
    return {
        f"{kind}_{field}": (kind, field, per_dim, is_integer)
        for kind, fields in state_fields().items()
        for field, per_dim, is_integer in fields
    }


def layout_of_columns(
    dim: int, widths: Mapping[str, int | None], kinds: Sequence[str] | None, fail: Callable[[str], Exception]
) -> TableLayout:
    """The layout that the columns of a file make.

    Args:
        dim: The floats of an entry.
        widths: Of each column ``opt_…``: the floats of an entry; None for one that is no array.
        kinds: The optimizer of each segment, where the file says. Without it every segment must have a column.
        fail: Makes the error of a message.
    """
    found: dict[tuple[int, str], tuple[str, int | None, bool]] = {}
    kind_of: dict[int, str] = {}
    for name, width in widths.items():
        prefix, _, rest = name.partition("_")
        number, _, key = rest.partition("_")
        known = _state_columns().get(key)
        if prefix != "opt" or not number.isascii() or not number.isdecimal() or len(number) > 4 or known is None:
            raise fail(f"column {name!r}: no column of a table, nor of any optimizer")
        kind, field, per_dim, is_integer = known
        segment = int(number)
        if kind_of.setdefault(segment, kind) != kind:
            raise fail(f"column {name!r}: segment {segment} is {kind_of[segment]} by another column")
        if per_dim == (width is None):
            raise fail(f"column {name!r}: got {'one value' if width is None else 'an array'} an entry, want otherwise")
        if (segment, field) in found:
            raise fail(f"column {name!r}: comes twice")
        found[segment, field] = (name, width, is_integer)
    if kinds is None:
        kinds = [kind_of.get(segment, "") for segment in range(max(kind_of, default=-1) + 1)]
        if "" in kinds:
            raise fail(f"no column of segment {kinds.index('')}, and nothing says which optimizer it has")
    columns = []
    total = 0
    for segment, kind in enumerate(kinds):
        if kind not in state_fields():
            raise fail(f"optimizer of segment {segment}: got {kind!r}, want one of {', '.join(state_fields())}")
        if kind_of.setdefault(segment, kind) != kind:
            raise fail(f"segment {segment}: got columns of {kind_of[segment]}, want those of {kind}")
        per_dim_width: int | None = None
        for field, per_dim, is_integer in state_fields()[kind]:
            column = found.pop((segment, field), None)
            if column is None:
                raise fail(f"column 'opt_{segment}_{kind}_{field}' is missing")
            if per_dim and per_dim_width not in (None, column[1]):
                raise fail(f"column {column[0]!r}: got {column[1]} values an entry, want {per_dim_width}")
            per_dim_width = column[1] if per_dim else per_dim_width
            columns.append(Column(segment, kind, field, column[1], is_integer))
        total += per_dim_width or 0
    if total > dim:
        raise fail(f"dimensions with an optimizer state: got {total}, want at most {dim}")
    for name, _, _ in found.values():
        raise fail(f"column {name!r}: there are only {len(kinds)} segments")
    return TableLayout(dim, tuple(kinds), tuple(columns))


def take(dump: TableDump, rows: Index) -> TableDump:
    """Some entries of a dump: views for a slice, else copies."""
    opt = tuple(
        OptimizerState(state.kind, {name: array[rows] for name, array in state.columns.items()}) for state in dump.opt
    )
    return TableDump(dump.ids[rows], dump.values[rows], dump.timestamps[rows], opt)


def concatenate(dumps: Sequence[TableDump]) -> TableDump:
    """The entries of several dumps. REQUIRES: at least one, all of one layout."""
    if len(dumps) == 1:
        return dumps[0]
    opt = tuple(
        OptimizerState(
            state.kind, {name: np.concatenate([dump.opt[i].columns[name] for dump in dumps]) for name in state.columns}
        )
        for i, state in enumerate(dumps[0].opt)
    )
    return TableDump(
        np.concatenate([dump.ids for dump in dumps]),
        np.concatenate([dump.values for dump in dumps]),
        np.concatenate([dump.timestamps for dump in dumps]),
        opt,
    )
