"""Tasks on threads: the first failure, or Ctrl-C, ends all."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeAlias

__all__ = ["Check", "Task", "run_tasks"]

Check: TypeAlias = Callable[[], None]
"""What a task calls now and then; it raises when the task's work is no longer wanted."""

Task: TypeAlias = Callable[[Check], None]


class _StoppedError(Exception):
    """Ends a task whose work is no longer wanted; never seen by callers."""


def run_tasks(tasks: Sequence[Task], threads: int, title: str) -> None:
    """Runs tasks, some at a time, and waits for all. Progress goes to stderr if that is a terminal.

    Args:
        tasks: What to run; tasks see none of the caller's context variables.
        threads: At most so many at a time.
        title: What the progress is called.

    Raises:
        BaseException: What the first task to fail raised. Those that had not begun are not run, those that had are told
            by their check, and all have ended.
    """
    stop = threading.Event()
    # The first failure comes first, in whatever order the threads are looked at.
    failures: list[BaseException] = []

    def check() -> None:
        if stop.is_set():
            raise _StoppedError

    def run(task: Task) -> None:
        try:
            check()
            task(check)
        except BaseException as error:
            failures.append(error)
            stop.set()
            raise

    with _progress(len(tasks), title) as advance:
        pool = ThreadPoolExecutor(max(1, min(threads, len(tasks))), thread_name_prefix="mexport")
        try:
            for future in as_completed([pool.submit(run, task) for task in tasks]):
                if future.exception() is not None:
                    raise failures[0]
                advance()
        finally:
            # Ctrl-C may come anywhere: whatever runs is told before it is waited for.
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _progress(total: int, title: str) -> Iterator[Callable[[], object]]:
    # There is none in a process without a console.
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit="model", file=sys.stderr) as bar:
        yield bar.update
