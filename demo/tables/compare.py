"""Scores of exports against the training graph's: ``python -m demo.tables.compare --model-dir D NAME=EXPORT_DIR ...``.

The library of table ops is loaded, then each export by TensorFlow's Python and C++ loaders. Prints one JSON line: the
largest absolute difference by loader and name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from demo.params import HELD_OUT
from demo.tables.params import signature_inputs
from mexport_pb.runtime import load_op_library
from tests.support import cpp_loader, python_loader

__all__ = ["compare"]

_READERS = {"TensorFlow's Python loader": python_loader, "TensorFlow's C++ loader": cpp_loader}


def compare(model_dir: Path, exports: dict[str, str]) -> dict[str, dict[str, float]]:
    """Largest absolute difference of the score, by loader and export."""
    load_op_library()
    held_out = np.load(model_dir / HELD_OUT)
    inputs = {key: held_out[key] for key in signature_inputs()}
    differences: dict[str, dict[str, float]] = {}
    for reader, loader in _READERS.items():
        for name, path in exports.items():
            with loader.load(path) as model:
                score = model.run("serving_default", inputs)["score"]
            differences.setdefault(reader, {})[name] = float(np.abs(score - held_out["score"]).max())
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
