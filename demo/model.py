"""The demo's model: a small click model over dense features and one embedding table, as a TensorFlow v1 graph.

Its variables are of all the kinds that an exporter has to tell apart, here with the default of three parts:

==========================  ======  ==========  ========  ==============================================
variable                    dtype   shape       kind      in the checkpoint
==========================  ======  ==========  ========  ==============================================
``global_step``             int64   []          resource  as named
``embedding/item/part_0``   float   [rows, 6]   resource  ``embedding/item``, ``rows 16 0,rows:0,6``
``embedding/item/part_1``   float   [rows, 5]   resource  ``embedding/item``, ``rows 16 0,rows:6,5``
``embedding/item/part_2``   float   [rows, 5]   resource  ``embedding/item``, ``rows 16 0,rows:11,5``
``hidden_0/kernel``         float   [30, 32]    ref       as named
``hidden_0/bias``           float   [32]        ref       as named
``hidden_1/kernel``         float   [32, 16]    resource  as named
``hidden_1/bias``           float   [16]        resource  as named
``output/kernel``           float   [16, 1]     resource  as named
``output/bias``             float   [1]         ref       as named
==========================  ======  ==========  ========  ==============================================

Rows and parts are those of :class:`demo.params.Params`; a single part is ``embedding/item/part_0``, [rows, 16], in the
checkpoint a plain tensor ``embedding/item``.

The table is partitioned by columns: each part is looked up by itself and the results are joined, so a request costs
nothing that grows with the table. The graph, where ``batch`` is unknown until a request comes::

    user     float[batch, 8]   placeholder
    item     float[batch, 6]   placeholder
    item_id  int64[batch]      placeholder
    x0     = concat([user, item, gather(part_0, item_id), gather(part_1, item_id), gather(part_2, item_id)], axis=1)
    x1     = relu(bias_add(matmul(x0, hidden_0/kernel), hidden_0/bias))       float[batch, 32]
    x2     = relu(bias_add(matmul(x1, hidden_1/kernel), hidden_1/bias))       float[batch, 16]
    logits = reshape(bias_add(matmul(x2, output/kernel), output/bias), [-1])  float[batch]
    score  = sigmoid(logits)                                                  float[batch]
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from demo.params import EMBEDDING_DIM, HIDDEN, ITEM_FEATURES, USER_FEATURES, Params

__all__ = ["model_fn", "serving_features"]

_v1 = tf.compat.v1


def serving_features() -> dict[str, tf.Tensor]:
    """Make the placeholders of a request: ``user``, ``item`` and ``item_id``."""
    return {
        "user": _v1.placeholder(tf.float32, [None, USER_FEATURES], name="user"),
        "item": _v1.placeholder(tf.float32, [None, ITEM_FEATURES], name="item"),
        "item_id": _v1.placeholder(tf.int64, [None], name="item_id"),
    }


def model_fn(
    features: Mapping[str, tf.Tensor], mode: str, config: object = None, params: Params | None = None
) -> dict[str, tf.Tensor]:
    """Build the model in the default graph.

    Args:
        features: Tensors ``user``, ``item`` and ``item_id``; for training also ``clicked``, float[batch] of 0 and 1.
        mode: ``train``, ``eval`` or ``infer``. Training adds the loss and an Adam step.
        config: Taken for the sake of the usual signature; the model needs nothing of it.
        params: Sizes; the defaults of :class:`Params` when None.

    Returns:
        ``logits`` and ``score``, float[batch] each; for training also ``loss``, float[], and the operation
        ``train_op``.
    """
    del config
    params = params or Params()
    with _v1.variable_scope("embedding"):
        table = _v1.get_variable(
            "item",
            [params.embedding_rows, EMBEDDING_DIM],
            initializer=_v1.random_normal_initializer(stddev=0.1, seed=7),
            partitioner=_v1.fixed_size_partitioner(params.embedding_parts, axis=1),
            use_resource=True,
        )
        embedded = [_v1.nn.embedding_lookup(part, features["item_id"]) for part in table]
    x = tf.concat([features["user"], features["item"], *embedded], axis=1, name="x0")
    x = tf.nn.relu(_dense("hidden_0", x, HIDDEN[0], kernel_resource=False, bias_resource=False))
    x = tf.nn.relu(_dense("hidden_1", x, HIDDEN[1], kernel_resource=True, bias_resource=True))
    logits = tf.reshape(_dense("output", x, 1, kernel_resource=True, bias_resource=False), [-1], name="logits")
    predictions = {"logits": logits, "score": tf.sigmoid(logits, name="score")}
    with _v1.variable_scope("", use_resource=True):
        step = _v1.train.get_or_create_global_step()
    if mode == "train":
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=features["clicked"], logits=logits)
        predictions["loss"] = tf.reduce_mean(losses)
        predictions["train_op"] = _v1.train.AdamOptimizer(0.01).minimize(predictions["loss"], global_step=step)
    return predictions


def _dense(name: str, x: tf.Tensor, units: int, *, kernel_resource: bool, bias_resource: bool) -> tf.Tensor:
    shape = [int(x.shape[1]), units]
    kernel = np.random.default_rng(shape).normal(0.0, shape[0] ** -0.5, shape).astype(np.float32)
    with _v1.variable_scope(name):
        weights = _v1.get_variable("kernel", initializer=kernel, use_resource=kernel_resource)
        bias = _v1.get_variable("bias", initializer=np.zeros(units, np.float32), use_resource=bias_resource)
        return tf.nn.bias_add(tf.matmul(x, weights), bias)
