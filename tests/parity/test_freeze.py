"""Frozen graphs beside those of convert_variables_to_constants: equal messages, and equal answers from TensorFlow."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mexport_pb as mx
from mexport_pb._proto.graph_pb2 import GraphDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import UnsupportedError
from mexport_pb.graph.freeze_import import rewrite_as_imported
from mexport_pb.runtime import TensorFlowSource
from tests.corpus import compare_trees
from tests.support import cpp_loader, openvino_loader, python_loader
from tests.support.freeze_graphs import GRAPHS, UNFREEZABLE, UNLOADABLE

pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1


class Made:
    """A graph of TensorFlow with its values in a checkpoint, and its answers to a request."""

    def __init__(self, build, folder, add_shapes=True, more_to_keep=()):
        config = tf1.ConfigProto(allow_soft_placement=True)
        with tf.Graph().as_default() as graph, tf1.Session(config=config) as session:
            inputs, outputs = build()
            session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
            self.prefix = None
            if tf1.global_variables():
                self.prefix = str(folder / "model.ckpt-5")
                tf1.train.Saver().save(session, self.prefix, write_meta_graph=False)
            graph_def = graph.as_graph_def(add_shapes=add_shapes)
            self.feeds = {key: value for key, (_, value) in inputs.items()}
            self.meta = MetaGraphDef.FromString(
                tf1.train.export_meta_graph(graph_def=graph_def, graph=graph).SerializeToString()
            )
            self.meta.ClearField("saver_def")
            signature = mx.make_signature_def(
                {key: tensor_info(tensor) for key, (tensor, _) in inputs.items()},
                {key: tensor_info(tensor) for key, tensor in outputs.items()},
            )
            self.meta.signature_def["serving_default"].CopyFrom(signature)
            tensors = [tensor for tensor, _ in inputs.values()] + list(outputs.values())
            keep = sorted({tensor.op.name for tensor in tensors}) + list(more_to_keep)
            try:
                self.theirs = tf1.graph_util.convert_variables_to_constants(session, graph_def, keep)
            except (ValueError, AttributeError) as error:
                self.theirs, self.refusal = None, error
            else:
                devices = {node.name: node.device for node in graph_def.node}
                for node in self.theirs.node:
                    node.device = devices.get(node.name, "")
            # Last: the outputs of some graphs write to variables.
            self.answers = session.run(outputs, dict(inputs.values()))
            self.fetches = {key: tensor.name for key, tensor in outputs.items()}
            self.feed_names = {key: tensor.name for key, (tensor, _) in inputs.items()}

    def run_theirs(self):
        """TensorFlow's answers by its own frozen graph."""
        if self.theirs is None:
            raise self.refusal
        config = tf1.ConfigProto(allow_soft_placement=True)
        with tf.Graph().as_default(), tf1.Session(config=config) as session:
            tf.import_graph_def(self.theirs, name="")
            return session.run(self.fetches, {self.feed_names[key]: value for key, value in self.feeds.items()})

    def expected(self):
        """TensorFlow's frozen graph, with functions numbered from 0: it numbers them by a counter of the process."""
        theirs = GraphDef.FromString(self.theirs.SerializeToString())
        names = sorted((function.signature.name for function in self.meta.graph_def.library.function), key=_order)
        renamed = {}
        for before, after in zip(self.meta.graph_def.library.function, theirs.library.function, strict=True):
            old, new = before.signature.name, after.signature.name
            if new != old:
                renamed[new] = after.signature.name = f"{new.rpartition('_')[0]}_{names.index(old)}"
        for node in [*theirs.node, *(node for function in theirs.library.function for node in function.node_def)]:
            for value in node.attr.values():
                for called in [value.func] if value.HasField("func") else value.list.func:
                    called.name = renamed.get(called.name, called.name)
        return theirs


def tensor_info(tensor):
    return mx.make_tensor_info(tensor.name, tensor.dtype, tensor.shape)


def _order(name):
    base, _, number = name.rpartition("_")
    return (int(number), base) if number.isdecimal() else (-1, name)


