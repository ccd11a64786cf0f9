"""The checker against real models (no false alarm) and against the loaders' own verdict (no missed error)."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from mexport_pb import check, messages as mm
from mexport_pb.errors import InvalidArgumentError
from tests.support import cpp_loader, python_loader
from tests.support.broken_models import ABORTS, BROKEN, LOADED
from tests.support.loading import LoadError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1


def save_v1(directory, signatures, **options):
    """Save the default graph with TensorFlow's v1 Builder."""
    with tf1.Session() as session:
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder = tf1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, **options)
        builder.save()


def predict(inputs, outputs):
    return {"serving_default": tf1.saved_model.predict_signature_def(inputs, outputs)}


def v1_variables(directory):
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    w = tf1.get_variable("w", [3, 2], use_resource=True)
    b = tf1.get_variable("b", [2], use_resource=False)
    parts = tf1.get_variable("p", [4, 2], partitioner=tf1.fixed_size_partitioner(2), use_resource=True)
    tf1.train.get_or_create_global_step()
    tf1.get_variable("local", [1], collections=[tf1.GraphKeys.LOCAL_VARIABLES])
    y = tf.matmul(x, w) + b + tf.reduce_sum(tf.convert_to_tensor(parts))
    save_v1(directory, predict({"x": x}, {"y": y}))


def v1_training(directory):
    """What a training graph holds on top: gradients, slots, summaries, devices."""
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    with tf1.device("/cpu:0"):
        w = tf1.get_variable("w", [3, 1], use_resource=True)
    loss = tf.reduce_mean(tf.matmul(x, w) ** 2)
    tf1.train.AdamOptimizer().minimize(loss, tf1.train.get_or_create_global_step())
    tf1.summary.scalar("loss", loss)
    save_v1(directory, predict({"x": x}, {"loss": loss}), clear_devices=True, strip_default_attrs=True)


def v1_assets(directory):
    files = []
    for name in ("a.txt", "b.txt"):
        files.append(directory.parent / name)
        files[-1].write_text("zero\none\n")
    x = tf1.placeholder(tf.string, [None], name="x")
    outputs = {}
    for index, file in enumerate(files):
        initializer = tf.lookup.TextFileInitializer(
            str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        outputs[f"y{index}"] = tf.lookup.StaticVocabularyTable(initializer, 2).lookup(x)
    save_v1(
        directory,
        predict({"x": x}, outputs),
        assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
        main_op=tf1.tables_initializer(),
    )


def v1_control_flow(directory):
    """while_loop and cond of graph mode: Enter, Merge, NextIteration, Exit, with nested loops and a gradient."""
    tf1.disable_control_flow_v2()
    try:
        x = tf1.placeholder(tf.float32, [None], name="x")
        w = tf1.get_variable("w", [], use_resource=True)

        def body(i, v):
            inner = tf1.while_loop(lambda j, u: j < 3, lambda j, u: (j + 1, u * w), (0, v))[1]
            return i + 1, tf1.cond(i > 2, lambda: inner, lambda: inner + 1.0)

        y = tf1.while_loop(lambda i, v: i < 5, body, (0, x))[1]
        gradient = tf.gradients(y, w)[0]
        save_v1(directory, predict({"x": x}, {"y": y, "g": gradient}))
    finally:
        tf1.enable_control_flow_v2()


def v2_control_flow_in_v1(directory):
    x = tf1.placeholder(tf.float32, [None], name="x")
    y = tf.while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 2.0), (0, x))[1]
    z = tf.map_fn(lambda v: tf.cond(v > 0, lambda: v, lambda: -v), y)
    z = tf.switch_case(tf.size(x), [lambda: z, lambda: z + 1.0])
    save_v1(directory, predict({"x": x}, {"z": z}))


def v1_sparse(directory):
    serialized = tf1.placeholder(tf.string, [None], name="examples")
    parsed = tf1.io.parse_example(
        serialized, {"a": tf.io.VarLenFeature(tf.int64), "b": tf.io.FixedLenFeature([2], tf.float32)}
    )
    signature = tf1.saved_model.build_signature_def(
        {"examples": tf1.saved_model.build_tensor_info(serialized)},
        {key: tf1.saved_model.build_tensor_info(value) for key, value in parsed.items()},
        "tensorflow/serving/predict",
    )
    save_v1(directory, {"serving_default": signature})


def v1_several_graphs(directory):
    x = tf1.placeholder(tf.float32, [], name="x")
    w = tf1.get_variable("w", [], use_resource=True)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(session, ["train"], predict({"x": x}, {"y": x * w}))
        builder.add_meta_graph(["serve"], predict({"x": x}, {"y": x * w}))
        builder.save()


class Module(tf.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.weight = tf.Variable([1.0, 2.0])
        self.table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            1,
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 2], tf.float32)])
    def __call__(self, key, x):
        y = x
        for _ in tf.range(3):
            if tf.reduce_sum(y) > 0.0:  # noqa: SIM108  autograph turns the statement into a tf.cond
                y = y * self.weight
            else:
                y = y - self.weight
        return {"y": y, "id": self.table.lookup(key)}


