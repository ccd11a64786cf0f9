"""The two steps of moving rows between parameter servers: one file into parts, and parts into one table.

Both are plain functions of one picklable argument, for any executor. Run again they do nothing but return what the
first run did: a finished result has its name by a rename, so a run that was killed leaves none. ``docs/resharding.md``
draws it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mexport_pb.errors import TableError
from mexport_pb.table.dump import TableDump
from mexport_pb.table.layout import TableLayout
from mexport_pb.table.locate import TableFiles
from mexport_pb.table.multi import meta_basename
from mexport_pb.table.partition import ps_of
from mexport_pb.table.shards import ShardSet, shard_path
from mexport_pb.table.sorting import sort_entries
from mexport_pb.table.source import DumpSource, Part, Source, find_compression, open_tables
from mexport_pb.table.spool import Spool, stage_multi_table, stage_table, write_multi_files
from mexport_pb.table.staged_file import blaming
from mexport_pb.table.tools import sort_multi

__all__ = ["JoinTask", "ShardTask", "join_parts", "split_shard"]

_DONE = "done"
_WORK = "work"


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One file of one server's table, to be divided.

    Attributes:
        path: The file.
        meta: Its ``.meta`` file, for a file of several tables.
        ps: The server that it is of.
        num_ps: The number of servers that there were.
        target_num_ps: The number of servers that there will be.
        any_placement: Take rows that should be with another server.
        folder: The parts go here, ``<folder>/<target server>``. Its parent must be there.
    """

    path: str
    meta: str | None
    ps: int
    num_ps: int
    target_num_ps: int
    any_placement: bool
    folder: str


@dataclass(frozen=True, slots=True)
class JoinTask:
    """The parts of one server's new table.

    Attributes:
        basename: Of the new table.
        parts: For each its path, and the file that its rows come from, for messages.
        is_multi: They are of several tables.
        num_shards: The files of the new table.
        rows: What the parts have together.
        marker: This file says that the table is finished. Its folder must be there.
    """

    basename: str
    parts: tuple[tuple[str, str], ...]
    is_multi: bool
    num_shards: int
    rows: int
    marker: str


def split_shard(task: ShardTask) -> list[int]:
    """Divide one file by the servers that its rows will be on.

    A part of one table is a file of entries, sorted by unsigned id; of several it is a dump of them in one file.

    Returns:
        The number of rows for each server.

    Raises:
        TableError: An id comes twice, or is with the wrong server, or the file is damaged.
        RecordError: The file is damaged.
        OSError: A file cannot be read or written.
    """
    done = _read_note(os.path.join(task.folder, _DONE))
    if done is not None:
        return done
    with _folder_at_once(task.folder) as folder:
        work = os.path.join(folder, _WORK)
        os.mkdir(work)
        rows = _split_one(task, folder, work) if task.meta is None else _split_several(task, task.meta, folder, work)
        shutil.rmtree(work)
        _write_note(os.path.join(folder, _DONE), rows)
    return rows


def join_parts(task: JoinTask) -> int:
    """Make one server's table of its parts: sorted by unsigned id, divided evenly among its files.

    Returns:
        The number of rows.

    Raises:
        TableError: An id comes in two files, the entries of two files differ in their layout, or parts are not what
            they were, as after a loss of power.
        OSError: A file cannot be read or written.
    """
    if _read_note(task.marker) is not None:
        return task.rows
    work = f"{task.marker}-tmp-{secrets.token_hex(8)}"
    os.mkdir(work)
    try:
        with contextlib.ExitStack() as stack, blaming(task.basename):
            if task.is_multi:
                parts = [(origin, *_part_files(path)) for path, origin in task.parts]
                files = [TableFiles(origin, (data,), (note,)) for origin, data, note in parts]
                spools = sort_multi(files, work, "error")
                _check_rows(task, sum(spool.rows for spool in spools.values()))
                stage_multi_table(stack, spools, task.basename, task.num_shards).commit()
            else:
                sources = [DumpSource(origin, (Part(path, None, path),), ShardSet(())) for path, origin in task.parts]
                (spool,) = sort_entries(sources, work, task.basename)
                _check_rows(task, spool.rows)
                stage_table(stack, spool, task.basename, task.num_shards).commit()
        note = os.path.join(work, _DONE)
        _write_note(note, [task.rows])
        os.replace(note, task.marker)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return task.rows


