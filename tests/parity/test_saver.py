"""add_saver writes the nodes of tf.compat.v1.train.Saver, and they save and restore."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph import GraphBuilder, add_saver, clear_devices, save_plan, strip_default_attrs

pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1

CONFIGS: dict[str, Callable[[], None]] = {}


def config(function: Callable[[], None]) -> Callable[[], None]:
    CONFIGS[function.__name__.strip("_")] = function
    return function


def get(name, shape=(2, 3), dtype=tf.float32, *, resource=True, **kwargs):
    initializer = kwargs.pop("initializer", tf1.zeros_initializer())
    return tf1.get_variable(name, shape, dtype, initializer=initializer, use_resource=resource, **kwargs)


@config
def _one_resource():
    get("w")


@config
def _one_ref():
    get("w", resource=False)


@config
def _mixed_and_sorted():
    for name, resource in (("b", True), ("a", False), ("B", True), ("a/x", True), ("a-x", False), ("a10", True)):
        get(name, resource=resource)
    tf1.train.get_or_create_global_step()


@config
def _many_of_each():
    for i in range(13):
        get(f"r{i}")
        get(f"f{i}", resource=False)


@config
def _dtypes():
    for dtype in (tf.float64, tf.int32, tf.int64, tf.bool, tf.float16, tf.bfloat16, tf.complex64, tf.uint8):
        get(f"w_{dtype.name}", dtype=dtype)
    get("scalar", ())
    get("words", (2,), tf.string, initializer=tf.constant_initializer("a"))


@config
def _devices():
    with tf.device("/job:ps/task:1"):
        get("b")
        get("c", resource=False)
    with tf.device("/job:ps/task:0"):
        get("a")
        get("p", (5, 2), partitioner=tf1.fixed_size_partitioner(2))
    get("z")
    with tf.device("/device:CPU:0"):
        get("y")
    with tf.device("/job:ps/task:0/device:GPU:0"):
        get("g")
        get("gr", resource=False)
        get("gp", (5, 2), partitioner=tf1.fixed_size_partitioner(2))
        get("gq", (5, 2), resource=False, partitioner=tf1.fixed_size_partitioner(2))


@config
def _partitioned_resource():
    get("p", (25, 2), partitioner=tf1.fixed_size_partitioner(12))
    get("a", (5, 7), partitioner=tf1.fixed_size_partitioner(3, axis=1))
    get("z")


@config
def _partitioned_ref():
    get("p", (25, 2), resource=False, partitioner=tf1.fixed_size_partitioner(12))
    get("q", (5, 2), resource=False, partitioner=tf1.fixed_size_partitioner(2))


@config
def _unknown_shapes():
    tf1.get_variable("w", initializer=tf1.placeholder(tf.float32, [None, 3]), validate_shape=False, use_resource=True)
    tf1.get_variable("r", initializer=tf1.placeholder(tf.float32, [None, 3]), validate_shape=False, use_resource=False)


@config
def _taken_names():
    get("Save")
    get("SAVE_1")


@config
def _second_saver():
    get("w")
    get("r", resource=False)
    tf1.train.Saver(sharded=True, allow_empty=True)


@config
def _third_saver_of_another_kind():
    get("w")
    tf1.train.Saver()
    tf1.train.Saver(sharded=True)


@config
def _caching_device():
    get("w", caching_device="/device:CPU:0")
    with tf.device("/job:ps/task:1"):
        for name, resource in (("p", True), ("q", False)):
            parts = tf1.fixed_size_partitioner(2)
            get(name, (4, 2), resource=resource, partitioner=parts, caching_device="/job:worker")


@config
def _in_scopes_with_slots():
    with tf1.variable_scope("deep/er"):
        w = get("w", (3,))
        v = get("v", (3,), resource=False)
    loss = tf.reduce_sum(w) + tf.reduce_sum(v)
    tf1.train.AdamOptimizer(0.1).minimize(loss)


@config
def _local_variables_are_not_saved():
    get("w")
    get("local", collections=[tf1.GraphKeys.LOCAL_VARIABLES])


@config
def _no_variables():
    tf1.placeholder(tf.float32, name="x")


def _before_and_after(build: Callable[[], None]) -> tuple[MetaGraphDef, MetaGraphDef]:
    with tf.Graph().as_default() as graph:
        build()
        before = tf1.train.export_meta_graph()
        saver = tf1.train.Saver(sharded=True, allow_empty=True)
        after = tf1.train.export_meta_graph(saver_def=saver.saver_def)
        assert graph is tf1.get_default_graph()
    return tuple(MetaGraphDef.FromString(one.SerializeToString()) for one in (before, after))


@pytest.mark.parametrize("name", CONFIGS)
def test_nodes_equal_tensorflows(name):
    before, after = _before_and_after(CONFIGS[name])
    copy = MetaGraphDef.FromString(before.SerializeToString())
    got = add_saver(before)
    assert before == copy
    assert [node.name for node in got.graph_def.node] == [node.name for node in after.graph_def.node]
    for mine, its in zip(got.graph_def.node, after.graph_def.node, strict=True):
        assert str(mine) == str(its)
    assert got.saver_def == after.saver_def
    assert got == after


def test_there_are_enough_configurations():
    assert len(CONFIGS) >= 10


def test_a_stripped_graph_gets_a_stripped_saver():
    before, after = _before_and_after(CONFIGS["devices"])
    want = strip_default_attrs(after)
    got = add_saver(strip_default_attrs(before))
    assert got == want


def test_tensorflows_own_message_is_taken():
    with tf.Graph().as_default():
        get("w")
        theirs = tf1.train.export_meta_graph()
    assert add_saver(theirs).saver_def.restore_op_name == "save/restore_all"


def _values(session) -> dict[str, np.ndarray]:
    return {v.name: session.run(v) for v in tf1.global_variables()}


@pytest.mark.parametrize("name", ["mixed_and_sorted", "devices", "partitioned_resource", "partitioned_ref", "dtypes"])
def test_saves_and_restores_in_a_session(name, tmp_path):
    """TensorFlow writes a checkpoint; our saver restores it elsewhere, saves it again, and TensorFlow reads that."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default():
        CONFIGS[name]()
        ours = add_saver(clear_devices(tf1.train.export_meta_graph()))
        theirs = tf1.train.Saver(sharded=True)
        for node in tf1.get_default_graph().get_operations():
            node._set_device("")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            for v in tf1.global_variables():
                if v.dtype.base_dtype == tf.float32:
                    v.load(rng.normal(size=v.shape).astype(np.float32), session)
            want = _values(session)
            theirs.save(session, str(tmp_path / "theirs"), write_meta_graph=False)
    with tf.Graph().as_default():
        meta = tf1.MetaGraphDef.FromString(ours.SerializeToString())
        imported = tf1.train.import_meta_graph(meta)
        with tf1.Session() as session:
            imported.restore(session, str(tmp_path / "theirs"))
            got = _values(session)
            imported.save(session, str(tmp_path / "ours"), write_meta_graph=False)
    assert got.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(got[key], value)
    theirs_reader = tf.train.load_checkpoint(str(tmp_path / "theirs"))
    ours_reader = tf.train.load_checkpoint(str(tmp_path / "ours"))
    assert ours_reader.get_variable_to_shape_map() == theirs_reader.get_variable_to_shape_map()
    for key in theirs_reader.get_variable_to_shape_map():
        np.testing.assert_array_equal(ours_reader.get_tensor(key), theirs_reader.get_tensor(key))


