"""The room that runs TensorFlow: what it traces equals what TensorFlow saves, and what it executes fails out loud."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from demo.model import model_fn, serving_features
from mexport_pb._proto import saved_model_pb2, tensor_pb2
from mexport_pb.errors import InvalidArgumentError, MexportError, UnsupportedError, ValidationError
from mexport_pb.runtime import TensorFlowSource, execute_restore
from tests.support.tensorflow_models import Example, write_dense_model, write_vocabulary_model

pytestmark = pytest.mark.tensorflow

v1 = tf.compat.v1
source = TensorFlowSource()


@pytest.fixture
def graph():
    graph = source.new_graph()
    with source.as_default(graph):
        yield graph


def _save_with_builder(graph: tf.Graph, export_dir: Path, **options) -> saved_model_pb2.MetaGraphDef:
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(export_dir))
        builder.add_meta_graph_and_variables(session, ["serve"], strip_default_attrs=False, **options)
        builder.save()
    return saved_model_pb2.SavedModel.FromString((export_dir / "saved_model.pb").read_bytes()).meta_graphs[0]


class TestToMetaGraph:
    def test_equals_what_the_builder_saves(self, graph, tmp_path):
        """Save first, so that the graph holds the saver's nodes, and then trace the same graph."""
        model_fn(serving_features(), "infer")
        v1.add_to_collection("words", "text")
        v1.add_to_collection("numbers", 7)
        v1.add_to_collection("tensors", graph.get_tensor_by_name("x0:0"))
        doubled = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec([], tf.float32)])
        tf.identity(doubled(tf.constant(1.0)), name="result_of_a_function")
        main_op = tf.no_op(name="main_op")
        want = _save_with_builder(graph, tmp_path / "1", main_op=main_op)
        assert want.saver_def.restore_op_name
        want.ClearField("saver_def")
        del want.meta_info_def.tags[:]
        got = source.to_meta_graph(graph)
        assert {n.op for n in got.graph_def.node} >= {"VariableV2", "VarHandleOp", "RestoreV2"}
        assert got.meta_info_def.stripped_op_list.op
        assert got.meta_info_def.tensorflow_version == tf.version.VERSION
        assert got.graph_def.library.function
        assert set(got.collection_def) > {"variables", "trainable_variables", "saved_model_main_op", "words", "tensors"}
        assert got.SerializeToString(deterministic=True) == want.SerializeToString(deterministic=True)

    def test_default_attributes_devices_and_shapes_stay(self, graph):
        with tf.device("/cpu:0"):
            v1.placeholder(tf.float32, [None, 3], name="x")
            tf.matmul(graph.get_tensor_by_name("x:0"), tf.zeros([3, 2]), name="y")
        nodes = {node.name: node for node in source.to_meta_graph(graph).graph_def.node}
        assert nodes["y"].attr["transpose_a"].WhichOneof("value") == "b"
        assert nodes["y"].device == "/device:CPU:0"
        (shape,) = nodes["y"].attr["_output_shapes"].list.shape
        assert [d.size for d in shape.dim] == [-1, 2]

    def test_leaves_the_graph_as_it_was(self, graph):
        model_fn(serving_features(), "infer")
        before = graph.as_graph_def().SerializeToString(deterministic=True)
        keys = graph.get_all_collection_keys()
        first = source.to_meta_graph(graph)
        assert source.to_meta_graph(graph) == first
        assert graph.as_graph_def().SerializeToString(deterministic=True) == before
        assert graph.get_all_collection_keys() == keys

    def test_a_graph_that_tensorflow_cannot_serialize(self, graph, monkeypatch):
        def refuse(**_):
            raise ValueError("GraphDef cannot be larger than 2GB.")

        monkeypatch.setattr(graph, "as_graph_def", refuse)
        with pytest.raises(UnsupportedError, match="larger than 2GB"):
            source.to_meta_graph(graph)

    def test_wants_a_graph(self):
        with pytest.raises(InvalidArgumentError, match=r"got str, want a tf\.Graph"):
            source.to_meta_graph("graph")


