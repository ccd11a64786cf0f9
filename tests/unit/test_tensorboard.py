"""Events files for TensorBoard, record by record and byte by byte."""

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb import messages as mm
from mexport_pb._proto.graph_pb2 import GraphDef
from mexport_pb._proto.saved_model_pb2 import SavedModel
from mexport_pb._proto.tensor_pb2 import DT_FLOAT
from mexport_pb.cli import main

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_700_000_000
NAME = f"events.out.tfevents.{NOW}.host"


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW + 0.75)
    monkeypatch.setattr(socket, "gethostname", lambda: "host")


def make_model(path, *tag_sets, nodes=("x", "dense/MatMul")):
    """A model of one meta graph a set of tags; a node in each says which."""
    saved_model = SavedModel(saved_model_schema_version=1)
    for tags in tag_sets or [["serve"]]:
        meta_graph = saved_model.meta_graphs.add()
        meta_graph.meta_info_def.tags.extend(tags)
        for name in (*nodes, "_".join(("tags", *tags))):
            meta_graph.graph_def.node.add(name=name, op="NoOp")
        meta_graph.graph_def.versions.producer = 1087
        function = meta_graph.graph_def.library.function.add()
        function.signature.name = "helper"
        function.node_def.add(name="inner", op="NoOp")
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(saved_model.SerializeToString(deterministic=True))
    return saved_model


def graph_of(file):
    """The graph of an events file, of which every other byte is known."""
    first, second = mx.read_records(file)
    wall_time = b"\x09" + struct.pack("<d", NOW)
    assert first == wall_time + b"\x1a\x0dbrain.Event:2" + b"\x52\x0c\x0a\x0amexport_pb"
    assert second.startswith(wall_time + b"\x22")
    size, at = 0, len(wall_time) + 1
    for shift in range(0, 35, 7):
        size |= (second[at] & 0x7F) << shift
        at += 1
        if second[at - 1] < 0x80:
            break
    assert len(second) == at + size
    return GraphDef.FromString(second[at:])


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if not p.is_dir())


def test_records(tmp_path):
    saved_model = make_model(tmp_path / "m")
    (file,) = mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    assert file == str(tmp_path / "logs" / NAME)
    assert files_below(tmp_path / "logs") == [NAME]
    assert graph_of(file) == saved_model.meta_graphs[0].graph_def


def test_every_flipped_byte_is_noticed(tmp_path):
    """The checksums are those of the records."""
    make_model(tmp_path / "m")
    (file,) = mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    data = Path(file).read_bytes()
    damaged = tmp_path / "damaged"
    for i in range(len(data)):
        damaged.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(mx.RecordError):
            list(mx.read_records(damaged))


def test_the_file_alone_and_text(tmp_path):
    saved_model = make_model(tmp_path / "m")
    (tmp_path / "saved_model.pbtxt").write_text(mm.to_text(saved_model))
    for i, path in enumerate([tmp_path / "m" / "saved_model.pb", tmp_path / "saved_model.pbtxt"]):
        (file,) = mx.import_to_tensorboard(path, tmp_path / str(i))
        assert graph_of(file) == saved_model.meta_graphs[0].graph_def


def test_later_files_have_later_names(tmp_path):
    """TensorBoard shows the last graph; what was there stays."""
    for i in range(3):
        make_model(tmp_path / f"m{i}", nodes=[f"node{i}"])
        mx.import_to_tensorboard(tmp_path / f"m{i}", tmp_path / "logs")
    found = files_below(tmp_path / "logs")
    assert found == [f"events.out.tfevents.{NOW + i}.host" for i in range(3)]
    assert [graph_of(tmp_path / "logs" / name).node[0].name for name in found] == ["node0", "node1", "node2"]


