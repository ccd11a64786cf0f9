"""Facts as text for people."""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from mexport_pb.inspect.facts import (
    GraphFacts,
    GraphTableFacts,
    ModelFacts,
    SignatureFacts,
    SizePart,
    TableFacts,
    TensorFacts,
    VariableFacts,
    WarmupFacts,
)
from mexport_pb.inspect.terminal import Style, percent, printable, table, thousands

__all__ = ["shape_text", "text_lines", "time_text"]

# On a terminal, where nobody reads thousands of lines; elsewhere all are written.
_SHOWN_ROWS = 40
_SHOWN_COUNTS = 12
_SHOWN_PARTS = 8
_SHOWN_TABLES = 6
_MIN_ROOM = 20
_METHODS = "tensorflow/serving/"  # what the methods of all servable signatures begin with
_JOINT = "\u00a0"  # a space where no line ends


def text_lines(facts: ModelFacts, style: Style) -> Iterator[str]:
    """What there is to say, section by section."""
    name = f"{printable(facts.name)}: " if facts.name else ""
    size = f"{thousands(facts.sizes.bytes)} bytes"
    yield f"{style.title(f'{name}{facts.kind} {printable(facts.path)}')}  {style.faint(size)}"
    for graph in facts.graphs:
        yield from _graph(graph, style)
    if facts.variables:
        yield from _variables(facts.variables, facts.variables_checked, style)
    if len(facts.tables) > 1:
        yield from _tables(facts.tables, style)
    shown = facts.tables if style.width is None else facts.tables[:_SHOWN_TABLES]
    for one in shown:
        yield from _table(one, style)
    if len(shown) < len(facts.tables):
        yield style.faint(
            f"  and {thousands(len(facts.tables) - len(shown))} tables more, which a pipe or --json shows"
        )
    if facts.assets:
        yield from _assets(facts, style)
    if facts.warmup is not None:
        yield from _warmup(facts.warmup, style)
    yield from _title("Sizes", "bytes on disk", style)
    rows = [["bytes", "share", "what"]]
    rows += _sizes(facts.sizes, facts.sizes.bytes, 0, style)
    yield from table(rows, style, right=(0, 1))
    if facts.damages:
        yield from _title("Damage", f"{len(facts.damages)}", style)
        for damage in facts.damages:
            where = "" if damage.message.startswith(damage.where) else f"{printable(damage.where)}: "
            yield f"  {style.bad(where + printable(damage.message))}"


def shape_text(shape: Sequence[int | None] | None) -> str:
    """``[?, 4]``."""
    return "?" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def time_text(seconds: float | None) -> str:
    """A second of the clock in UTC; the number where no calendar has it."""
    if seconds is None:
        return "-"
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _title(text: str, note: str, style: Style) -> Iterator[str]:
    yield ""
    yield f"{style.title(text)}{'  ' + style.faint(note) if note else ''}"


def _limited(rows: list[list[str]], style: Style) -> tuple[list[list[str]], str | None]:
    """The head and as many rows as are shown, and a line about the rest."""
    more = len(rows) - 1 - _SHOWN_ROWS
    if style.width is None or more <= 0:
        return rows, None
    return rows[: 1 + _SHOWN_ROWS], f"  and {thousands(more)} more, which a pipe or --json shows"


def _listed(rows: list[list[str]], style: Style, right: Sequence[int] = ()) -> Iterator[str]:
    shown, more = _limited(rows, style)
    yield from table(shown, style, right=right)
    if more:
        yield style.faint(more)


def _counts(counts: Mapping[str, int], style: Style) -> str:
    items = [f"{printable(name) or 'none'}{_JOINT}{thousands(count)}" for name, count in counts.items()]
    if style.width is not None and len(items) > _SHOWN_COUNTS:
        items[_SHOWN_COUNTS:] = [f"and{_JOINT}{len(items) - _SHOWN_COUNTS}{_JOINT}more"]
    return ", ".join(items)


def _pairs(pairs: Sequence[tuple[str, str]], style: Style) -> Iterator[str]:
    width = max((len(key) for key, _ in pairs), default=0)
    for key, value in pairs:
        if not value:
            continue
        lines = [value]
        if style.width is not None:
            room = max(_MIN_ROOM, style.width - width - 4)
            lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
        lines = [line.replace(_JOINT, " ") for line in lines]
        yield f"  {style.faint(key.ljust(width))}  {lines[0]}"
        yield from (" " * (width + 4) + line for line in lines[1:])