class TestTensorInfo:
    def test_dense(self, graph):
        info = source.tensor_info(v1.placeholder(tf.int64, [None, 2], name="x"))
        assert (info.name, info.dtype) == ("x:0", tensor_pb2.DT_INT64)
        assert [d.size for d in info.tensor_shape.dim] == [-1, 2]
        assert source.tensor_info(v1.placeholder(tf.string)).tensor_shape.unknown_rank

    @pytest.mark.parametrize(("resource", "name"), [(True, "v/Read/ReadVariableOp:0"), (False, "v/read:0")])
    def test_variable_stands_for_its_value(self, graph, resource, name):
        variable = v1.get_variable("v", initializer=np.arange(2.0, dtype=np.float32), use_resource=resource)
        info = source.tensor_info(variable)
        assert (info.name, info.dtype) == (name, tensor_pb2.DT_FLOAT)
        assert [d.size for d in info.tensor_shape.dim] == [2]
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            assert session.run(info.name).tolist() == [0.0, 1.0]

    def test_sparse_and_ragged(self, graph):
        sparse = source.tensor_info(v1.sparse_placeholder(tf.float32, [None, 3], name="s"))
        assert sparse.coo_sparse.values_tensor_name.startswith("s")
        ragged = source.tensor_info(v1.ragged.placeholder(tf.float32, 1, name="r"))
        assert [c.dtype for c in ragged.composite_tensor.components] == [tensor_pb2.DT_FLOAT, tensor_pb2.DT_INT64]

    @pytest.mark.parametrize("value", [np.ones(2), "x:0", 1, None, saved_model_pb2.TensorInfo()])
    def test_refuses_what_is_no_tensor(self, value):
        assert not source.is_tensor(value)
        with pytest.raises(InvalidArgumentError, match=r"want a tensor of a tf\.Graph"):
            source.tensor_info(value)

    @pytest.mark.parametrize("make", [tf.constant, tf.Variable])
    def test_refuses_eager_values(self, make):
        with pytest.raises(InvalidArgumentError, match=r"not a tensor of a tf\.Graph"):
            source.tensor_info(make(1.0))


def test_is_tensor(graph):
    for value in (tf.constant(1), v1.get_variable("r", [1]), v1.get_variable("f", [1], use_resource=False)):
        assert source.is_tensor(value)
    assert source.is_tensor(v1.sparse_placeholder(tf.float32))


def test_global_step_and_collections():
    graph = source.new_graph()
    step = source.create_global_step(graph)
    assert source.create_global_step(graph) is step
    assert source.get_collection(graph, "global_step") == [step]
    assert source.get_collection(graph, "nothing") == []
    assert [v.variable_name for v in _variables(source.to_meta_graph(graph), "global_step")] == ["global_step:0"]
    assert not v1.get_default_graph().get_operations()


def _variables(meta_graph, collection):
    from tensorflow.core.framework.variable_pb2 import VariableDef

    return [VariableDef.FromString(data) for data in meta_graph.collection_def[collection].bytes_list.value]


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> tuple[Path, Example]:
    path = tmp_path_factory.mktemp("dense") / "1"
    return path, write_dense_model(path)


@pytest.fixture
def copy(dense, tmp_path) -> Path:
    return Path(shutil.copytree(dense[0], tmp_path / "copy"))


