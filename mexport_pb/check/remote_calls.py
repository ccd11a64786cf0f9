"""Calls from one model of a distributed export to another: read from the graph, and held against what is called.

A node ``TfServingRemotePredict`` sends a Predict request to another model. Its tensors travel under *aliases*, which
must be input and output keys of a signature of that model. Nothing of this is checked when the models are loaded, so an
export that does not fit together fails at its first request, or at its deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from mexport_pb.check.attrs import dtype_name
from mexport_pb.check.problems import Report, quote
from mexport_pb.errors import DataError, UnsupportedError
from mexport_pb.messages.constants import DEFAULT_SIGNATURE
from mexport_pb.messages.tensors import tensor_proto_to_array

__all__ = ["REMOTE_PREDICT_OP", "RemoteCall", "check_remote_calls", "remote_calls"]

REMOTE_PREDICT_OP: Final = "TfServingRemotePredict"

# What stands for a constant unchanged.
_PASSING: Final = frozenset({"Identity", "StopGradient", "Snapshot"})
_MAX_HOPS: Final = 100

# Default values of the op's attributes, which a stripped graph leaves out.
_DEADLINE_MILLIS: Final = 30


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """A node that asks another model.

    Attributes:
        node: The node's name; ``function/node`` for one in a function.
        model_name: Whom it asks, such as ``ctr:ps_0`` or ``:ps_0``; may be empty.
        old_model_name: The same in the older naming, such as ``ps_0``; may be empty.
        task: The number of the parameter server, or -1.
        version: The version that is asked for, or -1 for the newest.
        signature: The signature's key.
        inputs: Aliases of what is sent; None if they are no constants of the graph.
        input_types: DataType of each.
        outputs: Aliases of what is wanted; None if they are no constants of the graph.
        output_types: DataType of each.
        fails: Whether a failed call fails the request; else the node tells by its outputs.
        deadline_millis: How long it waits.
    """

    node: str
    model_name: str
    old_model_name: str
    task: int
    version: int
    signature: str
    inputs: tuple[str, ...] | None
    input_types: tuple[int, ...]
    outputs: tuple[str, ...] | None
    output_types: tuple[int, ...]
    fails: bool
    deadline_millis: int

    @property
    def prefix(self) -> str:
        """What comes before the sub-model in the model's name: ``ctr`` of ``ctr:ps_0``."""
        return self.model_name.rpartition(":")[0]

    @property
    def sub_model(self) -> str:
        """The folder of the export that answers: ``ps_0``. Empty if the node names none."""
        if self.model_name:
            return self.model_name.rpartition(":")[2]
        return self.old_model_name or (f"ps_{self.task}" if self.task >= 0 else "")


def remote_calls(meta_graph: MetaGraphDef) -> list[RemoteCall]:
    """The calls of a graph and of its functions, in their order."""
    calls = _calls_of(meta_graph.graph_def.node, "")
    for function in meta_graph.graph_def.library.function:
        calls += _calls_of(function.node_def, f"{function.signature.name}/")
    return calls


def check_remote_calls(
    caller: MetaGraphDef,
    models: Mapping[str, MetaGraphDef | None],
    report: Report,
    *,
    version: int | None = None,
    strangers: bool = False,
) -> None:
    """Reports what of a graph's calls the models of an export do not answer.

    Args:
        caller: A graph that calls, usually the entry.
        models: What is served, by the name of the sub-model, such as ``ps_0``; None for one of which nothing is known.
        report: Where problems go.
        version: The version that is served; None where it is not known.
        strangers: Whether others may serve models that are not here; calls of such are then warned of only.
    """
    for call in remote_calls(caller):
        where = f"remote call {quote(call.node)}"
        if call.sub_model not in models:
            asked = call.model_name or call.old_model_name
            message = f"nothing serves the model {quote(asked)}: got {sorted(models)}, want {call.sub_model}"
            (report.warn if strangers else report.error)(where, message)
            continue
        if call.version >= 0 and version is not None and call.version != version:
            report.error(where, f"asks for a version: got {call.version}, want {version}, or -1 for the newest")
        model = models[call.sub_model]
        if model is None:
            continue
        key = call.signature or DEFAULT_SIGNATURE
        if key not in model.signature_def:
            keys = sorted(model.signature_def)
            report.error(where, f"{call.sub_model} has no signature {quote(key)}: want one of {keys}")
            continue
        _check_aliases(call, f"{where} to {call.sub_model} signature {quote(key)}", model.signature_def[key], report)


