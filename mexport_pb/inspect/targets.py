"""What a user's path means: a SavedModel, a folder of versions, a bundle, or tables."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, Literal

from mexport_pb.errors import InvalidArgumentError, SavedModelError
from mexport_pb.messages.constants import SAVED_MODEL_CPB, SAVED_MODEL_PB, SAVED_MODEL_PBTXT
from mexport_pb.table.locate import find_tables

__all__ = ["Target", "find_targets"]

_MODEL_FILES: Final = (SAVED_MODEL_PB, SAVED_MODEL_PBTXT, SAVED_MODEL_CPB)
_MODEL_SUFFIXES: Final = (".pb", ".pbtxt", ".cpb")
_ENTRY: Final = "entry"
_INDEX: Final = ".index"
_SHARD: Final = re.compile("-[0-9]{5}-of-[0-9]{5}$")


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to look at.

    Attributes:
        kind: What it is.
        path: The directory or file of a SavedModel, the prefix of a bundle, or the basename or folder of tables.
        name: The sub-model of a distributed export, else empty.
    """

    kind: Literal["SavedModel", "bundle", "tables"]
    path: str
    name: str = ""


def find_targets(path: str, version: int | None = None) -> list[Target]:
    """Find what is meant.

    Args:
        path: The directory of a SavedModel, or its file; a folder of versions, of which the newest counts; the base of
            a distributed export, in which ``entry`` is such a folder, and others are its sub-models; the prefix of a
            bundle or its index; a folder of bundles; what :func:`mexport_pb.table_infos` takes.
        version: Which version, for folders of versions.

    Raises:
        FileNotFoundError: There is nothing of that name.
        InvalidArgumentError: A version is named, and the path is no folder of versions.
        SavedModelError: There is nothing in the folder that can be shown.
        TableError: A set of files of tables is incomplete.
    """
    if versions := _versions(path):
        return [Target("SavedModel", os.path.join(path, str(_chosen(path, versions, version))))]
    if not _is_model(path) and _versions(os.path.join(path, _ENTRY)):
        return _of_entry(path, version)
    if version is not None:
        raise InvalidArgumentError(f"{path}: is no folder of versions, and version {version} was asked for")
    if os.path.isdir(path):
        return _in_folder(path)
    if path.endswith(_MODEL_SUFFIXES) and os.path.exists(path):
        return [Target("SavedModel", path)]
    for prefix in (path.removesuffix(_INDEX), path):
        if os.path.isfile(prefix + _INDEX):
            return [Target("bundle", prefix)]
    if os.path.exists(path) or os.path.isdir(os.path.dirname(path) or "."):
        return [Target("tables", files.name) for files in find_tables([path])]
    raise FileNotFoundError(f"no SavedModel, bundle or table dump {path}")


def _is_model(path: str) -> bool:
    return any(os.path.lexists(os.path.join(path, name)) for name in _MODEL_FILES)


def _names(path: str) -> list[str]:
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def _versions(path: str) -> list[int]:
    """The numbers of complete versions, the newest last."""
    if _is_model(path):
        return []
    numbers = [name for name in _names(path) if name.isascii() and name.isdecimal() and len(name) < 20]
    return sorted(int(name) for name in numbers if _is_model(os.path.join(path, name)))


def _of_entry(path: str, version: int | None) -> list[Target]:
    """The sub-models of a version of a distributed export: the entry first, then the others by name and number."""
    # An entry is published after the others, so its newest version is complete.
    chosen = _chosen(path, _versions(os.path.join(path, _ENTRY)), version)
    found = []
    for name in sorted(_names(path), key=lambda name: (name != _ENTRY, _natural(name))):
        # A sub-model may have a suffix of its own behind the version.
        for folder in _names(os.path.join(path, name)):
            full = os.path.join(path, name, folder)
            if folder.partition("_")[0] == str(chosen) and _is_model(full):
                found.append(Target("SavedModel", full, name))
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Text and numbers in turn, so that ps_2 comes before ps_10."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split("([0-9]+)", name)]


def _chosen(path: str, versions: list[int], version: int | None) -> int:
    if version is not None and version not in versions:
        raise InvalidArgumentError(f"{path}: no version {version}; there are: {', '.join(map(str, versions))}")
    return versions[-1] if version is None else version


def _in_folder(path: str) -> list[Target]:
    if _is_model(path):
        return [Target("SavedModel", path)]
    names = _names(path)
    bundles = [os.path.join(path, name.removesuffix(_INDEX)) for name in names if name.endswith(_INDEX)]
    if bundles:
        return [Target("bundle", prefix) for prefix in bundles]
    if any(_SHARD.search(name) for name in names):
        return [Target("tables", files.name) for files in find_tables([path])]
    raise SavedModelError("no SavedModel, version, bundle or table dump in this folder", path=path)
