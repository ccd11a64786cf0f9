"""Which export is running, for code that builds graphs and asks."""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, Protocol

__all__ = [
    "ExportMode",
    "SubGraphs",
    "context_variable",
    "get_current_export_mode",
    "is_exporting",
    "is_exporting_distributed",
    "is_exporting_standalone",
    "reset_export_mode",
    "set_export_mode",
]


class ExportMode(enum.Enum):
    """Which export is running."""

    NONE = 0
    STANDALONE = 1
    DISTRIBUTED = 2


class _Source(Protocol):
    def as_default(self, graph: Any) -> AbstractContextManager[Any]: ...

    def current_graph(self) -> Any: ...


class SubGraphs(Protocol):
    """What code that spreads a model over sub-graphs needs of the context of an export.

    :class:`mexport_pb.ExportContext` is one; rooms below that of exporters see no more of it.
    """

    with_remote_gpu: bool
    num_ps: int | None

    @property
    def source(self) -> _Source:
        """Makes a graph the default one for the length of a block."""

    def sub_graph(self, name: str) -> Any:
        """The sub-graph of that name, made when first asked for."""

    def add_signature(self, graph: Any, name: str, inputs: Any, outputs: Any) -> None:
        """Gives a graph a signature."""

    def signatures(self, graph: Any) -> list[Any]:
        """The signatures of a graph."""


context_variable: ContextVar[SubGraphs | None] = ContextVar("mexport_context", default=None)
"""The context of the export that is running; only :func:`mexport_pb.enter_export_mode` sets it."""

_mode: ContextVar[ExportMode] = ContextVar("mexport_mode", default=ExportMode.NONE)


def set_export_mode(mode: ExportMode) -> Token[ExportMode]:
    """Sets the mode of this thread, and returns what :func:`reset_export_mode` takes to set it back."""
    return _mode.set(mode)


def reset_export_mode(token: Token[ExportMode]) -> None:
    """Sets the mode back to what it was."""
    _mode.reset(token)


def get_current_export_mode() -> ExportMode:
    """The mode of the export that is running, ``ExportMode.NONE`` if there is none."""
    return _mode.get()


def is_exporting() -> bool:
    """Whether an export is running."""
    return _mode.get() is not ExportMode.NONE


def is_exporting_standalone() -> bool:
    """Whether a standalone export is running."""
    return _mode.get() is ExportMode.STANDALONE


def is_exporting_distributed() -> bool:
    """Whether a distributed export is running."""
    return _mode.get() is ExportMode.DISTRIBUTED
