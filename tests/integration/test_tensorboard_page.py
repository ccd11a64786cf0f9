"""What TensorBoard itself makes of the events files: over HTTP, and on its graph page in a real headless Chromium."""

import importlib.util
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

import mexport_pb as mx
from tests.support.browser import open_browser, open_page

if importlib.util.find_spec("tensorboard") is None:
    pytest.skip("tensorboard is not installed", allow_module_level=True)

DEADLINE = 90  # seconds; it imports TensorFlow if that is there
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The runs of a distributed model."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for name in ("entry", "ps_0"):
        graph = mx.GraphBuilder()
        with graph.as_default():
            clicks = graph.placeholder("float32", [None, 2], name=f"clicks_{name}")
            graph.matmul(clicks, graph.placeholder("float32", [2, 1], name="weights"), name="ranker/score")
        meta_graph = mx.make_meta_graph_def(graph.to_graph_def(), tags=["serve"])
        mx.write_saved_model(meta_graph, folder / "ctr" / name / "17")
    mx.import_to_tensorboard(folder / "ctr", folder / "logs")
    return folder / "logs"


@pytest.fixture(scope="module")
def server(logs):
    """The address of a TensorBoard that has read them."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--host", "127.0.0.1", "--port", "0"]
    errors = logs.parent / "stderr"
    with errors.open("wb") as stderr:
        child = subprocess.Popen([*command, "--load_fast", "false"], stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        address = wait_for(child, errors, lambda: re.search(r"at (http://[\w.:\[\]]+)/ ", errors.read_text()))[1]
        wait_for(child, errors, lambda: set(ask(address, "info")) == {"entry", "ps_0"})
        yield address
    finally:
        child.terminate()
        child.wait(30)


def wait_for(child, errors, condition):
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert child.poll() is None, errors.read_text()
        assert time.monotonic() < deadline, errors.read_text()
        time.sleep(0.1)
    return found


def ask(address, what, **query):
    """What the graph plugin answers."""
    url = f"{address}/data/plugin/graphs/{what}?{urllib.parse.urlencode(query)}"
    with _DIRECT.open(url, timeout=30) as answer:
        text = answer.read().decode()
    return json.loads(text) if what == "info" else text


def test_runs_and_their_graphs(server):
    runs = ask(server, "info")
    assert all(run["run_graph"] for run in runs.values())
    for name in runs:
        found = re.findall(r'^ *name: "([^"]*)"$', ask(server, "graph", run=name), re.MULTILINE)
        assert found == [f"clicks_{name}", "weights", "ranker/score"]


def test_names_on_the_page(server):
    with open_browser() as browser, open_page(browser, f"{server}/#graphs") as page:
        for name in ("clicks_entry", "ranker"):
            # The label, not the tooltip of the same text, which is never visible.
            page.locator("svg text", has_text=name).first.wait_for(timeout=60_000)
