"""Distributed exports of models for both kinds of graphs, loaded by TensorFlow."""

import os

import numpy as np
import pytest

import mexport_pb as mx
from tests.support import distributed_model as protobuf_model
from tests.support.distributed_model import DENSE_W, NAMES, SERVERS, W, make_checkpoint, table_dump
from tests.support.table_exports import DIMS, config, dump, graph_of

tf = pytest.importorskip("tensorflow")

from mexport_pb.runtime import TensorFlowSource, hash_table_ops, load_op_library, multi_hash_table_ops  # noqa: E402

pytestmark = pytest.mark.tensorflow

IDS = np.arange(40)
X = np.array([[1, 2], [3, 4]], np.float32)


def receiver_fn():
    x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
    return mx.ServingInputReceiver({"x": x}, {"x": x})


def add_dense(graph, name):
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
        weights = tf.compat.v1.get_variable("dense_w", [2, 1], use_resource=True)
        mx.get_current_export_ctx().add_signature(graph, name, {"x": x}, {"y": tf.matmul(x, weights)})


def add_server(graph, i):
    with graph.as_default():
        ids = tf.compat.v1.placeholder(tf.int64, [None], name="ids")
        outputs = {"slot": hash_table_ops.hash_table_from_config(config(4), name_suffix=str(i)).lookup(ids)}
        configs = {name: config(dim) for name, dim in DIMS.items()}
        many = multi_hash_table_ops.MultiHashTable.from_configs(configs, name_suffix=str(i))
        outputs.update(many.lookup(dict.fromkeys(DIMS, ids)))
        mx.get_current_export_ctx().add_signature(graph, "lookup", {"ids": ids}, outputs)


def model_fn(features, mode):
    ctx = mx.get_current_export_ctx()
    add_dense(ctx.sub_graph("dense_0"), "dense_0")
    for i in range(SERVERS):
        add_server(ctx.sub_graph(f"ps_{i}"), i)
    add_dense(ctx.dense_sub_graph("dense_side"), "dense_side")
    with tf.device("/gpu:0"):
        y = tf.matmul(features["x"], tf.compat.v1.get_variable("w", [2, 1], use_resource=True), name="y")
    tf.constant("text", name="text")
    tf.compat.v1.summary.scalar("seen", tf.reduce_sum(y))
    return mx.EstimatorSpec(mode, {"y": y})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    load_op_library()
    folder = tmp_path_factory.mktemp("job")
    make_checkpoint(folder)
    return folder


@pytest.fixture(scope="module", params=["protobuf", "tensorflow"])
def exported(request, folder):
    if request.param == "tensorflow":
        source = TensorFlowSource()
        exporter = protobuf_model.make_exporter(folder, model_fn, "by_tensorflow", source=source, validate="restore")
        found = exporter.export_saved_model(receiver_fn)
    else:
        found = protobuf_model.make_exporter(folder).export_saved_model(protobuf_model.receiver_fn)
    return {name: os.fsdecode(path) for name, path in found.items()}


def run(path, signature, feeds):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def[signature]
        fed = {loaded.inputs[key].name: value for key, value in feeds.items()}
        return session.run({key: info.name for key, info in loaded.outputs.items()}, fed)


def looked_up(dim, of_table):
    table = mx.EmbeddingTable(config(dim).as_proto())
    table.restore(of_table)
    return table.lookup(IDS)


def test_every_sub_model_loads_and_answers(exported):
    assert list(exported) == NAMES
    np.testing.assert_array_equal(run(exported["entry"], "serving_default", {"x": X})["y"], X @ W)
    for name in ("dense_0", "dense_side"):
        np.testing.assert_array_equal(run(exported[name], name, {"x": X})["y"], X @ DENSE_W)
    for i in range(SERVERS):
        found = run(exported[f"ps_{i}"], "lookup", {"ids": IDS})
        np.testing.assert_array_equal(found["slot"], looked_up(4, table_dump(i)))
        for name, dim in DIMS.items():
            np.testing.assert_array_equal(found[name], looked_up(dim, dump(9, dim, seed=i)))


def test_the_loader_of_tensorflow_2(exported):
    loaded = tf.saved_model.load(exported["ps_2"])
    found = loaded.signatures["lookup"](ids=tf.constant(IDS))
    np.testing.assert_array_equal(found["slot"].numpy(), looked_up(4, table_dump(2)))


def test_the_entry_is_on_the_cpu(exported):
    _, nodes = graph_of(exported["entry"])
    graph_nodes = [node for name, node in nodes.items() if not name.startswith("save/") and node.op != "NoOp"]
    assert {node.device for node in graph_nodes} == {"/device:CPU:0"}


def test_a_gpu_is_allowed_to_the_entry(folder):
    exporter = protobuf_model.make_exporter(
        folder, model_fn, "gpu", source=TensorFlowSource(), allow_gpu=True, include_graphs=["entry"]
    )
    found = exporter.export_saved_model(receiver_fn)
    _, nodes = graph_of(os.fsdecode(found["entry"]))
    assert nodes["y"].device == "/device:GPU:0"
    assert nodes["x"].device == ""
    assert {nodes[name].device for name in ("text", "seen/tags", "seen")} == {"/device:CPU:0"}


def test_a_sub_graph_of_tensorflow_may_have_a_suffix(folder):
    def suffixed(features, mode):
        mx.get_current_export_ctx().sub_graph("ps_0").export_suffix = "_b"
        return model_fn(features, mode)

    exporter = protobuf_model.make_exporter(
        folder, suffixed, "suffix", source=TensorFlowSource(), include_graphs=["ps_0", "ps_1"]
    )
    found = exporter.export_saved_model(receiver_fn)
    assert [os.path.basename(path) for path in found.values()] == [b"7_b", b"7"]
