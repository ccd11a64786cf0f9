"""Are two exports the same, file by file and byte by byte?"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from mexport_pb._proto.saved_model_pb2 import SavedModel
from mexport_pb.messages import to_text

__all__ = ["Comparison", "FileResult", "compare_trees", "tree"]

_LINES = 40


@dataclass(frozen=True)
class FileResult:
    """One path in either export.

    Attributes:
        path: Relative to the export; folders end with "/".
        same: Whether both have it with the same bytes.
        difference: What differs, for a reader.
    """

    path: str
    same: bool
    difference: str = ""


@dataclass(frozen=True)
class Comparison:
    """All paths of two exports."""

    files: tuple[FileResult, ...]

    @property
    def same(self) -> bool:
        """True if no byte differs and no path is missing."""
        return all(file.same for file in self.files)

    def __str__(self) -> str:
        return "\n".join(f"{file.path}: {file.difference}" for file in self.files if not file.same) or "the same"

    def of(self, part: str) -> str:
        """yes, no, or "-" where neither export has such a file.

        Args:
            part: "saved_model.pb", "index", "data", or "assets" for the rest.
        """
        found = [file.same for file in self.files if _part(file.path) == part]
        return "-" if not found else "yes" if all(found) else "NO"


def _part(path: str) -> str:
    if path.startswith("variables/variables.data-"):
        return "data"
    return {"saved_model.pb": "saved_model.pb", "variables/variables.index": "index"}.get(path, "tree")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Contents by relative path; folders end with "/" and have none."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[f"{name}/"] = None
        else:
            found[name] = path.read_bytes()
    return found


def compare_trees(want: Path, got: Path) -> Comparison:
    """Compares an export with the one that it should equal."""
    wanted, gotten = tree(want), tree(got)
    results = []
    for path in sorted(wanted.keys() | gotten.keys()):
        if path not in gotten:
            results.append(FileResult(path, False, "is missing"))
        elif path not in wanted:
            results.append(FileResult(path, False, "should not be there"))
        else:
            same = wanted[path] == gotten[path]
            results.append(FileResult(path, same, "" if same else _describe(path, wanted[path], gotten[path])))
    return Comparison(tuple(results))


def _describe(path: str, want: bytes | None, got: bytes | None) -> str:
    assert want is not None
    assert got is not None
    if path.endswith(".pb"):
        texts = [to_text(SavedModel.FromString(data)).splitlines() for data in (want, got)]
        if texts[0] != texts[1]:
            lines = list(difflib.unified_diff(*texts, "want", "got", lineterm="", n=8))
            more = [f"… {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
            return "\n".join(["the messages differ", *lines[:_LINES], *more])
        return "equal messages, other bytes"
    at = next((i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), min(len(want), len(got)))
    return (
        f"got {len(got)} bytes, want {len(want)}; from offset {at} on "
        f"got {got[at : at + 16].hex(' ')}, want {want[at : at + 16].hex(' ')}"
    )
