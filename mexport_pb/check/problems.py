"""What a check finds, and where it is collected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

__all__ = ["MAX_PROBLEMS", "Problem", "Report", "Severity", "quote"]

MAX_PROBLEMS: Final = 1000
"""A check ends at this many problems: enough to see what is wrong, and a hostile graph has millions."""

_MAX_QUOTED: Final = 200

Severity = Literal["error", "warning"]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a message.

    Attributes:
        severity: "error" or "warning", see :mod:`mexport_pb.check`.
        where: The part of the message, e.g. ``signature 'serving_default' input 'x'``.
        message: What is wrong with it.
    """

    severity: Severity
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"


def quote(text: str) -> str:
    """The text as a literal, cut where it is too long to print."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…")


class _EnoughError(Exception):
    """The report is full."""


class Report:
    """Collects problems, up to :data:`MAX_PROBLEMS`."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._prefix = ""

    def error(self, where: str, message: str) -> None:
        """Add an error."""
        self._add("error", where, message)

    def warn(self, where: str, message: str) -> None:
        """Add a warning."""
        self._add("warning", where, message)

    @contextmanager
    def until_full(self) -> Iterator[None]:
        """Leave the block at the problem that fills the report."""
        with suppress(_EnoughError):
            yield

    @contextmanager
    def within(self, prefix: str) -> Iterator[None]:
        """Put `prefix` before where problems of the block are."""
        self._prefix = prefix
        yield
        self._prefix = ""

    def _add(self, severity: Severity, where: str, message: str) -> None:
        self.problems.append(Problem(severity, self._prefix + where, message))
        if len(self.problems) == MAX_PROBLEMS:
            raise _EnoughError