def test_a_built_graph_with_our_saver_runs(tmp_path):
    graph = GraphBuilder()
    w = graph.variable("w", initial_value=np.arange(6, dtype=np.float32).reshape(2, 3))
    graph.partitioned_variable("p", [5, 2], num_shards=3)
    graph.identity(w, name="y")
    with graph.name_scope(None):
        graph.group(*(v.initializer for v in graph.get_collection("variables")), name="init")
    meta = tf1.MetaGraphDef.FromString(add_saver(graph.to_meta_graph()).SerializeToString())
    with tf.Graph().as_default():
        saver = tf1.train.import_meta_graph(meta)
        with tf1.Session() as session:
            session.run("init")
            saver.save(session, str(tmp_path / "c"), write_meta_graph=False)
    reader = tf.train.load_checkpoint(str(tmp_path / "c"))
    assert reader.get_variable_to_shape_map() == {"w": [2, 3], "p": [5, 2]}
    np.testing.assert_array_equal(reader.get_tensor("w"), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("options", [{"sharded": True}, {"sharded": False}, {"sharded": True, "reshape": False}])
@pytest.mark.parametrize("name", ["mixed_and_sorted", "devices", "partitioned_ref"])
def test_save_plan_of_tensorflows_savers(name, options, tmp_path):
    with tf.Graph().as_default():
        CONFIGS[name]()
        saver = tf1.train.Saver(**options)
        meta = tf1.train.export_meta_graph(saver_def=saver.saver_def)
        for node in tf1.get_default_graph().get_operations():
            node._set_device("")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            saver.save(session, str(tmp_path / "c"), write_meta_graph=False)
    reader = tf.train.load_checkpoint(str(tmp_path / "c"))
    plan = save_plan(meta)
    items = [item for shard in plan.shards for item in shard]
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    assert {item.key for item in items} == set(shapes)
    for item in items:
        assert list(item.full_shape) == shapes[item.key], item
        assert item.dtype == types[item.key].as_datatype_enum
    assert len(plan.shards) == (5 if name == "devices" and options["sharded"] else 1)