def assert_same_graphs(got, want):
    assert got == want, "\n".join(difference(got, want)) or "the rest differs"


def difference(got, want):
    """The names that differ, and the first nodes and functions that do."""
    for what, ours, theirs in (
        ("nodes", {n.name: n for n in got.node}, {n.name: n for n in want.node}),
        (
            "functions",
            {f.signature.name: f for f in got.library.function},
            {f.signature.name: f for f in want.library.function},
        ),
    ):
        if list(ours) != list(theirs):
            yield f"names of {what}:"
            yield from difflib.unified_diff(list(theirs), list(ours), "tensorflow", "ours", lineterm="")
        for name in [name for name in ours if name in theirs and ours[name] != theirs[name]][:3]:
            texts = str(theirs[name]).splitlines(), str(ours[name]).splitlines()
            yield from difflib.unified_diff(*texts, f"tensorflow: {name}", f"ours: {name}", lineterm="")
    if got.versions != want.versions:
        yield f"versions: got {got.versions}, want {want.versions}"
    if got.HasField("library") != want.HasField("library"):
        yield f"library: got {got.HasField('library')}, want {want.HasField('library')}"


def assert_answers(got, want):
    assert got.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(np.shape(got[key]), np.shape(value))
        if np.asarray(value).dtype.kind == "f":
            # Constants are folded into other kernels than values that come at run time.
            np.testing.assert_allclose(got[key], value, rtol=1e-5)
        else:
            np.testing.assert_array_equal(got[key], value)


def loaded_answers(made, frozen, folder):
    """Write the model, load it with TensorFlow, and answer the request."""
    assert not mx.check_meta_graph(frozen)
    path = mx.write_saved_model(frozen, folder / "model")
    assert os.listdir(path / "variables") == []
    with python_loader.load(path) as model:
        return model.run("serving_default", made.feeds)


@pytest.mark.parametrize("add_shapes", [True, False], ids=["shapes", "no shapes"])
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_equal_to_tensorflow(name, add_shapes, tmp_path):
    made = Made(GRAPHS[name], tmp_path, add_shapes)
    frozen = mx.freeze(made.meta, made.prefix)
    assert_same_graphs(frozen.graph_def, made.expected())
    assert_answers(made.run_theirs(), made.answers)
    assert_answers(loaded_answers(made, frozen, tmp_path), made.answers)


@pytest.mark.parametrize("name", sorted(UNLOADABLE))
def test_right_where_tensorflow_is_not(name, tmp_path):
    made = Made(UNLOADABLE[name], tmp_path)
    with pytest.raises((ValueError, AttributeError, tf.errors.OpError)):
        made.run_theirs()
    frozen = mx.freeze(made.meta, made.prefix)
    assert_answers(loaded_answers(made, frozen, tmp_path), made.answers)


@pytest.mark.parametrize("name", sorted(UNFREEZABLE))
def test_refused(name, tmp_path):
    made = Made(UNFREEZABLE[name], tmp_path)
    with pytest.raises((ValueError, tf.errors.OpError)):
        made.run_theirs()
    with pytest.raises(UnsupportedError, match=r"of variable '[wr]'"):
        mx.freeze(made.meta, made.prefix)


@pytest.mark.parametrize("name", ["partitioned", "training", "while_v2", "gathers"])
def test_a_pruned_graph_has_its_keys_from_its_saver(name, tmp_path):
    made = Made(GRAPHS[name], tmp_path)
    pruned = mx.prune_to_signatures(made.meta)
    assert "variables" not in pruned.collection_def
    assert_answers(loaded_answers(made, mx.freeze(pruned, made.prefix), tmp_path), made.answers)


