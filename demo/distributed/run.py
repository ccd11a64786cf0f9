"""The demo's third part: tables on five parameter servers, exported whole and in parts, and asked through the entry."""

from __future__ import annotations

from pathlib import Path

from demo.distributed.export import WAYS
from demo.distributed.params import NUM_PS
from demo.report import child, print_tree, say

__all__ = ["run"]


def run(folder: Path) -> float:
    """Train, export and ask; returns the largest difference of a prediction."""
    model_dir = folder / "train"
    say(f"training a factorization machine in a cluster of a worker and {NUM_PS} parameter servers")
    trained = child("demo.distributed.train", "--model-dir", model_dir)
    print(f"  {trained['steps']} steps, loss {trained['first_loss']:.4f} -> {trained['last_loss']:.4f}")

    exports: dict[str, Path] = {}
    for way in WAYS:
        say(f"exporting, {way}, by GraphBuilder")
        base = folder / "models" / way
        report = child("demo.distributed.export", way, "--model-dir", model_dir, "--export-base", base)
        exports[way] = Path(report["paths"]["entry"]) if way == "standalone" else base
        print(f"  {report['export_seconds']:.2f} s, {report['peak_rss_mib']:.1f} MiB")
        print_tree(exports[way])

    say("mexport serve-check: every model of a version in TensorFlow, the entry calling the others by gRPC")
    arguments = [f"{way}={path}" for way, path in exports.items()]
    asked = child("demo.distributed.compare", "--model-dir", model_dir, *arguments)
    for way in exports:
        print(f"  {way}:")
        print("".join(f"    {line}\n" for line in asked[way]["report"]), end="")
    say("predictions for instances, half of them with ids that training never saw: difference to the training graph's")
    worst = 0.0
    for way in exports:
        print(f"  {way:14} {asked[way]['difference']:.1e}")
        worst = max(worst, asked[way]["difference"])
    return worst
