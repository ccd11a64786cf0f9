"""One export of the demo's second model: ``python -m demo.tables.export WAY --model-dir D --export-base B --time T``.

WAY is ``full`` (the tables' files byte for byte) or ``slim`` (made smaller for serving). GraphBuilder builds either,
without TensorFlow. Prints one JSON line: the path, seconds, peak memory in MiB, and the ledger of a slim export.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

import mexport_pb as mx
from demo.measure import peak_rss_mib, process_age
from demo.tables.params import DAY
from demo.tables.serving_graph import model_fn, serving_input_receiver_fn

__all__ = ["WAYS", "export"]

WAYS = ("full", "slim")


def export(way: str, model_dir: Path, base: Path, now: int) -> tuple[Path, list[mx.TableSetLedger]]:
    """Export the newest checkpoint; returns the version, and what became of each row of a slim one."""
    # Users have not been seen for two days when the hourly export of a stopped job runs; they go after seven.
    slim = mx.ServingTables(req_time=now + 2 * DAY, pack_floats=True)
    exporter = mx.StandaloneExporter(model_fn, model_dir, base, tables=slim if way == "slim" else "copy")
    path = os.fsdecode(exporter.export_saved_model(serving_input_receiver_fn))
    return Path(path), exporter.table_ledgers.get(path, [])


def main() -> None:
    """Parse the command line, export and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--export-base", type=Path, required=True)
    parser.add_argument("--time", type=int, required=True, help="the last second of training")
    args = parser.parse_args()
    for name in mx.__all__:
        getattr(mx, name)
    began = time.perf_counter()
    path, ledgers = export(args.way, args.model_dir, args.export_base, args.time)
    report = {
        "path": str(path),
        "export_seconds": round(time.perf_counter() - began, 3),
        "process_seconds": round(process_age(), 3),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "ledgers": [dataclasses.asdict(ledger) for ledger in ledgers],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
