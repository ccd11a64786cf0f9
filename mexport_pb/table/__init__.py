"""Embedding hash tables: in memory, as nodes of graphs, and their dumps as columns.

The byte formats are in ``docs/formats/hash_table.md``, what tables do in ``docs/embedding_table.md``, how graphs and
exports hold them in ``docs/formats/table_graph.md``.
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
from mexport_pb.table.distributed import DistributedMultiTypeHashTable, ps_device
from mexport_pb.table.dump import OptimizerState, TableDump
from mexport_pb.table.embedding_table import EmbeddingTable
from mexport_pb.table.files import iter_table, read_table, write_table
from mexport_pb.table.filters import (
    create_dummy_hash_filter,
    create_dummy_sync_client,
    create_hash_filter,
    create_hash_filters,
    create_probabilistic_filter,
)
from mexport_pb.table.hash_table import (
    HashTable,
    extract_slot_from_entry,
    fused_apply_gradient,
    fused_lookup,
    hash_table_from_config,
    test_hash_table,
)
from mexport_pb.table.info import Segment, Shard, TableInfo, iter_entries, table_infos
from mexport_pb.table.ledger import TableLedger, TableSetLedger
from mexport_pb.table.locate import TableFiles, find_tables
from mexport_pb.table.merged import MergedMultiTypeHashTable, merge_slots, merged_name
from mexport_pb.table.multi import iter_multi_table, read_multi_table, write_multi_table
from mexport_pb.table.multi_hash_table import MultiHashTable
from mexport_pb.table.multi_table import MultiTable
from mexport_pb.table.multi_type import MultiTypeHashTable, MultiTypeTable
from mexport_pb.table.partition import ps_of
from mexport_pb.table.placement import create_hash_tables
from mexport_pb.table.ragged import RaggedIds
from mexport_pb.table.remote import remote_predict
from mexport_pb.table.reshard import ReshardReport, reshard_checkpoint, reshard_tables
from mexport_pb.table.slim import ServingTables, slim_multi_table, slim_table
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
    "DistributedMultiTypeHashTable",
    "EmbeddingTable",
    "FixedR8Compressor",
    "Fp16Compressor",
    "Fp32Compressor",
    "FtrlOptimizer",
    "GroupAdaGradOptimizer",
    "HashTable",
    "HashTableConfigInstance",
    "MergedMultiTypeHashTable",
    "MomentumOptimizer",
    "MovingAverageOptimizer",
    "MultiHashTable",
    "MultiTable",
    "MultiTypeHashTable",
    "MultiTypeTable",
    "OnConflict",
    "OneBitCompressor",
    "OnesInitializer",
    "OptimizerState",
    "RaggedIds",
    "RandomUniformInitializer",
    "ReshardReport",
    "RmspropOptimizer",
    "RmspropV2Optimizer",
    "Segment",
    "ServingTables",
    "SgdOptimizer",
    "Shard",
    "StochasticRoundingFloat16OptimizerWrapper",
    "TableDump",
    "TableFiles",
    "TableInfo",
    "TableLedger",
    "TableSetLedger",
    "ZerosInitializer",
    "convert_table",
    "create_dummy_hash_filter",
    "create_dummy_sync_client",
    "create_hash_filter",
    "create_hash_filters",
    "create_hash_tables",
    "create_probabilistic_filter",
    "entry_config",
    "extract_slot_from_entry",
    "find_tables",
    "fused_apply_gradient",
    "fused_lookup",
    "hash_table_from_config",
    "iter_entries",
    "iter_multi_table",
    "iter_table",
    "merge_slots",
    "merge_tables",
    "merged_name",
    "partition_table",
    "ps_device",
    "ps_of",
    "read_multi_table",
    "read_table",
    "remote_predict",
    "reshard_checkpoint",
    "reshard_tables",
    "slim_multi_table",
    "slim_table",
    "split_table",
    "table_infos",
    "test_hash_table",
    "write_multi_table",
    "write_table",
]