def v2_module(directory):
    vocabulary = directory.parent / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    module = Module(str(vocabulary))
    tf.saved_model.save(
        module, str(directory), signatures={"serving_default": module.__call__, "again": module.__call__}
    )


def keras_model(directory):
    model = tf.keras.Sequential(
        [
            tf.keras.Input([8], dtype=tf.int32),
            tf.keras.layers.Embedding(10, 4),
            tf.keras.layers.LSTM(4),
            tf.keras.layers.BatchNormalization(),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.export(str(directory), verbose=False)


IN_GRAPH = [
    v1_variables,
    v1_training,
    v1_assets,
    v1_control_flow,
    v2_control_flow_in_v1,
    v1_sparse,
    v1_several_graphs,
]
EAGER = [v2_module, keras_model]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("make", [*IN_GRAPH, *EAGER], ids=lambda make: make.__name__)
def test_no_false_alarm(tmp_path, make):
    directory = tmp_path / "model"
    if make in EAGER:
        make(directory)
    else:
        with tf.Graph().as_default():
            make(directory)
    saved_model = mm.read_saved_model(directory)
    assert check.find_saved_model_problems(saved_model) == []
    check.check_saved_model_message(saved_model)


def test_checkpoint_meta_graph(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        with tf1.device("/job:ps/task:3/device:CPU:0"):
            tf1.get_variable("w", [2], use_resource=True)
        tf1.train.Saver(sharded=True)
        meta_graph = tf1.train.export_meta_graph(saver_def=tf1.train.Saver(sharded=True).as_saver_def())
        assert session is not None
    problems = check.find_problems(meta_graph)
    assert {problem.severity for problem in problems} == {"warning"}
    assert all("'ps'" in problem.message for problem in problems)
    check.check_meta_graph(meta_graph)


DEVICES = [
    "/cpu:0",
    "/gpu:1",
    "/tpu:0",
    "/TPU:0",
    "/cPu:0",
    "/cpu",
    "/cpu:*",
    "/CPU:0/",
    "CPU:0",
    "cpu:0",
    "/device:CPU:0",
    "/device:cpu:0",
    "/device:GPU:*",
    "/device:GPU",
    "/device:XLA_CPU:0",
    "/device:*:0",
    "/device:*",
    "/device:",
    "/device:1:0",
    "/device:C-U:0",
    "/device:CPU:x",
    "/device:CPU:",
    "/device:_C:0",
    "/job:localhost/replica:0/task:0/device:CPU:0",
    "/job:*",
    "/job:",
    "/job:a-b",
    "/job:1a",
    "/job:_a",
    "/job:a_b1",
    "/task:1",
    "/task:x",
    "/replica:*",
    "/replica:",
    "nonsense",
    "/",
    "//",
    "/job:a/job:b",
    "/cpu:0/cpu:0",
    "/task:99999999999",
    "/task:-1",
    "/task:01",
    "/xpu:0",
    "/GPU:0",
    "/Gpu:0",
]


@pytest.mark.parametrize("device", DEVICES)
def test_devices_as_the_runtime_parses_them(tmp_path, device):
    meta_graph = tf1.MetaGraphDef()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.graph_def.node.add(name="n", op="NoOp", device=device)
    meta_graph.collection_def["saved_model_main_op"].node_list.value.append("n")
    try:
        load(tmp_path, meta_graph)
        malformed = False
    except LoadError as error:
        malformed = "alformed" in str(error)  # a device that this machine lacks is refused with other words
    found = [problem for problem in check.find_problems(meta_graph) if problem.severity == "error"]
    assert bool(found) == malformed


def load(directory, meta_graph):
    """Load with both of TensorFlow's loaders; raises what the first one that refuses says."""
    (directory / "saved_model.pb").write_bytes(mm.serialize(mm.make_saved_model([meta_graph])))
    cpp_loader.load(directory).close()
    with python_loader.load(directory):
        pass


# --- one thing wrong at a time: the check must find what a loader refuses, and may refuse nothing that both load ---


def save_good_model(directory):
    """A model with something of everything that the mutations break."""
    vocabulary = directory.parent / "vocabulary.txt"
    vocabulary.write_text("zero\none\n")
    initializer = tf.lookup.TextFileInitializer(
        str(vocabulary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticVocabularyTable(initializer, 2)
    x = tf1.placeholder(tf.string, [None], name="x")
    features = tf1.placeholder(tf.float32, [None, 2], name="features")
    w = tf1.get_variable("w", [], use_resource=True)
    tf1.get_variable("r", [2], use_resource=False)
    y = tf.identity(tf.cast(table.lookup(x), tf.float32) * w, name="y")
    product = tf.matmul(features, [[1.0], [2.0]], name="product")
    tf.add_n([product, product], name="both")
    z = tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0], name="loop")[0]
    tf.cond(tf.reduce_sum(features) > 0, lambda: features + 1.0, lambda: features - 1.0, name="choice")
    tf1.disable_control_flow_v2()
    try:
        tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0], name="old_loop")
        tf.cond(tf.reduce_sum(features) > 0, lambda: features + 1.0, lambda: features - 1.0, name="old_choice")
    finally:
        tf1.enable_control_flow_v2()
    tf.constant([1, 2, 3], name="numbers")
    save_v1(
        directory,
        predict({"x": x}, {"y": y, "z": z}),
        assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
        main_op=tf.group(tf1.tables_initializer(), name="main"),
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    directory = tmp_path_factory.mktemp("good") / "model"
    with tf.Graph().as_default():
        save_good_model(directory)
    return directory


@pytest.fixture
def changed(good):
    """Write the good model after a change; give its directory and the changed meta graph."""
    original = (good / "saved_model.pb").read_bytes()

    def change_with(change):
        meta_graph = mm.read_saved_model(good).meta_graphs[0]
        assert [problem for problem in check.find_problems(meta_graph) if problem.severity == "error"] == []
        change(meta_graph)
        (good / "saved_model.pb").write_bytes(mm.serialize(mm.make_saved_model([meta_graph])))
        return good, meta_graph

    yield change_with
    (good / "saved_model.pb").write_bytes(original)


def load_with_cpp(directory):
    cpp_loader.load(directory).close()


def load_with_python(directory):
    with python_loader.load(directory):
        pass


def assert_verdict(loader, directory, words):
    """The loader refuses with these words, or loads if there are none."""
    if words is None:
        loader(directory)
        return
    with pytest.raises(LoadError) as failure:
        loader(directory)
    assert words in str(failure.value)


def assert_aborts(directory):
    script = f"from tests.support import cpp_loader; cpp_loader.load({str(directory)!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGABRT


def errors_of(meta_graph):
    return [f"{p.where}: {p.message}" for p in check.find_problems(meta_graph) if p.severity == "error"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_broken_models(changed, broken):
    """The check says where and what, and each loader says what it is listed with."""
    directory, meta_graph = changed(broken.change)
    if broken.cpp == ABORTS:
        assert_aborts(directory)
    else:
        assert_verdict(load_with_cpp, directory, broken.cpp)
    assert_verdict(load_with_python, directory, broken.python)
    assert any(error.startswith(broken.found) for error in errors_of(meta_graph)), errors_of(meta_graph)
    with pytest.raises(InvalidArgumentError, match="illegal meta graph"):
        check.check_meta_graph(meta_graph)


def test_the_list_of_broken_models():
    """Most of them are there because a loader refuses them; the others are few, and listed with a reason."""
    assert len({broken.name for broken in BROKEN}) == len(BROKEN) >= 60
    loaded = [broken.name for broken in BROKEN if broken.cpp is None and broken.python is None]
    assert loaded == [
        "const of too few bytes",
        "saver: restore op of another node",
        "main op lost beside tables",
        "signature of a missing tensor",
        "signature of another dtype",
        "asset outside of assets/",
    ]


def test_finds_a_constant_that_fails_when_it_is_run(changed):
    broken = next(broken for broken in BROKEN if broken.name == "const of too few bytes")
    with cpp_loader.load(changed(broken.change)[0]) as model, pytest.raises(LoadError):
        model.run(({}, {"numbers": "numbers:0"}), {})


@pytest.mark.parametrize("name", ["saver: restore op of another node", "main op lost beside tables"])
def test_finds_a_model_that_is_not_set_up(changed, name):
    broken = next(broken for broken in BROKEN if broken.name == name)
    with cpp_loader.load(changed(broken.change)[0]) as model, pytest.raises(LoadError, match="FAILED_PRECONDITION"):
        model.run("serving_default", {"x": np.array([b"one"])})


def test_warns_of_a_custom_op_in_a_body(changed):
    def use_custom_op(meta_graph):
        branch = next(f for f in meta_graph.graph_def.library.function if "choice_true" in f.signature.name)
        branch.node_def.add(name="mine", op="Mine")

    directory, meta_graph = changed(use_custom_op)
    with pytest.raises(LoadError, match="Op type not registered 'Mine'"):
        load_with_cpp(directory)
    assert [str(problem) for problem in check.find_problems(meta_graph)] == [
        "warning: custom op 'Mine': its signature is not listed; the server needs the library that has it"
    ]


@pytest.mark.parametrize("name", ["signature of a missing tensor", "signature of another dtype"])
def test_finds_a_signature_that_fails_when_it_is_run(changed, name):
    broken = next(broken for broken in BROKEN if broken.name == name)
    directory, meta_graph = changed(broken.change)
    kind = {1: np.float32, 7: object}[meta_graph.signature_def["serving_default"].inputs["x"].dtype]
    with cpp_loader.load(directory) as model, pytest.raises(LoadError):
        model.run("serving_default", {"x": np.zeros(1, kind) if kind is np.float32 else np.array([b"one"])})


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("change", "warnings"), LOADED.values(), ids=LOADED.keys())
def test_lets_pass_what_both_load(changed, change, warnings):
    directory, meta_graph = changed(change)
    load_with_cpp(directory)
    load_with_python(directory)
    assert [str(problem) for problem in check.find_problems(meta_graph)] == [f"warning: {one}" for one in warnings]
