"""Predictions of exports against the training graph's: ``python -m demo.distributed.compare --model-dir D NAME=DIR …``.

Each export is served and asked as by ``mexport serve-check``: the entry calls the parameter servers by gRPC. Prints one
JSON line: by name the largest absolute difference, and what serve-check says.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import mexport_pb as mx
from demo.distributed.params import INSTANCES, MODEL_NAME
from demo.params import HELD_OUT
from mexport_pb.messages import make_predict_request
from mexport_pb.runtime import serve_check

__all__ = ["compare"]


def compare(model_dir: Path, exports: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Largest absolute difference of the prediction, and the report, by export."""
    predictions = np.load(model_dir / HELD_OUT)["predictions"]
    instances = np.array(list(mx.read_records(model_dir / INSTANCES)), object)
    request = make_predict_request(MODEL_NAME, {"instances": instances})
    results = {}
    for name, path in exports.items():
        report = serve_check(path, requests=[request], keep_values=True, model_name=MODEL_NAME)
        report.raise_if_bad()
        got = np.array(report.requests[0].outputs["output"].values, np.float32)
        results[name] = {"difference": float(np.abs(got - predictions).max()), "report": list(report.to_text())}
    return results


def main() -> None:
    """Parse the command line, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("exports", nargs="+", metavar="NAME=DIR")
    args = parser.parse_args()
    print(json.dumps(compare(args.model_dir, dict(text.split("=", 1) for text in args.exports))))


if __name__ == "__main__":
    main()
