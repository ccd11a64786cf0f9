"""Exports of each checkpoint during training, in real ``tf.compat.v1.train`` sessions."""

from __future__ import annotations

import os

import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb.errors import DataError, InvalidArgumentError  # noqa: E402
from mexport_pb.export.export_hooks import ExportSaverListener  # noqa: E402
from mexport_pb.export.state import STATE_FILENAME, read_export_state, write_export_state  # noqa: E402
from mexport_pb.runtime import TensorFlowSource, hash_table_ops  # noqa: E402
from mexport_pb.runtime.hash_table_ops import HashTableCheckpointSaverListener  # noqa: E402
from mexport_pb.runtime.save_utils import SaveHelper  # noqa: E402

pytestmark = pytest.mark.tensorflow

v1 = tf.compat.v1


class FakeExporter:
    """Makes a directory for each sub-model; the base itself where there are none."""

    def __init__(self, base, sub_models=(), as_text=False):
        self.base = base
        self.sub_models = sub_models
        self.as_text = as_text
        self.calls = []
        self.error = None

    def export_saved_model(self, receiver_fn, checkpoint_path=None, global_step=None):
        self.calls.append((receiver_fn, checkpoint_path, global_step))
        if self.error is not None:
            raise self.error
        paths = {name: self.base / name / f"{1000 + global_step}.5" for name in self.sub_models or [""]}
        for path in paths.values():
            path.mkdir(parents=True)
        result = {name: str(path) if self.as_text else os.fsencode(path) for name, path in paths.items()}
        return result if self.sub_models else result[""]


def receiver_fn():
    ids = v1.placeholder(tf.int64, [None], name="ids")
    return mx.ServingInputReceiver({"ids": ids}, {"ids": ids})


def train(model_dir, listener, steps=1, first=0, build=None, before=(), max_to_keep=1, monitored=False):
    """Take steps, each with a checkpoint."""
    with tf.Graph().as_default():
        global_step = v1.train.get_or_create_global_step()
        initial = v1.assign(global_step, first)
        train_op = tf.group(build()) if build else tf.no_op()
        with tf.control_dependencies([train_op]):
            step = v1.assign_add(global_step, 1)
        saver = v1.train.Saver(max_to_keep=max_to_keep, sharded=True)
        hook = v1.train.CheckpointSaverHook(str(model_dir), save_steps=1, listeners=[*before, listener], saver=saver)
        # Without its first save, which would be of a step that nobody took.
        hook.after_create_session = lambda session, coord: session.run(initial)
        make = v1.train.MonitoredTrainingSession if monitored else v1.train.SingularMonitoredSession
        options = {"save_checkpoint_secs": None, "save_summaries_steps": None} if monitored else {}
        with make(hooks=[hook], **options) as session:
            for _ in range(steps):
                session.run(step)


def entries(folder):
    return [(entry.export_dir, entry.global_step) for entry in read_export_state(folder).entries]


def listener(model_dir, exporter, **options):
    return ExportSaverListener(str(model_dir / "model.ckpt"), receiver_fn, exporter, **options)


@pytest.mark.parametrize("as_text", [False, True])
def test_the_checkpoint_that_was_saved_is_exported(tmp_path, as_text):
    exporter = FakeExporter(tmp_path / "models", as_text=as_text)
    train(tmp_path, listener(tmp_path, exporter, on_error="raise"), first=9)
    assert exporter.calls == [(receiver_fn, str(tmp_path / "model.ckpt-10"), 10)]
    assert entries(tmp_path / "models") == [(str(tmp_path / "models" / "1010.5"), 10)]


@pytest.mark.parametrize("monitored", [False, True])
def test_the_version_of_a_deleted_checkpoint_goes(tmp_path, monitored):
    models = tmp_path / "models"
    train(tmp_path, listener(tmp_path, FakeExporter(models), on_error="raise"), steps=2, monitored=monitored)
    assert SaveHelper(tmp_path / "model.ckpt").get_existing_checkpoint_steps() == {2}
    assert sorted(os.listdir(models)) == ["1002.5", STATE_FILENAME]
    assert entries(models) == [(str(models / "1002.5"), 2)]


