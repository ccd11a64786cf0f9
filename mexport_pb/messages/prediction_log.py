"""Requests of the serving API, and the PredictionLogs that warm a server up with them.

Messages that are taken may be ours or tensorflow-serving's own; all are copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from mexport_pb._proto.example_pb2 import Example
from mexport_pb._proto.serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    InferenceTask,
    Input,
    LogMetadata,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictionLog,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    SessionRunRequest,
    SessionRunResponse,
)
from mexport_pb._proto.session_run_pb2 import RunOptions
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.tensors import make_tensor_proto
from mexport_pb.messages.wire import to_message

__all__ = [
    "make_classify_request",
    "make_inference_task",
    "make_model_spec",
    "make_multi_inference_request",
    "make_predict_request",
    "make_prediction_log",
    "make_regress_request",
    "make_session_run_request",
]

# The request's name -> its class, the class of the response, and the field of PredictionLog.
_LOGS: Final[dict[str, tuple[type[Message], type[Message], str]]] = {
    request.DESCRIPTOR.name: (request, response, field)
    for request, response, field in (
        (PredictRequest, PredictResponse, "predict_log"),
        (ClassificationRequest, ClassificationResponse, "classify_log"),
        (RegressionRequest, RegressionResponse, "regress_log"),
        (MultiInferenceRequest, MultiInferenceResponse, "multi_inference_log"),
        (SessionRunRequest, SessionRunResponse, "session_run_log"),
    )
}


def make_model_spec(
    name: str, *, signature_name: str = "", version: int | None = None, version_label: str | None = None
) -> ModelSpec:
    """Which model a request is for.

    Args:
        name: As the server knows the model. Warmup ignores it.
        signature_name: The server takes "serving_default" for an empty one.
        version: One version; by default the newest.
        version_label: A version by the label that the server's configuration gives it.

    Raises:
        InvalidArgumentError: both a version and a label.
    """
    spec = ModelSpec(name=name, signature_name=signature_name)
    if version is not None and version_label is not None:
        raise InvalidArgumentError(f"model spec {name!r}: got a version and a version label, want one of them")
    if version is not None:
        spec.version.value = version
        spec.version.SetInParent()
    elif version_label is not None:
        spec.version_label = version_label
    return spec


def make_predict_request(
    model_spec: Message | str, inputs: Mapping[str, Any], output_filter: Iterable[str] = ()
) -> PredictRequest:
    """Ask a signature by the names of its inputs.

    Args:
        model_spec: A ModelSpec, or the model's name.
        inputs: By input key: a TensorProto, or whatever :func:`make_tensor_proto` takes.
        output_filter: The output keys to answer; all when empty.
    """
    request = PredictRequest(model_spec=_spec(model_spec), output_filter=_names(output_filter, "output_filter"))
    for key, value in sorted(inputs.items()):
        request.inputs[key].CopyFrom(make_tensor_proto(value))
    return request


def make_classify_request(
    model_spec: Message | str, examples: Iterable[Message], context: Message | None = None
) -> ClassificationRequest:
    """Ask a classify signature about `examples` (Example); `context` (Example) holds features of all of them."""
    return ClassificationRequest(model_spec=_spec(model_spec), input=_input(examples, context))


def make_regress_request(
    model_spec: Message | str, examples: Iterable[Message], context: Message | None = None
) -> RegressionRequest:
    """Ask a regress signature about `examples` (Example); `context` (Example) holds features of all of them."""
    return RegressionRequest(model_spec=_spec(model_spec), input=_input(examples, context))


def make_inference_task(model_spec: Message | str, method_name: str) -> InferenceTask:
    """One task of a multi-inference request; `method_name` is CLASSIFY_METHOD or REGRESS_METHOD."""
    return InferenceTask(model_spec=_spec(model_spec), method_name=method_name)


def make_multi_inference_request(
    tasks: Iterable[Message], examples: Iterable[Message], context: Message | None = None
) -> MultiInferenceRequest:
    """Ask several signatures (InferenceTask) about the same `examples`, see :func:`make_classify_request`."""
    return MultiInferenceRequest(
        tasks=[to_message(task, InferenceTask) for task in tasks], input=_input(examples, context)
    )


def make_session_run_request(
    model_spec: Message | str,
    feeds: Mapping[str, Any],
    fetches: Iterable[str],
    targets: Iterable[str] = (),
    *,
    options: Message | None = None,
    tensor_name_is_alias: bool = False,
) -> SessionRunRequest:
    """Run a part of the graph, past all signatures.

    Args:
        model_spec: A ModelSpec, or the model's name.
        feeds: By tensor name, in their order: a TensorProto, or whatever :func:`make_tensor_proto` takes.
        fetches: Tensors to answer.
        targets: Operations to run, whose outputs nobody wants.
        options: RunOptions.
        tensor_name_is_alias: Names are keys of the signature instead.
    """
    request = SessionRunRequest(
        model_spec=_spec(model_spec),
        fetch=_names(fetches, "fetches"),
        target=_names(targets, "targets"),
        options=None if options is None else to_message(options, RunOptions),
        tensor_name_is_alias=tensor_name_is_alias,
    )
    for name, value in feeds.items():
        request.feed.add(name=name, tensor=make_tensor_proto(value))
    return request


def make_prediction_log(
    request: Message, response: Message | None = None, *, metadata: Message | None = None
) -> PredictionLog:
    """A record of a warmup file. The kind of log is that of the request.

    Args:
        request: A PredictRequest, ClassificationRequest, RegressionRequest, MultiInferenceRequest or SessionRunRequest.
        response: The response of that kind; servers do not need it.
        metadata: LogMetadata.

    Raises:
        InvalidArgumentError: another message, or a response of another kind.
    """
    kind = _LOGS.get(request.DESCRIPTOR.name) if isinstance(request, Message) else None
    if kind is None:
        got = request.DESCRIPTOR.full_name if isinstance(request, Message) else type(request).__name__
        raise InvalidArgumentError(f"not a request: got {got}, want one of {sorted(_LOGS)}")
    request_class, response_class, field = kind
    log = PredictionLog()
    getattr(log, field).request.CopyFrom(to_message(request, request_class))
    if response is not None:
        getattr(log, field).response.CopyFrom(to_message(response, response_class))
    if metadata is not None:
        log.log_metadata.CopyFrom(to_message(metadata, LogMetadata))
    return log


def _spec(spec: Message | str) -> ModelSpec:
    return make_model_spec(spec) if isinstance(spec, str) else to_message(spec, ModelSpec)


def _names(names: Iterable[str], what: str) -> list[str]:
    if isinstance(names, str):
        raise InvalidArgumentError(f"{what}: got {names!r}, want a list of names")
    return list(names)


def _input(examples: Iterable[Message], context: Message | None) -> Input:
    result = Input()
    target = result.example_list if context is None else result.example_list_with_context
    target.SetInParent()
    target.examples.extend([to_message(example, Example) for example in examples])
    if context is not None:
        result.example_list_with_context.context.CopyFrom(to_message(context, Example))
    return result
