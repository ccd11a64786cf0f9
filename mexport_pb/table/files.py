"""Dumps of one table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mexport_pb import _core
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.dump import TableDump, from_columns, to_columns
from mexport_pb.table.shards import PathLike, ShardSet, ShardStaging, check_shard_count, find_shards

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["iter_table", "read_table", "write_table"]


def read_table(basename: PathLike, *, compression: str | None = None, threads: int | None = None) -> TableDump:
    """Read a table dump whole, every checksum checked. Ctrl-C ends it at once.

    Args:
        basename: What the names of the files have in front of ``-00000-of-00004``.
        compression: What the files were written with; a dump of one table is not compressed.
        threads: No more than this; as many as there are processors when None. Zlib and gzip files have one.

    Returns:
        The entries in the order of the files.

    Raises:
        TableError: The set of files is incomplete, mixed, or replaced while it is read, or a record is no entry or one
            of another layout than the first. It has the path and the record's offset.
        RecordError: A file's framing is damaged; see :class:`mexport_pb.RecordReader`.
        OSError: A file cannot be read.
    """
    paths = find_shards(basename)
    shards = ShardSet(paths)
    columns = _core.read_table_files([os.fsencode(path) for path in paths], compression, thread_count(threads))
    shards.check()
    return from_columns(columns)


def iter_table(
    basename: PathLike, *, rows_per_chunk: int = 1 << 16, compression: str | None = None
) -> Iterator[TableDump]:
    """Yield the entries of a dump in pieces, in the order of :func:`read_table`, which names the errors as well.

    Memory is that of one piece. Damage is raised once the entries before it are out.

    Args:
        basename: As for :func:`read_table`.
        rows_per_chunk: The entries of each piece; the last one may have fewer.
        compression: As for :func:`read_table`.

    Raises:
        InvalidArgumentError: ``rows_per_chunk`` is less than 1.
    """
    if rows_per_chunk < 1:
        raise InvalidArgumentError(f"rows_per_chunk: got {rows_per_chunk}, want at least 1")
    paths = find_shards(basename)
    shards = ShardSet(paths)
    reader = _core.TableIterator([os.fsencode(path) for path in paths], compression)
    return _chunks(reader, rows_per_chunk, shards)


def _chunks(reader: _core.TableIterator, rows: int, shards: ShardSet) -> Iterator[TableDump]:
    while chunk := from_columns(reader.next(rows)):
        yield chunk
    shards.check()


def write_table(
    basename: PathLike,
    dump: TableDump,
    num_shards: int | None = None,
    *,
    compression: str | None = None,
    expire: Message | None = None,
    max_update_time: int | None = None,
    threads: int | None = None,
) -> int:
    """Write a table dump, in place of one that may be there.

    The entries are sorted by their unsigned ids and divided evenly, so the same entries give the same bytes whatever
    their order and the number of threads. When this returns, the dump survives power loss. When it raises, nothing of
    it is left, and a dump that was there is as it was unless the failure came between removing its files and renaming
    the new ones. Of several writers, one at a time does that, where the file system can lock a folder; the last one's
    dump stays. Ctrl-C is an error like others, which waits for nothing but a sync that has begun.

    Args:
        basename: As for :func:`read_table`. Its folder is made if needed.
        dump: The entries, each id once.
        num_shards: The number of files, some of which may be empty. None: one for each million entries of ``dump``, at
            least 1 and at most 4.
        compression: None or ``""``, ``"zlib"``, ``"gzip"`` or ``"snappy"``. Monolith reads uncompressed dumps only.
        expire: A SlotExpireTimeConfig: entries with ``max_update_time - timestamp >= days * 86400`` are left out.
        max_update_time: In seconds; the newest timestamp of the dump when None.
        threads: No more than this; as many as there are processors when None. Zlib and gzip files have one.

    Returns:
        The number of entries written.

    Raises:
        InvalidArgumentError: for arrays that do not belong together, an id that comes twice, a wrong argument, a
            basename without a name in it.
        OSError: A file cannot be written.
        TimeoutError: Somebody keeps the folder locked for a minute.
    """
    columns = to_columns(dump)
    shards = check_shard_count(num_shards, len(dump))
    workers = thread_count(threads)
    written = plan(columns, dump, expire, max_update_time, workers)
    with ShardStaging([os.fspath(basename)], shards) as staging:
        _core.write_table_files([os.fsencode(path) for path in staging.temporary[0]], [columns], compression, workers)
        staging.commit()
    return written


def plan(
    columns: _core.TableColumns, dump: TableDump, expire: Message | None, max_update_time: int | None, threads: int
) -> int:
    """Choose and order the rows to be written; return how many there are."""
    if expire is None:
        return columns.plan(None, 0, threads)
    from mexport_pb.table.expiry import expire_days

    if max_update_time is None:
        max_update_time = int(np.max(dump.timestamps)) if len(dump) else 0
    if not isinstance(max_update_time, int | np.integer) or not -(1 << 63) <= max_update_time < 1 << 63:
        raise InvalidArgumentError(f"max_update_time: got {max_update_time}, want seconds in 64 bits")
    return columns.plan(expire_days(expire), max_update_time, threads)


def thread_count(threads: int | None) -> int:
    """Return the number of threads to use.

    Raises:
        InvalidArgumentError: for less than 1.
    """
    if threads is None:
        return len(os.sched_getaffinity(0))
    if threads < 1:
        raise InvalidArgumentError(f"threads: got {threads}, want at least 1")
    return threads
