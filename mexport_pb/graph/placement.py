"""Default devices of a finished graph."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb._proto.tensor_pb2 import DataType
from mexport_pb.graph.devices import DeviceSpec, on_cpu0
from mexport_pb.messages import to_message

__all__ = ["place_on_cpu"]

_COLOCATION: Final = "_class"


def place_on_cpu(meta_graph: Message, *, allow_gpu: bool = False) -> MetaGraphDef:
    """Return a copy whose nodes are on the first CPU of their task.

    A node on some CPU stays there. Nodes of functions are left alone: they run where their caller is.

    Args:
        meta_graph: A MetaGraphDef.
        allow_gpu: Move only what no GPU can hold: constant strings and summaries, but none that is to be where another
            node is. The loader places nodes without a device.

    Raises:
        InvalidArgumentError: not a MetaGraphDef, or a node's device is malformed.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    for node in copy.graph_def.node:
        if allow_gpu and (not _is_for_cpu(node) or _COLOCATION in node.attr):
            continue
        if DeviceSpec.parse(node.device).device_type != "CPU":
            node.device = on_cpu0(node.device)
    return copy


def _is_for_cpu(node: NodeDef) -> bool:
    if "Summary" in node.op:
        return True
    return node.op == "Const" and node.attr["dtype"].type == DataType.DT_STRING
