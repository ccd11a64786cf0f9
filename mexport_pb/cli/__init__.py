"""The ``mexport`` command: one module of this folder a subcommand.

Results go to stdout, logs and progress to stderr. Exit status 0: done; 1: bad data or a failed check; 2: wrong use.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import mexport_pb
from mexport_pb.cli import export

__all__ = ["main"]

_SUBCOMMANDS = (export,)


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
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except mexport_pb.InvalidArgumentError as error:
        return _fail(error, 2)
    except (mexport_pb.MexportError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output has gone; nothing more can be said there, nor at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(error, 1)
    return status


def _fail(error: BaseException, status: int) -> int:
    print(f"mexport: {error}", file=sys.stderr)
    return status
