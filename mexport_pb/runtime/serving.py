"""A loaded model that answers the requests of the serving API as TensorFlow Serving does, for checks and replays.

The statuses of refused requests are those of TensorFlow Serving. Two things differ: a fed value must also fit the
static shape of its placeholder, and a tensor of the wrong dtype is refused before the graph is run.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto import error_codes_pb2
from mexport_pb._proto.model_service_pb2 import GetModelMetadataRequest, GetModelStatusRequest
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from mexport_pb._proto.serving_pb2 import (
    ClassificationRequest,
    ModelSpec,
    MultiInferenceRequest,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    SessionRunRequest,
    SessionRunResponse,
)
from mexport_pb._proto.tensor_pb2 import TensorProto
from mexport_pb.errors import DataError, InvalidArgumentError, ServingError, UnsupportedError, ValidationError
from mexport_pb.messages import make_tensor_proto, tensor_proto_to_array
from mexport_pb.messages.constants import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    SERVING_TAG,
)
from mexport_pb.messages.tensors import MAX_EXPANDED_BYTES
from mexport_pb.runtime._session import load_ops_of, session_config, shorten, to_array
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.serving_examples import classify, multi_inference, regress
from mexport_pb.runtime.serving_metadata import model_metadata, model_status

__all__ = ["ServedModel"]

_METHODS = frozenset({PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD})


class ServedModel:
    """A SavedModel in a graph and a session of its own, on the CPU. Threads may share it.

    Variables are restored, the main op is run, and the library of table ops is loaded for a model that needs it.

    Args:
        export_dir: A directory with saved_model.pb.
        tags: The exact set of tags of the graph.
        version: What answers say of the version, and the only one that requests may ask for; any if None.

    Raises:
        InvalidArgumentError: ``tags`` is a string.
        ValidationError: TensorFlow cannot load the model.
        MexportError: TensorFlow is not installed, or there is no library of table ops.
    """

    def __init__(
        self,
        export_dir: str | os.PathLike[str],
        *,
        tags: Iterable[str] = (SERVING_TAG,),
        version: int | None = None,
    ) -> None:
        if isinstance(tags, str):
            raise InvalidArgumentError(f"tags: got the string {tags!r}, want a list of strings")
        self.path = os.fspath(export_dir)
        self.version = version
        self._tf = tensorflow()
        load_ops_of(self.path)
        start = time.perf_counter()
        self._graph = self._tf.Graph()
        self._session = self._tf.compat.v1.Session(graph=self._graph, config=session_config(self._tf))
        try:
            with self._graph.as_default():
                loaded = self._tf.compat.v1.saved_model.load(self._session, list(tags), self.path)
        except Exception as error:
            self._session.close()
            raise ValidationError(f"{self.path}: tensorflow cannot load it: {shorten(error)}") from error
        self._graph.finalize()
        self.load_seconds = time.perf_counter() - start
        self.meta_graph = MetaGraphDef.FromString(loaded.SerializeToString())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the session; a second call does nothing."""
        self._session.close()

    def handle(self, request: Message, *, timeout: float | None = None) -> Message:
        """Answers a request of any kind with a response of its kind.

        Args:
            request: A PredictRequest, ClassificationRequest, RegressionRequest, MultiInferenceRequest,
                SessionRunRequest, GetModelMetadataRequest or GetModelStatusRequest, of this package. Names of models
                are not looked at.
            timeout: Seconds that the graph may take; None for as long as it does.

        Raises:
            ServingError: The request is refused, or the graph failed.
        """
        run = functools.partial(self.run, timeout=timeout)
        if isinstance(request, PredictRequest):
            return self._predict(request, run)
        if isinstance(request, ClassificationRequest):
            return classify(self, request, run)
        if isinstance(request, RegressionRequest):
            return regress(self, request, run)
        if isinstance(request, MultiInferenceRequest):
            return multi_inference(self, request, run)
        if isinstance(request, SessionRunRequest):
            return self._session_run(request, run)
        if isinstance(request, GetModelMetadataRequest):
            return model_metadata(self, request)
        if isinstance(request, GetModelStatusRequest):
            return model_status(self, request)
        raise ServingError("UNIMPLEMENTED", f"requests of the kind {type(request).__name__} are not answered here")

    def answered(self, spec: ModelSpec, signature: str) -> ModelSpec:
        """The model spec of an answer.

        Raises:
            ServingError: The request asks for another version.
        """
        asked = spec.version.value if spec.HasField("version") else None
        if asked is not None and self.version is not None and asked != self.version:
            raise ServingError(
                "NOT_FOUND", f"servable not found for request: Specific({spec.name}, {asked}); it is {self.version}"
            )
        result = ModelSpec(name=spec.name, signature_name=signature)
        if self.version is not None:
            result.version.value = self.version
            result.version.SetInParent()
        return result

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        targets: Sequence[str] = (),
        *,
        timeout: float | None = None,
    ) -> list[np.ndarray]:
        """Runs the graph.

        Args:
            feeds: Values by the names of tensors.
            fetches: Names of tensors.
            targets: Names of operations.
            timeout: Seconds.

        Returns:
            The values of the fetches; strings as arrays of bytes objects.

        Raises:
            ServingError: A name is not in the graph, a value does not fit, or the graph failed.
        """
        tf = self._tf
        fed = {self._tensor(name): value for name, value in feeds.items()}
        for tensor, value in fed.items():
            got, want = dtypes.datatype_of(value.dtype), tensor.dtype.base_dtype.as_datatype_enum
            if got != want:
                raise ServingError(
                    "INVALID_ARGUMENT", f"tensor {tensor.name}: got {dtypes.name_of(got)}, want {dtypes.name_of(want)}"
                )
        wanted = [self._tensor(name) for name in fetches] + [self._operation(name) for name in targets]
        options = None
        if timeout is not None:
            options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(timeout * 1000)))
        try:
            values = self._session.run(wanted, fed, options=options)
        except tf.errors.OpError as error:
            raise ServingError(error_codes_pb2.Code.Name(error.error_code), shorten(error)) from error
        except (TypeError, ValueError) as error:
            raise ServingError("INVALID_ARGUMENT", shorten(error)) from error
        except RuntimeError as error:
            raise ServingError("UNAVAILABLE", shorten(error)) from error
        return [to_array(value) for value in values[: len(fetches)]]

    def _predict(self, request: PredictRequest, run: Any) -> PredictResponse:
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        spec = self.answered(request.model_spec, key)
        signature = self.meta_graph.signature_def.get(key)
        if signature is None:
            keys = sorted(self.meta_graph.signature_def)
            raise ServingError("FAILED_PRECONDITION", f'serving signature key "{key}" not found; there are {keys}')
        if signature.method_name not in _METHODS:
            raise ServingError("INTERNAL", f"signature {key!r}: got method {signature.method_name!r}, want predict")
        inputs = _inputs_of(key, signature, request.inputs)
        outputs = _outputs_of(key, signature, request.output_filter)
        feeds = {_name(alias, signature.inputs[alias]): _parse(alias, proto) for alias, proto in inputs.items()}
        values = run(feeds, [_name(alias, signature.outputs[alias]) for alias in outputs])
        response = PredictResponse(model_spec=spec)
        for alias, value in zip(outputs, values, strict=True):
            response.outputs[alias].CopyFrom(_to_proto(alias, value))
        return response

    def _session_run(self, request: SessionRunRequest, run: Any) -> SessionRunResponse:
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        spec = self.answered(request.model_spec, request.model_spec.signature_name)
        feeds = [(feed.name, feed.tensor) for feed in request.feed]
        fetches = list(request.fetch)
        if request.tensor_name_is_alias:
            signature = self.meta_graph.signature_def.get(key)
            if signature is None:
                raise ServingError("FAILED_PRECONDITION", f'serving signature key "{key}" not found')
            feeds = [(_of_alias(signature.inputs, name), tensor) for name, tensor in feeds]
            fetches = [_of_alias(signature.outputs, name) for name in fetches]
        values = run({name: _parse(name, tensor) for name, tensor in feeds}, fetches, list(request.target))
        response = SessionRunResponse(model_spec=spec)
        for name, value in zip(request.fetch, values, strict=True):
            response.tensor.add(name=name, tensor=_to_proto(name, value))
        return response

    def _tensor(self, name: str) -> Any:
        return self._element(name if ":" in name else f"{name}:0", allow_operation=False)

    def _operation(self, name: str) -> Any:
        return self._element(name, allow_tensor=False)

    def _element(self, name: str, **allowed: bool) -> Any:
        try:
            return self._graph.as_graph_element(name, **allowed)
        except (KeyError, ValueError) as error:
            raise ServingError("NOT_FOUND", f"{name!r} is not in the graph") from error


