"""Graphs that TensorFlow code builds, as protobuf messages."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from google.protobuf.message import EncodeError

from mexport_pb._proto import saved_model_pb2
from mexport_pb.errors import InvalidArgumentError, UnsupportedError
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.emitter import GraphEmitter, current_graph

__all__ = ["TensorFlowSource"]


class TensorFlowSource:
    """Traces models that are written in TensorFlow.

    A graph here is a ``tf.Graph``. No session is made, no device is touched, and the messages are those of
    mexport_pb, equal on the wire to TensorFlow's. Every method raises :class:`~mexport_pb.errors.MexportError` where
    TensorFlow is not installed.
    """

    def new_graph(self) -> Any:
        """Make an empty ``tf.Graph``."""
        return tensorflow().Graph()

    def as_default(self, graph: Any) -> AbstractContextManager[Any]:
        """Make ``graph`` the one that TensorFlow functions add to within a ``with`` block."""
        _check_graph(graph)
        context: AbstractContextManager[Any] = graph.as_default()
        return context

    def current_graph(self) -> Any:
        """Return the graph that TensorFlow functions add to now."""
        return tensorflow().compat.v1.get_default_graph()

    def emitter(self) -> GraphEmitter:
        """Return what makes nodes in the graph that TensorFlow functions add to, whichever that is at each call."""
        return current_graph()

    def is_tensor(self, value: object) -> bool:
        """Tell whether :meth:`tensor_info` takes the value: a tensor, variable, or sparse or ragged tensor."""
        tf = tensorflow()
        return isinstance(value, tf.Variable) or bool(tf.is_tensor(value))

    def tensor_info(self, value: Any) -> saved_model_pb2.TensorInfo:
        """Describe a tensor for a signature.

        A sparse tensor is described by the names of its three tensors, a ragged one by its type and components. A
        variable stands for its value: the name is that of the tensor that reads it. (TensorFlow's own
        ``build_tensor_info`` names the resource's handle or the reference, which no server can return.)

        Raises:
            InvalidArgumentError: ``value`` is nothing of this, or not part of a graph.
        """
        tf = tensorflow()
        if not self.is_tensor(value):
            raise InvalidArgumentError(f"tensor_info: got {type(value).__name__}, want a tensor of a tf.Graph")
        # A graph of its own keeps eager mode out, where build_tensor_info refuses to work.
        with tf.Graph().as_default():
            try:
                if isinstance(value, tf.Variable):
                    value = value.graph.get_tensor_by_name(value.to_proto().snapshot_name)
                info = tf.compat.v1.saved_model.build_tensor_info(value)
            except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
                raise InvalidArgumentError(
                    f"tensor_info: {type(value).__name__} is not a tensor of a tf.Graph: {error}"
                ) from error
        return saved_model_pb2.TensorInfo.FromString(info.SerializeToString(deterministic=True))

    def create_global_step(self, graph: Any) -> Any:
        """Return the graph's global step, an int64 variable that is made if there is none."""
        tf = tensorflow()
        _check_graph(graph)
        with graph.as_default():  # outside of any graph it would be an eager variable, whatever the argument says
            return tf.compat.v1.train.get_or_create_global_step(graph)

    def add_to_collection(self, graph: Any, name: str, value: Any) -> None:
        """Append a value to one of a graph's collections."""
        _check_graph(graph)
        graph.add_to_collection(name, value)

    def get_collection(self, graph: Any, name: str) -> list[Any]:
        """Return what a graph's collection holds; an unknown name is an empty collection."""
        _check_graph(graph)
        return list(graph.get_collection(name))

    def names_in_use(self, graph: Any) -> set[str] | None:
        """Return the names that new nodes and scopes may not take, in lower case.

        They are more than a message tells (scopes without nodes), and less (scopes of imported nodes are free). None
        where this TensorFlow does not say.
        """
        _check_graph(graph)
        names = getattr(graph, "_names_in_use", None)
        return None if names is None else set(names)

    def to_meta_graph(self, graph: Any) -> saved_model_pb2.MetaGraphDef:
        """Write the graph down, with ``_output_shapes``, as ``tf.compat.v1.saved_model.Builder`` would.

        Filled are graph_def, collection_def, and of meta_info_def the stripped op list and TensorFlow's version.
        Default attributes and devices are kept; there are no tags, saver, signatures or assets.

        Raises:
            UnsupportedError: The graph cannot be a message, because it takes 2 GiB or more.
        """
        tf = tensorflow()
        _check_graph(graph)
        try:
            # The default graph matters to the functions that turn collections into messages.
            with graph.as_default():
                graph_def = graph.as_graph_def(add_shapes=True)
                message = tf.compat.v1.train.export_meta_graph(graph=graph, graph_def=graph_def)
            data = message.SerializeToString(deterministic=True)
        except (ValueError, EncodeError, tf.errors.OpError) as error:
            raise UnsupportedError(f"graph: tensorflow cannot write it down as a message: {error}") from error
        return saved_model_pb2.MetaGraphDef.FromString(data)


def _check_graph(graph: object) -> None:
    if not isinstance(graph, tensorflow().Graph):
        raise InvalidArgumentError(f"graph: got {type(graph).__name__}, want a tf.Graph")