class TestExecuteRestore:
    def test_restores(self, dense):
        assert execute_restore(dense[0]) is None

    def test_runs_a_signature(self, dense):
        path, example = dense
        outputs = execute_restore(path, {"serve"}, signature="serving_default", feeds=example.inputs)
        assert outputs is not None
        np.testing.assert_allclose(outputs["answer"], example.outputs["answer"], rtol=1e-5, atol=1e-6)

    def test_converts_lists(self, dense):
        feeds = {"features": [[1, 2, 3, 4]], "item": [1]}
        outputs = execute_restore(dense[0], signature="serving_default", feeds=feeds)
        assert outputs is not None
        assert outputs["answer"].shape == (1, 3)

    def test_runs_the_main_op_with_assets(self, tmp_path):
        example = write_vocabulary_model(tmp_path / "1", tmp_path / "vocabulary.txt")
        (tmp_path / "vocabulary.txt").unlink()
        outputs = execute_restore(tmp_path / "1", signature="serving_default", feeds=example.inputs)
        assert outputs is not None
        assert outputs["number"].tolist() == [0, 1, -1]
        assert outputs["doubled"].tolist() == example.outputs["doubled"].tolist()

    def test_leaves_no_state(self, dense):
        with tf.Graph().as_default() as graph:
            execute_restore(dense[0])
            assert v1.get_default_graph() is graph
            assert not graph.get_operations()
        assert v1.get_default_session() is None
        assert tf.executing_eagerly()

    @pytest.mark.parametrize(
        ("name", "damage", "message"),
        [
            ("variables/variables.data-00000-of-00001", None, r"data-00000-of-00001; No such file.*save/RestoreV2\)$"),
            ("variables/variables.data-00000-of-00001", 20, r"shard 0 .*: Checksum does not match"),
            ("variables/variables.index", None, r"not a valid checkpoint"),
            ("variables/variables.index", 20, r"variables\.index.*checksum mismatch"),
            ("saved_model.pb", None, r"does not exist"),
            ("saved_model.pb", 0, r"Cannot parse file"),
        ],
    )
    def test_damaged_export(self, name, damage, message, copy):
        file = copy / name
        if damage is None:
            file.unlink()
        else:
            data = bytearray(file.read_bytes())
            data[damage] ^= 1
            file.write_bytes(data)
        with pytest.raises(ValidationError, match=message) as failure:
            execute_restore(copy)
        assert str(failure.value).startswith(f"{copy}: ")
        assert "\n" not in str(failure.value)
        assert "most likely" not in str(failure.value)
        assert failure.value.__cause__ is not None

    def test_key_that_is_not_in_the_bundle(self, copy):
        file = copy / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        (names,) = (n for n in model.meta_graphs[0].graph_def.node if n.name == "save/RestoreV2/tensor_names")
        names.attr["value"].tensor.string_val[0] = b"absent"
        file.write_bytes(model.SerializeToString())
        with pytest.raises(ValidationError, match=r"cannot load it: Key absent not found in checkpoint"):
            execute_restore(copy)

    def test_a_long_message_is_cut(self, copy):
        file = copy / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        model.meta_graphs[0].graph_def.node[-1].op = "No" * 2000
        file.write_bytes(model.SerializeToString())
        with pytest.raises(ValidationError, match="Op type not registered 'NoNo") as failure:
            execute_restore(copy)
        assert len(str(failure.value)) < len(str(copy)) + 800

    def test_unknown_tags(self, dense):
        with pytest.raises(ValidationError, match="tags 'other'"):
            execute_restore(dense[0], ["other"])

    def test_request_that_fails(self, dense):
        feeds = {**dense[1].inputs, "item": np.full(6, 99)}
        with pytest.raises(ValidationError, match=r"'serving_default' failed: indices\[0\] = 99 is not in \[0, 10\)"):
            execute_restore(dense[0], signature="serving_default", feeds=feeds)

    @pytest.mark.parametrize(
        ("signature", "feeds", "message"),
        [
            ("other", {}, r"signature: got 'other', want one of \['serving_default'\]"),
            ("serving_default", {"item": [1]}, r"inputs: got \['item'\], want \['features', 'item'\]"),
            ("serving_default", {"item": [1], "features": np.ones((1, 4))}, "'features': got float64, want float32"),
            ("serving_default", {"item": [1], "features": [[1, 2, 3, 4], [1]]}, "'features': .*inhomogeneous"),
            (None, {"item": [1]}, "feeds without a signature"),
        ],
    )
    def test_wrong_requests(self, signature, feeds, message, dense):
        with pytest.raises(InvalidArgumentError, match=message):
            execute_restore(dense[0], signature=signature, feeds=feeds)

    def test_sparse_signature(self, copy):
        file = copy / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        info = model.meta_graphs[0].signature_def["serving_default"].inputs["features"]
        info.coo_sparse.values_tensor_name = "x:0"
        file.write_bytes(model.SerializeToString())
        with pytest.raises(UnsupportedError, match="'features' is sparse or ragged"):
            execute_restore(copy, signature="serving_default", feeds={"features": [[0] * 4], "item": [0]})


def test_importing_the_room_loads_no_tensorflow():
    code = "import sys, mexport_pb.runtime as r; r.TensorFlowSource(); print('tensorflow' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "reason"), [("tensorflow", "tensorflow is not installed"), ("libx", "tensorflow is not usable")]
)
def test_without_tensorflow(monkeypatch, name, reason):
    class Refuse:
        @staticmethod
        def find_spec(fullname, path=None, target=None):
            if fullname == "tensorflow":
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setattr(sys, "meta_path", [Refuse, *sys.meta_path])
    for use in (source.new_graph, lambda: execute_restore("x"), lambda: source.is_tensor(1)):
        with pytest.raises(MexportError, match=reason) as failure:
            use()
        assert "mexport-pb[tensorflow]" in str(failure.value)