def test_an_unfrozen_caller_keeps_the_unfrozen_function(tmp_path):
    def build():
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        w = tf1.get_variable("w", [4, 4], use_resource=True)

        @tf.function(autograph=False)
        def g(v):
            return tf.matmul(v, w)

        @tf.function(autograph=False)
        def f(v):
            return g(v) + 1

        f(x)  # stays in the library, though no signature needs it
        return {"x": (x, np.ones([2, 4], np.float32))}, {"y": g(x)}

    made = Made(build, tmp_path)
    frozen = mx.freeze(made.meta, made.prefix)
    assert_answers(loaded_answers(made, frozen, tmp_path), made.answers)
    *first, last = frozen.graph_def.library.function
    originals = {function.signature.name: function for function in made.meta.graph_def.library.function}
    assert last == originals[last.signature.name]
    # TensorFlow leaves a call of a function that is gone; the rest is equal.
    want = made.expected()
    del frozen.graph_def.library.function[len(first) :]
    assert_same_graphs(frozen.graph_def, want)


def test_tables_keep_their_initializers_and_assets(tmp_path):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("a\nb\n")

    def build():
        word = tf1.placeholder(tf.string, [None], name="word")
        weight = tf1.get_variable("weight", [2], use_resource=True)
        layout = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(str(vocabulary), *layout), 1)
        tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["unused"], [1]), 0)
        return {"word": (word, np.array([b"b", b"c", b"a"], object))}, {"y": tf.gather(weight, table.lookup(word))}

    with tf.Graph().as_default():
        build()
        initializer = tf1.get_collection("table_initializer")[0].name
    made = Made(build, tmp_path, more_to_keep=[initializer])
    frozen = mx.freeze(made.meta, made.prefix)
    assert sorted(frozen.collection_def) == ["asset_filepaths", "saved_model_main_op", "table_initializer"]
    path = mx.write_saved_model(frozen, tmp_path / "model")
    vocabulary.unlink()
    with python_loader.load(path) as model:
        assert_answers(model.run("serving_default", made.feeds), made.answers)
    *nodes, main_op = frozen.graph_def.node
    assert (main_op.op, list(main_op.input)) == ("NoOp", [f"^{initializer}"])
    del frozen.graph_def.node[len(nodes) :]
    assert_same_graphs(frozen.graph_def, made.expected())


@pytest.mark.parametrize("loader", [openvino_loader, cpp_loader], ids=["openvino", "c++"])
@pytest.mark.parametrize("name", ["resource", "gathers", "while_loop_v1", "functions_in_functions"])
def test_other_readers(name, loader, tmp_path):
    made = Made(GRAPHS[name], tmp_path)
    path = mx.write_saved_model(mx.freeze(made.meta, made.prefix), tmp_path / "model")
    with loader.load(path) as model:
        assert_answers(model.run("serving_default", made.feeds), made.answers)


class DenseExporter(mx.BaseExporter):
    """Exports one graph frozen, as a distributed export does with its dense parts."""

    def export_saved_model(self, serving_input_receiver_fn, checkpoint_path=None, global_step=None):
        context = mx.ExportContext(source=self._source)
        graph = self._source.new_graph()
        with mx.enter_export_mode(mx.ExportMode.STANDALONE, context), self._export_environment():
            self._run_model_fn(graph, context, serving_input_receiver_fn)
        checkpoint = self._find_checkpoint(checkpoint_path)
        return self._export_frozen_saved_model_from_graph(
            graph, checkpoint, self._export_dir_base, export_ctx=context, global_step=global_step
        )


def model_fn(features):
    x = features["x"]
    with tf.device("/device:CPU:0"):
        w = tf1.get_variable("w", [4, 3], use_resource=True, initializer=tf1.random_normal_initializer(seed=1))
    r = tf1.get_variable("r", [3], use_resource=False, initializer=tf1.random_normal_initializer(seed=2))
    table = tf1.get_variable("table", [9, 3], use_resource=True, initializer=tf1.random_normal_initializer(seed=3))
    y = tf.identity(tf.matmul(x, w) + r + tf.reduce_sum(tf1.nn.embedding_lookup(table, features["ids"]), 0), name="y")
    return mx.EstimatorSpec(mx.ModeKeys.PREDICT, predictions={"y": y})


def receiver_fn():
    inputs = {
        "x": tf1.placeholder(tf.float32, [None, 4], name="x"),
        "ids": tf1.placeholder(tf.int64, [None], name="ids"),
    }
    return mx.ServingInputReceiver(inputs, inputs)


