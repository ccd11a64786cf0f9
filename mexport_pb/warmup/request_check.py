"""Would the model answer this request? The rules are those of ``docs/formats/warmup.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import SignatureDef
from mexport_pb._proto.serving_pb2 import (
    ClassificationRequest,
    Input,
    MultiInferenceRequest,
    PredictionLog,
    PredictRequest,
    RegressionRequest,
    SessionRunRequest,
)
from mexport_pb._proto.tensor_pb2 import TensorProto
from mexport_pb.messages.constants import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from mexport_pb.warmup.logs import requests_of
from mexport_pb.warmup.model import WarmupModel
from mexport_pb.warmup.problems import WarmupProblem
from mexport_pb.warmup.tensor_check import why_unfit

__all__ = ["find_request_problems", "model_names"]

_PREDICTABLE: Final = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
_PLACEHOLDERS: Final = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_SHOWN: Final = 20


def find_request_problems(log: PredictionLog, model: WarmupModel) -> Iterator[WarmupProblem]:
    """What is wrong with the request of a log; nothing if a server would take it."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        yield WarmupProblem("a log of no kind: servers pass over it", severity="warning")
    elif kind == "predict_log":
        yield from _check_predict(log.predict_log.request, model)
    elif kind == "classify_log":
        yield from _check_examples(log.classify_log.request, CLASSIFY_METHOD, model)
    elif kind == "regress_log":
        yield from _check_examples(log.regress_log.request, REGRESS_METHOD, model)
    elif kind == "multi_inference_log":
        yield from _check_multi(log.multi_inference_log.request, model)
    elif kind == "session_run_log":
        yield WarmupProblem("a session_run_log: servers do not replay it", severity="warning")
        yield from _check_session_run(log.session_run_log.request, model)
    else:
        yield WarmupProblem(f"a {kind}: servers do not replay it")


def model_names(log: PredictionLog) -> list[str]:
    """The model's name in every model spec of a log."""
    names: list[str] = []
    for request in requests_of(log):
        specs: Any = [task.model_spec for task in request.tasks] if hasattr(request, "tasks") else [request.model_spec]
        names.extend(spec.name for spec in specs)
    return names


def _find(
    name: str, methods: Sequence[str], model: WarmupModel
) -> tuple[str, SignatureDef | None, WarmupProblem | None]:
    """The key of a signature, and itself or what is wrong with asking it."""
    key = model.signature_key(name)
    signature = model.signatures.get(key)
    if signature is None:
        there = ", ".join(map(repr, list(model.signatures)[:_SHOWN])) or "none"
        message = f"the model has no such signature; it has {there}"
        return key, None, WarmupProblem(message, signature=key, field="model_spec.signature_name")
    if signature.method_name not in methods:
        want = " or ".join(method.rpartition("/")[2] for method in methods)
        message = f"method: got {signature.method_name!r}, want one for {want}"
        return key, None, WarmupProblem(message, signature=key)
    return key, signature, None


def _check_predict(request: PredictRequest, model: WarmupModel) -> Iterator[WarmupProblem]:
    key, signature, problem = _find(request.model_spec.signature_name, _PREDICTABLE, model)
    if signature is None:
        if problem is not None:
            yield problem
        return
    for name in sorted(signature.inputs):
        if name not in request.inputs and name not in signature.defaults:
            yield WarmupProblem("is missing", signature=key, field=f"input {name!r}")
    for name in sorted(request.inputs):
        field = f"input {name!r}"
        if name not in signature.inputs:
            there = ", ".join(map(repr, sorted(signature.inputs)[:_SHOWN])) or "none"
            yield WarmupProblem(f"the signature has no such input; it has {there}", signature=key, field=field)
        elif reason := _why_input_unfit(request.inputs[name], signature, name):
            yield WarmupProblem(reason, signature=key, field=field)
    seen: set[str] = set()
    for name in request.output_filter:
        field = f"output_filter {name!r}"
        if name not in signature.outputs:
            there = ", ".join(map(repr, sorted(signature.outputs)[:_SHOWN])) or "none"
            yield WarmupProblem(f"the signature has no such output; it has {there}", signature=key, field=field)
        elif name in seen:
            yield WarmupProblem("is there twice", signature=key, field=field)
        seen.add(name)


def _why_input_unfit(tensor: TensorProto, signature: SignatureDef, name: str) -> str | None:
    info = signature.inputs[name]
    if info.WhichOneof("encoding") != "name":
        return "is sparse or composite, and cannot be fed with one tensor"
    return why_unfit(tensor, info.dtype, info.tensor_shape if info.HasField("tensor_shape") else None)


