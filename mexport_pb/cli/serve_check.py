"""Try an export out: load all its models in TensorFlow, ask the entry, and report every failure."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mexport_pb.errors import InvalidArgumentError, ValidationError

if TYPE_CHECKING:
    from mexport_pb.runtime import ServeReport

__all__ = ["add_parser"]

_EPILOG = """\
This is a check before servers get the export, not a server to deploy: the models run in one process, on the CPU,
behind the loopback interface. It needs TensorFlow. Without --requests and --random, the export's own warmup file is
sent; if it has none, one random request a signature.

example:
  mexport serve-check /models/ctr --requests recorded.tfrecord --random 10 --batch-size 64
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "serve-check",
        help="load an export in TensorFlow and send it requests, sub-models included",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("export", metavar="EXPORT", help="the folder of entry/, ps_0/, …; of versions; or a version")
    parser.add_argument("--version", type=int, metavar="V", help="the version (default: the newest of the entry)")
    parser.add_argument(
        "--requests",
        action="append",
        default=[],
        metavar="F",
        help="a TFRecord file of PredictionLogs or PredictRequests to send; repeatable",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="do what a server does with a warmup file when it loads the model: with the model's own, or --requests",
    )
    parser.add_argument("--random", type=int, metavar="N", help="send N random requests a signature")
    parser.add_argument(
        "--signature",
        action="append",
        default=[],
        metavar="KEY",
        help="a signature for random requests; repeatable (default: each that can take them)",
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="of random requests (default: 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random requests (default: 0)")
    parser.add_argument(
        "--integers",
        type=_range,
        default=(0, 30),
        metavar="FIRST:END",
        help="the range of integers in random requests, without its end (default: 0:30)",
    )
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds for a request to the entry (default: 30)"
    )
    parser.add_argument(
        "--model-name", metavar="NAME", help="want calls of sub-models to go to NAME:ps_0, …, as the servers name them"
    )
    parser.add_argument("--tags", default="serve", help="comma-separated tags of the graphs (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="print values of the outputs, too")
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    parser.set_defaults(run=_run, only_looks=True)


def _range(text: str) -> tuple[int, int]:
    first, _, end = text.partition(":")
    try:
        return int(first), int(end)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, want FIRST:END") from None


def _run(options: argparse.Namespace) -> Iterator[str]:
    # What TensorFlow logs while it starts is about the machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mexport_pb.runtime import replay_warmup

    tags = [tag for tag in options.tags.split(",") if tag]
    if options.replay:
        for name in ("random", "signature", "model_name", "show"):
            if getattr(options, name):
                raise InvalidArgumentError(f"--replay takes no --{name.replace('_', '-')}")
        report = replay_warmup(
            options.export, options.requests or None, version=options.version, timeout=options.timeout, tags=tags
        )
    else:
        report = _check(options, tags)
    yield from report.to_json() if options.json else report.to_text(show=options.show)
    if not report.ok:
        raise ValidationError(f"{options.export}: the check failed: {len(report.failures)} failures")


def _check(options: argparse.Namespace, tags: list[str]) -> ServeReport:
    from mexport_pb.runtime import serve_check

    return serve_check(
        options.export,
        version=options.version,
        requests=options.requests,
        random=options.random,
        batch_size=options.batch_size,
        seed=options.seed,
        integers=options.integers,
        signatures=options.signature,
        timeout=options.timeout,
        model_name=options.model_name,
        keep_values=options.show,
        tags=tags,
    )
