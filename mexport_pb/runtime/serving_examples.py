"""Classify, regress and multi-inference requests: Examples are fed to the one input of a signature, serialised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mexport_pb._proto.saved_model_pb2 import SignatureDef
from mexport_pb._proto.serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
    Input,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
)
from mexport_pb.errors import ServingError
from mexport_pb.messages.constants import (
    CLASSIFY_INPUTS,
    CLASSIFY_METHOD,
    CLASSIFY_OUTPUT_CLASSES,
    CLASSIFY_OUTPUT_SCORES,
    DEFAULT_SIGNATURE,
    REGRESS_INPUTS,
    REGRESS_METHOD,
    REGRESS_OUTPUTS,
)

if TYPE_CHECKING:
    from mexport_pb.runtime.serving import ServedModel

__all__ = ["classify", "multi_inference", "regress"]

Run: TypeAlias = Callable[[Mapping[str, np.ndarray], list[str]], list[np.ndarray]]

# By method: the key of the input, and the keys of the outputs with their dtype.
_INPUTS: Final = {CLASSIFY_METHOD: CLASSIFY_INPUTS, REGRESS_METHOD: REGRESS_INPUTS}
_OUTPUTS: Final[dict[str, dict[str, np.dtype[Any]]]] = {
    CLASSIFY_METHOD: {CLASSIFY_OUTPUT_CLASSES: np.dtype(object), CLASSIFY_OUTPUT_SCORES: np.dtype(np.float32)},
    REGRESS_METHOD: {REGRESS_OUTPUTS: np.dtype(np.float32)},
}


def classify(model: ServedModel, request: ClassificationRequest, run: Run) -> ClassificationResponse:
    """Answers a classify request; raises ServingError."""
    spec, signature = _signature(model, request.model_spec, CLASSIFY_METHOD)
    examples, values = _run(signature, CLASSIFY_METHOD, request.input, run)
    return ClassificationResponse(model_spec=spec, result=_classifications(values, len(examples)))


def regress(model: ServedModel, request: RegressionRequest, run: Run) -> RegressionResponse:
    """Answers a regress request; raises ServingError."""
    spec, signature = _signature(model, request.model_spec, REGRESS_METHOD)
    examples, values = _run(signature, REGRESS_METHOD, request.input, run)
    return RegressionResponse(model_spec=spec, result=_regressions(values, len(examples)))


def multi_inference(model: ServedModel, request: MultiInferenceRequest, run: Run) -> MultiInferenceResponse:
    """Answers a multi-inference request; raises ServingError."""
    names = {task.model_spec.name for task in request.tasks}
    if "" in names:
        raise ServingError("INVALID_ARGUMENT", "tasks: a model spec has no model name")
    if len(names) > 1:
        raise ServingError("INVALID_ARGUMENT", f"tasks: want all of one model, got {sorted(names)}")
    keys = [task.model_spec.signature_name or DEFAULT_SIGNATURE for task in request.tasks]
    if len(set(keys)) < len(keys):
        raise ServingError("INVALID_ARGUMENT", f"tasks: a signature is there twice: {keys}")
    asked = []
    for task in request.tasks:
        if task.method_name not in _INPUTS:
            raise ServingError("UNIMPLEMENTED", f"tasks: got method {task.method_name!r}, want classify or regress")
        spec, signature = _signature(model, task.model_spec, task.method_name)
        asked.append((spec, signature, task.method_name, *_names(signature, task.method_name)))
    if len({source for _, _, _, source, _ in asked}) > 1:
        raise ServingError("INVALID_ARGUMENT", "tasks: want signatures with the same input tensor")
    response = MultiInferenceResponse()
    if not asked:
        return response
    examples = _examples(request.input)
    fetches = sorted({name for *_, outputs in asked for name in outputs.values()})
    fetched = dict(zip(fetches, run({asked[0][3]: examples}, fetches), strict=True))
    for spec, _, method, _, outputs in asked:
        values = {key: fetched[name] for key, name in outputs.items()}
        result = response.results.add(model_spec=spec)
        if method == CLASSIFY_METHOD:
            result.classification_result.CopyFrom(_classifications(values, len(examples)))
        else:
            result.regression_result.CopyFrom(_regressions(values, len(examples)))
    return response


def _signature(model: ServedModel, spec: ModelSpec, method: str) -> tuple[ModelSpec, SignatureDef]:
    key = spec.signature_name or DEFAULT_SIGNATURE
    answered = model.answered(spec, key)
    signature = model.meta_graph.signature_def.get(key)
    if signature is None:
        keys = sorted(model.meta_graph.signature_def)
        raise ServingError("INVALID_ARGUMENT", f"no signature was found with the name: {key}; there are {keys}")
    if signature.method_name != method:
        raise ServingError("INVALID_ARGUMENT", f"signature {key!r}: got method {signature.method_name}, want {method}")
    return answered, signature


def _run(signature: SignatureDef, method: str, given: Input, run: Run) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    source, outputs = _names(signature, method)
    examples = _examples(given)
    values = run({source: examples}, list(outputs.values()))
    return examples, dict(zip(outputs, values, strict=True))


def _names(signature: SignatureDef, method: str) -> tuple[str, dict[str, str]]:
    """The tensor to feed, and those to fetch by their keys."""
    want, known = _INPUTS[method], _OUTPUTS[method]
    if len(signature.inputs) != 1 or not 1 <= len(signature.outputs) <= len(known):
        sizes = f"{len(signature.inputs)} inputs and {len(signature.outputs)} outputs"
        raise ServingError("INVALID_ARGUMENT", f"a signature of {method}: got {sizes}, want 1 and 1 to {len(known)}")
    outputs = {key: signature.outputs[key].name for key in known if key in signature.outputs}
    if want not in signature.inputs or not outputs:
        keys = f"{sorted(signature.inputs)} -> {sorted(signature.outputs)}"
        raise ServingError(
            "FAILED_PRECONDITION", f"a signature of {method}: got {keys}, want {want!r} -> {list(known)}"
        )
    return signature.inputs[want].name, outputs


def _examples(given: Input) -> np.ndarray:
    """The Examples serialised: string [n]. Appending a message to another merges the two."""
    context = b""
    examples = given.example_list.examples
    if given.HasField("example_list_with_context"):
        context = given.example_list_with_context.context.SerializeToString(deterministic=True)
        examples = given.example_list_with_context.examples
    if not examples:
        raise ServingError("INVALID_ARGUMENT", "input is empty")
    values = np.empty(len(examples), object)
    for index, example in enumerate(examples):
        values[index] = context + example.SerializeToString(deterministic=True)
    return values


def _classifications(values: Mapping[str, np.ndarray], count: int) -> ClassificationResult:
    for key, value in values.items():
        _check(key, value, CLASSIFY_METHOD, count)
        if value.ndim != 2:
            raise ServingError("INVALID_ARGUMENT", f"output {key!r}: got shape {value.shape}, want [batch, classes]")
    if len({value.shape for value in values.values()}) > 1:
        raise ServingError("INVALID_ARGUMENT", "classes and scores are of different shape")
    labels, scores = values.get(CLASSIFY_OUTPUT_CLASSES), values.get(CLASSIFY_OUTPUT_SCORES)
    result = ClassificationResult()
    for row in range(count):
        classes = result.classifications.add().classes
        for column in range(next(iter(values.values())).shape[1]):
            one = classes.add()
            if labels is not None:
                one.label = labels[row, column].decode(errors="replace")
            if scores is not None:
                one.score = scores[row, column]
    return result


def _regressions(values: Mapping[str, np.ndarray], count: int) -> RegressionResult:
    (value,) = values.values()
    _check(REGRESS_OUTPUTS, value, REGRESS_METHOD, count)
    if value.size != count or value.ndim > 2:
        raise ServingError("INVALID_ARGUMENT", f"output: got shape {value.shape}, want [batch] or [batch, 1]")
    result = RegressionResult()
    for number in value.ravel().tolist():
        result.regressions.add(value=number)
    return result


def _check(key: str, value: np.ndarray, method: str, count: int) -> None:
    want = _OUTPUTS[method][key]
    if value.dtype != want:
        name = "string" if want.kind == "O" else want.name
        raise ServingError("INVALID_ARGUMENT", f"output {key!r}: got {value.dtype}, want {name}")
    if value.ndim == 0 or value.shape[0] != count:
        raise ServingError("INVALID_ARGUMENT", f"output {key!r}: got shape {value.shape}, want {count} rows")
