"""Frozen graphs beside those of convert_variables_to_constants: equal messages, and equal answers from TensorFlow."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pytest
import tensorflow as tf

from mexport_pb import check_meta_graph, freeze, write_saved_model
from mexport_pb._proto.graph_pb2 import GraphDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import UnsupportedError
from mexport_pb.messages import make_signature_def, make_tensor_info
from tests.support import python_loader
from tests.support.freeze_graphs import GRAPHS

pytestmark = pytest.mark.tensorflow
tf1 = tf.compat.v1


class Made:
    """A graph of TensorFlow with its values in a checkpoint, frozen by TensorFlow, and its answers to a request."""

    def __init__(self, name, folder, add_shapes=True):
        with tf.Graph().as_default() as graph, tf1.Session(config=tf1.ConfigProto(allow_soft_placement=True)) as session:
            inputs, outputs = GRAPHS[name]()
            session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
            self.prefix = None
            if tf1.global_variables():
                self.prefix = str(folder / "c")
                tf1.train.Saver().save(session, self.prefix, write_meta_graph=False)
            graph_def = graph.as_graph_def(add_shapes=add_shapes)
            self.feeds = {key: value for key, (_, value) in inputs.items()}
            try:
                self.answers = session.run(outputs, {tensor: value for tensor, value in inputs.values()})
            except tf.errors.OpError:  # assigns, which a second run would repeat
                self.answers = None
            tensors = [tensor for tensor, _ in inputs.values()] + list(outputs.values())
            self.keep = sorted({tensor.op.name for tensor in tensors})
            self.meta = MetaGraphDef.FromString(
                tf1.train.export_meta_graph(graph_def=graph_def, graph=graph).SerializeToString()
            )
            self.meta.ClearField("saver_def")
            self.meta.signature_def["serving_default"].CopyFrom(
                make_signature_def(
                    {key: make_tensor_info(t.name, t.dtype, t.shape) for key, (t, _) in inputs.items()},
                    {key: make_tensor_info(t.name, t.dtype, t.shape) for key, t in outputs.items()},
                )
            )
            self.devices = {node.name: node.device for node in graph_def.node}
            self.session, self.graph_def = session, graph_def
            self.theirs = self._frozen_by_tensorflow()

    def _frozen_by_tensorflow(self):
        try:
            frozen = tf1.graph_util.convert_variables_to_constants(self.session, self.graph_def, self.keep)
        except ValueError:
            return None
        for node in frozen.node:
            node.device = self.devices.get(node.name, "")
        self.raw = frozen
        return numbered_from_zero(GraphDef.FromString(frozen.SerializeToString()), self.graph_def)


def numbered_from_zero(frozen, original):
    """Number the functions that TensorFlow renamed from 0: it takes the numbers from a counter of the process."""

    def order(name):
        base, _, number = name.rpartition("_")
        return (int(number), base) if number.isdecimal() else (-1, name)

    names = sorted((function.signature.name for function in original.library.function), key=order)
    renamed = {}
    for before, after in zip(original.library.function, frozen.library.function, strict=True):
        old, new = before.signature.name, after.signature.name
        if new != old:
            renamed[new] = f"{new.rpartition('_')[0]}_{names.index(old)}"
            after.signature.name = renamed[new]
    for node in [*frozen.node, *(node for function in frozen.library.function for node in function.node_def)]:
        for value in node.attr.values():
            for called in [value.func] if value.HasField("func") else value.list.func:
                called.name = renamed.get(called.name, called.name)
    return frozen


def difference(got, want):
    """The first nodes and functions that differ, as text."""
    lines = []

    def compare(what, mine, theirs):
        if [m.name if hasattr(m, "name") else m.signature.name for m in mine] != [
            t.name if hasattr(t, "name") else t.signature.name for t in theirs
        ]:
            lines.append(f"names of {what} differ")
        for m, t in zip(mine, theirs, strict=False):
            if m != t and len(lines) < 200:
                lines.extend(difflib.unified_diff(str(t).splitlines(), str(m).splitlines(), "tensorflow", "ours"))

    compare("nodes", got.node, want.node)
    compare("functions", got.library.function, want.library.function)
    if got.versions != want.versions or got.HasField("library") != want.HasField("library"):
        lines.append(f"versions or library: got {got.versions} {got.HasField('library')}, want {want.versions} ")
    return "\n".join(lines) or "the rest differs"


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_x(name, tmp_path):
    made = Made(name, tmp_path)
    got = freeze(made.meta, made.prefix)
    if made.theirs is None:
        pytest.fail("tf refuses")
    assert got.graph_def == made.theirs, difference(got.graph_def, made.theirs)
