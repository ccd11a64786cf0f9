"""Merged tables and tables over parameter servers, in TensorFlow graphs and sessions."""

import contextlib

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.table.partition import ps_of, ps_of_tensor
from tests.support.table_exports import config as one_segment

tf = pytest.importorskip("tensorflow")

from mexport_pb.runtime import TensorFlowSource  # noqa: E402
from mexport_pb.runtime.distributed_ps import (  # noqa: E402
    DistributedMultiTypeHashTable,
    MultiTypeHashTable,
    create_hash_tables,
)
from mexport_pb.runtime.emitter import current_graph  # noqa: E402
from mexport_pb.runtime.hash_table_ops import hash_table_from_config  # noqa: E402
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTable  # noqa: E402

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1

CONFIGS = {"a": one_segment(2), "b": one_segment(2), "c": one_segment(3)}
# With ids from 2^63 on, and some that come twice.
IDS = {
    "a": [1, -1, 5, 1, -(2**63), 2**63 - 1, -6],
    "b": [1000, -1000, 1000, 1 << 54, -(1 << 54)],
    "c": [7, -7, 0, 7],
}
DIMS = {"a": 2, "b": 2, "c": 3}


@contextlib.contextmanager
def in_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def test_ids_of_either_sign_go_where_numpy_says():
    rng = np.random.default_rng(3)
    ids = np.concatenate([np.array([one for ids in IDS.values() for one in ids]), rng.integers(-(2**63), 2**63, 1000)])
    with in_graph(), v1.Session() as session:
        for num_ps in (1, 2, 3, 5, 7, 64, 1000, 2**31 - 1):
            found = session.run(ps_of_tensor(current_graph(), tf.constant(ids), num_ps))
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, ps_of(ids, num_ps))
        # The signed remainder is another rule.
        signed = session.run(tf.math.floormod(tf.constant(ids), 5))
        assert (signed != ps_of(ids, 5)).any()
        np.testing.assert_array_equal(session.run(tf.math.floormod(tf.constant(ids), 64)), ps_of(ids, 64))


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("mode", list(mx.ExportMode))
def test_the_nodes_are_those_of_a_graph_builder(mode, native):
    def build(create, ids):
        tables = create(CONFIGS, 2, use_native_multi_hash_table=native, model_name="m")
        tables.lookup(ids)
        if mode is mx.ExportMode.NONE:
            tables.apply_gradients({slot: (ids[slot], [[1.0] * DIMS[slot]] * 2) for slot in ids}, 0).as_op()

    def graphs(source, create, ids_of):
        graph = source.new_graph()
        context = mx.ExportContext(source=source)
        with contextlib.ExitStack() as stack:
            if mode is not mx.ExportMode.NONE:
                stack.enter_context(mx.enter_export_mode(mode, context))
            stack.enter_context(source.as_default(graph))
            build(create, {slot: ids_of() for slot in CONFIGS})
        found = {"": graph, **context.sub_graphs}
        signatures = {
            name: {
                one.name: (
                    {key: source.tensor_info(tensor) for key, tensor in one.inputs.items()},
                    {key: source.tensor_info(tensor) for key, tensor in one.outputs.items()},
                )
                for one in context.signatures(found[name])
            }
            for name in found
        }
        return {name: described(source.to_meta_graph(one).graph_def) for name, one in found.items()}, signatures

    ours = graphs(
        mx.ProtobufSource(), mx.create_hash_tables, lambda: mx.get_default_graph().placeholder("int64", [None])
    )
    theirs = graphs(TensorFlowSource(), create_hash_tables, lambda: v1.placeholder(tf.int64, [None]))
    assert list(ours[0]) == list(theirs[0])
    for name in ours[0]:
        assert ours[0][name] == theirs[0][name], name
    assert ours[1] == theirs[1]


def described(graph_def):
    return {
        node.name: (
            node.op,
            list(node.input),
            node.device,
            {key: value.SerializeToString(deterministic=True) for key, value in node.attr.items()},
        )
        for node in graph_def.node
    }