def _check_aliases(call: RemoteCall, where: str, signature: SignatureDef, report: Report) -> None:
    optional = set(signature.defaults)
    _check_side(f"{where} input", call.inputs, call.input_types, signature.inputs, report)
    if call.inputs is not None:
        for alias in sorted(signature.inputs.keys() - set(call.inputs) - optional):
            report.error(f"{where} input {quote(alias)}", "is not sent")
    _check_side(f"{where} output", call.outputs, call.output_types, signature.outputs, report)


def _check_side(
    where: str,
    aliases: Sequence[str] | None,
    types: Sequence[int],
    infos: Mapping[str, TensorInfo],
    report: Report,
) -> None:
    if aliases is None:
        report.warn(f"{where}s", "their names are no constants of the graph, so they cannot be checked")
        return
    if len(aliases) != len(types):
        report.error(f"{where}s", f"got {len(aliases)} names, want one for each of {len(types)} tensors")
        return
    for alias, dtype in zip(aliases, types, strict=True):
        if aliases.count(alias) > 1:
            report.error(f"{where} {quote(alias)}", "is there twice")
        info = infos.get(alias)
        if info is None:
            report.error(f"{where} {quote(alias)}", f"the signature has {sorted(infos)}")
        elif info.dtype != dtype:
            report.error(f"{where} {quote(alias)}", f"got {dtype_name(dtype)}, want {dtype_name(info.dtype)}")


def _calls_of(nodes: Iterable[NodeDef], prefix: str) -> list[RemoteCall]:
    nodes = list(nodes)
    found = [node for node in nodes if node.op == REMOTE_PREDICT_OP]
    by_name = {node.name: node for node in nodes} if found else {}
    return [_read(node, by_name, prefix) for node in found]


def _read(node: NodeDef, by_name: Mapping[str, NodeDef], prefix: str) -> RemoteCall:
    attrs = node.attr
    inputs = [name for name in node.input if not name.startswith("^")]
    sent = tuple(attrs["T"].list.type) if "T" in attrs else ()
    wanted = tuple(attrs["output_types"].list.type) if "output_types" in attrs else ()
    return RemoteCall(
        node=f"{prefix}{node.name}",
        model_name=_text(node, "model_name"),
        old_model_name=_text(node, "old_model_name"),
        task=attrs["task"].i if "task" in attrs else -1,
        version=attrs["model_version"].i if "model_version" in attrs else -1,
        signature=_text(node, "signature_name") or DEFAULT_SIGNATURE,
        # The names of what is sent come first, the tensors follow, and the names of what is wanted are last.
        inputs=_constant(inputs[0], by_name) if inputs else None,
        input_types=sent,
        outputs=_constant(inputs[-1], by_name) if len(inputs) == len(sent) + 2 else None,
        output_types=wanted,
        fails=attrs["fail_op_on_rpc_error"].b if "fail_op_on_rpc_error" in attrs else True,
        deadline_millis=attrs["max_rpc_deadline_millis"].i if "max_rpc_deadline_millis" in attrs else _DEADLINE_MILLIS,
    )


def _text(node: NodeDef, attr: str) -> str:
    return node.attr[attr].s.decode(errors="replace") if attr in node.attr else ""


def _constant(tensor: str, by_name: Mapping[str, NodeDef]) -> tuple[str, ...] | None:
    """The strings of a constant vector, or None if it is something else."""
    for _ in range(_MAX_HOPS):
        node = by_name.get(tensor.partition(":")[0])
        if node is None:
            return None
        if node.op == "Const":
            break
        if node.op not in _PASSING or not node.input:
            return None
        tensor = node.input[0]
    else:
        return None
    value = node.attr["value"].tensor
    if value.dtype != tensor_pb2.DT_STRING:
        return None
    try:
        array = tensor_proto_to_array(value)
    except (DataError, UnsupportedError):
        return None
    # A shape may promise any number of elements for a few bytes.
    if array.ndim != 1 or array.size > max(len(value.string_val), len(value.tensor_content)):
        return None
    return tuple(element.decode(errors="replace") for element in array.tolist())
