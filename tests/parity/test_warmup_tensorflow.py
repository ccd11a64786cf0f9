"""Warmup files with TensorFlow's record files and TensorFlow Serving's messages, in both directions."""

import re

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.messages import serialize
from tests.support.warmup import logs_of_all_kinds, model

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def tf():
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def their_logs():
    """By kind, logs that tensorflow-serving's classes made; they fit the model of the tests."""
    pytest.importorskip("tensorflow_serving.apis")
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    logs = {kind: PredictionLog() for kind in logs_of_all_kinds()}
    example = tf.train.Example()
    example.features.feature["a"].float_list.value.extend([1.5, float("nan")])
    example.features.feature["ä"].bytes_list.value.append(b"\x00\xff text")

    request = logs["predict_log"].predict_log.request
    request.model_spec.name = "m"
    request.model_spec.version.value = 3
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.arange(6, dtype=np.float32).reshape(2, 3)))
    request.inputs["ids"].CopyFrom(tf.make_tensor_proto(np.array([1, -2])))
    strings = [b"\x00\xff", b'quote " string_val: "inside"\nnewline']
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(strings))
    request.output_filter.append("z")
    request = logs["classify_log"].classify_log.request
    request.model_spec.signature_name = "classify"
    request.model_spec.name = "m"
    request.input.example_list.examples.append(example)
    request = logs["regress_log"].regress_log.request
    request.model_spec.signature_name = "regress"
    request.model_spec.name = "m"
    request.input.example_list_with_context.examples.append(example)
    request.input.example_list_with_context.context.CopyFrom(example)
    request = logs["multi_inference_log"].multi_inference_log.request
    for name in ("classify", "regress"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name = "m"
        task.model_spec.signature_name = name
    request.input.example_list.examples.extend([example, example])
    request = logs["session_run_log"].session_run_log.request
    request.model_spec.name = "m"
    request.feed.add(name="text:0", tensor=tf.make_tensor_proto([b"secret"]))
    request.fetch.append("y:0")
    request.options.timeout_in_ms = 5
    return logs


def test_files_are_theirs_byte_for_byte(tf, their_logs, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for log in their_logs.values():
            writer.write(log.SerializeToString(deterministic=True))
    assert mx.write_warmup(tmp_path / "ours", their_logs.values(), model()) == 5
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    requests = [getattr(log, kind).request for kind, log in their_logs.items()]
    mx.write_warmup(tmp_path / "of_requests", requests, model())
    assert (tmp_path / "of_requests").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_we_read_and_print_what_they_write(tf, their_logs, tmp_path, compression):
    from google.protobuf import text_format

    path = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for log in their_logs.values():
            writer.write(log.SerializeToString())
    ours = list(mx.read_warmup(path))
    assert [serialize(log) for log in ours] == [
        log.SerializeToString(deterministic=True) for log in their_logs.values()
    ]
    texts = [text_format.MessageToString(getattr(log, kind).request) for kind, log in their_logs.items()]
    heads = ["", *(f" {kind}" for kind in list(their_logs)[1:])]
    full = [f"{i}th model_spec:{head}\n{text}" for i, (head, text) in enumerate(zip(heads, texts, strict=True))]
    assert [f"{one}\n" for one in mx.decode_warmup(path, raw=True)] == full
    hidden = [re.sub("string_val:.*", "string_val: ...", one) for one in full]
    assert [f"{one}\n" for one in mx.decode_warmup(path)] == hidden


def test_they_read_what_we_write(tf, their_logs, tmp_path):
    theirs = type(their_logs["predict_log"])
    ours = list(logs_of_all_kinds().values())
    mx.write_warmup(tmp_path / "ours", ours, model())
    read = [theirs.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(tmp_path / "ours"))]
    assert [log.SerializeToString(deterministic=True) for log in read] == [serialize(log) for log in ours]
    x = tf.make_ndarray(read[0].predict_log.request.inputs["x"])
    assert x.shape == (2, 3)
    example = read[1].classify_log.request.input.example_list.examples[0]
    features = {"a": tf.io.FixedLenFeature([], tf.float32), "b": tf.io.VarLenFeature(tf.int64)}
    parsed = tf.io.parse_single_example(example.SerializeToString(), features)
    assert parsed["a"].numpy() == 1.5
    assert parsed["b"].values.numpy().tolist() == [1, 2]