def test_host_names(tmp_path, monkeypatch):
    make_model(tmp_path / "m")
    for host, want in (("a/b c.d", "a_b_c.d"), ("", "localhost")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        (file,) = mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
        assert file == str(tmp_path / "logs" / f"events.out.tfevents.{NOW}.{want}")


def test_several_meta_graphs(tmp_path, capsys):
    make_model(tmp_path / "m", ["serve"], ["gpu", "serve"])
    with pytest.raises(mx.UnsupportedError, match=r"got 2 meta graphs, want the tags of one of them: \[\['serve'\]"):
        mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    (file,) = mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs", ["serve", "gpu"])
    assert graph_of(file).node[2].name == "tags_gpu_serve"
    arguments = ["visualize", str(tmp_path / "m"), "--log-dir", str(tmp_path / "cli")]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "got 2 meta graphs" in captured.err
    assert not (tmp_path / "cli").exists()
    assert main([*arguments, "--tags", "serve"]) == 0
    file, command = capsys.readouterr().out.splitlines()
    assert graph_of(file).node[2].name == "tags_serve"
    assert command == f"tensorboard --logdir {tmp_path / 'cli'}"
    assert main([*arguments, "--tags", "tpu"]) == 2
    assert "got ['tpu'], want one of [['serve'], ['gpu', 'serve']]" in capsys.readouterr().err


def test_sub_models_are_runs(tmp_path):
    for name in ("entry", "ps_0", "ps_10", "ps_2"):
        make_model(tmp_path / "ctr" / name / "17", nodes=[name])
    make_model(tmp_path / "ctr" / "entry" / "16", nodes=["old"])
    files = mx.import_to_tensorboard(tmp_path / "ctr", tmp_path / "logs")
    names = ["entry", "ps_0", "ps_2", "ps_10"]
    assert files == [str(tmp_path / "logs" / name / NAME) for name in names]
    assert [graph_of(file).node[0].name for file in files] == names
    assert len(files_below(tmp_path / "logs")) == 4


def test_versions(tmp_path):
    for version in (3, 20):
        make_model(tmp_path / "ctr" / str(version), nodes=[f"v{version}"])
    for version, want in ((None, "v20"), (3, "v3")):
        (file,) = mx.import_to_tensorboard(tmp_path / "ctr", tmp_path / "logs", version=version)
        assert graph_of(file).node[0].name == want


def test_one_damaged_sub_model_and_none_is_written(tmp_path):
    for name in ("entry", "ps_0"):
        make_model(tmp_path / "ctr" / name / "17")
    file = tmp_path / "ctr" / "ps_0" / "17" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(mx.SavedModelError, match="ps_0"):
        mx.import_to_tensorboard(tmp_path / "ctr", tmp_path / "logs")
    assert files_below(tmp_path / "logs") == []


def test_every_truncation_is_an_error(tmp_path):
    make_model(tmp_path / "m")
    file = tmp_path / "m" / "saved_model.pb"
    data = file.read_bytes()
    for size in range(len(data)):
        file.write_bytes(data[:size])
        with pytest.raises(mx.SavedModelError, match=r"saved_model\.pb"):
            mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_what_is_refused(tmp_path):
    logs = tmp_path / "logs"
    with pytest.raises(FileNotFoundError):
        mx.import_to_tensorboard(tmp_path / "nothing" / "there", logs)
    make_model(tmp_path / "m")
    with pytest.raises(mx.InvalidArgumentError, match="want a list of strings"):
        mx.import_to_tensorboard(tmp_path / "m", logs, "serve")
    with mx.BundleWriter(tmp_path / "c") as bundle:
        bundle.add("w", np.zeros(2, np.float32))
    with pytest.raises(mx.InvalidArgumentError, match="got bundle, want a SavedModel"):
        mx.import_to_tensorboard(tmp_path / "c.index", logs)
    (tmp_path / "chunked").mkdir()
    (tmp_path / "chunked" / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(mx.UnsupportedError, match="chunked"):
        mx.import_to_tensorboard(tmp_path / "chunked", logs)
    no_graph = SavedModel()
    no_graph.meta_graphs.add().meta_info_def.tags.append("serve")
    (tmp_path / "saved_model.pb").write_bytes(no_graph.SerializeToString())
    with pytest.raises(mx.SavedModelError, match="no graph in the meta graph"):
        mx.import_to_tensorboard(tmp_path / "saved_model.pb", logs)
    assert not logs.exists()
    logs.write_text("a file")
    with pytest.raises(FileExistsError):
        mx.import_to_tensorboard(tmp_path / "m", logs)


def test_a_log_dir_that_cannot_be_written(tmp_path, monkeypatch):
    make_model(tmp_path / "m")

    def refuse(*_):
        raise PermissionError(1, "not permitted", "target")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(PermissionError):
        mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    assert files_below(tmp_path / "logs") == []


def test_large_constants_are_left_out(tmp_path):
    saved_model = make_model(tmp_path / "m")
    for name, size in (("small", 1000), ("large", 1_000_000)):
        node = saved_model.meta_graphs[0].graph_def.node.add(name=name, op="Const")
        node.attr["value"].tensor.dtype = DT_FLOAT
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)
        node.attr["value"].tensor.tensor_content = b"\x01" * 4 * size
    (tmp_path / "m" / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    (file,) = mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    *_, small, large = graph_of(file).node
    assert len(small.attr["value"].tensor.tensor_content) == 4000
    assert large.attr["value"].tensor.tensor_content == b""
    assert large.attr["value"].tensor.tensor_shape.dim[0].size == 1_000_000
    assert os.path.getsize(file) < 6000


def test_a_graph_of_100_000_nodes(tmp_path):
    saved_model = SavedModel()
    graph_def = saved_model.meta_graphs.add().graph_def
    for i in range(100_000):
        node = graph_def.node.add(name=f"layer_{i // 100}/node_{i}", op="Identity")
        node.input.append(f"layer_{max(i - 1, 0) // 100}/node_{max(i - 1, 0)}")
        node.attr["T"].type = DT_FLOAT
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    started = time.process_time()
    (file,) = mx.import_to_tensorboard(tmp_path / "saved_model.pb", tmp_path / "logs")
    assert time.process_time() - started < 20  # some 0.5 s
    assert graph_of(file) == graph_def


def test_script(tmp_path):
    """Folders with odd names are quoted in the command."""
    make_model(tmp_path / "m")
    logs = tmp_path / "my logs"
    script = [sys.executable, str(ROOT / "scripts" / "visualize_saved_model.py")]
    arguments = ["--model_dir", str(tmp_path / "m" / "saved_model.pb"), "--log_dir", str(logs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=True, env=environment)
    file, command = done.stdout.splitlines()
    assert files_below(logs) == [os.path.basename(file)]
    assert command == f"tensorboard --logdir '{logs}'"
    assert done.stderr == ""
