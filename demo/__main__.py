"""``python -m demo``: train small real models, export them in several ways, compare.

The first model is dense, and TensorFlow's own export is run beside ours. The second one has embedding tables. The
third one's tables are on five parameter servers. Every step runs in a process of its own, so that its time and memory
are its own. The exit status is 1 when an export gives other predictions than the training graph.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from demo import dense
from demo.distributed import run as distributed
from demo.tables import run as tables

# Readers may fuse and reorder float32 arithmetic; a wrong variable or row is off by far more.
_TOLERANCE = 1e-5


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where to work and leave everything; a temporary folder if not given")
    parser.add_argument("--embedding-rows", type=int, default=1 << 19, help="rows of 16 floats (default: %(default)s)")
    parser.add_argument("--only", choices=("dense", "tables", "distributed"), help="one of the models")
    args = parser.parse_args()
    if args.dir is not None:
        args.dir.mkdir(parents=True, exist_ok=True)
        return _run(args.dir.resolve(), args.embedding_rows, args.only)
    with tempfile.TemporaryDirectory(prefix="mexport_demo_") as folder:
        return _run(Path(folder), args.embedding_rows, args.only)


def _run(folder: Path, rows: int, only: str | None) -> int:
    worst = 0.0
    if only in (None, "dense"):
        worst = max(worst, dense.run(folder / "dense", rows))
    if only in (None, "tables"):
        worst = max(worst, tables.run(folder / "tables"))
    if only in (None, "distributed"):
        worst = max(worst, distributed.run(folder / "distributed"))
    good = worst <= _TOLERANCE
    print("\nOK" if good else "\nFAILED: an export does not give the training graph's predictions")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
