"""Whole tables from files to files, in flat memory: convert, merge, split. ``mexport table`` is made of these."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.locate import COLUMN_SUFFIXES, TableFiles, find_tables
from mexport_pb.table.partition import ps_of
from mexport_pb.table.shards import PathLike, check_shard_count
from mexport_pb.table.sorting import OnConflict, check_on_conflict, sort_entries
from mexport_pb.table.source import Source, open_source, open_tables
from mexport_pb.table.spool import Spool, stage_multi_table, stage_table
from mexport_pb.table.staged_file import blaming, check_target, staged_file

__all__ = ["convert_table", "merge_tables", "partition_table", "sort_multi", "split_table"]

_MAX_PARTITIONS = 512


def convert_table(
    source: PathLike,
    target: PathLike,
    *,
    table: str | None = None,
    num_shards: int | None = None,
    force: bool = False,
) -> int:
    """Convert a dump to a ``.npz`` or Parquet file, such a file to a dump, or a dump to one that we would write.

    Nothing is lost: a dump that comes back has the bytes of :func:`mexport_pb.write_table`. Files of columns have the
    order of the source, dumps are sorted.

    Args:
        source: Names one table, as for :func:`find_tables`.
        target: A name that ends in ``.npz`` or ``.parquet``, else the basename of a dump.
        table: Which table of a dump of several.
        num_shards: The number of files of a dump; as for :func:`mexport_pb.write_table`.
        force: Replace what is there.

    Returns:
        The number of entries.

    Raises:
        InvalidArgumentError: The target is there, or the source is not one table.
        TableError, RecordError: The source is damaged.
        UnsupportedError: A Parquet file, and pyarrow is not installed.
        OSError: A file cannot be read or written.
    """
    path = os.fspath(target)
    files = _one(source)
    if not path.endswith(COLUMN_SUFFIXES):
        check_target(path, force=force)
        _check_shards(num_shards)
        with _work(path) as work:
            return _write(sort_entries([open_source(files, table, work)], work, path), path, num_shards)
    if num_shards is not None:
        raise InvalidArgumentError(f"num_shards: got {num_shards}, but {path} is one file")
    with staged_file(path, force=force) as temporary, _work(path) as work:
        opened = open_source(files, table, work)
        if path.endswith(".npz"):
            from mexport_pb.table.npz import write_npz

            return write_npz(temporary, opened)
        from mexport_pb.table.parquet import write_parquet

        return write_parquet(temporary, opened)


def merge_tables(
    sources: Sequence[PathLike],
    target: PathLike,
    *,
    table: str | None = None,
    on_conflict: OnConflict = "error",
    num_shards: int | None = None,
    force: bool = False,
) -> int:
    """Merge dumps and files of columns into one dump.

    Dumps of several tables merge table by table, unless ``table`` names one.

    Args:
        sources: As for :func:`find_tables`.
        target: The basename of the new dump, which may be one of the sources if ``force`` is set.
        table: Take this table out of dumps of several.
        on_conflict: What becomes of an id that comes more than once: ``"error"``, or the entry with the ``"newest"``
            timestamp (of equally new ones the last), of the ``"first"`` or of the ``"last"`` source stays.
        num_shards: As for :func:`mexport_pb.write_table`.
        force: Replace a dump that is there.

    Returns:
        The number of entries.

    Raises:
        InvalidArgumentError: The target is there, or dumps of one and of several tables are mixed.
        TableError: An id comes more than once, the layouts differ, or a source is damaged.
        RecordError: A source is damaged.
        OSError: A file cannot be read or written.
    """
    check_on_conflict(on_conflict)
    files = find_tables(sources, folders=False)
    if not files:
        raise InvalidArgumentError("sources: got none")
    several = table is None and any(f.metas for f in files)
    path = check_target(_dump_name(target), force=force, several=several)
    _check_shards(num_shards)
    with _work(path) as work:
        if several:
            return _write_multi(sort_multi(files, work, on_conflict), path, num_shards)
        opened = [open_source(f, table if f.metas else None, work) for f in files]
        return _write(sort_entries(opened, work, path, on_conflict=on_conflict), path, num_shards)


def split_table(
    source: PathLike, target: PathLike, num_shards: int, *, table: str | None = None, force: bool = False
) -> int:
    """Divide a dump into ``num_shards`` files: sorted by unsigned id, contiguous, even.

    A dump of several tables stays one, unless ``table`` names one of them. The arguments, the result and the errors are
    those of :func:`merge_tables`.
    """
    files = _one(source)
    several = table is None and bool(files.metas)
    path = check_target(_dump_name(target), force=force, several=several)
    _check_shards(num_shards)
    with _work(path) as work:
        if several:
            return _write_multi(sort_multi([files], work, "error"), path, num_shards)
        return _write(sort_entries([open_source(files, table, work)], work, path), path, num_shards)


def partition_table(
    source: PathLike,
    target: PathLike,
    num_tables: int,
    *,
    table: str | None = None,
    num_shards: int | None = None,
    force: bool = False,
) -> list[int]:
    """Divide a table as parameter servers do: table i of n gets the ids with ``id mod n = i``.

    The id is taken as an unsigned number, see :func:`mexport_pb.table.partition.ps_of`. For ids from 2^63 on, which are
    negative as int64, the remainder of the signed number is another one unless ``num_tables`` is a power of two.

    Args:
        source: Names one table, as for :func:`find_tables`.
        target: The new tables are dumps ``<target>_<i>``.
        num_tables: How many.
        table: Which table of a dump of several.
        num_shards: The number of files of each.
        force: Replace dumps that are there.

    Returns:
        The number of entries of each.

    Raises:
        InvalidArgumentError: A target is there, the source is not one table, or ``num_tables`` is less than 1 or more
            than 512.
        TableError, RecordError: The source is damaged.
        OSError: A file cannot be read or written.
    """
    if not 1 <= num_tables <= _MAX_PARTITIONS:
        raise InvalidArgumentError(f"num_tables: got {num_tables}, want 1 to {_MAX_PARTITIONS}")
    base = _dump_name(target)
    targets = [check_target(f"{base}_{i}", force=force) for i in range(num_tables)]
    _check_shards(num_shards)
    files = _one(source)

    def part_of(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        return ps_of(ids, num_tables)

    with _work(base) as work:
        opened = open_source(files, table, work)
        spools = sort_entries([opened], work, opened.name, parts=num_tables, part_of=part_of)
        with contextlib.ExitStack() as stack:
            stagings = [
                stage_table(stack, spool, path, num_shards) for spool, path in zip(spools, targets, strict=True)
            ]
            for staging in stagings:
                staging.commit()
    return [spool.rows for spool in spools]


def _one(source: PathLike) -> TableFiles:
    files = find_tables([source], folders=False)
    if len(files) != 1:
        raise InvalidArgumentError(f"{os.fspath(source)}: is {len(files)} dumps, want one")
    return files[0]


def _dump_name(target: PathLike) -> str:
    name = os.fspath(target)
    if name.endswith(COLUMN_SUFFIXES):
        raise InvalidArgumentError(f"target: got {name!r}, want the basename of a dump")
    return name


def _check_shards(num_shards: int | None) -> None:
    check_shard_count(num_shards, 0)


@contextlib.contextmanager
def _work(target: str) -> Iterator[str]:
    """A folder beside the target for what is on its way, so that files can be renamed out of it."""
    folder = os.path.dirname(target) or "."
    os.makedirs(folder, exist_ok=True)
    # Not mkdtemp, which may be interrupted with the folder made and its name not yet told.
    work = os.path.join(folder, f"{os.path.basename(target)}-tmp-{secrets.token_hex(8)}")
    try:
        os.mkdir(work, 0o700)
        with blaming(target):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sort_multi(files: Sequence[TableFiles], work: str, on_conflict: OnConflict) -> dict[str, Spool]:
    """Merge dumps of several tables by the tables' names; see :func:`sort_entries`."""
    tables: dict[str, list[Source]] = {}
    for dump in files:
        if not dump.metas:
            raise InvalidArgumentError(f"{dump.name}: is of one table, and others are of several")
        for name, source in open_tables(dump, work).items():
            tables.setdefault(name, []).append(source)
    return {
        name: sort_entries(sources, work, name, on_conflict=on_conflict)[0] for name, sources in sorted(tables.items())
    }


def _write(spools: list[Spool], path: str, num_shards: int | None) -> int:
    with contextlib.ExitStack() as stack:
        stage_table(stack, spools[0], path, num_shards).commit()
    return spools[0].rows


def _write_multi(spools: dict[str, Spool], path: str, num_shards: int | None) -> int:
    with contextlib.ExitStack() as stack:
        stage_multi_table(stack, spools, path, num_shards).commit()
    return sum(spool.rows for spool in spools.values())
