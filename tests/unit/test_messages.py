"""The builders without TensorFlow: fields, orders, and refused arguments."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings, strategies as st

from mexport_pb import messages as mm
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.example_pb2 import Example
from mexport_pb._proto.graph_pb2 import AttrValue, GraphDef, NameAttrList, NodeDef, OpDef, OpList
from mexport_pb._proto.saved_model_pb2 import AssetFileDef, MetaGraphDef, SavedModel, TensorInfo
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb._proto.serving_pb2 import PredictionLog, PredictRequest, PredictResponse
from mexport_pb._proto.tensor_pb2 import TensorProto, TensorShapeProto
from mexport_pb.errors import InvalidArgumentError, SavedModelError, UnsupportedError
from mexport_pb.messages import wire


class Shaped:
    def __init__(self, sizes):
        self.sizes = sizes

    def as_list(self):
        return self.sizes


class Tensor:
    name = "t:0"
    dtype = np.float32
    shape = (2, None)


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        (None, None),
        ([], []),
        ((2, None, -1), [2, None, None]),
        (np.array([2, 3]), [2, 3]),
        (Shaped([1, None]), [1, None]),
        (TensorShapeProto(unknown_rank=True), None),
        (mm.make_tensor_shape([4]), [4]),
    ],
)
def test_shapes(shape, want):
    assert mm.shape_to_list(mm.make_tensor_shape(shape)) == want


def test_shape_bytes():
    assert mm.serialize(mm.make_tensor_shape([3, None])) == bytes.fromhex("12020803 120b08 ffffffffffffffffff01")
    assert mm.serialize(mm.make_tensor_shape(None)) == b"\x18\x01"


@pytest.mark.parametrize("shape", [3, "23", b"2", [1.5], ["a"], [-2], [2**63], [[1]], TensorProto()])
def test_refused_shapes(shape):
    with pytest.raises(InvalidArgumentError):
        mm.make_tensor_shape(shape)


def test_attr_values():
    assert mm.make_attr_value("ü", "string").s == "ü".encode()
    assert mm.make_attr_value(b"\xff", "string").s == b"\xff"
    assert mm.make_attr_value(np.int64(3), "int").i == 3
    assert mm.make_attr_value(3, "float").f == 3.0
    assert mm.make_attr_value(np.bool_(True), "bool").b is True
    assert mm.make_attr_value(np.float16, "type").type == tensor_pb2.DT_HALF
    assert mm.make_attr_value([1, None], "shape").shape.dim[1].size == -1
    assert mm.make_attr_value(1.5, "tensor").tensor.float_val == [1.5]
    assert mm.make_attr_value(NameAttrList(name="f"), "func").func.name == "f"
    assert mm.make_attr_value("T", "placeholder").placeholder == "T"
    assert mm.make_attr_value((1, 2), "list(int)").list.i == [1, 2]
    assert mm.make_attr_value(["a"], "list(string)").list.s == [b"a"]
    assert mm.make_attr_value([[1], None], "list(shape)").list.shape[1].unknown_rank
    assert mm.make_attr_value([], "list(type)").WhichOneof("value") == "list"
    assert mm.make_attr_value(0, "int").WhichOneof("value") == "i"
    assert mm.make_attr_value(AttrValue(i=3), "whatever").i == 3


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "string"),
        ("1", "int"),
        (True, "int"),
        (2**63, "int"),
        (1.0, "int"),
        ("1", "float"),
        (True, "float"),
        (1, "bool"),
        ("nothing", "type"),
        (3, "shape"),
        (object(), "tensor"),
        (3, "func"),
        (GraphDef(), "func"),
        ("ab", "list(string)"),
        (1, "list(int)"),
        ([1, "a"], "list(int)"),
        (1, "integer"),
        ([1], "list(integer)"),
        ([1], "list(int"),
        ([1], "int)"),
        ([1], "list(list(int))"),
        ([1], ""),
    ],
)
def test_refused_attr_values(value, kind):
    with pytest.raises(InvalidArgumentError):
        mm.make_attr_value(value, kind)


def test_node_def():
    node = mm.make_node_def("MatMul", "m", ["a", "b:1", "^c"], "/cpu:0", {"T": mm.make_attr_value("float32", "type")})
    assert mm.serialize(node) == (
        b'\n\x01m\x12\x06MatMul\x1a\x01a\x1a\x03b:1\x1a\x02^c"\x06/cpu:0*\x07\n\x01T\x12\x020\x01'
    )


@pytest.mark.parametrize(
    "arguments", [("Op", "n", "ab"), ("Op", 3), (None, 3), ("Op", "n", [1]), ("Op", "n", [], None, {"a": GraphDef()})]
)
def test_refused_nodes(arguments):
    with pytest.raises(InvalidArgumentError):
        mm.make_node_def(*arguments)


def test_tensor_info():
    info = mm.make_tensor_info("x:0", "float32", [None, 2])
    assert (info.name, info.dtype, mm.shape_to_list(info.tensor_shape)) == ("x:0", 1, [None, 2])
    copy = mm.make_tensor_info(info)
    assert copy == info
    assert copy is not info
    assert mm.make_tensor_info(Tensor()) == mm.make_tensor_info("t:0", "float32", [2, None])
    for arguments in (("x:0",), (info, "int32"), (3,), (b"x:0",), (Tensor, "int32", [])):
        with pytest.raises(InvalidArgumentError):
            mm.make_tensor_info(*arguments)


def test_signature_def():
    signature = mm.make_signature_def({"b": Tensor(), "a": mm.make_tensor_info("a:0", "string", [])}, {"y": Tensor()})
    assert sorted(signature.inputs) == ["a", "b"]
    assert signature.outputs["y"].name == "t:0"
    assert signature.method_name == "tensorflow/serving/predict"
    assert mm.serialize(mm.make_signature_def(method_name="")) == b""


def test_init_op_signature_bytes():
    key = b"__saved_model_init_op"
    info = b"\n\x04init\x1a\x02\x18\x01"
    entry = b"\n\x15" + key + b"\x12" + bytes([len(info)]) + info
    assert mm.serialize(mm.make_init_op_signature("init")) == b"\x12" + bytes([len(entry)]) + entry


def test_assets():
    asset = mm.make_asset_file_def("asset:0", "vocab.txt")
    packed = mm.pack_asset_file_def(asset)
    assert packed.type_url == "type.googleapis.com/tensorflow.AssetFileDef"
    assert packed.value == b"\n\x09\n\x07asset:0\x12\x09vocab.txt"
    assert mm.unpack_asset_file_def(packed) == asset
    packed.type_url = "my.registry/x/tensorflow.AssetFileDef"
    assert mm.unpack_asset_file_def(packed) == asset
    with pytest.raises(SavedModelError, match=r"not an asset: got type 'x/tensorflow\.GraphDef'"):
        mm.unpack_asset_file_def(Any(type_url="x/tensorflow.GraphDef"))
    with pytest.raises(SavedModelError, match="not a AssetFileDef in 1 bytes"):
        mm.unpack_asset_file_def(Any(type_url=packed.type_url, value=b"\xff"))


def test_collections():
    assert mm.make_node_list(["a", "b:0"]).node_list.value == ["a", "b:0"]
    assert mm.make_bytes_list([b"\xff", "ü", NodeDef(name="a")]).bytes_list.value == [b"\xff", "ü".encode(), b"\n\x01a"]
    assert mm.make_int64_list([1, -1]).int64_list.value == [1, -1]
    assert mm.make_float_list([0.5]).float_list.value == [0.5]
    assert mm.make_any_list([Any(type_url="u")]).any_list.value[0].type_url == "u"
    for make, kind in (
        (mm.make_node_list, "node_list"),
        (mm.make_bytes_list, "bytes_list"),
        (mm.make_int64_list, "int64_list"),
        (mm.make_float_list, "float_list"),
        (mm.make_any_list, "any_list"),
    ):
        assert make([]).WhichOneof("kind") == kind


def test_meta_graph_and_saved_model():
    graph = GraphDef(node=[NodeDef(name="a", op="NoOp")])
    meta_graph = mm.make_meta_graph_def(
        graph,
        tags=["serve", "gpu"],
        signatures={"s": mm.make_signature_def()},
        collections={"c": mm.make_int64_list([1])},
        op_list=OpList(op=[OpDef(name="b"), OpDef(name="a")]),
        saver_def=SaverDef(restore_op_name="r"),
        tensorflow_version="2.21.0",
        git_version="v2",
        stripped_default_attrs=True,
    )
    info = meta_graph.meta_info_def
    assert info.tags == ["serve", "gpu"]
    assert [op.name for op in info.stripped_op_list.op] == ["a", "b"]
    assert (info.tensorflow_version, info.tensorflow_git_version, info.stripped_default_attrs) == ("2.21.0", "v2", True)
    assert meta_graph.saver_def.restore_op_name == "r"
    graph.node[0].name = "changed"
    assert meta_graph.graph_def.node[0].name == "a"
    saved_model = mm.make_saved_model([meta_graph, meta_graph])
    assert saved_model.saved_model_schema_version == 1
    assert saved_model.meta_graphs[1] == meta_graph


def test_empty_meta_graph_bytes():
    """Sub-messages that were not given are not written; the graph always is."""
    assert mm.serialize(mm.make_meta_graph_def(GraphDef(), tags=[])) == b"\n\x00\x12\x00"


def test_refused_meta_graphs():
    with pytest.raises(InvalidArgumentError, match="tags: got 'serve'"):
        mm.make_meta_graph_def(GraphDef(), tags="serve")
    with pytest.raises(
        InvalidArgumentError, match=r"got mexport\.tensorflow\.NodeDef, want mexport\.tensorflow\.GraphDef"
    ):
        mm.make_meta_graph_def(NodeDef(), tags=[])


# --- wire ---


def make_foreign_node(label):
    """A NodeDef of another package, of proto2, with a field "title" in the place of "name"."""
    file = descriptor_pb2.FileDescriptorProto(name=f"other{label}.proto", package="other", syntax="proto2")
    message = file.message_type.add(name="NodeDef")
    message.field.add(name="title", number=1, type=FieldDescriptor.TYPE_STRING, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("other.NodeDef"))()


def test_messages_of_another_package_are_taken_by_their_bytes():
    other = make_foreign_node(FieldDescriptor.LABEL_OPTIONAL)
    other.title = "n"
    assert mm.to_message(other, NodeDef) == NodeDef(name="n")


def test_foreign_messages_without_a_required_field_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"^other\.NodeDef cannot be serialised: "):
        mm.to_message(make_foreign_node(FieldDescriptor.LABEL_REQUIRED), NodeDef)


def test_to_message():
    node = NodeDef(name="n")
    assert mm.to_message(node, NodeDef) == node
    assert mm.to_message(node, NodeDef) is not node
    assert mm.to_message(node.SerializeToString(), NodeDef) == node
    assert mm.to_message(memoryview(node.SerializeToString()), NodeDef) == node
    with pytest.raises(InvalidArgumentError, match="wrong kind of message"):
        mm.to_message(node, GraphDef)
    with pytest.raises(InvalidArgumentError, match="not a message: got str"):
        mm.to_message("n", NodeDef)
    with pytest.raises(SavedModelError):
        mm.to_message(b"\xff", NodeDef)


SHUFFLED = """
import random, sys
from mexport_pb import messages as mm
names = [f"k{i}" for i in range(50)]
random.Random(sys.argv[1]).shuffle(names)
attrs = {name: mm.make_attr_value(name, "string") for name in names}
print(mm.serialize(mm.make_node_def("Op", "n", attrs=attrs)).hex())
"""


def test_serialisation_does_not_depend_on_order_or_hash_seed():
    printed = {
        subprocess.run(
            [sys.executable, "-c", SHUFFLED, seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in "012"
    }
    assert len(printed) == 1


def test_a_message_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(wire, "MAX_MESSAGE_BYTES", 10)
    assert wire.serialize(NodeDef(name="12345678")) == b"\n\x0812345678"
    with pytest.raises(
        InvalidArgumentError, match=r"^mexport\.tensorflow\.NodeDef is too large: got 11 bytes or more, want <= 10$"
    ):
        wire.serialize(NodeDef(name="123456789"))


def test_parse_names_the_path():
    with pytest.raises(SavedModelError, match=r"^/a/b: not a NodeDef in 1 bytes: ") as failure:
        mm.parse(NodeDef, b"\xff", "/a/b")
    assert failure.value.path == "/a/b"


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_parse_raises_nothing_else(data):
    with contextlib.suppress(SavedModelError):
        mm.parse(SavedModel, data)


# --- text ---

ASSET_TEXT = """\
collection_def {
  key: "saved_model_assets"
  value {
    any_list {
      value {
        [type.googleapis.com/tensorflow.AssetFileDef] {
          tensor_info {
            name: "asset:0"
          }
          filename: "vocab.txt"
        }
      }
    }
  }
}
"""


def make_asset_graph():
    packed = mm.pack_asset_file_def(mm.make_asset_file_def("asset:0", "vocab.txt"))
    return MetaGraphDef(collection_def={"saved_model_assets": mm.make_any_list([packed])})


def test_text_of_assets_both_ways():
    assert mm.to_text(make_asset_graph()) == ASSET_TEXT
    assert mm.from_text(ASSET_TEXT, MetaGraphDef) == make_asset_graph()
    assert mm.from_text(ASSET_TEXT.encode(), MetaGraphDef) == make_asset_graph()


def test_text_of_an_unknown_any_is_kept_packed():
    text = mm.to_text(mm.make_any_list([Any(type_url="x/my.Type", value=b"abc")]))
    assert 'type_url: "x/my.Type"' in text
    assert 'value: "abc"' in text


def test_text_of_a_damaged_any():
    broken = mm.make_any_list([Any(type_url="type.googleapis.com/tensorflow.AssetFileDef", value=b"\xff")])
    with pytest.raises(SavedModelError, match="CollectionDef: a damaged Any"):
        mm.to_text(broken)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "collection_def {",
        ASSET_TEXT.replace("AssetFileDef]", "NoSuchDef]"),
        b"\xff\xfe",
        "graph_def { library { function { signature { output_arg { experimental_full_type {" + "args {" * 5000,
    ],
)
def test_damaged_text(text):
    with pytest.raises(SavedModelError, match=r"^p: not a MetaGraphDef in text form: "):
        mm.from_text(text, MetaGraphDef, "p")


def test_text_that_is_no_text():
    with pytest.raises(SavedModelError, match="in text form: not UTF-8 at byte 1: invalid start byte"):
        mm.from_text(b"a\xff\xfe", MetaGraphDef)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [("\ud800", "string", "surrogates not allowed"), (10**400, "float", "want a number"), (2, "shape", "not a shape")],
)
def test_attributes_that_do_not_fit(value, kind, message):
    with pytest.raises(InvalidArgumentError, match=message):
        mm.make_attr_value(value, kind)


def test_our_names_for_packed_messages_are_not_written():
    assert "mexport" not in mm.to_text(make_asset_graph())


# --- files ---


@pytest.fixture
def saved_model():
    serve = mm.make_meta_graph_def(GraphDef(node=[NodeDef(name="a", op="NoOp")]), tags=["serve", "gpu"])
    train = mm.make_meta_graph_def(GraphDef(), tags=["train"])
    return mm.make_saved_model([train, serve])


def test_read_saved_model(tmp_path, saved_model):
    (tmp_path / "saved_model.pbtxt").write_text(mm.to_text(saved_model))
    assert mm.read_saved_model(tmp_path) == saved_model
    assert mm.read_saved_model(str(tmp_path / "saved_model.pbtxt")) == saved_model
    (tmp_path / "saved_model.pbtxt").write_text("nonsense")  # pb wins, and is all that is looked at
    (tmp_path / "saved_model.pb").write_bytes(mm.serialize(saved_model))
    assert mm.read_saved_model(tmp_path) == saved_model
    assert mm.read_saved_model(tmp_path / "saved_model.pb") == saved_model


def test_select_meta_graph(saved_model):
    assert mm.select_meta_graph(saved_model, ["gpu", "serve"]).graph_def.node[0].name == "a"
    with pytest.raises(InvalidArgumentError, match=r"got \['serve'\], want one of \[\['train'\], \['gpu', 'serve'\]\]"):
        mm.select_meta_graph(saved_model, {"serve"})
    with pytest.raises(InvalidArgumentError, match="tags: got 'serve'"):
        mm.select_meta_graph(saved_model, "serve")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"no saved_model\.pb or saved_model\.pbtxt in {tmp_path}"):
        mm.read_saved_model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.pb"):
        mm.read_saved_model(tmp_path / "nothing.pb")
    with pytest.raises(FileNotFoundError, match=r"model\.meta"):
        mm.read_meta_graph(tmp_path / "model.meta")


def test_damaged_files(tmp_path, saved_model):
    file = tmp_path / "saved_model.pb"
    for data, message in (
        (b"", "no meta graph in it"),
        (b"\xff", "not a SavedModel in 1 bytes"),
        (mm.serialize(saved_model)[:-1], "not a SavedModel in"),
    ):
        file.write_bytes(data)
        with pytest.raises(SavedModelError, match=f"^{file}: {message}"):
            mm.read_saved_model(tmp_path)
    with pytest.raises(SavedModelError, match="no graph in it"):
        (tmp_path / "m.meta").write_bytes(b"")
        mm.read_meta_graph(tmp_path / "m.meta")


def test_chunked_models_are_refused(tmp_path):
    (tmp_path / "saved_model.cpb").write_bytes(b"")
    for path in (tmp_path, tmp_path / "saved_model.cpb"):
        with pytest.raises(UnsupportedError, match="chunked"):
            mm.read_saved_model(path)


def test_files_that_are_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "saved_model.pb")
    with pytest.raises(SavedModelError, match="not a regular file"):
        mm.read_saved_model(tmp_path)
    with open(tmp_path / "big.meta", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(SavedModelError, match="too large: got 2147483648 bytes, want <= 2147483647"):
        mm.read_meta_graph(tmp_path / "big.meta")


def test_read_meta_graph(tmp_path):
    meta_graph = mm.make_meta_graph_def(GraphDef(node=[NodeDef(name="a")]), tags=[])
    (tmp_path / "model.ckpt-7.meta").write_bytes(mm.serialize(meta_graph))
    (tmp_path / "graph.pbtxt").write_text(mm.to_text(meta_graph))
    assert mm.read_meta_graph(tmp_path / "model.ckpt-7.meta") == meta_graph
    assert mm.read_meta_graph(tmp_path / "graph.pbtxt") == meta_graph


# --- prediction logs ---


def test_predict_log():
    request = mm.make_predict_request("m", {"x": [1.0], "s": "a"}, ["y"])
    assert request.model_spec.name == "m"
    assert request.inputs["s"].string_val == [b"a"]
    log = mm.make_prediction_log(request, PredictResponse())
    assert log.WhichOneof("log_type") == "predict_log"
    assert log.predict_log.HasField("response")
    assert not mm.make_prediction_log(request).predict_log.HasField("response")


def test_inputs_of_examples():
    assert mm.make_classify_request("m", []).input.WhichOneof("kind") == "example_list"
    regress = mm.make_regress_request("m", [Example()], Example())
    assert regress.input.WhichOneof("kind") == "example_list_with_context"
    assert regress.input.example_list_with_context.HasField("context")


@pytest.mark.parametrize(
    "make",
    [
        lambda: mm.make_prediction_log("request"),
        lambda: mm.make_prediction_log(PredictionLog()),
        lambda: mm.make_prediction_log(PredictRequest(), PredictRequest()),
        lambda: mm.make_prediction_log(PredictRequest(), metadata=PredictRequest()),
        lambda: mm.make_model_spec("m", version=1, version_label="a"),
        lambda: mm.make_predict_request("m", {}, "y"),
        lambda: mm.make_predict_request(GraphDef(), {}),
        lambda: mm.make_predict_request("m", {"x": object()}),
        lambda: mm.make_session_run_request("m", {}, "y:0"),
        lambda: mm.make_session_run_request("m", {}, [], "op"),
        lambda: mm.make_classify_request("m", [GraphDef()]),
        lambda: mm.make_multi_inference_request([GraphDef()], []),
    ],
)
def test_refused_logs(make):
    with pytest.raises(InvalidArgumentError):
        make()


def test_exported_names_exist():
    assert all(hasattr(mm, name) for name in mm.__all__)
    assert isinstance(mm.make_asset_file_def("a:0", "b"), AssetFileDef)
    assert isinstance(mm.make_tensor_info("a:0", "int32", []), TensorInfo)


def test_import_is_light():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, mexport_pb.messages, mexport_pb.check; print('tensorflow' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"


def test_worked_example_of_the_format_page():
    """docs/formats/saved_model.md explains these bytes."""
    string = mm.make_attr_value("string", "type")
    value = mm.make_attr_value("v.txt", "tensor")
    graph = GraphDef(
        node=[
            mm.make_node_def("Const", "asset", attrs={"value": value, "dtype": string}),
            mm.make_node_def("ReadFile", "y", ["asset"]),
            mm.make_node_def("NoOp", "init"),
        ]
    )
    graph.versions.producer = 2474
    meta_graph = mm.make_meta_graph_def(
        graph,
        tags=["serve"],
        signatures={"serving_default": mm.make_signature_def({}, {"y": mm.make_tensor_info("y:0", "string", [])})},
        collections={
            "saved_model_main_op": mm.make_node_list(["init"]),
            "saved_model_assets": mm.make_any_list(
                [mm.pack_asset_file_def(mm.make_asset_file_def("asset:0", "v.txt"))]
            ),
        },
    )
    page = (Path(__file__).parents[2] / "docs/formats/saved_model.md").read_text()
    example = page.partition("301 bytes:\n\n```\n")[2].partition("\n```")[0]
    data = b""
    for line in example.splitlines():
        offset, rest = line.split(maxsplit=1)
        assert int(offset, 16) == len(data)
        for text, number in re.findall(r'"([^"]*)"|\b([0-9a-f]{2})(?= |$)', re.split(r"   +(?=[a-zA-Z])", rest)[0]):
            data += text.encode() if text else bytes.fromhex(number)
    assert mm.serialize(mm.make_saved_model([meta_graph])) == data
