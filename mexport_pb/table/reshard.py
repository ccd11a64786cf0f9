"""Tables of N parameter servers become tables of M: rows go to the server ``id mod M``. ``docs/resharding.md``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.reshard_find import find_ps_tables, other_files
from mexport_pb.table.reshard_job import ReshardJob, ReshardOptions, ReshardReport
from mexport_pb.table.reshard_tasks import SubmitsTasks
from mexport_pb.table.shards import PathLike

__all__ = ["ReshardReport", "reshard_checkpoint", "reshard_tables"]


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
    options = ReshardOptions(num_ps, executor, workers, old_num_ps, any_placement, num_shards)
    if os.path.isdir(origin):
        found = find_ps_tables(origin, tables=tables, num_ps=old_num_ps)
        rest = other_files(origin, found) if copy_rest else []
        job = ReshardJob(target, found, {each.name: each.name for each in found}, rest, options)
        job.moves = [(job.assets, target)]
        return job.run()
    if tables is not None:
        raise InvalidArgumentError(f"{origin}: is one table, which needs no names; got {list(tables)}")
    folder, name = os.path.split(origin)
    found = find_ps_tables(folder, tables=[name], num_ps=old_num_ps)
    job = ReshardJob(target, found, {name: os.path.basename(target)}, [], options)
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
    options = ReshardOptions(num_ps, executor, workers, old_num_ps, any_placement, num_shards)
    folder = f"{origin}.assets"
    found = find_ps_tables(folder, tables=tables, num_ps=old_num_ps)
    job = ReshardJob(target, found, {each.name: each.name for each in found}, other_files(folder, found), options)
    job.bundle = origin
    data = f"{os.path.basename(target)}.data-00000-of-00001"
    index = f"{os.path.basename(target)}.index"
    # The index comes last: without it there is no checkpoint.
    job.moves = [
        (job.assets, f"{target}.assets"),
        *((os.path.join(job.scratch, name), os.path.join(os.path.dirname(target), name)) for name in (data, index)),
    ]
    return job.run()
