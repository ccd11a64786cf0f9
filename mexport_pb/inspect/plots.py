"""Plots as inline SVG. Colours are the page's, by class; every bar says what it is when it is pointed at."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mexport_pb.inspect.terminal import percent, printable

__all__ = ["Bar", "bar_plot", "merged_bars", "stacked_bar"]

_WIDTH: Final = 640
_HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 10, 26
_TICKS: Final = 4
_LABELS: Final = 6
_LETTER: Final = 6.2
_COLORS: Final = 8
_MIN_SHARE: Final = 0.004


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what is below it, how high it is, what it says when it is pointed at."""

    label: str
    value: int
    title: str


def bar_plot(bars: Sequence[Bar], name: str) -> str:
    """Bars side by side over a common scale.

    Args:
        bars: From left to right.
        name: What the plot shows, for those who cannot see it.
    """
    top = _round_up(max((bar.value for bar in bars), default=0))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = width / max(1, len(bars))
    # Few bars are not made as broad as the page.
    thick = min(step * 0.86, 48.0)
    pieces = [_open(name, _HEIGHT)]
    for tick in range(_TICKS + 1):
        y = _TOP + height * (1 - tick / _TICKS)
        pieces.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        pieces.append(_tick(_LEFT - 6, y + 3.5, "end", _short(top * tick / _TICKS)))
    every = max(1, math.ceil(len(bars) / _LABELS), math.ceil(_longest(bars) * _LETTER / step))
    for number, bar in enumerate(bars):
        x = _LEFT + step * (number + 0.5)
        tall = 0.0 if top == 0 else height * bar.value / top
        if bar.value:
            tall = max(tall, 1.0)  # what is there is seen
            pieces.append(
                f'<rect class="bar" x="{x - thick / 2:.2f}" y="{_TOP + height - tall:.2f}" width="{thick:.2f}" '
                f'height="{tall:.2f}"><title>{html.escape(bar.title)}</title></rect>'
            )
        if number % every == 0:
            pieces.append(_tick(x, _HEIGHT - 8, "middle", bar.label))
    return "".join([*pieces, "</svg>"])


def stacked_bar(parts: Sequence[tuple[str, int]], name: str) -> str:
    """One bar of parts, with a legend; small parts are one."""
    whole = sum(size for _, size in parts)
    if not whole:
        return ""
    ordered = sorted(((n, s) for n, s in parts if s), key=lambda item: -item[1])
    large = [item for item in ordered if item[1] / whole >= _MIN_SHARE][: _COLORS - 1]
    rest = whole - sum(size for _, size in large)
    shown = [*large, *([("everything else", rest)] if rest else [])]
    height = 34
    pieces = [_open(name, height)]
    x = 0.0
    legend = []
    for number, (part, size) in enumerate(shown):
        wide = _WIDTH * size / whole
        label = html.escape(printable(part))
        text = f"{label}: {size:,} bytes, {size / whole:.1%}"
        color = f"c{number}" if number < len(large) else "rest"
        pieces.append(
            f'<rect class="{color}" x="{x:.2f}" y="0" width="{max(wide - 1, 0.5):.2f}" height="{height}">'
            f"<title>{text}</title></rect>"
        )
        legend.append(f'<li><i class="{color}"></i>{label} <b>{html.escape(percent(size, whole))}</b></li>')
        x += wide
    return "".join([*pieces, "</svg>", '<ul class="legend">', *legend, "</ul>"])


def merged_bars(
    counts: Sequence[int], most: int, label: Callable[[int], str], title: Callable[[int, int], str]
) -> list[Bar]:
    """Bars of counts, of which neighbours are put together until there are no more than `most`.

    Args:
        counts: Of intervals in a row.
        most: How many bars there may be.
        label: Of a bar that begins with this interval.
        title: Of a bar from this interval up to that one, without its number.
    """
    group = max(1, math.ceil(len(counts) / most))
    bars = []
    for begin in range(0, len(counts), group):
        end = min(begin + group, len(counts))
        value = sum(counts[begin:end])
        bars.append(Bar(label(begin), value, f"{title(begin, end)}: {value:,}"))
    return bars


def _tick(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _open(name: str, height: int) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(name)}">'


def _longest(bars: Sequence[Bar]) -> int:
    return max((len(bar.label) for bar in bars), default=0)


def _round_up(value: int) -> float:
    """The next number that divides well."""
    if value <= _TICKS:
        return float(_TICKS)
    power = 10.0 ** math.floor(math.log10(value))
    return next(float(power * step) for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if power * step >= value)


def _short(value: float) -> str:
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"
