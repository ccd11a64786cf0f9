"""One export by one of the ways that mexport_pb offers: ``python -m demo.export WAY --model-dir D --export-base B``.

WAY is ``builder`` (a model function for GraphBuilder), ``meta`` (the graph that the training job saved) or ``traced``
(the TensorFlow model function, traced). Prints one JSON line: the path, seconds of the export by itself and of the
whole process, and the peak of the process's memory in MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mexport_pb as mx
from demo.measure import peak_rss_mib, process_age
from demo.params import Params, latest_checkpoint

__all__ = ["WAYS", "export_built", "export_saved", "export_traced"]


def export_built(model_dir: Path, base: Path) -> Path:
    """A model function that builds protobufs; TensorFlow is not imported."""
    from demo.serving_graph import make_model_fn, serving_input_receiver_fn

    exporter = mx.StandaloneExporter(make_model_fn(Params.load(model_dir)), model_dir, base)
    return Path(os.fsdecode(exporter.export_saved_model(serving_input_receiver_fn)))


def export_saved(model_dir: Path, base: Path) -> Path:
    """The ``.meta`` file beside the checkpoint, cut down to the signature; as ``mexport export`` does it."""
    checkpoint = latest_checkpoint(model_dir)
    features = {key: f"{key}:0" for key in ("user", "item", "item_id")}
    signature = mx.SignatureSpec("serving_default", features, {"logits": "logits:0", "score": "score:0"})
    version = base / str(int(time.time()))
    return mx.export_meta_graph(f"{checkpoint}.meta", checkpoint, version, [signature], timestamped=True)


def export_traced(model_dir: Path, base: Path) -> Path:
    """The model function that training used, traced by TensorFlow; no session is made."""
    from demo.model import model_fn, serving_features
    from mexport_pb.runtime import TensorFlowSource

    params = Params.load(model_dir)

    def infer_fn(features: Mapping[str, Any], mode: str, config: mx.RunConfig) -> mx.EstimatorSpec:
        return mx.EstimatorSpec(mode, model_fn(features, mode, config, params))

    def receiver_fn() -> mx.ServingInputReceiver:
        features = serving_features()
        return mx.ServingInputReceiver(features, features)

    exporter = mx.StandaloneExporter(infer_fn, model_dir, base, source=TensorFlowSource())
    return Path(os.fsdecode(exporter.export_saved_model(receiver_fn)))


WAYS: dict[str, Callable[[Path, Path], Path]] = {
    "builder": export_built,
    "meta": export_saved,
    "traced": export_traced,
}


def main() -> None:
    """Parse the command line, export and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--export-base", type=Path, required=True)
    args = parser.parse_args()
    # Imports count for the process and not for the export, here as in the rival.
    for name in mx.__all__:
        getattr(mx, name)
    if args.way == "traced":
        import tensorflow  # noqa: F401
    began = time.perf_counter()
    path = WAYS[args.way](args.model_dir, args.export_base)
    report = {
        "path": str(path),
        "export_seconds": round(time.perf_counter() - began, 3),
        "process_seconds": round(process_age(), 3),
        "peak_rss_mib": round(peak_rss_mib(), 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
