"""Graphs of TensorFlow for freezing: each function builds one in the default graph.

It returns the inputs, (tensor, value) by key, and the output tensors by key.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

__all__ = ["GRAPHS", "UNFREEZABLE", "UNLOADABLE"]

tf1 = tf.compat.v1

GRAPHS = {}
"""Graphs that TensorFlow freezes well."""
UNLOADABLE = {}
"""Graphs of which TensorFlow's frozen form cannot be loaded or run; ours can."""
UNFREEZABLE = {}
"""Graphs that write to variables, or need more of them than their values."""

X = np.arange(8, dtype=np.float32).reshape(2, 4)
IDS = np.array([1, 7])


def graph_into(table):
    def register(build):
        table[build.__name__] = build
        return build

    return register


ours = graph_into(GRAPHS)
fixed = graph_into(UNLOADABLE)
refused = graph_into(UNFREEZABLE)


def control_flow_v1(build):
    @functools.wraps(build)
    def built():
        tf1.disable_control_flow_v2()
        try:
            return build()
        finally:
            tf1.enable_control_flow_v2()

    return built


def variable(name, shape, resource, **more):
    initializer = tf1.random_normal_initializer(seed=1)
    return tf1.get_variable(name, shape, use_resource=resource, initializer=initializer, **more)


def dense():
    return tf1.placeholder(tf.float32, [None, 4], name="x")


def scalar():
    return tf1.placeholder(tf.float32, [], name="x")


def ids():
    return tf1.placeholder(tf.int64, [None], name="ids")


@ours
def ref():
    x = dense()
    return {"x": (x, X)}, {"y": tf.matmul(x, variable("w", [4, 3], False), name="y")}


@ours
def resource():
    x, w, b = dense(), variable("w", [4, 3], True), variable("b", [3], True)
    return {"x": (x, X)}, {"y": tf.nn.relu(tf.matmul(x, w) + b + w[0])}


@ours
def devices():
    with tf.device("/job:localhost/replica:0/task:0/device:GPU:7"):
        w, r, table = variable("w", [4, 3], True), variable("r", [4, 3], False), variable("table", [9, 3], True)
    with tf.device("/device:CPU:0"):
        x, i = dense(), ids()
        y = tf.matmul(x, w) + tf.matmul(x, r) + tf.gather(table, i)
    return {"x": (x, X), "ids": (i, IDS)}, {"y": y}


@ours
def gather_of_ref():
    i = ids()
    return {"ids": (i, IDS)}, {"y": tf1.nn.embedding_lookup(variable("table", [9, 3], False), i)}


@ours
def gathers():
    table, other, i = variable("table", [9, 3], True), variable("other", [9], True), ids()
    rows = table.gather_nd(i[:, None])
    outputs = {"a": tf1.nn.embedding_lookup(table, i), "b": tf.gather(table, i), "c": rows, "d": tf.gather(other, i)}
    return {"ids": (i, IDS)}, outputs


@ours
def gathers_by_variables():
    number = tf1.get_variable("a_number", initializer=np.array([1, 5]), use_resource=False)
    early, late = variable("early", [9, 3], True), variable("z_late", [9, 3], True)
    return {}, {"y": tf1.nn.embedding_lookup(late, number) + tf1.nn.embedding_lookup(early, number)}


@ours
def partitioned():
    i = ids()
    resources = variable("a", [10, 3], True, partitioner=tf1.fixed_size_partitioner(3))
    refs = variable("b", [10, 3], False, partitioner=tf1.fixed_size_partitioner(2, axis=1))
    whole = variable("c", [10, 3], True, partitioner=tf1.fixed_size_partitioner(1))
    rows = tf1.nn.embedding_lookup(resources, i)
    outputs = {"y": rows, "refs": tf.concat(list(refs), 1), "whole": tf.identity(next(iter(whole)))}
    return {"ids": (i, IDS)}, outputs


@ours
def part_of_a_partitioned_variable():
    parts = list(variable("a", [10, 3], True, partitioner=tf1.fixed_size_partitioner(3)))
    return {}, {"y": tf.identity(parts[1])}