def train(num_ps, native, *, steps=3, merged=True):
    """What a few steps make of the tables, and what is looked up before each."""
    with in_graph():
        if merged:
            tables = create_hash_tables(CONFIGS, num_ps, use_native_multi_hash_table=native, device=None)
        else:
            tables = MultiTypeHashTable(CONFIGS, lambda name, config: hash_table_from_config(config, name_suffix=name))
        feeds = {slot: v1.placeholder(tf.int64, [None]) for slot in IDS}
        embeddings = tables.lookup(feeds)
        # A loss whose gradient is another one for each occurrence of an id.
        weights = {slot: tf.cast(1 + tf.range(tf.size(ids)), tf.float32) for slot, ids in feeds.items()}
        losses = [tf.reduce_sum(weights[slot][:, None] * (1.0 + embeddings[slot]) ** 2) for slot in IDS]
        gradients = tf.gradients(tf.add_n(losses), [embeddings[slot] for slot in IDS])
        update = tables.apply_gradients(
            {slot: (feeds[slot], one) for slot, one in zip(IDS, gradients, strict=True)},
            tf.constant(0, tf.int64),
        ).as_op()
        with v1.Session() as session:
            # What a Scaffold runs.
            session.run(v1.get_collection("table_initializer"))
            session.run([one.initializer for one in v1.get_collection("monolith_multi_hash_tables")])
            seen = []
            for step in range(steps):
                fed = {feeds[slot]: np.roll(ids, step)[: len(ids) - step] for slot, ids in IDS.items()}
                seen.append(session.run(embeddings, fed))
                session.run(update, fed)
            seen.append(session.run(embeddings, {feeds[slot]: [*ids, 12345] for slot, ids in IDS.items()}))
            return seen


@pytest.fixture(scope="module")
def one_table_each():
    return train(0, native=False, merged=False)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("num_ps", [0, 1, 2, 5])
def test_training_is_that_of_tables_that_are_not_spread(num_ps, native, one_table_each):
    found = train(num_ps, native)
    for ours, want in zip(found, one_table_each, strict=True):
        assert list(ours) == list(want)
        for slot in want:
            np.testing.assert_array_equal(ours[slot], want[slot])
    last = found[-1]
    assert all((last[slot][:-1] != 0).all() for slot in IDS)
    assert all((last[slot][-1] == 0).all() for slot in IDS)


@pytest.mark.parametrize("native", [False, True])
def test_assigned_rows_are_on_their_server(native, tmp_path):
    with in_graph(), v1.Session() as session:
        tables = create_hash_tables(CONFIGS, 5, use_native_multi_hash_table=native, device=None)
        session.run([one.initializer for one in v1.get_collection("monolith_multi_hash_tables")])
        # Of an id that comes twice, the last value counts.
        values = {
            slot: np.arange(len(ids) * DIMS[slot], dtype=np.float32).reshape(-1, DIMS[slot])
            for slot, ids in IDS.items()
        }
        pairs = {slot: (tf.constant(ids, tf.int64), values[slot]) for slot, ids in IDS.items()}
        session.run(tables.assign(pairs).as_op())
        session.run(tables.assign_add({"c": pairs["c"]}).as_op())
        for i in range(5):
            for key in ("monolith_hash_tables", "monolith_multi_hash_tables"):
                for one in v1.get_collection(key):
                    name = getattr(one, "shared_name", None) or one.name
                    if name.endswith(f"_{i}"):
                        session.run(one.save(str(tmp_path / name)).as_op())
            dumps = (
                list(mx.read_multi_table(tmp_path / f"MonolithMultiHashTable_{i}").values())
                if native
                else [
                    mx.read_table(tmp_path / f"MonolithHashTable_{name}_{i}")
                    for name in set(tables.slot_mapping.values())
                ]
            )
            held = np.concatenate([dump.ids for dump in dumps])
            want = {one for ids in IDS.values() for one in ids if one % 2**64 % 5 == i}
            assert set(held.tolist()) == want
            assert len(held) == len(want)
        found = session.run(tables.lookup({slot: tf.constant(ids, tf.int64) for slot, ids in IDS.items()}))
    want = {
        slot: np.stack([values[slot][len(ids) - 1 - ids[::-1].index(one)] for one in ids]) for slot, ids in IDS.items()
    }
    want["c"][[0, 3]] += values["c"][[0, 3]].sum(axis=0)
    want["c"][[1, 2]] *= 2
    for slot in IDS:
        np.testing.assert_array_equal(found[slot], want[slot])


