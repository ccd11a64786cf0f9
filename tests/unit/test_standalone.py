"""StandaloneExporter with graphs that are protobufs from the start; no TensorFlow."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.export import model_plan, writer


@pytest.fixture
def model_dir(tmp_path):
    folder = tmp_path / "train"
    for step in (5, 9):
        with mx.BundleWriter(folder / f"model.ckpt-{step}") as bundle:
            bundle.add("global_step", np.array(step, np.int64))
            bundle.add("w", np.full((2, 2), step, np.float32))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"')
    return folder


def receiver_fn():
    x = mx.get_default_graph().placeholder("float32", [None, 2], name="x")
    return mx.ServingInputReceiver({"x": x}, {"x": x})


def model_fn(features, mode, config):
    graph = mx.get_default_graph()
    w = graph.variable("w", [2, 2])
    return mx.EstimatorSpec(mode, {"y": graph.matmul(features["x"], w, name="y")})


def exporter(model_dir, base, function=model_fn, **arguments):
    return mx.StandaloneExporter(function, model_dir, base, **arguments)


def read_step(path):
    with mx.BundleReader(Path(os.fsdecode(path)) / "variables" / "variables") as bundle:
        return int(bundle.read("global_step"))


def test_the_newest_checkpoint_is_exported_under_the_unix_second(tmp_path, model_dir):
    before = int(time.time())
    path = exporter(model_dir, tmp_path / "models").export_saved_model(receiver_fn)
    assert isinstance(path, bytes)
    version = Path(os.fsdecode(path))
    assert version.parent == tmp_path / "models"
    assert before <= int(version.name) <= time.time()
    assert read_step(path) == 9
    report = mx.check_saved_model(version)
    assert report.ok
    assert report.signatures == ["hashtable_assign", "serving_default"]


def test_a_named_checkpoint_and_its_step_as_version(tmp_path, model_dir):
    steps = exporter(model_dir, tmp_path / "models", global_step_as_timestamp=True)
    path = steps.export_saved_model(receiver_fn, model_dir / "model.ckpt-5")
    assert path == os.fsencode(tmp_path / "models" / "5")
    assert read_step(path) == 5
    with pytest.raises(mx.VersionExistsError):
        steps.export_saved_model(receiver_fn, model_dir / "model.ckpt-5")
    assert steps.export_saved_model(receiver_fn, model_dir / "model.ckpt-5", 6) == os.fsencode(
        tmp_path / "models" / "6"
    )
    assert sorted(os.listdir(tmp_path / "models")) == ["5", "6"]


def test_exports_in_the_same_second_do_not_collide(tmp_path, model_dir):
    same = exporter(model_dir, tmp_path / "models")
    paths = {same.export_saved_model(receiver_fn) for _ in range(2)}
    assert len(paths) == 2


def test_the_signature_that_pushers_call_is_there_and_empty(tmp_path, model_dir):
    path = exporter(model_dir, tmp_path / "models").export_saved_model(receiver_fn)
    (graph,) = mx.read_saved_model(os.fsdecode(path)).meta_graphs
    assign = graph.signature_def["hashtable_assign"]
    assert (len(assign.inputs), len(assign.outputs), assign.method_name) == (0, 0, mx.PREDICT_METHOD)


def test_the_model_fn_runs_in_export_mode_without_a_cluster(tmp_path, model_dir, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {}}))
    seen = []

    def spying(features, mode, config):
        seen.append((mode, config.model_dir, mx.is_exporting_standalone(), "TF_CONFIG" in os.environ))
        return model_fn(features, mode, config)

    exporter(model_dir, tmp_path / "models", spying).export_saved_model(receiver_fn)
    assert seen == [("infer", str(model_dir), True, False)]
    assert json.loads(os.environ["TF_CONFIG"]) == {"cluster": {}}
    assert not mx.is_exporting()


def test_environment_and_mode_are_put_back_after_an_error(tmp_path, model_dir, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "x")

    def failing(features, mode, config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exporter(model_dir, tmp_path / "models", failing).export_saved_model(receiver_fn)
    assert os.environ["TF_CONFIG"] == "x"
    assert not mx.is_exporting()
    assert not (tmp_path / "models").exists()


def test_contexts_are_entered_in_order_around_the_export(tmp_path, model_dir):
    events = []

    @contextlib.contextmanager
    def context(name):
        events.append(f"enter {name}")
        yield
        events.append(f"leave {name}")

    def spying(features, mode, config):
        events.append("model_fn")
        return model_fn(features, mode, config)

    contexts = [lambda: context("a"), lambda: context("b")]
    exporter(model_dir, tmp_path / "models", spying, export_context_list=contexts).export_saved_model(receiver_fn)
    assert events == ["enter a", "enter b", "model_fn", "leave b", "leave a"]


def test_a_model_fn_may_take_features_only(tmp_path, model_dir):
    def small(features):
        return model_fn(features, "infer", None)

    exporter(model_dir, tmp_path / "models", small).export_saved_model(receiver_fn)


def test_signatures_that_the_model_fn_adds_are_exported(tmp_path, model_dir):
    def adding(features, mode, config):
        spec = model_fn(features, mode, config)
        graph = mx.get_default_graph()
        double = graph.add(spec.predictions["y"], spec.predictions["y"], name="double")
        mx.get_current_export_ctx().add_signature(graph, "double", {"x": features["x"]}, {"double": double})
        return spec

    path = exporter(model_dir, tmp_path / "models", adding).export_saved_model(receiver_fn)
    assert "double" in mx.check_saved_model(os.fsdecode(path)).signatures


def test_the_warmup_file_is_installed_where_servers_look(tmp_path, model_dir):
    warmup = tmp_path / "warm"
    mx.write_records(warmup, [b"log"])
    path = exporter(model_dir, tmp_path / "models", warmup_file=warmup).export_saved_model(receiver_fn)
    installed = Path(os.fsdecode(path)) / "assets.extra" / "tf_serving_warmup_requests"
    assert list(mx.read_records(installed)) == [b"log"]
    with pytest.raises(mx.InvalidArgumentError, match="the warmup file does not exist"):
        exporter(model_dir, tmp_path / "models", warmup_file=tmp_path / "no").export_saved_model(receiver_fn)


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(mx.InvalidArgumentError, match="no checkpoint to export in this folder"):
        exporter(tmp_path / "empty", tmp_path / "models").export_saved_model(receiver_fn)


@pytest.mark.parametrize(
    ("function", "receiver", "message"),
    [
        (lambda features, mode, config: {"y": 1}, receiver_fn, "the model_fn returned dict, want an EstimatorSpec"),
        (model_fn, lambda: {"x": 1}, "the serving_input_receiver_fn returned dict, want a ServingInputReceiver"),
    ],
)
def test_wrong_functions_are_named(tmp_path, model_dir, function, receiver, message):
    with pytest.raises(mx.InvalidArgumentError, match=message):
        exporter(model_dir, tmp_path / "models", function).export_saved_model(receiver)


def test_variables_can_be_left_to_others(tmp_path, model_dir):
    bare = exporter(model_dir, tmp_path / "models")
    context = mx.ExportContext()
    graph = mx.GraphBuilder()
    bare._run_model_fn(graph, context, receiver_fn)
    path = bare._export_saved_model_from_graph(
        graph, None, export_dir=tmp_path / "out", export_ctx=context, restore_vars=False, assign_hashtable=False
    )
    (written,) = mx.read_saved_model(os.fsdecode(path)).meta_graphs
    assert not written.HasField("saver_def")
    assert sorted(written.signature_def) == ["serving_default"]
    assert list((tmp_path / "out" / "variables").iterdir()) == []
    for both in ({}, {"export_dir": tmp_path / "a", "export_dir_base": tmp_path}):
        with pytest.raises(
            mx.InvalidArgumentError, match=r"want either export_dir or export_dir_base, got (both|neither)"
        ):
            bare._export_saved_model_from_graph(graph, None, export_ctx=context, **both)


def test_the_step_is_written_where_the_checkpoint_has_none(tmp_path):
    with mx.BundleWriter(tmp_path / "ck") as bundle:
        bundle.add("w", np.zeros((2, 2), np.float32))
    steps = exporter(tmp_path, tmp_path / "models", global_step_as_timestamp=True)
    path = steps.export_saved_model(receiver_fn, os.fsencode(tmp_path / "ck"), 31)
    assert path == os.fsencode(tmp_path / "models" / "31")
    assert read_step(path) == 31
    with pytest.raises(mx.InvalidArgumentError, match=r"got version 3.5, want an integer"):
        steps.export_saved_model(receiver_fn, tmp_path / "ck", 3.5)


def test_a_variable_in_a_signature_is_its_value(tmp_path, model_dir):
    def with_variable(features, mode, config):
        spec = model_fn(features, mode, config)
        graph = mx.get_default_graph()
        spec.predictions["b"] = graph.global_step()
        return spec

    path = exporter(model_dir, tmp_path / "models", with_variable).export_saved_model(receiver_fn)
    (written,) = mx.read_saved_model(os.fsdecode(path)).meta_graphs
    info = written.signature_def["serving_default"].outputs["b"]
    assert info.name == "global_step/Read/ReadVariableOp:0"


def test_exports_in_two_threads_share_the_environment(tmp_path, model_dir, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "x")
    both, first_done, seen = threading.Barrier(2), threading.Event(), []

    def first(features, mode, config):
        both.wait(30)
        return model_fn(features, mode, config)

    def second(features, mode, config):
        both.wait(30)
        assert first_done.wait(30)
        seen.append(os.environ.get("TF_CONFIG"))
        return model_fn(features, mode, config)

    def run(function, name):
        exporter(model_dir, tmp_path / name, function).export_saved_model(receiver_fn)

    threads = [threading.Thread(target=run, args=(first, "a")), threading.Thread(target=run, args=(second, "b"))]
    for thread in threads:
        thread.start()
    threads[0].join()
    first_done.set()
    threads[1].join()
    assert seen == [None]
    assert os.environ["TF_CONFIG"] == "x"


def test_a_graph_with_a_damaged_hash_table_is_refused(tmp_path, model_dir):
    def with_table(features, mode, config):
        mx.get_default_graph().add_to_collection("monolith_hash_tables", b"table")
        return model_fn(features, mode, config)

    with pytest.raises(mx.SavedModelError, match="collection 'monolith_hash_tables' element 0: not a HashTableProto"):
        exporter(model_dir, tmp_path / "models", with_table).export_saved_model(receiver_fn)


def test_lookup_tables_are_filled_by_the_main_op(tmp_path, model_dir):
    def with_lookup(features, mode, config):
        graph = mx.get_default_graph()
        graph.add_to_collection("table_initializer", graph.no_op(name="fill_table"))
        return model_fn(features, mode, config)

    path = exporter(model_dir, tmp_path / "models", with_lookup).export_saved_model(receiver_fn)
    (graph,) = mx.read_saved_model(os.fsdecode(path)).meta_graphs
    (main_op,) = graph.collection_def["saved_model_main_op"].node_list.value
    (node,) = [n for n in graph.graph_def.node if n.name == main_op]
    assert (node.op, list(node.input)) == ("NoOp", ["^fill_table"])


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (writer, "copy_to_shards"),
        (writer, "copy_files"),
        (model_plan, "SavedModelPieces.__iter__"),
        (writer, "validate_staged"),
    ],
)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_nothing(tmp_path, model_dir, monkeypatch, module, step, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(f"{module.__name__}.{step}", fail)
    with pytest.raises(type(error)):
        exporter(model_dir, tmp_path / "models").export_saved_model(receiver_fn)
    assert not (tmp_path / "models").exists()


CHILD = textwrap.dedent("""
    import sys
    sys.path[:0] = {path!r}
    from tests.unit.test_standalone import exporter, receiver_fn
    print("ready", flush=True)
    while True:
        exporter({model_dir!r}, {base!r}).export_saved_model(receiver_fn)
