"""``python -m demo``: train a small real model, export it three ways and as TensorFlow does it, compare.

Every step runs in a process of its own, so that its time and memory are its own. The exit status is 1 when an export
gives other predictions than the training graph.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from demo.measure import measure

_WAYS = {
    "builder": "GraphBuilder: a model function that builds protobufs, no TensorFlow",
    "meta": "the .meta file of the training job, pruned to the signature, no TensorFlow",
    "traced": "the TensorFlow model function, traced",
}
_RIVAL = "TensorFlow: session, Saver.restore, saved_model.Builder"
# Readers may fuse and reorder float32 arithmetic; a wrong variable is off by far more.
_TOLERANCE = 1e-5


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where to work and leave everything; a temporary folder if not given")
    parser.add_argument("--embedding-rows", type=int, default=1 << 20, help="rows of 16 floats (default: %(default)s)")
    args = parser.parse_args()
    if args.dir is not None:
        args.dir.mkdir(parents=True, exist_ok=True)
        return _run(args.dir.resolve(), args.embedding_rows)
    with tempfile.TemporaryDirectory(prefix="mexport_demo_") as folder:
        return _run(Path(folder), args.embedding_rows)


def _run(folder: Path, rows: int) -> int:
    model_dir = folder / "train"
    _say(f"training a click model, {rows} items: dense layers and an embedding, ref and resource variables")
    trained = _child("demo.train", "--model-dir", model_dir, "--embedding-rows", rows, "--embedding-parts", 1)
    print(f"  {trained['steps']} steps, loss {trained['first_loss']:.4f} -> {trained['last_loss']:.4f}")
    print(f"  checkpoint {trained['checkpoint']}, {_size(model_dir.glob('model.ckpt-*')) / 2**20:.1f} MiB")

    exports: dict[str, dict[str, Any]] = {}
    for way, description in _WAYS.items():
        _say(f"exporting: {description}")
        exports[way] = _child("demo.export", way, "--model-dir", model_dir, "--export-base", folder / "models" / way)
        _print_tree(Path(exports[way]["path"]))
    _say(f"the rival: {_RIVAL}")
    exports["rival"] = _child("demo.rival", "--model-dir", model_dir, "--export-base", folder / "models" / "rival")
    _print_tree(Path(exports["rival"]["path"]))

    _say("predictions for inputs that training never saw: largest difference to the training graph's")
    good = _compare(model_dir, {way: exports[way]["path"] for way in exports})
    _say("cost of an export, each in a process of its own; ours are synced to disk and checked, the rival is not")
    _print_costs(exports)
    print("\nOK" if good else "\nFAILED: an export does not give the training graph's predictions")
    return 0 if good else 1


def _child(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module and return what it reports; what else it says is shown only if it fails."""
    with tempfile.TemporaryFile("w+") as log:
        cost, output = measure([sys.executable, "-m", module, *map(str, arguments)], stderr=log)
        if cost.exit_code != 0:
            log.seek(0)
            sys.exit(f"{log.read()}\n{module} failed with exit status {cost.exit_code}")
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return {**report, "wall_seconds": cost.wall_seconds}


def _compare(model_dir: Path, paths: dict[str, str]) -> bool:
    report = _child("demo.compare", "--model-dir", model_dir, *(f"{way}={path}" for way, path in paths.items()))
    del report["wall_seconds"]
    print(f"  {'':28}" + "".join(f"{way:>10}" for way in paths))
    for reader, differences in report.items():
        print(f"  {reader:28}" + "".join(f"{differences[way]:10.1e}" for way in paths))
    return all(value <= _TOLERANCE for differences in report.values() for value in differences.values())


def _print_costs(exports: dict[str, dict[str, Any]]) -> None:
    """A table; in parentheses, how many times less that is than the rival's. Imports count for the process alone."""
    rival = exports["rival"]
    print(f"  {'':8} {'whole process':>20} {'export alone':>20} {'peak memory':>23}")
    for way, report in exports.items():
        cells = []
        for key, unit in (("wall_seconds", "s"), ("export_seconds", "s"), ("peak_rss_mib", "MiB")):
            cells.append(f"{report[key]:8.2f} {unit} ({rival[key] / report[key]:5.1f} x)")
        print(f"  {way:8} {cells[0]} {cells[1]} {cells[2]}")


def _print_tree(root: Path) -> None:
    print(f"  {root}")
    for path in sorted(root.rglob("*")):
        indent = "  " * (len(path.relative_to(root).parts) + 1)
        print(f"{indent}{path.name}/" if path.is_dir() else f"{indent}{path.name}  {path.stat().st_size} bytes")


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
