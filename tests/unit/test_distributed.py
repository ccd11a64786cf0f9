"""DistributedExporter with graphs that are protobufs from the start; tests/unit/test_group.py has the commit."""

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.export import distributed, parallel, publish, table_output, version, writer
from mexport_pb.export.group import GroupMember, staged_group
from tests.support.distributed_model import (
    DENSE_W,
    NAMES,
    SERVERS,
    STEP,
    W,
    add_dense,
    export,
    make_checkpoint,
    make_exporter,
    make_model_fn,
    receiver_fn,
    table_dump,
    tree_bytes,
)
from tests.support.table_exports import assets_of, graph_of


@pytest.fixture
def checkpoint(tmp_path):
    return make_checkpoint(tmp_path)


def small(**changes):
    """One parameter server, and tables of one kind."""
    return make_model_fn(**{"servers": 1, "dense_sub": (), "multi": False, **changes})


def variables(path):
    prefix = path / "variables" / "variables"
    if not Path(f"{prefix}.index").exists():
        return {}
    with mx.BundleReader(prefix) as bundle:
        return {key: bundle.read(key) for key in bundle.keys()}  # noqa: SIM118


def signatures(path):
    return mx.check_saved_model(path).signatures


def asset_names(path):
    return sorted(os.listdir(path / "assets")) if (path / "assets").exists() else []


def test_entry_servers_and_dense_parts_are_one_version(tmp_path, checkpoint):
    found = make_exporter(tmp_path).export_saved_model(receiver_fn)
    base = tmp_path / "models"
    assert list(found) == NAMES
    assert found == {name: os.fsencode(base / name / str(STEP)) for name in NAMES}
    paths = {name: Path(os.fsdecode(path)) for name, path in found.items()}
    assert sorted(os.listdir(base)) == sorted(NAMES)
    assert all(mx.check_saved_model(path).ok for path in paths.values())
    # The entry: variables, no tables, and no signature to push any.
    assert signatures(paths["entry"]) == ["serving_default"]
    np.testing.assert_array_equal(variables(paths["entry"])["w"], W)
    assert asset_names(paths["entry"]) == []
    # A server: its tables and no others.
    for i in range(SERVERS):
        path = paths[f"ps_{i}"]
        name = f"MonolithMultiHashTable_{i}"
        assert signatures(path) == [f"{name}/raw_assign", "hashtable_assign", "lookup"]
        assert {file.rsplit("-", 3)[0] for file in asset_names(path)} == {
            f"MonolithHashTable_{i}",
            name,
            f"{name}.meta",
        }
        dump = mx.read_table(path / "assets" / f"MonolithHashTable_{i}")
        np.testing.assert_array_equal(np.sort(dump.ids), np.sort(table_dump(i).ids))
        assert sorted(variables(path)) == ["global_step"]
    # A dense part is frozen; a dense sub-graph is a model like any other.
    assert signatures(paths["dense_0"]) == ["dense_0"]
    assert sorted(variables(paths["dense_0"])) == ["global_step"]
    _, nodes = graph_of(paths["dense_0"])
    (constant,) = [node for node in nodes.values() if node.name == "dense_w"]
    np.testing.assert_array_equal(mx.tensor_proto_to_array(constant.attr["value"].tensor), DENSE_W)
    assert signatures(paths["dense_side"]) == ["dense_side", "hashtable_assign"]
    np.testing.assert_array_equal(variables(paths["dense_side"])["dense_w"], DENSE_W)


def test_the_default_version_is_the_unix_second_of_all(tmp_path, checkpoint):
    before = int(time.time())
    paths = export(tmp_path, small(), global_step_as_timestamp=False)
    (name,) = {path.name for path in paths.values()}
    assert before <= int(name) <= time.time()
    again = export(tmp_path, small(), global_step_as_timestamp=False)
    (later,) = {path.name for path in again.values()}
    assert int(later) > int(name)


