"""What dump tells of models that TensorFlow wrote, against ``saved_model_cli show``, and every byte of them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from tests.support.dumps import assert_sizes_add_up, bytes_on_disk, describe
from tests.support.tensorflow_models import write_dense_model, write_vocabulary_model

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


def dense(path):
    write_dense_model(path)


def partitioned(path):
    write_dense_model(path, partitions=2)


def vocabulary(path):
    write_vocabulary_model(path, path.parent / "words.txt")


def two_graphs(path):
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(path))
    for tags in (["serve"], ["serve", "tpu"]):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 2, None], name="x")
            any_rank = v1.placeholder(tf.string, None, name="s")
            w = v1.get_variable("w", initializer=np.ones(2, np.float32))
            y = tf.reduce_sum(x) + tf.reduce_sum(w)
            signature = v1.saved_model.predict_signature_def({"x": x, "s": any_rank}, {"y": y})
            session.run(v1.global_variables_initializer())
            if tags == ["serve"]:
                builder.add_meta_graph_and_variables(session, tags, {"serving_default": signature, "other": signature})
            else:
                builder.add_meta_graph(tags, {"serving_default": signature})
    builder.save()


def module(path):
    """Functions that call others, a variable, a vocabulary as an asset."""
    words = path.parent / "vocabulary.txt"
    words.write_text("a\nb\n")

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(np.ones((3, 2), np.float32), name="w")
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(words),
                    *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
                    *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
                ),
                -1,
            )

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def score(self, x):
            return {"score": tf.cond(tf.reduce_sum(x) > 0, lambda: x @ self.w, lambda: -x @ self.w)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def number(self, words):
            return {"numbers": self.table.lookup(words)}

    model = Model()
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.score, "number": model.number})


def keras(path):
    model = tf.keras.Sequential([tf.keras.Input([4]), tf.keras.layers.Dense(3), tf.keras.layers.Dense(1)])
    model.export(str(path), verbose=False)


WRITERS = [dense, partitioned, vocabulary, two_graphs, module, keras]


@pytest.fixture(scope="module", params=WRITERS, ids=lambda writer: writer.__name__)
def model(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp(request.param.__name__) / "1"
    request.param(path)
    return path


def shown_by_tensorflow(path):
    """By tags: signatures as ``saved_model_cli show --all`` prints them: method, inputs, outputs."""
    from tensorflow.python.tools import saved_model_cli

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        saved_model_cli._show_all(str(path))
    found: dict[tuple[str, ...], dict[str, tuple[str, dict, dict]]] = {}
    signatures = {}
    # What follows on the functions of objects is no signature.
    for line in map(str.strip, text.getvalue().split("Concrete Functions:")[0].splitlines()):
        if match := re.fullmatch(r"MetaGraphDef with tag-set: '(.*)' contains the following SignatureDefs:", line):
            signatures = found.setdefault(tuple(match[1].split(", ")), {})
        elif match := re.fullmatch(r"signature_def\['(.*)'\]:", line):
            name = match[1]
            signatures[name] = ["", {}, {}]
        elif match := re.fullmatch(r"(inputs|outputs)\['(.*)'\] tensor_info:", line):
            tensor = signatures[name][1 if match[1] == "inputs" else 2].setdefault(match[2], {})
        elif match := re.fullmatch(r"(dtype|shape|name): (.*)", line):
            tensor[match[1]] = match[2]
        elif match := re.fullmatch(r"Method name is: (.*)", line):
            signatures[name][0] = match[1]
    return found


def as_tensorflow_shows(tensors):
    def shape(sizes):
        if sizes is None:
            return "unknown_rank"
        return f"({', '.join(str(-1 if size is None else size) for size in sizes)})"

    def dtype(name):
        return "DT_" + {"float32": "FLOAT", "none": "INVALID"}.get(name, name.upper())

    return {one.key: {"dtype": dtype(one.dtype), "shape": shape(one.shape), "name": one.name} for one in tensors}


def test_signatures(model):
    want = shown_by_tensorflow(model)
    assert want
    facts = describe(model)
    assert facts.ok
    assert {graph.tags for graph in facts.graphs} == set(want)
    for graph in facts.graphs:
        got = {
            one.name: [one.method, as_tensorflow_shows(one.inputs), as_tensorflow_shows(one.outputs)]
            for one in graph.signatures
        }
        assert got == want[graph.tags]


def test_sizes(model):
    assert_sizes_add_up(describe(model), bytes_on_disk(model))


def test_variables(model):
    reader = tf.train.load_checkpoint(str(model / "variables" / "variables"))
    dtypes = reader.get_variable_to_dtype_map()
    got = {one.name: (one.shape, one.dtype) for one in describe(model).variables}
    assert got == {
        name: (tuple(shape), dtypes[name].name) for name, shape in reader.get_variable_to_shape_map().items()
    }


def test_graphs(model):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    message = SavedModel.FromString((model / "saved_model.pb").read_bytes())
    for graph, meta_graph in zip(describe(model).graphs, message.meta_graphs, strict=True):
        graph_def = meta_graph.graph_def
        assert graph.nodes == len(graph_def.node)
        assert graph.custom_ops == {}
        assert graph.tensorflow_version == tf.__version__
        assert {f.name: f.nodes for f in graph.functions} == {
            f.signature.name: len(f.node_def) for f in graph_def.library.function
        }
        nodes = [*graph_def.node, *(node for f in graph_def.library.function for node in f.node_def)]
        assert sum(graph.ops.values()) == len(nodes)
        assert graph.constants == sum(node.op == "Const" for node in nodes)


def test_objects_and_assets(tmp_path):
    module(tmp_path / "1")
    facts = describe(tmp_path / "1")
    (graph,) = facts.graphs
    assert graph.objects.kinds["variable"] == 1
    assert graph.objects.kinds["asset"] == 1
    assert [(asset.name, asset.bytes) for asset in facts.assets] == [("vocabulary.txt", 4)]
    assert graph.main_op
    assert graph.functions


def test_text_form(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": x + 1.0})
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save(as_text=True)
    (facts,) = mx.describe(tmp_path / "1")
    assert shown_by_tensorflow(tmp_path / "1")[("serve",)].keys() == {one.name for one in facts.graphs[0].signatures}
    assert_sizes_add_up(facts, bytes_on_disk(tmp_path / "1"))