def _graph(graph: GraphFacts, style: Style) -> Iterator[str]:
    version = f", TensorFlow {printable(graph.tensorflow_version)}" if graph.tensorflow_version else ""
    yield from _title("Graph", f"tags {', '.join(map(printable, graph.tags)) or 'none'}{version}", style)
    within = sum(function.nodes for function in graph.functions)
    objects = graph.objects
    size = "" if graph.constant_bytes is None else f", {thousands(graph.constant_bytes)} bytes"
    tables = [f"{printable(one.name)} ({_dims(one)}{', serving' if one.serving else ''})" for one in graph.tables]
    yield from _pairs(
        [
            ("nodes", f"{thousands(graph.nodes)}{f', and {thousands(within)} in functions' if within else ''}"),
            ("constants", f"{thousands(graph.constants)}{size}" if graph.constants else ""),
            ("ops", _counts(graph.ops, style)),
            ("custom ops", _counts(graph.custom_ops, style)),
            ("devices", _counts(graph.devices, style)),
            ("main op", printable(graph.main_op or "")),
            ("restore op", printable(graph.saver or "")),
            ("collections", _counts(graph.collections, style)),
            ("tables", ", ".join(tables)),
            ("objects", f"{objects.nodes}: {_counts(objects.kinds, style)}" if objects else ""),
            ("classes", _counts(objects.identifiers, style) if objects else ""),
        ],
        style,
    )
    if graph.signatures:
        yield from _signatures(graph.signatures, style)
    if graph.functions:
        yield from _title("Functions", thousands(len(graph.functions)), style)
        rows = [["function", "nodes", "inputs", "outputs"]]
        rows += [[printable(f.name), thousands(f.nodes), str(f.inputs), str(f.outputs)] for f in graph.functions]
        yield from _listed(rows, style, right=(1, 2, 3))


def _dims(facts: GraphTableFacts) -> str:
    """``dim 4``; of many tables with their names."""
    if list(facts.dims) == [facts.name]:
        return f"dim {facts.dims[facts.name]}"
    return ", ".join(f"{printable(name)} dim {dim}" for name, dim in facts.dims.items())


def _signatures(signatures: Sequence[SignatureFacts], style: Style) -> Iterator[str]:
    yield from _title("Signatures", thousands(len(signatures)), style)
    rows = [["signature", "", "key", "dtype", "shape", "tensor", "method"]]
    for signature in signatures:
        sides = [("in", tensor) for tensor in signature.inputs] + [("out", tensor) for tensor in signature.outputs]
        own = [["", side, *_tensor(tensor), ""] for side, tensor in sides] or [[""] * len(rows[0])]
        own[0][0], own[0][-1] = printable(signature.name), printable(signature.method.removeprefix(_METHODS)) or "-"
        rows += own
    yield from _listed(rows, style)


def _tensor(tensor: TensorFacts) -> list[str]:
    return [printable(tensor.key), tensor.dtype, shape_text(tensor.shape), printable(tensor.name)]


def _variables(variables: Sequence[VariableFacts], checked: bool, style: Style) -> Iterator[str]:
    size = sum(variable.bytes for variable in variables)
    note = "checksums compared" if checked else "checksums not compared"
    yield from _title("Variables", f"{thousands(len(variables))}, {thousands(size)} bytes, {note}", style)
    rows = [["variable", "dtype", "shape", "bytes", "crc32c", "data file"]]
    for one in variables:
        crc = "-" if one.crc32c is None else f"{one.crc32c:08x}"
        files = ",".join(map(str, one.shards)) + (f" in {one.parts} parts" if one.parts > 1 else "")
        rows.append([printable(one.name), one.dtype, shape_text(one.shape), thousands(one.bytes), crc, files])
    yield from _listed(rows, style, right=(3,))


def _tables(tables: Sequence[TableFacts], style: Style) -> Iterator[str]:
    total = sum(one.info.rows for one in tables)
    yield from _title("Tables", f"{thousands(len(tables))}, {thousands(total)} rows", style)
    rows = [["table", "rows", "dim", "bytes", "slots", "state", "newest"]]
    for one in tables:
        info = one.info
        rows.append(
            [
                printable(one.title),
                *(thousands(info.rows), str(info.dim), thousands(one.bytes), thousands(len(info.slots))),
                *(f"{info.optimizer_share:.1%}", time_text(info.newest)),
            ]
        )
    yield from _listed(rows, style, right=(1, 2, 3, 4, 5))


