"""The other builders against TensorFlow's own messages, and files read by its loaders."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from mexport_pb import messages as mm
from mexport_pb._proto.graph_pb2 import GraphDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel, TensorInfo
from tests.support import cpp_loader
from tests.support.loading import LoadError

tf = pytest.importorskip("tensorflow")
loader_impl = pytest.importorskip("tensorflow.python.saved_model.loader_impl")
pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1


def check_same(ours, theirs):
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def from_their(message, cls):
    return cls.FromString(message.SerializeToString())


@pytest.mark.parametrize("shape", [None, [], [2, 3], [None, 3], [None, None]], ids=str)
@pytest.mark.parametrize("dtype", [tf.float32, tf.string, tf.int64, tf.bfloat16, tf.bool])
def test_tensor_info(dtype, shape):
    with tf.Graph().as_default():
        tensor = tf1.placeholder(dtype, shape, name="x")
        theirs = tf1.saved_model.build_tensor_info(tensor)
        check_same(mm.make_tensor_info(tensor), theirs)
    check_same(mm.make_tensor_info("x:0", dtype, shape), theirs)
    check_same(mm.make_tensor_info("x:0", dtype.name, tf.TensorShape(shape)), theirs)
    check_same(mm.make_tensor_info(theirs), theirs)
    assert mm.shape_to_list(theirs.tensor_shape) == shape


def test_sparse_tensor_info():
    with tf.Graph().as_default():
        tensor = tf1.sparse_placeholder(tf.int64, [None, 5], name="ids")
        check_same(mm.make_tensor_info(tensor), tf1.saved_model.build_tensor_info(tensor))


def test_signature_def():
    with tf.Graph().as_default():
        infos = {
            key: tf1.saved_model.build_tensor_info(tf1.placeholder(tf.float32, [None, 2], name=key)) for key in "badc"
        }
    theirs = tf1.saved_model.build_signature_def(infos, {"y": infos["a"]}, "tensorflow/serving/predict")
    check_same(mm.make_signature_def(infos, {"y": infos["a"]}), theirs)


def test_asset_in_any():
    theirs_asset = tf1.MetaGraphDef().asset_file_def.add(filename="vocab.txt")
    theirs_asset.tensor_info.name = "asset:0"
    collection = tf1.MetaGraphDef().collection_def["saved_model_assets"]
    collection.any_list.value.add().Pack(theirs_asset)
    packed = mm.pack_asset_file_def(mm.make_asset_file_def("asset:0", "vocab.txt"))
    check_same(packed, collection.any_list.value[0])
    check_same(mm.make_any_list([packed]), collection)
    check_same(mm.unpack_asset_file_def(collection.any_list.value[0]), theirs_asset)


def test_variable_def():
    with tf.Graph().as_default():
        resource = tf1.get_variable("w", [2], use_resource=True)
        ref = tf1.get_variable("v", [2], use_resource=False, trainable=False)
        for variable, snapshot in ((resource, "w/Read/ReadVariableOp:0"), (ref, "v/read:0")):
            name = variable.op.name
            ours = mm.make_variable_def(
                f"{name}:0",
                initializer_name=f"{name}/Assign",
                snapshot_name=snapshot,
                initial_value_name=variable.to_proto().initial_value_name,
                is_resource=variable is resource,
                trainable=variable is resource,
            )
            check_same(ours, variable.to_proto())


def test_attr_values():
    function = tf1.NodeDef().attr["f"].func
    function.name = "body"
    values = {
        "string": ("text", {"s": b"text"}),
        "int": (-3, {"i": -3}),
        "float": (0.5, {"f": 0.5}),
        "bool": (False, {"b": False}),
        "type": ("int64", {"type": tf.int64.as_datatype_enum}),
        "shape": ([2, None], {"shape": tf.TensorShape([2, None]).as_proto()}),
        "tensor": ([1, 2], {"tensor": tf.make_tensor_proto([1, 2])}),
        "func": ("body", {"func": function}),
        "placeholder": ("T", {"placeholder": "T"}),
    }
    attr_class = type(tf1.NodeDef().attr["x"])
    for kind, (value, fields) in values.items():
        check_same(mm.make_attr_value(value, kind), attr_class(**fields))
        if kind != "placeholder":
            field, one = next(iter(fields.items()))
            check_same(
                mm.make_attr_value([value, value], f"list({kind})"),
                attr_class(list=attr_class.ListValue(**{field: [one, one]})),
            )
            check_same(mm.make_attr_value([], f"list({kind})"), attr_class(list=attr_class.ListValue()))


def export(directory, as_text):
    """A model of TensorFlow's Builder: a table initialised from an asset, a variable, a main op."""
    vocabulary = directory / "vocab.txt"
    vocabulary.write_text("zero\none\ntwo\n")
    with tf.Graph().as_default(), tf1.Session() as session:
        asset = tf.constant(str(vocabulary), name="asset")
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            num_oov_buckets=1,
        )
        x = tf1.placeholder(tf.string, [None], name="x")
        weight = tf1.get_variable("w", initializer=10.0, use_resource=True)
        y = tf.identity(tf.cast(table.lookup(x), tf.float32) * weight, name="y")
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder = tf1.saved_model.Builder(str(directory / "model"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": tf1.saved_model.predict_signature_def({"x": x}, {"y": y})},
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf1.tables_initializer(),
        )
        builder.save(as_text=as_text)
    return directory / "model"


def run_python(directory):
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.saved_model.load(session, ["serve"], str(directory))
        return session.run("y:0", {"x:0": ["two", "one", "none"]}).tolist()


def load_cpp(directory):
    """The C++ loader's verdict: "OK" or the name of its status code."""
    try:
        cpp_loader.load(directory).close()
    except LoadError as error:
        return error.code
    return "OK"


@pytest.mark.parametrize("as_text", [False, True], ids=["pb", "pbtxt"])
def test_we_read_what_tensorflow_wrote(tmp_path, as_text):
    model = export(tmp_path, as_text)
    saved_model = mm.read_saved_model(model)
    meta_graph = mm.select_meta_graph(saved_model, ["serve"])
    asset = mm.unpack_asset_file_def(meta_graph.collection_def["saved_model_assets"].any_list.value[0])
    assert (asset.tensor_info.name, asset.filename) == ("asset:0", "vocab.txt")
    theirs = loader_impl.parse_saved_model(str(model))
    check_same(saved_model, theirs)
    assert mm.from_text(str(theirs), SavedModel) == saved_model
    assert text_format.Parse(mm.to_text(saved_model), type(theirs)()) == theirs


def test_tensorflow_reads_our_text(tmp_path):
    model = export(tmp_path, as_text=False)
    saved_model = mm.read_saved_model(model)
    before = run_python(model)
    (model / "saved_model.pb").unlink()
    text = mm.to_text(saved_model)
    assert "[type.googleapis.com/tensorflow.AssetFileDef]" in text
    (model / "saved_model.pbtxt").write_text(text)
    assert run_python(model) == before == [20.0, 10.0, 30.0]
    assert load_cpp(model) == "OK"
    (model / "saved_model.pbtxt").write_text(text.replace("AssetFileDef]", "NoSuchDef]"))
    assert load_cpp(model) != "OK"


def test_meta_graph_made_here_loads_in_both_runtimes(tmp_path):
    """Built from nothing but our builders."""
    asset_path = "never read from here"
    graph = GraphDef()
    string = mm.make_attr_value("string", "type")
    graph.node.extend(
        [
            mm.make_node_def(
                "Const", "asset", attrs={"dtype": string, "value": mm.make_attr_value(asset_path, "tensor")}
            ),
            mm.make_node_def("ReadFile", "y", ["asset"]),
            mm.make_node_def("NoOp", "init", ["^y"]),
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
                [mm.pack_asset_file_def(mm.make_asset_file_def("asset:0", "a.txt"))]
            ),
        },
    )
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a.txt").write_text("content")
    (tmp_path / "saved_model.pb").write_bytes(mm.serialize(mm.make_saved_model([meta_graph])))
    assert load_cpp(tmp_path) == "OK"
    (tmp_path / "assets" / "a.txt").unlink()
    assert load_cpp(tmp_path) == "NOT_FOUND"  # the main op was run with the fed path


