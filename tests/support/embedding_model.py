"""Configurations of small tables for the tests, and a table made of dicts to compare with."""

import numpy as np

import mexport_pb as mx
from mexport_pb.table import CombineAsSegment, CuckooHashTableConfig, entry_config

DEFAULTS = {
    "initializer": mx.ZerosInitializer(),
    "optimizer": mx.SgdOptimizer(),
    "compressor": mx.Fp32Compressor(),
}


def segment(dim=1, **parts):
    return CombineAsSegment(dim, **{**DEFAULTS, **parts})


def table_config(*segments, serving=False, **config):
    return CuckooHashTableConfig(entry_config(*segments, serving=serving), **config)


def training(*segments, **config):
    return mx.EmbeddingTable(table_config(*segments, **config))


def serving(compressor, dim=1, **config):
    return mx.EmbeddingTable(table_config(segment(dim, compressor=compressor), serving=True, **config))


def ids_of(*ids):
    return np.array(ids, np.int64)


def floats(*values):
    return np.array(values, np.float32)
