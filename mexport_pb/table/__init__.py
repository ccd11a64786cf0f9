"""Embedding hash tables: their dumps as columns.

The byte formats are in ``docs/formats/hash_table.md``.
"""

from __future__ import annotations

from mexport_pb.table.dump import OptimizerState, TableDump
from mexport_pb.table.files import iter_table, read_table, write_table
from mexport_pb.table.multi import read_multi_table, write_multi_table

__all__ = [
    "OptimizerState",
    "TableDump",
    "iter_table",
    "read_multi_table",
    "read_table",
    "write_multi_table",
    "write_table",
]
