"""What is in a dump."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mexport_pb import _core
from mexport_pb.record import RecordReader
from mexport_pb.table.dump import TableDump, from_columns
from mexport_pb.table.layout import TableLayout
from mexport_pb.table.locate import TableFiles, find_tables
from mexport_pb.table.multi import plan_reading
from mexport_pb.table.shards import PathLike
from mexport_pb.table.sorting import chunk_rows
from mexport_pb.table.source import DumpSource, Source, find_compression, open_source, open_tables
from mexport_pb.table.survey import Survey, count_duplicates

__all__ = ["Segment", "Shard", "TableInfo", "iter_entries", "table_infos"]

_FIRST_ROWS = 256  # until it is known how large a row is
_MAX_BATCH_RECORDS = 1 << 16
_MAX_BATCH_BYTES = 4 << 20

OnChunk: TypeAlias = Callable[[str | None, TableDump], object]


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
    names: Sequence[PathLike], *, table: str | None = None, on_chunk: OnChunk | None = None
) -> Iterator[TableInfo]:
    """Read tables through, every checksum checked, and tell what is in them.

    Memory is that of a piece. The folder for temporary files takes 8 bytes an entry where ids are not sorted and of
    dumps of several tables; those that are not snappy files, or of which one table is asked for, are unpacked there.

    Args:
        names: As for :func:`find_tables`; a folder stands for all its dumps.
        table: Of dumps of several tables only this one.
        on_chunk: Called with the name of the table (of a dump of several), and a piece of its entries, in the order of
            the files, before the table's facts come.

    Raises:
        InvalidArgumentError: A dump has no such table.
        TableError, RecordError: There is no such dump, or it is damaged.
        OSError: A file cannot be read.
    """
    for files in find_tables(names):
        with tempfile.TemporaryDirectory(prefix="mexport-") as work:
            if files.metas and table is None and all(find_compression(p, "snappy") == "snappy" for p in files.paths):
                yield from _infos_of_several(files, work, on_chunk)
            elif files.metas and table is None:
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


def _info(
    files: TableFiles,
    table: str | None,
    source: Source,
    work: str,
    on_chunk: OnChunk | None,
) -> TableInfo:
    survey = Survey()
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
                on_chunk(table, chunk)
        shards.append(Shard(shard, survey.rows - before, os.path.getsize(path)))
    if isinstance(source, DumpSource):
        source.shards.check()
    duplicates = 0 if survey.is_sorted else count_duplicates((chunk.ids for chunk in source.chunks(rows)), work)
    return _told(files, table, survey, shards, duplicates)


def _infos_of_several(files: TableFiles, work: str, on_chunk: OnChunk | None) -> Iterator[TableInfo]:
    """All tables of snappy files in one pass; their ids are kept in files until it is known whether they are sorted."""
    names, plan, unchanged = plan_reading(files.name)
    shards: dict[str, list[Shard]] = {name: [] for name in sorted(names)}
    for (_, parts), path in zip(plan, files.paths, strict=True):
        sizes = _part_bytes(path, [entries for _, entries in parts])
        for (number, entries), size in zip(parts, sizes, strict=True):
            shards[names[number]].append(Shard(path, entries, size))
    surveys = {name: Survey() for name in shards}
    reader = _core.MultiTableIterator(plan, len(names))
    rows = _FIRST_ROWS
    while True:
        number, columns = reader.next(rows)
        chunk = from_columns(columns)
        if not len(chunk):
            break
        name = names[number]
        surveys[name].add(chunk, f"{files.name}: {name}")
        with open(os.path.join(work, f"ids-{number}"), "ab") as file:
            chunk.ids.tofile(file)
        if on_chunk is not None:
            on_chunk(name, chunk)
        rows = min(chunk_rows(survey.layout) for survey in surveys.values() if survey.layout is not None)
    unchanged.check()
    for name, survey in surveys.items():
        ids = os.path.join(work, f"ids-{names.index(name)}")
        duplicates = 0 if survey.is_sorted else count_duplicates(_ids_of(ids), work)
        yield _told(files, name, survey, shards[name], duplicates)


def _part_bytes(path: str, parts: Sequence[int]) -> list[int]:
    """What parts of so many records each take, uncompressed."""
    sizes = []
    with RecordReader(path, "snappy") as reader:
        for entries in parts:
            start, left = reader.offset, entries
            while left:
                batch = reader.read_batch(min(left, _MAX_BATCH_RECORDS), _MAX_BATCH_BYTES)
                if not len(batch):
                    break  # whoever reads the entries says so
                left -= len(batch)
            sizes.append(reader.offset - start)
    return sizes


def _ids_of(path: str) -> Iterator[npt.NDArray[np.int64]]:
    with open(path, "rb") as file:
        while len(ids := np.fromfile(file, np.int64, _MAX_BATCH_RECORDS)):
            yield ids


def _told(files: TableFiles, table: str | None, survey: Survey, shards: Sequence[Shard], duplicates: int) -> TableInfo:
    layout = survey.layout or TableLayout(0)
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
        slots=dict(sorted(survey.slots.items())),
        slots_v1=dict(sorted(survey.slots_v1.items())),
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
