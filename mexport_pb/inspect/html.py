"""Facts as one page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import Final

from mexport_pb.inspect.facts import GraphFacts, Histogram, ModelFacts, SizePart, TableFacts
from mexport_pb.inspect.plots import Bar, bar_plot, merged_bars, stacked_bar
from mexport_pb.inspect.terminal import percent, printable, thousands
from mexport_pb.inspect.text import shape_text, time_text

__all__ = ["html_page", "write_page"]

_MAX_BARS: Final = 64
_OPEN_ROWS: Final = 30  # longer tables are folded
_OPEN_OPS: Final = 15
_OPEN_TABLES: Final = 8
_MAX_ROWS: Final = 5000  # more than a browser shows well
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def write_page(path: str | os.PathLike[str], models: Sequence[ModelFacts]) -> None:
    """Write :func:`html_page` to a file, in place of one that may be there.

    Raises:
        OSError: It cannot be written.
    """
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(html_page(models))


def html_page(models: Sequence[ModelFacts]) -> Iterator[str]:
    """The page, in pieces: light or dark as the reader prefers, the same bytes for the same facts."""
    first = models[0]
    title = _text(os.path.basename(os.path.abspath(first.path)) if len(models) == 1 else os.path.dirname(first.path))
    style = resources.files("mexport_pb.inspect").joinpath("page.css").read_text(encoding="utf-8")
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    # Names come from files that anybody may have made: nothing is loaded or run, whatever they hold.
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="color-scheme" content="light dark"><title>{title}</title><style>{style}</style></head><body>\n'
    if len(models) > 1:
        yield f"<header><h1>{title}</h1>"
        links = "".join(f'<a href="#m{i}">{_text(model.name)}</a>' for i, model in enumerate(models))
        yield f"<nav>{links}</nav></header>\n"
    for number, model in enumerate(models):
        yield f'<main id="m{number}">'
        yield from _model(model)
        yield "</main>\n"
    yield "</body></html>\n"


def _text(text: str) -> str:
    return escape(printable(text))


def _size(size: int) -> str:
    """``27.3 KiB``."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return (
        f"{size} bytes"
        if unit == 0
        else f"{value:.3g} {_UNITS[unit]}"
        if value < 1000
        else f"{value:.0f} {_UNITS[unit]}"
    )


def _model(model: ModelFacts) -> Iterator[str]:
    name = model.name or os.path.basename(os.path.abspath(model.path))
    yield f'<div class="top"><h1>{_text(name)}</h1><p>{model.kind} <code>{_text(model.path)}</code></p></div>'
    if model.damages:
        items = "".join(
            f"<li>{_text(damage.message)}<br><code>{_text(damage.where)}</code></li>" for damage in model.damages
        )
        yield f'<section class="damage"><h2>Damage</h2><ul>{items}</ul></section>'
    yield _tiles(model)
    yield "<section><h2>Size by part</h2>"
    yield stacked_bar(_groups(model.sizes), "size by part")
    yield from _sizes(model.sizes)
    yield "</section>"
    for graph in model.graphs:
        yield from _graph(graph)
    if len(model.tables) > 1:
        yield from _tables(model.tables)
    for table in model.tables:
        yield from _table_section(table, opened=len(model.tables) <= _OPEN_TABLES)
    if model.variables:
        checked = "compared" if model.variables_checked else "not compared"
        yield f"<section><h2>Variables</h2><p>checksums {checked}</p>"
        rows = [
            [
                _text(one.name),
                one.dtype,
                shape_text(one.shape),
                thousands(one.bytes),
                "-" if one.crc32c is None else f"{one.crc32c:08x}",
                str(one.parts),
            ]
            for one in model.variables
        ]
        yield from _table(["variable", "dtype", "shape", "bytes", "crc32c", "parts"], rows, {3, 5})
        yield "</section>"
    if model.assets:
        yield "<section><h2>Assets</h2>"
        rows = [
            [_text(a.name), "-" if a.bytes is None else thousands(a.bytes), ", ".join(map(_text, a.tensors)) or "-"]
            for a in model.assets
        ]
        yield from _table(["file", "bytes", "fed to"], rows, {1})
        yield "</section>"
    if model.warmup is not None:
        yield "<section><h2>Warmup</h2>"
        counts = [("kind", model.warmup.kinds), ("signature", model.warmup.signatures), ("model", model.warmup.models)]
        rows = [[what, _text(key) or "(default)", thousands(n)] for what, by_key in counts for key, n in by_key.items()]
        yield from _table(["", "", "requests"], rows, {2})
        yield "</section>"


