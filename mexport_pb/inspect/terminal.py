"""Text for people: tables that fit a terminal, colours only where they are wanted, nothing that moves a cursor."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

__all__ = ["Style", "percent", "printable", "table", "thousands"]

_BOLD, _DIM, _RED = "1", "2", "31"
_MIN_COLUMN: Final = 8
_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Style:
    """How text is made.

    Attributes:
        width: Columns of the terminal; None for lines of any length.
        color: Whether escape sequences are wanted.
    """

    width: int | None = None
    color: bool = False

    @classmethod
    def of(cls, stream: TextIO | None) -> Style:
        """For what will be written to a stream: plain unless it is a terminal; no colours with NO_COLOR."""
        if stream is None or not stream.isatty():
            return cls()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return cls(shutil.get_terminal_size().columns, not plain)

    def title(self, text: str) -> str:
        """A heading."""
        return self._paint(text, _BOLD)

    def faint(self, text: str) -> str:
        """What matters less."""
        return self._paint(text, _DIM)

    def bad(self, text: str) -> str:
        """What is wrong."""
        return self._paint(text, _RED)

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text


def printable(text: str) -> str:
    """Text from outside without what a terminal would obey: escapes in place of control characters and surrogates."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def thousands(number: int) -> str:
    """``1,234``."""
    return f"{number:,}"


def percent(part: int, whole: int) -> str:
    """``12.3%``; empty where there is no whole."""
    if not whole:
        return ""
    return "<0.1%" if 0 < part / whole < 0.0005 else f"{part / whole:.1%}"


def table(
    rows: Sequence[Sequence[str]], style: Style, *, right: Sequence[int] = (), indent: int = 2, head: bool = True
) -> Iterator[str]:
    """Lines of columns.

    Args:
        rows: Cells without control characters; the first row is the head.
        style: Its width is kept by cutting the widest columns.
        right: Columns that are aligned to the right.
        indent: Spaces before each line.
        head: Whether the first row is a head.
    """
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    if style.width is not None:
        spare = style.width - indent - len(_GAP) * (len(widths) - 1)
        cap = max(_MIN_COLUMN, min(max(widths), spare))
        while cap > _MIN_COLUMN and sum(min(width, cap) for width in widths) > spare:
            cap -= 1
        widths = [min(width, cap) for width in widths]
    for number, row in enumerate(rows):
        cells = [_fit(cell, width, i in right) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        line = _GAP.join(cells).rstrip()
        yield " " * indent + (style.faint(line) if number == 0 and head else line)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(_columns(one) for one in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fit(text: str, width: int, right: bool) -> str:
    if _width(text) > width:
        kept, used = "", 0
        for one in text:
            used += _columns(one)
            if used > width - 1:
                break
            kept += one
        text = f"{kept}…"
    pad = " " * (width - _width(text))
    return pad + text if right else text + pad
