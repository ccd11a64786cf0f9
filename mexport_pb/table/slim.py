"""Dumps made smaller for serving: docs/formats/table_graph.md says what is dropped, and in what order rows are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from mexport_pb import _core
from mexport_pb._proto.hash_table_pb2 import MultiHashTableMetadata, SlotExpireTimeConfig
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.record import RecordWriter
from mexport_pb.table.dump import TableDump, to_columns
from mexport_pb.table.expiry import NUM_SLOTS, expire_days
from mexport_pb.table.files import iter_table
from mexport_pb.table.ledger import TableLedger, TableSetLedger
from mexport_pb.table.multi import iter_multi_table, meta_basename, plan_reading
from mexport_pb.table.shards import PathLike, check_shard_count, find_shards, list_shards, shard_path
from mexport_pb.table.sorted_runs import SortedRuns, take_rows

__all__ = ["ServingTables", "slim_multi_table", "slim_table"]

_ROWS = 1 << 16
_DAY = 86_400
_SNAPPY = "snappy"


@dataclass(frozen=True)
class ServingTables:
    """How tables are made smaller for serving.

    Attributes:
        drop_optimizer_state: Leave out what only training needs. Serving tables ignore it.
        drop_zero_rows: Leave out rows of zeros: an id that is not there is looked up as zeros. Rows of tables with a
            segment of ``one_bit`` stay, for it reads zeros as something else.
        drop_expired: Leave out rows by their slots' days, as a training job does when it saves.
        req_time: The second that ages are counted to; None means the newest timestamp of each table.
        num_shards: Files for each set; None means as many as there were.
        pack_floats: Write each vector as one field, a fifth smaller. Every protobuf parser reads it.
        memory_bytes: About how much memory rows may take; more rows are sorted on disk, beside the export.

    Raises:
        InvalidArgumentError: by the constructor, for numbers that make no sense.
    """

    drop_optimizer_state: bool = True
    drop_zero_rows: bool = True
    drop_expired: bool = True
    req_time: int | None = None
    num_shards: int | None = None
    pack_floats: bool = False
    memory_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if self.num_shards is not None:
            check_shard_count(self.num_shards, 0)
        if self.req_time is not None and self.req_time < 0:
            raise InvalidArgumentError(f"req_time: got {self.req_time}, want at least 0")
        if self.memory_bytes < 1 << 20:
            raise InvalidArgumentError(f"memory_bytes: got {self.memory_bytes}, want at least {1 << 20}")


def slim_table(
    source: PathLike,
    target: PathLike,
    options: ServingTables | None = None,
    *,
    expire: Message | None = None,
    keep_zero_rows: bool = False,
    scratch: PathLike | None = None,
    check: Callable[[], None] | None = None,
) -> TableSetLedger:
    """Write a smaller dump of a table, in one pass over its files.

    Rows are sorted by their unsigned ids and divided evenly, so the same rows give the same bytes.

    Args:
        source: The basename of the dump.
        target: The basename of the new dump; no file of it may be there. Its folder is made if needed.
        options: What to drop.
        expire: A SlotExpireTimeConfig; None keeps 36500 days.
        keep_zero_rows: Whether this table needs its rows of zeros.
        scratch: A folder for rows that do not fit into memory; that of the target when None.
        check: Called now and then; may raise to give the rest up.

    Returns:
        What became of each row.

    Raises:
        InvalidArgumentError: There are files of the target.
        TableError: The dump is incomplete or damaged, or an id comes twice. Files of the target are left behind.
        RecordError: A file's framing is damaged.
        OSError: A file cannot be read or written.
    """
    name = os.path.basename(os.fspath(source))
    job = _Job(source, target, options or ServingTables(), [name], None, check)
    job.keep_zero_rows = {name} if keep_zero_rows else set()
    return job.run(((0, chunk) for chunk in iter_table(source, rows_per_chunk=_ROWS)), expire, scratch)


def slim_multi_table(
    source: PathLike,
    target: PathLike,
    options: ServingTables | None = None,
    *,
    expire: Message | None = None,
    keep_zero_rows: frozenset[str] = frozenset(),
    scratch: PathLike | None = None,
    check: Callable[[], None] | None = None,
) -> TableSetLedger:
    """Write a smaller dump of several tables; see :func:`slim_table`. One ``expire`` holds for all tables."""
    names = sorted(plan_reading(source)[0])
    numbers = {name: number for number, name in enumerate(names)}
    job = _Job(source, target, options or ServingTables(), names, _SNAPPY, check)
    job.keep_zero_rows = set(keep_zero_rows)
    chunks = ((numbers[name], chunk) for name, chunk in iter_multi_table(source, rows_per_chunk=_ROWS))
    return job.run(chunks, expire, scratch)


@dataclass
class _Count:
    read: int = 0
    zero: int = 0
    expired: int = 0
    newest: int = 0

    @property
    def kept(self) -> int:
        return self.read - self.zero - self.expired


@dataclass
class _Job:
    """One set of files on its way to another."""

    source: PathLike
    target: PathLike
    options: ServingTables
    names: list[str]
    compression: str | None
    check: Callable[[], None] | None
    keep_zero_rows: set[str] = field(default_factory=set)

    def run(
        self, chunks: Iterator[tuple[int, TableDump]], expire: Message | None, scratch: PathLike | None
    ) -> TableSetLedger:
        if present := list_shards(self.target):
            raise InvalidArgumentError(f"{present[0][0]}: the file is there already")
        read = self._set_files(self.source)
        shards = self.options.num_shards or len(find_shards(self.source))
        folder = os.path.dirname(os.path.abspath(self.target))
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="rows-", dir=scratch or folder) as spilled:
            runs = [SortedRuns(name, Path(spilled) / str(number)) for number, name in enumerate(self.names)]
            counts = self._collect(chunks, runs)
            days = None
            if self.options.drop_expired:
                days = expire_days(SlotExpireTimeConfig() if expire is None else expire)
                self._count_expired(runs, counts, days)
            self._write(runs, counts, days, shards)
        written = self._set_files(self.target)
        return TableSetLedger(
            os.path.basename(os.fspath(self.source)),
            tuple(
                TableLedger(name, count.read, count.kept, {"zero": count.zero, "expired": count.expired})
                for name, count in zip(self.names, counts, strict=True)
            ),
            "dropped" if self.options.drop_optimizer_state else "kept",
            len(read),
            sum(map(os.path.getsize, read)),
            len(written),
            sum(map(os.path.getsize, written)),
        )

    def _set_files(self, basename: PathLike) -> list[str]:
        metas = find_shards(meta_basename(basename)) if self.compression else []
        return find_shards(basename) + metas

    def _collect(self, chunks: Iterator[tuple[int, TableDump]], runs: list[SortedRuns]) -> list[_Count]:
        counts = [_Count() for _ in runs]
        # Sorting takes a copy, and the chunks before it are as large again.
        most = self.options.memory_bytes // 4
        for number, chunk in chunks:
            if self.check is not None:
                self.check()
            count = counts[number]
            count.read += len(chunk)
            count.newest = max(count.newest, int(chunk.timestamps.max(initial=0)))
            kept = chunk
            if self.options.drop_zero_rows and self.names[number] not in self.keep_zero_rows:
                nonzero = chunk.values.any(axis=1)
                count.zero += len(chunk) - int(np.count_nonzero(nonzero))
                kept = take_rows(chunk, nonzero) if not nonzero.all() else chunk
            if self.options.drop_optimizer_state:
                kept = TableDump(kept.ids, kept.values, kept.timestamps)
            runs[number].add(kept)
            if sum(run.pending_bytes for run in runs) > most:
                for run in runs:
                    run.spill()
        for run in runs:
            run.finish()
        return counts

    def _count_expired(self, runs: list[SortedRuns], counts: list[_Count], days: npt.NDArray[np.uint32]) -> None:
        for run, count in zip(runs, counts, strict=True):
            for ids, times in run.id_and_time_pieces(_ROWS):
                count.expired += int(np.count_nonzero(self._expired(ids, times, count, days)))

    def _expired(
        self, ids: npt.NDArray[Any], times: npt.NDArray[Any], count: _Count, days: npt.NDArray[np.uint32]
    ) -> npt.NDArray[np.bool_]:
        now = count.newest if self.options.req_time is None else self.options.req_time
        slots = (ids.view(np.uint64) >> np.uint64(48)) & np.uint64(NUM_SLOTS - 1)
        seconds = days[slots].astype(np.int64) * _DAY
        # Not now - times >= seconds, which could overflow for a time from a damaged or hostile file.
        return np.asarray(times <= now - seconds)

    def _write(
        self, runs: list[SortedRuns], counts: list[_Count], days: npt.NDArray[np.uint32] | None, shards: int
    ) -> None:
        base = os.fspath(self.target)
        sink = _Shards(base, shards, self.compression, self.options.pack_floats)
        for run, count in zip(runs, counts, strict=True):
            sink.begin_table(count.kept)
            for block in run.blocks(self.options.memory_bytes // 4):
                if self.check is not None:
                    self.check()
                rows = block
                if days is not None:
                    rows = take_rows(block, ~self._expired(block.ids, block.timestamps, count, days))
                sink.append(rows)
        sink.close()
        if self.compression:
            for shard in range(shards):
                with RecordWriter(shard_path(meta_basename(base), shard, shards)) as writer:
                    for name, count in zip(self.names, counts, strict=True):
                        begin, end = shard_range(count.kept, shard, shards)
                        record = MultiHashTableMetadata(table_name=name, num_entries=end - begin)
                        writer.write(record.SerializeToString(deterministic=True))
                    writer.sync()


def shard_range(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """The rows that a shard holds: contiguous, the first ones longer by one where it does not divide."""
    each, more = divmod(rows, shards)
    begin = shard * each + min(shard, more)
    return begin, begin + each + (shard < more)


class _Shards:
    """The files of a new dump, filled table by table."""

    def __init__(self, basename: str, shards: int, compression: str | None, packed: bool) -> None:
        self._shards = shards
        self._writers: dict[int, _core.TableFileWriter] = {}
        self._basename, self._compression, self._packed = basename, compression, packed
        self._rows = 0
        self._position = 0
        if compression is not None:
            for shard in range(shards):
                self._writer(shard)

    def begin_table(self, rows: int) -> None:
        self._rows, self._position = rows, 0

    def append(self, dump: TableDump) -> None:
        """Rows of the table, behind those before."""
        if len(dump) == 0:
            return
        columns = to_columns(dump)
        columns.plan(None, 0, 1)
        done = 0
        while done < len(dump):
            shard = self._shard_of(self._position)
            _, end = shard_range(self._rows, shard, self._shards)
            rows = min(len(dump) - done, end - self._position)
            self._writer(shard).append(columns, done, done + rows)
            done += rows
            self._position += rows
            if self._position == end and self._compression is None:
                # The next table, if any, is of other files.
                self._writers.pop(shard).close()

    def close(self) -> None:
        """Make all files, and make them durable."""
        for shard in range(self._shards):
            if self._compression is not None or not os.path.exists(self._path(shard)):
                self._writer(shard).close()
        self._writers.clear()

    def _shard_of(self, position: int) -> int:
        each, more = divmod(self._rows, self._shards)
        longer = more * (each + 1)
        return position // (each + 1) if position < longer else more + (position - longer) // each

    def _path(self, shard: int) -> str:
        return shard_path(self._basename, shard, self._shards)

    def _writer(self, shard: int) -> _core.TableFileWriter:
        writer = self._writers.get(shard)
        if writer is None:
            path = os.fsencode(self._path(shard))
            writer = self._writers[shard] = _core.TableFileWriter(path, self._compression, self._packed)
        return writer