def test_a_second_that_one_name_took_moves_all(tmp_path, checkpoint, monkeypatch):
    clock = [1_700_000_000.5]
    monkeypatch.setattr(version.time, "time", lambda: clock[0])
    monkeypatch.setattr(version.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    (tmp_path / "models" / "ps_0" / "1700000000").mkdir(parents=True)
    real = distributed.run_tasks

    def run(*args):
        # Another exporter takes the second that was free.
        (tmp_path / "models" / "entry" / "1700000001").mkdir(parents=True)
        real(*args)

    monkeypatch.setattr(distributed, "run_tasks", run)
    paths = export(tmp_path, small(), global_step_as_timestamp=False)
    assert {path.name for path in paths.values()} == {"1700000002"}


def test_the_step_that_is_given_names_the_version(tmp_path, checkpoint):
    found = make_exporter(tmp_path, small()).export_saved_model(receiver_fn, checkpoint, 31)
    assert {Path(os.fsdecode(path)).name for path in found.values()} == {"31"}
    with pytest.raises(mx.InvalidArgumentError, match="got version -1"):
        make_exporter(tmp_path, small()).export_saved_model(receiver_fn, checkpoint, -1)


def test_the_step_is_written_where_the_checkpoint_has_none(tmp_path):
    (tmp_path / "train").mkdir()
    with mx.BundleWriter(tmp_path / "train" / "plain") as bundle:
        bundle.add("dense_w", DENSE_W)
        bundle.add("w", W)
    exporter = make_exporter(tmp_path, small(servers=0))
    found = exporter.export_saved_model(receiver_fn, tmp_path / "train" / "plain", 31)
    steps = {name: int(variables(Path(os.fsdecode(path)))["global_step"]) for name, path in found.items()}
    assert steps == {"entry": 31, "dense_0": 31}


def test_what_is_there_is_skipped_and_said(tmp_path, checkpoint, caplog):
    first = export(tmp_path)
    shutil.rmtree(first["ps_3"])
    shutil.rmtree(first["dense_0"])
    kept = tree_bytes(first["ps_0"])
    caplog.set_level(logging.INFO)
    second = export(tmp_path)
    assert list(second) == ["ps_3", "dense_0"]
    assert tree_bytes(first["ps_0"]) == kept
    assert f"{first['entry']}: it is there already, skipping" in caplog.text
    assert make_exporter(tmp_path).export_saved_model(receiver_fn) == {}
    assert "nothing to export" in caplog.text


def test_without_servers_dense_parts_are_exported(tmp_path, checkpoint):
    assert list(export(tmp_path, small(servers=0, dense=("dense_0", "dense_1")))) == ["entry", "dense_0", "dense_1"]


def test_dense_only_leaves_servers_out(tmp_path, checkpoint):
    paths = export(tmp_path, small(dense_sub=("tower",)), dense_only=True)
    assert list(paths) == ["entry", "tower", "dense_0"]
    assert "hashtable_assign" in signatures(paths["tower"])


def test_dense_parts_keep_their_variables_where_told(tmp_path, checkpoint):
    paths = export(tmp_path, small(), freeze_variable=False)
    np.testing.assert_array_equal(variables(paths["dense_0"])["dense_w"], DENSE_W)
    assert signatures(paths["dense_0"]) == ["dense_0"]


def test_only_graphs_that_are_included(tmp_path, checkpoint, caplog):
    assert list(export(tmp_path, small(), include_graphs=["ps_0", "entry", "ps_9"])) == ["entry", "ps_0"]
    assert "include_graphs: the model has no ps_9" in caplog.text
    # That it is there already wins.
    assert list(export(tmp_path, small(), include_graphs=["ps_0", "dense_0"])) == ["dense_0"]
    with pytest.raises(mx.InvalidArgumentError, match="include_graphs: got the string 'entry'"):
        make_exporter(tmp_path, include_graphs="entry")


def devices(path):
    _, nodes = graph_of(path)
    return {name: node.device for name, node in nodes.items() if "/" not in name}


def test_the_entrys_nodes_are_on_the_cpu(tmp_path, checkpoint):
    paths = export(tmp_path, small())
    found = devices(paths["entry"])
    assert {name: found[name] for name in ("x", "w", "y", "text", "global_step")} == dict.fromkeys(
        ("x", "w", "y", "text", "global_step"), "/device:CPU:0"
    )
    # Other sub-models keep what they said.
    assert devices(paths["ps_0"])["ids"] == ""


def test_the_entrys_nodes_may_go_to_a_gpu(tmp_path, checkpoint):
    found = devices(export(tmp_path, small(), allow_gpu=True)["entry"])
    assert {name: found[name] for name in ("x", "w", "y", "text")} == {
        "x": "",
        "w": "/device:GPU:0",
        "y": "/device:GPU:0",
        "text": "/device:CPU:0",
    }


@pytest.mark.parametrize("allow_gpu", [False, True])
def test_the_entrys_nodes_lose_their_devices_where_told(tmp_path, checkpoint, allow_gpu):
    def on_gpu(ctx):
        with ctx.sub_graph("ps_0").as_default() as graph, graph.device("/gpu:0"):
            graph.const(1.0, name="here")

    paths = export(tmp_path, small(change=on_gpu), clear_entry_devices=True, allow_gpu=allow_gpu)
    _, nodes = graph_of(paths["entry"])
    assert {node.device for node in nodes.values()} == {""}
    assert devices(paths["ps_0"])["here"] == "/device:GPU:0"


@pytest.mark.parametrize("wanted", [False, True])
def test_the_model_fn_is_told_of_a_remote_gpu(tmp_path, checkpoint, wanted):
    seen = []
    export(tmp_path, small(change=lambda ctx: seen.append(ctx.with_remote_gpu)), with_remote_gpu=wanted)
    assert seen == [wanted]


def test_a_suffix_goes_behind_the_version(tmp_path, checkpoint):
    def suffix(ctx):
        ctx.sub_graph("ps_0").export_suffix = "_b"
        ctx.sub_graph("dense_0").export_suffix = ".1"

    model_fn = small(change=suffix)
    paths = export(tmp_path, model_fn)
    assert {name: path.name for name, path in paths.items()} == {"entry": "7", "ps_0": "7_b", "dense_0": "7.1"}
    assert export(tmp_path, model_fn) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ctx: add_dense(ctx.sub_graph("entry"), "x"), "two graphs of the export are named 'entry'"),
        (lambda ctx: add_dense(ctx.dense_sub_graph("ps_0"), "x"), "two graphs of the export are named 'ps_0'"),
        (lambda ctx: ctx.sub_graph("../ps"), "want a name that does not begin with a dot"),
        (lambda ctx: ctx.sub_graph(".ps"), "want a name that does not begin with a dot"),
        (lambda ctx: ctx.sub_graph("a/b"), "want names of one component"),
        (lambda ctx: ctx.sub_graph(""), "want names of one component"),
        (lambda ctx: setattr(ctx.sub_graph("ps_0"), "export_suffix", "/../x"), "want names of one component"),
        # "7" and "0" would be version 70 of the sub-model.
        (lambda ctx: setattr(ctx.sub_graph("ps_0"), "export_suffix", "0"), "got suffix '0', want text that does not"),
        (lambda ctx: setattr(ctx.sub_graph("ps_0"), "export_suffix", None), "got suffix None, want text that does not"),
    ],
)
def test_illegal_names_are_refused(tmp_path, checkpoint, change, message):
    with pytest.raises(mx.InvalidArgumentError, match=message):
        export(tmp_path, small(change=change))
    assert not (tmp_path / "models").exists()


