"""Events files against what TensorFlow writes, read by TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest

import mexport_pb as mx
from tests.support.tensorflow_models import write_dense_model, write_vocabulary_model

tf = pytest.importorskip("tensorflow")
saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
pytestmark = pytest.mark.tensorflow


def dense(path):
    write_dense_model(path)


def vocabulary(path):
    write_vocabulary_model(path, path.parent / "words.txt")


def function(path):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def __call__(self, x):
            return tf.nn.relu(x)

    tf.saved_model.save(Model(), str(path))


@pytest.mark.parametrize("write", [dense, vocabulary, function])
def test_the_events_that_tensorflow_writes(write, tmp_path):
    """But for the times, the writer's name, and the meta graph that TensorFlow's writer puts behind."""
    write(tmp_path / "m")
    (file,) = mx.import_to_tensorboard(tmp_path / "m", tmp_path / "logs")
    saved_model = saved_model_pb2.SavedModel.FromString((tmp_path / "m" / "saved_model.pb").read_bytes())
    (meta_graph,) = saved_model.meta_graphs
    with tf.Graph().as_default():
        writer = tf.compat.v1.summary.FileWriter(str(tmp_path / "theirs"))
        writer.add_graph(meta_graph.graph_def)
        writer.close()
    (their_file,) = (tmp_path / "theirs").iterdir()
    ours, theirs = (list(tf.compat.v1.train.summary_iterator(str(one))) for one in (file, their_file))
    assert len(ours) == len(theirs) == 2
    graphs = [tf.compat.v1.GraphDef.FromString(events[1].graph_def) for events in (ours, theirs)]
    assert graphs[0] == graphs[1] == meta_graph.graph_def
    assert len(graphs[0].node) > 0
    assert ours[0].source_metadata.writer == "mexport_pb"
    for events in (ours, theirs):
        assert events[0].wall_time == int(events[0].wall_time) > 1e9
        events[0].source_metadata.Clear()
        events[1].graph_def = b""
        for event in events:
            event.wall_time = 0
    assert ours == theirs
    assert len(Path(file).name.split(".")[3]) == len(their_file.name.split(".")[3]) == 10
