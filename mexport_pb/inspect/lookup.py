"""One node, one tensor, or all of the messages of a model."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb.bundle import BundleReader
from mexport_pb.errors import InvalidArgumentError, MexportError, SavedModelError
from mexport_pb.graph.index import node_of
from mexport_pb.inspect.graph_facts import dtype_name
from mexport_pb.inspect.model_facts import model_file
from mexport_pb.inspect.targets import Target, find_targets
from mexport_pb.inspect.terminal import printable
from mexport_pb.inspect.text import shape_text
from mexport_pb.messages import read_saved_model, shape_to_list, tensor_proto_to_array, to_text
from mexport_pb.messages.constants import VARIABLES_PREFIX
from mexport_pb.messages.outline import NodePlace, SavedModelOutline, read_outline

__all__ = ["lookup_lines", "pbtxt_lines"]

_SHOWN_ELEMENTS: Final = 100
_PIECE: Final = 1 << 20
_WHOLE_BYTES: Final = 256 << 20  # larger variables are read in part


def pbtxt_lines(path: str, *, version: int | None = None) -> Iterator[str]:
    """The SavedModel as protobuf text, all constants with their values.

    Raises:
        InvalidArgumentError: The path is of a bundle, of tables, or of several models.
        SavedModelError: It is damaged.
    """
    targets = find_targets(path, version)
    if len(targets) != 1 or targets[0].kind != "SavedModel":
        what = ", ".join(target.path for target in targets)
        raise InvalidArgumentError(f"--pbtxt: want one SavedModel, got {what}")
    yield to_text(read_saved_model(model_file(targets[0].path))).rstrip("\n")


def lookup_lines(
    path: str, *, nodes: Sequence[str], tensors: Sequence[str], as_json: bool, version: int | None = None
) -> Iterator[str]:
    """Nodes as protobuf text; variables of the bundle and constants of the graph with some of their elements.

    Raises:
        InvalidArgumentError: There is no such node or tensor, or the path is of tables.
        DataError: What is asked for is damaged.
    """
    targets = find_targets(path, version)
    if targets[0].kind == "tables":
        raise InvalidArgumentError(f"{path}: is of tables; `mexport table head` shows their entries")
    looked = [_Looked(target) for target in targets]
    for name in nodes:
        yield from _every(looked, "node", name, as_json)
    for name in tensors:
        yield from _every(looked, "tensor", name, as_json)


class _Looked:
    """What can be asked for by name."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._outline: SavedModelOutline | None = None
        self._nodes: dict[str, list[tuple[str, NodeDef, NodePlace | None]]] = {}
        prefix = target.path
        if target.kind == "SavedModel":
            prefix = os.path.join(target.path, VARIABLES_PREFIX)
            self._read_graphs(model_file(target.path))
        self.bundle = BundleReader(prefix) if os.path.isfile(f"{prefix}.index") else None

    def _read_graphs(self, file: str) -> None:
        if file.endswith(".pbtxt"):
            for meta_graph in read_saved_model(file).meta_graphs:
                self._add("", meta_graph.graph_def.node, None)
                for function in meta_graph.graph_def.library.function:
                    self._add(function.signature.name, function.node_def, None)
            return
        self._outline = read_outline(Path(file))
        for one in self._outline.graphs:
            self._add("", one.meta_graph.graph_def.node, one.nodes)
            for function, places in zip(one.meta_graph.graph_def.library.function, one.functions, strict=True):
                self._add(function.signature.name, function.node_def, places)

    def _add(self, function: str, nodes: Iterable[NodeDef], places: Iterable[NodePlace] | None) -> None:
        pairs = ((node, None) for node in nodes) if places is None else zip(nodes, places, strict=True)
        for node, place in pairs:
            self._nodes.setdefault(node.name, []).append((function, node, place))

    def names(self, kind: str) -> list[str]:
        """All names."""
        found = list(self._nodes) if kind == "node" else [n for n in self._nodes if self._constants(n)]
        return [*(self.bundle.keys() if kind == "tensor" and self.bundle else []), *found]

    def nodes(self, name: str) -> list[tuple[str, NodeDef]]:
        """The nodes of that name with the function they are in, with all of their values."""
        return [(function, self._whole(node, place)) for function, node, place in self._nodes.get(name, [])]

    def constants(self, name: str) -> list[tuple[str, NodeDef]]:
        """The constants of that name, of a node or its only output."""
        node, _, output = name.partition(":")
        return [(f, self._whole(n, place)) for f, n, place in self._constants(node)] if output in ("", "0") else []

    def _constants(self, name: str) -> list[tuple[str, NodeDef, NodePlace | None]]:
        return [one for one in self._nodes.get(name, []) if one[1].op == "Const"]

    def _whole(self, node: NodeDef, place: NodePlace | None) -> NodeDef:
        if place is None or place.whole or self._outline is None:
            return node
        return self._outline.read_node(place)


