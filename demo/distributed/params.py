"""The model's slots, and how they are configured; free of TensorFlow.

A slot has a vector for each pair that it is in, and the slots 0 to 3 a bias in front. Slots that are alike share
a table:

=====================  ===  ======================================================
slots                  dim  segments
=====================  ===  ======================================================
feature_0, _2, _3      33   a bias, ftrl; 2 vectors of 16, sgd
feature_1              17   a bias, ftrl; 1 vector
feature_4              16   1 vector
feature_5              32   2 vectors
=====================  ===  ======================================================
"""

from __future__ import annotations

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

import mexport_pb as mx
from mexport_pb._proto.instance_pb2 import Instance

__all__ = [
    "BIASED",
    "DIM",
    "INSTANCES",
    "MODEL_NAME",
    "NUM_PS",
    "PAIRS",
    "SLOTS",
    "SLOT_SHIFT",
    "configuration",
    "configurations",
    "descriptor",
    "make_fids",
    "make_instances",
    "offsets",
    "widths",
]

NUM_PS = 5
MODEL_NAME = "ffm"
SLOTS = [f"feature_{i}" for i in range(6)]
PAIRS = [(0, 3), (0, 4), (1, 5), (2, 3), (2, 5)]
DIM = 16
BIASED = (0, 1, 2, 3)
INSTANCES = "held_out.tfrecord"
"""Serialised Instances beside the checkpoint, and in ``held_out.npz`` the training graph's ``predictions`` for them."""
VALUES = 5
"""How many different fids a slot has in training."""
SLOT_SHIFT = 54
"""Fids are of version 1: ten bits of slot, the rest is the value."""


def widths() -> dict[int, int]:
    """The floats of each slot's vectors, without the bias."""
    return {slot: DIM * sum(slot in pair for pair in PAIRS) for slot in range(len(SLOTS))}


def offsets(slot: int) -> dict[tuple[int, int], int]:
    """Where in a slot's vector that of each pair begins."""
    begin = 1 if slot in BIASED else 0
    return {pair: begin + DIM * i for i, pair in enumerate(one for one in PAIRS if slot in one)}


def configuration(slot: int) -> mx.HashTableConfigInstance:
    """A slot's configuration."""
    start = mx.RandomUniformInitializer(-0.1, 0.1)
    segments = [mx.CombineAsSegment(widths()[slot], start, mx.SgdOptimizer(), mx.Fp32Compressor())]
    rates = [0.1]
    if slot in BIASED:
        ftrl = mx.FtrlOptimizer(initial_accumulator_value=0.1, beta=1.0)
        segments.insert(0, mx.CombineAsSegment(1, mx.ZerosInitializer(), ftrl, mx.Fp32Compressor()))
        rates.insert(0, 0.2)
    config = mx.CuckooHashTableConfig(mx.entry_config(*segments)).as_proto()
    return mx.HashTableConfigInstance(config, rates)


def configurations() -> dict[str, mx.HashTableConfigInstance]:
    """All slots' configurations, by name."""
    return {name: configuration(slot) for slot, name in enumerate(SLOTS)}


def descriptor() -> bytes:
    """What ``DecodeProtoV2`` needs to know of a serialised Instance: the field with the fids."""
    field = FieldDescriptorProto(
        name="fid", number=1, label=FieldDescriptorProto.LABEL_REPEATED, type=FieldDescriptorProto.TYPE_FIXED64
    )
    field.options.packed = True
    file = FileDescriptorProto(name="instance.proto", package="demo")
    file.message_type.add(name="Instance").field.append(field)
    return b"bytes://" + FileDescriptorSet(file=[file]).SerializeToString(deterministic=True)


def make_fids(rng: np.random.Generator, size: int, *, unseen: bool = False) -> list[list[int]]:
    """The fids of some instances: one to three of each slot, in any order; of slot 5 sometimes none."""
    first = 100 * VALUES if unseen else 0
    instances = []
    for _ in range(size):
        fids: list[int] = []
        for slot in range(len(SLOTS)):
            count = int(rng.integers(0 if slot == len(SLOTS) - 1 else 1, 4))
            fids += [(slot << SLOT_SHIFT) | first | int(value) for value in rng.integers(0, VALUES, count)]
        instances.append([fids[i] for i in rng.permutation(len(fids))])
    return instances


def make_instances(fids: list[list[int]]) -> list[bytes]:
    """Serialised Instances of these fids."""
    return [Instance(fid=one).SerializeToString() for one in fids]
