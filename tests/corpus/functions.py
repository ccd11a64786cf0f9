"""Graphs with functions and control flow of both versions."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from tests.corpus.model import Model, dense, entry, placeholder, var
from tests.corpus.session import repeatable_names

_v1 = tf.compat.v1


@contextlib.contextmanager
def _control_flow(version: int) -> Iterator[None]:
    before = _v1.control_flow_v2_enabled()
    (_v1.enable_control_flow_v2 if version == 2 else _v1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (_v1.enable_control_flow_v2 if before else _v1.disable_control_flow_v2)()


@entry(strip_default_attrs=True)
def cond_version_1(work: Path) -> Model:
    """Switch and Merge, with their context in a collection."""
    x = placeholder()
    w = var("w", (3,))
    with _control_flow(1):
        y = _v1.cond(tf.reduce_sum(x) > 0, lambda: x + w, lambda: tf.cos(x))
        y = _v1.cond(tf.reduce_sum(y) > 0, lambda: _v1.cond(y[0, 0] > 0, lambda: y, lambda: -y), lambda: y * 2.0)
    return dense(x, tf.identity(y, name="y"))


@entry(strip_default_attrs=True)
def while_version_1(work: Path) -> Model:
    """Enter, Exit and NextIteration, nested, with a gradient."""
    x = placeholder()
    w = var("w", ())
    with _control_flow(1):

        def body(i, v):
            inner = _v1.while_loop(lambda j, u: j < 2, lambda j, u: (j + 1, u * w), [0, v])
            return i + 1, inner[1]

        y = _v1.while_loop(lambda i, v: i < 3, body, [0, x])[1]
        _v1.gradients(y, [x])
    return dense(x, tf.identity(y, name="y"))


@entry(strip_default_attrs=True)
def cond_version_2(work: Path) -> Model:
    """If, whose branches use ops that the op list does not name."""
    x = placeholder()
    w = var("w", (3,))
    with _control_flow(2):
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(x) + w, lambda: tf.cos(x))
        y = tf.switch_case(tf.constant(1), [lambda: y, lambda: tf.tanh(y), lambda: tf.math.erf(y)])
    return dense(x, tf.identity(y, name="y"))


@entry()
def while_version_2(work: Path) -> Model:
    """While, with a gradient, which adds functions of its own."""
    x = placeholder()
    w = var("w", ())
    with _control_flow(2):
        y = tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, tf.math.expm1(v) * w), [0, x])[1]
        _v1.gradients(y, [x])
    return dense(x, tf.identity(y, name="y"))


@entry(strip_default_attrs=True)
def nested_functions(work: Path) -> Model:
    """Functions that call functions, read variables, assign them and assert."""
    w, r = var("w", (3, 3)), var("count", ())

    @tf.function
    def inner(v):
        return tf.sin(v) + tf.matmul(v, v, transpose_a=True)

    @tf.function
    def outer(v):
        tf.debugging.assert_greater(tf.reduce_sum(v), -1e9)
        r.assign_add(1.0)
        if tf.reduce_sum(v) > 0:
            return inner(w) * 2.0
        for _ in tf.range(3):
            v = tf.matmul(v, w)
        return v

    x = placeholder(shape=(3, 3))
    y = outer(x) + outer(x * 2.0) + inner(x)
    return dense(x, tf.identity(y, name="y"))


@entry(cluster=True, clear_devices=True, strip_default_attrs=True)
def functions_on_devices(work: Path) -> Model:
    """Cleared devices: nodes of functions keep theirs."""

    @tf.function(autograph=False)
    def called(v):
        with tf.device("/device:CPU:0"):
            return tf.nn.softmax(v) + tf.random.stateless_normal([3], [1, 2])

    with tf.device("/job:ps/task:0"):
        w = var("w", (3,))
    x = placeholder()
    with tf.device("/job:worker/task:0"):
        y = called(x + w)
    return dense(x, y)


@entry(strip_default_attrs=True)
def gradients_of_functions(work: Path) -> Model:
    """Forward and backward functions, and a gradient of the user's."""
    w = var("w", (3,))

    @tf.custom_gradient
    def clipped(v):
        return tf.identity(v), lambda upstream: tf.clip_by_value(upstream, -1.0, 1.0)

    @tf.function
    def called(v):
        return tf.reduce_sum(tf.square(v) * w)

    x = placeholder()
    y = called(clipped(x))
    (gradient,) = _v1.gradients(y, [x])
    return dense(x, gradient)


