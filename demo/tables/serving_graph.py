"""The serving half of :mod:`demo.tables.model` as a model function for GraphBuilder: no TensorFlow takes part."""

from __future__ import annotations

from collections.abc import Mapping

import mexport_pb as mx
from demo.tables.params import DENSE, HIDDEN, SET, SINGLE, configuration

__all__ = ["model_fn", "serving_input_receiver_fn"]

_WIDTH = DENSE + sum({**SINGLE, **SET}.values())


def serving_input_receiver_fn() -> mx.ServingInputReceiver:
    """Make the placeholders of a request."""
    graph = mx.get_default_graph()
    made = {name: graph.placeholder("int64", [None], name=name) for name in (*SINGLE, *SET)}
    made["dense"] = graph.placeholder("float32", [None, DENSE], name="dense")
    return mx.ServingInputReceiver(made, made)


def model_fn(features: Mapping[str, mx.Tensor], mode: str) -> mx.EstimatorSpec:
    """Build the model; the tables have the names of training, so the checkpoint's files are found."""
    graph = mx.get_default_graph()
    embeddings = {
        name: mx.hash_table_from_config(configuration(name), name_suffix=name).lookup(features[name]) for name in SINGLE
    }
    many = mx.MultiHashTable.from_configs({name: configuration(name) for name in SET})
    embeddings |= many.lookup({name: features[name] for name in SET})
    x = graph.concat([features["dense"], *(embeddings[name] for name in (*SINGLE, *SET))], 1)
    x = graph.relu(_layer(graph, "hidden", x, (_WIDTH, HIDDEN)))
    logits = graph.reshape(_layer(graph, "output", x, (HIDDEN, 1)), [-1])
    return mx.EstimatorSpec(mode, {"score": graph.sigmoid(logits)})


def _layer(graph: mx.GraphBuilder, name: str, x: mx.Tensor, shape: tuple[int, int]) -> mx.Tensor:
    kernel = graph.variable(f"{name}/kernel", shape, use_resource=True)
    bias = graph.variable(f"{name}/bias", shape[1:], use_resource=True)
    return graph.bias_add(graph.matmul(x, kernel), bias)