def test_the_warmup_file_goes_to_the_entry(tmp_path, checkpoint):
    mx.write_records(tmp_path / "warm", [b"log"])
    paths = export(tmp_path, small(), warmup_file=tmp_path / "warm")
    name = "assets.extra/tf_serving_warmup_requests"
    assert [key for key, path in paths.items() if (path / name).exists()] == ["entry"]
    # It is not looked for where the entry is not exported.
    shutil.rmtree(paths["ps_0"])
    assert list(export(tmp_path, small(), warmup_file=tmp_path / "gone")) == ["ps_0"]


def test_tables_are_shared_linked_or_made_smaller(tmp_path, checkpoint):
    source = assets_of(checkpoint) / "MonolithHashTable_0-00000-of-00002"
    shared = export(tmp_path, small(), "shared", shared_embedding=True)
    assert asset_names(shared["ps_0"]) == []
    linked = export(tmp_path, small(), "linked", tables="hardlink")
    assert os.path.samefile(linked["ps_0"] / "assets" / source.name, source)
    exporter = make_exporter(tmp_path, small(servers=2), "smaller", tables="serving")
    found = exporter.export_saved_model(receiver_fn)
    assert set(exporter.table_ledgers) == {os.fsdecode(found[name]) for name in ("ps_0", "ps_1")}
    (ledger,) = exporter.table_ledgers[os.fsdecode(found["ps_1"])]
    assert (ledger.tables[0].rows_read, ledger.tables[0].rows_kept) == (21, 20)


