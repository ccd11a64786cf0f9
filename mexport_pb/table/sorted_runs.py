"""Rows of tables, sorted by their ids in bounded memory: sorted runs, on disk where they do not fit, then merged."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mexport_pb.errors import TableError
from mexport_pb.table.dump import OptimizerState, TableDump

__all__ = ["SortedRuns", "concat_dumps", "take_rows"]

_MIN_SAMPLE = 64
_Array = npt.NDArray[Any]


def take_rows(dump: TableDump, rows: Any) -> TableDump:
    """The rows of a dump that a mask, a slice or positions choose."""
    opt = tuple(
        OptimizerState(state.kind, {name: column[rows] for name, column in state.columns.items()}) for state in dump.opt
    )
    return TableDump(dump.ids[rows], dump.values[rows], dump.timestamps[rows], opt)


def concat_dumps(dumps: Sequence[TableDump]) -> TableDump:
    """The rows of dumps of one layout, one behind another."""
    if len(dumps) == 1:
        return dumps[0]
    first = dumps[0]
    opt = tuple(
        OptimizerState(
            state.kind,
            {name: np.concatenate([one.opt[i].columns[name] for one in dumps]) for name in state.columns},
        )
        for i, state in enumerate(first.opt)
    )
    return TableDump(
        np.concatenate([one.ids for one in dumps]),
        np.concatenate([one.values for one in dumps]),
        np.concatenate([one.timestamps for one in dumps]),
        opt,
    )


def dump_bytes(dump: TableDump) -> int:
    """The memory of a dump's arrays."""
    return sum(array.nbytes for array in _arrays(dump))


def _arrays(dump: TableDump) -> list[_Array]:
    states = [column for state in dump.opt for column in state.columns.values()]
    return [dump.ids, dump.values, dump.timestamps, *states]


def _layout(dump: TableDump) -> tuple[Any, ...]:
    return dump.dim, [(one.kind, {name: column.shape[1:] for name, column in one.columns.items()}) for one in dump.opt]


class SortedRuns:
    """Collects rows of one table and gives them back in the order of their unsigned ids.

    Args:
        name: Of the table, for errors.
        folder: Where runs go that do not fit; made when needed.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._pending: list[TableDump] = []
        self._runs: list[TableDump] = []
        self._maps: list[mmap.mmap] = []
        self.pending_bytes = 0

    def add(self, dump: TableDump) -> None:
        """Take rows over.

        Raises:
            TableError: they have another layout than those before.
        """
        if len(dump) == 0:
            return
        before = self._pending or self._runs
        if before and _layout(before[0]) != _layout(dump):
            raise TableError(f"table {self.name!r}: the layout of the entries is not that of those before")
        self._pending.append(dump)
        self.pending_bytes += dump_bytes(dump)

    def spill(self) -> None:
        """Write the rows in memory to disk, sorted."""
        if not self._pending:
            return
        run = self._sorted_pending()
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = [self._folder / f"{len(self._runs)}-{number}" for number in range(len(_arrays(run)))]
        mapped = [self._on_disk(array, path) for array, path in zip(_arrays(run), paths, strict=True)]
        self._runs.append(_with_arrays(run, mapped))

    def finish(self) -> None:
        """Say that there are no more rows."""
        if self._pending:
            self._runs.append(self._sorted_pending())

    def id_and_time_pieces(self, rows: int) -> Iterator[tuple[_Array, _Array]]:
        """Ids and timestamps of all rows, in pieces and in no order, after :meth:`finish`."""
        for run in self._runs:
            for begin in range(0, len(run), rows):
                yield run.ids[begin : begin + rows], run.timestamps[begin : begin + rows]
                self._release()

    def blocks(self, max_bytes: int) -> Iterator[TableDump]:
        """All rows in order, in pieces of about ``max_bytes`` at most, after :meth:`finish`.

        Raises:
            TableError: an id comes twice.
        """
        if not self._runs:
            return
        row_bytes = max(1, dump_bytes(take_rows(self._runs[0], slice(0, 1))))
        rows = max(_MIN_SAMPLE, max_bytes // row_bytes)
        last: np.uint64 | None = None
        for block in self._merged(rows) if len(self._runs) > 1 else _slices(self._runs[0], rows):
            ids = block.ids.view(np.uint64)
            twice = ids[1:][ids[1:] == ids[:-1]]
            if len(twice) or (last is not None and ids[0] == last):
                got = int((twice if len(twice) else ids)[:1].view(np.int64)[0])
                raise TableError(f"table {self.name!r}: id {got} comes twice")
            last = ids[-1]
            yield block
            self._release()

    def _on_disk(self, array: _Array, path: Path) -> _Array:
        if array.nbytes == 0:
            return array
        array.tofile(path)
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # The name is not needed any more, and the space goes with the map.
        path.unlink()
        self._maps.append(mapped)
        return np.frombuffer(mapped, array.dtype).reshape(array.shape)

    def _release(self) -> None:
        """Hand pages that were read back: they are in the kernel's cache, and need not count as ours."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def _merged(self, rows: int) -> Iterator[TableDump]:
        ids = [run.ids.view(np.uint64) for run in self._runs]
        # Between two cuts there are at most 2 samples a run on average, so at most 3 * step rows.
        step = max(_MIN_SAMPLE, rows // (3 * len(ids)))
        samples = np.sort(np.concatenate([one[::step] for one in ids]))
        cuts = np.unique(samples[2 * len(ids) :: 2 * len(ids)])
        begins = [0] * len(ids)
        for position in range(len(cuts) + 1):
            ends = [
                len(one) if position == len(cuts) else int(np.searchsorted(one, cuts[position], side="left"))
                for one in ids
            ]
            parts = [
                take_rows(run, slice(begin, end))
                for run, begin, end in zip(self._runs, begins, ends, strict=True)
                if end > begin
            ]
            begins = ends
            if parts:
                yield _sorted(concat_dumps(parts))

    def _sorted_pending(self) -> TableDump:
        run = _sorted(concat_dumps(self._pending))
        self._pending = []
        self.pending_bytes = 0
        return run


def _sorted(dump: TableDump) -> TableDump:
    ids = dump.ids.view(np.uint64)
    if bool((ids[1:] >= ids[:-1]).all()):
        return dump
    return take_rows(dump, np.argsort(ids, kind="stable"))


def _slices(run: TableDump, rows: int) -> Iterator[TableDump]:
    for begin in range(0, len(run), rows):
        yield take_rows(run, slice(begin, begin + rows))


def _with_arrays(dump: TableDump, arrays: list[_Array]) -> TableDump:
    left = iter(arrays[3:])
    opt = tuple(OptimizerState(state.kind, {name: next(left) for name in state.columns}) for state in dump.opt)
    return TableDump(arrays[0], arrays[1], arrays[2], opt)