@ours
def every_dtype():
    values = {
        "double": np.array([1.0, 2.0]),
        "float": np.float32(3),
        "int8": np.array([[1, -2]], np.int8),
        "uint8": np.array([1, 2], np.uint8),
        "uint16": np.array([1, 2, 65535], np.uint16),
        "uint32": np.array([1, 2**32 - 1], np.uint32),
        "int64": np.int64(5),
        "bool": np.array([True, False]),
        "one_bool": np.bool_(True),
        "half": np.array([1, 2], np.float16),
        "one_half": np.float16(1.5),
        "complex": np.array([1 + 2j, 3], np.complex64),
        "empty": np.zeros([0, 3], np.float32),
        "strings": np.array([b"a", b"bc\0", b""], object),
        "one_element": np.ones([1, 1], np.float32),
        "bfloat16": tf.constant([1, 2, 3], tf.bfloat16),
        "one_bfloat16": tf.constant(1, tf.bfloat16),
    }
    outputs = {}
    for name, value in values.items():
        outputs[name] = tf.identity(tf1.get_variable(name, initializer=value, use_resource=True))
        if not name.startswith("uint"):
            outputs[f"{name}_ref"] = tf.identity(tf1.get_variable(f"{name}_ref", initializer=value, use_resource=False))
    return {}, outputs


@ours
@control_flow_v1
def cond_v1():
    x, w, r = scalar(), variable("w", [], True), variable("r", [], False)
    return {"x": (x, np.float32(2))}, {"y": tf1.cond(x > 1, lambda: w * 2 + r, lambda: w - 1 - r)}


@ours
@control_flow_v1
def while_loop_v1():
    x, w, r, table = scalar(), variable("w", [], True), variable("r", [], False), variable("table", [9], True)

    def step(v):
        return v * 2 + tf.abs(w) + tf.abs(r) + tf.gather(table, [1])[0] * 0

    def either(v):
        return tf1.cond(v > 3, lambda: v * 3 + tf.abs(w), lambda: v + 1 + tf.abs(r))

    y = tf1.while_loop(lambda v: v < 100.0 + r, step, [x])
    z = tf1.while_loop(lambda v: v < 100.0, either, [tf.abs(r)])
    return {"x": (x, np.float32(2))}, {"y": y, "z": z}


@ours
def if_v2():
    x, w, r = scalar(), variable("w", [], True), variable("r", [], False)
    return {"x": (x, np.float32(2))}, {"y": tf.cond(x > 1, lambda: w * 2 + r, lambda: w - 1 - r)}


@ours
def while_v2():
    x, w, r = scalar(), variable("w", [], True), variable("r", [], False)

    def either(v):
        return tf.cond(v > 3, lambda: v * 3 + tf.abs(w), lambda: v + 1 + tf.abs(r))

    y = tf.while_loop(lambda v: v < 100.0, lambda v: v * 2 + tf.abs(w) + tf.abs(r), [x])
    z = tf.while_loop(lambda v: v < 100.0 + w, either, [tf.abs(r)])
    return {"x": (x, np.float32(2))}, {"y": y[0], "z": z[0]}


@ours
def while_v2_that_starts_with_a_variable():
    x, r = scalar(), variable("r", [2], False)
    shapes = [tf.TensorShape([]), tf.TensorShape([None])]
    y = tf.while_loop(lambda i, _: i < x, lambda i, v: (i + 1, tf.concat([v, v], 0)), [0.0, r], shape_invariants=shapes)
    return {"x": (x, np.float32(2))}, {"y": y[1]}


@ours
def case_v2():
    x, w, u = tf1.placeholder(tf.int32, [], name="x"), variable("w", [2], True), variable("u", [2], True)
    return {"x": (x, np.int32(1))}, {"y": tf.switch_case(x, [lambda: w * 2, lambda: w + u, lambda: u - 1])}