@pytest.mark.parametrize(("threads", "each"), [(1, 256 << 20), (2, 128 << 20), (50, (256 << 20) // 3)])
def test_threads_share_the_memory_for_tables(tmp_path, checkpoint, monkeypatch, threads, each):
    seen = []
    real = table_output.slim_table

    def slim(source, target, options, **rest):
        seen.append(options.memory_bytes)
        return real(source, target, options, **rest)

    monkeypatch.setattr(table_output, "slim_table", slim)
    export(tmp_path, small(), tables="serving", threads=threads)
    assert seen == [each]


def test_the_same_bytes_for_any_number_of_threads(tmp_path, checkpoint):
    trees = [
        {name: tree_bytes(path) for name, path in export(tmp_path, name=str(threads), threads=threads).items()}
        for threads in (1, 3, 8)
    ]
    assert trees[0] == trees[1] == trees[2]
    assert len(trees[0]) == len(NAMES)
    with pytest.raises(mx.InvalidArgumentError, match="threads: got 0, want at least 1"):
        make_exporter(tmp_path, threads=0)


def test_sub_models_are_written_at_the_same_time(tmp_path, checkpoint, monkeypatch):
    together = threading.Barrier(3)
    real = writer.copy_files

    def copy(*args):
        together.wait(30)
        real(*args)

    monkeypatch.setattr(writer, "copy_files", copy)
    assert len(export(tmp_path, small(), threads=3)) == 3


def test_mode_environment_and_contexts(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {}}))
    events = []

    @contextlib.contextmanager
    def context():
        events.append("enter")
        yield
        events.append("leave")

    def look(ctx):
        events.append((mx.is_exporting_distributed(), mx.get_current_export_ctx() is ctx, "TF_CONFIG" in os.environ))

    export(tmp_path, small(change=look), export_context_list=[context])
    assert events == ["enter", (True, True, False), "leave"]
    assert "TF_CONFIG" in os.environ
    assert not mx.is_exporting()


def test_a_server_without_its_table_files_publishes_nothing(tmp_path, checkpoint, monkeypatch):
    (assets_of(checkpoint) / "MonolithHashTable_3-00001-of-00002").unlink()
    monkeypatch.setattr(distributed, "write_plan", None)
    with pytest.raises(mx.TableError, match="MonolithHashTable_3"):
        export(tmp_path)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("damaged", ["ps_3", "dense_side", "entry"])
def test_a_failure_while_writing_ends_all(tmp_path, checkpoint, monkeypatch, threads, damaged):
    export(tmp_path, include_graphs=["ps_0"])
    before = tree_bytes(tmp_path / "models")
    real = distributed.validate_staged

    def check(folder, validation):
        if folder.parent.name == damaged:
            raise mx.ValidationError(f"{damaged} is bad")
        real(folder, validation)

    monkeypatch.setattr(distributed, "validate_staged", check)
    with pytest.raises(mx.ValidationError, match=f"{damaged} is bad"):
        make_exporter(tmp_path, threads=threads).export_saved_model(receiver_fn, None, 8)
    assert tree_bytes(tmp_path / "models") == before
    assert os.listdir(tmp_path / "models") == ["ps_0"]


def test_the_first_failure_ends_tasks_that_run(tmp_path):
    running = threading.Event()
    ended = []

    def endless(check):
        running.set()
        try:
            while True:
                check()
        finally:
            ended.append(True)

    def failing(check):
        assert running.wait(30)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parallel.run_tasks([endless, failing, lambda check: ended.append("begun")], 2, "")
    assert ended == [True]


@pytest.mark.parametrize("when", ["begun", "later"])
def test_ctrl_c_ends_all(tmp_path, checkpoint, monkeypatch, when):
    real = writer.copy_files
    main = threading.main_thread().ident

    def copy(files, folder, check):
        if folder.parent.parent.name == "ps_0" and folder.name == "assets":
            if when == "later":
                time.sleep(0.05)
            signal.pthread_kill(main, signal.SIGINT)
            while True:
                check()
        real(files, folder, check)

    monkeypatch.setattr(writer, "copy_files", copy)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path, small(), threads=2)
    assert not (tmp_path / "models").exists()


