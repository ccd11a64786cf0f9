"""Print for every graph of the corpus whether our files equal TensorFlow's: ``python -m tests.corpus --table``."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from mexport_pb.errors import MexportError
from tests.corpus import ENTRIES, RUNS, Comparison

_PARTS = ("saved_model.pb", "index", "data", "tree")


def main() -> int:
    """Compare, print, and return 1 if anything is not as the corpus says."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--table", action="store_true", help="one row an entry (the default)")
    parser.add_argument("names", nargs="*", help="only these entries")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    unexpected = []
    print(f"| {'entry':32} |" + "".join(f" {run}: {part} |" for run in RUNS for part in _PARTS))
    print("|---" * (1 + len(RUNS) * len(_PARTS)) + "|")
    for name in args.names or ENTRIES:
        cells = []
        for run in RUNS:
            outcome = _outcome(name, run)
            cells += [outcome.of(part) for part in _PARTS] if isinstance(outcome, Comparison) else ["refused"] * 4
            known = ENTRIES[name].exceptions.get(run, "").partition(":")[0] or "same"
            if known != _kind(outcome):
                unexpected.append(f"{name}, {run}: {outcome}")
        print(f"| {name:32} | {' | '.join(cells)} |", flush=True)
    for name in args.names or ENTRIES:
        for run, reason in ENTRIES[name].exceptions.items():
            print(f"{name}, {run} {reason}")
    print(f"{len(args.names or ENTRIES)} entries, {len(unexpected)} unexpected results")
    print(*unexpected, sep="\n", file=sys.stderr)
    return 1 if unexpected else 0


def _outcome(name: str, run: str) -> Comparison | MexportError:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return RUNS[run](ENTRIES[name], Path(folder))
        except MexportError as error:
            return error


def _kind(outcome: Comparison | MexportError) -> str:
    if isinstance(outcome, MexportError):
        return "refused"
    return "same" if outcome.same else "differs"


if __name__ == "__main__":
    sys.exit(main())
