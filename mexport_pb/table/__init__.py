"""Embedding hash tables: in memory, and their dumps as columns.

The byte formats are in ``docs/formats/hash_table.md``, what tables do in ``docs/embedding_table.md``.
"""

from __future__ import annotations

from mexport_pb.table.config import (
    AdadeltaOptimizer,
    AdagradOptimizer,
    AdamOptimizer,
    AmsgradOptimizer,
    BatchSoftmaxInitializer,
    BatchSoftmaxOptimizer,
    CombineAsSegment,
    ConstantsInitializer,
    CuckooHashTableConfig,
    FixedR8Compressor,
    Fp16Compressor,
    Fp32Compressor,
    FtrlOptimizer,
    GroupAdaGradOptimizer,
    HashTableConfigInstance,
    MomentumOptimizer,
    MovingAverageOptimizer,
    OneBitCompressor,
    OnesInitializer,
    RandomUniformInitializer,
    RmspropOptimizer,
    RmspropV2Optimizer,
    SgdOptimizer,
    StochasticRoundingFloat16OptimizerWrapper,
    ZerosInitializer,
    entry_config,
)
from mexport_pb.table.dump import OptimizerState, TableDump
from mexport_pb.table.embedding_table import EmbeddingTable
from mexport_pb.table.files import iter_table, read_table, write_table
from mexport_pb.table.multi import iter_multi_table, read_multi_table, write_multi_table
from mexport_pb.table.multi_table import MultiTable

__all__ = [
    "AdadeltaOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "AmsgradOptimizer",
    "BatchSoftmaxInitializer",
    "BatchSoftmaxOptimizer",
    "CombineAsSegment",
    "ConstantsInitializer",
    "CuckooHashTableConfig",
    "EmbeddingTable",
    "FixedR8Compressor",
    "Fp16Compressor",
    "Fp32Compressor",
    "FtrlOptimizer",
    "GroupAdaGradOptimizer",
    "HashTableConfigInstance",
    "MomentumOptimizer",
    "MovingAverageOptimizer",
    "MultiTable",
    "OneBitCompressor",
    "OnesInitializer",
    "OptimizerState",
    "RandomUniformInitializer",
    "RmspropOptimizer",
    "RmspropV2Optimizer",
    "SgdOptimizer",
    "StochasticRoundingFloat16OptimizerWrapper",
    "TableDump",
    "ZerosInitializer",
    "entry_config",
    "iter_multi_table",
    "iter_table",
    "read_multi_table",
    "read_table",
    "write_multi_table",
    "write_table",
]