def test_checks_reach_every_kind_of_copy(tmp_path, checkpoint):
    """Ctrl-C is not kept waiting by large variables, assets, or tables."""

    class GivenUp(Exception):
        pass

    # One variable, and two files that are copied, or read and written in one piece each.
    for tables in ("copy", "serving"):
        for give_up_at in (1, 2, 3):
            left = iter(range(give_up_at - 1))

            def check(left=left):
                if next(left, None) is None:
                    raise GivenUp

            exporter = make_exporter(tmp_path, small(), tables=tables)
            context = mx.ExportContext()
            with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED, context):
                exporter._run_model_fn(exporter._source.new_graph(), context, receiver_fn)
            plan = exporter._plan_saved_model(context.sub_graph("ps_0"), checkpoint, export_ctx=context)
            with staged_group(tmp_path / "x", [GroupMember("ps_0")], 1) as group, pytest.raises(GivenUp):
                writer.write_plan(plan, group.paths[0], check)


def test_a_version_that_appears_meanwhile_is_not_touched(tmp_path, checkpoint, monkeypatch):
    real = distributed.run_tasks
    other = tmp_path / "models" / "ps_0" / str(STEP)

    def run(*args):
        real(*args)
        other.mkdir()
        (other / "mine").touch()

    monkeypatch.setattr(distributed, "run_tasks", run)
    with pytest.raises(mx.VersionExistsError, match=f"ps_0/{STEP}"):
        export(tmp_path, small())
    assert tree_bytes(tmp_path / "models") == {f"ps_0/{STEP}/mine": b""}


def test_a_dead_exporters_leavings_are_removed_and_a_living_ones_kept(tmp_path, checkpoint):
    base = tmp_path / "models"
    (base / "ps_9" / "temp-6-1-0123456789abcdef" / "sub").mkdir(parents=True)
    (base / "ps_9" / "temp-notes").mkdir()
    with staged_group(base, [GroupMember("ps_0")], 8) as living:
        export(tmp_path, small())
        assert os.listdir(base / "ps_9") == ["temp-notes"]
        assert living.paths[0].exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_goes_to_a_terminal_only(tmp_path, checkpoint, monkeypatch, capfd):
    export(tmp_path, small(), "quiet")
    assert capfd.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    export(tmp_path, small(), "shown")
    assert f"export {STEP}" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_too_many_open_files_leave_nothing(tmp_path, checkpoint, monkeypatch):
    real, count = publish._make_locked_directory, [0]

    def make(target):
        count[0] += 1
        if count[0] == 3:
            raise OSError(24, "Too many open files")
        return real(target)

    monkeypatch.setattr(publish, "_make_locked_directory", make)
    with pytest.raises(OSError, match="Too many open files"):
        export(tmp_path, small())
    assert not (tmp_path / "models").exists()