def test_all_sub_models_of_a_version_go(tmp_path):
    exporter = FakeExporter(tmp_path / "models", ["ps_0", "entry", "ps_1"])
    train(tmp_path, listener(tmp_path, exporter, on_error="raise"), steps=3, max_to_keep=2)
    for name in exporter.sub_models:
        folder = tmp_path / "models" / name
        assert sorted(os.listdir(folder)) == ["1002.5", "1003.5", STATE_FILENAME]
        assert [step for _, step in entries(folder)] == [2, 3]


def test_exempt_checkpoints_keep_their_versions(tmp_path):
    saved = listener(tmp_path, FakeExporter(tmp_path / "models"), exempt_checkpoint_paths=["/else/model.ckpt-1"])
    train(tmp_path, saved, steps=3)
    assert [step for _, step in entries(tmp_path / "models")] == [1, 3]
    with pytest.raises(InvalidArgumentError, match=r"want one that ends in model\.ckpt-<step>"):
        listener(tmp_path, FakeExporter(tmp_path), exempt_checkpoint_paths=["model.ckpt"])


@pytest.mark.parametrize(("dense_only", "want"), [(False, [4]), (True, [2, 4])])
def test_dense_versions_stay_as_long_as_a_full_checkpoint(tmp_path, dense_only, want):
    full, dense = tmp_path / "full", tmp_path / "dense"
    train(full, listener(full, FakeExporter(tmp_path / "unused")), first=1)
    exporter = FakeExporter(full / "exported_models", ["entry"])
    train(dense, listener(dense, exporter, dense_only=dense_only, on_error="raise"), steps=4)
    assert [step for _, step in entries(full / "exported_models" / "entry")] == want


class TestFailure:
    def test_training_goes_on_and_the_next_export_is_the_next_try(self, tmp_path, caplog):
        exporter = FakeExporter(tmp_path / "models")
        exporter.error = mx.MismatchError("no such variable")
        saved = listener(tmp_path, exporter)
        train(tmp_path, saved, steps=2)
        assert (saved.failures, saved.last_error) == (2, exporter.error)
        assert f"the export of {tmp_path}/model.ckpt-2 failed (2 in a row); training goes on" in caplog.text
        assert not (tmp_path / "models").exists()
        exporter.error = None
        train(tmp_path, saved, first=2)
        assert (saved.failures, saved.last_error) == (0, None)
        assert [step for _, step in entries(tmp_path / "models")] == [3]

    def test_it_ends_the_job_where_that_is_asked_for(self, tmp_path):
        exporter = FakeExporter(tmp_path / "models")
        exporter.error = RuntimeError("of the model_fn")
        with pytest.raises(RuntimeError, match="of the model_fn"):
            train(tmp_path, listener(tmp_path, exporter, on_error="raise"))
        with pytest.raises(InvalidArgumentError, match="on_error: got 'die', want one of log, raise"):
            listener(tmp_path, exporter, on_error="die")

    def test_a_version_that_is_there_is_none(self, tmp_path, caplog):
        exporter = FakeExporter(tmp_path / "models")
        exporter.error = mx.VersionExistsError("5: the export target is there already")
        saved = listener(tmp_path, exporter, on_error="raise")
        train(tmp_path, saved, first=4)
        assert (saved.failures, saved.last_error) == (0, None)
        assert "model.ckpt-5 is not exported again: 5: the export target is there already" in caplog.text

    def test_damaged_books_are_a_failure_and_stay(self, tmp_path):
        models = tmp_path / "models"
        models.mkdir()
        (models / STATE_FILENAME).write_text("entries {")
        saved = listener(tmp_path, FakeExporter(models))
        train(tmp_path, saved)
        assert isinstance(saved.last_error, DataError)
        assert (models / STATE_FILENAME).read_text() == "entries {"

    def test_a_checkpoint_that_is_not_listed_removes_nothing(self, tmp_path, caplog):
        models = tmp_path / "models"
        saved = ExportSaverListener(tmp_path / "other.ckpt", receiver_fn, FakeExporter(models), on_error="raise")
        train(tmp_path, saved, steps=2)
        assert [step for _, step in entries(models)] == [1, 2]
        assert f"{tmp_path}/other.ckpt-2: is not in the list of checkpoints" in caplog.text


