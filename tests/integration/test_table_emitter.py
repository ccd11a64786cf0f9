"""The faces of tables in a tf.Graph, run by a session: the same nodes as in a GraphBuilder, and they work."""

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.table import create_hash_filters, fused_apply_gradient, fused_lookup
from tests.support.table_exports import config

tf = pytest.importorskip("tensorflow")

from mexport_pb.runtime.emitter import GraphEmitter  # noqa: E402

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def emitter():
    with tf.Graph().as_default():
        yield GraphEmitter()


def session():
    return tf.compat.v1.Session()


def build(graph):
    table = mx.hash_table_from_config(config(2), name_suffix="x", graph=graph)
    table.assign([1], [[1.0, 2.0]]).lookup([1, 2])
    mx.MultiHashTable.from_configs({"b": config(1), "a": config(2)}, name_suffix="0", graph=graph)
    mx.test_hash_table(3, graph=graph)
    inputs = [["ids", "name"], [graph.const([1], 9), graph.const("n", 7)], ["out"]]
    graph.op("TfServingRemotePredict", inputs, attrs={"T": [9, 7], "model_name": "m:ps_0", "output_types": [1]})


def test_the_nodes_are_those_of_a_graph_builder(emitter):
    build(emitter)
    builder = mx.GraphBuilder()
    build(builder)

    def described(graph_def):
        nodes = {}
        for node in graph_def.node:
            attrs = {key: value.SerializeToString() for key, value in node.attr.items() if key != "_output_shapes"}
            nodes[node.name] = (node.op, list(node.input), node.device, attrs)
        return nodes

    assert described(emitter.graph.as_graph_def()) == described(builder.to_graph_def())
    for key in ("monolith_hash_tables", "monolith_multi_hash_tables"):
        ours = [one.to_proto() for one in builder.get_collection(key)]
        assert [one.to_proto() for one in emitter.get_collection(key)] == ours


def test_one_table_in_a_session(emitter, tmp_path):
    table = mx.test_hash_table(2, graph=emitter)
    changed = table.assign_add([1, 2], [[1.0, 2.0], [3.0, 4.0]])
    trained = changed.apply_gradients([1], [[0.5, 0.5]], global_step=0)
    found, size = trained.lookup([1, 2, 3]), trained.size()
    entries = trained.lookup_entry([3])
    with session() as running:
        np.testing.assert_array_equal(running.run([found, size, entries])[0], [[0.5, 1.5], [3, 4], [0, 0]])
    saved = trained.save(str(tmp_path / "t"))
    with session() as running:
        running.run(saved.as_op())
    np.testing.assert_array_equal(mx.read_table(tmp_path / "t").values, [[0.5, 1.5], [3, 4]])
    restored = table.restore(str(tmp_path / "t")).lookup([2])
    with session() as running:
        np.testing.assert_array_equal(running.run(restored), [[3, 4]])


def test_a_filter_lets_an_id_in_when_it_came_often_enough(emitter):
    table = mx.test_hash_table(1, enable_hash_filter=True, occurrence_threshold=2, graph=emitter)
    (shared,) = create_hash_filters(0, True, graph=emitter)
    assert shared.op.type == "MonolithHashFilter"
    step = table.apply_gradients([5], [[-1.0]], global_step=0).lookup([5])
    with session() as running:
        assert [float(running.run(step)[0, 0]) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]


def test_many_tables_in_a_session(emitter):
    tables = mx.MultiHashTable.from_configs({"b": config(1), "a": config(2)}, graph=emitter)
    changed = tables.assign({"a": ([1], [[1.0, 2.0]]), "b": ([7, 8], [[3.0], [4.0]])})
    found = changed.lookup({"b": tf.constant([8, 9], tf.int64), "a": [1]})
    again, status = tables.reinitialize("b", [7, 100])
    with session() as running:
        running.run(tables.initializer)
        got = running.run(found)
        np.testing.assert_array_equal(got["a"], [[1, 2]])
        np.testing.assert_array_equal(got["b"], [[4], [0]])
        assert running.run([status, again.as_op()])[0].tolist() == [1, 0]


def test_fused_ops_in_a_session(emitter):
    one, two = (mx.test_hash_table(dim, graph=emitter) for dim in (1, 2))
    handles = [one.assign([0, 2], [[1.0], [2.0]]).table, two.assign([1, 3], [[3.0, 4.0], [5.0, 6.0]]).table]
    ids = tf.constant([0, 1, 2, 3], tf.int64)
    embeddings, splits, id_offsets, offsets, indices = fused_lookup(handles, ids, [1, 1, 1, 1], 2, graph=emitter)
    changed = fused_apply_gradient(
        handles, ids, indices, [1, 1, 1, 1], embeddings, id_offsets, offsets, [1.0, 1.0], 0, 0, 2, graph=emitter
    )
    with tf.control_dependencies(changed):
        after = one.lookup([0, 2])
    with session() as running:
        values, got_splits, got_after = running.run([embeddings, splits, after])
    np.testing.assert_array_equal(values, [1, 3, 4, 2, 5, 6])
    np.testing.assert_array_equal(got_splits, [3, 3])
    np.testing.assert_array_equal(got_after, [[0], [0]])
