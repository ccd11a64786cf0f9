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
        repeats: Each figure is the best of so many.
    """

    records: int
    python_records: int
    record_bytes: int
    checksum_bytes: tuple[int, ...]
    checksum_total: int
    repeats: int


FULL = Sizes(
    records=2_000_000,
    python_records=300_000,
    record_bytes=132,
    checksum_bytes=(100, 1 << 10, 1 << 20),
    checksum_total=1 << 28,
    repeats=5,
)
QUICK = Sizes(
    records=20_000,
    python_records=5_000,
    record_bytes=132,
    checksum_bytes=(100, 1 << 10, 1 << 20),
    checksum_total=1 << 22,
    repeats=1,
)


def from_command_line(description: str | None) -> Sizes:
    """Parse a benchmark's arguments, which are ``--quick`` or none."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke test: little data, one repeat")
    return QUICK if parser.parse_args().quick else FULL
