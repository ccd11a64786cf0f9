"""GraphBuilder: make a graph node by node, equal to the one that ``tf.compat.v1`` makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import AttrValue, GraphDef, NodeDef
from mexport_pb._proto.saved_model_pb2 import CollectionDef, MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.default import pushed_default
from mexport_pb.graph.ops_feature import FeatureOps
from mexport_pb.graph.prune_collections import VARIABLE_COLLECTIONS
from mexport_pb.graph.strip import clear_devices as cleared, op_list, strip_default_attrs as stripped
from mexport_pb.graph.tensor import Operation, Tensor
from mexport_pb.graph.variable import Variable
from mexport_pb.messages import (
    make_any_list,
    make_bytes_list,
    make_float_list,
    make_int64_list,
    make_meta_graph_def,
    make_node_list,
    make_tensor_shape,
)

__all__ = ["GRAPH_PRODUCER", "GraphBuilder"]

GRAPH_PRODUCER = 2474
"""GraphDef.versions.producer of TensorFlow 2.21."""
_MIN_CONSUMER_OF_FUNCTIONS = 12


class GraphBuilder(FeatureOps):
    """A graph under construction: nodes, names, devices, collections.

    Names, attributes, devices and control inputs are those that ``tf.compat.v1`` gives the same calls, so that the
    GraphDefs are equal.

    Args:
        op_defs: OpDefs of ops that TensorFlow has not.
        names_in_use: Names that no node or scope may take.
    """

    @contextmanager
    def as_default(self) -> Iterator[GraphBuilder]:
        """Make this the graph that :func:`get_default_graph` returns in this thread, within the block."""
        with pushed_default(self):
            yield self

    def to_graph_def(self, add_shapes: bool = True) -> GraphDef:
        """Return the graph, a copy.

        Args:
            add_shapes: Write the attribute ``_output_shapes`` on every node that has outputs.
        """
        graph_def = GraphDef()
        graph_def.versions.producer = GRAPH_PRODUCER
        graph_def.node.extend([self._exported(op, add_shapes) for op in self._operations.values()])
        if self.functions:
            graph_def.versions.min_consumer = _MIN_CONSUMER_OF_FUNCTIONS
            graph_def.library.function.extend(self.functions.values())
        return graph_def

    def _exported(self, op: Operation, add_shapes: bool) -> NodeDef:
        if not add_shapes or not op.outputs:
            return op.node_def
        node = NodeDef()
        node.CopyFrom(op.node_def)
        shapes = AttrValue.ListValue(shape=[make_tensor_shape(tensor.static_shape) for tensor in op.outputs])
        node.attr["_output_shapes"].list.CopyFrom(shapes)
        return node

    def to_meta_graph(
        self,
        tags: Iterable[str] = (),
        signatures: Mapping[str, Message] | None = None,
        clear_devices: bool = False,
        strip_default_attrs: bool = False,
        *,
        tensorflow_version: str = "",
        git_version: str = "",
    ) -> MetaGraphDef:
        """Return the graph with its collections, signatures and the signatures of its ops.

        Args:
            tags: By which loaders choose the graph.
            signatures: SignatureDef by key.
            clear_devices: Leave out the nodes' devices.
            strip_default_attrs: Leave out attributes that equal their op's default.
            tensorflow_version: What to say of the TensorFlow that made the graph.
            git_version: The same as a commit.

        Raises:
            InvalidArgumentError: a collection of mixed kinds, or of a kind that no collection holds.
        """
        graph_def = self.to_graph_def()
        meta_graph = make_meta_graph_def(
            graph_def,
            tags=tags,
            signatures=signatures,
            collections={name: _to_collection_def(name, values) for name, values in self._collections.items()},
            op_list=op_list(graph_def, self.op_defs.given),
            tensorflow_version=tensorflow_version,
            git_version=git_version,
        )
        if strip_default_attrs:
            meta_graph = stripped(meta_graph)
        return cleared(meta_graph) if clear_devices else meta_graph


def _to_collection_def(name: str, values: list[Any]) -> CollectionDef:
    if name in VARIABLE_COLLECTIONS:
        _check_kind(name, values, Variable)
        return make_bytes_list([variable.to_variable_def() for variable in values])
    match values[0]:
        case Tensor() | Operation() | Variable():
            _check_kind(name, values, Tensor | Operation | Variable)
            return make_node_list([value.name for value in values])
        case str() | bytes():
            _check_kind(name, values, str | bytes)
            return make_bytes_list(values)
        case Message() as message:
            _check_kind(name, values, type(message))
            is_any = message.DESCRIPTOR.full_name == "google.protobuf.Any"
            return make_any_list(values) if is_any else make_bytes_list(values)
        case object(to_proto=to_proto) if callable(to_proto):
            _check_kind(name, values, type(values[0]))
            return make_bytes_list([value.to_proto() for value in values])
        case bool():
            pass
        case int():
            _check_kind(name, values, int)
            return make_int64_list(values)
        case float():
            _check_kind(name, values, float)
            return make_float_list(values)
    raise InvalidArgumentError(f"collection {name!r}: got {values[0]!r}, which no collection holds")


def _check_kind(name: str, values: list[Any], kind: Any) -> None:
    for value in values:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, float)):
            raise InvalidArgumentError(f"collection {name!r}: got {value!r} among {values[0]!r}, want one kind")