def _tiles(model: ModelFacts) -> str:
    nodes = sum(graph.nodes for graph in model.graphs)
    signatures = sum(len(graph.signatures) for graph in model.graphs)
    rows = sum(table.info.rows for table in model.tables)
    tiles = [
        (_size(model.sizes.bytes), "on disk"),
        (thousands(signatures), "signatures"),
        (thousands(nodes), "nodes"),
        (thousands(len(model.variables)), "variables"),
        (thousands(len(model.tables)), "tables"),
        (thousands(rows), "rows"),
        (thousands(model.warmup.records) if model.warmup else "0", "warmup requests"),
    ]
    items = "".join(f"<div><b>{value}</b>{what}</div>" for value, what in tiles if value != "0")
    return f'<div class="tiles">{items}</div>'


def _groups(whole: SizePart) -> list[tuple[str, int]]:
    """The parts of the parts, as far as there are any: the first two levels say little of a model of tables."""
    found: list[tuple[str, int]] = []
    for part in whole.parts:
        if part.name.endswith("/") or len(whole.parts) == 1:
            found += [(one.name, one.bytes) for one in part.parts] or [(part.name, part.bytes)]
        else:
            found.append((part.name, part.bytes))
    return found or [(whole.name, whole.bytes)]


def _sizes(whole: SizePart) -> Iterator[str]:
    yield '<div class="sizes">'
    yield from _size_part(whole, whole.bytes, opened=True)
    yield "</div>"


def _size_part(part: SizePart, whole: int, *, opened: bool) -> Iterator[str]:
    share = part.bytes / whole if whole else 0.0
    line = (
        f'<span class="what">{_text(part.name) or "all"}</span>'
        f"{_meter(share)}"
        f'<span class="num">{thousands(part.bytes)}</span><span class="num">{escape(percent(part.bytes, whole))}</span>'
    )
    if not part.parts:
        yield f'<div class="leaf">{line}</div>'
        return
    yield f"<details{' open' if opened else ''}><summary>{line}</summary>"
    ordered = sorted(part.parts, key=lambda one: (-one.bytes, one.name))
    for one in ordered[:_MAX_ROWS]:
        yield from _size_part(one, whole, opened=opened and one.name.endswith("/"))
    if left := ordered[_MAX_ROWS:]:
        size = sum(one.bytes for one in left)
        yield f'<div class="leaf">and {thousands(len(left))} more, {thousands(size)} bytes</div>'
    yield "</details>"


def _meter(share: float) -> str:
    return f'<span class="meter"><i style="width:{share:.2%}"></i></span>'


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: set[int], *, most: int = _OPEN_ROWS
) -> Iterator[str]:
    """Cells are HTML already; of more rows than `most` the table is folded."""
    folded = len(rows) > most
    if folded:
        yield f"<details><summary>{thousands(len(rows))} rows</summary>"
    yield '<div class="scroll"><table><thead>'
    yield _row("th", head, right)
    yield "</thead><tbody>"
    yield from (_row("td", row, right) for row in rows[:_MAX_ROWS])
    yield "</tbody></table></div>"
    if len(rows) > _MAX_ROWS:
        yield f"<p>and {thousands(len(rows) - _MAX_ROWS)} more</p>"
    if folded:
        yield "</details>"


