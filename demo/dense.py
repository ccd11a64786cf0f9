"""The demo's first part: a dense model, exported three ways and as TensorFlow does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.report import child, print_differences, print_tree, say, size

__all__ = ["run"]

_WAYS = {
    "builder": "GraphBuilder: a model function that builds protobufs, no TensorFlow",
    "meta": "the .meta file of the training job, pruned to the signature, no TensorFlow",
    "traced": "the TensorFlow model function, traced",
}
_RIVAL = "TensorFlow: session, Saver.restore, saved_model.Builder"


def run(folder: Path, rows: int) -> float:
    """Train, export and compare; returns the largest difference of a prediction."""
    model_dir = folder / "train"
    say(f"training a click model, {rows} items: dense layers and an embedding, ref and resource variables")
    trained = child("demo.train", "--model-dir", model_dir, "--embedding-rows", rows, "--embedding-parts", 1)
    print(f"  {trained['steps']} steps, loss {trained['first_loss']:.4f} -> {trained['last_loss']:.4f}")
    print(f"  checkpoint {trained['checkpoint']}, {size(model_dir.glob('model.ckpt-*')) / 2**20:.1f} MiB")

    exports: dict[str, dict[str, Any]] = {}
    for way, description in _WAYS.items():
        say(f"exporting: {description}")
        exports[way] = child("demo.export", way, "--model-dir", model_dir, "--export-base", folder / "models" / way)
        print_tree(Path(exports[way]["path"]))
    say(f"the rival: {_RIVAL}")
    exports["rival"] = child("demo.rival", "--model-dir", model_dir, "--export-base", folder / "models" / "rival")
    print_tree(Path(exports["rival"]["path"]))

    say("predictions for inputs that training never saw: largest difference to the training graph's")
    paths = [f"{way}={report['path']}" for way, report in exports.items()]
    report = child("demo.compare", "--model-dir", model_dir, *paths)
    del report["wall_seconds"]
    worst = print_differences(report, exports)
    say("cost of an export, each in a process of its own; ours are synced to disk and checked, the rival is not")
    _print_costs(exports)
    return worst


def _print_costs(exports: dict[str, dict[str, Any]]) -> None:
    """A table; in parentheses, how many times less that is than the rival's. Imports count for the process alone."""
    rival = exports["rival"]
    print(f"  {'':8} {'whole process':>20} {'export alone':>20} {'peak memory':>23}")
    for way, report in exports.items():
        cells = []
        for key, unit in (("wall_seconds", "s"), ("export_seconds", "s"), ("peak_rss_mib", "MiB")):
            cells.append(f"{report[key]:8.2f} {unit} ({rival[key] / report[key]:5.1f} x)")
        print(f"  {way:8} {cells[0]} {cells[1]} {cells[2]}")
