"""Entries of any number of sources in ascending order of their unsigned ids, in flat memory.

Sources that are sorted, as the dumps that we write, are merged as they are. What turns out not to be is sorted piece by
piece into files first. Both steps decide what becomes of an id that comes more than once.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from mexport_pb.errors import InvalidArgumentError, TableError
from mexport_pb.table.dump import TableDump
from mexport_pb.table.layout import TableLayout, concatenate, take
from mexport_pb.table.source import Source
from mexport_pb.table.spool import Spool, SpoolWriter

__all__ = ["OnConflict", "check_on_conflict", "chunk_rows", "same_layout", "sort_entries"]

OnConflict: TypeAlias = Literal["error", "newest", "first", "last"]
"""What becomes of an id that comes more than once; of equally new entries the last one stays."""

MEMORY = 24 << 20
"""Bytes of entries, as columns, that are held at a time; some copies of them come on top."""

_FAN_IN = 64
_MAX_CHUNK_ROWS = 1 << 16


def check_on_conflict(value: str) -> None:
    """Raises: InvalidArgumentError: for another value than those of :data:`OnConflict`."""
    if value not in get_args(OnConflict):
        raise InvalidArgumentError(f"on_conflict: got {value!r}, want one of {', '.join(get_args(OnConflict))}")


def chunk_rows(layout: TableLayout, memory: int = 16 << 20) -> int:
    """How many entries to hold at a time."""
    return max(1, min(_MAX_CHUNK_ROWS, memory // layout.row_bytes))


def same_layout(layout: TableLayout, name: str, want: TableLayout, other: str) -> None:
    """Raises: TableError: where the entries of ``name`` have another layout than those of ``other``."""
    if layout != want:
        where = "" if name == other else f" of {other}"
        raise TableError(
            f"layout of the entries: got {layout.describe()}, want that{where}: {want.describe()}", path=name
        )


def sort_entries(
    sources: Sequence[Source],
    work: str,
    name: str,
    *,
    on_conflict: OnConflict = "error",
    parts: int = 1,
    part_of: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.integer[Any]]] | None = None,
) -> list[Spool]:
    """Merge sources.

    Args:
        sources: In the order that ``on_conflict`` means.
        work: A folder for files, to be removed by the caller.
        name: What messages call the result.
        on_conflict: What becomes of an id that comes more than once.
        parts: The number of results.
        part_of: Which of them an entry goes to, by its unsigned id. None: there is only one.

    Raises:
        TableError: for sources of different layouts, and for an id that comes more than once if that is an error.
    """
    layout = _common_layout(sources)
    runs: list[Source] = []
    for source in sources:
        if layout is None or _is_sorted(source, layout):
            runs.append(source)
        else:
            runs.extend(_sorted_runs(source, layout, work, on_conflict))
    while len(runs) > _FAN_IN:
        groups = [runs[i : i + _FAN_IN] for i in range(0, len(runs), _FAN_IN)]
        runs = [_joined(group, layout, work, on_conflict) for group in groups]
    return _merge(runs, layout, work, name, on_conflict, parts, part_of)


def _joined(runs: Sequence[Source], layout: TableLayout | None, work: str, on_conflict: OnConflict) -> Spool:
    names = list(dict.fromkeys(run.name for run in runs))
    name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    (joined,) = _merge(runs, layout, work, name, on_conflict, 1, None)
    for run in runs:
        if isinstance(run, Spool):
            os.unlink(run.path)
    return joined


def _common_layout(sources: Sequence[Source]) -> TableLayout | None:
    first: tuple[TableLayout, str] | None = None
    for source in sources:
        layout = source.layout
        if layout is None:
            continue
        if first is None:
            first = layout, source.name
        same_layout(layout, source.name, *first)
    return None if first is None else first[0]


def _new_file(work: str) -> str:
    return os.path.join(work, f"sorted-{secrets.token_hex(8)}")


def _is_sorted(source: Source, layout: TableLayout) -> bool:
    """Do the unsigned ids ascend strictly? Reading costs little beside a merge that has to begin again."""
    last = -1
    for chunk in source.chunks(chunk_rows(layout)):
        same_layout(TableLayout.of(chunk), source.name, layout, "the first entry")
        ids = chunk.ids.view(np.uint64)
        if not _ascend(ids, last):
            return False
        last = int(ids[-1])
    return True


def _ascend(ids: npt.NDArray[np.uint64], last: int) -> bool:
    return int(ids[0]) > last and bool((ids[1:] > ids[:-1]).all())


def _sorted_runs(source: Source, layout: TableLayout, work: str, on_conflict: OnConflict) -> Iterator[Spool]:
    """Sort a source in pieces that fit into memory."""
    rows = max(1, MEMORY // layout.row_bytes)
    chunks = source.chunks(chunk_rows(layout))
    pending: list[TableDump] = []
    for chunk in itertools.chain(chunks, [None]):
        if chunk is not None:
            same_layout(TableLayout.of(chunk), source.name, layout, source.name)
            pending.append(chunk)
        if pending and (chunk is None or sum(map(len, pending)) >= rows):
            piece = concatenate(pending)
            pending.clear()
            with SpoolWriter(source.name, _new_file(work)) as writer:
                writer.append(_resolve(piece, None, [source.name], on_conflict))
                yield writer.finish()


def _resolve(
    dump: TableDump, ranks: npt.NDArray[np.intp] | None, names: Sequence[str], on_conflict: OnConflict
) -> TableDump:
    """Sort entries that stand in the order of their sources, and decide between those of one id."""
    ids = dump.ids.view(np.uint64)
    order = np.lexsort((dump.timestamps, ids)) if on_conflict == "newest" else np.argsort(ids, kind="stable")
    ids = ids[order]
    same = ids[1:] == ids[:-1]
    if same.any():
        if on_conflict == "error":
            at = int(np.argmax(same))
            both = [names[0 if ranks is None else int(ranks[order[i]])] for i in (at, at + 1)]
            where = "twice" if both[0] == both[1] else f"here and in {both[0]}"
            raise TableError(f"id {int(dump.ids[order[at]])} comes {where}", path=both[1])
        unlike = ~same
        keep = np.concatenate([[True], unlike]) if on_conflict == "first" else np.concatenate([unlike, [True]])
        order = order[keep]
    return take(dump, order)


class _Stream:
    """One sorted source of a merge, and the entries of it that are in memory."""

    def __init__(self, source: Source, layout: TableLayout, rows: int) -> None:
        self.name = source.name
        self._layout = layout
        self._chunks = source.chunks(rows)
        self._last = -1
        self.chunk: TableDump | None = None
        self.ids = np.empty(0, np.uint64)
        self.fill()

    def fill(self) -> None:
        """Take the next piece, if there is one."""
        self.chunk = next(self._chunks, None)
        if self.chunk is None:
            return
        same_layout(TableLayout.of(self.chunk), self.name, self._layout, "the first entry")
        self.ids = self.chunk.ids.view(np.uint64)
        if not _ascend(self.ids, self._last):
            raise TableError("the entries changed while they were read", path=self.name)
        self._last = int(self.ids[-1])

    def take_until(self, bound: np.uint64) -> TableDump | None:
        """Give up the entries with ids up to ``bound``."""
        if self.chunk is None:
            return None
        n = int(np.searchsorted(self.ids, bound, side="right"))
        taken = take(self.chunk, slice(0, n))
        if n == len(self.ids):
            self.fill()
        else:
            self.chunk, self.ids = take(self.chunk, slice(n, None)), self.ids[n:]
        return taken if n else None


def _merged(streams: Sequence[_Stream], on_conflict: OnConflict) -> Iterator[TableDump]:
    """Ids ascend strictly within each stream, so once all gave up their ids up to a bound, none of these is left."""
    while alive := [stream for stream in streams if stream.chunk is not None]:
        bound = min(stream.ids[-1] for stream in alive)
        taken = [
            (rank, piece) for rank, stream in enumerate(streams) if (piece := stream.take_until(bound)) is not None
        ]
        if len(taken) == 1:
            yield taken[0][1]
            continue
        ranks = np.repeat([rank for rank, _ in taken], [len(piece) for _, piece in taken])
        yield _resolve(
            concatenate([piece for _, piece in taken]), ranks, [stream.name for stream in streams], on_conflict
        )


def _merge(
    sources: Sequence[Source],
    layout: TableLayout | None,
    work: str,
    name: str,
    on_conflict: OnConflict,
    parts: int,
    part_of: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.integer[Any]]] | None,
) -> list[Spool]:
    writers: list[SpoolWriter] = []
    try:
        writers.extend(SpoolWriter(name, _new_file(work)) for _ in range(parts))
        if layout is not None:
            rows = chunk_rows(layout, MEMORY // len(sources))
            streams = [_Stream(source, layout, rows) for source in sources]
            for piece in _merged(streams, on_conflict):
                if part_of is None:
                    writers[0].append(piece)
                    continue
                numbers = part_of(piece.ids.view(np.uint64))
                for number in np.unique(numbers):
                    writers[int(number)].append(take(piece, np.flatnonzero(numbers == number)))
        return [writer.finish() for writer in writers]
    except BaseException:
        for writer in writers:
            writer.discard()
        raise
