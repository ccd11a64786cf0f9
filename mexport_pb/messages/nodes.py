"""NodeDef: one operation of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import AttrValue, NodeDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.wire import to_message

__all__ = ["make_node_def"]


def make_node_def(
    op: str,
    name: str,
    inputs: Iterable[str] = (),
    device: str = "",
    attrs: Mapping[str, Message] | None = None,
) -> NodeDef:
    """A NodeDef.

    Args:
        op: The operation's type, e.g. "MatMul".
        name: Unique in its graph.
        inputs: "node" or "node:index" for data, then "^node" for control.
        device: A full or partial device string, e.g. "/device:CPU:0".
        attrs: AttrValue by name, see :func:`~mexport_pb.messages.attrs.make_attr_value`.

    Raises:
        InvalidArgumentError: an argument of another type.
    """
    if isinstance(inputs, str):
        raise InvalidArgumentError(f"node {name!r}: got inputs {inputs!r}, want a list of names")
    try:
        node = NodeDef(name=name, op=op, input=inputs, device=device)
    except TypeError as error:
        raise InvalidArgumentError(f"node {name!r}: {error}") from None
    for key, value in sorted((attrs or {}).items()):
        node.attr[key].CopyFrom(value if isinstance(value, AttrValue) else to_message(value, AttrValue))
    return node
