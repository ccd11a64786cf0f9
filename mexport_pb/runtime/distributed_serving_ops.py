"""Training that keeps servers up to date: clients that push what changes in tables. docs/parameter_sync.md has more.

Nodes go to TensorFlow's default graph, or run in eager mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from mexport_pb._proto.parameter_sync_pb2 import ClientConfig
from mexport_pb.messages import serialize, to_message
from mexport_pb.runtime import ops
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.remote_predict import remote_predict
from mexport_pb.table.collections import DUMMY_SYNC_CLIENT, SYNC_CLIENT_PREFIX

__all__ = [
    "ParameterSyncClient",
    "create_dummy_sync_client",
    "create_dummy_sync_server",
    "create_parameter_sync_clients",
    "make_sync_config",
    "parameter_sync_client_from_config",
    "remote_predict",
]

tf = tensorflow()
_SIGNATURE = "hashtable_assign"
_TIMEOUT_MS = 3000
_CPU = "/device:CPU:0"


class ParameterSyncClient:
    """A client's handle, and the pushes of it.

    Args:
        client: The handle.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def handle(self) -> Any:
        """What tables take as their ``sync_client``."""
        return self._client

    def create_sync_op(self, config: Any) -> Any:
        """Add a push of what changed since the last one.

        Args:
            config: A serialised ClientConfig, string []: where to. Empty for where the last push went, or for what the
                client was made with.

        Returns:
            string [1], a PushResult as JSON. A target that fails does not fail the push: what it lacks is pushed to it
            again the next time.
        """
        return ops.parameter_sync(self._client, config)


def parameter_sync_client_from_config(config: Message | None = None, name_suffix: str = "") -> Any:
    """Add a client; returns its handle, for the ``sync_client`` of tables.

    Args:
        config: A ClientConfig; None for one without targets, which get told with the pushes.
        name_suffix: The client is ``MonolithSyncClient_<suffix>``.
    """
    message = ClientConfig() if config is None else to_message(config, ClientConfig)
    name = f"{SYNC_CLIENT_PREFIX}{name_suffix}"
    return ops.parameter_sync_client(config=serialize(message), shared_name=name, name=name)


def create_parameter_sync_clients(ps_num: int) -> list[Any]:
    """Add a client for each parameter server, on it; one where the training job has none.

    Args:
        ps_num: How many parameter servers there are; 0 for a training job without.

    Returns:
        The clients' handles.
    """
    if ps_num == 0:
        return [parameter_sync_client_from_config()]
    clients = []
    for i in range(ps_num):
        with tf.device(f"/job:ps/task:{i}{_CPU}"):
            clients.append(parameter_sync_client_from_config(name_suffix=str(i)))
    return clients


def create_dummy_sync_client() -> Any:
    """Add a client that pushes nothing; returns its handle."""
    return ops.dummy_sync_client(shared_name=DUMMY_SYNC_CLIENT)


def create_dummy_sync_server(address: str, name: str | None = None) -> Any:
    """Add a server that takes pushes and counts what comes, for tests; returns its handle.

    Args:
        address: ``"host:port"``; port 0 takes a free one, which ``ops.dummy_sync_server_get_port`` tells.
        name: The node's.
    """
    return ops.dummy_sync_server(address=address, name=name)


def make_sync_config(model_name: str, targets: Sequence[str], timeout_ms: int = _TIMEOUT_MS) -> bytes:
    """The config of a push.

    Args:
        model_name: The model at the targets.
        targets: Their addresses, ``"host:port"``.
        timeout_ms: For each request, in milliseconds.

    Returns:
        A serialised ClientConfig.
    """
    return serialize(
        ClientConfig(model_name=model_name, signature_name=_SIGNATURE, targets=targets, timeout_in_ms=timeout_ms)
    )
