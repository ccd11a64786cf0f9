"""Predictions of exports against the training graph's: ``python -m demo.compare --model-dir D NAME=EXPORT_DIR ...``.

Each export is loaded by each reader and given the inputs that training never saw. Prints one JSON line: the largest
absolute difference by reader and name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from demo.params import HELD_OUT
from tests.support import cpp_loader, openvino_loader, python_loader

__all__ = ["compare"]

_READERS = {
    "TensorFlow's Python loader": python_loader,
    "TensorFlow's C++ loader": cpp_loader,
    "OpenVINO's own reader": openvino_loader,
}
_INPUTS = ("user", "item", "item_id")
_OUTPUTS = ("logits", "score")


def compare(model_dir: Path, exports: dict[str, str]) -> dict[str, dict[str, float]]:
    """Largest absolute difference of any output, by reader and export."""
    held_out = np.load(model_dir / HELD_OUT)
    inputs = {key: held_out[key] for key in _INPUTS}
    differences: dict[str, dict[str, float]] = {}
    for reader, loader in _READERS.items():
        for name, path in exports.items():
            with loader.load(path) as model:
                outputs = model.run("serving_default", inputs)
            difference = max(float(np.abs(outputs[key] - held_out[key]).max()) for key in _OUTPUTS)
            differences.setdefault(reader, {})[name] = difference
    return differences


def main() -> None:
    """Parse the command line, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("exports", nargs="+", metavar="NAME=EXPORT_DIR")
    args = parser.parse_args()
    print(json.dumps(compare(args.model_dir, dict(text.split("=", 1) for text in args.exports))))


if __name__ == "__main__":
    main()
