"""The bytes of a saved_model.pb, piece by piece: a graph's constants may be too large to be serialised in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mexport_pb._proto.graph_pb2 import GraphDef, NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.constants import SCHEMA_VERSION
from mexport_pb.messages.wire import MAX_MESSAGE_BYTES, serialize

__all__ = ["SavedModelPieces", "field_header"]


class SavedModelPieces:
    """Iterates over the bytes of ``serialize(make_saved_model(meta_graphs))``, a node at a time.

    That needs about three times the largest node in memory, where ``serialize`` needs five times the whole message.

    Args:
        meta_graphs: They are taken to pieces, and empty from then on.

    Raises:
        InvalidArgumentError: the whole takes more than :data:`MAX_MESSAGE_BYTES`.
    """

    def __init__(self, meta_graphs: Iterable[MetaGraphDef]) -> None:
        self._pieces: Final[list[bytes | NodeDef]] = []
        self.size = 0
        """In bytes."""
        self._add_bytes(serialize(SavedModel(saved_model_schema_version=SCHEMA_VERSION)))
        for meta_graph in meta_graphs:
            self._add(meta_graph)
        if self.size > MAX_MESSAGE_BYTES:
            raise InvalidArgumentError(
                f"the model is too large for a protobuf message: got {self.size} bytes, want <= {MAX_MESSAGE_BYTES}"
            )

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                data = serialize(piece)
                yield field_header(GraphDef.NODE_FIELD_NUMBER, len(data))
                yield data

    def _add(self, meta_graph: MetaGraphDef) -> None:
        # Fields are written in the order of their numbers: what comes before the graph is one field, or nothing.
        before = b""
        if meta_graph.HasField("meta_info_def"):
            info = serialize(meta_graph.meta_info_def)
            before = field_header(MetaGraphDef.META_INFO_DEF_FIELD_NUMBER, len(info)) + info
            meta_graph.ClearField("meta_info_def")
        nodes: list[NodeDef] = []
        size = 0
        graph_def = b""
        if meta_graph.HasField("graph_def"):
            nodes = list(meta_graph.graph_def.node)
            meta_graph.graph_def.ClearField("node")
            graph_def = serialize(meta_graph.graph_def)
            meta_graph.ClearField("graph_def")
            size = sum(_framed(node.ByteSize()) for node in nodes)
            before += field_header(MetaGraphDef.GRAPH_DEF_FIELD_NUMBER, size + len(graph_def))
        after = graph_def + serialize(meta_graph)
        meta_graph.Clear()
        self._add_bytes(field_header(SavedModel.META_GRAPHS_FIELD_NUMBER, len(before) + size + len(after)) + before)
        self._pieces.extend(nodes)
        self.size += size
        self._add_bytes(after)

    def _add_bytes(self, data: bytes) -> None:
        self._pieces.append(data)
        self.size += len(data)


def field_header(field: int, size: int) -> bytes:
    """Return what stands before a sub-message of so many bytes: the field's number, wire type 2, and the size."""
    return _varint(field << 3 | 2) + _varint(size)


def _framed(size: int) -> int:
    return len(field_header(GraphDef.NODE_FIELD_NUMBER, size)) + size


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
