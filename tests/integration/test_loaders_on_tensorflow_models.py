"""The loaders that judge our exports are judged here on models that TensorFlow itself wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support import cpp_loader, openvino_loader, python_loader, saved_model_cli
from tests.support.loading import LoadError
from tests.support.tensorflow_models import Example, write_dense_model, write_vocabulary_model

pytestmark = pytest.mark.tensorflow

TENSORFLOW = [pytest.param(python_loader, id="python"), pytest.param(cpp_loader, id="cpp")]
ALL = [*TENSORFLOW, pytest.param(openvino_loader, id="openvino")]


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> tuple[Path, Example]:
    path = tmp_path_factory.mktemp("dense") / "1"
    return path, write_dense_model(path)


@pytest.fixture
def copy(dense, tmp_path) -> Path:
    return Path(shutil.copytree(dense[0], tmp_path / "copy"))


@pytest.mark.parametrize("loader", ALL)
def test_answers_as_the_graph_that_was_saved(loader, dense):
    path, example = dense
    with loader.load(path) as model:
        for _ in range(2):
            outputs = model.run("serving_default", example.inputs)
            assert outputs.keys() == example.outputs.keys()
            np.testing.assert_allclose(outputs["answer"], example.outputs["answer"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loader", ALL)
def test_batch_is_dynamic(loader, dense):
    path, example = dense
    with loader.load(path) as model:
        one = model.run("serving_default", {key: value[2:3] for key, value in example.inputs.items()})
    np.testing.assert_allclose(one["answer"], example.outputs["answer"][2:3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loader", TENSORFLOW)
def test_feeds_and_fetches_tensors_by_name(loader, dense):
    path, example = dense
    with loader.load(path) as model:
        bias = model.run(({}, {"bias": "bias/Read/ReadVariableOp:0", "kernel": "kernel/read:0"}), {})
        step = model.run(({}, {"step": "global_step/Read/ReadVariableOp:0", "assign": "bias/Assign"}), {})
        fed = model.run(
            ({"x": "x:0", "id": "id:0"}, {"y": "y:0"}),
            {
                "x": example.inputs["features"],
                "id": example.inputs["item"],
            },
        )
    assert bias["bias"].shape == (3,)
    assert bias["kernel"].dtype == np.float32
    assert step.keys() == {"step"}
    assert step["step"] == 0
    np.testing.assert_allclose(fed["y"], example.outputs["answer"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loader", TENSORFLOW)
def test_assets_main_op_and_strings(loader, tmp_path):
    vocabulary = tmp_path / "vocabulary.txt"
    example = write_vocabulary_model(tmp_path / "1", vocabulary)
    vocabulary.unlink()  # the copy under assets/ is the one to be read
    with loader.load(tmp_path / "1") as model:
        outputs = model.run("serving_default", example.inputs)
    np.testing.assert_array_equal(outputs["number"], example.outputs["number"])
    assert outputs["doubled"].tolist() == example.outputs["doubled"].tolist()


@pytest.mark.parametrize("loader", TENSORFLOW)
def test_partitioned_variables_are_restored(loader, tmp_path):
    example = write_dense_model(tmp_path / "1", partitions=3)
    with loader.load(tmp_path / "1") as model:
        outputs = model.run("serving_default", example.inputs)
    np.testing.assert_allclose(outputs["answer"], example.outputs["answer"], rtol=1e-5, atol=1e-6)


def test_openvino_refuses_partitioned_variables(tmp_path):
    write_dense_model(tmp_path / "1", partitions=3)
    with pytest.raises(LoadError, match="data size isn't equal"):
        openvino_loader.load(tmp_path / "1")


@pytest.mark.parametrize(
    ("loader", "code", "message"),
    [
        pytest.param(python_loader, "NOT_FOUND", "variables.data-00000-of-00001", id="python"),
        pytest.param(cpp_loader, "NOT_FOUND", "variables.data-00000-of-00001", id="cpp"),
        pytest.param(openvino_loader, "RuntimeError", "variables.data-00000-of-00001", id="openvino"),
    ],
)
def test_missing_data_file(loader, code, message, copy):
    (copy / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(LoadError, match=message) as failure:
        loader.load(copy)
    assert failure.value.code == code


@pytest.mark.parametrize("loader", TENSORFLOW)
@pytest.mark.parametrize(
    ("name", "message"), [("variables.data-00000-of-00001", "Checksum does not match"), ("variables.index", "checksum")]
)
def test_flipped_byte(loader, name, message, copy):
    file = copy / "variables" / name
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    with pytest.raises(LoadError, match=message) as failure:
        loader.load(copy)
    assert failure.value.code == "DATA_LOSS"


def test_openvino_verifies_no_checksum(copy, dense):
    """Were this to fail, OpenVINO could judge the checksums of our exports too."""
    file = copy / "variables" / "variables.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    for at in range(3, len(data), 4):
        data[at] ^= 0x80
    file.write_bytes(data)
    with openvino_loader.load(copy) as model:
        outputs = model.run("serving_default", dense[1].inputs)
    assert not np.allclose(outputs["answer"], dense[1].outputs["answer"])


@pytest.mark.parametrize(
    ("loader", "code"),
    [
        pytest.param(python_loader, "OSError", id="python"),
        pytest.param(cpp_loader, "OUT_OF_RANGE", id="cpp"),
        pytest.param(openvino_loader, "RuntimeError", id="openvino"),
    ],
)
def test_truncated_graph(loader, code, copy):
    file = copy / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(LoadError) as failure:
        loader.load(copy)
    assert failure.value.code == code


@pytest.mark.parametrize(
    ("loader", "code"),
    [
        pytest.param(python_loader, "RuntimeError", id="python"),
        pytest.param(cpp_loader, "NOT_FOUND", id="cpp"),
        pytest.param(openvino_loader, "NOT_FOUND", id="openvino"),
    ],
)
def test_unknown_tags(loader, code, dense):
    with pytest.raises(LoadError, match="tags") as failure:
        loader.load(dense[0], {"serve", "gpu"})
    assert failure.value.code == code


@pytest.mark.parametrize("loader", ALL)
def test_wrong_requests(loader, dense):
    path, example = dense
    with loader.load(path) as model:
        with pytest.raises(LoadError, match="no signature 'other'"):
            model.run("other", {})
        with pytest.raises(LoadError, match=r"got \['features'\], want \['features', 'item'\]"):
            model.run("serving_default", {"features": example.inputs["features"]})
        with pytest.raises(LoadError):
            model.run("serving_default", {**example.inputs, "features": np.zeros((6, 5), np.float32)})


@pytest.mark.parametrize("loader", TENSORFLOW)
def test_an_id_beyond_the_table_is_an_error(loader, dense):
    path, example = dense
    with loader.load(path) as model, pytest.raises(LoadError, match="not in"):
        model.run("serving_default", {**example.inputs, "item": np.full(6, 10)})


def test_saved_model_cli_shows_and_runs(dense):
    path, example = dense
    text = saved_model_cli.show(path)
    assert "signature_def['serving_default']" in text
    assert "name: id:0" in text
    assert "tensorflow/serving/predict" in text
    text, outputs = saved_model_cli.run(path, "serving_default", example.inputs)
    assert "Result for output key answer" in text
    np.testing.assert_allclose(outputs["answer"], example.outputs["answer"], rtol=1e-5, atol=1e-6)


def test_saved_model_cli_reports_failures(copy, dense):
    (copy / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(LoadError, match=r"variables\.data-00000-of-00001") as failure:
        saved_model_cli.run(copy, "serving_default", dense[1].inputs)
    assert failure.value.code == "EXIT_1"
