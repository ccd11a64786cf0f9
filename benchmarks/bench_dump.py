"""``mexport dump`` beside ``saved_model_cli show --all``: the time for a small model; how fast a large one is read.

Usage: python benchmarks/bench_dump.py [--mib 2048] [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mexport_pb as mx

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
ROWS, DIM = 100_000, 64


def write_model(base: Path) -> Path:
    """A small model, as a GraphBuilder writes it."""
    graph = mx.GraphBuilder()
    with graph.as_default():
        x = graph.placeholder("float32", [None, 8], name="x")
        y = graph.identity(x, name="y")
    signature = mx.make_signature_def({"x": x}, {"y": y})
    path = base / "small"
    mx.write_saved_model(graph.to_meta_graph(signatures={"serving_default": signature}), path)
    return path


def add_tables(path: Path, mib: int) -> int:
    """Tables of so many MiB below ``assets/``; returns their bytes."""
    values = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    dump = mx.TableDump(np.arange(ROWS) % 50 << 48 | np.arange(ROWS), values, np.arange(ROWS))
    (path / "assets").mkdir()
    size = number = 0
    while size < mib << 20:
        mx.write_table(path / "assets" / f"table_{number}", dump, 1)
        size += (path / "assets" / f"table_{number}-00000-of-00001").stat().st_size
        number += 1
    return size


def seconds(arguments: list[str]) -> tuple[float, float]:
    """By the clock and of processor time, the best of some runs of a process each."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    best = []
    for _ in range(REPEATS):
        before, start = os.times(), time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        best.append((time.perf_counter() - start, used))
    return min(one for one, _ in best), min(one for _, one in best)


def main() -> None:
    """Runs both and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048, help="of tables (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="64 MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mexport_bench_") as folder:
        path = write_model(Path(folder))
        rival = ["-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir", str(path), "--all"]
        ours = ["-m", "mexport_pb", "dump", str(path)]
        dump, dump_cpu = seconds(ours)
        cli, cli_cpu = seconds(rival)
        print("a small model          clock     processor")
        print(f"mexport dump         {dump:6.2f} s  {dump_cpu:6.2f} s")
        print(f"saved_model_cli show {cli:6.2f} s  {cli_cpu:6.2f} s  ({cli / dump:.1f} times as long)")
        size = add_tables(path, 64 if options.quick else options.mib)
        clock, used = seconds(ours)
        print(f"{size / 2**20:.0f} MiB of tables, read, checked and counted, without the start:")
        clock_rate, core_rate = size / (clock - dump) / 1e9, size / (used - dump_cpu) / 1e9
        print(f"{clock_rate:.2f} GB/s, {core_rate:.2f} GB a second of processor time")


if __name__ == "__main__":
    main()
