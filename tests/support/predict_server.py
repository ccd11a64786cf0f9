"""A PredictionService of grpcio in the test's process, with TensorFlow Serving's own messages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

__all__ = ["predict_server"]

METHOD = "Predict"
SERVICE = "tensorflow.serving.PredictionService"


@contextmanager
def predict_server(answer, address="localhost:0"):
    """Serve ``answer(request, context)``, which returns a PredictResponse or its bytes.

    Gives an object with the `address`, and the `requests` that came.
    """
    import grpc
    from tensorflow_serving.apis import predict_pb2

    requests = []

    def handle(request, context):
        requests.append(request)
        response = answer(request, context)
        return response if isinstance(response, bytes) else response.SerializeToString()

    method = grpc.unary_unary_rpc_method_handler(handle, request_deserializer=predict_pb2.PredictRequest.FromString)
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=unlimited)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})])
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield SimpleNamespace(address=f"localhost:{port}", requests=requests)
    finally:
        server.stop(None).wait()
