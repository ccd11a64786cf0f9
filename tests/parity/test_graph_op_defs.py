"""The table of op signatures is TensorFlow's."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from tensorflow.python.framework import op_def_registry

from mexport_pb._proto.graph_pb2 import OpDef
from mexport_pb.graph import op_def
from mexport_pb.messages.op_defs import known_ops

pytestmark = pytest.mark.tensorflow

SCRIPT = Path(__file__).parents[2] / "scripts" / "generate_op_defs.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("generate_op_defs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_the_script_writes(script, monkeypatch, tmp_path, capsys):
    assert script.main(["--check"]) == 0
    other = tmp_path / "op_defs.pbtxt"
    monkeypatch.setattr(script, "TARGET", other)
    assert script.main(["--check"]) == 1
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    other.write_text(other.read_text().replace('name: "Abs"', 'name: "Abz"'))
    assert script.main(["--check"]) == 1
    assert "differs" in capsys.readouterr().err


def test_every_op_equals_the_registered_one():
    assert len(known_ops()) > 300
    for name in known_ops():
        registered = OpDef.FromString(op_def_registry.get(name).SerializeToString())
        assert op_def(name) == registered, name


def test_unknown_ops_are_unknown():
    assert op_def("NoSuchOp") is None


def test_the_table_is_fast_to_ask():
    start = time.perf_counter()
    for name in known_ops():
        assert op_def(name).name == name
    assert time.perf_counter() - start < 5
