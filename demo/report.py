"""Runs the demo's steps, each in a process of its own so that its time and memory are its own, and prints tables."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from demo.measure import measure

__all__ = ["child", "print_differences", "print_tree", "say", "size"]


def child(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module and return what it reports; what else it says is shown only if it fails."""
    with tempfile.TemporaryFile("w+") as log:
        cost, output = measure([sys.executable, "-m", module, *map(str, arguments)], stderr=log)
        if cost.exit_code != 0:
            log.seek(0)
            sys.exit(f"{log.read()}\n{module} failed with exit status {cost.exit_code}")
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return {**report, "wall_seconds": cost.wall_seconds}


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


def print_differences(differences: Mapping[str, Mapping[str, float]], ways: Iterable[str]) -> float:
    """Print differences by reader and way; returns the largest."""
    ways = list(ways)
    print(f"  {'':28}" + "".join(f"{way:>10}" for way in ways))
    for reader, of_reader in differences.items():
        print(f"  {reader:28}" + "".join(f"{of_reader[way]:10.1e}" for way in ways))
    return max(value for of_reader in differences.values() for value in of_reader.values())


def print_tree(root: Path) -> None:
    """Print the files below a folder with their sizes."""
    print(f"  {root}")
    for path in sorted(root.rglob("*")):
        indent = "  " * (len(path.relative_to(root).parts) + 1)
        print(f"{indent}{path.name}/" if path.is_dir() else f"{indent}{path.name}  {path.stat().st_size} bytes")


def size(paths: Iterable[Path]) -> int:
    """The bytes of some files."""
    return sum(path.stat().st_size for path in paths)
