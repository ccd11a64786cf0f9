"""From what a model_fn returns to SignatureDefs, by the rules of the estimator API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from mexport_pb._proto.saved_model_pb2 import SignatureDef, TensorInfo
from mexport_pb._proto.tensor_pb2 import DataType
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.context import SavedModelSignature
from mexport_pb.export.source import Graph, GraphSource
from mexport_pb.export.spec import (
    ClassificationOutput,
    EstimatorSpec,
    ExportOutput,
    PredictOutput,
    RegressionOutput,
    ServingInputReceiver,
)
from mexport_pb.messages import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    make_signature_def,
)

__all__ = ["build_signature_defs", "export_outputs_of", "signatures_of"]

_Describe: TypeAlias = Callable[[Any], TensorInfo]

_log = logging.getLogger(__name__)


def export_outputs_of(spec: EstimatorSpec) -> dict[str, ExportOutput]:
    """The outputs of a spec by signature name, ``serving_default`` among them, in the order of the names.

    In the order of the dictionary, the same model would be exported in other bytes: names of signatures are listed.

    Without ``export_outputs`` the predictions are the default. A single output of another name also becomes the
    default.

    Raises:
        InvalidArgumentError: There is nothing to export, an output is of no known kind, or there are several and none
            is the default.
    """
    if spec.export_outputs is None:
        if spec.predictions is None:
            raise InvalidArgumentError("the model_fn returned neither predictions nor export_outputs")
        return {DEFAULT_SIGNATURE: PredictOutput(spec.predictions)}
    if not isinstance(spec.export_outputs, Mapping):
        raise InvalidArgumentError(f"export_outputs: got {type(spec.export_outputs).__name__}, want a mapping")
    outputs = {name: _known_output(name, output) for name, output in spec.export_outputs.items()}
    if DEFAULT_SIGNATURE not in outputs:
        if len(outputs) != 1:
            raise InvalidArgumentError(
                f"export_outputs: got {len(outputs)} outputs and none named {DEFAULT_SIGNATURE!r}: "
                "say which is the default"
            )
        outputs[DEFAULT_SIGNATURE] = next(iter(outputs.values()))
    return {name: outputs[name] for name in sorted(outputs, key=str)}


def signatures_of(
    receiver: ServingInputReceiver, outputs: Mapping[str, ExportOutput], source: GraphSource, graph: Graph
) -> list[SavedModelSignature]:
    """One signature for each way to feed the model and each output that fits it.

    An output that cannot be served that way (a classification needs one string input) is left out with a log line.

    Raises:
        InvalidArgumentError: No output can be served, or a tensor is not of this graph.
    """
    describe = partial(_describe, source=source, graph=graph)
    result: list[SavedModelSignature] = []
    left_out: list[str] = []
    receivers = [(None, receiver.receiver_tensors), *sorted(receiver.receiver_tensors_alternatives.items())]
    for receiver_name, tensors in receivers:
        inputs = {key: describe(tensor) for key, tensor in tensors.items()}
        for output_name, output in outputs.items():
            name = output_name if receiver_name is None else f"{receiver_name}:{output_name}"
            try:
                result.append(_signature(name, inputs, output, describe))
            except _NotServableError as error:
                _log.warning("signature %r left out: %s", name, error)
                left_out.append(f"{name!r}: {error}")
    if not result:
        raise InvalidArgumentError(f"none of the outputs can be served: {'; '.join(left_out)}")
    return result


def build_signature_defs(
    signatures: Iterable[SavedModelSignature], source: GraphSource, graph: Graph
) -> dict[str, SignatureDef]:
    """SignatureDef messages by name; tensors are described by the source, TensorInfo messages are kept.

    Raises:
        InvalidArgumentError: A tensor is not of this graph.
    """

    def infos(tensors: Mapping[str, Any]) -> dict[str, TensorInfo]:
        return {
            key: value if isinstance(value, TensorInfo) else _describe(value, source, graph)
            for key, value in tensors.items()
        }

    return {s.name: make_signature_def(infos(s.inputs), infos(s.outputs), s.method_name) for s in signatures}


class _NotServableError(Exception):
    pass


def _describe(value: Any, source: GraphSource, graph: Graph) -> TensorInfo:
    # Names are all that a signature keeps: a tensor of another graph would quietly become its namesake here.
    owner = getattr(value, "graph", graph)
    if owner is not graph:
        raise InvalidArgumentError(f"{value!r} is not a tensor of the graph that is exported")
    return source.tensor_info(value)


def _known_output(name: str, output: Any) -> ExportOutput:
    """Takes outputs of TensorFlow's own classes too, by their attributes."""
    if isinstance(output, PredictOutput | ClassificationOutput | RegressionOutput):
        return output
    if hasattr(output, "scores") and hasattr(output, "classes"):
        return ClassificationOutput(output.scores, output.classes)
    if hasattr(output, "value"):
        return RegressionOutput(output.value)
    if hasattr(output, "outputs"):
        return PredictOutput(output.outputs)
    raise InvalidArgumentError(
        f"export_outputs[{name!r}]: got {type(output).__name__}, "
        "want PredictOutput, ClassificationOutput or RegressionOutput"
    )


def _signature(
    name: str, inputs: dict[str, TensorInfo], output: ExportOutput, describe: _Describe
) -> SavedModelSignature:
    if isinstance(output, PredictOutput):
        outputs = {key: describe(tensor) for key, tensor in output.named().items()}
        return SavedModelSignature(name, dict(inputs), outputs, PREDICT_METHOD)
    examples = _single_string(inputs)
    if isinstance(output, RegressionOutput):
        value = _of_dtype("value", describe(output.value), DataType.DT_FLOAT)
        return SavedModelSignature(name, {"inputs": examples}, {"outputs": value}, REGRESS_METHOD)
    outputs = {}
    if output.classes is not None:
        outputs["classes"] = _of_dtype("classes", describe(output.classes), DataType.DT_STRING)
    if output.scores is not None:
        outputs["scores"] = _of_dtype("scores", describe(output.scores), DataType.DT_FLOAT)
    return SavedModelSignature(name, {"inputs": examples}, outputs, CLASSIFY_METHOD)


def _single_string(inputs: dict[str, TensorInfo]) -> TensorInfo:
    if len(inputs) != 1:
        raise _NotServableError(f"classify and regress take one input, got {len(inputs)}")
    return _of_dtype("input", next(iter(inputs.values())), DataType.DT_STRING)


def _of_dtype(what: str, info: TensorInfo, dtype: int) -> TensorInfo:
    if info.dtype != dtype:
        raise _NotServableError(f"{what}: got {DataType.Name(info.dtype)}, want {DataType.Name(dtype)}")
    return info
