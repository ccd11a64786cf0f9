"""Pruned graphs of TensorFlow load into a session and answer as before."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph import add_main_op, prune_to_signatures, save_plan
from mexport_pb.messages import make_signature_def, make_tensor_info

pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1


def signature(inputs, outputs):
    def infos(tensors):
        return {key: make_tensor_info(t.name, t.dtype, t.shape) for key, t in tensors.items()}

    return make_signature_def(infos(inputs), infos(outputs))


def pruned_and_loaded(tmp_path, feeds, inputs, outputs, session, check=lambda meta: None):
    """Answer a request in the session's graph and in the pruned one; assert that the answers are equal."""
    want = session.run(outputs, {inputs[key]: value for key, value in feeds.items()})
    meta = MetaGraphDef.FromString(tf1.train.export_meta_graph().SerializeToString())
    meta.ClearField("saver_def")
    meta.signature_def["serving_default"].CopyFrom(signature(inputs, outputs))
    if tf1.global_variables():
        tf1.train.Saver(sharded=True).save(session, str(tmp_path / "c"), write_meta_graph=False)
    got = add_main_op(prune_to_signatures(meta))
    check(got)
    with tf.Graph().as_default(), tf1.Session() as other:
        saver = tf1.train.import_meta_graph(tf1.MetaGraphDef.FromString(got.SerializeToString()))
        if saver is not None:
            saver.restore(other, str(tmp_path / "c"))
        other.run(got.collection_def["saved_model_main_op"].node_list.value[0])
        sig = got.signature_def["serving_default"]
        answer = other.run(
            {key: sig.outputs[key].name for key in outputs},
            {sig.inputs[key].name: value for key, value in feeds.items()},
        )
    for key, value in want.items():
        np.testing.assert_array_equal(answer[key], value)
    return got


def names(meta):
    return {node.name for node in meta.graph_def.node}


@pytest.mark.parametrize("resource", [True, False])
def test_training_graph_with_slots_and_partitions(tmp_path, resource):
    with tf.Graph().as_default(), tf1.Session() as session:
        with tf1.variable_scope("m", use_resource=resource):
            x = tf1.placeholder(tf.float32, [None, 4], name="x")
            ids = tf1.placeholder(tf.int64, [None], name="ids")
            label = tf1.placeholder(tf.float32, [None, 3])
            table = tf1.get_variable("table", [20, 2], partitioner=tf1.fixed_size_partitioner(11))
            w = tf1.get_variable("w", [6, 3])
            rows = tf1.nn.embedding_lookup(table, ids)
            y = tf.matmul(tf.concat([x, rows], 1), w, name="y")
            loss = tf.reduce_mean(tf.square(y - label))
            tf1.train.AdamOptimizer(0.1).minimize(loss, tf1.train.get_or_create_global_step())
        session.run(tf1.global_variables_initializer())
        feeds = {"x": np.ones((3, 4), np.float32), "ids": np.array([0, 19, 7])}
        got = pruned_and_loaded(tmp_path, feeds, {"x": x, "ids": ids}, {"y": y}, session)
    keys = [item.key for item in save_plan(got).items]
    assert keys == ["m/table"] * 11 + ["m/w"]
    assert not [name for name in names(got) if "Adam" in name or "Initializer" in name]
    assert "variables" not in got.collection_def
    assert "train_op" not in got.collection_def


def test_iterator_outputs_are_fed(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        data = tf.data.Dataset.from_tensor_slices((np.ones((6, 4), np.float32), np.arange(6))).batch(2)
        x, ids = tf1.data.make_initializable_iterator(data).get_next()
        w = tf1.get_variable("w", [4, 3], use_resource=True)
        y = tf.matmul(x, w) + tf.cast(ids[:, None], tf.float32)
        session.run(tf1.global_variables_initializer())
        feeds = {"x": np.full((3, 4), 2, np.float32), "ids": np.array([5, 6, 7])}
        got = pruned_and_loaded(tmp_path, feeds, {"x": x, "ids": ids}, {"y": y}, session)
    assert not [node.name for node in got.graph_def.node if "Dataset" in node.op or "Iterator" in node.op]
    assert got.graph_def.library.ByteSize() == 0
    assert {node.name: node.op for node in got.graph_def.node}["IteratorGetNext"] == "Placeholder"


def test_v1_loops_and_conditions(tmp_path):
    tf1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default(), tf1.Session() as session:
            x = tf1.placeholder(tf.float32, [], name="x")
            w = tf1.get_variable("w", [], initializer=tf1.ones_initializer(), use_resource=True)
            y = tf1.while_loop(lambda v: v < 100.0, lambda v: v * 2 + w, [x])
            z = tf1.cond(x > 3, lambda: y + w, lambda: y - 1)
            tf1.cond(x > 3, lambda: tf.sin(x), lambda: tf.cos(x))
            session.run(tf1.global_variables_initializer())
            got = pruned_and_loaded(tmp_path, {"x": np.float32(1)}, {"x": x}, {"z": z, "y": y}, session)
    finally:
        tf1.enable_control_flow_v2()
    assert {"Enter", "Exit", "Switch", "Merge"} <= {node.op for node in got.graph_def.node}
    assert not {"Sin", "Cos"} & {node.op for node in got.graph_def.node}
    assert not {"while_context", "cond_context"} & set(got.collection_def)


def test_functions(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:

        @tf.function
        def used(v):
            return tf.cond(tf.reduce_sum(v) > 0, lambda: tf.sin(v), lambda: tf.map_fn(tf.cos, v))

        @tf.function
        def unused(v):
            return tf.tan(v)

        x = tf1.placeholder(tf.float32, [None], name="x")
        y = used(x) + tf.while_loop(lambda i, v: i < 2, lambda i, v: (i + 1, tf.exp(v)), [0, x])[1]
        unused(x)
        inputs, outputs = {"x": x}, {"y": y}
        pruned_and_loaded(tmp_path, {"x": np.array([-3.0, 1.0], np.float32)}, inputs, outputs, session)
        got = pruned_and_loaded(tmp_path, {"x": np.array([3.0, 1.0], np.float32)}, inputs, outputs, session)
        whole = len(tf1.get_default_graph().as_graph_def().library.function)
    kept = [function.signature.name for function in got.graph_def.library.function]
    assert not [name for name in kept if "unused" in name]
    assert 4 <= len(kept) < whole


def test_lookup_tables(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        words = tf1.placeholder(tf.string, [None], name="words")
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2]), -1)
        tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["c"], [3]), -1)
        y = table.lookup(words)
        session.run(tf1.tables_initializer())
        feeds = {"words": np.array(["b", "x"], object)}
        got = pruned_and_loaded(tmp_path, feeds, {"words": words}, {"y": y}, session)
    assert sum(node.op == "HashTableV2" for node in got.graph_def.node) == 1


def test_same_nodes_as_extract_sub_graph():
    """Where nothing is fed but placeholders, the nodes are those of TensorFlow's own cut."""
    with tf.Graph().as_default():
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf.control_dependencies([tf.no_op(name="first")]):
            y = tf.nn.relu(tf.matmul(x, tf.zeros([4, 3])), name="y")
        tf.reduce_mean(y)
        meta = MetaGraphDef.FromString(tf1.train.export_meta_graph().SerializeToString())
        want = tf1.graph_util.extract_sub_graph(tf1.get_default_graph().as_graph_def(add_shapes=True), ["y"])
        meta.signature_def["s"].CopyFrom(signature({"x": x}, {"y": y}))
    got = prune_to_signatures(meta)
    assert [node.name for node in got.graph_def.node] == [node.name for node in want.node]
