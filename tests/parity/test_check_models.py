"""The checker against real models (no false alarm) and against the loaders' own verdict (no missed error)."""

from __future__ import annotations

import pytest

from mexport_pb import check
from mexport_pb import messages as mm

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
    """What a training graph holds on top: gradients, slots, queues, summaries, and devices of a cluster."""
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    with tf1.device("/job:ps/task:0"):
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
    tables = [
        tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(file), tf.string, 0, tf.int64, 1, delimiter=" "), default_value=-1
        )
        for file in files[:0]
    ]
    assert tables == []
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
    parsed = tf1.io.parse_example(serialized, {"a": tf.io.VarLenFeature(tf.int64), "b": tf.io.FixedLenFeature([2], tf.float32)})
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
            if tf.reduce_sum(y) > 0.0:
                y = y * self.weight
            else:
                y = y - self.weight
        return {"y": y, "id": self.table.lookup(key)}


def v2_module(directory):
    vocabulary = directory.parent / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    module = Module(str(vocabulary))
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.__call__, "again": module.__call__})


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


@pytest.mark.parametrize(
    "device",
    ["", "/cpu:0", "/gpu:1", "/device:GPU:*", "/job:localhost/replica:0/task:0/device:CPU:0", "/device:XLA_CPU:0", "/task:1", "/device:CPU", "/job:*", "CPU:0", "/device:", "/job:", "/job:a-b", "/job:1a", "/replica:x", "nonsense", "/cpu", "/device:CPU:x", "/CPU:0/", "/TPU:0", "/tpu:0", "/cPu:0"],
)  # fmt: skip
def test_devices_as_the_runtime_parses_them(device):
    graph_def = tf1.GraphDef()
    graph_def.node.add(name="n", op="NoOp", device=device)
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
        options = tf1.ConfigProto(allow_soft_placement=True)
        with tf1.Session(graph=graph, config=options) as session:
            session.run("n")
        accepted = True
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        # A well-formed device that this machine lacks is refused with other words.
        accepted = "alformed" not in str(error) and "nvalid" not in str(error).split("\n")[0] and "nknown" not in str(error)
    found = check.find_problems(tf1.MetaGraphDef(graph_def=graph_def))
    assert [problem for problem in found if problem.severity == "error"] == [] if accepted else found
