"""The node by which one model asks another, in either kind of graph. docs/remote_predict.md says whom it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_STRING
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.tensors import Shape, with_shape

__all__ = ["remote_predict"]


def remote_predict(
    input_tensor_alias: Sequence[str],
    input_tensors: Sequence[Any],
    output_tensor_alias: Sequence[str],
    model_name: str,
    task: int = -1,
    old_model_name: str = "",
    model_version: int = -1,
    fail_op_on_rpc_error: bool = True,
    max_rpc_deadline_millis: int = 30,
    output_types: Sequence[dtypes.DTypeLike] = (),
    name: str | None = None,
    signature_name: str = "serving_default",
    *,
    output_shapes: Sequence[Shape] | None = None,
    graph: Emitter | None = None,
) -> list[Any]:
    """Add a node ``TfServingRemotePredict``.

    Args:
        input_tensor_alias: The keys of the inputs in the model's signature.
        input_tensors: The inputs, one for each key.
        output_tensor_alias: The keys of the outputs that are wanted.
        model_name: The model: ``ranker:ps_0``.
        task: Of a parameter server of old, its number.
        old_model_name: The model's name in maps of old: ``ps_0``.
        model_version: The version; the server's choice if negative.
        fail_op_on_rpc_error: Whether the node fails when the call does; else the outputs are then empty.
        max_rpc_deadline_millis: How long the call may take, in milliseconds.
        output_types: The types of the outputs.
        name: The node's.
        signature_name: The signature.
        output_shapes: What is known of the outputs' shapes, which else are unknown. Held against what comes.
        graph: The graph; the default graph if None.

    Returns:
        The outputs, without the call's status.

    Raises:
        InvalidArgumentError: there is no model's name, or there are not as many keys as tensors, types or shapes, or a
            key is there twice.
    """
    if model_name is None:
        raise InvalidArgumentError("model_name: got None, want a name")
    _check_keys("input", input_tensor_alias, len(input_tensors), "tensors")
    _check_keys("output", output_tensor_alias, len(output_types), "types")
    shapes = [None] * len(output_types) if output_shapes is None else list(output_shapes)
    _check_keys("output", output_tensor_alias, len(shapes), "shapes")
    if not fail_op_on_rpc_error and any(shapes):
        raise InvalidArgumentError("output_shapes: outputs of a call that may fail are empty, so nothing is known")
    builder = graph or get_default_graph()
    inputs = [
        builder.const(list(input_tensor_alias), DT_STRING),
        list(input_tensors),
        builder.const(list(output_tensor_alias), DT_STRING),
    ]
    attrs = {
        "model_name": model_name,
        "model_version": model_version,
        "fail_op_on_rpc_error": fail_op_on_rpc_error,
        "max_rpc_deadline_millis": max_rpc_deadline_millis,
        "signature_name": signature_name,
        "old_model_name": old_model_name or "",
        "task": task,
        "output_types": [dtypes.datatype_of(one) for one in output_types],
    }
    node = builder.op("TfServingRemotePredict", inputs, attrs=attrs, name=name)
    _, _, *outputs = node.outputs
    return [with_shape(builder, tensor, shape) for tensor, shape in zip(outputs, shapes, strict=True)]


def _check_keys(what: str, keys: Sequence[str], count: int, things: str) -> None:
    if len(keys) != count:
        raise InvalidArgumentError(f"{what}_tensor_alias: got {len(keys)} keys for {count} {things}")
    for key in keys:
        if list(keys).count(key) > 1:
            raise InvalidArgumentError(f"{what}_tensor_alias: got {key!r} twice")
