"""Saved models for checks of what is served: one that answers Examples, and one that fails at some requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import mexport_pb as mx
from mexport_pb._proto.example_pb2 import Example
from mexport_pb.messages import (
    make_classify_request,
    make_inference_task,
    make_model_spec,
    make_multi_inference_request,
    make_predict_request,
    make_regress_request,
    make_session_run_request,
)

__all__ = ["example", "examples_requests", "write_examples_model"]

_v1 = tf.compat.v1
_saved_model = _v1.saved_model


def example(age: float, name: str = "") -> Example:
    """An Example as the model parses it."""
    message = Example()
    message.features.feature["age"].float_list.value.append(age)
    if name:
        message.features.feature["name"].bytes_list.value.append(name.encode())
    return message


def write_examples_model(export_dir: Path) -> None:
    """Classes ``["a", name]`` and scores ``[age, 2 age]`` of Examples, and the regression ``3 age``.

    Signatures: "classify", "regress", "flat" (a classification of scores that are a vector), and "serving_default",
    which takes the Examples under "examples" and gives ``age``.
    """
    with tf.Graph().as_default(), _v1.Session() as session:
        serialized = _v1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(
            serialized,
            {"age": tf.io.FixedLenFeature([], tf.float32), "name": tf.io.FixedLenFeature([], tf.string, "b")},
        )
        age = tf.identity(parsed["age"], name="age")
        classes = tf.stack([tf.fill(tf.shape(age), "a"), parsed["name"]], axis=1)
        scores = tf.stack([age, 2 * age], axis=1)

        def signature(inputs, outputs, method):
            infos = [{k: _saved_model.build_tensor_info(t) for k, t in side.items()} for side in (inputs, outputs)]
            return _saved_model.build_signature_def(*infos, method)

        inputs = {"inputs": serialized}
        builder = _saved_model.Builder(str(export_dir))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "classify": signature(inputs, {"classes": classes, "scores": scores}, mx.CLASSIFY_METHOD),
                "flat": signature(inputs, {"scores": age}, mx.CLASSIFY_METHOD),
                "regress": signature(inputs, {"outputs": 3 * age}, mx.REGRESS_METHOD),
                "serving_default": signature({"examples": serialized}, {"age": age}, mx.PREDICT_METHOD),
            },
        )
        builder.save()


def examples_requests() -> dict[str, object]:
    """A good request of each kind for that model."""
    given = [example(1, "x"), example(2)]
    strings = np.array([e.SerializeToString() for e in given], object)

    def spec(key: str) -> object:
        return make_model_spec("any", signature_name=key)

    tasks = [
        make_inference_task(spec("regress"), mx.REGRESS_METHOD),
        make_inference_task(spec("classify"), mx.CLASSIFY_METHOD),
    ]
    return {
        "predict": make_predict_request(spec(""), {"examples": strings}),
        "classify": make_classify_request(spec("classify"), given),
        "regress": make_regress_request(spec("regress"), given),
        "multi_inference": make_multi_inference_request(tasks, given),
        "session_run": make_session_run_request("any", {"examples:0": strings}, ["age:0"]),
    }
