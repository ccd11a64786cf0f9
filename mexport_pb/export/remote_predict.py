"""A part of a model that becomes a model of its own, which the rest calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.context import get_current_export_ctx
from mexport_pb.export.source import Graph
from mexport_pb.graph.export_mode import is_exporting_distributed
from mexport_pb.graph.nested import NestedTensors
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.remote import remote_predict
from mexport_pb.table.tensors import datatype_of_tensor, placeholder, static_shape

__all__ = ["RemotePredictHelper", "call_dense_part"]

_PLACEHOLDER_SUFFIX = "_remote_input_ph"


class RemotePredictHelper:
    """Builds a function of tensors as a signature, and calls of that signature.

    The function is built at once, in the graph that is the default one then: usually a sub-graph of the export's
    context. Its inputs are placeholders with the types and static shapes of ``input_tensors``. The calls are built by
    :meth:`call_remote_predict`, in the graph that is the default one then: usually the entry's. ::

        with ctx.sub_graph("dense_0").as_default():
            helper = RemotePredictHelper("dense", features, build_dense)
        predictions = helper.call_remote_predict("ranker:dense_0")

    Keys of the signature are names of tensors with "_" for ":": of ``input_tensors`` and of what the function returned.

    Args:
        name: The signature's name.
        input_tensors: What the function is called with, as :class:`mexport_pb.NestedTensors` takes it; never changed.
        remote_func: Takes the same structure with placeholders for tensors, and returns a structure of tensors.

    Raises:
        InvalidArgumentError: no export is running, two tensors would have one key, the structures hold something else
            than tensors, the function returned none, or tensors of another graph.
    """

    def __init__(self, name: str, input_tensors: Any, remote_func: Callable[[Any], Any]) -> None:
        context = get_current_export_ctx()
        if context is None:
            raise InvalidArgumentError(f"remote function {name!r}: want an export that is running")
        self._context = context
        self._name = name
        self._inputs = NestedTensors(input_tensors)
        tensors = self._inputs.get_tensors()
        self._input_keys = _keys(f"remote function {name!r} input", tensors)
        graph = context.source.current_graph()
        emitter = context.source.emitter()
        placeholders = [
            placeholder(emitter, datatype_of_tensor(tensor), static_shape(tensor), f"{key}{_PLACEHOLDER_SUFFIX}")
            for key, tensor in zip(self._input_keys, tensors, strict=True)
        ]
        self._outputs = NestedTensors(remote_func(self._inputs.get_nested_result(placeholders)))
        results = self._outputs.get_tensors()
        if not results:
            raise InvalidArgumentError(f"remote function {name!r}: it returned no tensor")
        for tensor in results:
            if tensor.graph is not graph:
                raise InvalidArgumentError(f"remote function {name!r}: {tensor.name} is of another graph")
        self._output_keys = _keys(f"remote function {name!r} output", results)
        context.add_signature(
            graph,
            name,
            dict(zip(self._input_keys, placeholders, strict=True)),
            dict(zip(self._output_keys, results, strict=True)),
        )

    def call_remote_predict(
        self,
        model_name: str,
        input_tensors: Any = None,
        old_model_name: str | None = None,
        task: int = 0,
        *,
        model_version: int = -1,
        fail_op_on_rpc_error: bool = True,
        max_rpc_deadline_millis: int = 30,
    ) -> Any:
        """Adds a call of the signature to the default graph.

        Args:
            model_name: The model that has it: ``ranker:dense_0``.
            input_tensors: Of the structure and types of the constructor's; these if None.
            old_model_name: The model's name in maps of old: ``dense_0``.
            task: Of a parameter server of old, its number.
            model_version: The version; the server's choice if negative.
            fail_op_on_rpc_error: Whether the step fails when the call does; else the outputs are then empty, and their
                static shapes unknown.
            max_rpc_deadline_millis: How long the call may take.

        Returns:
            The structure that the function returned, with what the call gives, of the same static shapes.

        Raises:
            InvalidArgumentError: ``model_name`` is None, or the inputs are of another structure or other types.
        """
        tensors = self._inputs.get_tensors()
        if input_tensors is not None:
            tensors = self._like_first(NestedTensors(input_tensors).get_tensors(), tensors)
        results = self._outputs.get_tensors()
        found = remote_predict(
            self._input_keys,
            tensors,
            self._output_keys,
            model_name,
            task,
            old_model_name or "",
            model_version,
            fail_op_on_rpc_error,
            max_rpc_deadline_millis,
            [datatype_of_tensor(tensor) for tensor in results],
            signature_name=self._name,
            output_shapes=[static_shape(tensor) for tensor in results] if fail_op_on_rpc_error else None,
            graph=self._context.source.emitter(),
        )
        return self._outputs.get_nested_result(found)

    def _like_first(self, tensors: list[Any], first: list[Any]) -> list[Any]:
        types = [datatype_of_tensor(tensor) for tensor in tensors]
        want = [datatype_of_tensor(tensor) for tensor in first]
        if types != want:
            raise InvalidArgumentError(
                f"remote function {self._name!r}: got inputs of the types {types}, want {want}, as it was built with"
            )
        return tensors


def call_dense_part(
    dense_func: Callable[[Any], Any],
    tensors: Any,
    *,
    model_name: str = "",
    sub_graph: str = "dense_0",
    device: str = "/device:GPU:0",
    max_rpc_deadline_millis: int = 30,
) -> Any:
    """Calls the dense part of a model, where an export wants that as a model of its own for GPU servers.

    In a distributed export ``with_remote_gpu`` the function is built in a sub-graph, on ``device``, as the signature
    ``gpu_remote_call``, and the default graph calls it. Otherwise it is called as it is.

    Args:
        dense_func: Takes the tensors, and returns a structure of tensors.
        tensors: A structure of tensors of the default graph.
        model_name: The model's name: ``<model_name>:dense_0`` is called.
        sub_graph: The sub-model's name; exporters look for "dense" at its beginning.
        device: Where the dense part is computed.
        max_rpc_deadline_millis: How long the call may take.

    Raises:
        InvalidArgumentError: as :class:`RemotePredictHelper`.
    """
    context = get_current_export_ctx()
    if context is None or not is_exporting_distributed() or not context.with_remote_gpu:
        return dense_func(tensors)
    graph: Graph = context.sub_graph(sub_graph)
    with context.source.as_default(graph):
        emitter: Emitter = context.source.emitter()
        with emitter.device(device) if device else nullcontext():
            helper = RemotePredictHelper("gpu_remote_call", tensors, dense_func)
    return helper.call_remote_predict(
        f"{model_name or ''}:{sub_graph}",
        old_model_name=sub_graph,
        max_rpc_deadline_millis=max_rpc_deadline_millis,
    )


def _keys(what: str, tensors: Sequence[Any]) -> list[str]:
    keys = [tensor.name.replace(":", "_") for tensor in tensors]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidArgumentError(f"{what}: two tensors have the key {key!r}")
    return keys
