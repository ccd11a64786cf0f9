"""One export of the demo's third model: ``python -m demo.distributed.export WAY --model-dir D --export-base B``.

WAY is ``standalone`` (one SavedModel) or ``distributed`` (the entry, and one for each parameter server). GraphBuilder
builds either, without TensorFlow. Prints one JSON line: the version's paths by sub-model, seconds, and peak memory in
MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import mexport_pb as mx
from demo.distributed.serving_graph import instances_receiver_fn, model_fn
from demo.measure import peak_rss_mib

__all__ = ["WAYS", "export"]

WAYS = ("standalone", "distributed")


def export(way: str, model_dir: Path, base: Path) -> dict[str, str]:
    """Export the newest checkpoint; returns the published directories by sub-model."""
    if way == "standalone":
        exporter = mx.StandaloneExporter(model_fn, model_dir, base)
        return {"entry": os.fsdecode(exporter.export_saved_model(instances_receiver_fn))}
    parts = mx.DistributedExporter(model_fn, model_dir, base).export_saved_model(instances_receiver_fn)
    return {name: os.fsdecode(path) for name, path in parts.items()}


def main() -> None:
    """Parse the command line, export and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--export-base", type=Path, required=True)
    args = parser.parse_args()
    began = time.perf_counter()
    paths = export(args.way, args.model_dir, args.export_base)
    seconds = round(time.perf_counter() - began, 3)
    print(json.dumps({"paths": paths, "export_seconds": seconds, "peak_rss_mib": round(peak_rss_mib(), 1)}))


if __name__ == "__main__":
    main()
