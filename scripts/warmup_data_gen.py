#!/usr/bin/env python3
"""Make a warmup file of a framed stream: ``mexport warmup from-requests --format framed`` with Monolith's flags.

Usage: python scripts/warmup_data_gen.py --file_name F --output_path W [--variant_type instance|example|example_batch]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from mexport_pb.cli import execute
from mexport_pb.messages.constants import DEFAULT_SIGNATURE
from mexport_pb.warmup.framed import INPUT_KEYS, FrameFormat
from mexport_pb.warmup.recorded import warmup_from_requests


def flag(text: str) -> bool:
    """A boolean flag's value."""
    lowered = text.lower()
    if lowered not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"got {text!r}, want true or false")
    return lowered in ("true", "1")


def run(options: argparse.Namespace) -> Iterator[str]:
    """Write the file and tell how many records it has."""
    frames = FrameFormat(
        body=options.variant_type,
        has_sort_id=options.has_sort_id and not options.lagrangex_header,
        kafka_dump=options.kafka_dump,
        kafka_dump_prefix=options.kafka_dump_prefix,
        lagrangex_header=options.lagrangex_header,
    )
    names = [name.strip() for name in options.signature_names.split(",") if name.strip()]
    if DEFAULT_SIGNATURE not in names:
        names.append(DEFAULT_SIGNATURE)
    count = warmup_from_requests(
        options.file_name,
        options.output_path,
        options.model,
        source_format="framed",
        frames=frames,
        batch_size=options.batch_size,
        signatures=names,
        model_name=options.model_name,
        max_records=options.max_records,
        force=True,
    )
    yield f"{options.output_path}: {count} records"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--file_name", default="-", metavar="F", help="the stream (default: -, standard input)")
    parser.add_argument("--output_path", required=True, metavar="W", help="the warmup file; replaced if it is there")
    parser.add_argument("--model", metavar="DIR", help="the SavedModel that requests must fit")
    parser.add_argument("--variant_type", choices=sorted(INPUT_KEYS), default="instance", help="what a frame holds")
    parser.add_argument("--batch_size", type=int, default=256, help="frames of a request")
    parser.add_argument("--max_records", type=int, default=1000, help="at most so many requests")
    parser.add_argument("--model_name", default="default", help="the model that requests ask")
    parser.add_argument("--signature_names", default=DEFAULT_SIGNATURE, help="what they ask in turn; with commas")
    for name, default in (
        ("has_sort_id", True),
        ("kafka_dump", False),
        ("kafka_dump_prefix", False),
        ("lagrangex_header", False),
    ):
        parser.add_argument(f"--{name}", type=flag, nargs="?", const=True, default=default, metavar="BOOL")
    parser.set_defaults(run=run)
    return execute(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