@ours
def function():
    x, w, b, r = dense(), variable("w", [4, 3], True), variable("b", [3], True), variable("r", [3], False)

    @tf.function(autograph=False)
    def f(v):
        return tf.matmul(v, w) + b

    return {"x": (x, X)}, {"y": f(x) + r, "z": f(x * 2)}


@ours
def functions_in_functions():
    x, w, b = dense(), variable("w", [4, 4], True), variable("b", [4], True)

    @tf.function(autograph=False)
    def g(v):
        return tf.matmul(v, w) + b

    @tf.function(autograph=False)
    def f(v):
        return tf.cond(tf.reduce_sum(v) > 0, lambda: g(v), lambda: g(v) * b)

    @tf.function(autograph=False)
    def h(v):
        return tf.while_loop(lambda i, _: i < 2, lambda i, u: (i + 1, f(u)), [0, v])[1]

    return {"x": (x, X)}, {"y": h(x)}


@ours
def function_of_a_value_read():
    x, w, b = dense(), variable("w", [4, 4], True), variable("b", [4], True)

    @tf.function(autograph=False)
    def g(v, a):
        return tf.matmul(v, w) + a

    @tf.function(autograph=False)
    def f(v):
        return g(v, b.read_value())

    return {"x": (x, X)}, {"y": f(x)}


@ours
def function_of_a_ref():
    x, r = dense(), variable("r", [4, 3], False)

    @tf.function(autograph=False)
    def f(v, q):
        return tf.matmul(v, q)

    return {"x": (x, X)}, {"y": f(x, r)}


@ours
def function_of_two_handles():
    x, w, u = dense(), variable("w", [4, 3], True), variable("u", [4, 3], True)

    @tf.function(autograph=False)
    def f(v, q):
        return tf.matmul(v, tf.raw_ops.ReadVariableOp(resource=q, dtype=tf.float32))

    return {"x": (x, X)}, {"y": f(x, w.handle) + f(x, u.handle)}


@ours
def gather_nd_in_a_function():
    table, i = variable("table", [9, 3], True), ids()

    @tf.function(autograph=False)
    def f(number):
        return table.gather_nd(number[:, None])

    return {"ids": (i, IDS)}, {"y": f(i)}


@ours
def function_that_no_signature_needs():
    x, w = dense(), variable("w", [4, 4], True)

    @tf.function(autograph=False)
    def f(v):
        return tf.sin(tf.matmul(v, w))

    f(x)
    return {"x": (x, X)}, {"y": tf.matmul(x, w)}


@ours
def identities_of_a_handle():
    x, w = dense(), variable("w", [4, 3], True)
    handle = tf.identity(tf.identity(w.handle))
    return {"x": (x, X)}, {"y": tf.matmul(x, tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32))}


@ours
def many_reads():
    x, w = dense(), variable("w", [4, 3], True)
    y = tf.matmul(x, w) * tf.reduce_sum(w.read_value()) + w.sparse_read([0, 1])[0]
    return {"x": (x, X)}, {"y": y, "w": w.read_value()}


@ours
def training():
    x, w, r = dense(), variable("w", [4, 3], True), variable("r", [3], False)
    y = tf.matmul(x, w) + r
    step = tf1.train.get_or_create_global_step()
    tf1.train.AdamOptimizer().minimize(tf.reduce_mean(y * y), step)
    return {"x": (x, X)}, {"y": y, "step": tf.identity(step)}


@ours
def control_dependencies():
    x, w = dense(), variable("w", [4, 3], True)
    with tf.control_dependencies([tf.no_op(name="first"), w.read_value()]):
        y = tf.matmul(x, w)
    return {"x": (x, X)}, {"y": y}


@ours
def no_variables():
    x = dense()
    return {"x": (x, X)}, {"y": x * 2}


@ours
def colocation():
    x, w, r = dense(), variable("w", [4, 3], True), variable("r", [3], False)
    with tf1.colocate_with(w.handle):
        a = tf.matmul(x, w)
    with tf1.colocate_with(r):
        b = a + r
    return {"x": (x, X)}, {"y": b}


