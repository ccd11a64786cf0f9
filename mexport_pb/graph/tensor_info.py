"""Types and shapes of the tensors of a finished graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import AttrValue, NodeDef, OpDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, TensorInfo
from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb.dtypes import base_datatype
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.binding import output_dtypes
from mexport_pb.graph.index import NodeIndex, split_tensor_name
from mexport_pb.graph.op_defs import OpDefs
from mexport_pb.messages import make_tensor_info, to_message

__all__ = ["TensorDescriber", "tensor_info_of"]

# More outputs than this are a damaged attribute, not a node.
_MAX_OUTPUTS = 1 << 20


def tensor_info_of(meta_graph: Message, names: Iterable[str]) -> dict[str, TensorInfo]:
    """Return the TensorInfo of tensors of a graph, by name.

    Types come from the signatures of the ops, shapes from the attribute ``_output_shapes``; without it, the rank is
    unknown.

    Args:
        meta_graph: A MetaGraphDef.
        names: "node:index", or "node" for index 0.

    Raises:
        InvalidArgumentError: no such tensor, or an op whose signature is not known.
    """
    message = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    describer = TensorDescriber(message, NodeIndex(message.graph_def.node))
    return {name: describer.describe(name) for name in names}


class TensorDescriber:
    """Describes tensors of one graph.

    Args:
        meta_graph: Of which the signatures of ops and functions are taken.
        index: Of its nodes.
    """

    def __init__(self, meta_graph: MetaGraphDef, index: NodeIndex) -> None:
        self.index = index
        functions = [function.signature for function in meta_graph.graph_def.library.function]
        self.signatures = OpDefs([*functions, *meta_graph.meta_info_def.stripped_op_list.op])

    def describe(self, name: str) -> TensorInfo:
        """Return the TensorInfo of a tensor, see :func:`tensor_info_of`."""
        node_name, output = split_tensor_name(name)
        node = self.index.get(node_name)
        dtypes = self._dtypes(node)
        if output >= len(dtypes):
            raise InvalidArgumentError(f"no tensor {name!r}: {node_name!r} ({node.op}) has {len(dtypes)} outputs")
        info = make_tensor_info(f"{node_name}:{output}", base_datatype(dtypes[output]), None)
        shape = self.shape(node_name, output)
        if shape is not None:
            info.tensor_shape.CopyFrom(shape)
        return info

    def shape(self, node_name: str, output: int) -> TensorShapeProto | None:
        """Return the shape of a tensor as its node says it, None if it does not."""
        node = self.index.get(node_name)
        shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else []
        if output < len(shapes):
            return shapes[output]
        if node.op in ("Placeholder", "PlaceholderWithDefault") and "shape" in node.attr:
            return node.attr["shape"].shape
        return None

    def _dtypes(self, node: NodeDef) -> list[int]:
        signature = self.signatures.get(node.op)
        if signature is None:
            raise InvalidArgumentError(f"node {node.name!r}: the signature of its op {node.op!r} is not known")
        attrs = {attr.name: attr.default_value for attr in signature.attr if attr.HasField("default_value")}
        attrs.update(node.attr)
        _check_outputs(node, signature, attrs)
        return output_dtypes(signature, attrs)


def _check_outputs(node: NodeDef, signature: OpDef, attrs: Mapping[str, AttrValue]) -> None:
    for arg in signature.output_arg:
        for name in (arg.type_attr, arg.type_list_attr, arg.number_attr):
            if name and name not in attrs:
                raise InvalidArgumentError(f"node {node.name!r} ({node.op}) has no attribute {name!r}")
        if arg.number_attr and not 0 <= attrs[arg.number_attr].i <= _MAX_OUTPUTS:
            raise InvalidArgumentError(f"node {node.name!r} ({node.op}): impossible attribute {arg.number_attr!r}")
