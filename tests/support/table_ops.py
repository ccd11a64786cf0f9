"""Graphs with table ops, and sessions to run them in."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

import mexport_pb as mx
from mexport_pb._proto import hash_table_pb2
from mexport_pb.runtime import ops

__all__ = [
    "entry",
    "expire_config",
    "ids",
    "in_session",
    "multi_config",
    "multi_table",
    "table",
    "table_config",
    "threshold",
]


def table_config(dim=1, *, serving=False, optimizer=None, initializer=None, compressor=None, **settings):
    """The bytes of a table's config: zeros and sgd unless told."""
    segment = mx.CombineAsSegment(
        dim,
        initializer or mx.ZerosInitializer(),
        optimizer or mx.SgdOptimizer(),
        compressor or mx.Fp32Compressor(),
    )
    config = mx.CuckooHashTableConfig(mx.entry_config(segment, serving=serving), **settings)
    return config.as_proto().SerializeToString(deterministic=True)


def multi_config(configs):
    """The bytes of the configs of several tables, in the order of `configs`."""
    message = hash_table_pb2.MultiEmbeddingHashTableConfig(names=list(configs))
    for config in configs.values():
        message.configs.add().ParseFromString(config)
    return message.SerializeToString(deterministic=True)


def table(config, name="table", *, hash_filter=None):
    """The handle of a table in the default graph."""
    if hash_filter is None:
        hash_filter = ops.dummy_hash_filter(shared_name=f"{name}_filter")
    return ops.hash_table(
        hash_filter, ops.dummy_sync_client(shared_name=f"{name}_client"), config=config, shared_name=name
    )


def multi_table(configs, name="mtable", *, hash_filter=None):
    """The handle of several tables in the default graph."""
    if hash_filter is None:
        hash_filter = ops.dummy_hash_filter(shared_name=f"{name}_filter")
    client = ops.dummy_sync_client(shared_name=f"{name}_client")
    return ops.create_multi_hash_table(multi_config(configs), hash_filter, client, shared_name=name)


@contextmanager
def in_session(target=""):
    """A new graph, and a function that runs what is in it."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=4, use_per_session_threads=not target, device_count={"GPU": 0}
    )
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(target, graph=graph, config=config) as session:
        yield session.run


def entry(data):
    """A parsed EntryDump."""
    return hash_table_pb2.EntryDump.FromString(data)


def expire_config(default=36500, **days):
    """A SlotExpireTimeConfig; `s3=5` gives slot 3 five days."""
    message = hash_table_pb2.SlotExpireTimeConfig(default_expire_time=default)
    for slot, time in days.items():
        message.slot_expire_times.add(slot=int(slot[1:]), expire_time=time)
    return message.SerializeToString()


def threshold(default, **slots):
    """A SlotOccurrenceThresholdConfig; `s3=5` gives slot 3 a threshold of 5."""
    message = hash_table_pb2.SlotOccurrenceThresholdConfig(default_occurrence_threshold=default)
    for slot, value in slots.items():
        message.slot_occurrence_thresholds.add(slot=int(slot[1:]), occurrence_threshold=value)
    return message.SerializeToString()


def ids(*values):
    """An int64 array."""
    return np.array(values, np.int64)
