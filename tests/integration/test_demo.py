"""The demo's model is trained, exported as TensorFlow does it, and read back by every loader."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from demo.distributed.run import run as run_distributed
from demo.measure import measure
from demo.params import HELD_OUT, Params, latest_checkpoint
from demo.tables.run import run as run_tables
from tests.support import cpp_loader, openvino_loader, python_loader

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module", params=[1, 3], ids=["one-part", "three-parts"])
def trained(request, tmp_path_factory) -> tuple[int, Path]:
    model_dir = tmp_path_factory.mktemp("model")
    cost, text = measure(
        [
            *(sys.executable, "-m", "demo.train", "--model-dir", str(model_dir)),
            *("--embedding-parts", str(request.param), "--steps", "60"),
        ]
    )
    assert cost.exit_code == 0
    report = json.loads(text)
    assert report["last_loss"] < report["first_loss"] - 0.1
    assert report["checkpoint"] == str(latest_checkpoint(model_dir)) == str(model_dir / "model.ckpt-60")
    assert Params.load(model_dir).embedding_parts == request.param
    return request.param, model_dir


def test_rival_exports_what_was_trained(trained, tmp_path):
    parts, model_dir = trained
    cost, text = measure(
        [
            *(sys.executable, "-m", "demo.rival"),
            *("--model-dir", str(model_dir), "--export-base", str(tmp_path)),
        ]
    )
    assert cost.exit_code == 0
    report = json.loads(text)
    assert report["export_seconds"] + report["import_seconds"] < report["process_seconds"] < cost.wall_seconds
    assert report["peak_rss_mib"] == pytest.approx(cost.peak_rss_mib, rel=0.1)
    held_out = dict(np.load(model_dir / HELD_OUT))
    for loader in (python_loader, cpp_loader, *([openvino_loader] if parts == 1 else [])):
        with loader.load(report["path"]) as model:
            outputs = model.run("serving_default", {key: held_out[key] for key in ("user", "item", "item_id")})
        for key in ("logits", "score"):
            np.testing.assert_allclose(outputs[key], held_out[key], rtol=1e-5, atol=1e-5, err_msg=loader.__name__)


def test_the_model_with_tables_gives_the_training_graphs_scores_full_and_slim(tmp_path, capfd):
    assert run_tables(tmp_path) <= 1e-5
    assert np.ptp(np.load(tmp_path / "train" / HELD_OUT)["score"]) > 0.1, "nothing was learnt, so nothing is shown"
    text = capfd.readouterr().out
    losses = re.search(r"loss ([0-9.]+) -> ([0-9.]+); (\d+) rows of user, (\d+) rows of item", text)
    assert float(losses[2]) < float(losses[1]) - 0.05
    lines = re.findall(r"^  (\S+(?: \w+)?) +((?:\d+ *){4})$", text, re.MULTILINE)
    ledger = {name: [int(count) for count in counts.split()] for name, counts in lines}
    assert all(read == sum(parts) for read, *parts in ledger.values())
    read, _, zero, expired = ledger["MonolithHashTable_user"]
    # The checkpoint has the users of the last week of training, the export those of a week that ends two days later.
    assert 0 < read < int(losses[3])
    assert expired > 0 == zero
    read, _, zero, expired = ledger["MonolithHashTable_item"]
    assert read == int(losses[4])
    assert zero > 0 == expired
    assert {"MonolithMultiHashTable_: ad", "MonolithMultiHashTable_: site"} < ledger.keys()
    full, slim = (float(re.search(rf"^  {way} +([0-9.]+) MiB", text, re.MULTILINE)[1]) for way in ("full", "slim"))
    assert slim < full / 2


def test_columns_are_those_of_the_partitioner():
    assert Params(embedding_parts=3).columns() == [(0, 6), (6, 5), (11, 5)]
    assert Params(embedding_parts=1).columns() == [(0, 16)]


def test_measure_does_not_count_what_its_caller_holds():
    ballast = np.ones(200 << 20, np.uint8)
    cost, text = measure([sys.executable, "-S", "-c", "print('done'); raise SystemExit(3)"])
    assert (text, cost.exit_code) == ("done\n", 3)
    assert cost.peak_rss_mib < 100
    assert 0 < cost.wall_seconds < 60
    del ballast


def test_the_model_on_parameter_servers_gives_the_training_graphs_predictions_whole_and_in_parts(tmp_path, capfd):
    assert run_distributed(tmp_path) == 0
    said = capfd.readouterr().out
    assert all(f"calls of ps_{i}: 1, failed: 0" in said for i in range(5))
