"""A saved_model.pb without the values of its large constants, and what each part of it takes.

The file is walked by its wire format, so that memory does not grow with the constants, and so that what is whole of
a damaged file can be shown.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from mexport_pb._proto.graph_pb2 import FunctionDef, FunctionDefLibrary, GraphDef, NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel
from mexport_pb._proto.tensor_pb2 import DT_STRING
from mexport_pb.errors import SavedModelError
from mexport_pb.messages.pieces import field_header

__all__ = ["GraphOutline", "NodePlace", "SavedModelOutline", "read_outline"]

_LARGE: Final = 1 << 16
_LARGE_STRINGS: Final = 1 << 22  # configurations of tables are constants too
_WINDOW: Final = 1 << 20
_HEADER_BYTES: Final = 20  # of two varints
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ATTR, _ATTR_KEY, _ATTR_VALUE, _TENSOR = 5, 1, 2, 8
_TENSOR_HEAD: Final = (1, 2, 3)  # dtype, shape, version: before all values

_CLASSES: Final[dict[str, Any]] = {
    "model": SavedModel,
    "meta graph": MetaGraphDef,
    "info": MetaGraphDef.MetaInfoDef,
    "graph": GraphDef,
    "library": FunctionDefLibrary,
    "function": FunctionDef,
}
# The messages that are walked: kind and field -> kind.
_WITHIN: Final = {
    ("model", SavedModel.META_GRAPHS_FIELD_NUMBER): "meta graph",
    ("meta graph", MetaGraphDef.META_INFO_DEF_FIELD_NUMBER): "info",
    ("meta graph", MetaGraphDef.GRAPH_DEF_FIELD_NUMBER): "graph",
    ("graph", GraphDef.LIBRARY_FIELD_NUMBER): "library",
    ("library", FunctionDefLibrary.FUNCTION_FIELD_NUMBER): "function",
}
_NODES: Final = {
    ("graph", GraphDef.NODE_FIELD_NUMBER),
    ("function", FunctionDef.NODE_DEF_FIELD_NUMBER),
}
_NAMES: Final = {
    ("meta graph", MetaGraphDef.SAVER_DEF_FIELD_NUMBER): "saver",
    ("meta graph", MetaGraphDef.COLLECTION_DEF_FIELD_NUMBER): "collections",
    ("meta graph", MetaGraphDef.SIGNATURE_DEF_FIELD_NUMBER): "signatures",
    ("meta graph", MetaGraphDef.ASSET_FILE_DEF_FIELD_NUMBER): "asset names",
    ("meta graph", MetaGraphDef.OBJECT_GRAPH_DEF_FIELD_NUMBER): "object graph",
    ("info", MetaGraphDef.MetaInfoDef.STRIPPED_OP_LIST_FIELD_NUMBER): "op signatures",
    ("graph", GraphDef.DEBUG_INFO_FIELD_NUMBER): "debug info",
}
_OTHER_NAMES: Final = {
    "info": "tags and versions",
    "graph": "tags and versions",
    "library": "gradients",
    "function": "function signatures",
}
FRAMING: Final = "framing"
DAMAGED: Final = "damaged"
UNKNOWN: Final = "unknown fields"


@dataclass(slots=True)
class NodePlace:
    """Where a node is in the file.

    Attributes:
        offset: Of the NodeDef's own bytes.
        size: Of these.
        framed: What it takes in the file, its tag and length included.
        whole: Whether the outline has all of it; if not, the value of a constant is missing.
    """

    offset: int
    size: int
    framed: int
    whole: bool


@dataclass(slots=True)
class GraphOutline:
    """A meta graph.

    Attributes:
        meta_graph: Without the values of large constants.
        nodes: A place for each node of the graph.
        functions: For each function a place for each of its nodes.
        sizes: What its parts take; together, all of it.
        collections: What each collection takes; together, ``sizes["collections"]``.
    """

    meta_graph: MetaGraphDef
    nodes: list[NodePlace]
    functions: list[list[NodePlace]]
    sizes: dict[str, int]
    collections: dict[str, int]


@dataclass(slots=True)
class SavedModelOutline:
    """What :func:`read_outline` found.

    Attributes:
        path: The file.
        size: Of the file.
        graphs: The meta graphs.
        rest: The bytes that belong to none of them.
        problems: What is damaged, with path and offset; the damaged parts are left out of ``graphs``.
    """

    path: Path
    size: int
    graphs: list[GraphOutline] = field(default_factory=list)
    rest: int = 0
    problems: list[SavedModelError] = field(default_factory=list)

    def read_node(self, place: NodePlace) -> NodeDef:
        """Read a node with all of its values.

        Raises:
            SavedModelError: The file is another one by now.
            OSError: It cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(place.offset)
            data = file.read(place.size)
        try:
            return NodeDef.FromString(data)
        except DecodeError:
            raise SavedModelError("not a NodeDef", path=self.path, offset=place.offset) from None


