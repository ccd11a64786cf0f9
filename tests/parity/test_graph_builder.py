"""A GraphBuilder and tf.compat.v1, told the same, make equal GraphDefs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from mexport_pb._proto.graph_pb2 import GraphDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph import (
    FixedLenFeature,
    FixedLenSequenceFeature,
    GraphBuilder,
    RaggedFeature,
    SaveSlice,
    SparseTensor,
    VarLenFeature,
)

pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1

CASES: list[tuple[str, Callable, Callable]] = []


def case(theirs: Callable) -> Callable[[Callable], Callable]:
    """Pair a function of nothing, run in a tf.Graph, with one of a GraphBuilder."""

    def pair(ours: Callable) -> Callable:
        CASES.append((theirs.__name__, theirs, ours))
        return ours

    return pair


def _tf_variables():
    with tf1.variable_scope("vs"):
        tf1.get_variable("w", [2, 3], initializer=tf1.zeros_initializer(), use_resource=True)
        tf1.get_variable("n", [2], tf.int64, initializer=tf1.zeros_initializer(), use_resource=True)
        tf1.get_variable("big", [2000], initializer=tf1.zeros_initializer(), use_resource=True)
        tf1.get_variable("c", initializer=tf.constant([1.0, 2.0]), use_resource=True, trainable=False)
        tf1.get_variable("f", [2], initializer=tf1.constant_initializer([1.0, 2.0]), use_resource=True)
    v = tf1.Variable([1.0, 2.0], name="v", use_resource=True)
    v + 1.0
    tf.identity(v)
    v.read_value()
    v.value()
    v.assign([3.0, 4.0], read_value=False)
    tf1.train.get_or_create_global_step()


@case(_tf_variables)
def _(g):
    with g.name_scope("vs"):
        g.variable("w", [2, 3])
        g.variable("n", [2], "int64")
        g.variable("big", [2000])
        g.variable("c", initial_value=g.const([1.0, 2.0]), trainable=False)
        g.variable("f", [2], initial_value=lambda: g.const([1.0, 2.0]))
    v = g.variable("v", initial_value=[1.0, 2.0])
    v + 1.0
    g.identity(v)
    v.read_value()
    v.value()
    v.assign([3.0, 4.0])
    g.global_step()
    g.global_step()


def _tf_ref_variables():
    with tf1.variable_scope("vs"):
        tf1.get_variable("w", [2, 3], initializer=tf1.zeros_initializer(), use_resource=False)
        tf1.get_variable("c", initializer=tf.constant([1.0, 2.0]), use_resource=False)
    v = tf1.Variable([1.0, 2.0], name="v", use_resource=False)
    v - 1.0
    tf.identity(v)
    v.read_value()
    v.assign([3.0, 4.0])
    tf1.get_variable_scope().set_use_resource(False)
    tf1.train.get_or_create_global_step()


@case(_tf_ref_variables)
def _(g):
    with g.name_scope("vs"):
        g.variable("w", [2, 3], use_resource=False)
        g.variable("c", initial_value=g.const([1.0, 2.0]), use_resource=False)
    v = g.variable("v", initial_value=[1.0, 2.0], use_resource=False)
    v - 1.0
    g.identity(v)
    v.read_value()
    v.assign([3.0, 4.0])
    g.global_step(use_resource=False)


def _tf_partitions():
    for resource, name in ((True, "p"), (False, "q")):
        tf1.get_variable(
            name,
            [7, 2],
            partitioner=tf1.fixed_size_partitioner(3),
            initializer=tf1.zeros_initializer(),
            use_resource=resource,
        )
    tf1.get_variable(
        "columns",
        [4, 5],
        partitioner=tf1.fixed_size_partitioner(2, axis=1),
        initializer=tf1.zeros_initializer(),
        use_resource=True,
    )


@case(_tf_partitions)
def _(g):
    g.partitioned_variable("p", [7, 2], num_shards=3)
    g.partitioned_variable("q", [7, 2], num_shards=3, use_resource=False)
    g.variable("columns/part_0", [4, 3], save_slice=SaveSlice("columns", [4, 5], [0, 0]))
    g.variable("columns/part_1", [4, 2], save_slice=SaveSlice("columns", [4, 5], [0, 3]))


def _tf_names():
    for name in ("x", "X", "x", "x_1", "scope/x", "Scope"):
        tf1.no_op(name=name)
    with tf.name_scope("scope") as outer:
        tf1.no_op()
        tf1.no_op(name="no_op")
        with tf.name_scope("x"), tf.name_scope("x") as inner:
            tf1.no_op(name="_y")
        with tf.name_scope(inner):
            tf1.no_op(name="_y")
        with tf1.name_scope(None):
            tf1.no_op(name="root")
        with tf1.name_scope(""):
            tf1.no_op(name="root")
    with tf.name_scope(outer):
        tf1.no_op(name="z")
    tf1.no_op(name="a.b-c>d")
    tf1.get_default_graph().unique_name("marked")
    tf1.no_op(name="marked")


@case(_tf_names)
def _(g):
    for name in ("x", "X", "x", "x_1", "scope/x", "Scope"):
        g.no_op(name=name)
    with g.name_scope("scope") as outer:
        g.no_op()
        g.no_op(name="no_op")
        with g.name_scope("x"), g.name_scope("x") as inner:
            g.no_op(name="_y")
        with g.name_scope(inner):
            g.no_op(name="_y")
        with g.name_scope(None):
            g.no_op(name="root")
        with g.name_scope(""):
            g.no_op(name="root")
    with g.name_scope(outer):
        g.no_op(name="z")
    g.no_op(name="a.b-c>d")
    with g.name_scope("marked"):
        pass
    g.no_op(name="marked")


def _tf_devices():
    zeros = tf1.zeros_initializer()
    with tf.device("/job:ps/task:1"):
        w = tf1.get_variable("w", [2], use_resource=True, initializer=zeros)
        r = tf1.get_variable("r", [2], use_resource=False, initializer=zeros)
        with tf.device("/gpu:0"):
            w2 = tf1.get_variable("w2", [2], use_resource=True, initializer=zeros)
            tf1.get_variable("r2", [2], use_resource=False, initializer=zeros)
            tf.constant(1.0)
            with tf.device(None):
                tf.constant(2.0)
            with tf.device("/job:worker/device:CPU:*"):
                tf.constant(3.0)
                tf.identity(w)
                r.assign([1.0, 2.0])
        with tf1.colocate_with(w2.op):
            tf.constant(5.0)
            with tf1.colocate_with(r.op):
                tf.constant(6.0)
            with tf1.colocate_with(r.op, ignore_existing=True):
                tf.constant(7.0)
        with tf1.colocate_with(None, ignore_existing=True):
            tf.constant(8.0)
    with tf.device("GPU"):
        tf.constant(9.0)
    tf.group(w.initializer, r.initializer, w2.initializer)
    tf.group()
    tf.group(r.op, name="gg")


@case(_tf_devices)
def _(g):
    with g.device("/job:ps/task:1"):
        w = g.variable("w", [2])
        r = g.variable("r", [2], use_resource=False)
        with g.device("/gpu:0"):
            w2 = g.variable("w2", [2])
            g.variable("r2", [2], use_resource=False)
            g.const(1.0)
            with g.device(None):
                g.const(2.0)
            with g.device("/job:worker/device:CPU:*"):
                g.const(3.0)
                g.identity(w)
                r.assign([1.0, 2.0])
        with g.colocate_with(w2):
            g.const(5.0)
            with g.colocate_with(r.op):
                g.const(6.0)
            with g.colocate_with(r, ignore_existing=True):
                g.const(7.0)
        with g.colocate_with(None, ignore_existing=True):
            g.const(8.0)
    with g.device("GPU"):
        g.const(9.0)
    g.group(w.initializer, r.initializer, w2.initializer)
    g.group()
    g.group(r.op, name="gg")


def _tf_control():
    w = tf1.get_variable("w", [2], use_resource=True, initializer=tf1.zeros_initializer())
    r = tf1.get_variable("r", [2], use_resource=False, initializer=tf1.zeros_initializer())
    a = tf.constant(1.0, name="a")
    b = tf.constant(2.0, name="b_10")
    c = tf.constant(2.0, name="b_2")
    with tf.control_dependencies([w, r, w.initializer, a, b, c, a]):
        tf.constant(1.0)
        w + 1.0
        with tf.control_dependencies([r.op, b]):
            t = tf.identity(r)
            u = tf.identity(t)
            with tf.control_dependencies([u]):
                tf.identity(t)
                tf.identity(a)
        with tf.control_dependencies(None):
            tf.constant(1.0)
            with tf.control_dependencies([t]):
                tf.constant(1.0)


@case(_tf_control)
def _(g):
    w = g.variable("w", [2])
    r = g.variable("r", [2], use_resource=False)
    a, b, c = g.const(1.0, name="a"), g.const(2.0, name="b_10"), g.const(2.0, name="b_2")
    with g.control_dependencies([w, r, w.initializer, a, b, c, a]):
        g.const(1.0)
        w + 1.0
        with g.control_dependencies([r.op, b]):
            t = g.identity(r)
            u = g.identity(t)
            with g.control_dependencies([u]):
                g.identity(t)
                g.identity(a)
        with g.control_dependencies(None):
            g.const(1.0)
            with g.control_dependencies([t]):
                g.const(1.0)


def _tf_arithmetic():
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    y = tf1.placeholder(tf.float32, None, name="y")
    i = tf1.placeholder(tf.int32, [3], name="i")
    x + 1.0, 2.0 - x, x * y, 1 / x, i / i, i * 2, -x, x + x
    tf.add(x, 1.0), tf.subtract(x, y), tf.multiply(2.0, x), tf1.div(i, i), tf1.div(x, 2.0), tf1.div(x, y, name="d")
    tf.exp(x), tf.math.log(x), tf.sqrt(x), tf.square(x), tf.maximum(x, 0.0), tf.minimum(0.0, x), tf.negative(x)
    tf.abs(x), tf.math.rsqrt(x), tf.math.log1p(x), tf.pow(x, 2.0), tf.math.floordiv(i, 2), tf.math.floormod(i, 2)
    tf.equal(x, 1.0), tf.not_equal(x, 1.0), tf.greater(x, 0.0), tf.greater_equal(x, y), tf.less(x, 0.0)
    c = tf.less_equal(x, 0.0)
    tf.logical_and(c, c), tf.logical_or(c, c), tf.logical_not(c)
    (
        tf1.where(c, x, x),
        tf.where(c, x, 0.0),
        tf.where(c),
        tf.add_n([x, x]),
        tf.nn.relu(x),
        tf.sigmoid(x),
        tf.tanh(x),
        tf.nn.softmax(x),
    )
    tf.nn.l2_loss(x), tf.nn.l2_normalize(x, 1), tf.nn.bias_add(x, [1.0, 2.0, 3.0, 4.0])
    s = tf1.placeholder(tf.string, [None], name="s")
    s + "a", tf.strings.join(["a", s, "b"], separator="-"), tf.strings.to_hash_bucket_fast(s, 10)
    tf.cast(x, tf.int32), tf.cast(x, tf.float32), tf.cast(2.0, tf.int32), tf.cast(c, tf.float32)


@case(_tf_arithmetic)
def _(g):
    x = g.placeholder("float32", [None, 4], name="x")
    y = g.placeholder("float32", name="y")
    i = g.placeholder("int32", [3], name="i")
    x + 1.0, 2.0 - x, x * y, 1 / x, i / i, i * 2, -x, x + x
    g.add(x, 1.0), g.sub(x, y), g.mul(2.0, x), g.div(i, i), g.div(x, 2.0), g.div(x, y, name="d")
    g.exp(x), g.log(x), g.sqrt(x), g.square(x), g.maximum(x, 0.0), g.minimum(0.0, x), g.negative(x)
    g.abs(x), g.rsqrt(x), g.log1p(x), g.pow(x, 2.0), g.floordiv(i, 2), g.floormod(i, 2)
    g.equal(x, 1.0), g.not_equal(x, 1.0), g.greater(x, 0.0), g.greater_equal(x, y), g.less(x, 0.0)
    c = g.less_equal(x, 0.0)
    g.logical_and(c, c), g.logical_or(c, c), g.logical_not(c)
    g.select(c, x, x), g.where(c, x, 0.0), g.where(c), g.add_n([x, x]), g.relu(x), g.sigmoid(x), g.tanh(x), g.softmax(x)
    g.l2_loss(x), g.l2_normalize(x, 1), g.bias_add(x, [1.0, 2.0, 3.0, 4.0])
    s = g.placeholder("string", [None], name="s")
    s + "a", g.string_join(["a", s, "b"], separator="-"), g.string_to_hash_bucket_fast(s, 10)
    g.cast(x, "int32"), g.cast(x, "float32"), g.cast(2.0, "int32"), g.cast(c, "float32")


def _tf_products():
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    y = tf1.placeholder(tf.float32, [2, 3, 4], name="y")
    w = tf1.get_variable("w", [4, 5], initializer=tf1.zeros_initializer(), use_resource=True)
    v = tf1.get_variable("v", [5, 4], initializer=tf1.zeros_initializer(), use_resource=False)
    tf.matmul(x, w), tf.matmul(x, v, transpose_b=True), tf.matmul(x, x, transpose_a=True), x @ w
    tf.matmul(y, y, transpose_b=True), tf.matmul(w, v), w @ v, tf.matmul(x, np.ones((4, 2)))
    for reduce in (tf.reduce_sum, tf.reduce_mean, tf.reduce_max, tf.reduce_min, tf.reduce_prod):
        reduce(x), reduce(y, axis=-1), reduce(y, axis=[0, 2], keepdims=True)
    z = tf1.placeholder(tf.bool, None, name="z")
    tf.reduce_any(z), tf.reduce_all(z, axis=[0]), tf.reduce_sum(tf.constant(1.0)), tf.argmax(y, 1)
    tf.argmax(x, axis=-1, output_type=tf.int32)


@case(_tf_products)
def _(g):
    x = g.placeholder("float32", [None, 4], name="x")
    y = g.placeholder("float32", [2, 3, 4], name="y")
    w = g.variable("w", [4, 5])
    v = g.variable("v", [5, 4], use_resource=False)
    g.matmul(x, w), g.matmul(x, v, transpose_b=True), g.matmul(x, x, transpose_a=True), x @ w
    g.matmul(y, y, transpose_b=True), g.matmul(w, v), w @ v, g.matmul(x, np.ones((4, 2)))
    for reduce in (g.reduce_sum, g.reduce_mean, g.reduce_max, g.reduce_min, g.reduce_prod):
        reduce(x), reduce(y, axis=-1), reduce(y, axis=[0, 2], keepdims=True)
    z = g.placeholder("bool", name="z")
    g.reduce_any(z), g.reduce_all(z, axis=[0]), g.reduce_sum(g.const(1.0)), g.argmax(y, 1)
    g.argmax(x, axis=-1, output_type="int32")


def _tf_arrays():
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    y = tf1.placeholder(tf.float32, [2, 3, 4], name="y")
    u = tf1.placeholder(tf.float32, None, name="u")
    i = tf1.placeholder(tf.int64, [None], name="i")
    tf.concat([x, x], 1), tf.concat([y], 1), tf.concat([x, u], -1), tf.stack([x, x], axis=1), tf.stack([x, u])
    tf.unstack(y, axis=1), tf.transpose(y), tf.transpose(y, [0, 2, 1], name="t"), tf.transpose(u, [1, 0])
    tf.split(x, 2, axis=1), tf.split(y, [1, 2], axis=1), tf.split(y, [1, -1], axis=-1), tf.slice(x, [0, 1], [-1, 2])
    (
        tf.tile(y, [1, 2, 1]),
        tf.expand_dims(x, 1),
        tf.expand_dims(y, -1),
        tf.squeeze(u),
        tf.squeeze(x[:, None], axis=1),
        y[..., None, 1:, ::2],
    )
    tf.reshape(x, [-1]), tf.reshape(y, [6, -1]), tf.reshape(x, [tf.shape(x)[0], 2, 2]), tf.reshape(y, np.array([24]))
    tf.shape(x), tf.shape(y), tf.shape(u, out_type=tf.int64), tf.size(x), tf.size(y), tf.rank(u), tf.rank(y)
    tf.gather(x, i), tf.gather(y, i, axis=1), tf.gather(y, [0, 1], name="named"), tf.one_hot(i, 10)
    tf.one_hot(i, 3, tf.constant(2), tf.constant(-1), axis=0), tf.one_hot(i, 3, dtype=tf.int64)
    (
        tf.zeros([2, 3]),
        tf.zeros([2000], tf.int64),
        tf.ones([3]),
        tf.zeros([0]),
        tf.zeros([2], tf.string),
        tf.ones([], tf.bool),
    )
    tf.zeros_like(x), tf.zeros_like(y), tf.ones_like(x), tf.ones_like(y), tf.fill([2, 3], 1.0), tf.fill(tf.shape(x), 1)
    tf.range(4), tf.range(0, 10, 3), tf.range(1.0, 5.0), tf.range(tf.size(x)), tf.fill([tf.size(x)], 0.0)


@case(_tf_arrays)
def _(g):
    x = g.placeholder("float32", [None, 4], name="x")
    y = g.placeholder("float32", [2, 3, 4], name="y")
    u = g.placeholder("float32", name="u")
    i = g.placeholder("int64", [None], name="i")
    g.concat([x, x], 1), g.concat([y], 1), g.concat([x, u], -1), g.stack([x, x], axis=1), g.stack([x, u])
    g.unstack(y, axis=1), g.transpose(y), g.transpose(y, [0, 2, 1], name="t"), g.transpose(u, [1, 0])
    g.split(x, 2, axis=1), g.split(y, [1, 2], axis=1), g.split(y, [1, -1], axis=-1), g.slice(x, [0, 1], [-1, 2])
    g.tile(y, [1, 2, 1]), g.expand_dims(x, 1), g.expand_dims(y, -1), g.squeeze(u)
    g.squeeze(_strided(g, x, [0, 0], [0, 0], begin_mask=1, end_mask=1, new_axis_mask=2), axis=1)
    _strided(
        g, y, [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 2], begin_mask=8, end_mask=12, ellipsis_mask=1, new_axis_mask=2
    )
    g.reshape(x, [-1]), g.reshape(y, [6, -1])
    first = _strided(g, g.shape(x), [0], [1], shrink_axis_mask=1)
    g.reshape(x, [first, 2, 2]), g.reshape(y, np.array([24]))
    g.shape(x), g.shape(y), g.shape(u, out_type="int64"), g.size(x), g.size(y), g.rank(u), g.rank(y)
    g.gather(x, i), g.gather(y, i, axis=1), g.gather(y, [0, 1], name="named"), g.one_hot(i, 10)
    g.one_hot(i, 3, g.const(2), g.const(-1), axis=0), g.one_hot(i, 3, dtype="int64")
    g.zeros([2, 3]), g.zeros([2000], "int64"), g.ones([3]), g.zeros([0]), g.zeros([2], "string"), g.ones([], "bool")
    g.zeros_like(x), g.zeros_like(y), g.ones_like(x), g.ones_like(y), g.fill([2, 3], 1.0), g.fill(g.shape(x), 1)
    g.range(4), g.range(0, 10, 3), g.range(1.0, 5.0), g.range(g.size(x)), g.fill([g.size(x)], 0.0)


def _strided(g, x, begin, end, step=None, **masks):
    with g.name_scope("strided_slice") as scope:
        bounds = [
            g.const(begin, "int32", name="stack"),
            g.const(end, "int32", name="stack_1"),
            g.const(step or [1] * len(begin), "int32", name="stack_2"),
        ]
        return g.op("StridedSlice", [x, *bounds], attrs=masks, name=scope).output


def _tf_lookups():
    ids = tf1.placeholder(tf.int64, [None, 2], name="ids")
    with tf.device("/job:ps"):
        x = tf1.get_variable("x", [5, 3], use_resource=True, initializer=tf1.zeros_initializer())
        y = tf1.get_variable("y", [5, 3], use_resource=False, initializer=tf1.zeros_initializer())
    tf.gather(x, ids), tf.gather(y, ids), tf.gather(x, ids, name="named"), tf.gather(x, ids, axis=1)
    tf.nn.embedding_lookup(x, ids), tf.nn.embedding_lookup(y, ids), tf1.nn.embedding_lookup(x, [1, 2], name="e")


@case(_tf_lookups)
def _(g):
    ids = g.placeholder("int64", [None, 2], name="ids")
    with g.device("/job:ps"):
        x = g.variable("x", [5, 3])
        y = g.variable("y", [5, 3], use_resource=False)
    g.gather(x, ids), g.gather(y, ids), g.gather(x, ids, name="named"), g.gather(x, ids, axis=1)
    g.embedding_lookup(x, ids), g.embedding_lookup(y, ids), g.embedding_lookup(x, [1, 2], name="e")


def _tf_constants():
    (
        tf.constant(1),
        tf.constant(1.5),
        tf.constant("a"),
        tf.constant([b"a", "b"]),
        tf.constant(True),
        tf.constant([[1, 2]]),
    )
    tf.constant([1, 2], tf.int64), tf.constant(1, tf.float32, [2, 2]), tf.constant([[]]), tf.constant(2**40)
    (
        tf.constant(np.arange(3.0)),
        tf.constant([True, False]),
        tf.constant(1, tf.float16),
        tf.constant([1, 2], tf.bfloat16),
    )
    tf1.placeholder(tf.float32), tf1.placeholder(tf.string, []), tf1.placeholder(tf.int64, [None, 2], name="p")
    tf1.placeholder_with_default(tf.constant(1.0), [], name="pd")


@case(_tf_constants)
def _(g):
    g.const(1), g.const(1.5), g.const("a"), g.const([b"a", "b"]), g.const(True), g.const([[1, 2]])
    g.const([1, 2], "int64"), g.const(1, "float32", [2, 2]), g.const([[]]), g.const(2**40)
    g.const(np.arange(3.0)), g.const([True, False]), g.const(1, "float16"), g.const([1, 2], "bfloat16")
    g.placeholder("float32"), g.placeholder("string", []), g.placeholder("int64", [None, 2], name="p")
    g.op("PlaceholderWithDefault", [g.const(1.0)], attrs={"shape": []}, name="pd")


def _tf_generic():
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    k = tf1.placeholder(tf.string, [None], name="k")
    tf.nn.top_k(x, 2), tf.unique(tf.constant([1, 1])), tf.clip_by_value(x, 0.0, 1.0), tf.identity_n([x, k])
    tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t", name="table")
    table = tf1.get_default_graph().get_tensor_by_name("table:0")
    tf.raw_ops.LookupTableFindV2(table_handle=table, keys=k, default_value=np.int64(-1), name="find")
    with tf.device("/cpu:0"), tf.control_dependencies([x]):
        tf.raw_ops.StringToNumber(string_tensor=k, name="number")
    tf.raw_ops.ConcatV2(values=[x, x], axis=np.int64(1))
    tf.raw_ops.TensorListReserve(element_shape=[1], num_elements=1, element_dtype=tf.float32)
    tf.raw_ops.Print(input=x, data=[x, k], message="m")


@case(_tf_generic)
def _(g):
    x = g.placeholder("float32", [None, 4], name="x")
    k = g.placeholder("string", [None], name="k")
    g.op("TopKV2", [x, 2])
    g.op("Unique", [g.const([1, 1])])
    with g.name_scope("clip_by_value") as scope:
        g.maximum(g.minimum(x, 1.0, name="Minimum"), 0.0, name=scope)
    g.op("IdentityN", [[x, k]])
    attrs = {"key_dtype": "string", "value_dtype": "int64", "shared_name": "t"}
    table = g.op("HashTableV2", attrs=attrs, name="table").output
    g.op("LookupTableFindV2", [table, k, np.int64(-1)], name="find")
    g.op("StringToNumber", [k], name="number", device="/cpu:0", control_inputs=[x])
    g.op("ConcatV2", [[x, x], np.int64(1)])
    g.op("TensorListReserve", [[1], 1], attrs={"element_dtype": "float32"}, shapes=[[]])
    g.op("Print", [x, [x, k]], attrs={"message": "m"})


def theirs_as_ours(theirs: Callable) -> tuple[GraphDef, dict[str, object]]:
    """Run the TensorFlow side; return its GraphDef as our message, and its collections."""
    with tf.Graph().as_default() as graph:
        theirs()
        graph_def = GraphDef.FromString(graph.as_graph_def(add_shapes=True).SerializeToString())
        meta = tf1.train.export_meta_graph(clear_extraneous_savers=True)
    for node in graph_def.node:
        if node.op == "HashTableV2" and node.attr["shared_name"].s.startswith(
            b"hash_table_"
        ):  # theirs is a random number or the file's path
            node.attr["shared_name"].s = f"hash_table_{node.name}".encode()
    return graph_def, MetaGraphDef.FromString(meta.SerializeToString()).collection_def


def assert_equal_graphs(ours: GraphDef, theirs: GraphDef) -> None:
    """Compare node by node, so that a failure names the node."""
    assert [node.name for node in ours.node] == [node.name for node in theirs.node]
    for mine, its in zip(ours.node, theirs.node, strict=True):
        assert str(mine) == str(its)
    assert ours == theirs


def _tf_operators():
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    i = tf1.placeholder(tf.int32, [3], name="i")
    b = tf1.placeholder(tf.bool, [3], name="b")
    w = tf1.get_variable("w", [10, 4], initializer=tf1.zeros_initializer(), use_resource=True)
    _use_operators(x, i, b, w)


def _use_operators(x, i, b, w):
    _ = x > 1, x >= 1.0, x < 1, x <= x, x > 1
    _ = x**2, 2.0**x, x % 2, 5 % i, i // 2, 7 // i, x // 2
    _ = ~b, ~i, abs(x), abs(i), -x
    _ = b & b, b | True, i & 1, i | i, b ^ b, i ^ 3, True & b, b ^ True
    _ = w > 1, w**2, abs(w), w // 2, w > 1, 2 % w, -w, w + 1


@case(_tf_operators)
def _(g):
    x = g.placeholder("float32", [None, 3], name="x")
    i = g.placeholder("int32", [3], name="i")
    b = g.placeholder("bool", [3], name="b")
    w = g.variable("w", [10, 4])
    _use_operators(x, i, b, w)


def _tf_indexing():
    x = tf1.placeholder(tf.float32, [None, 3, 4], name="x")
    t = tf1.placeholder(tf.int32, [], name="t")
    u = tf1.placeholder(tf.int64, [], name="u")
    w = tf1.get_variable("w", [10, 4], initializer=tf1.zeros_initializer(), use_resource=True)
    r = tf1.get_variable("r", [10, 4], initializer=tf1.zeros_initializer(), use_resource=False)
    _use_indexing(x, t, u, w, r)


def _use_indexing(x, t, u, w, r):
    _ = x[0], x[-1], x[:, 1], x[..., 0], x[None], x[1:, ::2, -1], x[:, None, ..., 1:-1], x[::-1], x[:, :0], x[()]
    _ = x[t], x[t:, 1], x[:u], x[:, t:3], x[0:2, t], x[::t], x[u, :, u], x[:, 1:u:2]
    _ = w[1], w[:, 0], r[1], r[2:5]


@case(_tf_indexing)
def _(g):
    x = g.placeholder("float32", [None, 3, 4], name="x")
    t = g.placeholder("int32", [], name="t")
    u = g.placeholder("int64", [], name="u")
    w = g.variable("w", [10, 4])
    r = g.variable("r", [10, 4], use_resource=False)
    _use_indexing(x, t, u, w, r)


def _tf_parse_example():
    s = tf1.placeholder(tf.string, [None], name="s")
    features = {
        "d": tf.io.FixedLenFeature([2], tf.float32),
        "e f": tf.io.FixedLenFeature([], tf.int64, default_value=7),
        "g": tf.io.FixedLenFeature([2, 1], tf.string, default_value=[["a"], ["b"]]),
        "seq": tf.io.FixedLenSequenceFeature([3], tf.float32, allow_missing=True),
        "seq2": tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True, default_value="x"),
        "sp": tf.io.VarLenFeature(tf.int64),
        "rg": tf.io.RaggedFeature(tf.int64),
        "sp2": tf.io.VarLenFeature(tf.string),
    }
    tf1.io.parse_example(s, features)
    tf1.io.parse_example(s, {"d": tf.io.FixedLenFeature([2], tf.float32)}, name="named")
    four = tf1.placeholder(tf.string, [4], name="four")
    tf1.io.parse_example(four, {"r": tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)})
    unknown = tf1.placeholder(tf.string, name="unknown")
    tf1.io.parse_example(unknown, {"a": tf.io.VarLenFeature(tf.string), "d": tf.io.FixedLenFeature([2], tf.float32)})


@case(_tf_parse_example)
def _(g):
    s = g.placeholder("string", [None], name="s")
    features = {
        "sp2": VarLenFeature("string"),
        "d": FixedLenFeature([2], "float32"),
        "e f": FixedLenFeature([], "int64", default_value=7),
        "g": FixedLenFeature([2, 1], "string", default_value=[["a"], ["b"]]),
        "seq": FixedLenSequenceFeature([3], "float32"),
        "seq2": FixedLenSequenceFeature([], "string", default_value="x"),
        "sp": VarLenFeature("int64"),
        "rg": RaggedFeature("int64"),
    }
    assert list(g.parse_example(s, features)) == sorted(features)
    g.parse_example(s, {"d": FixedLenFeature([2], "float32")}, name="named")
    four = g.placeholder("string", [4], name="four")
    g.parse_example(four, {"r": RaggedFeature("float32", row_splits_dtype="int64")})
    unknown = g.placeholder("string", name="unknown")
    g.parse_example(unknown, {"a": VarLenFeature("string"), "d": FixedLenFeature([2], "float32")})


def _tf_pooling():
    d = tf1.placeholder(tf.float32, [None, 3], name="d")
    i = tf1.placeholder(tf.int32, [None], name="i")
    j = tf1.placeholder(tf.int64, [None], name="j")
    n = tf1.placeholder(tf.int32, [], name="n")
    tf.math.segment_sum(d, i)
    tf.math.segment_mean(d, j)
    tf.math.unsorted_segment_sum(d, i, 5)
    tf.math.unsorted_segment_sum(d, j, n)
    tf.math.unsorted_segment_mean(d, j, 5)
    tf.math.unsorted_segment_mean(d, i, n)
    tf.math.top_k(d, 3)
    tf.math.top_k(d, k=2, sorted=False, name="t")
    tf.strided_slice(d, [0, 1], [2, 5], [1, 2], begin_mask=1)
    s = tf1.placeholder(tf.string, [None], name="s")
    tf1.string_split(s)
    tf1.string_split(s, ",", skip_empty=False)


@case(_tf_pooling)
def _(g):
    d = g.placeholder("float32", [None, 3], name="d")
    i = g.placeholder("int32", [None], name="i")
    j = g.placeholder("int64", [None], name="j")
    n = g.placeholder("int32", [], name="n")
    g.segment_sum(d, i)
    g.segment_mean(d, j)
    g.unsorted_segment_sum(d, i, 5)
    g.unsorted_segment_sum(d, j, n)
    g.unsorted_segment_mean(d, j, 5)
    g.unsorted_segment_mean(d, i, n)
    g.top_k(d, 3)
    g.top_k(d, k=2, sorted=False, name="t")
    g.strided_slice(d, [0, 1], [2, 5], [1, 2], begin_mask=1)
    s = g.placeholder("string", [None], name="s")
    g.string_split(s)
    g.string_split(s, ",", skip_empty=False)


def _tf_sparse_lookups():
    w = tf1.get_variable("w", [10, 4], initializer=tf1.zeros_initializer(), use_resource=True)
    half = tf1.get_variable("half", [10, 4], tf.float16, initializer=tf1.zeros_initializer(), use_resource=True)
    indices = tf1.placeholder(tf.int64, [None, 2], name="indices")
    values = tf1.placeholder(tf.int64, [None], name="values")
    shape = tf1.placeholder(tf.int64, [2], name="shape")
    factors = tf1.placeholder(tf.float32, [None], name="factors")
    ids, weights = tf.SparseTensor(indices, values, shape), tf.SparseTensor(indices, factors, shape)
    for combiner in ("sum", "mean", "sqrtn"):
        tf1.nn.embedding_lookup_sparse(w, ids, None, combiner=combiner)
        tf1.nn.embedding_lookup_sparse(w, ids, weights, combiner=combiner)
    tf1.nn.embedding_lookup_sparse(w, ids, weights, combiner="mean", name="named")
    del half


@case(_tf_sparse_lookups)
def _(g):
    w = g.variable("w", [10, 4])
    g.variable("half", [10, 4], "float16")
    indices = g.placeholder("int64", [None, 2], name="indices")
    values = g.placeholder("int64", [None], name="values")
    shape = g.placeholder("int64", [2], name="shape")
    factors = g.placeholder("float32", [None], name="factors")
    ids, weights = SparseTensor(indices, values, shape), SparseTensor(indices, factors, shape)
    for combiner in ("sum", "mean", "sqrtn"):
        g.embedding_lookup_sparse(w, ids, None, combiner=combiner)
        g.embedding_lookup_sparse(w, ids, weights, combiner=combiner)
    g.embedding_lookup_sparse(w, ids, weights, combiner="mean", name="named")


def _tf_tables():
    keys, values = tf.constant([1, 2], tf.int64), tf.constant(["a", "b"])
    table = tf1.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), "none")
    table.lookup(tf1.placeholder(tf.int64, [None, 2], name="k"))
    again = tf1.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.5]), 0.0, name="again")
    again.lookup(tf.constant(["a", "z"]), name="found")
    again.size()
    index = tf.lookup.TextFileInitializer(
        "vocabulary.txt",
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    tf1.lookup.StaticHashTable(index, -1, name="lines").lookup(tf1.placeholder(tf.string, [None], name="words"))
    columns = tf.lookup.TextFileInitializer("c.csv", tf.int64, 1, tf.float32, 0, vocab_size=5, delimiter=",")
    tf1.lookup.StaticHashTable(columns, 0.5, name="columns")


@case(_tf_tables)
def _(g):
    table = g.lookup_table(g.const(np.array([1, 2])), g.const(["a", "b"]), "none")
    table.lookup(g.placeholder("int64", [None, 2], name="k"))
    again = g.lookup_table(["a"], [1.5], 0.0, name="again")
    again.lookup(g.const(["a", "z"]), name="found")
    again.size()
    lines = g.lookup_table_from_file("vocabulary.txt", -1, name="lines")
    lines.lookup(g.placeholder("string", [None], name="words"))
    g.lookup_table_from_file(
        "c.csv",
        0.5,
        key_dtype="int64",
        key_index=1,
        value_dtype="float32",
        value_index=0,
        vocab_size=5,
        delimiter=",",
        name="columns",
    )


@pytest.mark.parametrize(("theirs", "ours"), [pair[1:] for pair in CASES], ids=[pair[0][4:] for pair in CASES])
def test_graph_equals_tensorflows(theirs, ours):
    want, collections = theirs_as_ours(theirs)
    graph = GraphBuilder()
    ours(graph)
    assert_equal_graphs(graph.to_graph_def(), want)
    got = graph.to_meta_graph().collection_def
    assert set(got) == set(collections)
    for name, collection in collections.items():
        assert str(got[name]) == str(collection), name


def test_the_cases_are_all_there():
    assert len(CASES) >= 12


@pytest.mark.parametrize("name", ["a b", "_a", "a:b", "é", "/a", "-a", ">a", ""])
def test_illegal_names_are_illegal_in_both(name):
    with tf.Graph().as_default() as graph, pytest.raises(ValueError, match="not a valid"):
        graph.create_op("NoOp", [], name=name)
    builder = GraphBuilder()
    with pytest.raises(ValueError, match="illegal node name"):
        builder.add_node("NoOp", name, (), {}, ())


@pytest.mark.parametrize("name", ["a>", "a>>b", "a\\b", "a>-", "a>_b", "a/>/b"])
def test_names_that_no_loader_takes_are_illegal(name):
    graph_def = tf1.GraphDef()
    graph_def.node.add(name=name, op="NoOp")
    with tf.Graph().as_default(), pytest.raises(ValueError, match="invalid characters"):
        tf.import_graph_def(graph_def, name="")
    with pytest.raises(ValueError, match="illegal node name"):
        GraphBuilder().no_op(name=name)


def test_meta_graph_equals_tensorflows():
    with tf.Graph().as_default() as graph:
        tf1.get_variable("w", [2, 3], initializer=tf1.zeros_initializer(), use_resource=True)
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        y = tf.nn.relu(x, name="y")
        graph.add_to_collection("tensors", y)
        graph.add_to_collection("ops", y.op)
        graph.add_to_collection("words", "a")
        graph.add_to_collection("words", b"b")
        graph.add_to_collection("numbers", 7)
        graph.add_to_collection("floats", 0.5)
        want = MetaGraphDef.FromString(tf1.train.export_meta_graph().SerializeToString())
    builder = GraphBuilder()
    builder.variable("w", [2, 3])
    x = builder.placeholder("float32", [None, 2], name="x")
    y = builder.relu(x, name="y")
    for name, values in {"tensors": [y], "ops": [y.op], "words": ["a", b"b"], "numbers": [7], "floats": [0.5]}.items():
        for value in values:
            builder.add_to_collection(name, value)
    got = builder.to_meta_graph(tensorflow_version=tf.version.VERSION, git_version=tf.version.GIT_VERSION)
    want.meta_info_def.ClearField("stripped_default_attrs")
    assert got == want
