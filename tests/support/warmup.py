"""A model with signatures of every method, and a log of every kind that it answers."""

import numpy as np

import mexport_pb as mx

__all__ = ["log_of", "logs_of_all_kinds", "model", "predict_log"]


def model():
    """A MetaGraphDef: dense inputs of several dtypes, tensors of Examples, and a sparse input."""
    graph = mx.GraphBuilder()
    with graph.as_default():
        x = graph.placeholder("float32", [None, 3], name="x")
        ids = graph.placeholder("int64", [None], name="ids")
        text = graph.placeholder("string", [None], name="text")
        examples = graph.placeholder("string", [None], name="examples")
        other = graph.placeholder("string", [None], name="other")
        scalar = graph.placeholder("float32", [], name="scalar")
        y = graph.reduce_sum(x, 1, name="y")
    info = mx.make_tensor_info
    outputs = {"y": info("y:0", "float32", [None])}
    predict = mx.make_signature_def(
        {"x": x, "ids": ids, "text": text}, {**outputs, "z": info("y:0", "float32", [None])}
    )
    optional = mx.make_signature_def({"x": x, "scalar": scalar}, outputs)
    optional.defaults["scalar"].CopyFrom(mx.make_tensor_proto(np.float32(1)))
    sparse = mx.make_signature_def({"x": x}, outputs)
    parts = sparse.inputs["x"].coo_sparse
    parts.values_tensor_name, parts.indices_tensor_name, parts.dense_shape_tensor_name = "x:0", "ids:0", "ids:0"
    return graph.to_meta_graph(
        signatures={
            "serving_default": predict,
            "optional": optional,
            "sparse": sparse,
            "none": mx.make_signature_def({}, outputs),
            "uncalled": mx.make_signature_def({}, outputs, ""),
            "classify": mx.make_signature_def({"inputs": examples}, {"scores": y}, mx.CLASSIFY_METHOD),
            "regress": mx.make_signature_def({"inputs": examples}, {"outputs": y}, mx.REGRESS_METHOD),
            "regress_other": mx.make_signature_def({"inputs": other}, {"outputs": y}, mx.REGRESS_METHOD),
            "regress_two": mx.make_signature_def({"inputs": examples, "x": x}, {"outputs": y}, mx.REGRESS_METHOD),
        }
    )


def log_of(request):
    return mx.make_prediction_log(request)


def predict_log(signature="", *, name="m", output_filter=(), **changes):
    """A log that fits; `changes` replace inputs, or remove them with None."""
    inputs = {"x": np.zeros((2, 3), np.float32), "ids": np.array([1, 2]), "text": ["a", "secret"]} | changes
    return log_of(
        mx.make_predict_request(
            mx.make_model_spec(name, signature_name=signature),
            {key: value for key, value in inputs.items() if value is not None},
            output_filter,
        )
    )


def logs_of_all_kinds():
    """By kind; they fit :func:`model`."""
    examples = [mx.make_example({"a": 1.5, "b": [1, 2], "c": "text"}), mx.make_example({})]
    context = mx.make_example({"d": b"\xff"})

    def spec(key):
        return mx.make_model_spec("m", signature_name=key)

    return {
        "predict_log": predict_log(output_filter=["y"]),
        "classify_log": log_of(mx.make_classify_request(spec("classify"), examples)),
        "regress_log": log_of(mx.make_regress_request(spec("regress"), examples, context)),
        "multi_inference_log": log_of(
            mx.make_multi_inference_request(
                [
                    mx.make_inference_task(spec("classify"), mx.CLASSIFY_METHOD),
                    mx.make_inference_task(spec("regress"), mx.REGRESS_METHOD),
                ],
                examples,
            )
        ),
        "session_run_log": log_of(
            mx.make_session_run_request(spec(""), {"x:0": np.zeros((1, 3), np.float32), "text:0": ["secret"]}, ["y:0"])
        ),
    }