def read_outline(path: Path) -> SavedModelOutline:
    """Walk through a saved_model.pb.

    Raises:
        SavedModelError: It is no regular file.
        OSError: It cannot be read.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise SavedModelError("not a regular file", path=path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        outline = SavedModelOutline(path, size)
        walk = _Walk(_Window(file.fileno(), size), outline)
        root = walk.box("model", 0, 0, size)
    walk.drop_damaged(root)
    outline.rest = root.unread
    for child in root.children:
        if isinstance(child, _Box):
            outline.graphs.append(_outline_graph(child))
        else:
            outline.rest += child.framed
    outline.problems.sort(key=lambda problem: problem.offset or 0)
    return outline


@dataclass(slots=True)
class _Leaf:
    """A field that is not walked."""

    number: int
    offset: int
    framed: int
    data: bytes  # with tag and length
    place: NodePlace | None = None


@dataclass(slots=True)
class _Box:
    """A message that is walked."""

    number: int
    kind: str
    header: int
    children: list[_Leaf | _Box] = field(default_factory=list)
    unread: int = 0

    def payload(self) -> bytes:
        """The message without what is missing."""
        return b"".join(
            _framed(child.number, child.payload()) if isinstance(child, _Box) else child.data for child in self.children
        )

    def boxes(self) -> Iterator[_Box]:
        """Itself and all messages within."""
        yield self
        for child in self.children:
            if isinstance(child, _Box):
                yield from child.boxes()


class _BadError(Exception):
    """Bytes that are no field: offset, what is wrong."""


class _Window:
    """The bytes of a file, of which a piece is in memory."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size
        self._start = 0
        self._bytes = b""

    def read(self, offset: int, size: int) -> bytes:
        """As many bytes as there are, up to `size`."""
        at = offset - self._start
        if at < 0 or at + size > len(self._bytes):
            self._bytes = _read_at(self._descriptor, offset, max(size, _WINDOW))
            self._start, at = offset, 0
            if size > _WINDOW:
                data, self._bytes = self._bytes[:size], b""
                return data
        return self._bytes[at : at + size]

    def header(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Number and wire type of the field at `at`, where its payload begins, and the payload's size."""
        head = self.read(at, min(_HEADER_BYTES, end - at))
        tag, begin = _varint(head, 0, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise _BadError(at, "a field of number 0")
        if wire == _BYTES:
            size, begin = _varint(head, begin, at)
            return number, wire, at + begin, size
        if wire == _VARINT:
            _, stop = _varint(head, begin, at)
            return number, wire, at + begin, stop - begin
        if wire in (_FIXED64, _FIXED32):
            return number, wire, at + begin, 8 if wire == _FIXED64 else 4
        raise _BadError(at, f"a field of wire type {wire}")


class _Walk:
    def __init__(self, window: _Window, outline: SavedModelOutline) -> None:
        self._window = window
        self._outline = outline

    def box(self, kind: str, number: int, begin: int, end: int, header: int = 0, *, clipped: bool = False) -> _Box:
        """Walks a message; of one that is `clipped` it is known that its end is missing."""
        box = _Box(number, kind, header)
        at = begin
        while at < end:
            try:
                number, wire, payload, size = self._window.header(at, end)
                within = _WITHIN.get((kind, number)) if wire == _BYTES else None
                beyond = payload + size > end
                if beyond:
                    if not clipped:
                        message = f"a field of the {kind} ends beyond it: got {size} bytes, want <= {end - payload}"
                        self._problem(at, message)
                    if within is None:
                        raise _BadError(at, "")
                    size = end - payload
            except _BadError as bad:
                offset, message = bad.args
                if message and not clipped:
                    self._problem(offset, f"damaged within the {kind}: {message}")
                box.unread = end - at
                break
            stop = payload + size
            if within is not None:
                box.children.append(self.box(within, number, payload, stop, payload - at, clipped=beyond))
            elif wire == _BYTES and (kind, number) in _NODES:
                box.children.append(self._node(number, at, payload, size))
            else:
                box.children.append(_Leaf(number, at, stop - at, self._window.read(at, stop - at)))
            at = stop
        return box

    def drop_damaged(self, root: _Box) -> None:
        """Takes fields out that no parser accepts, so that the rest is a message."""
        try:
            SavedModel.FromString(root.payload())
        except DecodeError:
            pass
        else:
            return
        for box in root.boxes():
            kept: list[_Leaf | _Box] = []
            for child in box.children:
                if isinstance(child, _Leaf):
                    try:
                        _CLASSES[box.kind].FromString(child.data)
                    except DecodeError:
                        self._problem(child.offset, f"a field of the {box.kind} does not parse: {child.framed} bytes")
                        box.unread += child.framed
                        continue
                kept.append(child)
            box.children = kept

    def _problem(self, offset: int, message: str) -> None:
        self._outline.problems.append(SavedModelError(message, path=self._outline.path, offset=offset))

    def _node(self, number: int, at: int, payload: int, size: int) -> _Leaf:
        place = NodePlace(payload, size, payload + size - at, whole=True)
        data = None
        if size > _LARGE:
            try:
                data = self._reduced(payload, payload + size)
            except _BadError:
                data = None  # whatever parses it says what is wrong
        if data is None:
            data = self._window.read(at, payload + size - at)
        else:
            place.whole = False
            data = _framed(number, data)
        return _Leaf(number, at, place.framed, data, place)

    def _fields(self, begin: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Number, wire type, and where field, payload and the next field begin."""
        at = begin
        while at < end:
            number, wire, payload, size = self._window.header(at, end)
            if payload + size > end:
                raise _BadError(at, "")
            yield number, wire, at, payload, payload + size
            at = payload + size

    def _reduced(self, begin: int, end: int) -> bytes | None:
        """A node without the values of a large tensor; None if it has none."""
        pieces = []
        found = False
        for number, wire, at, payload, stop in self._fields(begin, end):
            data = None
            if wire == _BYTES and number == _ATTR and stop - payload > _LARGE:
                data = self._reduced_attr(payload, stop)
                found = found or data is not None
            pieces.append(self._window.read(at, stop - at) if data is None else _framed(_ATTR, data))
        return b"".join(pieces) if found else None

    def _reduced_attr(self, begin: int, end: int) -> bytes | None:
        key = b""
        for number, wire, at, payload, stop in self._fields(begin, end):
            if number == _ATTR_KEY and stop - at < _LARGE:
                key = self._window.read(at, stop - at)
            elif wire == _BYTES and number == _ATTR_VALUE:
                for inner, inner_wire, _, tensor, tensor_end in self._fields(payload, stop):
                    if inner == _TENSOR and inner_wire == _BYTES:
                        head = self._tensor_head(tensor, tensor_end)
                        if head is None:
                            return None
                        return key + _framed(_ATTR_VALUE, _framed(_TENSOR, head))
        return None

    def _tensor_head(self, begin: int, end: int) -> bytes | None:
        """Type and shape of a tensor; None for one that is kept."""
        pieces = []
        dtype = 0
        for number, wire, at, payload, stop in self._fields(begin, end):
            if number not in _TENSOR_HEAD or stop - at > _LARGE:
                break
            pieces.append(self._window.read(at, stop - at))
            if number == 1 and wire == _VARINT:
                dtype = _varint(self._window.read(payload, stop - payload), 0, payload)[0]
        return None if dtype == DT_STRING and end - begin <= _LARGE_STRINGS else b"".join(pieces)


def _outline_graph(box: _Box) -> GraphOutline:
    meta_graph = MetaGraphDef.FromString(box.payload())
    sizes: Counter[str] = Counter()
    collections: Counter[str] = Counter()
    nodes: list[NodePlace] = []
    functions: list[list[NodePlace]] = []
    for one in box.boxes():
        sizes[FRAMING] += one.header
        sizes[DAMAGED] += one.unread
        places = nodes
        if one.kind == "function":
            places = []
            functions.append(places)
        for child in one.children:
            if isinstance(child, _Box):
                continue
            if child.place is not None:
                places.append(child.place)
                continue
            name = _NAMES.get((one.kind, child.number)) or _OTHER_NAMES.get(one.kind, UNKNOWN)
            if name == "collections":
                keys = list(MetaGraphDef.FromString(child.data).collection_def)
                name = name if keys else UNKNOWN  # of another wire type
                collections.update(dict.fromkeys(keys, child.framed))
            sizes[name] += child.framed
    graph_def = meta_graph.graph_def
    for node, place in zip(graph_def.node, nodes, strict=True):
        sizes["constants" if node.op == "Const" else "nodes"] += place.framed
    for function, places in zip(graph_def.library.function, functions, strict=True):
        for node, place in zip(function.node_def, places, strict=True):
            sizes["constants in functions" if node.op == "Const" else "nodes in functions"] += place.framed
    return GraphOutline(meta_graph, nodes, functions, {k: v for k, v in sizes.items() if v}, dict(collections))


def _varint(data: bytes, at: int, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _BadError(offset, "the bytes end within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _BadError(offset, "a number of more than 10 bytes")


def _framed(number: int, payload: bytes) -> bytes:
    return field_header(number, len(payload)) + payload


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = os.pread(descriptor, size, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)
