"""Op lists, stripped attributes and cleared devices are those of tf.compat.v1."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.python.framework import meta_graph as tf_meta_graph

from mexport_pb._proto.graph_pb2 import OpList
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph import clear_devices, op_list, strip_default_attrs

pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1


def _dense():
    w = tf1.get_variable("w", [4, 3], use_resource=True)
    v = tf1.get_variable("v", [3], use_resource=False)
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    with tf.device("/job:ps/task:1"):
        y = tf.nn.bias_add(tf.matmul(x, w), v)
    loss = tf.reduce_mean(tf.square(y))
    tf1.train.AdagradOptimizer(0.1).minimize(loss)
    tf.strings.join(["a", "b"])
    tf.gather(y, [0])
    tf1.train.Saver(sharded=True)


def _functions():
    @tf.function
    def inner(x):
        with tf.device("/device:CPU:0"):
            return tf.sin(x) + tf.matmul(x, x)

    @tf.function
    def outer(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: inner(x), lambda: tf.cos(x)) * tf.exp(x)

    x = tf1.placeholder(tf.float32, [2, 2])
    outer(x)
    tf.map_fn(tf.tanh, x)
    tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, tf.math.erf(v)), [0, x])


def _v1_control_flow():
    tf1.disable_control_flow_v2()
    try:
        x = tf1.placeholder(tf.float32, [])
        tf1.cond(x > 0, lambda: x + 1, lambda: x - 1)
        tf1.while_loop(lambda v: v < 3, lambda v: v * 2, [x])
    finally:
        tf1.enable_control_flow_v2()


def _tables():
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), -1)
    table.lookup(tf1.placeholder(tf.string, [None]))
    tf.io.parse_example(tf1.placeholder(tf.string, [None]), {"f": tf.io.VarLenFeature(tf.int64)})


GRAPHS = [_dense, _functions, _v1_control_flow, _tables]
# Functions and tables get new names in every run.
REPEATABLE = [_dense, _v1_control_flow]


def _export(build, **options) -> MetaGraphDef:
    with tf.Graph().as_default():
        build()
        # With its graph_def given, as Saver and Builder call it.
        graph_def = tf1.get_default_graph().as_graph_def(add_shapes=True)
        meta = tf1.train.export_meta_graph(graph_def=graph_def, **options)
    return MetaGraphDef.FromString(meta.SerializeToString())


@pytest.mark.parametrize("build", GRAPHS)
def test_op_list(build):
    meta = _export(build)
    want = meta.meta_info_def.stripped_op_list
    assert op_list(meta) == want
    with tf.Graph().as_default():
        build()
        graph_def = tf1.get_default_graph().as_graph_def(add_shapes=True)
    assert OpList.FromString(tf_meta_graph.stripped_op_list_for_graph(graph_def).SerializeToString()) == want
    known = op_list(graph_def)
    assert [op for op in want.op if op.name in {one.name for one in known.op}] == list(known.op)
    assert op_list(graph_def, want.op) == want


@pytest.mark.parametrize("build", GRAPHS)
def test_strip_default_attrs(build):
    meta = _export(build)
    untouched = MetaGraphDef.FromString(meta.SerializeToString())
    want = _export(build, strip_default_attrs=True)
    theirs = tf1.MetaGraphDef.FromString(meta.SerializeToString())
    tf_meta_graph.strip_graph_default_valued_attrs(theirs)
    got = strip_default_attrs(meta)
    assert meta == untouched
    assert got == MetaGraphDef.FromString(theirs.SerializeToString())
    if build in REPEATABLE:
        assert got == want
    assert got.graph_def != meta.graph_def


@pytest.mark.parametrize("build", GRAPHS)
def test_clear_devices(build):
    meta = _export(build)
    got = clear_devices(meta)
    assert not any(node.device for node in got.graph_def.node)
    want = _export(build, clear_devices=True)
    if build in REPEATABLE:
        assert got == want
    assert got.graph_def.HasField("library") == want.graph_def.HasField("library")