def write_as_upstream(checkpoint, export_dir):
    """Freeze by a session, import the graph into a new one, and add the global step there."""
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        inputs = receiver_fn().receiver_tensors
        outputs = model_fn(inputs).predictions
        tf1.train.Saver().restore(session, checkpoint)
        frozen = tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["ids", "x", "y"])
        devices = {node.name: node.device for node in graph.as_graph_def().node}
        signature = tf1.saved_model.build_signature_def(
            {key: tf1.saved_model.build_tensor_info(tensor) for key, tensor in inputs.items()},
            {key: tf1.saved_model.build_tensor_info(tensor) for key, tensor in outputs.items()},
            tf1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
    for node in frozen.node:
        node.device = devices.get(node.name, "")
    with tf.Graph().as_default(), tf1.Session() as session:
        tf.import_graph_def(frozen, name="")
        tf1.train.get_or_create_global_step()
        saver = tf1.train.Saver(sharded=True)
        saver.restore(session, checkpoint)
        builder = tf1.saved_model.Builder(str(export_dir))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            main_op=tf.no_op(),
            saver=saver,
            strip_default_attrs=True,
        )
        builder.save()


def test_exporter_equals_upstream(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        inputs = receiver_fn().receiver_tensors
        outputs = model_fn(inputs).predictions
        step = tf1.train.get_or_create_global_step()
        session.run(tf1.global_variables_initializer())
        session.run(step.assign_add(5))
        feeds = {"x": np.ones([2, 4], np.float32), "ids": np.array([1, 7])}
        answers = session.run(outputs, {inputs[key]: value for key, value in feeds.items()})
        checkpoint = tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"), step, write_meta_graph=False)
    write_as_upstream(checkpoint, tmp_path / "upstream")
    exporter = DenseExporter(
        model_fn,
        tmp_path,
        tmp_path / "base",
        source=TensorFlowSource(),
        validate="restore",
        global_step_as_timestamp=True,
    )
    path = exporter.export_saved_model(receiver_fn)
    assert path == os.fsencode(tmp_path / "base" / "5")
    with python_loader.load(os.fsdecode(path)) as model:
        assert_answers(model.run("serving_default", feeds), answers)
        assert model.session.run("global_step/Read/ReadVariableOp:0") == 5
    assert compare_trees(tmp_path / "upstream", Path(os.fsdecode(path))).same


# The first op whose shape TensorFlow infers anew in another way: Python had set that of the loop's variable, and the
# initial value of the other's was a handle of unknown shape.
SHAPES_DIFFER = {"while_loop_v1": "Enter", "while_v2_that_starts_with_a_variable": "StatelessWhile"}


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_equal_to_an_import(name, tmp_path):
    made = Made(GRAPHS[name], tmp_path, add_shapes=False)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf1.GraphDef.FromString(made.expected().SerializeToString()), name="")
        want = MetaGraphDef(graph_def=GraphDef.FromString(graph.as_graph_def(add_shapes=True).SerializeToString()))
    made = Made(GRAPHS[name], tmp_path)
    got = MetaGraphDef(graph_def=mx.freeze(made.meta, made.prefix).graph_def)
    rewrite_as_imported(got.graph_def, made.meta.graph_def)
    # Only the import says defaults of attributes that freezing leaves out, and exporters strip.
    got, want = (mx.strip_default_attrs(one).graph_def for one in (got, want))
    assert [node.name for node in got.node] == [node.name for node in want.node]
    different = [ours.op for ours, theirs in zip(got.node, want.node, strict=True) if ours != theirs]
    assert next(iter(different), None) == SHAPES_DIFFER.get(name)
    for one in (got, want):
        if name in SHAPES_DIFFER:
            for node in one.node:
                node.attr.pop("_output_shapes", None)
        # TensorFlow makes each function anew, with other shapes in it and in another order.
        if want.library.function:
            one.ClearField("library")
    assert_same_graphs(got, want)