def _inputs_of(key: str, signature: SignatureDef, given: Mapping[str, TensorProto]) -> dict[str, TensorProto]:
    """What is fed, by alias."""
    extra = sorted(given.keys() - signature.inputs.keys())
    missing = sorted(signature.inputs.keys() - given.keys() - signature.defaults.keys())
    if extra or missing:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"signature {key!r}: inputs: got {sorted(given)}, want {sorted(signature.inputs)}"
            + (f"; sent extra: {extra}" if extra else "")
            + (f"; missing: {missing}" if missing else ""),
        )
    return {alias: given[alias] if alias in given else signature.defaults[alias] for alias in sorted(signature.inputs)}


def _outputs_of(key: str, signature: SignatureDef, wanted: Sequence[str]) -> list[str]:
    """What is fetched, by alias."""
    for alias in wanted:
        if alias not in signature.outputs:
            reason = f"signature {key!r}: output filter: got {alias!r}, want of {sorted(signature.outputs)}"
            raise ServingError("INVALID_ARGUMENT", reason)
    if len(set(wanted)) < len(wanted):
        raise ServingError("INVALID_ARGUMENT", f"signature {key!r}: output filter: {list(wanted)} has one twice")
    return list(wanted) or sorted(signature.outputs)


def _name(alias: str, info: TensorInfo) -> str:
    if info.WhichOneof("encoding") != "name":
        raise ServingError("UNIMPLEMENTED", f"{alias!r} is sparse or ragged, want a dense tensor")
    return info.name


def _of_alias(infos: Mapping[str, TensorInfo], alias: str) -> str:
    if alias not in infos:
        raise ServingError("INVALID_ARGUMENT", f"tensor alias: got {alias!r}, want one of {sorted(infos)}")
    return _name(alias, infos[alias])


def _parse(alias: str, proto: TensorProto) -> np.ndarray:
    try:
        value = tensor_proto_to_array(proto)
    except (DataError, UnsupportedError) as error:
        raise ServingError("INVALID_ARGUMENT", f"input {alias!r}: {error}") from error
    # One value may stand for any number of elements, which the session would write out.
    if value.nbytes > max(MAX_EXPANDED_BYTES, 8 * proto.ByteSize()):
        raise ServingError("INVALID_ARGUMENT", f"input {alias!r}: got shape {value.shape} of a few values")
    return value


def _to_proto(alias: str, value: np.ndarray) -> TensorProto:
    try:
        return make_tensor_proto(value)
    except InvalidArgumentError as error:
        raise ServingError("INTERNAL", f"output {alias!r}: {error}") from error
