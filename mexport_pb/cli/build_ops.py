"""Compile the TensorFlow ops of embedding tables for the installed TensorFlow."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "build-ops",
        help="compile the table ops for the installed TensorFlow",
        description="Compile the table ops for the installed TensorFlow, with $CXX or g++ (C++20). "
        "The library goes to the user's cache, where it is found. Prints its path.",
    )
    parser.add_argument("--output", metavar="F", help="write the library to this path instead")
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="compilers at a time (default: one a processor)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.runtime.ops_build import build_ops

    yield str(build_ops(options.output, jobs=options.jobs))
