"""What is in a dump."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mexport_pb.table.dump import TableDump
from mexport_pb.table.expiry import NUM_SLOTS
from mexport_pb.table.layout import TableLayout
from mexport_pb.table.locate import TableFiles, find_tables
from mexport_pb.table.shards import PathLike
from mexport_pb.table.sorting import chunk_rows, same_layout
from mexport_pb.table.source import DumpSource, Source, find_compression, open_source, open_tables

__all__ = ["Segment", "Shard", "TableInfo", "iter_entries", "table_infos"]

_SLOT_SHIFT_V1 = np.uint64(54)
_SLOT_SHIFT_V2 = np.uint64(48)
_SLOT_MASK_V2 = np.uint64(NUM_SLOTS - 1)
_BUCKET_BITS = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a dump.

    Attributes:
        path: The file.
        rows: The entries of the table in it.
        bytes: Its size; in a dump of several tables what the table's records would take uncompressed.
    """

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that has optimizer state: its kind, and the floats or integers an entry has in each field."""

    optimizer: str
    fields: dict[str, int]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What is in a table.

    Attributes:
        name: The basename or file.
        table: The name of the table in a dump of several.
        rows: The number of entries.
        shards: The files.
        compression: Of the files; ``None``, ``"snappy"``, ``"zlib"`` or ``"gzip"``; of a file of columns its format.
        dim: The floats of an entry; 0 without entries.
        segments: Those with optimizer state, in order.
        min_id: The smallest id, signed; None without entries, as in the others.
        max_id: The largest id, signed.
        min_unsigned_id: The smallest id, unsigned.
        max_unsigned_id: The largest id, unsigned.
        slots: How many entries each slot has, by the newer rule: bits 48 to 62 of the id.
        slots_v1: The same by the older rule: bits 54 to 63.
        oldest: The smallest timestamp, in seconds; 0 where entries have none.
        newest: The largest timestamp.
        bytes_per_row: Of the files; None without entries.
        optimizer_share: The part of an entry's columns (id, values, timestamp, state) that is state, by bytes.
        is_sorted: Do the ids ascend, as unsigned numbers, through all files?
        duplicates: How many entries have the id of another one before them.
    """

    name: str
    table: str | None
    rows: int
    shards: tuple[Shard, ...]
    compression: str | None
    dim: int
    segments: tuple[Segment, ...]
    min_id: int | None
    max_id: int | None
    min_unsigned_id: int | None
    max_unsigned_id: int | None
    slots: dict[int, int]
    slots_v1: dict[int, int]
    oldest: int | None
    newest: int | None
    bytes_per_row: float | None
    optimizer_share: float
    is_sorted: bool
    duplicates: int

    def to_json(self) -> dict[str, Any]:
        """As values that json can write."""
        return asdict(self)


def table_infos(
    names: Sequence[PathLike], *, table: str | None = None, on_chunk: Callable[[TableDump], object] | None = None
) -> Iterator[TableInfo]:
    """Read tables through, every checksum checked, and tell what is in them.

    Memory is that of a piece; dumps of several tables are unpacked into the folder for temporary files.

    Args:
        names: As for :func:`find_tables`; a folder stands for all its dumps.
        table: Of dumps of several tables only this one.
        on_chunk: Called with each piece of a table's entries, in the order of the files, before the table's facts come.

    Raises:
        InvalidArgumentError: A dump has no such table.
        TableError, RecordError: There is no such dump, or it is damaged.
        OSError: A file cannot be read.
    """
    for files in find_tables(names):
        with tempfile.TemporaryDirectory(prefix="mexport-") as work:
            if files.metas and table is None:
                for name, one_of_them in open_tables(files, work).items():
                    yield _info(files, name, one_of_them, work, on_chunk)
            else:
                yield _info(files, table, open_source(files, table, work), work, on_chunk)


def iter_entries(name: PathLike, *, table: str | None = None, rows_per_chunk: int = 1 << 12) -> Iterator[TableDump]:
    """Yield the entries of one table, of whatever kind its files are, in pieces and in the order of the files.

    Args:
        name: Names one table, as for :func:`find_tables`.
        table: Which one of a dump of several; not needed where there is only one.
        rows_per_chunk: The most entries of a piece.

    Raises:
        InvalidArgumentError, TableError, RecordError, OSError: as for :func:`table_infos`.
    """
    (files,) = find_tables([name], folders=False)
    with tempfile.TemporaryDirectory(prefix="mexport-") as work:
        yield from open_source(files, table, work).chunks(rows_per_chunk)


