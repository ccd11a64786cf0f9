"""The graph of a model for TensorBoard; without TensorFlow."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

__all__ = ["add_arguments", "add_parser", "run"]

_EPILOG = """\
DIR: the directory of a SavedModel, or its .pb or .pbtxt file; a folder of versions, of which the newest counts; the
base of a distributed export, whose sub-models become runs.

The files that were written are printed, and the command that shows them. Exit status 1: the model cannot be read, or
has several graphs and --tags does not say which.

example:
  mexport visualize /models/ctr --log-dir /tmp/ctr && tensorboard --logdir /tmp/ctr
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "visualize",
        help="write the graph of a SavedModel for TensorBoard",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="DIR")
    parser.add_argument("--log-dir", required=True, metavar="D", help="where TensorBoard is to look")
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds all but the two folders."""
    parser.add_argument("--tags", metavar="T,...", help="comma-separated tags of the graph, of a model with several")
    parser.add_argument("--version", type=int, metavar="V", help="of a folder of versions this one, not the newest")


def run(options: argparse.Namespace) -> list[str]:
    """Writes the files; returns what the command prints."""
    from mexport_pb.inspect.tensorboard import import_to_tensorboard

    tags = None if options.tags is None else [tag for tag in options.tags.split(",") if tag]
    files = import_to_tensorboard(options.path, options.log_dir, tags, version=options.version)
    return [*files, f"tensorboard --logdir {shlex.quote(options.log_dir)}"]