def table_model_fn(features, mode, config):
    table = hash_table_ops.test_hash_table(2)
    return mx.EstimatorSpec(mode, {"sum": tf.reduce_sum(table.lookup(features["ids"]), axis=1)})


def test_a_model_with_a_table_is_exported_and_served_while_it_trains(tmp_path):
    model_dir, models = tmp_path / "train", tmp_path / "models"
    exporter = mx.StandaloneExporter(
        table_model_fn, model_dir, models, source=TensorFlowSource(), global_step_as_timestamp=True
    )

    def build():
        rate = v1.train.get_or_create_global_step() + 1
        row = tf.cast(tf.fill([1, 2], rate), tf.float32)
        return hash_table_ops.test_hash_table(2).assign(tf.constant([7], tf.int64), row).as_op()

    train(
        model_dir,
        listener(model_dir, exporter, on_error="raise"),
        steps=3,
        build=build,
        before=[HashTableCheckpointSaverListener(model_dir / "model.ckpt")],
        max_to_keep=2,
    )
    assert sorted(path.name for path in models.iterdir() if path.is_dir()) == ["2", "3"]
    assert entries(models) == [(str(models / "2"), 2), (str(models / "3"), 3)]
    for version in ("2", "3"):
        with tf.Graph().as_default(), v1.Session() as session:
            signature = v1.saved_model.load(session, ["serve"], str(models / version)).signature_def["serving_default"]
            (output,) = signature.outputs.values()
            found = session.run(output.name, {signature.inputs["ids"].name: [7, 8]})
        assert found.tolist() == [2.0 * int(version), 0.0]


def test_a_version_that_an_upstream_job_wrote_down_goes(tmp_path):
    models = tmp_path / "models"
    (models / "5").mkdir(parents=True)
    state = read_export_state(models)
    state.entries.add(export_dir=str(models / "5"), global_step=1)
    write_export_state(models, state)
    train(tmp_path, listener(tmp_path, FakeExporter(models), on_error="raise"), first=4)
    assert not (models / "5").exists()
    assert [step for _, step in entries(models)] == [5]


def distributed_model_fn(features, mode, config):
    for ps in range(2):
        with mx.get_current_export_ctx().sub_graph(f"ps_{ps}").as_default() as graph:
            ids = v1.placeholder(tf.int64, [None], name="ids")
            rows = hash_table_ops.test_hash_table(2, name_suffix=f"slots_{ps}").lookup(ids)
            mx.get_current_export_ctx().add_signature(graph, "lookup", {"ids": ids}, {"rows": rows})
    return mx.EstimatorSpec(mode, {"ids": tf.identity(features["ids"])})


def test_a_distributed_version_goes_with_its_checkpoint(tmp_path):
    model_dir, models = tmp_path / "train", tmp_path / "models"
    exporter = mx.DistributedExporter(
        distributed_model_fn, model_dir, models, source=TensorFlowSource(), global_step_as_timestamp=True
    )

    def build():
        return [
            hash_table_ops.test_hash_table(2, name_suffix=f"slots_{ps}")
            .assign(tf.constant([ps], tf.int64), [[1.0, 2]])
            .as_op()
            for ps in range(2)
        ]

    train(
        model_dir,
        listener(model_dir, exporter, on_error="raise"),
        steps=2,
        build=build,
        before=[HashTableCheckpointSaverListener(model_dir / "model.ckpt")],
    )
    for name in ("entry", "ps_0", "ps_1"):
        assert sorted(os.listdir(models / name)) == ["2", STATE_FILENAME]
        assert entries(models / name) == [(str(models / name / "2"), 2)]
