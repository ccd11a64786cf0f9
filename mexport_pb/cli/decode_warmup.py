"""The requests of a warmup file, as text or JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

__all__ = ["add_arguments", "add_parser", "run"]

_EPILOG = """\
FILE: a TFRecord file of PredictionLogs; - for standard input; or a URL such as s3://bucket/key (pip install
'mexport-pb[remote]' and, for S3, s3fs). Of a damaged file what is good is printed, then one line on stderr; exit
status 1.

examples:
  mexport decode-warmup model/assets.extra/tf_serving_warmup_requests --limit 3
  mexport decode-warmup requests.gz --json | jq .requests[0].model_spec
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "decode-warmup",
        help="print the requests of a warmup file",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE")
    add_arguments(parser)
    parser.set_defaults(run=run, only_looks=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds all but the file."""
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    parser.add_argument("--limit", type=int, metavar="N", help="only N records")
    parser.add_argument("--index", type=int, metavar="I", help="only record I, from 0; with --limit, records from I on")
    parser.add_argument("--raw", action="store_true", help="show string elements (as JSON: in base64)")
    parser.add_argument(
        "--compression",
        choices=("auto", "none", "zlib", "gzip", "snappy"),
        default="auto",
        help="how the file is compressed (default: told by its first bytes)",
    )


def run(options: argparse.Namespace) -> Iterator[str]:
    """What the command prints."""
    from mexport_pb.inspect.warmup_text import decode_warmup

    return decode_warmup(
        options.file,
        compression=None if options.compression == "none" else options.compression,
        as_json=options.json,
        limit=options.limit,
        index=options.index,
        raw=options.raw,
    )
