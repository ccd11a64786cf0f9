"""What requests and answers of the serving API are about, whichever kind they are of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto import serving_pb2 as pb
from mexport_pb.errors import DataError, InvalidArgumentError, ServingError, UnsupportedError
from mexport_pb.messages import tensor_proto_to_array
from mexport_pb.messages.constants import DEFAULT_SIGNATURE
from mexport_pb.runtime.serve_report import TensorReport

__all__ = ["address", "batch_of", "forget_version", "kind_of", "outputs_of", "request_class", "signature_of"]

_KINDS: Final[dict[type[Message], str]] = {
    pb.PredictRequest: "predict",
    pb.ClassificationRequest: "classify",
    pb.RegressionRequest: "regress",
    pb.MultiInferenceRequest: "multi_inference",
    pb.SessionRunRequest: "session_run",
}
_CLASSES: Final = {cls.DESCRIPTOR.name: cls for cls in _KINDS}


def request_class(request: Message) -> type[Message]:
    """Our class for a request, whichever package made it; raises InvalidArgumentError for what is none."""
    cls = _CLASSES.get(request.DESCRIPTOR.name)
    if cls is None:
        raise InvalidArgumentError(f"not a request: got {request.DESCRIPTOR.full_name}, want one of {sorted(_CLASSES)}")
    return cls


def kind_of(request: Message) -> str:
    """The kind of a request: "predict", "classify", …."""
    return _KINDS[type(request)]


def _specs_of(request: Any) -> list[pb.ModelSpec]:
    if isinstance(request, pb.MultiInferenceRequest):
        return [task.model_spec for task in request.tasks]
    return [request.model_spec]


def address(request: Message, model: str) -> None:
    """Sends a request to the newest version of a model, whomever it was for."""
    for spec in _specs_of(request):
        spec.name = model
    forget_version(request)


def forget_version(request: Message) -> None:
    """Lets any version answer a request."""
    for spec in _specs_of(request):
        spec.ClearField("version")
        spec.ClearField("version_label")


def signature_of(request: Message) -> str:
    """The keys of the signatures that a request is for; empty if it names tensors."""
    if isinstance(request, pb.SessionRunRequest) and not request.tensor_name_is_alias:
        return ""
    return ",".join(spec.signature_name or DEFAULT_SIGNATURE for spec in _specs_of(request))


def batch_of(request: Any) -> int:
    """The largest first dimension of the inputs, or the number of Examples."""
    if isinstance(request, pb.PredictRequest):
        tensors = list(request.inputs.values())
    elif isinstance(request, pb.SessionRunRequest):
        tensors = [feed.tensor for feed in request.feed]
    else:
        given: pb.Input = request.input
        return len(given.example_list.examples) + len(given.example_list_with_context.examples)
    return max((tensor.tensor_shape.dim[0].size for tensor in tensors if tensor.tensor_shape.dim), default=0)


def outputs_of(response: Any, keep_values: bool) -> dict[str, TensorReport]:
    """What came back, by key.

    Raises:
        ServingError: It cannot be read.
    """
    if isinstance(response, pb.PredictResponse):
        return {key: _tensor(proto, keep_values) for key, proto in sorted(response.outputs.items())}
    if isinstance(response, pb.SessionRunResponse):
        return {named.name: _tensor(named.tensor, keep_values) for named in response.tensor}
    if isinstance(response, pb.MultiInferenceResponse):
        outputs = {}
        for result in response.results:
            for key, tensor in _results(result.classification_result, result.regression_result, keep_values).items():
                outputs[f"{result.model_spec.signature_name or DEFAULT_SIGNATURE}/{key}"] = tensor
        return outputs
    result = response.result
    if isinstance(response, pb.ClassificationResponse):
        return _results(result, pb.RegressionResult(), keep_values)
    return _results(pb.ClassificationResult(), result, keep_values)


def _results(
    classified: pb.ClassificationResult, regressed: pb.RegressionResult, keep_values: bool
) -> dict[str, TensorReport]:
    if regressed.regressions:
        values = np.array([one.value for one in regressed.regressions], np.float32)
        return {"outputs": _array(values, keep_values)}
    rows = [row.classes for row in classified.classifications]
    scores = np.array([[one.score for one in row] for row in rows], np.float32)
    labels = np.array([[one.label.encode() for one in row] for row in rows], object)
    return {"classes": _array(labels, keep_values), "scores": _array(scores, keep_values)}


def _tensor(proto: Any, keep_values: bool) -> TensorReport:
    try:
        return _array(tensor_proto_to_array(proto), keep_values)
    except (DataError, UnsupportedError) as error:
        raise ServingError("INTERNAL", f"the answer cannot be read: {error}") from error


def _array(array: np.ndarray, keep_values: bool) -> TensorReport:
    name = dtypes.name_of(dtypes.datatype_of(array.dtype))
    return TensorReport(name, list(array.shape), _plain(array.tolist()) if keep_values else None)


def _plain(value: Any) -> Any:
    """Values that JSON has: text for bytes, and names for numbers that are none."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return str(value)
