"""Facts as JSON, one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mexport_pb.inspect.facts import ModelFacts

__all__ = ["json_lines"]


def json_lines(facts: ModelFacts) -> Iterator[str]:
    """One object for each thing; its ``type`` says which, ``model`` which of several models it is of.

    Types: ``model``, ``graph``, ``signature``, ``function``, ``variable``, ``table``, ``asset``, ``warmup``, ``size``
    (a part that has no parts, by its names from the top; together all bytes on disk), ``damage``.
    """
    for kind, values in _objects(facts):
        yield json.dumps({"type": kind, "model": facts.name, **values})


def _objects(facts: ModelFacts) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "model", {"path": facts.path, "kind": facts.kind, "bytes": facts.sizes.bytes, "ok": facts.ok}
    for graph in facts.graphs:
        values = asdict(graph)
        signatures, functions = values.pop("signatures"), values.pop("functions")
        tags = {"tags": list(graph.tags)}
        yield "graph", values
        yield from (("signature", {**tags, **signature}) for signature in signatures)
        yield from (("function", {**tags, **function}) for function in functions)
    for variable in facts.variables:
        yield "variable", {**asdict(variable), "checked": facts.variables_checked}
    for table in facts.tables:
        values = asdict(table)
        yield "table", {**values.pop("info"), **values}
    yield from (("asset", asdict(asset)) for asset in facts.assets)
    if facts.warmup is not None:
        yield "warmup", asdict(facts.warmup)
    yield from (("size", {"parts": list(path), "bytes": size}) for path, size in facts.sizes.leaves())
    yield from (("damage", asdict(damage)) for damage in facts.damages)