def _every(looked: list[_Looked], kind: str, name: str, as_json: bool) -> Iterator[str]:
    found = False
    for one in looked:
        for line in _nodes(one, name, as_json) if kind == "node" else _tensors(one, name, as_json):
            found = True
            yield line
    if not found:
        names = [known for one in looked for known in one.names(kind)]
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"; near names: {', '.join(map(repr, near))}" if near else ""
        raise InvalidArgumentError(f"no {kind} {name!r}{hint}")


def _nodes(looked: _Looked, name: str, as_json: bool) -> Iterator[str]:
    for function, node in looked.nodes(node_of(name)):
        place = f" of function {function}" if function else ""
        if as_json:
            yield json.dumps(
                {
                    "type": "node",
                    "model": looked.target.name,
                    "function": function,
                    "name": node.name,
                    "op": node.op,
                    "inputs": list(node.input),
                    "device": node.device,
                    "attrs": {key: to_text(node.attr[key]).strip() for key in sorted(node.attr)},
                }
            )
        else:
            yield f"# {_of(looked)}node {printable(node.name)}{printable(place)}"
            yield to_text(node).rstrip("\n")


def _of(looked: _Looked) -> str:
    return f"{printable(looked.target.name)}: " if looked.target.name else ""


def _tensors(looked: _Looked, name: str, as_json: bool) -> Iterator[str]:
    if looked.bundle is not None and name in looked.bundle:
        shape = looked.bundle.shape(name)
        array = _read(looked.bundle, name)
        dtype = dtype_name(looked.bundle.dtype(name))
        yield _tensor(looked, f"variable {name}", name, dtype, shape, array, as_json)
    for function, node in looked.constants(name):
        proto = node.attr["value"].tensor
        place = f" of function {function}" if function else ""
        try:
            values = tensor_proto_to_array(proto)
        except MexportError as error:
            raise SavedModelError(f"constant {name!r}{place}: {error}", path=looked.target.path) from None
        sizes = tuple(size or 0 for size in shape_to_list(proto.tensor_shape) or [])
        yield _tensor(looked, f"constant {name}{place}", name, dtype_name(proto.dtype), sizes, values, as_json)


def _read(bundle: BundleReader, name: str) -> npt.NDArray[Any]:
    """All of it, or as many rows as are shown where that takes much memory."""
    shape = bundle.shape(name)
    entry = bundle.entry(name)
    size = sum(part.size for _, part in bundle.stored(name, entry)) if entry.slices else entry.size
    if size <= _WHOLE_BYTES or not shape:
        return bundle.read(name)
    rows = max(1, min(shape[0], _SHOWN_ELEMENTS * shape[0] // max(1, math.prod(shape))))
    rest = "".join(":-" for _ in shape[1:])
    return bundle.read_slice(name, f"{' '.join(map(str, shape))} 0,{rows}{rest}")


def _tensor(
    looked: _Looked,
    title: str,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    array: npt.NDArray[Any],
    as_json: bool,
) -> str:
    flat = array.reshape(-1)
    whole = flat.size == math.prod(shape)
    elements = [_plain(value) for value in flat[:_SHOWN_ELEMENTS].tolist()]
    summary = _summary(flat) if whole else {}
    if as_json:
        values = {"type": "tensor", "model": looked.target.name, "name": name, "dtype": dtype, "shape": list(shape)}
        return json.dumps({**values, **summary, "elements": elements, "all": whole and len(elements) == flat.size})
    more = " ..." if len(elements) < math.prod(shape) else ""
    facts = "".join(
        f", {key} {value:g}" if isinstance(value, float) else f", {key} {value}" for key, value in summary.items()
    )
    shown = " ".join(printable(one) if isinstance(one, str) else json.dumps(one) for one in elements)
    return f"{_of(looked)}{printable(title)}: {dtype} {shape_text(shape)}{facts}\n  {shown}{more}"


def _summary(flat: npt.NDArray[Any]) -> dict[str, Any]:
    """Of numbers the smallest, the largest and the mean of those that are finite, and how many others there are."""
    if flat.size == 0 or flat.dtype.names is not None or flat.dtype.kind not in "fiuVb":
        return {}
    low, high, total, count = math.inf, -math.inf, 0.0, 0
    for begin in range(0, flat.size, _PIECE):
        try:
            numbers = flat[begin : begin + _PIECE].astype(np.float64)
        except (TypeError, ValueError):
            return {}  # of a type that numpy knows of only by name
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
            total += float(numbers.sum())
            count += len(numbers)
    found: dict[str, Any] = {"min": low, "max": high, "mean": total / count} if count else {}
    return found if count == flat.size else {**found, "not finite": flat.size - count}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str) else str(value)