@entry()
def map_fn(work: Path) -> Model:
    """map_fn, scan and fold of both versions: tensor arrays and tensor lists."""
    x = placeholder()
    w = var("w", (3,))
    with _control_flow(1):
        a = _v1.map_fn(lambda row: row * w, x)
    with _control_flow(2):
        b = tf.map_fn(tf.tanh, x)
        c = tf.scan(lambda total, row: total + row, x)
        d = tf.foldl(lambda total, row: total * row, x)
    return dense(x, tf.add_n([a, b, c]) + d)


@entry()
def vectorized_and_ragged(work: Path) -> Model:
    """vectorized_map, a ragged map and numpy code inside the graph."""
    x = placeholder(shape=(4, 3))
    y = tf.vectorized_map(lambda row: tf.reduce_sum(row * row), x)
    rows = tf.RaggedTensor.from_tensor(x).with_row_splits_dtype(tf.int32)
    z = tf.ragged.map_flat_values(tf.abs, rows).to_tensor()
    return dense(x, tf.reduce_sum(z, 1) + y)


@entry()
def jit_compiled(work: Path) -> Model:
    """A function with attributes of its own."""

    @tf.function(jit_compile=True, experimental_attributes=None)
    def compiled(v):
        return v * 2.0

    @tf.function(reduce_retracing=True)
    def plain(v):
        return compiled(v) + 1.0

    x = placeholder()
    return dense(x, plain(x))


@entry()
def input_pipeline(work: Path) -> Model:
    """A data set with functions, an iterator, and its initializer as main op."""
    data = tf.data.Dataset.range(10).map(lambda v: v * 2).filter(lambda v: v > 3).batch(2)
    iterator = _v1.data.make_initializable_iterator(data)
    x = placeholder(tf.int64, (None,))
    y = x + tf.reduce_sum(iterator.get_next())
    return dense(x, y, main_op=iterator.initializer)


@entry(strip_default_attrs=True)
def keras_model(work: Path) -> Model:
    """A network that Keras built and saved, loaded into a v1 graph."""
    loaded = tf.saved_model.load(_keras_export())
    x = placeholder(shape=(None, 8, 8, 3))
    (y,) = loaded.signatures["serving_default"](x).values()
    return dense(x, tf.identity(y, name="y"))


@functools.cache
def _keras_export() -> str:
    """A model that Keras wrote: once in a process, for Keras lists the variables in another order each time."""
    path = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    # A new thread has no default graph, and Keras builds its networks without one.
    with repeatable_names("keras"), ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(_write_keras_model, path).result()
    return path


def _write_keras_model(path: str) -> None:
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3), name="image")
    h = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    h = keras.layers.BatchNormalization()(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    outputs = keras.layers.Dense(2, activation="softmax")(h)
    keras.Model(inputs, outputs).export(path, format="tf_saved_model", verbose=False)


@entry(strip_default_attrs=True)
def rare_operations_in_branches(work: Path) -> Model:
    """Operations that only bodies and branches have, so that no op list names them, with default attributes."""
    x = placeholder(shape=(1, 4, 4, 1))
    with _control_flow(2):
        y = tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: (
                tf.image.resize(x, [8, 8], "bicubic")
                + tf.reduce_sum(tf.image.extract_patches(x, [1, 2, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME"))
            ),
            lambda: tf.nn.conv2d_transpose(x, tf.ones([2, 2, 1, 1]), [1, 8, 8, 1], 2),
        )
        y = tf.while_loop(lambda v: tf.reduce_sum(v) < 3, lambda v: v + tf.math.betainc(1.0, 2.0, tf.nn.lrn(v)), [y])[0]
    return dense(x, tf.identity(y, name="y"))