def _check_examples(
    request: ClassificationRequest | RegressionRequest, method: str, model: WarmupModel
) -> Iterator[WarmupProblem]:
    key, signature, problem = _find(request.model_spec.signature_name, [method], model)
    if problem is not None:
        yield problem
    if signature is not None and len(signature.inputs) != 1:
        message = f"inputs: got {len(signature.inputs)}, want 1, which takes the examples"
        yield WarmupProblem(message, signature=key)
    yield from _check_input(request.input, key)


def _check_input(given: Input, key: str | None) -> Iterator[WarmupProblem]:
    kind = given.WhichOneof("kind")
    if kind is None or not getattr(given, kind).examples:
        yield WarmupProblem("got no examples, want 1 or more", signature=key, field="input")


def _check_multi(request: MultiInferenceRequest, model: WarmupModel) -> Iterator[WarmupProblem]:
    if not request.tasks:
        yield WarmupProblem("got no tasks, want 1 or more", field="tasks")
    taken: dict[str, str] = {}  # by signature, the tensor that takes the examples
    for position, task in enumerate(request.tasks):
        field = f"task {position}"
        if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
            message = f"method: got {task.method_name!r}, want {CLASSIFY_METHOD} or {REGRESS_METHOD}"
            yield WarmupProblem(message, signature=model.signature_key(task.model_spec.signature_name), field=field)
            continue
        key, signature, problem = _find(task.model_spec.signature_name, [task.method_name], model)
        if problem is not None:
            yield WarmupProblem(problem.message, signature=key, field=field)
        if signature is None:
            continue
        if key in taken:
            yield WarmupProblem("the signature is asked twice", signature=key, field=field)
        if len(signature.inputs) != 1:
            message = f"inputs: got {len(signature.inputs)}, want 1, which takes the examples"
            yield WarmupProblem(message, signature=key, field=field)
            continue
        (info,) = signature.inputs.values()
        first = next(iter(taken.values()), info.name)
        if info.name != first:
            message = f"takes tensor {info.name!r}, but earlier tasks {first!r}: want the same"
            yield WarmupProblem(message, signature=key, field=field)
        taken[key] = info.name
    yield from _check_input(request.input, None)


def _check_session_run(request: SessionRunRequest, model: WarmupModel) -> Iterator[WarmupProblem]:
    if not request.fetch and not request.target:
        yield WarmupProblem("got neither a fetch nor a target", field="fetch")
    key: str | None = None
    signature: SignatureDef | None = None
    if request.tensor_name_is_alias:
        key, signature, problem = _find(request.model_spec.signature_name, _PREDICTABLE, model)
        if problem is not None:
            yield problem
            return
    seen: set[str] = set()
    for feed in request.feed:
        field = f"feed {feed.name!r}"
        reason = "is there twice" if feed.name in seen else _why_no_feed(feed.name, feed.tensor, signature, model)
        if reason is not None:
            yield WarmupProblem(reason, signature=key, field=field)
        seen.add(feed.name)
    for name in request.fetch:
        reason = None
        if signature is not None:
            reason = None if name in signature.outputs else "the signature has no such output"
        elif model.nodes is not None:
            reason = _why_no_tensor(name, model.nodes)
        if reason is not None:
            yield WarmupProblem(reason, signature=key, field=f"fetch {name!r}")
    for name in request.target:
        if model.nodes is not None and name not in model.nodes:
            yield WarmupProblem("the graph has no such operation", signature=key, field=f"target {name!r}")


def _why_no_feed(name: str, tensor: TensorProto, signature: SignatureDef | None, model: WarmupModel) -> str | None:
    if signature is not None:
        if name not in signature.inputs:
            return "the signature has no such input"
        return _why_input_unfit(tensor, signature, name)
    if model.nodes is None:
        return why_unfit(tensor, None, None)
    reason = _why_no_tensor(name, model.nodes)
    if reason is not None:
        return reason
    node = model.nodes[name.partition(":")[0]]
    if node.op not in _PLACEHOLDERS:
        return why_unfit(tensor, None, None)
    shape = node.attr["shape"].shape if "shape" in node.attr else None
    if node.op == "Placeholder" and shape is not None and not shape.dim:
        shape = None  # without a dimension it has long meant an unknown rank
    return why_unfit(tensor, node.attr["dtype"].type, shape)


def _why_no_tensor(name: str, nodes: Mapping[str, NodeDef]) -> str | None:
    node_name, colon, index = name.partition(":")
    if node_name not in nodes:
        return f"the graph has no node {node_name!r}"
    if colon and not (index.isascii() and index.isdecimal() and len(index) < 10):
        return "want the name of a tensor, 'node:0'"
    return None
