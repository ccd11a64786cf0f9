"""Graphs with collections of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue

from tests.corpus.model import Model, dense, entry, placeholder, var

_v1 = tf.compat.v1


def _add(key: object, *values: object) -> None:
    for value in values:
        _v1.add_to_collection(key, value)


@entry()
def collections_of_values(work: Path) -> Model:
    """Bytes, text, integers, floats, and the order of keys that are prefixes of each other."""
    _add("bytes", b"\xff\0", b"", "text", "ü")
    _add("text", "a", b"b")
    _add("integers", 3, -1, 2**40, 0)
    _add("floats", 1.5, -0.0, 0.1, float("inf"))
    for key in ("k", "kk", "k/", "K", "k1", "k10", "k2"):
        _add(key, key)
    return dense()


@entry(strip_default_attrs=True)
def collections_of_nodes(work: Path) -> Model:
    """Tensors, operations and variables, also together, and those of other tensors than the first output."""
    x = placeholder()
    w, r = var("w", (3,)), var("r", (3,), resource=False)
    y = tf.add(x * w, r, name="y")
    values, indices = tf.math.top_k(y)
    _add("tensors", x, indices, values)
    _add("operations", y.op, x.op)
    _add("variables_of_mine", w, r)
    _add("all", y, y.op, w)
    _add("legacy_like", tf.no_op("late"))
    return dense(x, y)


@entry()
def collections_of_messages(work: Path) -> Model:
    """Any messages, serialised ones, and kinds that TensorFlow turns into messages itself."""
    packed = Any()
    packed.Pack(StringValue(value="packed"))
    _add("any", packed, packed)
    _add("monolith_hash_tables_like", StringValue(value="serialised").SerializeToString())
    x = placeholder()
    queue = _v1.FIFOQueue(10, [tf.float32], name="queue")
    runner = _v1.train.QueueRunner(queue, [queue.enqueue([tf.constant(1.0)])])
    _v1.train.add_queue_runner(runner)
    var("w")
    return dense(x, x + tf.cast(queue.size(), tf.float32))


@entry(strip_default_attrs=True)
def collections_of_variables(work: Path) -> Model:
    """Every collection that holds variables, and those of losses and updates."""
    keys = _v1.GraphKeys
    step = _v1.train.get_or_create_global_step()
    w = var("w", (3,), regularizer=lambda v: tf.reduce_sum(tf.square(v)))
    r = var("r", (3,), resource=False)
    part = var("p", (4, 2), partitioner=_v1.fixed_size_partitioner(2), initializer=_v1.zeros_initializer())
    _add(keys.MODEL_VARIABLES, w, r)
    _add(keys.MOVING_AVERAGE_VARIABLES, r, w)
    _add(keys.METRIC_VARIABLES, *part)
    var("total", (), collections=[keys.LOCAL_VARIABLES, keys.METRIC_VARIABLES], trainable=False)
    _v1.losses.mean_squared_error(tf.zeros([3]), w)
    _v1.summary.scalar("loss", _v1.losses.get_total_loss())
    _add(keys.UPDATE_OPS, _v1.assign_add(step, 1))
    mean, update = _v1.metrics.mean(w, name="metric")
    x = placeholder()
    return dense(x, x * w + r + mean + update, main_op=_v1.local_variables_initializer())


class _Object:
    """Nothing that a collection holds."""


@entry()
def collections_that_vanish(work: Path) -> Model:
    """Mixed kinds, objects, flags, arrays, empty lists, keys that are no text."""
    _add("mixed", "a", 1)
    _add("mixed_numbers", 1, 2.5)
    _add("floats_first", 2.5, 1)
    _add("flags", True, False)
    _add("numpy_integers", np.int64(3), np.int32(4))
    _add("numpy_floats", np.float32(1.5))
    _add("numpy_doubles", np.float64(1.5))
    _add("arrays", np.zeros(2))
    _add("objects", _Object())
    _add("dictionaries", {"a": 1})
    _add("nothing", None)
    _add("messages", StringValue(value="not registered"))
    _add("text_then_object", "a", _Object())
    _add("object_then_text", _Object(), "a")
    _add("large", 2**63)
    _add(("a", "tuple"), 1)
    _add("kept", "after all")
    _v1.get_default_graph().get_collection_ref("empty")
    var("w")
    return dense()