def _table(facts: TableFacts, style: Style) -> Iterator[str]:
    info = facts.info
    size = facts.bytes
    yield from _title(
        f"Table {printable(facts.title)}",
        f"{thousands(info.rows)} rows, dim {info.dim}, {info.compression or 'not compressed'}",
        style,
    )
    segments = [
        f"{one.optimizer} ({', '.join(f'{key} {width}' for key, width in one.fields.items()) or 'no state'})"
        for one in info.segments
    ]
    many = len(info.slots) > _SHOWN_COUNTS
    slots = sorted(info.slots.items(), key=lambda item: (-item[1], item[0]))
    shown = slots if style.width is None else slots[:_SHOWN_COUNTS]
    rows = info.rows
    norms = (
        "" if facts.min_norm is None else f"{facts.min_norm:.4g} to {facts.max_norm:.4g}, mean {facts.mean_norm:.4g}"
    )
    odd = [f"{thousands(n)} {what}" for n, what in ((facts.zero_rows, "of zeros"), (facts.bad_rows, "not finite")) if n]
    span = f"{time_text(info.oldest)} to {time_text(info.newest)}" if rows else ""
    yield from _pairs(
        [
            ("files", f"{len(info.shards)}, rows {', '.join(thousands(shard.rows) for shard in info.shards)}"),
            ("bytes", f"{thousands(size)}{' of records' if info.table is not None else ''}"),
            ("ids", f"{info.min_unsigned_id} to {info.max_unsigned_id}, unsigned" if rows else ""),
            ("order", f"{'sorted' if info.is_sorted else 'not sorted'}, {thousands(info.duplicates)} ids twice"),
            (
                f"slots {len(slots)}",
                ", ".join(f"{slot}:{_JOINT}{thousands(count)}" for slot, count in shown)
                + (f", and {len(slots) - len(shown)} more" if many and len(shown) < len(slots) else ""),
            ),
            ("timestamps", span + (f", {thousands(facts.undated)} without" if facts.undated else "")),
            ("norms", ", ".join(filter(None, [norms, *odd]))),
            ("optimizers", "; ".join(segments)),
            ("state", f"{info.optimizer_share:.1%} of the columns is the optimizer's"),
            (
                "record bytes",
                ", ".join(
                    f"{key} {thousands(n)} ({percent(n, size)})".replace(" ", _JOINT)
                    for key, n in (facts.parts or {}).items()
                    if n
                ),
            ),
        ],
        style,
    )


def _assets(facts: ModelFacts, style: Style) -> Iterator[str]:
    yield from _title("Assets", thousands(len(facts.assets)), style)
    rows = [["file", "bytes", "fed to"]]
    for asset in facts.assets:
        size = "-" if asset.bytes is None else thousands(asset.bytes)
        rows.append([printable(asset.name), size, ", ".join(map(printable, asset.tensors)) or "-"])
    yield from _listed(rows, style, right=(1,))


def _warmup(warmup: WarmupFacts, style: Style) -> Iterator[str]:
    yield from _title("Warmup", f"{thousands(warmup.records)} requests", style)
    named = {name or "(default)": count for name, count in warmup.signatures.items()}
    models = {name or "(none)": count for name, count in warmup.models.items()}
    yield from _pairs(
        [
            ("kinds", _counts(warmup.kinds, style)),
            ("signatures", _counts(named, style)),
            ("models", _counts(models, style)),
            ("largest", f"{thousands(warmup.largest)} bytes" if warmup.records else ""),
        ],
        style,
    )


def _sizes(part: SizePart, whole: int, depth: int, style: Style) -> list[list[str]]:
    rows = [[thousands(part.bytes), percent(part.bytes, whole), "  " * depth + (printable(part.name) or "all")]]
    parts = sorted(part.parts, key=lambda one: (-one.bytes, one.name))
    shown = parts if style.width is None else parts[:_SHOWN_PARTS]
    for one in shown:
        rows += _sizes(one, whole, depth + 1, style)
    if left := parts[len(shown) :]:
        size = sum(one.bytes for one in left)
        rows.append([thousands(size), percent(size, whole), "  " * (depth + 1) + f"{len(left)} more"])
    return rows
