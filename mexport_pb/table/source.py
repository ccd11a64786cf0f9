"""Tables as streams of entries, whatever they are stored in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mexport_pb import _core
from mexport_pb.errors import InvalidArgumentError, RecordError, TableError
from mexport_pb.record import RecordReader, RecordWriter, masked_crc32c
from mexport_pb.table.dump import TableDump, from_columns
from mexport_pb.table.layout import TableLayout
from mexport_pb.table.locate import TableFiles
from mexport_pb.table.multi import multi_file_parts
from mexport_pb.table.shards import ShardSet

__all__ = ["DumpSource", "Part", "Source", "find_compression", "open_source", "open_tables"]

_GZIP_MAGIC = b"\x1f\x8b"
_ZLIB_DEFLATE = 8
_COPY_BYTES = 4 << 20


class Source(Protocol):
    """The entries of one table."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def layout(self) -> TableLayout | None:
        """The layout of the first entry; None without entries."""

    def chunks(self, rows: int) -> Iterator[TableDump]:
        """Yield the entries in pieces of up to ``rows``. The layouts of the pieces may differ where files do."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some entries of one table in a row in a file.

    Attributes:
        path: A file that holds them and nothing else.
        compression: Of ``path``.
        shard: The file of the dump that they come from: ``path``, or the one that ``path`` was taken out of.
        offset: Where in the uncompressed ``shard`` the bytes of ``path`` begin.
    """

    path: str
    compression: str | None
    shard: str
    offset: int = 0

    def chunks(self, rows: int) -> Iterator[TableDump]:
        """Yield the entries in pieces.

        Raises:
            TableError: A record is no entry, or one of another layout than those before.
            RecordError: The framing is damaged.
            OSError: The file cannot be read.
        """
        try:
            reader = _core.TableIterator([os.fsencode(self.path)], self.compression)
            while chunk := from_columns(reader.next(rows)):
                yield chunk
        except TableError as error:
            if self.path == self.shard or error.offset is None:
                raise
            message = str(error).removeprefix(f"{self.path}: offset {error.offset}: ")
            raise TableError(message, path=self.shard, offset=self.offset + error.offset) from None


@dataclass(frozen=True, slots=True)
class DumpSource:
    """The entries of a dump of one table, or of one table in a dump of several.

    Attributes:
        name: See :class:`Source`.
        parts: The entries, in the order of the files.
        shards: The files that ``parts`` lie in. Those of a dump of several tables are unpacked, once and for all.
    """

    name: str
    parts: tuple[Part, ...]
    shards: ShardSet

    @property
    def layout(self) -> TableLayout | None:
        """See :class:`Source`."""
        return next((TableLayout.of(chunk) for chunk in self.chunks(1)), None)

    def chunks(self, rows: int) -> Iterator[TableDump]:
        """See :class:`Source`; the files in the order of their numbers.

        Raises:
            TableError: after the last piece, when files were replaced meanwhile.
        """
        for part in self.parts:
            yield from part.chunks(rows)
        self.shards.check()


def open_source(files: TableFiles, table: str | None, work: str) -> Source:
    """Open one table.

    Args:
        files: As :func:`find_tables` found them.
        table: Which one of a dump of several tables; not needed where there is only one.
        work: A folder for what has to be unpacked, to be removed by the caller.

    Raises:
        InvalidArgumentError: for a dump of several tables when none is named, and for one that it has not.
        TableError: for files that are not what they should be.
    """
    if files.metas:
        names = _table_names(files)
        if table is None and len(names) != 1:
            raise InvalidArgumentError(f"{files.name}: has several tables, name one: {', '.join(names)}")
        if table is not None and table not in names:
            raise InvalidArgumentError(f"{files.name}: no table {table!r}; there are: {', '.join(names)}")
        chosen = names[0] if table is None else table
        return open_tables(files, work, only=chosen)[chosen]
    if table is not None:
        raise InvalidArgumentError(f"{files.name}: is of one table, which has no name in it; got {table!r}")
    if files.name.endswith(".npz") and files.is_columns:
        from mexport_pb.table.npz import NpzSource

        return NpzSource(files.name)
    if files.is_columns:
        from mexport_pb.table.parquet import ParquetSource

        return ParquetSource(files.name)
    shards = ShardSet(files.paths)
    return DumpSource(files.name, tuple(Part(path, find_compression(path), path) for path in files.paths), shards)


def open_tables(files: TableFiles, work: str, only: str | None = None) -> Mapping[str, DumpSource]:
    """Unpack the tables of a dump of several into ``work``, by name, in the order of the names.

    Raises:
        TableError: The files do not hold what their ``.meta`` files say, or were replaced meanwhile.
        RecordError: The framing or the compression is damaged.
    """
    shards = ShardSet([*files.paths, *files.metas])
    parts: dict[str, list[Part]] = {name: [] for name in _table_names(files) if only in (None, name)}
    folder = tempfile.mkdtemp(dir=work)
    for shard, (path, meta) in enumerate(zip(files.paths, files.metas, strict=True)):
        with RecordReader(path, find_compression(path, "snappy")) as reader:
            for number, (name, entries) in enumerate(multi_file_parts(meta)):
                start = reader.offset
                target = os.path.join(folder, f"{shard}-{number}") if name in parts else None
                _copy(reader, target, entries, path)
                if target is not None:
                    parts[name].append(Part(target, None, path, start))
            end = reader.offset
            if next(reader, None) is not None:
                raise TableError("entries: got more than the meta file tells of", path=path, offset=end)
    shards.check()
    unpacked = ShardSet(())
    return {name: DumpSource(f"{files.name}: {name}", tuple(pieces), unpacked) for name, pieces in parts.items()}


def _copy(reader: RecordReader, target: str | None, entries: int, path: str) -> None:
    writer = None if target is None else RecordWriter(target)
    try:
        done = 0
        while done < entries:
            batch = reader.read_batch(min(entries - done, 1 << 16), _COPY_BYTES)
            if not len(batch):
                raise TableError(
                    f"entries: got {done}, want {entries - done} more by the meta file", path=path, offset=reader.offset
                )
            done += len(batch)
            if writer is not None:
                writer.write_batch(batch.data.data, batch.offsets)
    finally:
        if writer is not None:
            writer.close()


def _table_names(files: TableFiles) -> Sequence[str]:
    return sorted({name for meta in files.metas for name, _ in multi_file_parts(meta)})


def find_compression(path: str, otherwise: str | None = None) -> str | None:
    """Tell the compression of a file of records by its beginning.

    Args:
        path: The file.
        otherwise: What to take it for if it is empty or nothing fits.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(12)
    if len(head) == 12 and masked_crc32c(head[:8]) == int.from_bytes(head[8:], "little"):
        return None
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    if len(head) >= 2 and head[0] & 0x0F == _ZLIB_DEFLATE and int.from_bytes(head[:2], "big") % 31 == 0:
        return "zlib"
    if otherwise is None and head:
        try:
            with RecordReader(path, "snappy") as reader:
                next(reader, None)
        except RecordError:
            return None  # it is no snappy either; whoever reads the records says what is wrong
        return "snappy"
    return otherwise
