"""Tables of N parameter servers become tables of M: rows go to the server ``id mod M``. ``docs/resharding.md``."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mexport_pb._proto.saver_pb2 import CheckpointState
from mexport_pb.bundle import copy_bundle
from mexport_pb.errors import DataError, InvalidArgumentError, MexportError, TableError
from mexport_pb.messages.text import to_text
from mexport_pb.table.files import thread_count
from mexport_pb.table.locate import TableFiles
from mexport_pb.table.multi import meta_basename
from mexport_pb.table.partition import check_num_ps
from mexport_pb.table.reshard_kernel import JoinTask, ShardTask, join_parts, split_shard
from mexport_pb.table.shards import PathLike, check_shard_count, complete_shards, group_shards, locked_folder
from mexport_pb.table.staged_file import check_target, staged_file

__all__ = ["PsTables", "ReshardReport", "find_ps_tables", "reshard_checkpoint", "reshard_tables"]

MAX_PS = 512
"""As many files are open at a time."""

_PS_TABLE = re.compile(r"(.+)_(0|[1-9][0-9]{0,8})", re.DOTALL)
_FILTER = re.compile(r"hash_filter_[0-9]+")
_TEMPORARY = re.compile(r".*-tmp-[0-9a-f]+", re.DOTALL)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class PsTables:
    """A table that is divided among servers.

    Attributes:
        name: What the names of the dumps have in front of ``_<server>``.
        dumps: Of server 0, 1, ….
    """

    name: str
    dumps: tuple[TableFiles, ...]

    @property
    def is_multi(self) -> bool:
        """Are these dumps of several tables?"""
        return bool(self.dumps[0].metas)


@dataclass(frozen=True, slots=True)
class ReshardReport:
    """What was done.

    Attributes:
        old_num_ps: The servers that there were.
        num_ps: The servers that there are.
        rows: The rows of each new table by its basename.
        copied: The files that belong to no server, and are as they were.
    """

    old_num_ps: int
    num_ps: int
    rows: Mapping[str, int]
    copied: tuple[str, ...]


class SubmitsTasks(Protocol):
    """What is needed of an executor: ``concurrent.futures`` has some, and so have libraries for clusters."""

    def submit(self, function: Callable[[Any], _T], argument: Any, /) -> Any:
        """Start a call; return something with ``result()`` and ``cancel()``."""


def find_ps_tables(
    folder: PathLike, *, tables: Sequence[str] | None = None, num_ps: int | None = None
) -> list[PsTables]:
    """Find the tables of a folder that are divided among servers: ``<name>_0``, ``<name>_1``, …; by name.

    Dumps of filters (``hash_filter_<number>``) are none.

    Args:
        folder: A checkpoint's ``.assets``.
        tables: The names that are wanted; all when None.
        num_ps: The number of servers; as the largest number at the end of a name says when None.

    Raises:
        InvalidArgumentError: There is no table of such a name.
        TableError: The table of a server is missing, or set of files is incomplete or mixed.
        OSError: The folder cannot be read.
    """
    base = os.fspath(folder)
    if not os.path.isdir(base):
        raise InvalidArgumentError(f"{base}: is no folder of tables")
    groups = group_shards(os.listdir(base))
    names: dict[str, dict[int, str]] = {}
    for name in groups:
        match = _PS_TABLE.fullmatch(name)
        if match is not None and not _FILTER.fullmatch(name):
            names.setdefault(match[1], {})[int(match[2])] = name
    for name in tables or ():
        if name not in names:
            raise InvalidArgumentError(
                f"{base}: no table {name!r} of parameter servers, {name}_0 and so on; "
                f"there are: {', '.join(sorted(names)) or 'none'}"
            )
    wanted = {name: names[name] for name in (names if tables is None else tables)}
    # Others may be incomplete, as while they are written.
    found = {name: {ps: _dump(base, dump, groups) for ps, dump in of_ps.items()} for name, of_ps in wanted.items()}
    servers = max((max(of_ps) + 1 for of_ps in found.values()), default=0) if num_ps is None else num_ps
    return [PsTables(name, _complete(base, name, found[name], servers)) for name in sorted(found)]


def _dump(folder: str, name: str, groups: Mapping[str, list[tuple[str, int, int]]]) -> TableFiles:
    """A dump by one look at its folder, which may have thousands of them."""
    try:
        paths = complete_shards(name, groups)
        metas = complete_shards(meta_basename(name), groups) if meta_basename(name) in groups else []
    except TableError as error:
        raise TableError(str(error), path=folder) from None
    if metas and len(metas) != len(paths):
        raise TableError(f"{name}: got {len(metas)} meta files, want {len(paths)}", path=folder)
    files, notes = (tuple(os.path.join(folder, entry) for entry in entries) for entries in (paths, metas))
    for path in (*files, *notes):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise TableError("not a regular file", path=path)
    return TableFiles(os.path.join(folder, name), files, notes)


def _complete(folder: str, name: str, of_ps: Mapping[int, TableFiles], servers: int) -> tuple[TableFiles, ...]:
    for ps in range(min(servers, len(of_ps) + 1)):
        if ps not in of_ps:
            raise TableError(f"table {name!r}: there is none of ps {ps} of {servers}", path=folder)
    if len(of_ps) > servers:
        raise TableError(f"table {name!r}: got one of ps {max(of_ps)}, want those of {servers}", path=folder)
    dumps = tuple(of_ps[ps] for ps in range(servers))
    for dump in dumps:
        if bool(dump.metas) != bool(dumps[0].metas):
            raise TableError(f"is of one table, or of several, and {dumps[0].name} is not", path=dump.name)
    return dumps


def reshard_tables(
    source: PathLike,
    num_ps: int,
    output: PathLike,
    *,
    executor: SubmitsTasks | None = None,
    workers: int | None = None,
    tables: Sequence[str] | None = None,
    old_num_ps: int | None = None,
    any_placement: bool = False,
    num_shards: int | None = None,
    copy_rest: bool = True,
) -> ReshardReport:
    """Divide tables among another number of parameter servers.

    Memory is that of a few pieces for each worker; disk space beside ``output`` is needed for twice the tables. A run
    that was killed goes on where it was when it is started again with the same arguments.

    Args:
        source: A folder of tables, as a checkpoint's ``.assets``, or one table: its path without ``_<server>``.
        num_ps: The number of servers that there will be, 1 to 512.
        output: The new folder, or the path of the new table without ``_<server>``. Nothing that is there is replaced.
        executor: Runs the work: ``submit(function, argument)`` with plain functions and arguments that can be pickled.
            The workers must see the files. None: a pool of processes that are spawned, so a script that calls this
            needs its ``if __name__ == "__main__"``.
        workers: The number of these processes; as many as processors when None. 1 works in this process.
        tables: Which tables of the folder; all that are divided when None.
        old_num_ps: The number of servers that there were; by the tables' names when None.
        any_placement: Take rows wherever they are; else one that is not with the server ``id mod N`` is an error.
        num_shards: The files of each new table; the most that one of the old ones has when None.
        copy_rest: Copy the other files of the folder.

    Raises:
        InvalidArgumentError: A number is out of range, there is no such table, or the output is there.
        TableError: The table of a server is missing, a row is with the wrong server or comes twice, or a file is
            damaged.
        RecordError: A file is damaged.
        MexportError: A worker died.
        OSError: A file cannot be read or written.
        TimeoutError: Another process does the same now.
    """
    origin, target = os.path.abspath(source), os.path.abspath(output)
    options = _Options(num_ps, executor, workers, old_num_ps, any_placement, num_shards)
    if os.path.isdir(origin):
        found = find_ps_tables(origin, tables=tables, num_ps=old_num_ps)
        rest = _others(origin, found) if copy_rest else []
        job = _Job(target, found, {each.name: each.name for each in found}, rest, options)
        job.moves = [(job.assets, target)]
        return job.run()
    if tables is not None:
        raise InvalidArgumentError(f"{origin}: is one table, which needs no names; got {list(tables)}")
    folder, name = os.path.split(origin)
    found = find_ps_tables(folder, tables=[name], num_ps=old_num_ps)
    job = _Job(target, found, {name: os.path.basename(target)}, [], options)
    return job.run()


def reshard_checkpoint(
    checkpoint: PathLike,
    num_ps: int,
    output: PathLike,
    *,
    executor: SubmitsTasks | None = None,
    workers: int | None = None,
    tables: Sequence[str] | None = None,
    old_num_ps: int | None = None,
    any_placement: bool = False,
    num_shards: int | None = None,
) -> ReshardReport:
    """Make a checkpoint whose tables are divided among another number of parameter servers.

    The variables are copied. The graph (``.meta``) is not, for it has the old tables. The file ``checkpoint`` of the
    new folder is written if it has none.

    Args:
        checkpoint: Prefix of a checkpoint, ``<folder>/model.ckpt-<step>``.
        num_ps: As for :func:`reshard_tables`, and so are the others.
        output: Prefix of the new checkpoint.
        executor: Runs the work.
        workers: The number of processes.
        tables: Which tables. The rest is copied.
        old_num_ps: The number of servers that there were.
        any_placement: Take rows wherever they are.
        num_shards: The files of each new table.

    Raises:
        BundleError: The variables are damaged.
        MexportError, OSError: as :func:`reshard_tables`.
    """
    origin, target = os.path.abspath(checkpoint), os.path.abspath(output)
    options = _Options(num_ps, executor, workers, old_num_ps, any_placement, num_shards)
    folder = f"{origin}.assets"
    found = find_ps_tables(folder, tables=tables, num_ps=old_num_ps)
    job = _Job(target, found, {each.name: each.name for each in found}, _others(folder, found), options)
    job.bundle = origin
    data = f"{os.path.basename(target)}.data-00000-of-00001"
    index = f"{os.path.basename(target)}.index"
    # The index comes last: without it there is no checkpoint.
    job.moves = [
        (job.assets, f"{target}.assets"),
        *((os.path.join(job.scratch, name), os.path.join(os.path.dirname(target), name)) for name in (data, index)),
    ]
    return job.run()


@dataclass(frozen=True, slots=True)
class _Options:
    num_ps: int
    executor: SubmitsTasks | None
    workers: int | None
    old_num_ps: int | None
    any_placement: bool
    num_shards: int | None

    def check(self) -> None:
        check_num_ps(self.num_ps)
        if self.num_ps > MAX_PS:
            raise InvalidArgumentError(f"num_ps: got {self.num_ps}, want at most {MAX_PS}")
        if self.old_num_ps is not None:
            check_num_ps(self.old_num_ps)
        check_shard_count(self.num_shards, 0)
        thread_count(self.workers)


class _Job:
    """One resharding, and its scratch folder beside the output.

    ::

        <output>.reshard/job.json       what is done here, to tell whether a killed run was the same
        <output>.reshard/parts/<n>/     of the n-th input file
        <output>.reshard/joined/        a note for each finished table
        <output>.reshard/assets/        the finished tables, and what was copied
        <output>.reshard/assembled      all is there, and on its way to the output
    """

    def __init__(
        self,
        output: str,
        tables: Sequence[PsTables],
        names: Mapping[str, str],
        copies: Sequence[str],
        options: _Options,
    ) -> None:
        options.check()
        if not tables:
            raise InvalidArgumentError(f"no tables of parameter servers to make {output} of")
        self.scratch = f"{output}.reshard"
        self.assets = os.path.join(self.scratch, "assets")
        self.bundle: str | None = None
        self.moves: list[tuple[str, str]] = []
        self._output = output
        self._tables = tables
        self._names = names
        self._copies = copies
        self._options = options
        self._old_num_ps = len(tables[0].dumps)

    def run(self) -> ReshardReport:
        """Do what is left to do."""
        self._enter()
        try:
            with locked_folder(self.scratch):
                rows = self._rows_of_assembled()
                if rows is None:
                    rows = self._assemble()
                self._move()
        except (DataError, InvalidArgumentError):
            # The same would happen again. What a kill or a full disk ends is worth going on with.
            self._discard()
            raise
        self._discard()
        return ReshardReport(self._old_num_ps, self._options.num_ps, rows, tuple(map(os.path.basename, self._copies)))

    def _discard(self) -> None:
        """Remove the scratch folder, at once for whoever looks for one to go on with."""
        gone = f"{self.scratch}-tmp-{secrets.token_hex(8)}"
        os.rename(self.scratch, gone)
        shutil.rmtree(gone)

    def _move(self) -> None:
        """Give the files their names; those that a killed run moved have them."""
        folder = os.path.dirname(self._output)
        os.makedirs(folder, exist_ok=True)
        for source, target in self._all_moves():
            if os.path.lexists(source):
                _check_absent(target)
                os.rename(source, target)
                if self.moves:  # in this order, whatever happens
                    _sync(folder)
        _sync(folder)
        if self.bundle is not None:
            _list_checkpoint(self._output)

    @property
    def _finished(self) -> str:
        return os.path.join(self.scratch, "assembled")

    def _enter(self) -> None:
        """Make the scratch folder, or take over that of a killed run."""
        note = os.path.join(self.scratch, "job.json")
        job = json.dumps(self._identity(), sort_keys=True)
        if os.path.lexists(self.scratch):
            try:
                with open(note, encoding="utf-8") as file:
                    same = json.dumps(json.load(file), sort_keys=True) == job
            except (OSError, ValueError) as error:
                raise InvalidArgumentError(f"{self.scratch}: is in the way, and is not ours: {error}") from None
            if same:
                _log.info("%s: going on", self.scratch)
                return
            with locked_folder(self.scratch):
                _log.info("%s: is of another job, beginning anew", self.scratch)
                self._discard()
        self._check_targets()
        fresh = f"{self.scratch}-tmp-{secrets.token_hex(8)}"
        try:
            for folder in ("parts", "joined", "assets"):
                os.makedirs(os.path.join(fresh, folder))
            _write_json(os.path.join(fresh, "job.json"), self._identity())
            os.rename(fresh, self.scratch)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _identity(self) -> dict[str, Any]:
        """What makes a killed run the same: arguments and input files."""
        options = self._options
        files = [path for table in self._tables for dump in table.dumps for path in (*dump.paths, *dump.metas)]
        stats = [(path, os.stat(path)) for path in (*files, *self._copies)]
        return {
            "version": 1,
            "num_ps": options.num_ps,
            "any_placement": options.any_placement,
            "num_shards": options.num_shards,
            "names": dict(self._names),
            "bundle": self.bundle,
            "files": [[path, status.st_size, status.st_mtime_ns] for path, status in stats],
        }

    def _check_targets(self) -> None:
        if not self.moves:
            for table in self._tables:
                for ps in range(self._options.num_ps):
                    base = f"{self._output}_{ps}"
                    check_target(base, force=False, several=table.is_multi)
        for _, target in self.moves:
            _check_absent(target)

    def _rows_of_assembled(self) -> dict[str, int] | None:
        with contextlib.suppress(FileNotFoundError), open(self._finished, encoding="utf-8") as file:
            rows: dict[str, int] = json.load(file)["rows"]
            return rows
        return None

    def _assemble(self) -> dict[str, int]:
        before = self._identity()
        for folder in ("parts", "joined", "assets"):
            _remove_temporary(os.path.join(self.scratch, folder))
        splits = self._splits()
        tasks = [task for of_table in splits for task in of_table]
        with self._executor(len(tasks)) as executor:
            counts = iter(_run(executor, split_shard, tasks, lambda task: None))
            if self._identity() != before:
                raise TableError("the tables were replaced while they were read", path=tasks[0].path)
            joins = self._joins(splits, [[next(counts) for _ in of_table] for of_table in splits])
            rows = _run(executor, join_parts, joins, _remove_parts)
        for path in self._copies:
            copy = os.path.join(self.assets, os.path.basename(path))
            shutil.copyfile(path, copy)
            _sync(copy)
        _sync(self.assets)
        if self.bundle is not None:
            copy_bundle(self.bundle, os.path.join(self.scratch, os.path.basename(self._output)))
        result = {
            os.path.join(self._final_folder(), os.path.basename(task.basename)): n
            for task, n in zip(joins, rows, strict=True)
        }
        _write_json(self._finished, {"rows": result})
        return result

    def _final_folder(self) -> str:
        return self.moves[0][1] if self.moves else os.path.dirname(self._output)

    def _splits(self) -> list[list[ShardTask]]:
        """For each table a task for each of its files."""
        options = self._options
        numbers = itertools.count()
        return [
            [
                ShardTask(
                    path,
                    meta,
                    ps,
                    len(table.dumps),
                    options.num_ps,
                    options.any_placement,
                    os.path.join(self.scratch, "parts", str(next(numbers))),
                )
                for ps, dump in enumerate(table.dumps)
                for path, meta in zip(dump.paths, dump.metas or [None] * len(dump.paths), strict=True)
            ]
            for table in self._tables
        ]

    def _joins(self, splits: Sequence[Sequence[ShardTask]], counts: Sequence[Sequence[list[int]]]) -> list[JoinTask]:
        """For each table a task for each new server; ``counts`` has the rows for each by table and file."""
        joins: list[JoinTask] = []
        for table, of_table, rows in zip(self._tables, splits, counts, strict=True):
            shards = self._options.num_shards or max(len(dump.paths) for dump in table.dumps)
            for ps in range(self._options.num_ps):
                basename = os.path.join(self.assets, f"{self._names[table.name]}_{ps}")
                parts = tuple((os.path.join(task.folder, str(ps)), task.path) for task in of_table)
                marker = os.path.join(self.scratch, "joined", str(len(joins)))
                own = sum(of_file[ps] for of_file in rows)
                joins.append(JoinTask(basename, parts, table.is_multi, shards, own, marker))
        return joins

    def _all_moves(self) -> list[tuple[str, str]]:
        if self.moves:
            return self.moves
        folder = os.path.dirname(self._output)
        return [
            (os.path.join(self.assets, name), os.path.join(folder, name)) for name in sorted(os.listdir(self.assets))
        ]

    @contextlib.contextmanager
    def _executor(self, tasks: int) -> Iterator[SubmitsTasks]:
        if self._options.executor is not None:
            yield self._options.executor
            return
        workers = min(thread_count(self._options.workers), max(1, tasks))
        if workers == 1:
            yield _Here()
            return
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            yield pool


class _Here(Executor):
    """Does it at once, in this process."""

    def submit(self, function: Callable[..., _T], /, *arguments: Any, **options: Any) -> Future[_T]:
        future: Future[_T] = Future()
        future.set_result(function(*arguments, **options))
        return future


def _run(
    executor: SubmitsTasks, function: Callable[[_T], _R], tasks: Sequence[_T], finished: Callable[[_T], None]
) -> list[_R]:
    """Run a function on all tasks. An error cancels what has not begun, and waits for the rest."""
    futures: list[Any] = []
    results: list[_R] = []
    try:
        futures.extend(executor.submit(function, task) for task in tasks)
        for number, (task, future) in enumerate(zip(tasks, futures, strict=True), 1):
            results.append(future.result())
            finished(task)
            _log.info("%s: %d of %d", function.__name__, number, len(tasks))
    except BaseException as error:
        waiting = [future for future in futures if not future.cancel()]
        if isinstance(error, Exception):
            for future in waiting:
                with contextlib.suppress(Exception):
                    future.result()
        if isinstance(error, BrokenProcessPool):
            raise MexportError(
                f"a worker died: {error} The same command goes on where this one was. (Workers are spawned: a script "
                'needs if __name__ == "__main__" around its work.)'
            ) from error
        raise
    return results


def _check_absent(path: str) -> None:
    if os.path.lexists(path):
        raise InvalidArgumentError(f"{path}: is there already and was not touched")


def _remove_parts(task: JoinTask) -> None:
    for path, _ in task.parts:
        for each in (path, f"{path}-00000-of-00001", f"{path}.meta-00000-of-00001"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)


def _remove_temporary(folder: str) -> None:
    """Remove what killed workers left."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


def _others(folder: str, tables: Sequence[PsTables]) -> list[str]:
    """The regular files of a folder that are none of the tables', nor what a writer left unfinished."""
    own = {path for table in tables for dump in table.dumps for path in (*dump.paths, *dump.metas)}
    with os.scandir(folder) as entries:
        files = [entry for entry in entries if entry.is_file() and not _TEMPORARY.fullmatch(entry.name)]
        return sorted(entry.path for entry in files if entry.path not in own)


def _list_checkpoint(prefix: str) -> None:
    """Write the file ``checkpoint``, by which training jobs find one, unless it is there."""
    path = os.path.join(os.path.dirname(prefix), "checkpoint")
    if os.path.lexists(path):
        return
    name = os.path.basename(prefix)
    state = CheckpointState(model_checkpoint_path=name, all_model_checkpoint_paths=[name])
    with staged_file(path, force=False) as temporary, open(temporary, "x", encoding="utf-8") as file:
        file.write(to_text(state))


def _write_json(path: str, value: Mapping[str, Any]) -> None:
    with staged_file(path, force=True) as temporary, open(temporary, "x", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
