"""Warmup files of TensorFlow Serving: make them, check them, and replay them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mexport_pb.errors import InvalidArgumentError, ValidationError, WarmupError

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
_GENERATE_EPILOG = """\
Without --features and --slots every input of every signature gets random values; strings are Instances with some ids.
With them, the inputs instances, examples and example_batch get training data of these features. --features FILE is
JSON, a list of objects: name; slot, of sparse features; shape, how many values; dtype, float32, float64 or int64;
method; fid_version, 1 or 2; in_line_id, true for fields of the line id.

examples:
  mexport warmup generate -o warmup --model /models/ctr/1795456871 --batch-size 1 --batch-size 256
  mexport warmup generate -o warmup --model /models/ctr/1795456871 --slots 0,1,2,3
  mexport warmup generate -o warmup --features features.json --variant example --model-name ctr
"""
_REPLAY_EPILOG = """\
Needs TensorFlow. Prints the latency of each record; exit status 1 if one fails. The same as serve-check --replay.

example:
  mexport warmup replay /models/ctr/1795456871 requests.tfrecord
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "warmup", help="make, check and replay warmup files of TensorFlow Serving", description=__doc__
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_check(actions)
    _add_from_requests(actions)
    _add_generate(actions)
    _add_replay(actions)


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


def _add_generate(actions: Any) -> None:
    parser = actions.add_parser(
        "generate",
        help="make a warmup file of random requests that cover a model's signatures",
        description="Make a warmup file of random requests, without TensorFlow.",
        epilog=_GENERATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the warmup file to write")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    _add_model(parser)
    parser.add_argument(
        "--signature",
        action="append",
        default=[],
        metavar="KEY",
        help="what requests ask; repeatable (default: all that take random requests; without --model serving_default)",
    )
    parser.add_argument("--features", metavar="FILE", help="the features of training data, as JSON")
    parser.add_argument("--slots", type=_slots, default=[], metavar="S,S", help="slots of ids of the first version")
    parser.add_argument(
        "--variant",
        choices=("instance", "example", "example_batch", "tensors"),
        help="what is fed (default: what the signatures' inputs are named for, else tensors)",
    )
    parser.add_argument(
        "--batch-size", type=int, action="append", default=[], metavar="N", help="rows; repeatable (default: 64)"
    )
    parser.add_argument("--max-records", type=int, default=1000, metavar="N", help="rows of all (default: 1000)")
    parser.add_argument("--drop-rate", type=float, default=0.5, metavar="R", help="of optional ids (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same, the same bytes (default: 0)")
    parser.add_argument("--no-output-filters", action="store_true", help="do not also ask for each output alone")
    parser.set_defaults(run=_generate)


def _slots(text: str) -> list[int]:
    return [int(slot) for slot in text.split(",")]


def _generate(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.warmup.features import FeatureMeta, read_features
    from mexport_pb.warmup.generate import DEFAULT_BATCH_SIZE, DEFAULT_MODEL_NAME, gen_warmup_file

    if os.path.lexists(options.output) and not options.force:
        raise InvalidArgumentError(f"{options.output}: is there already and was not touched; --force replaces it")
    features = [FeatureMeta(f"slot_{slot}", slot, fid_version=1) for slot in options.slots]
    if options.features is not None:
        features += read_features(options.features)
    yield gen_warmup_file(
        options.output,
        options.model,
        features,
        variant=options.variant,
        signatures=options.signature,
        batch_sizes=options.batch_size or [DEFAULT_BATCH_SIZE],
        max_records=options.max_records,
        model_name=options.model_name or DEFAULT_MODEL_NAME,
        drop_rate=options.drop_rate,
        seed=options.seed,
        output_filters=not options.no_output_filters,
        tags=_tags(options),
        force=options.force,
    )


def _add_replay(actions: Any) -> None:
    parser = actions.add_parser(
        "replay",
        help="do what a server does with a warmup file, in TensorFlow",
        description="Load an export in TensorFlow and send it the requests of warmup files.",
        epilog=_REPLAY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("export", metavar="EXPORT", help="the folder of entry/, ps_0/, …; of versions; or a version")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="warmup files for the entry (default: the models' own)"
    )
    parser.add_argument("--version", type=int, metavar="V", help="the version (default: the newest of the entry)")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds that a record may take")
    parser.add_argument("--stop-at-failure", action="store_true", help="send nothing after the first failure")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="of the graphs; repeatable (default: serve)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    parser.set_defaults(run=_replay, only_looks=True)


def _replay(options: argparse.Namespace) -> Iterator[str]:
    # What TensorFlow logs while it starts is about the machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mexport_pb.runtime import replay_warmup

    report = replay_warmup(
        options.export,
        options.files or None,
        version=options.version,
        timeout=options.timeout,
        stop_at_failure=options.stop_at_failure,
        tags=_tags(options),
    )
    yield from report.to_json() if options.json else report.to_text()
    if not report.ok:
        raise ValidationError(f"{options.export}: the replay failed: {len(report.failures)} failures")
