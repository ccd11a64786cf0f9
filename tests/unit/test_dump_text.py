"""How a dump looks: in a pipe, on a terminal, as JSON, as protobuf text; one node, one tensor."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.saved_model_pb2 import SavedModel
from mexport_pb.inspect.facts import SizePart
from mexport_pb.inspect.terminal import Style, printable, table
from mexport_pb.messages import from_text, serialize
from tests.support.dumps import assert_sizes_add_up, bytes_on_disk, describe, make_model, run
from tests.support.table_exports import SINGLE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def test_text(model, capsys):
    text = run(capsys, model)
    assert text.startswith(f"SavedModel {model}  {bytes_on_disk(model):,} bytes\n")
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if line.lstrip().startswith("serving_default"))
    assert row.split() == ["serving_default", "in", "ids", "int64", "[?]", "ids:0", "predict"]
    for want in ("Table MonolithHashTable_slot  50 rows, dim 4", "slots 1       0: 50", "Warmup  2 requests"):
        assert want in text
    assert "keys 400 (10.4%), values 800 (20.8%), optimizer 800 (20.8%)" in text


def in_terminal(command, columns, **environment):
    """What a command writes to a terminal of so many columns."""
    import fcntl
    import struct
    import termios

    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    child = subprocess.Popen(
        command, stdout=writer, stderr=subprocess.STDOUT, cwd=ROOT, env={**base, "TERM": "xterm", **environment}
    )
    os.close(writer)
    pieces = []
    while True:
        try:
            piece = os.read(reader, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(reader)
    assert child.wait() == 0
    return b"".join(pieces).decode()


def test_on_a_terminal(model):
    command = [sys.executable, "-m", "mexport_pb", "dump", str(model)]
    text = in_terminal(command, 72)
    assert "\x1b[1mSignatures\x1b[0m" in text
    plain = in_terminal(command, 72, NO_COLOR="1")
    assert "\x1b" not in plain
    long = [line for line in plain.splitlines() if len(line) > 72]
    assert [line for line in long if not line.startswith("SavedModel ")] == []
    assert "…" in plain


def test_script(model):
    script = [sys.executable, str(ROOT / "scripts" / "dump_saved_model.py"), "--model_dir", str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*script, "--json"], capture_output=True, text=True, check=True, env=environment)
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()][:2] == ["model", "graph"]
    assert done.stderr == ""


def test_names_that_a_terminal_would_obey(tmp_path, capsys):
    saved_model = SavedModel()
    meta_graph = saved_model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("\x1b[31mred")
    meta_graph.graph_def.node.add(name="a\nb", op="\x1b]0;title\x07")
    meta_graph.signature_def["\x9b2J"].method_name = "\u202egnp"
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    text = run(capsys, tmp_path)
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31mred" in text


def test_tables_of_text_fit_a_terminal():
    rows = [["name", "n"], ["x" * 100, "12"], ["表" * 30, "7"]]
    lines = list(table(rows, Style(width=40), right=(1,)))
    assert [len(line) for line in lines[:2]] == [40, 40]
    assert lines[1].endswith("…  12")
    assert lines[2].count("表") == 16
    assert printable("a\x00b\udcff") == "a\\x00b\\udcff"
    assert list(table(rows, Style(), right=(1,)))[1] == f"  {'x' * 100}  12"


def test_json(model, capsys):
    lines = [json.loads(line) for line in run(capsys, model, "--json").splitlines()]
    kinds = [line["type"] for line in lines]
    assert list(dict.fromkeys(kinds)) == [
        *("model", "graph", "signature", "variable", "table", "asset", "warmup", "size"),
    ]
    assert lines[0] == {
        "type": "model",
        "model": "",
        "path": str(model),
        "kind": "SavedModel",
        "bytes": bytes_on_disk(model),
        "ok": True,
    }
    (serving,) = [line for line in lines if line.get("name") == "serving_default"]
    assert serving["inputs"] == [{"key": "ids", "name": "ids:0", "dtype": "int64", "shape": [None]}]
    assert sum(line["bytes"] for line in lines if line["type"] == "size") == bytes_on_disk(model)


def test_pbtxt(model, capsys):
    text = run(capsys, model, "--pbtxt")
    assert from_text(text, SavedModel) == mx.read_saved_model(model)
    prefix = model / "variables" / "variables"
    assert "want one SavedModel" in run(capsys, prefix, "--pbtxt", status=2).err


def test_node(model, capsys):
    text = run(capsys, model, "--node", "ids", "--node", "MonolithHashTableLookup:0")
    assert text.startswith('# node ids\nname: "ids"\nop: "Placeholder"\n')
    assert "# node MonolithHashTableLookup\n" in text
    line = json.loads(run(capsys, model, "--node", "MonolithHashTableLookup", "--json"))
    assert (line["op"], line["inputs"][1]) == ("MonolithHashTableLookup", "ids")
    assert "no node 'MonolithHashTableLokup'; near names: 'MonolithHashTableLook" in (
        run(capsys, model, "--node", "MonolithHashTableLokup", status=2).err
    )


def test_tensor(model, capsys):
    assert run(capsys, model, "--tensor", "global_step").startswith("variable global_step: int64 [], min 7, max 7")
    assert run(capsys, model, "--tensor", "save/num_shards:0") == (
        "constant save/num_shards:0: int32 [], min 1, max 1, mean 1\n  1\n"
    )
    line = json.loads(run(capsys, model, "--tensor", "save/Const_1", "--json"))
    assert (line["dtype"], line["elements"], line["all"]) == ("string", [".part"], True)
    assert "no tensor 'nothing'" in run(capsys, model, "--tensor", "nothing", status=2).err
    assert "mexport table head" in run(capsys, model / "assets" / SINGLE, "--tensor", "x", status=2).err


def test_large_constant(tmp_path, capsys):
    """Its value is not read to describe the model, and read when it is asked for."""
    values = np.arange(50_000, dtype=np.float32)
    graph = mx.GraphBuilder()
    with graph.as_default():
        graph.const(values, name="big")
    data = serialize(mx.make_saved_model([graph.to_meta_graph()]))
    (tmp_path / "saved_model.pb").write_bytes(data)
    facts = describe(tmp_path)
    assert facts.graphs[0].constant_bytes > values.nbytes
    assert_sizes_add_up(facts, len(data))
    from mexport_pb.messages.outline import read_outline

    outline = read_outline(tmp_path / "saved_model.pb")
    assert outline.graphs[0].meta_graph.ByteSize() < 1000
    assert run(capsys, tmp_path, "--tensor", "big").startswith("constant big: float32 [50000], min 0, max 49999, mean")
    assert len(run(capsys, tmp_path, "--node", "big")) > values.nbytes
    assert len(run(capsys, tmp_path, "--pbtxt")) > values.nbytes


def test_a_part_that_is_made_of_others():
    part = SizePart.of("all", [SizePart("a", 1), SizePart.of("b", [SizePart("c", 2), SizePart("d", 3)])])
    assert part.bytes == 6
    assert list(part.leaves()) == [(("all", "a"), 1), (("all", "b", "c"), 2), (("all", "b", "d"), 3)]
