"""Which directories make up one version of an export.

::

    <base>/entry/<version>            a distributed export: what clients ask,
    <base>/ps_0/<version>, …          its parameter servers,
    <base>/dense_0/<version><suffix>  and its other parts
    <base>/<version>                  a standalone export
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.check.problems import Problem, Report, quote
from mexport_pb.check.remote_calls import RemoteCall, check_remote_calls, remote_calls
from mexport_pb.errors import SavedModelError
from mexport_pb.messages.constants import SAVED_MODEL_PB, SAVED_MODEL_PBTXT

__all__ = ["ENTRY", "ExportLayout", "find_distribution_problems", "find_export"]

ENTRY: Final = "entry"
"""The sub-model that clients ask."""

_DIGITS: Final = re.compile(r"[0-9]+\Z", re.ASCII)
_SUB_MODEL: Final = re.compile(r"(?:ps|dense)_[0-9]+\Z", re.ASCII)


@dataclass(frozen=True)
class ExportLayout:
    """One version of an export.

    Attributes:
        path: The folder that was asked for.
        version: Its number; None for a directory that is not named by one.
        entry: The name of the model that clients ask: "entry", or the folder's name of a standalone export.
        models: The directory of each model by its name, the entry's first.
        problems: What is missing.
    """

    path: Path
    version: int | None
    entry: str
    models: dict[str, Path]
    problems: list[Problem] = field(default_factory=list)

    @property
    def distributed(self) -> bool:
        """Whether there are sub-models, or should be."""
        return self.entry == ENTRY


def find_export(path: str | os.PathLike[str], version: int | None = None) -> ExportLayout:
    """Find the models of one version; none is read.

    Args:
        path: The base folder of a distributed export, that of a standalone one, or one version's directory.
        version: The version; by default the newest of the entry.

    Raises:
        FileNotFoundError: There is no such folder or version.
        SavedModelError: Nothing in it is an export.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    if _is_model(folder):
        number = int(folder.name) if _DIGITS.match(folder.name) else None
        if version is not None and version != number:
            raise FileNotFoundError(f"{folder}: is one version's directory: got version {version}, want its own")
        name = os.path.basename(os.path.dirname(os.path.abspath(folder))) or "model"
        name = "model" if name == ENTRY else name
        return ExportLayout(folder, number, name, {name: folder})
    entry = folder / ENTRY
    if entry.is_dir():
        return _distributed(folder, _choose(entry, version))
    chosen = _choose(folder, version)
    name = os.path.basename(os.path.abspath(folder)) or "model"
    return ExportLayout(folder, int(chosen.name), name, {name: chosen})


def find_distribution_problems(
    graphs: Mapping[str, MetaGraphDef | None],
    entry: str = ENTRY,
    *,
    version: int | None = None,
    model_name: str | None = None,
    strangers: bool = False,
) -> list[Problem]:
    """Whether the models of an export fit together: every call has a model, a signature, keys and dtypes that fit.

    Args:
        graphs: The graph of each model by its name; None for one of which nothing is known.
        entry: The one that clients ask.
        version: The version that is served.
        model_name: What the deployment puts before the sub-models: calls go to ``<model_name>:ps_0``; not checked when
            None.
        strangers: Whether others may serve models that are not here; calls of such are then warned of only.
    """
    report = Report()
    called: set[str] = set()
    with report.until_full():
        for name, graph in graphs.items():
            if graph is None:
                continue
            with report.within(f"{name}: "):
                check_remote_calls(graph, graphs, report, version=version, strangers=strangers)
                calls = remote_calls(graph)
                called |= {call.sub_model for call in calls}
                if model_name is not None:
                    _check_prefix(calls, model_name, report)
        for name in sorted(graphs.keys() - called - {entry}):
            report.warn(name, "nothing calls it")
    return report.problems


def _check_prefix(calls: list[RemoteCall], want: str, report: Report) -> None:
    for call in calls:
        if call.prefix != want:
            message = f"got the model {quote(call.model_name)}, want {quote(f'{want}:{call.sub_model}')}"
            report.error(f"remote call {quote(call.node)}", message)


def _distributed(base: Path, entry: Path) -> ExportLayout:
    models = {ENTRY: entry}
    problems: list[Problem] = []
    for folder in sorted(base.iterdir(), key=lambda f: _natural(f.name)):
        if folder.name == ENTRY or not folder.is_dir():
            continue
        names = [child.name for child in folder.iterdir() if child.is_dir() and child.name[:1].isdigit()]
        if not names and not _SUB_MODEL.match(folder.name):
            continue  # some other folder
        fitting = sorted(name for name in names if _has_version(name, entry.name))
        if not fitting:
            problems.append(Problem("error", folder.name, f"got versions {sorted(names)}, want {entry.name}"))
        elif len(fitting) > 1 and fitting[0] != entry.name:
            problems.append(Problem("error", folder.name, f"several are version {entry.name}: {fitting}"))
        else:
            models[folder.name] = folder / fitting[0]
    return ExportLayout(base, int(entry.name), ENTRY, models, problems)


def _choose(folder: Path, version: int | None) -> Path:
    found = {int(child.name): child for child in folder.iterdir() if _DIGITS.match(child.name) and _is_model(child)}
    if not found:
        raise SavedModelError("no version of a model in it", path=folder)
    if version is not None and version not in found:
        raise FileNotFoundError(f"{folder}: no version {version}, want one of {sorted(found)}")
    return found[max(found) if version is None else version]


def _has_version(name: str, version: str) -> bool:
    """Whether a directory is that version, with or without a suffix."""
    return name.startswith(version) and not name[len(version) : len(version) + 1].isdigit()


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (SAVED_MODEL_PB, SAVED_MODEL_PBTXT))


def _natural(name: str) -> tuple[str, int]:
    """``ps_10`` comes after ``ps_9``."""
    head, _, tail = name.rpartition("_")
    return (head, int(tail)) if _DIGITS.match(tail) else (name, -1)
