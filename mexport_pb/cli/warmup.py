"""Warmup files of TensorFlow Serving: check them, and make them of recorded requests."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mexport_pb.errors import InvalidArgumentError, WarmupError

__all__ = ["add_parser"]

_CHECK_EPILOG = """\
Prints a line for each problem; exit status 1 if one is an error, which a server would refuse.

examples:
  mexport warmup check --model /models/ctr/1795456871
  mexport warmup check requests.tfrecord --model /models/ctr/1795456871 --json
"""
_REQUESTS_EPILOG = """\
SOURCE: with --format requests a folder of serialized PredictRequests, one a file, taken by name; with records a
TFRecord file of PredictRequests or PredictionLogs (of any kind but streamed), compressed or not; with framed a stream
of recorded training data, whose headers the options --has-sort-id ... tell, gathered to requests of --batch-size.
- is standard input. Nothing is written if a request does not fit the model.

examples:
  mexport warmup from-requests recorded/ -o warmup --model /models/ctr/1795456871
  mexport warmup from-requests log.gz -o warmup --sample 500 --seed 7 --unique
  mexport warmup from-requests - --format framed --body instance --has-sort-id --batch-size 256 -o warmup < data
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "warmup", help="check warmup files of TensorFlow Serving; make them of requests", description=__doc__
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_check(actions)
    _add_from_requests(actions)


def _add_check(actions: Any) -> None:
    parser = actions.add_parser(
        "check",
        help="would a server take this warmup file?",
        description="Check a warmup file, without TensorFlow.",
        epilog=_CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="the warmup file (default: the model's own)")
    _add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    parser.set_defaults(run=_check, only_looks=True)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR", help="the SavedModel that requests must fit")
    parser.add_argument("--model-name", metavar="NAME", help="the name that the server has for it")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="of the model's graph; repeatable (default: serve)"
    )


def _add_from_requests(actions: Any) -> None:
    parser = actions.add_parser(
        "from-requests",
        help="make a warmup file of recorded requests or training data",
        description="Make a warmup file of recorded requests or training data, without TensorFlow.",
        epilog=_REQUESTS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the warmup file to write")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    _add_model(parser)
    parser.add_argument(
        "--signature",
        action="append",
        default=[],
        metavar="KEY",
        help="what requests ask, in turn; repeatable (default: what they were recorded with; framed: serving_default)",
    )
    parser.add_argument(
        "--format",
        choices=("auto", "requests", "records", "framed"),
        default="auto",
        help="of SOURCE (default: requests for a folder, else records)",
    )
    parser.add_argument("--sample", type=int, metavar="N", help="of all requests only N, drawn at random")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of --sample (default: 0)")
    parser.add_argument("--max-records", type=int, metavar="N", help="only the first N requests")
    parser.add_argument("--unique", action="store_true", help="requests that are equal only once")
    framed = parser.add_argument_group("framed streams")
    framed.add_argument("--body", choices=("instance", "example", "example_batch"), help="what a frame holds")
    framed.add_argument("--batch-size", type=int, default=256, metavar="N", help="bodies of a request (default: 256)")
    framed.add_argument("--has-sort-id", action="store_true", help="frames begin with a sort id")
    framed.add_argument("--kafka-dump", action="store_true", help="8 bytes follow the sort id")
    framed.add_argument("--kafka-dump-prefix", action="store_true", help="8 or 16 bytes before the sort id")
    framed.add_argument("--lagrangex-header", action="store_true", help="frames begin with 8 bytes, and nothing else")
    parser.set_defaults(run=_from_requests)


def _tags(options: argparse.Namespace) -> list[str]:
    from mexport_pb.messages.constants import SERVING_TAG

    return options.tag or [SERVING_TAG]


def _check(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.messages.constants import ASSETS_EXTRA_DIRECTORY, WARMUP_FILENAME
    from mexport_pb.warmup.check import iter_warmup_problems

    file = options.file
    if file is None:
        if options.model is None:
            raise InvalidArgumentError("want a FILE, --model DIR, or both")
        file = os.path.join(options.model, ASSETS_EXTRA_DIRECTORY, WARMUP_FILENAME)
    errors = 0
    for problem in iter_warmup_problems(file, options.model, model_name=options.model_name, tags=_tags(options)):
        errors += problem.severity == "error"
        yield json.dumps(asdict(problem)) if options.json else str(problem)
    if errors:
        raise WarmupError(f"{errors} error{'' if errors == 1 else 's'}", path=file)


def _from_requests(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.warmup.framed import FrameFormat
    from mexport_pb.warmup.recorded import warmup_from_requests

    frames = None
    if options.format == "framed":
        if options.body is None:
            raise InvalidArgumentError("--format framed wants --body")
        frames = FrameFormat(
            body=options.body,
            has_sort_id=options.has_sort_id,
            kafka_dump=options.kafka_dump,
            kafka_dump_prefix=options.kafka_dump_prefix,
            lagrangex_header=options.lagrangex_header,
        )
    count = warmup_from_requests(
        options.source,
        options.output,
        options.model,
        source_format=options.format,
        frames=frames,
        batch_size=options.batch_size,
        signatures=options.signature,
        model_name=options.model_name,
        sample=options.sample,
        seed=options.seed,
        max_records=options.max_records,
        unique=options.unique,
        tags=_tags(options),
        force=options.force,
    )
    yield f"{options.output}: {count} records"
