"""Graphs and sessions of TensorFlow that are the same every time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import uuid
import zlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import lookup_ops

__all__ = ["new_graph", "new_session", "repeatable_names"]

_v1 = tf.compat.v1
_JOBS = {"ps": 2, "aux": 1, "worker": 1}


@contextlib.contextmanager
def repeatable_names(seed: str) -> Iterator[None]:
    """Functions and tables get the same names whenever a block of this seed builds the same graph.

    TensorFlow numbers functions by a counter of the process, and names tables at random.
    """
    # Functions of one name must be equal within a process, so every seed has numbers of its own.
    numbers = itertools.count(zlib.crc32(seed.encode()) * 1_000_000)
    ids = (uuid.UUID(int=n) for n in itertools.count(1))
    with (
        mock.patch.object(ops, "uid", side_effect=numbers),
        mock.patch.object(lookup_ops.uuid, "uuid4", side_effect=ids),
    ):
        gradients = ops.gradient_registry._registry
        known = set(gradients)
        try:
            yield
        finally:
            # The next block registers gradients of the same names.
            for name in set(gradients) - known:
                del gradients[name]


@contextlib.contextmanager
def new_graph(seed: str) -> Iterator[Any]:
    """A graph, to build in within the block, with repeatable names and random seeds."""
    with repeatable_names(seed), tf.Graph().as_default() as graph:
        _v1.set_random_seed(1)
        yield graph


@functools.cache
def _cluster() -> Any:
    """A cluster of servers in this process, which end with it."""
    sockets = [socket.socket() for _ in range(sum(_JOBS.values()))]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    free = iter([f"127.0.0.1:{one.getsockname()[1]}" for one in sockets])
    cluster = {job: [next(free) for _ in range(count)] for job, count in _JOBS.items()}
    for one in sockets:
        one.close()
    config = _v1.ConfigProto(device_count={"GPU": 0})
    tasks = [(job, task) for job, count in _JOBS.items() for task in range(count)]
    return [_v1.train.Server(cluster, job_name=job, task_index=task, config=config) for job, task in tasks]


def new_session(graph: Any, cluster: bool) -> Any:
    """A session on the CPU, of a cluster if nodes of the graph are on devices of jobs."""
    config = _v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
    return _v1.Session(_cluster()[-1].target if cluster else "", graph=graph, config=config)
