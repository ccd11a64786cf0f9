"""Add nodes to a meta graph that is there."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.builder import GraphBuilder
from mexport_pb.graph.index import NodeIndex, split_tensor_name
from mexport_pb.graph.names import taken_names
from mexport_pb.graph.strip import refresh_op_list
from mexport_pb.graph.tensor import Operation, Shape, Tensor
from mexport_pb.messages import to_message

__all__ = ["GraphExtension"]


class GraphExtension:
    """A copy of a meta graph, and a builder of further nodes for it.

    Args:
        meta_graph: A MetaGraphDef; it is not changed.
        names_in_use: Names that new nodes may not take; None means the nodes' and their scopes'.

    Attributes:
        meta_graph: The copy. It gets the new nodes by :meth:`finish`.
        index: Of the nodes that were there.
        builder: For the new nodes.
    """

    def __init__(self, meta_graph: Message, names_in_use: Iterable[str] | None = None) -> None:
        self.meta_graph = to_message(meta_graph, MetaGraphDef)
        self.index = NodeIndex(self.meta_graph.graph_def.node)
        op_defs = self.meta_graph.meta_info_def.stripped_op_list.op
        self.builder = GraphBuilder(op_defs=op_defs, names_in_use=taken_names(self.index.nodes, names_in_use))

    def tensor(self, name: str, dtype: int, shape: Shape = None) -> Tensor:
        """The first output of a node that was there, as an input of new nodes.

        Args:
            name: "node:0".
            dtype: Of its elements.
            shape: As far as it is known.

        Raises:
            InvalidArgumentError: there is none.
        """
        node, output = split_tensor_name(name)
        if output:
            raise InvalidArgumentError(f"tensor {name!r}: want the first output of a node")
        return self.builder.refer_to(self.index.get(node), [dtype], [shape]).output

    def operation(self, name: str) -> Operation:
        """An operation of the graph that was there, for new nodes to wait for.

        Raises:
            InvalidArgumentError: there is none.
        """
        return self.builder.refer_to(self.index.get(name), (), ())

    def finish(self) -> MetaGraphDef:
        """The copy with the new nodes, and with what the builder's collections got behind its own."""
        built = self.builder.to_meta_graph()
        self.meta_graph.graph_def.node.extend(built.graph_def.node)
        for key, collection in sorted(built.collection_def.items()):
            self.meta_graph.collection_def[key].MergeFrom(collection)
        refresh_op_list(self.meta_graph)
        return self.meta_graph
