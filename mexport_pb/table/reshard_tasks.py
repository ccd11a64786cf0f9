"""Tasks on whatever executor there is."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from mexport_pb.errors import MexportError
from mexport_pb.table.files import thread_count

__all__ = ["SubmitsTasks", "own_executor", "run_tasks"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_R = TypeVar("_R")


class SubmitsTasks(Protocol):
    """What is needed of an executor: ``concurrent.futures`` has some, and so have libraries for clusters."""

    def submit(self, function: Callable[[Any], _T], argument: Any, /) -> Any:
        """Start a call; return something with ``result()`` and ``cancel()``."""


@contextlib.contextmanager
def own_executor(workers: int | None, tasks: int) -> Iterator[SubmitsTasks]:
    """A pool of processes that are spawned, no more than there are tasks; this process for one worker."""
    number = min(thread_count(workers), max(1, tasks))
    if number == 1:
        yield _Here()
        return
    with ProcessPoolExecutor(number, multiprocessing.get_context("spawn")) as pool:
        yield pool


class _Here(Executor):
    """Does it at once, in this process."""

    def submit(self, function: Callable[..., _T], /, *arguments: Any, **options: Any) -> Future[_T]:
        future: Future[_T] = Future()
        future.set_result(function(*arguments, **options))
        return future


def run_tasks(
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