def test_checkpoint_meta_file(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("w", [3])
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=7)
        theirs = tf1.train.export_meta_graph(str(tmp_path / "graph.pbtxt"), as_text=True)
    with open(tmp_path / "model.ckpt-7.meta", "rb") as file:
        check_same(mm.read_meta_graph(tmp_path / "model.ckpt-7.meta"), tf1.MetaGraphDef.FromString(file.read()))
    check_same(mm.read_meta_graph(tmp_path / "graph.pbtxt"), theirs)


def test_object_based_models_print_alike(tmp_path):
    """tf.saved_model.save fills the object graph, which nests maps, Anys and functions."""

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight = tf.Variable([1.0, 2.0])

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def __call__(self, x):
            return {"y": tf.while_loop(lambda v: tf.reduce_sum(v) < 10, lambda v: [v + self.weight], [x])[0]}

    tf.saved_model.save(Module(), str(tmp_path))
    ours = mm.read_saved_model(tmp_path)
    theirs = loader_impl.parse_saved_model(str(tmp_path))
    check_same(ours, theirs)
    assert mm.from_text(str(theirs), SavedModel) == ours
    assert text_format.Parse(mm.to_text(ours), type(theirs)()) == theirs


def test_foreign_messages_at_the_border():
    graph = tf1.GraphDef()
    graph.node.add(name="a", op="NoOp")
    meta_graph = mm.make_meta_graph_def(graph, tags=["serve"])
    assert meta_graph.graph_def.node[0].name == "a"
    assert isinstance(mm.to_message(tf1.MetaGraphDef(graph_def=graph), MetaGraphDef), MetaGraphDef)
    assert isinstance(mm.make_tensor_info(tf1.MetaGraphDef().signature_def["x"].inputs["y"]), TensorInfo)


