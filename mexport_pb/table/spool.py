"""Entries on their way: files of records that grow piece by piece, and dumps that are cut out of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mexport_pb import _core
from mexport_pb._proto.hash_table_pb2 import MultiHashTableMetadata
from mexport_pb.errors import InvalidArgumentError, TableError
from mexport_pb.record import RecordReader, RecordWriter
from mexport_pb.table.dump import TableDump, from_columns, to_columns
from mexport_pb.table.files import thread_count
from mexport_pb.table.layout import TableLayout, take
from mexport_pb.table.shards import ShardStaging, check_shard_count
from mexport_pb.table.staged_file import sync

__all__ = ["Spool", "SpoolWriter", "stage_multi_table", "stage_table", "write_multi_files"]

_PIECE_BYTES = 8 << 20
_COPY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Spool:
    """A file of entries, sorted by unsigned id, each id once: a source.

    Attributes:
        name: What messages call its entries.
        path: The file, uncompressed.
        rows: The number of entries.
        layout: Their layout; None without entries.
    """

    name: str
    path: str
    rows: int
    layout: TableLayout | None

    def chunks(self, rows: int) -> Iterator[TableDump]:
        """Yield the entries in pieces."""
        reader = _core.TableIterator([os.fsencode(self.path)], None)
        while chunk := from_columns(reader.next(rows)):
            yield chunk


class SpoolWriter:
    """Appends entries to a file.

    REQUIRES: all entries of one layout, in ascending order of their unsigned ids.
    """

    def __init__(self, name: str, path: str) -> None:
        """Create the file."""
        self._name = name
        self._path = path
        self._rows = 0
        self._layout: TableLayout | None = None
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 -- close() does

    def append(self, dump: TableDump) -> None:
        """Add entries.

        Raises:
            TableError: for entries that no dump can hold, as columns of another source may be.
            OSError: The file cannot be written.
        """
        if not len(dump):
            return
        if self._layout is None:
            self._layout = TableLayout.of(dump)
        step = max(1, _PIECE_BYTES // self._layout.row_bytes)
        for begin in range(0, len(dump), step):
            try:
                columns = to_columns(take(dump, slice(begin, begin + step)))
                columns.plan(None, 0, 1)
            except InvalidArgumentError as error:
                raise TableError(str(error), path=self._name) from None
            _append(self._file.fileno(), columns)
        self._rows += len(dump)

    def finish(self) -> Spool:
        """Close the file and return it."""
        self.close()
        return Spool(self._name, self._path, self._rows, self._layout)

    def close(self) -> None:
        """Close the file. Does nothing on a closed one."""
        self._file.close()

    def discard(self) -> None:
        """Close the file and remove it."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _append(target: int, columns: _core.TableColumns) -> None:
    """Encode into memory, then copy: the compiled writer writes whole files, and syncs them."""
    piece = os.memfd_create("mexport-entries", os.MFD_CLOEXEC)
    try:
        _core.write_table_files([b"/proc/self/fd/%d" % piece], [columns], None, thread_count(None))
        size = os.fstat(piece).st_size
        done = 0
        while done < size:
            copied = os.sendfile(target, piece, done, size - done)
            if copied == 0:
                raise OSError(f"a piece of entries: got {done} bytes, want {size}")
            done += copied
    finally:
        os.close(piece)


def stage_table(stack: contextlib.ExitStack, spool: Spool, basename: str, num_shards: int | None) -> ShardStaging:
    """Make the files of a dump out of a spool, whose file is gone then. Unless committed they go with ``stack``."""
    shards = check_shard_count(num_shards, spool.rows)
    staging = stack.enter_context(ShardStaging([basename], shards))
    (targets,) = staging.temporary
    _cut(spool, targets)
    for target in targets:
        sync(target)
    return staging


def stage_multi_table(
    stack: contextlib.ExitStack, spools: Mapping[str, Spool], basename: str, num_shards: int | None
) -> ShardStaging:
    """Make the files of a dump of several tables; see :func:`stage_table`."""
    shards = check_shard_count(num_shards, sum(spool.rows for spool in spools.values()))
    staging = stack.enter_context(ShardStaging([basename, f"{basename}.meta"], shards))
    write_multi_files(spools, *staging.temporary)
    return staging


def write_multi_files(
    spools: Mapping[str, Spool], targets: Sequence[str], metas: Sequence[str], *, durable: bool = True
) -> None:
    """Write the files of a dump of several tables out of spools, whose files are gone then.

    Args:
        spools: The tables by name.
        targets: The files with the entries.
        metas: Their ``.meta`` files.
        durable: Sync them.
    """
    names = sorted(spools)
    shards = len(targets)
    # One file is open at a time, however many tables there are.
    pieces = {name: [f"{spools[name].path}.{shard}" for shard in range(shards)] for name in names}
    for name in names:
        _cut(spools[name], pieces[name])
    for shard, (target, meta) in enumerate(zip(targets, metas, strict=True)):
        counts = [_share(spools[name].rows, shard, shards) for name in names]
        with RecordWriter(target, "snappy") as writer:
            for name, count in zip(names, counts, strict=True):
                with RecordReader(pieces[name][shard]) as reader:
                    _move(reader, writer, count)
                os.unlink(pieces[name][shard])
            if durable:
                writer.sync()
        _write_meta(meta, names, counts, durable)


def _cut(spool: Spool, targets: Sequence[str]) -> None:
    """Divide a spool, whose file is gone then, evenly into files."""
    if len(targets) == 1:
        os.rename(spool.path, targets[0])
        return
    with RecordReader(spool.path) as reader:
        for shard, target in enumerate(targets):
            with RecordWriter(target) as writer:
                _move(reader, writer, _share(spool.rows, shard, len(targets)))
    os.unlink(spool.path)


def _write_meta(path: str, names: Sequence[str], counts: Sequence[int], durable: bool) -> None:
    with RecordWriter(path) as writer:
        for name, count in zip(names, counts, strict=True):
            record = MultiHashTableMetadata(table_name=name, num_entries=count)
            writer.write(record.SerializeToString(deterministic=True))
        if durable:
            writer.sync()


def _share(rows: int, shard: int, shards: int) -> int:
    return rows // shards + (shard < rows % shards)


def _move(reader: RecordReader, writer: RecordWriter, records: int) -> None:
    while records:
        batch = reader.read_batch(min(records, 1 << 16), _COPY_BYTES)
        writer.write_batch(batch.data.data, batch.offsets)
        records -= len(batch)
