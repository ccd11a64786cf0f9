"""The facts of embedding tables, gathered in one pass over their entries in flat memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from mexport_pb.inspect.facts import Histogram, TableFacts
from mexport_pb.table.dump import TableDump
from mexport_pb.table.info import TableInfo, table_infos

__all__ = ["table_facts"]

_INTERVALS_PER_OCTAVE = 4
_RECORD_BYTES = 16  # length, its checksum, that of the data
_FIRST_WIDTH = 3600
_MAX_INTERVALS = 512
_ROWS = 1024


def table_facts(name: str, table: str | None = None) -> Iterator[TableFacts]:
    """Read the tables of a dump, every checksum checked.

    Args:
        name: As for :func:`mexport_pb.table_infos`.
        table: Of a dump of several tables only this one.

    Raises:
        InvalidArgumentError, TableError, RecordError, OSError: as for :func:`mexport_pb.table_infos`.
    """
    surveys: defaultdict[str | None, _Survey] = defaultdict(_Survey)

    def see(table: str | None, chunk: TableDump) -> None:
        surveys[table].add(chunk)

    for info in table_infos([name], table=table, on_chunk=see):
        yield surveys.pop(info.table, _Survey()).facts(info)


class _Survey:
    def __init__(self) -> None:
        self._values = 0
        self._states = 0
        self._times_bytes = 0
        self._norms: dict[int, int] = {}
        self._zero_rows = 0
        self._bad_rows = 0
        self._sum = 0.0
        self._span: tuple[float, float] | None = None
        self._times = _Times()

    def add(self, chunk: TableDump) -> None:
        self._values += chunk.values.nbytes
        for state in chunk.opt:
            for column in state.columns.values():
                self._states += column.nbytes if column.dtype == np.float32 else _varint_bytes(column)
        self._times_bytes += _varint_bytes(chunk.timestamps)
        self._times.add(chunk.timestamps)
        # Squares of large floats are beyond float32; pieces of rows stay in the processor's cache.
        norms = np.empty(len(chunk))
        with np.errstate(invalid="ignore"):  # values that are no numbers are counted below
            for begin in range(0, len(chunk), _ROWS):
                values = chunk.values[begin : begin + _ROWS].astype(np.float64)
                np.einsum("ij,ij->i", values, values, out=norms[begin : begin + _ROWS])
        norms = np.sqrt(norms)
        finite = np.isfinite(norms)
        self._bad_rows += int(len(norms) - finite.sum())
        norms = norms[finite]
        self._sum += float(norms.sum())
        norms = norms[norms > 0]
        self._zero_rows += int(finite.sum()) - len(norms)
        if len(norms):
            low, high = float(norms.min()), float(norms.max())
            self._span = (low, high) if self._span is None else (min(low, self._span[0]), max(high, self._span[1]))
            _count(self._norms, np.floor(np.log2(norms) * _INTERVALS_PER_OCTAVE).astype(np.int64))

    def facts(self, info: TableInfo) -> TableFacts:
        finite = info.rows - self._bad_rows
        low, high = self._span or (None, None)
        return TableFacts(
            info,
            self._parts(info),
            _histogram(self._norms, lambda interval: 2.0 ** (interval / _INTERVALS_PER_OCTAVE)),
            self._zero_rows,
            self._bad_rows,
            low,
            high,
            self._sum / finite if finite else None,
            self._times.histogram(),
            self._times.undated,
        )

    def _parts(self, info: TableInfo) -> dict[str, int] | None:
        # Shards of a dump of several tables are unpacked by the reader, whatever the compression of the file.
        if info.compression is not None and info.table is None:
            return None
        known = {
            "keys": 8 * info.rows,
            "values": self._values,
            "optimizer": self._states,
            "timestamps": self._times_bytes,
            "record headers and checksums": _RECORD_BYTES * info.rows,
        }
        return {**known, "protobuf tags and lengths": sum(s.bytes for s in info.shards) - sum(known.values())}


class _Times:
    """How many timestamps lie in each hour; where that makes too many intervals, in each two, four … hours."""

    def __init__(self) -> None:
        self._width = _FIRST_WIDTH
        self._counts: dict[int, int] = {}
        self.undated = 0

    def add(self, times: npt.NDArray[np.int64]) -> None:
        dated = times[times != 0]
        self.undated += len(times) - len(dated)
        _count(self._counts, dated // self._width)
        while self._counts and max(self._counts) - min(self._counts) >= _MAX_INTERVALS:
            self._width *= 2
            halved: dict[int, int] = {}
            for interval, count in self._counts.items():
                halved[interval // 2] = halved.get(interval // 2, 0) + count
            self._counts = halved

    def histogram(self) -> Histogram:
        return _histogram(self._counts, lambda interval: float(interval * self._width))


def _count(counts: dict[int, int], intervals: npt.NDArray[np.int64]) -> None:
    for interval, count in zip(*np.unique(intervals, return_counts=True), strict=True):
        counts[int(interval)] = counts.get(int(interval), 0) + int(count)


def _histogram(counts: dict[int, int], edge: Callable[[int], float]) -> Histogram:
    if not counts:
        return Histogram((), ())
    intervals = range(min(counts), max(counts) + 1)
    edges = tuple(edge(interval) for interval in (*intervals, intervals.stop))
    return Histogram(edges, tuple(counts.get(interval, 0) for interval in intervals))


def _varint_bytes(numbers: npt.NDArray[np.int64]) -> int:
    """What the numbers take as varints, their tags not counted."""
    unsigned = numbers.view(np.uint64)
    longer = sum(int(np.count_nonzero(unsigned >= np.uint64(1 << 7 * size))) for size in range(1, 10))
    return len(unsigned) + longer