# --- prediction logs ---


@pytest.fixture(scope="module")
def apis():
    pytest.importorskip("tensorflow_serving.apis")
    from tensorflow_serving.apis import (
        classification_pb2,
        inference_pb2,
        model_pb2,
        predict_pb2,
        prediction_log_pb2,
        regression_pb2,
        session_service_pb2,
    )

    class Apis:
        ClassificationRequest = classification_pb2.ClassificationRequest
        MultiInferenceRequest = inference_pb2.MultiInferenceRequest
        ModelSpec = model_pb2.ModelSpec
        PredictRequest = predict_pb2.PredictRequest
        PredictResponse = predict_pb2.PredictResponse
        PredictionLog = prediction_log_pb2.PredictionLog
        LogMetadata = prediction_log_pb2.PredictionLog().log_metadata.__class__
        RegressionRequest = regression_pb2.RegressionRequest
        SessionRunRequest = session_service_pb2.SessionRunRequest

    return Apis


def example(**features):
    made = tf.train.Example()
    for key, value in features.items():
        made.features.feature[key].float_list.value.append(value)
    return made


def test_prediction_logs_of_all_kinds(apis):
    spec = apis.ModelSpec(name="m", signature_name="s")
    spec.version.value = 3
    ours_spec = mm.make_model_spec("m", signature_name="s", version=3)
    check_same(ours_spec, spec)
    examples = [example(a=1.0), example(a=2.0, b=3.0)]
    context = example(c=1.0)

    predict = apis.PredictRequest(model_spec=spec, output_filter=["y"])
    predict.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0]]))
    predict.inputs["id"].CopyFrom(tf.make_tensor_proto("k"))
    response = apis.PredictResponse()
    response.outputs["y"].CopyFrom(tf.make_tensor_proto(1.0))
    ours_predict = mm.make_predict_request(ours_spec, {"x": [[1.0, 2.0]], "id": tf.make_tensor_proto("k")}, ["y"])
    check_same(ours_predict, predict)

    classify = apis.ClassificationRequest(model_spec=spec)
    classify.input.example_list.examples.extend(examples)
    ours_classify = mm.make_classify_request(spec, examples)
    check_same(ours_classify, classify)

    regress = apis.RegressionRequest(model_spec=spec)
    regress.input.example_list_with_context.examples.extend(examples)
    regress.input.example_list_with_context.context.CopyFrom(context)
    ours_regress = mm.make_regress_request(spec, examples, context)
    check_same(ours_regress, regress)

    multi = apis.MultiInferenceRequest(input=classify.input)
    multi.tasks.add(model_spec=spec, method_name="tensorflow/serving/classify")
    ours_multi = mm.make_multi_inference_request(
        [mm.make_inference_task(spec, "tensorflow/serving/classify")], examples
    )
    check_same(ours_multi, multi)

    run = apis.SessionRunRequest(model_spec=spec, fetch=["y:0"], target=["init"])
    run.feed.add(name="x:0", tensor=tf.make_tensor_proto(np.float32(2)))
    run.options.timeout_in_ms = 5
    ours_run = mm.make_session_run_request(
        spec, {"x:0": np.float32(2)}, ["y:0"], ["init"], options=tf1.RunOptions(timeout_in_ms=5)
    )
    check_same(ours_run, run)

    log = apis.PredictionLog()
    log.predict_log.request.CopyFrom(predict)
    log.predict_log.response.CopyFrom(response)
    log.log_metadata.model_spec.name = "m"
    check_same(mm.make_prediction_log(ours_predict, response, metadata=log.log_metadata), log)
    for ours, theirs, field in (
        (ours_classify, classify, "classify_log"),
        (ours_regress, regress, "regress_log"),
        (ours_multi, multi, "multi_inference_log"),
        (ours_run, run, "session_run_log"),
    ):
        log = apis.PredictionLog()
        getattr(log, field).request.CopyFrom(theirs)
        check_same(mm.make_prediction_log(ours), log)
        check_same(mm.make_prediction_log(theirs), log)


def test_model_spec_choices(apis):
    check_same(mm.make_model_spec("m", version_label="stable"), apis.ModelSpec(name="m", version_label="stable"))
    zero = apis.ModelSpec(name="m")
    zero.version.value = 0
    zero.version.SetInParent()
    check_same(mm.make_model_spec("m", version=0), zero)
