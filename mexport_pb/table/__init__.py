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
from mexport_pb.table.info import Segment, Shard, TableInfo, iter_entries, table_infos
from mexport_pb.table.locate import TableFiles, find_tables
from mexport_pb.table.multi import iter_multi_table, read_multi_table, write_multi_table
from mexport_pb.table.multi_table import MultiTable
from mexport_pb.table.sorting import OnConflict
from mexport_pb.table.tools import convert_table, merge_tables, partition_table, split_table

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
    "OnConflict",
    "OneBitCompressor",
    "OnesInitializer",
    "OptimizerState",
    "RandomUniformInitializer",
    "RmspropOptimizer",
    "RmspropV2Optimizer",
    "Segment",
    "SgdOptimizer",
    "Shard",
    "StochasticRoundingFloat16OptimizerWrapper",
    "TableDump",
    "TableFiles",
    "TableInfo",
    "ZerosInitializer",
    "convert_table",
    "entry_config",
    "find_tables",
    "iter_entries",
    "iter_multi_table",
    "iter_table",
    "merge_tables",
    "partition_table",
    "read_multi_table",
    "read_table",
    "split_table",
    "table_infos",
    "write_multi_table",
    "write_table",
]
