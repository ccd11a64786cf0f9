"""The demo's model is trained, exported as TensorFlow does it, and read back by every loader."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from demo.measure import measure
from demo.params import HELD_OUT, Params, latest_checkpoint
from demo.tables.compare import compare as compare_tables
from demo.tables.export import WAYS as TABLE_WAYS, export as export_tables
from demo.tables.train import train as train_tables
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


def test_the_model_with_tables_gives_the_training_graphs_scores_full_and_slim(tmp_path):
    model_dir = tmp_path / "train"
    trained = train_tables(model_dir, steps=40)
    assert trained["last_loss"] < trained["first_loss"] - 0.05
    exports, ledgers = {}, []
    for way in TABLE_WAYS:
        path, ledgers = export_tables(way, model_dir, tmp_path / way, trained["time"])
        exports[way] = str(path)
    differences = compare_tables(model_dir, exports)
    assert {way for of_reader in differences.values() for way in of_reader} == {"full", "slim"}
    assert max(value for of_reader in differences.values() for value in of_reader.values()) <= 1e-5
    assert np.ptp(np.load(model_dir / HELD_OUT)["score"]) > 0.1, "nothing was learnt, so the comparison shows nothing"

    tables = {table.table: table for ledger in ledgers for table in ledger.tables}
    user, item = tables["MonolithHashTable_user"], tables["MonolithHashTable_item"]
    # The checkpoint has the users of the last week of training, the export those of a week that ends two days later.
    assert user.rows_read < trained["rows"][0]
    assert user.rows_dropped["expired"] > 0
    assert item.rows_dropped["zero"] > 0
    assert item.rows_dropped.get("expired", 0) == 0
    assert item.rows_read == trained["rows"][1]


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