@pytest.mark.parametrize("native", [False, True])
def test_exports_of_two_servers(native):
    """As upstream's test: the sub-graphs and the static shapes of both exports, and of training."""

    def factory(index, configs):
        if native:
            return MultiHashTable.from_configs(configs, name_suffix=str(index))
        return MultiTypeHashTable(
            configs, lambda name, config: hash_table_from_config(config, name_suffix=f"{name}_{index}")
        )

    shapes = {}
    for mode in mx.ExportMode:
        with contextlib.ExitStack() as stack:
            context = mx.ExportContext(source=TensorFlowSource())
            if mode is not mx.ExportMode.NONE:
                stack.enter_context(mx.enter_export_mode(mode, context))
            stack.enter_context(in_graph())
            tables = DistributedMultiTypeHashTable(2, {"t": one_segment(1)}, factory)
            found = tables.lookup({"t": tf.constant([0, 1], tf.int64)})["t"]
            shapes[mode] = found.shape.as_list(), context.sub_graph_num
    assert shapes == {
        mx.ExportMode.NONE: ([2, 1], 0),
        mx.ExportMode.STANDALONE: ([2, 1], 0),
        mx.ExportMode.DISTRIBUTED: ([2, 1], 2),
    }


def test_nested_tensors_of_tensorflow():
    with in_graph(), v1.Session() as session:
        a = tf.constant([1, 2])
        ragged = tf.RaggedTensor.from_row_splits(tf.constant([1, 2, 3]), tf.constant([0, 2, 3], tf.int64))
        sparse = tf.sparse.from_dense([[0, 4], [5, 0]])
        variable = v1.get_variable("v", [2], use_resource=True)
        nested = mx.NestedTensors({"a": [a, (ragged, a)], "s": sparse, "v": variable})
        tensors = nested.get_tensors()
        assert tensors[:3] == [a, ragged.values, ragged.row_splits]
        assert len(tensors) == 6
        result = nested.get_nested_result([tf.identity(one) for one in tensors])
        assert result["v"] is variable
        assert result["a"][0] is result["a"][1][1] is not a
        assert session.run(result["a"][1][0]).to_list() == [[1, 2], [3]]
        assert session.run(tf.sparse.to_dense(result["s"])).tolist() == [[0, 4], [5, 0]]
        with pytest.raises(mx.InvalidArgumentError, match="more than one rank of rows"):
            mx.NestedTensors(tf.ragged.constant([[[1], []], []]))


def test_a_remote_function_of_tensorflow():
    source = TensorFlowSource()
    context = mx.ExportContext(with_remote_gpu=True, source=source)
    with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED, context), in_graph() as entry:
        x = v1.placeholder(tf.float32, [None, 2], name="x")
        ragged = tf.RaggedTensor.from_row_splits(
            v1.placeholder(tf.float32, [None], name="v"), v1.placeholder(tf.int64, [None], name="s"), validate=False
        )

        def dense(inputs):
            weights = v1.get_variable("w", [2, 1])
            return {"y": tf.matmul(inputs["x"], weights) + tf.reduce_sum(inputs["r"], axis=1)[:, None]}

        found = mx.call_dense_part(dense, {"x": x, "r": ragged}, model_name="ctr")
        assert found["y"].graph is entry
        assert found["y"].shape.as_list() == [None, 1]
    sub_graph = context.sub_graph("dense_0")
    (signature,) = context.signatures(sub_graph)
    assert list(signature.inputs) == ["x_0", "v_0", "s_0"]
    assert all(one.graph is sub_graph for one in (*signature.inputs.values(), *signature.outputs.values()))
    assert {op.device for op in sub_graph.get_operations() if op.type == "MatMul"} == {"/device:GPU:0"}
    meta_graph = source.to_meta_graph(entry)
    (call,) = [node for node in meta_graph.graph_def.node if node.op == "TfServingRemotePredict"]
    assert call.attr["model_name"].s == b"ctr:dense_0"
