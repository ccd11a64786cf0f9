"""The model in TensorFlow: one model_fn trains, and builds the serving graphs of both exports.

For each slot an instance's vector is the sum of those of its fids. The prediction is
``sigmoid(sum of biases + sum over pairs of dot(vector, vector))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

import mexport_pb as mx
from demo.distributed.params import (
    BIASED,
    DIM,
    MODEL_NAME,
    NUM_PS,
    PAIRS,
    SLOT_SHIFT,
    SLOTS,
    configurations,
    descriptor,
    offsets,
)
from mexport_pb.runtime.distributed_ps import create_hash_tables, ps_device

__all__ = ["ids_receiver_fn", "instances_receiver_fn", "make_model_fn", "model_fn", "parse_instances"]

_v1 = tf.compat.v1


def instances_receiver_fn() -> mx.ServingInputReceiver:
    """A request of serialised Instances."""
    instances = _v1.placeholder(tf.string, [None], name="instances")
    return mx.ServingInputReceiver(parse_instances(instances), {"instances": instances})


def ids_receiver_fn() -> mx.ServingInputReceiver:
    """A request of one fid for each slot."""
    ids = {name: _v1.placeholder(tf.int64, [None], name=name) for name in SLOTS}
    size = tf.size(ids[SLOTS[0]], out_type=tf.int64)
    features: dict[str, Any] = {name: (one, tf.range(size)) for name, one in ids.items()}
    return mx.ServingInputReceiver({**features, "size": size}, ids)


def parse_instances(instances: tf.Tensor) -> dict[str, Any]:
    """What the model takes of serialised Instances, string [batch]; the op that decodes wants at least one.

    Returns:
        For each slot its fids, int64 [n], and the instance that each is of, int64 [n]; and the number of instances,
        ``size``.
    """
    sizes, (fids,) = tf.io.decode_proto(instances, "demo.Instance", ["fid"], [tf.uint64], descriptor())
    # Instances with fewer fids than others are padded.
    present = tf.range(tf.shape(fids)[1])[None, :] < sizes
    slots = tf.cast(tf.bitwise.right_shift(fids, tf.constant(SLOT_SHIFT, tf.uint64)), tf.int32)
    fids = tf.bitcast(fids, tf.int64)
    features: dict[str, Any] = {"size": tf.size(instances, out_type=tf.int64)}
    for slot, name in enumerate(SLOTS):
        places = tf.where(present & tf.equal(slots, slot))
        features[name] = (tf.gather_nd(fids, places), places[:, 0])
    return features


def make_model_fn(
    num_ps: int = NUM_PS, *, native: bool = False, device: Callable[[int], str] | None = ps_device
) -> Callable[..., mx.EstimatorSpec]:
    """A model_fn with so many parameter servers.

    Args:
        num_ps: 0 for none.
        native: Whether a server's tables are many behind one handle.
        device: The device of each server in training.
    """

    def model_fn(features: Mapping[str, Any], mode: str, labels: Any = None) -> mx.EstimatorSpec:
        tables = create_hash_tables(
            configurations(),
            num_ps,
            use_native_multi_hash_table=native,
            model_name=MODEL_NAME,
            max_rpc_deadline_millis=30000,
            device=device,
        )
        ids = {name: features[name][0] for name in SLOTS}
        embeddings = tables.lookup(ids)
        pooled = [tf.math.unsorted_segment_sum(embeddings[name], features[name][1], features["size"]) for name in SLOTS]
        # Not one added to another: TensorFlow reorders such sums by what it knows of shapes, differently in each graph.
        terms = [pooled[slot][:, 0] for slot in BIASED]
        for pair in PAIRS:
            left, right = (pooled[slot][:, offsets(slot)[pair] : offsets(slot)[pair] + DIM] for slot in pair)
            terms.append(tf.reduce_sum(left * right, axis=1))
        logits = tf.reduce_sum(tf.stack(terms, axis=1), axis=1)
        predictions = tf.sigmoid(logits, name="predictions")
        if mode != mx.ModeKeys.TRAIN:
            return mx.EstimatorSpec(mode, predictions)
        step = _v1.train.get_or_create_global_step()
        # The optimizers of tables see an example at a time, so the mean over the batch is not for them.
        loss = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
        gradients = tf.gradients(loss, [embeddings[name] for name in SLOTS])
        pairs = {name: (ids[name], one) for name, one in zip(SLOTS, gradients, strict=True)}
        update = tables.apply_gradients(pairs, step).as_op()
        with tf.control_dependencies([update]):
            train_op = _v1.assign_add(step, 1)
        return mx.EstimatorSpec(mode, predictions, loss / tf.cast(features["size"], tf.float32), train_op)

    return model_fn


model_fn = make_model_fn()
