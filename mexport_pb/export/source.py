"""Where the graphs of an export come from: the one border between exporters and the world that builds graphs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from mexport_pb import graph as pb_graph
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, TensorInfo
from mexport_pb.messages import make_tensor_info
from mexport_pb.table.emitter import Emitter

__all__ = ["Graph", "GraphSource", "ProtobufSource"]

Graph: TypeAlias = Any
"""A graph of the source's kind: a GraphBuilder, a tf.Graph, or a test's fake."""


class GraphSource(Protocol):
    """Makes graphs, lets user code build in them, and turns them into messages.

    :class:`ProtobufSource` works with :class:`~mexport_pb.graph.GraphBuilder`,
    :class:`mexport_pb.runtime.TensorFlowSource` with ``tf.Graph``.
    """

    def new_graph(self) -> Graph:
        """An empty graph."""

    def as_default(self, graph: Graph) -> AbstractContextManager[Any]:
        """Makes ``graph`` the one that user code builds in, for the length of the block."""

    def current_graph(self) -> Graph:
        """The graph that user code builds in now."""

    def emitter(self) -> Emitter:
        """Makes nodes in the graph that user code builds in, whichever that is when it is asked for."""

    def tensor_info(self, value: Any) -> TensorInfo:
        """Describes a tensor of one of this source's graphs.

        Raises:
            InvalidArgumentError: It is no such tensor.
        """

    def create_global_step(self, graph: Graph) -> None:
        """Adds the variable ``global_step`` (int64, a scalar) unless the graph has it."""

    def add_to_collection(self, graph: Graph, name: str, value: Any) -> None:
        """Appends a value to one of the graph's collections."""

    def get_collection(self, graph: Graph, name: str) -> list[Any]:
        """The values of one of the graph's collections."""

    def names_in_use(self, graph: Graph) -> set[str] | None:
        """Names that new nodes and scopes may not take, in lower case; None where the source knows the nodes' only."""

    def to_meta_graph(self, graph: Graph) -> MetaGraphDef:
        """The whole graph with its collections and operation list; no saver, signatures or tags."""


class ProtobufSource:
    """Graphs that are protobufs from the start; no TensorFlow takes part."""

    def new_graph(self) -> pb_graph.GraphBuilder:
        """An empty GraphBuilder."""
        return pb_graph.GraphBuilder()

    def as_default(self, graph: Graph) -> AbstractContextManager[Any]:
        """Makes it the default graph of this thread."""
        context: AbstractContextManager[Any] = graph.as_default()
        return context

    def current_graph(self) -> pb_graph.GraphBuilder:
        """The default graph of this thread."""
        return pb_graph.get_default_graph()

    def emitter(self) -> Emitter:
        """The default graph of this thread: a GraphBuilder is an emitter as it is."""
        return pb_graph.get_default_graph()

    def tensor_info(self, value: Any) -> TensorInfo:
        """Describes a Tensor; a Variable stands for the tensor that reads its value, for no server returns handles."""
        if isinstance(value, pb_graph.Variable):
            value = value.graph.get_tensor(value.to_variable_def().snapshot_name)
        return make_tensor_info(value)

    def create_global_step(self, graph: Graph) -> None:
        """Adds the variable, a resource variable, unless it is there."""
        graph.global_step()

    def add_to_collection(self, graph: Graph, name: str, value: Any) -> None:
        """Appends a value."""
        graph.add_to_collection(name, value)

    def get_collection(self, graph: Graph, name: str) -> list[Any]:
        """The values."""
        return list(graph.get_collection(name))

    def names_in_use(self, graph: Graph) -> set[str]:
        """All names of nodes and scopes."""
        names: set[str] = graph.names_in_use
        return names

    def to_meta_graph(self, graph: Graph) -> MetaGraphDef:
        """The whole graph."""
        meta_graph: MetaGraphDef = graph.to_meta_graph()
        return meta_graph