""")


def test_a_reader_never_sees_half_a_version_however_exporters_are_killed(tmp_path, model_dir):
    base = tmp_path / "models"
    code = CHILD.format(path=[str(Path(__file__).parents[2])], model_dir=str(model_dir), base=str(base))
    seen = set()
    for kill in range(12):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "ready"
        deadline = time.monotonic() + 0.05 + 0.017 * kill
        while time.monotonic() < deadline:
            for version in base.glob("[0-9]*"):
                assert (version / "saved_model.pb").stat().st_size > 0
                assert (version / "variables" / "variables.index").exists()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for version in base.glob("[0-9]*"):
            if version not in seen:
                assert mx.check_saved_model(version).ok
                seen.add(version)
    assert seen
    exporter(model_dir, base).export_saved_model(receiver_fn)
    assert all(p.name.isdecimal() for p in base.iterdir())


def test_names_of_empty_scopes_are_not_taken_again(tmp_path, model_dir):
    def with_scopes(features, mode):
        graph = mx.get_default_graph()
        for name in ("save", "GROUP_DEPS"):
            with graph.name_scope(name):
                pass
        return model_fn(features, mode, None)

    path = exporter(model_dir, tmp_path / "models", with_scopes).export_saved_model(receiver_fn)
    (graph,) = mx.read_saved_model(os.fsdecode(path)).meta_graphs
    assert graph.saver_def.restore_op_name == "save_1/restore_all"
    assert list(graph.collection_def["saved_model_main_op"].node_list.value) == ["group_deps_1"]


def test_objects_that_a_saver_would_save_are_refused(tmp_path, model_dir):
    def with_object(features, mode):
        mx.get_default_graph().add_to_collection("saveable_objects", "a table")
        return model_fn(features, mode, None)

    with pytest.raises(mx.UnsupportedError, match="objects to save that are no variables"):
        exporter(model_dir, tmp_path / "models", with_object).export_saved_model(receiver_fn)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("restore", "name"), [(True, "group_deps"), (False, "NoOp")])
def test_the_main_op_of_a_dense_model_does_nothing(tmp_path, model_dir, restore, name):
    class Exporter(mx.StandaloneExporter):
        def _export_saved_model_from_graph(self, *args, **options):
            return super()._export_saved_model_from_graph(*args, restore_hashtable=restore, **options)

    path = Exporter(model_fn, model_dir, tmp_path / "models").export_saved_model(receiver_fn)
    (graph,) = mx.read_saved_model(os.fsdecode(path)).meta_graphs
    assert list(graph.collection_def["saved_model_main_op"].node_list.value) == [name]
    (main_op,) = (node for node in graph.graph_def.node if node.name == name)
    assert (main_op.op, list(main_op.input), len(main_op.attr)) == ("NoOp", [], 0)
