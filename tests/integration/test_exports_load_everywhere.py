"""The main job: train, export in every way, load with every reader, compare with the training graph's predictions."""

import json
import subprocess
import sys

import numpy as np
import pytest

from demo.export import WAYS
from demo.params import HELD_OUT, Params
from demo.rival import export as export_with_tensorflow
from demo.train import train
from mexport_pb import check_saved_model
from tests.support import cpp_loader, openvino_loader, python_loader, saved_model_cli

pytestmark = pytest.mark.tensorflow

INPUTS = ("user", "item", "item_id")
OUTPUTS = ("logits", "score")
# Readers may fuse and reorder float32 arithmetic.
TOLERANCE = 1e-5

LOADERS = {"python": python_loader, "cpp": cpp_loader, "openvino": openvino_loader}


@pytest.fixture(scope="module", params=[1, 3], ids=["whole", "partitioned"])
def model_dir(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"train_{request.param}")
    report = train(folder, Params(embedding_rows=500, embedding_parts=request.param), steps=40)
    assert report["last_loss"] < report["first_loss"]
    return folder


@pytest.fixture(scope="module", params=sorted(WAYS))
def exported(request, model_dir, tmp_path_factory):
    return WAYS[request.param](model_dir, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def held_out(model_dir):
    return dict(np.load(model_dir / HELD_OUT))


@pytest.mark.parametrize("loader", LOADERS)
def test_predictions_are_those_of_the_training_graph(loader, exported, model_dir, held_out):
    if loader == "openvino" and Params.load(model_dir).embedding_parts > 1:
        pytest.skip("OpenVINO does not read partitioned variables, whoever wrote them")
    with LOADERS[loader].load(exported) as model:
        for size in (256, 1, 3):
            outputs = model.run("serving_default", {key: held_out[key][:size] for key in INPUTS})
            assert sorted(outputs) == sorted(OUTPUTS)
            for key in OUTPUTS:
                np.testing.assert_allclose(outputs[key], held_out[key][:size], rtol=0, atol=TOLERANCE)
    assert np.ptp(held_out["score"]) > 0.1, "the model has learnt nothing, so the comparison shows nothing"


def test_saved_model_cli_shows_and_runs_it(exported, held_out):
    text = saved_model_cli.show(exported)
    assert "signature_def['serving_default']" in text
    assert "inputs['item_id'] tensor_info:" in text
    assert "Method name is: tensorflow/serving/predict" in text
    _, outputs = saved_model_cli.run(exported, "serving_default", {key: held_out[key] for key in INPUTS})
    for key in OUTPUTS:
        np.testing.assert_allclose(outputs[key], held_out[key], rtol=0, atol=TOLERANCE)


def test_it_passes_its_own_check_and_ships_no_optimizer(exported):
    report = check_saved_model(exported)
    assert report.ok, report.errors
    assert report.tag_sets == [["serve"]]
    assert "serving_default" in report.signatures
    index = (exported / "variables" / "variables.index").read_bytes()
    assert b"Adam" not in index
    assert b"beta1_power" not in index
    assert b"Adam" not in (exported / "saved_model.pb").read_bytes()


def test_variables_are_byte_identical_to_those_of_tensorflows_builder(model_dir, tmp_path):
    export_with_tensorflow(model_dir, tmp_path / "rival")
    for way in ("builder", "traced"):
        ours = WAYS[way](model_dir, tmp_path / way)
        for name in ("variables.index", "variables.data-00000-of-00001"):
            rival = (tmp_path / "rival" / "variables" / name).read_bytes()
            assert (ours / "variables" / name).read_bytes() == rival, f"{way}: {name}"


def test_the_command_line_gives_the_same_model_as_the_library(model_dir, tmp_path, held_out):
    checkpoint = str(next(model_dir.glob("model.ckpt-*.meta"))).removesuffix(".meta")
    signature = "serving_default:user=user:0,item=item:0,item_id=item_id:0->logits=logits:0,score=score:0"
    command = [
        *(sys.executable, "-m", "mexport_pb", "export", "--json"),
        *("--meta-graph", f"{checkpoint}.meta", "--checkpoint", checkpoint),
        *("--base", str(tmp_path / "cli"), "--version", "global-step"),
        *("--signature", signature, "--signature", "only_score:user=user:0,item=item:0,item_id=item_id->score=score"),
        *("--validate", "restore"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["path"] == str(tmp_path / "cli" / "40")
    assert report["signatures"] == ["only_score", "serving_default"]
    with python_loader.load(tmp_path / "cli" / "40") as model:
        outputs = model.run("only_score", {key: held_out[key] for key in INPUTS})
    np.testing.assert_allclose(outputs["score"], held_out["score"], rtol=0, atol=TOLERANCE)