def _row(tag: str, cells: Sequence[str], right: set[int]) -> str:
    inner = (f"<{tag}{' class=num' if i in right else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
    return f"<tr>{''.join(inner)}</tr>"


def _graph(graph: GraphFacts) -> Iterator[str]:
    yield f"<section><h2>Signatures <small>{_text(', '.join(graph.tags))}</small></h2>"
    rows = []
    for signature in graph.signatures:
        first = [f"<b>{_text(signature.name)}</b><br><small>{_text(signature.method)}</small>"]
        for side, tensors in (("in", signature.inputs), ("out", signature.outputs)):
            for tensor in tensors:
                shape = shape_text(tensor.shape)
                rows.append(
                    [
                        *(first or [""]),
                        side,
                        _text(tensor.key),
                        tensor.dtype,
                        shape,
                        f"<code>{_text(tensor.name)}</code>",
                    ]
                )
                first = []
        if first:
            rows.append([*first, "", "", "", "", ""])
    yield from _table(["signature", "", "key", "dtype", "shape", "tensor"], rows, set())
    within = sum(function.nodes for function in graph.functions)
    yield f"</section><section><h2>Graph <small>{_text(', '.join(graph.tags))}</small></h2><dl>"
    facts = [
        ("TensorFlow", _text(graph.tensorflow_version)),
        ("nodes", thousands(graph.nodes) + (f", and {thousands(within)} in functions" if within else "")),
        ("main op", _text(graph.main_op or "")),
        ("restore op", _text(graph.saver or "")),
        ("devices", ", ".join(f"{_text(name) or 'none'} {thousands(n)}" for name, n in graph.devices.items())),
        ("custom ops", ", ".join(f"{_text(name)} {thousands(n)}" for name, n in graph.custom_ops.items())),
        ("objects", f"{thousands(graph.objects.nodes)}" if graph.objects else ""),
        (
            "classes",
            ", ".join(f"{_text(name)} {n}" for name, n in graph.objects.identifiers.items()) if graph.objects else "",
        ),
    ]
    yield "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts if value)
    yield "</dl><h3>Operations</h3>"
    most = max(graph.ops.values(), default=1)
    counts = [[_text(op), _meter(n / most), thousands(n)] for op, n in graph.ops.items()]
    yield from _table(["op", "", "nodes"], counts, {2}, most=_OPEN_OPS)
    if graph.functions:
        yield "<h3>Functions</h3>"
        listed = [[_text(f.name), thousands(f.nodes), str(f.inputs), str(f.outputs)] for f in graph.functions]
        yield from _table(["function", "nodes", "inputs", "outputs"], listed, {1, 2, 3})
    yield "</section>"


def _tables(tables: Sequence[TableFacts]) -> Iterator[str]:
    yield "<section><h2>Tables</h2>"
    rows = [
        [
            _text(one.title),
            *(thousands(one.info.rows), str(one.info.dim), thousands(one.bytes), thousands(len(one.info.slots))),
            *(f"{one.info.optimizer_share:.1%}", time_text(one.info.newest)),
        ]
        for one in tables
    ]
    yield from _table(["table", "rows", "dim", "bytes", "slots", "state", "newest"], rows, {1, 2, 3, 4, 5})
    yield "</section>"


def _table_section(facts: TableFacts, *, opened: bool) -> Iterator[str]:
    """A table; where there are many they are closed."""
    info = facts.info
    title = f"<h2>Table {_text(facts.title)}</h2>"
    yield f'<section class="table"><details{" open" if opened else ""}><summary>{title}</summary><dl>'
    optimizers = ", ".join(
        f"{one.optimizer} ({', '.join(f'{key} {width}' for key, width in one.fields.items()) or 'no state'})"
        for one in info.segments
    )
    pairs = [
        ("rows", thousands(info.rows)),
        ("dim", str(info.dim)),
        ("files", f"{len(info.shards)}, {info.compression or 'not compressed'}"),
        ("ids", f"{info.min_unsigned_id} to {info.max_unsigned_id}" if info.rows else ""),
        ("ids twice", thousands(info.duplicates)),
        ("timestamps", f"{time_text(info.oldest)} to {time_text(info.newest)}" if info.rows else ""),
        ("without a timestamp", thousands(facts.undated) if facts.undated else ""),
        (
            "norms",
            ""
            if facts.min_norm is None
            else f"{facts.min_norm:.4g} to {facts.max_norm:.4g}, mean {facts.mean_norm:.4g}",
        ),
        ("rows of zeros", thousands(facts.zero_rows)),
        ("rows not finite", thousands(facts.bad_rows)),
        ("optimizers", _text(optimizers)),
        ("optimizer's share", f"{info.optimizer_share:.1%} of the columns"),
    ]
    yield "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in pairs if value)
    yield "</dl>"
    if facts.parts:
        yield "<h3>Bytes of a record</h3>"
        yield stacked_bar(list(facts.parts.items()), "bytes by part of a record")
    yield '<div class="plots">'
    yield _figure("Rows by slot", _slot_plot(info.slots))
    yield _figure("Embedding norms", _norm_plot(facts.norms))
    yield _figure("Timestamps, by rows", _time_plot(facts.times))
    yield "</div></details></section>"


def _figure(title: str, plot: str) -> str:
    return f"<figure><figcaption>{title}</figcaption>{plot}</figure>" if plot else ""


def _slot_plot(slots: dict[int, int]) -> str:
    if not slots:
        return ""
    largest = sorted(slots.items(), key=lambda item: (-item[1], item[0]))[:_MAX_BARS]
    bars = [Bar(str(slot), count, f"slot {slot}: {count:,}") for slot, count in sorted(largest)]
    more = f"<p>the {_MAX_BARS} largest of {len(slots)}</p>" if len(slots) > _MAX_BARS else ""
    return bar_plot(bars, "rows by slot") + more


def _norm_plot(norms: Histogram) -> str:
    if not norms.counts:
        return ""
    edges = norms.edges
    bars = merged_bars(
        norms.counts, _MAX_BARS, lambda i: f"{edges[i]:.2g}", lambda i, j: f"{edges[i]:.4g} to {edges[j]:.4g}"
    )
    return bar_plot(bars, "rows by the norm of their embedding")


def _time_plot(times: Histogram) -> str:
    if not times.counts:
        return ""
    edges = times.edges
    days = edges[-1] - edges[0] > 3 * 86400
    bars = merged_bars(
        times.counts,
        _MAX_BARS,
        lambda i: time_text(edges[i])[:10] if days else time_text(edges[i])[5:16],
        lambda i, j: f"{time_text(edges[i])} to {time_text(edges[j])}",
    )
    return bar_plot(bars, "rows by timestamp")
