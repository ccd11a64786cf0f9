"""What is in a SavedModel, a bundle, or embedding tables; without TensorFlow, in flat memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from mexport_pb.errors import DataError, InvalidArgumentError

__all__ = ["add_arguments", "add_parser", "run"]

_EPILOG = """\
PATH: the directory of a SavedModel of TensorFlow 1 or 2, or its .pb or .pbtxt file; a folder of versions, of which the
newest counts; the base of a distributed export; the prefix or the index of a bundle; a basename or file of a dump of
tables.

All values are read and all checksums compared, unless --no-values. Exit status 1: something is damaged; the rest is
shown.

examples:
  mexport dump /models/ctr --json | grep '"type": "signature"'
  mexport dump /models/ctr/1795456871 --html ctr.html
  mexport dump model.ckpt-200 --tensor dense/kernel
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "dump",
        help="show what is in a SavedModel, a bundle, or embedding tables",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="PATH")
    add_arguments(parser)
    parser.set_defaults(run=run, only_looks=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds all but the path."""
    parser.add_argument("--version", type=int, metavar="V", help="of a folder of versions this one, not the newest")
    parser.add_argument(
        "--no-values", action="store_true", help="leave out what takes long: values of variables, entries of tables"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    form.add_argument("--pbtxt", action="store_true", help="print the SavedModel as protobuf text")
    form.add_argument("--html", metavar="FILE", help="write a page with the same facts, and plots")
    parser.add_argument(
        "--node",
        action="append",
        default=[],
        metavar="NAME",
        help="print a node of the graph or of a function; repeatable",
    )
    parser.add_argument(
        "--tensor", action="append", default=[], metavar="NAME", help="print a variable or a constant; repeatable"
    )


def run(options: argparse.Namespace) -> Iterator[str]:
    """What the command prints.

    Raises:
        DataError: once all is printed, if something is damaged.
    """
    if options.node or options.tensor:
        if options.pbtxt or options.html:
            raise InvalidArgumentError("--node and --tensor go with --json or without, not with --pbtxt or --html")
        from mexport_pb.inspect.lookup import lookup_lines

        yield from lookup_lines(
            options.path, nodes=options.node, tensors=options.tensor, as_json=options.json, version=options.version
        )
        return
    if options.pbtxt:
        from mexport_pb.inspect.lookup import pbtxt_lines

        yield from pbtxt_lines(options.path, version=options.version)
        return
    yield from _facts(options)


def _facts(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.inspect.json_lines import json_lines
    from mexport_pb.inspect.model_facts import describe_target
    from mexport_pb.inspect.targets import find_targets
    from mexport_pb.inspect.terminal import Style
    from mexport_pb.inspect.text import text_lines

    style = Style.of(sys.stdout)
    damages = []
    models = []
    for number, target in enumerate(find_targets(options.path, options.version)):
        facts = describe_target(target, read_values=not options.no_values)
        damages += facts.damages
        if options.html is not None:
            models.append(facts)
        elif options.json:
            yield from json_lines(facts)
        else:
            if number:
                yield ""
            yield from text_lines(facts, style)
    if options.html is not None:
        from mexport_pb.inspect.html import write_page

        write_page(options.html, models)
        yield options.html
    if damages:
        more = f", and {len(damages) - 1} more" if len(damages) > 1 else ""
        first = damages[0]
        where = "" if first.message.startswith(first.where) else f"{first.where}: "
        raise DataError(f"damaged: {where}{first.message}{more}")
