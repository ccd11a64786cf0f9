"""The distributed demo: trained on parameter servers of a real cluster, exported whole and in parts, and asked."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("grpc")

import mexport_pb as mx
from demo.distributed import model, serving_graph
from demo.distributed.params import INSTANCES, MODEL_NAME, SLOTS, configurations, make_fids, make_instances
from demo.distributed.train import train
from demo.params import HELD_OUT
from mexport_pb.cli import main
from mexport_pb.messages import make_predict_request
from mexport_pb.runtime import TensorFlowSource, serve_check
from mexport_pb.table import find_tables, merged_name
from tests.support import python_loader

pytestmark = pytest.mark.tensorflow

ROOT = Path(__file__).parents[2]
SOURCES = {"tensorflow": TensorFlowSource, "protobuf": mx.ProtobufSource}
MODELS = {"tensorflow": model, "protobuf": serving_graph}


@dataclasses.dataclass(frozen=True)
class Trained:
    folder: Path
    native: bool

    @property
    def instances(self):
        return list(mx.read_records(self.folder / INSTANCES))

    @property
    def predictions(self):
        return np.load(self.folder / HELD_OUT)["predictions"]


@pytest.fixture(scope="module", params=["single", "native"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    native = request.param == "native"
    if native:
        train(folder, native=True, cluster=False, steps=20)
    else:
        # Servers stay until their process ends.
        command = [sys.executable, "-m", "demo.distributed.train", "--model-dir", folder, "--steps", "20"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return Trained(folder, native)


def options(trained, kind):
    """Arguments of an exporter."""
    return {
        "model_fn": MODELS[kind].make_model_fn(native=trained.native),
        "model_dir": trained.folder,
        "source": SOURCES[kind](),
        "global_step_as_timestamp": True,
    }


def assert_answers(base, trained, **expected):
    request = make_predict_request("x", {"instances": np.array(trained.instances, object)})
    report = serve_check(base, requests=[request], keep_values=True, model_name=MODEL_NAME)
    assert report.ok, (report.failures, report.problems)
    assert report.calls == expected
    got = np.array(report.requests[0].outputs["output"].values, np.float32)
    np.testing.assert_array_equal(got, trained.predictions)


def test_the_checkpoint_has_the_tables_of_each_server(trained):
    folder = trained.folder / "model.ckpt-20.assets"
    names = {Path(one.name).name for one in find_tables([folder])}
    slots = ([SLOTS[0], SLOTS[2], SLOTS[3]], [SLOTS[1]], [SLOTS[4]], [SLOTS[5]])
    tables = {merged_name(one) for one in slots}
    if trained.native:
        assert names == {f"MonolithMultiHashTable_{i}" for i in range(5)}
        assert set(mx.read_multi_table(folder / "MonolithMultiHashTable_0")) == tables
    else:
        assert names == {f"MonolithHashTable_{name}_{i}" for name in tables for i in range(5)}
        # The names that dumps of the system have which this one is compatible with.
        assert "MonolithHashTable_0b9721ec6fc5396c38499b5be394b722_4" in names
    assert np.unique(trained.predictions).size > 30


@pytest.mark.parametrize("kind", SOURCES)
def test_a_standalone_export_predicts_as_the_training_graph(trained, kind, tmp_path):
    exporter = mx.StandaloneExporter(export_dir_base=tmp_path, **options(trained, kind))
    path = os.fsdecode(exporter.export_saved_model(MODELS[kind].instances_receiver_fn))
    with python_loader.load(path) as loaded:
        found = loaded.run("serving_default", {"instances": np.array(trained.instances, object)})
        np.testing.assert_array_equal(found["output"], trained.predictions)
        nothing = loaded.run("serving_default", {"instances": np.array([b""], object)})
        assert nothing["output"].tolist() == [0.5]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_distributed_export_predicts_as_the_training_graph(trained, kind, tmp_path):
    exporter = mx.DistributedExporter(export_dir_base=tmp_path, **options(trained, kind))
    paths = exporter.export_saved_model(MODELS[kind].instances_receiver_fn)
    assert list(paths) == ["entry", *(f"ps_{i}" for i in range(5))]
    assert_answers(tmp_path, trained, **{f"ps_{i}": (1, 0) for i in range(5)})


@pytest.mark.parametrize("kind", SOURCES)
def test_warmup_requests_that_the_export_made_are_answered(trained, kind, tmp_path, capsys):
    build = MODELS[kind]
    source = SOURCES[kind]()

    def receiver_fn():
        graph = source.current_graph()
        # tf.Graph takes lists as they are, as Monolith hands them over; other graphs take the elements.
        slots = list(range(len(SLOTS)))
        for value in [slots] if kind == "tensorflow" else slots:
            source.add_to_collection(graph, "fidv1_features", value)
        source.add_to_collection(graph, "max_records", 200)
        return build.instances_receiver_fn()

    made = {"warmup_file": tmp_path / "warmup", "validate": "warmup"}
    exporter = mx.DistributedExporter(export_dir_base=tmp_path / "models", **made, **options(trained, kind))
    paths = exporter.export_saved_model(receiver_fn)
    assert mx.check_warmup(tmp_path / "warmup", os.fsdecode(paths["entry"]), model_name="entry") == []
    assert main(["warmup", "replay", str(tmp_path / "models")]) == 0
    assert "'serving_default' batch 64" in capsys.readouterr().out
    assert sum(1 for _ in mx.read_warmup(tmp_path / "warmup")) == 3


def test_a_distributed_export_for_three_servers(trained, tmp_path):
    exporter = mx.DistributedExporter(export_dir_base=tmp_path, num_ps=3, **options(trained, "tensorflow"))
    assert list(exporter.export_saved_model(model.instances_receiver_fn)) == ["entry", "ps_0", "ps_1", "ps_2"]
    assert_answers(tmp_path, trained, **{f"ps_{i}": (1, 0) for i in range(3)})


def test_a_dense_part_of_its_own(trained, tmp_path):
    """As upstream's GPU export; there is no GPU to load it on, so TensorFlow places it elsewhere."""

    def dense(inputs):
        graph = mx.get_default_graph()
        return graph.sigmoid(graph.reduce_sum(inputs["vectors"], axis=1)), {"kept": inputs["number"]}

    def model_fn(features, mode):
        tables = mx.create_hash_tables(configurations(), 5, use_native_multi_hash_table=trained.native, model_name="m")
        vectors = tables.lookup({SLOTS[4]: features["ids"]})[SLOTS[4]]
        output, others = mx.call_dense_part(
            dense, {"vectors": vectors, "number": 3}, model_name="m", max_rpc_deadline_millis=30000
        )
        assert others == {"kept": 3}
        return mx.EstimatorSpec(mode, output)

    def receiver_fn():
        ids = mx.get_default_graph().placeholder("int64", [None], name="ids")
        return mx.ServingInputReceiver({"ids": ids}, {"ids": ids})

    exporter = mx.DistributedExporter(
        model_fn, trained.folder, tmp_path, with_remote_gpu=True, global_step_as_timestamp=True
    )
    paths = exporter.export_saved_model(receiver_fn)
    assert list(paths) == ["entry", *(f"ps_{i}" for i in range(5)), "dense_0"]
    ids = (4 << 54) | np.arange(8)
    report = serve_check(tmp_path, requests=[make_predict_request("x", {"ids": ids})], keep_values=True)
    assert report.ok, (report.failures, report.problems)
    assert report.calls["dense_0"] == (1, 0)
    name = merged_name([SLOTS[4]])
    folder = trained.folder / "model.ckpt-20.assets"
    rows = {}
    for i in range(5):
        dump = (
            mx.read_multi_table(folder / f"MonolithMultiHashTable_{i}")[name]
            if trained.native
            else mx.read_table(folder / f"MonolithHashTable_{name}_{i}")
        )
        rows |= dict(zip(dump.ids.tolist(), dump.values, strict=True))
    want = [1 / (1 + np.exp(-np.sum(rows.get(int(one), np.zeros(16)), dtype=np.float64))) for one in ids]
    np.testing.assert_allclose(report.requests[0].outputs["output"].values, want, rtol=1e-6)
    assert set(want) > {0.5}


def test_requests_of_ids(trained, tmp_path):
    exporter = mx.StandaloneExporter(export_dir_base=tmp_path, **options(trained, "tensorflow"))
    path = os.fsdecode(exporter.export_saved_model(model.ids_receiver_fn))
    by_instances = os.fsdecode(exporter.export_saved_model(model.instances_receiver_fn, global_step=21))
    fids = [[next(one for one in fids if one >> 54 == slot) for slot in range(6)] for fids in _full(30)]
    with python_loader.load(path) as loaded, python_loader.load(by_instances) as other:
        found = loaded.run("serving_default", {name: np.array(fids)[:, i] for i, name in enumerate(SLOTS)})
        want = other.run("serving_default", {"instances": np.array(make_instances(fids), object)})
        np.testing.assert_array_equal(found["output"], want["output"])
        nobody = loaded.run("serving_default", {name: np.array([], np.int64) for name in SLOTS})
        assert nobody["output"].shape == (0,)


def _full(count):
    """Instances that have fids of all slots."""
    fids = make_fids(np.random.default_rng(5), 4 * count)
    return [one for one in fids if any(fid >> 54 == 5 for fid in one)][:count]
