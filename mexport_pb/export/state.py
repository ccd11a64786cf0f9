"""Which versions a training job has exported, and of which checkpoints; versions go when their checkpoint goes.

The books of a folder of versions are the text file ``ExportSaverListenerState`` in it (docs/formats/export_state.md).
They never lose a directory: a new one is written down before an old one is looked at, and an old one is crossed out
when its name is gone for good. A crash leaves at most an entry without a directory, which the next look drops, or a
directory with a name that no server takes for a version, which the next export removes.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from mexport_pb._proto.serving_state_pb2 import ServingEntry, ServingModelState
from mexport_pb.errors import DataError, InvalidArgumentError
from mexport_pb.export.publish import is_staging_name, withdraw_directories
from mexport_pb.table.shards import locked_folder
from mexport_pb.table.staged_file import staged_file

__all__ = [
    "STATE_FILENAME",
    "get_global_step",
    "prune_exports",
    "read_export_state",
    "record_export",
    "record_exports",
    "write_export_state",
]

STATE_FILENAME: Final = "ExportSaverListenerState"

_ENTRY_FOLDER = "entry"
_CHECKPOINT = re.compile(r".*model\.ckpt-([0-9]+)", re.DOTALL)

_log = logging.getLogger(__name__)


def get_global_step(checkpoint_path: str | os.PathLike[str]) -> int:
    """The step that the name of a checkpoint ends with, ``…/model.ckpt-<step>``. Space around it does not count.

    Raises:
        InvalidArgumentError: The path is another one.
    """
    path = os.fspath(checkpoint_path)
    match = _CHECKPOINT.fullmatch(path.strip())
    if match is None:
        raise InvalidArgumentError(f"got checkpoint {path!r}, want one that ends in model.ckpt-<step>")
    return int(match[1])


def read_export_state(folder: str | os.PathLike[str]) -> ServingModelState:
    """The books of a folder of versions; empty if there are none.

    Raises:
        DataError: The file is not a ServingModelState in protobuf text format.
        OSError: It cannot be read.
    """
    path = os.path.join(folder, STATE_FILENAME)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError("not a regular file", path=path)
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return ServingModelState()
    try:
        return text_format.Parse(text.decode("utf-8"), ServingModelState())
    except (text_format.ParseError, DecodeError, ValueError) as error:
        raise DataError(f"not a ServingModelState in text form: {error}", path=path) from error


def write_export_state(folder: str | os.PathLike[str], state: ServingModelState) -> None:
    """Replaces the books of a folder, which is made if needed: all of them or nothing, and durably.

    Raises:
        OSError: They cannot be written.
    """
    target = os.path.join(folder, STATE_FILENAME)
    with staged_file(target, force=True) as temporary, open(temporary, "x", encoding="utf-8") as file:
        file.write(text_format.MessageToString(state))


def record_export(export_dir: str | os.PathLike[str], global_step: int) -> None:
    """Enters a published version into the books of its folder. An older entry of the directory goes.

    Raises:
        InvalidArgumentError: The path is no text, so that no ServingEntry can hold it, or the step no int64.
        DataError: The books are damaged; they are left as they are.
        OSError: They cannot be read or written.
    """
    path = os.path.abspath(export_dir)
    try:
        entry = ServingEntry(export_dir=path, global_step=global_step)
        entry.export_dir.encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{path!r}, step {global_step!r}: cannot go into the state: {error}") from None
    folder = os.path.dirname(path)
    with locked_folder(folder):
        state = read_export_state(folder)
        others = [other for other in state.entries if other.export_dir != path]
        write_export_state(folder, ServingModelState(entries=[*others, entry]))


def prune_exports(folder: str | os.PathLike[str], keep_steps: Collection[int]) -> list[str]:
    """Removes the versions in the books of a folder whose step is not to be kept, and crosses them out.

    A server that polls the folder sees each of them whole or not at all. What the books say is not trusted: only a
    directory that is directly in this folder, no link and no export in the making, is ever removed. An entry of
    anything else stays.

    Args:
        folder: The folder of versions.
        keep_steps: The versions of these steps stay.

    Returns:
        The directories that are gone.

    Raises:
        DataError: The books are damaged. Nothing is removed.
        OSError: A directory cannot be removed, or the books not read or written.
    """
    folder = os.path.abspath(folder)
    with locked_folder(folder):
        state = read_export_state(folder)
        kept = [entry for entry in state.entries if entry.global_step in keep_steps]
        own = {_own_directory(folder, entry) for entry in kept}
        gone: dict[str, None] = {}
        for entry in state.entries:
            if entry.global_step in keep_steps:
                continue
            path = _own_directory(folder, entry)
            if path is None or not _is_removable(path):
                _log.warning("%s: its state names %r, which is not removed", folder, entry.export_dir)
                kept.append(entry)
            elif path not in own:
                gone[path] = None
        there = [path for path in gone if os.path.lexists(path)]
        for path in [path for path in gone if path not in there]:
            _log.warning("%s: was in the state, and was removed by somebody else", path)
        withdrawn = withdraw_directories(there)
        if len(kept) < len(state.entries):
            write_export_state(folder, ServingModelState(entries=kept))
    for path, leftover in zip(there, withdrawn, strict=True):
        shutil.rmtree(leftover, onerror=_unless_gone)
        _log.info("removed %s, whose checkpoint is gone", path)
    return there


def record_exports(
    export_dirs: Iterable[str], global_step: int, keep_steps: Callable[[str], Collection[int]] | None = None
) -> list[str]:
    """Enters the directories of one export into the books, then removes what is not to be kept from their folders.

    The entry of a distributed version comes first in both: it may not outlive a sub-model that it calls.

    Args:
        export_dirs: What was published.
        global_step: The step of their checkpoint; its versions stay.
        keep_steps: The other steps whose versions stay, by folder. None removes nothing.

    Returns:
        The directories that were removed.

    Raises:
        MexportError, OSError: as :func:`record_export` and :func:`prune_exports`.
    """
    ordered = sorted(map(os.path.abspath, export_dirs), key=_entry_first)
    for path in ordered:
        record_export(path, global_step)
        _log.info("exported step %d to %s", global_step, path)
    removed: list[str] = []
    if keep_steps is None:
        return removed
    for folder in dict.fromkeys(map(os.path.dirname, ordered)):
        removed += prune_exports(folder, {*keep_steps(folder), global_step})
    return removed


def _entry_first(path: str) -> tuple[bool, str]:
    return os.path.basename(os.path.dirname(path)) != _ENTRY_FOLDER, path


def _own_directory(folder: str, entry: ServingEntry) -> str | None:
    """The path of an entry's directory, if it is directly in the folder."""
    if not entry.export_dir or "\0" in entry.export_dir:
        return None
    parent, name = os.path.split(os.path.abspath(entry.export_dir))
    # A folder may be known by another path to who wrote the books.
    if not name or (parent != folder and os.path.realpath(parent) != os.path.realpath(folder)):
        return None
    return os.path.join(folder, name)


def _is_removable(path: str) -> bool:
    """Is it a directory that somebody published, or nothing any more?"""
    if is_staging_name(os.path.basename(path)):
        return False
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True


def _unless_gone(function: Any, path: str, info: Any) -> None:
    """An exporter beside us may be removing the same leftover."""
    del function, path
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
