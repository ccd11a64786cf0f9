"""An export is dumped in memory that does not grow with it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.messages import make_saved_model, serialize

pytestmark = pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")

MIB = 1 << 20
ALLOWED = 80 * MIB  # above what the imports take
ROWS, DIM = 200_000, 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Tables, variables and constants of about 100 MiB each."""
    path = tmp_path_factory.mktemp("model")
    values = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    ids = (np.arange(ROWS) % 100 << 48) + np.arange(ROWS)
    dump = mx.TableDump(ids, values, np.arange(ROWS), (mx.OptimizerState("adagrad", {"norm": values}),))
    (path / "assets").mkdir()
    mx.write_table(path / "assets" / "table", dump, 2)
    (path / "variables").mkdir()
    with mx.BundleWriter(path / "variables" / "variables") as bundle:
        for i in range(2):
            bundle.add(f"v{i}", values)
    graph = mx.GraphBuilder()
    with graph.as_default():
        for i in range(2):
            graph.const(values, name=f"c{i}")
    (path / "saved_model.pb").write_bytes(serialize(make_saved_model([graph.to_meta_graph()])))
    return path


def peak_growth(arguments):
    script = (
        "import sys, mexport_pb.cli as cli, mexport_pb.inspect.text, mexport_pb.inspect.html, numpy\n"
        "from tests.support.memory import peak_rss\nbefore = peak_rss()\n"
        f"status = cli.main({arguments!r})\nprint(peak_rss() - before, file=sys.stderr)\nsys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr), done.stdout


@pytest.mark.parametrize("form", [["--json"], ["--html"], []])
def test_all_of_a_model(form, model, tmp_path):
    total = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    assert total > 3 * ALLOWED
    arguments = ["dump", str(model), *form, *([str(tmp_path / "page.html")] if form == ["--html"] else [])]
    growth, out = peak_growth(arguments)
    assert growth < ALLOWED
    if form == ["--json"]:
        lines = [json.loads(line) for line in out.splitlines()]
        assert sum(line["bytes"] for line in lines if line["type"] == "size") == total
        assert [line["rows"] for line in lines if line["type"] == "table"] == [ROWS]
