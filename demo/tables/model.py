"""The demo's second model as a TensorFlow v1 graph, with embedding tables of the real ops.

``x = concat([dense, user, item, ad, site])``, then a hidden layer with relu, then one logit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from demo.tables.params import DENSE, HIDDEN, SET, SINGLE, configuration
from mexport_pb.runtime.hash_table_ops import hash_table_from_config
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTable

__all__ = ["features", "train_graph"]

_v1 = tf.compat.v1


def features() -> dict[str, tf.Tensor]:
    """Make the placeholders of a request."""
    made = {name: _v1.placeholder(tf.int64, [None], name=name) for name in (*SINGLE, *SET)}
    made["dense"] = _v1.placeholder(tf.float32, [None, DENSE], name="dense")
    return made


def train_graph(inputs: Mapping[str, tf.Tensor], clicked: tf.Tensor, time: tf.Tensor) -> dict[str, Any]:
    """Build the model in the default graph, with one training step.

    Args:
        inputs: As :func:`features` makes them.
        clicked: float[batch], 0 or 1.
        time: int64[], the second that a step is taken at.

    Returns:
        ``score``, float[batch]; ``loss``, float[]; the operation ``train_op``; ``rows``, int64[], of the single tables.
    """
    step = _v1.train.get_or_create_global_step()
    tables = {name: hash_table_from_config(configuration(name), name_suffix=name) for name in SINGLE}
    many = MultiHashTable.from_configs({name: configuration(name) for name in SET})
    embeddings = {name: table.lookup(inputs[name]) for name, table in tables.items()}
    embeddings |= many.lookup({name: inputs[name] for name in SET})

    x = tf.concat([inputs["dense"], *(embeddings[name] for name in (*SINGLE, *SET))], axis=1)
    x = tf.nn.relu(_layer("hidden", x, HIDDEN))
    logits = tf.reshape(_layer("output", x, 1), [-1])
    score = tf.sigmoid(logits, name="score")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=clicked, logits=logits))

    # The optimizers of tables see an example at a time, so the mean over the batch is not for them.
    total = loss * tf.cast(tf.size(clicked), tf.float32)
    gradients = dict(zip(embeddings, tf.gradients(total, [*embeddings.values()]), strict=True))
    steps = [
        table.apply_gradients(inputs[name], gradients[name], step, enable_dedup=True, req_time=time).as_op()
        for name, table in tables.items()
    ]
    steps.append(many.apply_gradients({n: (inputs[n], gradients[n]) for n in SET}, step, req_time=time).as_op())
    dense_step = _v1.train.AdamOptimizer(0.003).minimize(loss, global_step=step)
    train_op = tf.group(dense_step, *steps)
    return {"score": score, "loss": loss, "train_op": train_op, "rows": [table.size() for table in tables.values()]}


def _layer(name: str, x: tf.Tensor, units: int) -> tf.Tensor:
    width = int(x.shape[1])
    kernel = np.random.default_rng(units).normal(0.0, width**-0.5, [width, units]).astype(np.float32)
    with _v1.variable_scope(name, use_resource=True):
        weights = _v1.get_variable("kernel", initializer=kernel)
        bias = _v1.get_variable("bias", initializer=np.zeros(units, np.float32))
        return tf.nn.bias_add(tf.matmul(x, weights), bias)
