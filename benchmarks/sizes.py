"""The sizes that the benchmarks share, and how long each figure is measured.

Every benchmark is a script; ``--quick`` makes it small enough for a smoke test, whose figures mean little.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How much each benchmark handles.

    Attributes:
        records: Records in a file.
        python_records: Records for paths that cost a Python object each.
        record_bytes: Data of a record: with its 16 bytes of framing, a dump's entry of 16 floats with its optimizer.
        checksum_bytes: Inputs of a checksum.
        checksum_total: Bytes that a figure of the checksum is measured over.
        bundle_bytes: Data of a checkpoint.
        bundle_tensors: Its tensors.
        index_tensors: Tensors of a checkpoint whose index counts.
        table_rows: Entries of a table dump.
        python_table_rows: Entries for paths that cost a protobuf message each.
        embedding_rows: Ids of an embedding table.
        embedding_dim: Floats of each.
        embedding_lookups: Ids that a figure of lookups is measured over.
        embedding_grown_rows: Ids that come while others are looked up.
        embedding_saved_rows: Ids of a training table that is saved and restored.
        repeats: Each figure is the best of so many.
    """

    records: int
    python_records: int
    record_bytes: int
    checksum_bytes: tuple[int, ...]
    checksum_total: int
    bundle_bytes: int
    bundle_tensors: int
    index_tensors: int
    table_rows: int
    python_table_rows: int
    embedding_rows: int
    embedding_dim: int
    embedding_lookups: int
    embedding_grown_rows: int
    embedding_saved_rows: int
    repeats: int


FULL = Sizes(
    records=2_000_000,
    python_records=300_000,
    record_bytes=132,
    checksum_bytes=(100, 1 << 10, 1 << 20),
    checksum_total=1 << 28,
    bundle_bytes=1 << 28,
    bundle_tensors=64,
    index_tensors=100_000,
    table_rows=2_000_000,
    python_table_rows=50_000,
    embedding_rows=20_000_000,
    embedding_dim=32,
    embedding_lookups=4_000_000,
    embedding_grown_rows=5_000_000,
    embedding_saved_rows=10_000_000,
    repeats=5,
)
QUICK = Sizes(
    records=20_000,
    python_records=5_000,
    record_bytes=132,
    checksum_bytes=(100, 1 << 10, 1 << 20),
    checksum_total=1 << 22,
    bundle_bytes=1 << 22,
    bundle_tensors=4,
    index_tensors=1000,
    table_rows=20_000,
    python_table_rows=2000,
    embedding_rows=50_000,
    embedding_dim=32,
    embedding_lookups=100_000,
    embedding_grown_rows=50_000,
    embedding_saved_rows=20_000,
    repeats=1,
)


def command_line_parser(description: str | None) -> argparse.ArgumentParser:
    """Make the parser that every benchmark has, with ``--quick``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke test: little data, one repeat")
    return parser


def sizes_of(arguments: argparse.Namespace) -> Sizes:
    """Pick the sizes that the command line asks for."""
    return QUICK if arguments.quick else FULL


def from_command_line(description: str | None) -> Sizes:
    """Parse the arguments of a benchmark that has none but ``--quick``."""
    return sizes_of(command_line_parser(description).parse_args())
