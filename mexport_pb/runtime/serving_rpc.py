"""PredictionService and its neighbours over gRPC on the loopback interface, for checks: not a server to deploy.

The messages are ours; they are wire-compatible with tensorflow-serving's, whose clients are answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from google.protobuf.message import Message

from mexport_pb._proto import model_service_pb2 as model_pb, serving_pb2 as pb
from mexport_pb.errors import MexportError, ServingError
from mexport_pb.runtime.serving import ServedModel

__all__ = ["ModelServer", "PredictionClient", "ServedCall"]

_PREDICTION: Final = "tensorflow.serving.PredictionService"
_SESSION: Final = "tensorflow.serving.SessionService"
_MODEL: Final = "tensorflow.serving.ModelService"

# The request's class -> the service, its method, and the response's class.
_METHODS: Final[dict[type[Message], tuple[str, str, type[Message]]]] = {
    pb.PredictRequest: (_PREDICTION, "Predict", pb.PredictResponse),
    pb.ClassificationRequest: (_PREDICTION, "Classify", pb.ClassificationResponse),
    pb.RegressionRequest: (_PREDICTION, "Regress", pb.RegressionResponse),
    pb.MultiInferenceRequest: (_PREDICTION, "MultiInference", pb.MultiInferenceResponse),
    pb.SessionRunRequest: (_SESSION, "SessionRun", pb.SessionRunResponse),
    model_pb.GetModelMetadataRequest: (_PREDICTION, "GetModelMetadata", model_pb.GetModelMetadataResponse),
    model_pb.GetModelStatusRequest: (_MODEL, "GetModelStatus", model_pb.GetModelStatusResponse),
}

# A message may be as large as protobuf allows, and no proxy of the environment may come between.
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.so_reuseport", 0),
)
_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class ServedCall:
    """A request that a server has answered.

    Attributes:
        model: The name in its model spec.
        signature: The signature's key; empty for the default.
        seconds: How long the answer took.
        code: "OK", or the status of the failure.
        error: What was wrong; empty if nothing was.
    """

    model: str
    signature: str
    seconds: float
    code: str
    error: str


class ModelServer:
    """Serves loaded models at ``127.0.0.1`` and a port of the system's choice, until it is closed.

    Args:
        models: By the names that requests ask for. They stay open when the server is closed.
        on_call: Is told of every request, by the thread that answered it, before the client has the answer.

    Raises:
        MexportError: grpcio is not installed, or there is no loopback interface to listen at.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], *, on_call: Callable[[ServedCall], None] | None = None
    ) -> None:
        grpc = _grpc()
        self._models = dict(models)
        self._on_call = on_call
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mexport-serve")
        self._server = grpc.server(self._threads, options=_OPTIONS)
        services: dict[str, dict[str, Any]] = {}
        for request, (service, method, _) in _METHODS.items():
            services.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(
                self._answer, request_deserializer=request.FromString, response_serializer=_serialize
            )
        handlers = [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
        self._server.add_generic_rpc_handlers(handlers)
        try:
            port = self._server.add_insecure_port("127.0.0.1:0")
        except RuntimeError as error:
            self._threads.shutdown()
            raise MexportError(f"127.0.0.1: cannot listen: {error}") from error
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening, lets go of requests that run, and waits for the threads; a second call does nothing."""
        self._server.stop(None).wait()
        self._threads.shutdown()

    def _answer(self, request: Message, context: Any) -> Message:
        grpc = _grpc()
        spec = _spec_of(request)
        start = time.perf_counter()
        failure: ServingError | None = None
        try:
            model = self._models.get(spec.name)
            if model is None:
                raise ServingError("NOT_FOUND", f"servable not found for request: Latest({spec.name})")
            response = model.handle(request, timeout=context.time_remaining())
        except ServingError as error:
            failure = error
        except Exception as error:
            failure = ServingError("INTERNAL", f"{type(error).__name__}: {error}")
        if self._on_call is not None:
            code, reason = (failure.code, failure.reason) if failure else ("OK", "")
            self._on_call(ServedCall(spec.name, spec.signature_name, time.perf_counter() - start, code, reason))
        if failure is not None:
            context.abort(getattr(grpc.StatusCode, failure.code, grpc.StatusCode.UNKNOWN), failure.reason)
        return response


class PredictionClient:
    """Asks a server, one request at a time or several from several threads.

    Args:
        address: ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._channel = _grpc().insecure_channel(address, options=_OPTIONS)
        self._calls = {
            request: self._channel.unary_unary(
                f"/{service}/{method}", request_serializer=_serialize, response_deserializer=response.FromString
            )
            for request, (service, method, response) in _METHODS.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def handle(self, request: Message, *, timeout: float | None = None) -> Message:
        """Sends a request of any kind, see :meth:`ServedModel.handle`; raises ServingError."""
        grpc = _grpc()
        call = self._calls.get(type(request))
        if call is None:
            raise ServingError("UNIMPLEMENTED", f"requests of the kind {type(request).__name__} are not sent here")
        try:
            response: Message = call(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, str(error.details())) from error
        return response

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


def _spec_of(request: Message) -> pb.ModelSpec:
    if isinstance(request, pb.MultiInferenceRequest):
        return request.tasks[0].model_spec if request.tasks else pb.ModelSpec()
    spec: pb.ModelSpec = request.model_spec  # type: ignore[attr-defined]
    return spec


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _grpc() -> Any:
    try:
        import grpc
    except ImportError as error:
        raise MexportError(
            "mexport_pb.runtime: grpcio is not installed; pip install 'mexport-pb[tensorflow]' brings it"
        ) from error
    return grpc
