"""Damage is reported where it is, the rest is shown, and the exit status is 1."""

import json
import os
import shutil
from pathlib import Path

import pytest

import mexport_pb as mx
from mexport_pb.messages import serialize
from tests.support.dumps import assert_sizes_add_up, bytes_on_disk, describe, flip, make_model, part_of, run
from tests.support.table_exports import SINGLE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def copy(model, tmp_path):
    return Path(shutil.copytree(model, tmp_path / "model"))


def test_damaged_variable(copy, capsys):
    path = copy / "variables" / "variables.data-00000-of-00001"
    flip(path, 3)
    captured = run(capsys, copy, status=1)
    assert f"{path}: offset 0: tensor 'global_step': checksum" in captured.err
    assert "serving_default" in captured.out
    assert "Damage  1" in captured.out
    facts = describe(copy)
    assert_sizes_add_up(facts, bytes_on_disk(copy))
    path.unlink()
    facts = describe(copy)
    assert [Path(damage.where).name for damage in facts.damages] == [path.name]
    assert facts.variables[0].name == "global_step"
    (copy / "variables" / "variables.index").unlink()
    assert "is missing, but the graph has a saver" in str(describe(copy).damages)


def test_short_data_file(copy):
    path = copy / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(b"abc")
    facts = describe(copy)
    assert "ends beyond the file" in facts.damages[0].message or "offset" in facts.damages[0].message
    assert_sizes_add_up(facts, bytes_on_disk(copy))


def test_damaged_table(copy, capsys):
    flip(copy / "assets" / f"{SINGLE}-00001-of-00002", -1)
    captured = run(capsys, copy, "--json", status=1)
    lines = [json.loads(line) for line in captured.out.splitlines()]
    (damage,) = [line for line in lines if line["type"] == "damage"]
    assert f"{SINGLE}-00001-of-00002: offset " in damage["message"]
    assert {line["table"] for line in lines if line["type"] == "table"} == {"a", "b"}
    assert sum(line["bytes"] for line in lines if line["type"] == "size") == bytes_on_disk(copy)
    (copy / "assets" / f"{SINGLE}-00000-of-00002").unlink()
    facts = describe(copy)
    assert any("shard 0 doesn't show up" in damage.message for damage in facts.damages)
    assert_sizes_add_up(facts, bytes_on_disk(copy))


def test_damaged_warmup(copy):
    path = copy / "assets.extra" / "tf_serving_warmup_requests"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"torn")
    facts = describe(copy)
    assert facts.warmup.records == 2
    assert [f"offset {size}" in damage.message for damage in facts.damages] == [True]
    assert part_of(facts, "assets.extra/", path.name, "not read").bytes == 4
    mx.write_records(path, [b"\xff"])
    assert "not a PredictionLog" in describe(copy).damages[0].message


def test_missing_asset(copy):
    (copy / "assets" / f"{SINGLE}-00000-of-00002").unlink()
    (copy / "assets" / f"{SINGLE}-00001-of-00002").unlink()
    assert sum("is missing, and a graph names it" in damage.message for damage in describe(copy).damages) == 2


def test_truncated_graph(copy):
    path = copy / "saved_model.pb"
    whole = describe(copy).graphs[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    facts = describe(copy)
    assert "a field of the model ends beyond it" in facts.damages[0].message
    assert 0 < facts.graphs[0].nodes < whole.nodes
    assert facts.tables
    assert_sizes_add_up(facts, bytes_on_disk(copy))


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"not a model", b"\x0b\x0c"])
def test_no_graph_at_all(data, copy):
    (copy / "saved_model.pb").write_bytes(data)
    facts = describe(copy)
    assert facts.damages
    assert facts.graphs == []
    assert facts.variables
    assert_sizes_add_up(facts, bytes_on_disk(copy))


def test_each_byte_of_a_small_graph_flipped(tmp_path):
    """Whatever is wrong is told, or harmless; never another exception, never a byte too many or too few."""
    graph = mx.GraphBuilder()
    with graph.as_default():
        x = graph.placeholder("float32", [None, 2], name="x")
        graph.identity(x, name="y")
    meta_graph = graph.to_meta_graph()
    meta_graph.signature_def["s"].CopyFrom(mx.make_signature_def({"x": x}, {}))
    path = tmp_path / "saved_model.pb"
    data = serialize(mx.make_saved_model([meta_graph]))
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        assert_sizes_add_up(describe(path), len(data))


def test_folders_in_folders(copy):
    path = copy / "assets.extra"
    for _ in range(300):
        path /= "d"
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"four")
    facts = describe(copy)
    assert_sizes_add_up(facts, bytes_on_disk(copy))


def test_links_and_pipes(copy, tmp_path):
    (copy / "assets" / "away").symlink_to("/etc/passwd")
    os.mkfifo(copy / "assets" / "pipe")
    moved = (copy / "variables" / "variables.data-00000-of-00001").rename(tmp_path / "data")
    (copy / "variables" / "variables.data-00000-of-00001").symlink_to(moved)
    facts = describe(copy)
    assert facts.ok
    assert part_of(facts, "assets/", "away").bytes == len("/etc/passwd")
    assert_sizes_add_up(facts, bytes_on_disk(copy))
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        assert f"{copy / name}: not a regular file" in [damage.message for damage in describe(copy).damages]
