"""Embeddings from a training session to a served lookup: trained, saved, exported, loaded, looked up, pushed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb.errors import MexportError  # noqa: E402
from mexport_pb.runtime import TensorFlowSource, execute_restore, load_op_library  # noqa: E402
from mexport_pb.runtime.hash_table_ops import test_hash_table as make_table  # noqa: E402
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTable  # noqa: E402
from mexport_pb.runtime.test_utils import generate_test_hash_table_config  # noqa: E402
from tests.support import cpp_loader, python_loader  # noqa: E402
from tests.support.table_jobs import train_session  # noqa: E402

pytestmark = pytest.mark.tensorflow

v1 = tf.compat.v1
LOADERS = {"python": python_loader, "cpp": cpp_loader}
TABLE = "MonolithHashTable_test"
MULTI = "MonolithMultiHashTable_"


@pytest.fixture(scope="module", autouse=True)
def op_library():
    load_op_library()


def tensorflow_model_fn(features, mode, config):
    """The model that training and serving share: training adds what changes the tables."""
    del features
    table = make_table(2)
    mtable = MultiHashTable.from_configs({"test": generate_test_hash_table_config(1)})
    if mode == mx.ModeKeys.TRAIN:
        added = table.assign_add([0], [[1, 2]])
        madded = mtable.assign_add({"test": ([1], [[1]])})
        return mx.EstimatorSpec(mode, loss=tf.constant(0.0), train_op=tf.group(added.as_op(), madded.as_op()))
    assert mx.is_exporting()
    looked_up = mtable.lookup({"test": tf.constant([1], tf.int64)})
    mx.get_current_export_ctx().add_signature(
        v1.get_default_graph(), "mtable/lookup", {}, {"output": looked_up["test"]}
    )
    return mx.EstimatorSpec(mode, predictions=table.lookup(tf.constant([0], tf.int64)))


def builder_model_fn(features, mode):
    """The same without TensorFlow."""
    del features
    table = mx.test_hash_table(2)
    mtable = mx.MultiHashTable.from_configs({"test": generate_test_hash_table_config(1)})
    looked_up = mtable.lookup({"test": [1]})
    mx.get_current_export_ctx().add_signature(
        mx.get_default_graph(), "mtable/lookup", {}, {"output": looked_up["test"]}
    )
    return mx.EstimatorSpec(mode, predictions=table.lookup([0]))


def no_features():
    return mx.ServingInputReceiver({}, {})


def string_placeholder():
    return mx.ServingInputReceiver({}, v1.placeholder(tf.string, [None]))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    train_session(folder, lambda: tensorflow_model_fn({}, mx.ModeKeys.TRAIN, None).train_op)
    return folder


WAYS = {
    "traced": (tensorflow_model_fn, no_features, {"source": TensorFlowSource()}),
    "string_input": (tensorflow_model_fn, string_placeholder, {"source": TensorFlowSource()}),
    "shared": (tensorflow_model_fn, no_features, {"source": TensorFlowSource(), "shared_embedding": True}),
    "slim": (tensorflow_model_fn, no_features, {"source": TensorFlowSource(), "tables": "serving"}),
    "builder": (builder_model_fn, no_features, {}),
    "builder_slim": (builder_model_fn, no_features, {"tables": mx.ServingTables(pack_floats=True)}),
    "builder_shared": (builder_model_fn, no_features, {"shared_embedding": True}),
}


def export(model_dir, base, way, **settings):
    model_fn, receiver_fn, chosen = WAYS[way]
    exporter = mx.StandaloneExporter(model_fn, model_dir, base, **chosen, **settings)
    return Path(os.fsdecode(exporter.export_saved_model(receiver_fn)))


def test_a_checkpoint_has_the_tables(model_dir):
    names = sorted(path.name for path in (model_dir / "model.ckpt-1.assets").iterdir())
    assert names == [
        f"{TABLE}-00000-of-00001",
        f"{MULTI}-00000-of-00001",
        f"{MULTI}.meta-00000-of-00001",
    ]
    dump = mx.read_table(model_dir / "model.ckpt-1.assets" / TABLE)
    assert (dump.ids.tolist(), dump.values.tolist()) == ([0], [[1, 2]])
    (name, dump), *others = mx.read_multi_table(model_dir / "model.ckpt-1.assets" / MULTI).items()
    assert (name, dump.ids.tolist(), dump.values.tolist(), others) == ("test", [1], [[1]], [])
    assert "test" in (model_dir / "ckpt.info-1").read_text()


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("way", WAYS)
def test_what_was_trained_is_looked_up(loader, way, model_dir, tmp_path):
    path = export(model_dir, tmp_path, way)
    assets = sorted(file.name for file in (path / "assets").iterdir()) if (path / "assets").is_dir() else []
    assert len(assets) == (0 if "shared" in way else 3)
    with LOADERS[loader].load(path) as model:
        inputs = {"input": np.array([b""])} if way == "string_input" else {}
        assert model.run("serving_default", inputs)["output"].tolist() == [[1, 2]]
        assert model.run("mtable/lookup", {})["output"].tolist() == [[1]]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("way", ["traced", "builder"])
def test_pushed_values_are_looked_up(loader, way, model_dir, tmp_path):
    with LOADERS[loader].load(export(model_dir, tmp_path, way)) as model:
        pushed = {f"{TABLE}_id": np.array([0, 5]), f"{TABLE}_value": np.array([[3, 4], [5, 6]], np.float32)}
        assert model.run("hashtable_assign", pushed) == {f"{TABLE}_result": 2}
        assert model.run("serving_default", {})["output"].tolist() == [[3, 4]]

        raw = {"id": np.array([1]), "id_split": np.array([0, 1]), "flat_value": np.array([9], np.float32)}
        assert model.run(f"{MULTI}/raw_assign", raw) == {"result": 0}
        assert model.run("mtable/lookup", {})["output"].tolist() == [[9]]
        # A table that nothing was pushed to is as it was, and an empty push changes nothing.
        empty = {f"{TABLE}_id": np.zeros(0, np.int64), f"{TABLE}_value": np.zeros((0, 2), np.float32)}
        assert model.run("hashtable_assign", empty) == {f"{TABLE}_result": 0}
        assert model.run("serving_default", {})["output"].tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("hashtable_assign", {f"{TABLE}_id": [0, 1], f"{TABLE}_value": [[1.0, 2.0]]}),
        (f"{MULTI}/raw_assign", {"id": [1], "id_split": [0, 2], "flat_value": [9.0]}),
        (f"{MULTI}/raw_assign", {"id": [1], "id_split": [0, 1, 1], "flat_value": [9.0]}),
        (f"{MULTI}/raw_assign", {"id": [1], "id_split": [0, 1], "flat_value": []}),
    ],
    ids=["fewer rows than ids", "splits beyond the ids", "a split too many", "too few floats"],
)
def test_a_push_that_does_not_fit_is_refused_and_changes_nothing(signature, inputs, model_dir, tmp_path):
    with cpp_loader.load(export(model_dir, tmp_path, "traced")) as model:
        arrays = {k: np.array(v, np.float32 if k.endswith("value") else np.int64) for k, v in inputs.items()}
        with pytest.raises(cpp_loader.LoadError, match="INVALID_ARGUMENT"):
            model.run(signature, arrays)
        assert model.run("serving_default", {})["output"].tolist() == [[1, 2]]
        assert model.run("mtable/lookup", {})["output"].tolist() == [[1]]


def test_the_two_faces_export_the_same_tables(model_dir, tmp_path):
    graphs = []
    for way in ("traced", "builder"):
        (meta_graph,) = mx.read_saved_model(export(model_dir, tmp_path / way, way)).meta_graphs
        graphs.append(meta_graph)
    for key in ("monolith_hash_tables", "monolith_multi_hash_tables"):
        traced, built = (list(graph.collection_def[key].bytes_list.value) for graph in graphs)
        assert len(traced) == 1
        assert traced == built
    configs = [[node.attr["config"].s for node in g.graph_def.node if node.op == "MonolithHashTable"] for g in graphs]
    assert configs[0] == configs[1]
    for key in ("hashtable_assign", f"{MULTI}/raw_assign"):
        first, second = (graph.signature_def[key] for graph in graphs)
        assert first.inputs.keys() == second.inputs.keys()


def test_tensorflow_restores_the_staged_model_before_it_is_published(model_dir, tmp_path):
    path = export(model_dir, tmp_path, "builder", validate="restore")
    assert execute_restore(path, signature="serving_default")["output"].tolist() == [[1, 2]]


def test_a_shared_table_is_read_from_the_checkpoint(model_dir, tmp_path):
    path = export(model_dir, tmp_path, "shared")
    folder = model_dir / "model.ckpt-1.assets"
    hidden = folder.rename(tmp_path / "hidden")
    try:
        with pytest.raises(cpp_loader.LoadError, match="There is no valid sharded files"):
            cpp_loader.load(path)
    finally:
        hidden.rename(folder)


def test_the_meta_file_of_the_training_job_is_exported(model_dir, tmp_path):
    """Here the training graph itself looks up, so that the graph that TensorFlow saved can be served."""
    folder = tmp_path / "train"

    def build():
        table = make_table(2, name_suffix="meta")
        ids = v1.placeholder_with_default(tf.constant([0], tf.int64), [None], name="ids")
        tf.identity(table.lookup(ids), name="found")
        return table.assign_add([0], [[1, 2]]).as_op()

    train_session(folder, build)
    checkpoint = folder / "model.ckpt-1"
    signature = mx.SignatureSpec("serving_default", {"ids": "ids:0"}, {"found": "found:0"})
    path = mx.export_meta_graph(f"{checkpoint}.meta", checkpoint, tmp_path / "1", [signature])
    with cpp_loader.load(path) as model:
        assert model.run("serving_default", {"ids": np.array([0, 1])})["found"].tolist() == [[1, 2], [0, 0]]


def test_an_earlier_name_of_a_table_is_found(model_dir, tmp_path):
    def model_fn(features, mode):
        table = make_table(2, name_suffix="renamed", extra_restore_names=[TABLE])
        return mx.EstimatorSpec(mode, predictions=table.lookup(tf.constant([0], tf.int64)))

    exporter = mx.StandaloneExporter(model_fn, model_dir, tmp_path, source=TensorFlowSource())
    path = os.fsdecode(exporter.export_saved_model(no_features))
    with cpp_loader.load(path) as model:
        assert model.run("serving_default", {})["output"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("suffix", "dim", "message"),
    [("absent", 2, "MonolithHashTable_absent"), ("test", 3, "2 floats")],
    ids=["absent", "dim"],
)
def test_a_table_that_the_checkpoint_does_not_have_is_refused(suffix, dim, message, model_dir, tmp_path):
    def model_fn(features, mode):
        table = make_table(dim, name_suffix=suffix)
        return mx.EstimatorSpec(mode, predictions=table.lookup(tf.constant([0], tf.int64)))

    exporter = mx.StandaloneExporter(model_fn, model_dir, tmp_path, source=TensorFlowSource())
    with pytest.raises(MexportError, match=message):
        exporter.export_saved_model(no_features)
    assert list(tmp_path.iterdir()) == []


def test_a_serving_table_refuses_training(model_dir, tmp_path):
    with mx.enter_export_mode(mx.ExportMode.STANDALONE), tf.Graph().as_default(), v1.Session() as session:
        table = make_table(2)
        saved = table.save(str(tmp_path / "table"))
        with pytest.raises(tf.errors.OpError, match="serving"):
            session.run(saved.as_op())
        gradients = np.ones((1, 2), np.float32)
        with pytest.raises(tf.errors.OpError, match="serving"):
            session.run(table.apply_gradients([0], gradients, global_step=0).as_op())
