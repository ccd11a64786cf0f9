"""Dumps of several tables in one set of files: entries in snappy files, how many of which table in ``.meta`` files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from mexport_pb import _core
from mexport_pb._proto.hash_table_pb2 import MultiHashTableMetadata
from mexport_pb.errors import InvalidArgumentError, TableError
from mexport_pb.record import RecordReader, RecordWriter
from mexport_pb.table.dump import TableDump, from_columns, to_columns
from mexport_pb.table.files import plan, thread_count
from mexport_pb.table.shards import PathLike, ShardSet, ShardStaging, check_shard_count, find_shards

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = [
    "iter_multi_table",
    "meta_basename",
    "multi_file_parts",
    "plan_reading",
    "read_multi_table",
    "write_multi_table",
]


def read_multi_table(basename: PathLike, *, threads: int | None = None) -> dict[str, TableDump]:
    """Read a dump of several tables whole, every checksum checked.

    Args:
        basename: What the names of the files have in front of ``-00000-of-00004``; the others are
            ``<basename>.meta-00000-of-00004``.
        threads: No more than this; as many as there are processors when None.

    Returns:
        The entries of each table in the order of the files; the tables in the order in which the files name them. A
        table without entries has dimension 0: the dump does not say more.

    Raises:
        TableError: A set of files is incomplete, mixed, or replaced while it is read, the two sets differ, they do not
            agree on the number of entries, or a record is not what it should be.
        RecordError: A file's framing or compression is damaged.
        OSError: A file cannot be read.
    """
    names, files, shards = plan_reading(basename)
    columns = _core.read_multi_table_files(files, len(names), thread_count(threads))
    shards.check()
    return {name: from_columns(of_table) for name, of_table in zip(names, columns, strict=True)}


def iter_multi_table(basename: PathLike, *, rows_per_chunk: int = 1 << 16) -> Iterator[tuple[str, TableDump]]:
    """Yield the entries of a dump in pieces, with the name of their table.

    They come in the order of the files, in each of which the tables follow one another: a table comes again for every
    file, and one without entries does not come at all. Memory is that of one piece. Damage is raised once the entries
    before it are out.

    Args:
        basename: As for :func:`read_multi_table`.
        rows_per_chunk: The entries of each piece; the last one of a table in a file may have fewer.

    Raises:
        InvalidArgumentError: ``rows_per_chunk`` is less than 1.
        TableError, RecordError, OSError: as for :func:`read_multi_table`.
    """
    if rows_per_chunk < 1:
        raise InvalidArgumentError(f"rows_per_chunk: got {rows_per_chunk}, want at least 1")
    names, files, shards = plan_reading(basename)
    return _chunks(names, _core.MultiTableIterator(files, len(names)), rows_per_chunk, shards)


def _chunks(
    names: list[str], reader: _core.MultiTableIterator, rows: int, shards: ShardSet
) -> Iterator[tuple[str, TableDump]]:
    while True:
        table, columns = reader.next(rows)
        chunk = from_columns(columns)
        if len(chunk) == 0:
            shards.check()
            return
        yield names[table], chunk


def plan_reading(basename: PathLike) -> tuple[list[str], list[tuple[bytes, list[tuple[int, int]]]], ShardSet]:
    """Return the tables' names, for each file its path and (table, entries) of its parts, and all files as a set."""
    paths = find_shards(basename)
    metas = find_shards(meta_basename(basename))
    shards = ShardSet([*paths, *metas])
    if len(metas) != len(paths):
        raise TableError(f"doesn't match nshards: got {len(metas)}, want {len(paths)}", path=metas[0])
    tables: dict[str, int] = {}
    files = []
    for path, meta in zip(paths, metas, strict=True):
        parts = [(tables.setdefault(name, len(tables)), entries) for name, entries in multi_file_parts(meta)]
        files.append((os.fsencode(path), parts))
    return list(tables), files, shards


def write_multi_table(
    basename: PathLike,
    tables: Mapping[str, TableDump],
    num_shards: int | None = None,
    *,
    expire: Message | None = None,
    max_update_time: int | Mapping[str, int] | None = None,
    threads: int | None = None,
) -> dict[str, int]:
    """Write a dump of several tables, in place of one that may be there; see :func:`mexport_pb.write_table`.

    Args:
        basename: As for :func:`read_multi_table`.
        tables: The entries of each table. The files hold the tables in the order of their names.
        num_shards: The number of files; None as for :func:`mexport_pb.write_table`, by the entries of all tables.
        expire: A SlotExpireTimeConfig for all tables.
        max_update_time: In seconds: one for all tables, or one for each by its name. A table that has none, and every
            one when None, has its newest timestamp.
        threads: As for :func:`read_multi_table`.

    Returns:
        The number of entries written of each table.

    Raises:
        InvalidArgumentError: as for :func:`mexport_pb.write_table`; for the time of a table that is none of ``tables``.
        OSError: A file cannot be written.
        TimeoutError: Somebody keeps the folder locked for a minute.
    """
    names = sorted(tables)
    for name in names:
        if not _is_text(name):
            raise InvalidArgumentError(f"table name: got {name!r}, want text that UTF-8 can hold")
    times = _times(names, max_update_time)
    columns = [to_columns(tables[name]) for name in names]
    shards = check_shard_count(num_shards, sum(len(dump) for dump in tables.values()))
    workers = thread_count(threads)
    written = {
        name: plan(column, tables[name], expire, times.get(name), workers)
        for name, column in zip(names, columns, strict=True)
    }
    with ShardStaging([os.fspath(basename), meta_basename(basename)], shards) as staging:
        data, metas = staging.temporary
        _core.write_table_files([os.fsencode(path) for path in data], columns, "snappy", workers)
        for shard, path in enumerate(metas):
            with RecordWriter(path) as writer:
                for name in names:
                    entries = written[name] // shards + (shard < written[name] % shards)
                    record = MultiHashTableMetadata(table_name=name, num_entries=entries)
                    writer.write(record.SerializeToString(deterministic=True))
                writer.sync()
        staging.commit()
    return written


def _times(names: list[str], max_update_time: int | Mapping[str, int] | None) -> Mapping[str, int]:
    if max_update_time is None:
        return {}
    if not isinstance(max_update_time, Mapping):
        return dict.fromkeys(names, max_update_time)
    unknown = sorted(set(max_update_time) - set(names))
    if unknown:
        raise InvalidArgumentError(f"max_update_time: got a time of {unknown[0]!r}, want names of tables: {names}")
    return max_update_time


def meta_basename(basename: PathLike) -> str:
    """The basename of the files that say which entries are of which table."""
    return f"{os.fspath(basename)}.meta"


def multi_file_parts(path: str) -> list[tuple[str, int]]:
    """Return the tables of one file in the order of their entries, and the number of these, by its meta file.

    Raises:
        TableError: a record is not what it should be.
        RecordError: the framing is damaged.
    """
    parts: list[tuple[str, int]] = []
    with RecordReader(path) as reader:
        while True:
            offset = reader.offset
            record = next(reader, None)
            if record is None:
                return parts
            try:
                message = MultiHashTableMetadata.FromString(record)
            except DecodeError as error:
                raise TableError(f"not a MultiHashTableMetadata: {error}", path=path, offset=offset) from None
            # The runtime hands out bytes, or surrogates, for text that is none.
            name: object = message.table_name
            if not isinstance(name, str) or not _is_text(name):
                raise TableError(f"table name: got {name!r}, want UTF-8", path=path, offset=offset)
            parts.append((name, message.num_entries))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