@ours
def normalization():
    x, gamma, mean = dense(), variable("gamma", [4], True), variable("mean", [4], True)
    image = tf.reshape(x, [-1, 1, 1, 4])
    moments = {"mean": mean, "variance": tf.abs(gamma), "is_training": False}
    return {"x": (x, X)}, {"y": tf1.nn.fused_batch_norm(image, gamma, mean, **moments)[0]}


# What TensorFlow freezes into a graph that does not load or run.


@fixed
@control_flow_v1
def condition_that_is_a_ref():
    x, p = scalar(), tf1.get_variable("p", initializer=True, use_resource=False)
    return {"x": (x, np.float32(2))}, {"y": tf1.cond(p, lambda: x * 2, lambda: x - 1)}


@fixed
def branch_that_returns_the_value_read():
    x, w = scalar(), variable("w", [], True)
    return {"x": (x, np.float32(2))}, {"y": tf.cond(x > 1, lambda: w, lambda: w - 1)}


@fixed
def gather_in_a_function():
    table, i = variable("table", [9, 3], True), ids()

    @tf.function(autograph=False)
    def f(number):
        return tf1.nn.embedding_lookup(table, number)

    return {"ids": (i, IDS)}, {"y": f(i)}


@fixed
def gather_in_a_loop():
    table, i = variable("table", [9, 3], True), ids()
    y = tf.map_fn(lambda number: tf.gather(table, number) * 2, i, fn_output_signature=tf.float32)
    return {"ids": (i, IDS)}, {"y": y}


@fixed
def gather_in_batches():
    table = variable("table", [2, 9, 3], True)
    i = tf1.placeholder(tf.int32, [2, None], name="ids")
    y = tf.raw_ops.ResourceGather(resource=table.handle, indices=i, dtype=tf.float32, batch_dims=1)
    return {"ids": (i, np.array([[1, 7, 3], [0, 8, 2]], np.int32))}, {"y": y}


@fixed
def loop_around_a_matrix():
    x, w = dense(), variable("w", [4, 4], True)
    y = tf.while_loop(lambda v: tf.reduce_sum(v) < 100.0, lambda v: tf.abs(tf.matmul(v, w)) + 1, [x])
    return {"x": (x, X)}, {"y": y[0]}


@fixed
def call_that_a_read_reaches_first():
    x, b, w = dense(), variable("b", [4], True), variable("w", [4, 4], True)

    @tf.function(autograph=False)
    def g(v, a):
        return tf.matmul(v, w) + a

    @tf.function(autograph=False)
    def f(v):
        return g(v, tf.raw_ops.ReadVariableOp(resource=b.handle, dtype=tf.float32))

    return {"x": (x, X)}, {"y": f(x)}


@fixed
def one_string():
    value = tf1.get_variable("s", initializer=np.array(b"one", object), use_resource=True)
    return {}, {"y": tf.identity(value)}


# What cannot be frozen.


@refused
def assign_to_a_ref():
    x, r = scalar(), variable("r", [], False)
    return {"x": (x, np.float32(1))}, {"y": r.assign_add(x)}


@refused
def assign_to_a_resource():
    x, w = scalar(), variable("w", [], True)
    with tf.control_dependencies([w.assign_add(x)]):
        y = w.read_value()
    return {"x": (x, np.float32(1))}, {"y": y}


@refused
def assign_in_a_function():
    x, w = scalar(), variable("w", [], True)

    @tf.function(autograph=False)
    def f(v):
        return w.assign_add(v) + 1

    return {"x": (x, np.float32(1))}, {"y": f(x)}


@refused
def is_initialized():
    return {}, {"y": variable("w", [3, 2], True).is_initialized()}


@refused
def shape_of_a_handle():
    return {}, {"y": tf.raw_ops.VariableShape(input=variable("w", [3, 2], True).handle)}


@refused
def function_that_returns_a_handle():
    w = variable("w", [3, 2], True)

    @tf.function(autograph=False)
    def f(handle):
        return tf.identity(handle)

    return {}, {"y": tf.raw_ops.ReadVariableOp(resource=f(w.handle), dtype=tf.float32)}