@dataclass
class _Survey:
    """What all entries so far are."""

    layout: TableLayout | None = None
    rows: int = 0
    is_sorted: bool = True
    last: int = -1
    range_signed: tuple[int, int] | None = None
    range_unsigned: tuple[int, int] | None = None
    times: tuple[int, int] | None = None
    slots: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_SLOTS, np.int64))
    slots_v1: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 10, np.int64))

    def add(self, chunk: TableDump, name: str) -> None:
        layout = TableLayout.of(chunk)
        self.layout = self.layout or layout
        same_layout(layout, name, self.layout, "the first entry")
        ids = chunk.ids.view(np.uint64)
        self.is_sorted = self.is_sorted and int(ids[0]) > self.last and bool((ids[1:] > ids[:-1]).all())
        self.last = int(ids[-1])
        self.rows += len(chunk)
        self.range_signed = _widened(self.range_signed, chunk.ids)
        self.range_unsigned = _widened(self.range_unsigned, ids)
        self.times = _widened(self.times, chunk.timestamps)
        self.slots += np.bincount((ids >> _SLOT_SHIFT_V2 & _SLOT_MASK_V2).astype(np.int64), minlength=NUM_SLOTS)
        self.slots_v1 += np.bincount((ids >> _SLOT_SHIFT_V1).astype(np.int64), minlength=1 << 10)


def _widened(span: tuple[int, int] | None, array: npt.NDArray[Any]) -> tuple[int, int]:
    low, high = int(array.min()), int(array.max())
    return (low, high) if span is None else (min(low, span[0]), max(high, span[1]))


def _info(
    files: TableFiles,
    table: str | None,
    source: Source,
    work: str,
    on_chunk: Callable[[TableDump], object] | None,
) -> TableInfo:
    survey = _Survey()
    layout = source.layout or TableLayout(0)
    rows = chunk_rows(layout)
    shards = []
    pieces = (
        [(part.shard, part.path, part.chunks(rows)) for part in source.parts]
        if isinstance(source, DumpSource)
        else [(source.name, source.name, source.chunks(rows))]
    )
    for shard, path, chunks in pieces:
        before = survey.rows
        for chunk in chunks:
            survey.add(chunk, shard)
            if on_chunk is not None:
                on_chunk(chunk)
        shards.append(Shard(shard, survey.rows - before, os.path.getsize(path)))
    if isinstance(source, DumpSource):
        source.shards.check()
    duplicates = 0 if survey.is_sorted else _count_duplicates(source, rows, work)
    size = sum(shard.bytes for shard in shards)
    low, high = survey.range_signed or (None, None)
    low_unsigned, high_unsigned = survey.range_unsigned or (None, None)
    oldest, newest = survey.times or (None, None)
    return TableInfo(
        name=files.name,
        table=table,
        rows=survey.rows,
        shards=tuple(shards),
        compression=_compression(files),
        dim=layout.dim,
        segments=tuple(
            Segment(kind, {c.field: 1 if c.width is None else c.width for c in layout.columns if c.segment == i})
            for i, kind in enumerate(layout.kinds)
        ),
        min_id=low,
        max_id=high,
        min_unsigned_id=low_unsigned,
        max_unsigned_id=high_unsigned,
        slots=_histogram(survey.slots),
        slots_v1=_histogram(survey.slots_v1),
        oldest=oldest,
        newest=newest,
        bytes_per_row=size / survey.rows if survey.rows else None,
        optimizer_share=layout.state_bytes / layout.row_bytes,
        is_sorted=survey.is_sorted,
        duplicates=duplicates,
    )


def _compression(files: TableFiles) -> str | None:
    if files.is_columns:
        return files.name.rpartition(".")[2]
    for path in files.paths:
        if os.path.getsize(path):
            return find_compression(path, "snappy" if files.metas else None)
    return "snappy" if files.metas else None


def _histogram(counts: npt.NDArray[np.int64]) -> dict[int, int]:
    return {int(slot): int(counts[slot]) for slot in np.flatnonzero(counts)}


def _count_duplicates(source: Source, rows: int, work: str) -> int:
    """Count by way of files, which hold so few ids each that they fit into memory."""
    folder = tempfile.mkdtemp(dir=work)
    paths = [os.path.join(folder, str(i)) for i in range(1 << _BUCKET_BITS)]
    for chunk in source.chunks(rows):
        ids = chunk.ids.view(np.uint64)
        # The high bits of the product depend on all bits of the id.
        buckets = ids * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - _BUCKET_BITS)
        order = np.argsort(buckets, kind="stable")
        counts = np.bincount(buckets.astype(np.int64), minlength=1 << _BUCKET_BITS)
        for path, own in zip(paths, np.split(ids[order], np.cumsum(counts)[:-1]), strict=True):
            if len(own):
                with open(path, "ab") as file:
                    own.tofile(file)
    duplicates = 0
    for path in paths:
        if os.path.exists(path):
            ids = np.fromfile(path, np.uint64)
            duplicates += len(ids) - len(np.unique(ids))
    shutil.rmtree(folder)
    return duplicates
