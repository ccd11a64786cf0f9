"""The serving half of :mod:`demo.distributed.model` as a model function for GraphBuilder: no TensorFlow takes part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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

__all__ = ["instances_receiver_fn", "make_model_fn", "model_fn"]


def instances_receiver_fn() -> mx.ServingInputReceiver:
    """A request of serialised Instances."""
    graph = mx.get_default_graph()
    instances = graph.placeholder("string", [None], name="instances")
    attrs = {
        "message_type": "demo.Instance",
        "field_names": ["fid"],
        "output_types": ["uint64"],
        "descriptor_source": descriptor(),
    }
    sizes, fids = graph.op("DecodeProtoV2", [instances], attrs=attrs).outputs
    # Instances with fewer fids than others are padded.
    width = graph.shape(fids)[1]
    present = graph.less(graph.expand_dims(graph.range(0, width), 0), sizes)
    shift = graph.const(SLOT_SHIFT, "uint64")
    slots = graph.cast(graph.op("RightShift", [fids, shift]).output, "int32")
    ids = graph.op("Bitcast", [fids], attrs={"type": "int64"}).output
    features: dict[str, Any] = {"size": graph.op("Size", [instances], attrs={"out_type": "int64"}).output}
    for slot, name in enumerate(SLOTS):
        places = graph.op("Where", [graph.logical_and(present, graph.equal(slots, slot))]).output
        of_slot = graph.op("GatherNd", [ids, places], shapes=[[None]]).output
        features[name] = (of_slot, graph.op("Slice", [places, [0, 0], [-1, 1]]).output)
    return mx.ServingInputReceiver(features, {"instances": instances})


def make_model_fn(num_ps: int = NUM_PS, *, native: bool = False) -> Callable[..., mx.EstimatorSpec]:
    """A model_fn with so many parameter servers; ``native`` as for :func:`demo.distributed.model.make_model_fn`."""

    def model_fn(features: Mapping[str, Any], mode: str) -> mx.EstimatorSpec:
        graph = mx.get_default_graph()
        tables = mx.create_hash_tables(
            configurations(),
            num_ps,
            use_native_multi_hash_table=native,
            model_name=MODEL_NAME,
            max_rpc_deadline_millis=30000,
        )
        embeddings = tables.lookup({name: features[name][0] for name in SLOTS})
        pooled = []
        for name in SLOTS:
            rows = graph.reshape(features[name][1], [-1])
            pooled.append(graph.unsorted_segment_sum(embeddings[name], rows, features["size"]))
        terms = [pooled[slot][:, 0] for slot in BIASED]
        for pair in PAIRS:
            left, right = (pooled[slot][:, offsets(slot)[pair] : offsets(slot)[pair] + DIM] for slot in pair)
            terms.append(graph.reduce_sum(left * right, axis=1))
        logits = graph.reduce_sum(graph.op("Pack", [terms], attrs={"axis": 1}).output, axis=1)
        return mx.EstimatorSpec(mode, graph.sigmoid(logits, name="predictions"))

    return model_fn


model_fn = make_model_fn()
