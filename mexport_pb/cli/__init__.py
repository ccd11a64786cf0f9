"""The ``mexport`` command: one module of this folder a subcommand.

Results go to stdout, logs and progress to stderr. Exit status 0: done; 1: bad data or a failed check; 2: wrong use.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Sequence

import mexport_pb
from mexport_pb.cli import build_ops, decode_warmup, dump, export, serve_check, table, visualize, warmup

__all__ = ["execute", "main"]

_SUBCOMMANDS = (export, dump, visualize, table, decode_warmup, warmup, serve_check, build_ops)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: What stands behind ``mexport``; the process's own arguments if None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="mexport", description="Write and inspect TensorFlow SavedModels for serving."
    )
    parser.add_argument("--version", action="version", version=f"mexport_pb {mexport_pb.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done, to stderr")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in _SUBCOMMANDS:
        module.add_parser(subparsers)
    return execute(parser.parse_args(arguments))


def execute(options: argparse.Namespace) -> int:
    """Runs what a parser made of a command line; scripts with a parser of their own come in here.

    Args:
        options: ``run`` is the function to call; ``only_looks`` says that it changes nothing.

    Returns:
        The exit status.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if getattr(options, "verbose", False) else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )
    try:
        if getattr(options, "only_looks", False):
            return _show(options.run(options))
        results = list(options.run(options))
    except mexport_pb.InvalidArgumentError as error:
        return _fail(str(error), 2)
    except (mexport_pb.MexportError, OSError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return _print(results)


def _show(lines: Iterable[str]) -> int:
    """Prints, as they come, the results of a command that changes nothing; it ends when nobody reads on."""
    try:
        for line in lines:
            print(line)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return 1
    return 0


def _silence_stdout() -> None:
    """Python flushes once more at exit, and would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(results: list[str]) -> int:
    """Prints a command's results; what was done is not undone when nobody can read of it."""
    try:
        if sys.stdout is None:  # it was closed when the process started
            raise OSError("standard output is closed")
        for line in results:
            print(line)
        sys.stdout.flush()
    except OSError as error:
        if sys.stdout is not None:
            _silence_stdout()
        return _fail(f"done, but the result cannot be printed: {error}: {' '.join(results)}", 1)
    return 0


def _fail(message: str, status: int) -> int:
    print(f"mexport: {message}", file=sys.stderr)
    return status
