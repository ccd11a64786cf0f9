"""The serving half of :mod:`demo.model` as a model function for GraphBuilder: no TensorFlow takes part.

The variables have the names, shapes and kinds of the trained model, so the checkpoint fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mexport_pb as mx
from demo.params import EMBEDDING_DIM, HIDDEN, ITEM_FEATURES, TABLE, USER_FEATURES, Params

__all__ = ["make_model_fn", "serving_input_receiver_fn"]

_WIDTH = USER_FEATURES + ITEM_FEATURES + EMBEDDING_DIM


def serving_input_receiver_fn() -> mx.ServingInputReceiver:
    """Make the placeholders of a request."""
    graph = mx.get_default_graph()
    features = {
        "user": graph.placeholder("float32", [None, USER_FEATURES], name="user"),
        "item": graph.placeholder("float32", [None, ITEM_FEATURES], name="item"),
        "item_id": graph.placeholder("int64", [None], name="item_id"),
    }
    return mx.ServingInputReceiver(features, features)


def make_model_fn(params: Params) -> Callable[..., mx.EstimatorSpec]:
    """Return the model function for a training run's sizes."""

    def model_fn(features: Mapping[str, mx.Tensor], mode: str, config: mx.RunConfig) -> mx.EstimatorSpec:
        del config
        graph = mx.get_default_graph()
        parts = [features["user"], features["item"]]
        for index, (first, width) in enumerate(params.columns()):
            part = graph.variable(
                f"{TABLE}/part_{index}",
                [params.embedding_rows, width],
                save_slice=mx.SaveSlice(TABLE, [params.embedding_rows, EMBEDDING_DIM], [0, first]),
            )
            parts.append(graph.gather(part, features["item_id"]))
        x = graph.concat(parts, 1, name="x0")
        x = graph.relu(_dense(graph, "hidden_0", x, (_WIDTH, HIDDEN[0]), kernel_resource=False, bias_resource=False))
        x = graph.relu(_dense(graph, "hidden_1", x, HIDDEN, kernel_resource=True, bias_resource=True))
        logits = _dense(graph, "output", x, (HIDDEN[1], 1), kernel_resource=True, bias_resource=False)
        logits = graph.reshape(logits, [-1], name="logits")
        return mx.EstimatorSpec(mode, {"logits": logits, "score": graph.sigmoid(logits, name="score")})

    return model_fn


def _dense(
    graph: mx.GraphBuilder,
    name: str,
    x: mx.Tensor,
    shape: tuple[int, int],
    *,
    kernel_resource: bool,
    bias_resource: bool,
) -> mx.Tensor:
    kernel = graph.variable(f"{name}/kernel", shape, use_resource=kernel_resource)
    bias = graph.variable(f"{name}/bias", shape[1:], use_resource=bias_resource)
    return graph.bias_add(graph.matmul(x, kernel), bias)
