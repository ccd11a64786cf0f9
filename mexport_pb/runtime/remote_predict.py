"""Asks other models from within a graph, and says where their servers are. docs/remote_predict.md describes both."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.runtime.ops import op_library_path, tf_serving_remote_predict

__all__ = ["remote_predict", "set_predict_servers"]

_MESSAGE_BYTES = 4096


def set_predict_servers(servers: Mapping[str, Sequence[str]] | None) -> None:
    """Say where the models are that remote predictions ask; for all sessions of the process, from the next call on.

    Args:
        servers: The addresses, ``"host:port"``, of the servers of each model, by the names that
            docs/remote_predict.md describes: ``{"ranker:ps_0": ["10.0.0.1:8500", "10.0.0.2:8500"]}``. They replace
            those of an earlier call, and count in place of the environment's; None lets the environment count again.

    Raises:
        InvalidArgumentError: an address is none, or `servers` is no such mapping. What was set before stays.
        MexportError: there is no library of ops.
    """
    text = None if servers is None else _to_json(servers)
    function = ctypes.CDLL(op_library_path()).mexport_set_predict_servers
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    function.restype = ctypes.c_int
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    if function(text, message, _MESSAGE_BYTES):
        raise InvalidArgumentError(message.value.decode(errors="replace"))


def _to_json(servers: Mapping[str, Sequence[str]]) -> bytes:
    if not isinstance(servers, Mapping):
        raise InvalidArgumentError(f"servers: got {type(servers).__name__}, want a mapping to lists of addresses")
    for key, addresses in servers.items():
        listed = isinstance(addresses, Sequence) and not isinstance(addresses, str | bytes)
        if not isinstance(key, str) or not listed or not all(isinstance(one, str) for one in addresses):
            raise InvalidArgumentError(
                f"servers: got {key!r}: {addresses!r}, want a list of addresses by a model's name"
            )
    return json.dumps({key: list(addresses) for key, addresses in servers.items()}).encode()


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
    output_types: Sequence[Any] = (),
    name: str | None = None,
    signature_name: str = "serving_default",
) -> list[Any]:
    """Add a node that asks another model.

    Args:
        input_tensor_alias: The names of the inputs in the model's signature.
        input_tensors: The inputs.
        output_tensor_alias: The names of the outputs that are wanted.
        model_name: The model.
        task: Of a parameter server of old, its number.
        old_model_name: The model's name in maps of old: ``ps_0``.
        model_version: The version; the server's choice if negative.
        fail_op_on_rpc_error: Whether the node fails when the call does; else the outputs are then empty.
        max_rpc_deadline_millis: How long the call may take, in milliseconds.
        output_types: The types of the outputs.
        name: The node's.
        signature_name: The signature.

    Returns:
        The outputs, of unknown shapes.

    Raises:
        InvalidArgumentError: there is no model's name.
        MexportError: there is no library of ops.
    """
    if model_name is None:
        raise InvalidArgumentError("model_name: got None, want a name")
    return tf_serving_remote_predict(
        input_tensor_alias,
        input_tensors,
        output_tensor_alias,
        output_types=output_types,
        model_name=model_name,
        model_version=model_version,
        fail_op_on_rpc_error=fail_op_on_rpc_error,
        max_rpc_deadline_millis=max_rpc_deadline_millis,
        signature_name=signature_name,
        old_model_name=old_model_name or "",
        task=task,
        name=name,
    ).output_tensors
