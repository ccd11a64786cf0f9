"""One resharding: its scratch folder, its steps, and how a run that was killed is gone on with."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from mexport_pb._proto.saver_pb2 import CheckpointState
from mexport_pb.bundle import copy_bundle
from mexport_pb.errors import DataError, InvalidArgumentError, TableError
from mexport_pb.messages.text import to_text
from mexport_pb.table.files import thread_count
from mexport_pb.table.partition import check_num_ps
from mexport_pb.table.reshard_find import PsTables, is_unfinished
from mexport_pb.table.reshard_kernel import JoinTask, ShardTask, join_parts, split_shard
from mexport_pb.table.reshard_tasks import SubmitsTasks, own_executor, run_tasks
from mexport_pb.table.shards import check_shard_count, locked_folder
from mexport_pb.table.staged_file import check_target, staged_file, sync

__all__ = ["ReshardJob", "ReshardOptions", "ReshardReport"]

_MAX_PS = 512  # as many files are open at a time

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class ReshardOptions:
    """The arguments of :func:`mexport_pb.reshard_tables` of the same names."""

    num_ps: int
    executor: SubmitsTasks | None
    workers: int | None
    old_num_ps: int | None
    any_placement: bool
    num_shards: int | None

    def check(self) -> None:
        """Raises: InvalidArgumentError: for a number out of range."""
        check_num_ps(self.num_ps)
        if self.num_ps > _MAX_PS:
            raise InvalidArgumentError(f"num_ps: got {self.num_ps}, want at most {_MAX_PS}")
        if self.old_num_ps is not None:
            check_num_ps(self.old_num_ps)
        check_shard_count(self.num_shards, 0)
        thread_count(self.workers)


class ReshardJob:
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
        options: ReshardOptions,
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
                    sync(folder)
        sync(folder)
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
            counts = iter(run_tasks(executor, split_shard, tasks, lambda task: None))
            if self._identity() != before:
                raise TableError("the tables were replaced while they were read", path=tasks[0].path)
            joins = self._joins(splits, [[next(counts) for _ in of_table] for of_table in splits])
            rows = run_tasks(executor, join_parts, joins, _remove_parts)
        for path in self._copies:
            copy = os.path.join(self.assets, os.path.basename(path))
            shutil.copyfile(path, copy)
            sync(copy)
        sync(self.assets)
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

    def _executor(self, tasks: int) -> AbstractContextManager[SubmitsTasks]:
        if self._options.executor is not None:
            return nullcontext(self._options.executor)
        return own_executor(self._options.workers, tasks)


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
        if is_unfinished(name):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


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
