"""What a graph says of its tensors: dtype and static shape by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mexport_pb._proto.graph_pb2 import NodeDef, OpDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, TensorInfo
from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb.dtypes import base_datatype
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.binding import output_dtypes
from mexport_pb.messages import make_tensor_info
from mexport_pb.messages.op_defs import OpDefs

__all__ = ["declared_shape", "tensor_info_of"]

_SHAPE_ATTR = "_output_shapes"
# A list longer than this is no operation's output; the number is the graph's word, and not believed.
_MAX_OUTPUTS = 1 << 20


def tensor_info_of(meta_graph: MetaGraphDef, names: Iterable[str]) -> dict[str, TensorInfo]:
    """Describes tensors of a graph.

    dtypes come from the operation's signature (``stripped_op_list``, else the built-in table) and the node's
    attributes; shapes from the attribute ``_output_shapes``, or ``shape`` of a placeholder, else the rank is unknown.

    Args:
        meta_graph: The graph.
        names: Tensor names, "node:output".

    Returns:
        A TensorInfo for each name.

    Raises:
        InvalidArgumentError: There is no such node or output, or the signature of the node's operation is not known.
    """
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    functions = [function.signature for function in meta_graph.graph_def.library.function]
    op_defs = OpDefs([*functions, *meta_graph.meta_info_def.stripped_op_list.op])
    return {name: _describe(name, nodes, op_defs) for name in names}


def _describe(name: str, nodes: dict[str, NodeDef], op_defs: OpDefs) -> TensorInfo:
    node_name, _, index_text = name.rpartition(":")
    if not node_name or not index_text.isascii() or not index_text.isdecimal():
        raise InvalidArgumentError(f"tensor {name!r}: want a name of the form node:output")
    node = nodes.get(node_name)
    if node is None:
        near = difflib.get_close_matches(node_name, nodes, n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise InvalidArgumentError(f"tensor {name!r}: no such node in the graph{hint}")
    if node.op not in op_defs:
        raise InvalidArgumentError(f"tensor {name!r}: the signature of its operation {node.op!r} is not known")
    dtypes = _output_dtypes(node, op_defs[node.op])
    index = int(index_text)
    if index >= len(dtypes):
        raise InvalidArgumentError(f"tensor {name!r}: its node has {len(dtypes)} outputs")
    return make_tensor_info(name, dtypes[index], declared_shape(node, index))


def _output_dtypes(node: NodeDef, op_def: OpDef) -> list[int]:
    attrs = {attr.name: attr.default_value for attr in op_def.attr if attr.HasField("default_value")}
    attrs.update(node.attr)
    for output in op_def.output_arg:
        for name in filter(None, (output.type_attr, output.type_list_attr, output.number_attr)):
            if name not in attrs:
                raise InvalidArgumentError(f"node {node.name!r} ({node.op}): has no attribute {name!r}")
        if output.number_attr and not 0 <= attrs[output.number_attr].i <= _MAX_OUTPUTS:
            count = attrs[output.number_attr].i
            raise InvalidArgumentError(f"node {node.name!r}: attribute {output.number_attr!r}: got {count}")
    return [base_datatype(dtype) for dtype in output_dtypes(op_def, attrs)]


def declared_shape(node: NodeDef, index: int) -> TensorShapeProto | None:
    """Return what a node says of the shape of one of its outputs, None if it says nothing."""
    if _SHAPE_ATTR in node.attr:
        shapes = node.attr[_SHAPE_ATTR].list.shape
        return shapes[index] if index < len(shapes) else None
    if node.op in ("Placeholder", "PlaceholderWithDefault") and "shape" in node.attr:
        return node.attr["shape"].shape
    return None
