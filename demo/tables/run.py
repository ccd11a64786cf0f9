"""The demo's second part: a model with embedding tables, exported full and made smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.report import child, print_differences, print_tree, say, size
from demo.tables.export import WAYS
from demo.tables.params import SET, SINGLE

__all__ = ["run"]

_DESCRIPTIONS = {
    "full": "the tables' files byte for byte",
    "slim": "no optimizer state, no rows of zeros, no users that did not come for a week; floats packed",
}


def run(folder: Path) -> float:
    """Train, export and compare; returns the largest difference of a score."""
    model_dir = folder / "train"
    say(f"training a click model with the embedding tables {', '.join((*SINGLE, *SET))}, by the real ops")
    trained = child("demo.tables.train", "--model-dir", model_dir)
    print(f"  {trained['steps']} steps, loss {trained['first_loss']:.4f} -> {trained['last_loss']:.4f}", end="; ")
    print(", ".join(f"{rows} rows of {name}" for name, rows in zip(SINGLE, trained["rows"], strict=True)))
    assets = Path(f"{trained['checkpoint']}.assets")
    print(f"  tables in the checkpoint: {size(assets.iterdir()) / 2**20:.1f} MiB, users of the last week only")

    exports: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        say(f"exporting, {way}, by GraphBuilder: {_DESCRIPTIONS[way]}")
        base = folder / "models" / way
        arguments = ("--model-dir", model_dir, "--export-base", base, "--time", trained["time"])
        exports[way] = child("demo.tables.export", way, *arguments)
        print_tree(Path(exports[way]["path"]))
    say("what became of the rows")
    _print_ledgers(exports["slim"]["ledgers"])

    say("scores for recent requests and for ids that training never saw: largest difference to the training graph's")
    paths = [f"{way}={report['path']}" for way, report in exports.items()]
    differences = child("demo.tables.compare", "--model-dir", model_dir, *paths)
    del differences["wall_seconds"]
    worst = print_differences(differences, exports)
    say("cost of an export, synced to disk and checked")
    print(f"  {'':8} {'size':>12} {'whole process':>15} {'export alone':>14} {'peak memory':>13}")
    for way, report in exports.items():
        mib = size(path for path in Path(report["path"]).rglob("*") if path.is_file()) / 2**20
        print(
            f"  {way:8} {mib:8.2f} MiB {report['wall_seconds']:13.2f} s {report['export_seconds']:12.2f} s "
            f"{report['peak_rss_mib']:9.1f} MiB"
        )
    return worst


def _print_ledgers(ledgers: list[dict[str, Any]]) -> None:
    print(f"  {'table':32} {'rows read':>10} = {'kept':>8} + {'zero':>8} + {'expired':>8}")
    for ledger in ledgers:
        for table in ledger["tables"]:
            dropped = table["rows_dropped"]
            counts = (table["rows_kept"], dropped.get("zero", 0), dropped.get("expired", 0))
            name = table["table"] if table["table"] == ledger["files"] else f"{ledger['files']}: {table['table']}"
            print(f"  {name:32} {table['rows_read']:>10}   " + "   ".join(f"{count:>8}" for count in counts))
        before, after = ledger["bytes_read"], ledger["bytes_written"]
        print(
            f"  {'':32} {before} -> {after} bytes ({before / max(after, 1):.1f} x less), "
            f"optimizer state {ledger['optimizer_state']}"
        )