def _part_files(path: str) -> tuple[str, str]:
    """The file with the entries of a part of several tables, and its ``.meta`` file."""
    return shard_path(path, 0, 1), shard_path(meta_basename(path), 0, 1)


def _check_rows(task: JoinTask, got: int) -> None:
    if got != task.rows:
        raise TableError(f"rows: got {got} in the parts, want {task.rows}", path=task.basename)


@dataclass(frozen=True, slots=True)
class _PlacedSource:
    """Entries that are to be with one server.

    Raises:
        TableError: by ``chunks`` and ``layout``, for one that is not.
    """

    source: Source
    ps: int
    num_ps: int

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def layout(self) -> TableLayout | None:
        return self.source.layout

    def chunks(self, rows: int) -> Iterator[TableDump]:
        for chunk in self.source.chunks(rows):
            servers = ps_of(chunk.ids, self.num_ps)
            wrong = servers != self.ps
            if wrong.any():
                at = int(np.argmax(wrong))
                raise TableError(
                    f"id {int(chunk.ids[at])}: got it in the table of ps {self.ps} of {self.num_ps}, want it in that "
                    f"of ps {int(servers[at])} unless any placement is taken",
                    path=self.name,
                )
            yield chunk


def _placed(source: Source, task: ShardTask) -> Source:
    return source if task.any_placement else _PlacedSource(source, task.ps, task.num_ps)


def _divide(source: Source, task: ShardTask, work: str) -> list[Spool]:
    def part_of(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        return ps_of(ids, task.target_num_ps)

    return sort_entries([_placed(source, task)], work, source.name, parts=task.target_num_ps, part_of=part_of)


def _split_one(task: ShardTask, folder: str, work: str) -> list[int]:
    source = DumpSource(task.path, (Part(task.path, find_compression(task.path), task.path),), ShardSet(()))
    spools = _divide(source, task, work)
    for target, spool in enumerate(spools):
        os.rename(spool.path, os.path.join(folder, str(target)))
    return [spool.rows for spool in spools]


def _split_several(task: ShardTask, meta: str, folder: str, work: str) -> list[int]:
    tables = open_tables(TableFiles(task.path, (task.path,), (meta,)), work)
    divided = {name: _divide(source, task, work) for name, source in tables.items()}
    for target in range(task.target_num_ps):
        spools = {name: of_table[target] for name, of_table in divided.items()}
        data, note = _part_files(os.path.join(folder, str(target)))
        write_multi_files(spools, [data], [note], durable=False)
    return [sum(of_table[target].rows for of_table in divided.values()) for target in range(task.target_num_ps)]


@contextlib.contextmanager
def _folder_at_once(folder: str) -> Iterator[str]:
    """Hand out a folder that gets its name when all of it is there; another run may have been faster."""
    temporary = f"{folder}-tmp-{secrets.token_hex(8)}"
    os.mkdir(temporary)
    try:
        with blaming(folder):
            yield temporary
        try:
            os.rename(temporary, folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_note(path: str) -> list[int] | None:
    """The rows that :func:`_write_note` noted; None if it did not, or if a loss of power took what it wrote."""
    try:
        with open(path, encoding="ascii") as file:
            return [int(word) for word in file.read().split()] or None
    except FileNotFoundError:
        return None


def _write_note(path: str, rows: Sequence[int]) -> None:
    # Not synced: what it speaks of is not either.
    with open(path, "x", encoding="ascii") as file:
        file.write(" ".join(map(str, rows)))
