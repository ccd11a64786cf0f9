"""Which export is running, for code that builds graphs and asks."""

from __future__ import annotations

import enum
from contextvars import ContextVar, Token

__all__ = [
    "ExportMode",
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
