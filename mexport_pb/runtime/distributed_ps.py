"""Tables that are merged and spread over parameter servers, in TensorFlow graphs: ``docs/placement.md``.

Nodes go to TensorFlow's default graph; what they are, and where, is said once, for both kinds of graphs, in
:mod:`mexport_pb.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from mexport_pb import table as faces
from mexport_pb.runtime.emitter import current_graph
from mexport_pb.runtime.hash_table_ops import HashTable
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTable
from mexport_pb.table import HashTableConfigInstance
from mexport_pb.table.distributed import ps_device
from mexport_pb.table.placement import GraphKind

__all__ = [
    "DistributedMultiTypeHashTable",
    "MergedMultiTypeHashTable",
    "MultiTypeHashTable",
    "create_hash_tables",
    "ps_device",
]

DistributedMultiTypeHashTable: Final = partial(faces.DistributedMultiTypeHashTable, graph=current_graph)
MergedMultiTypeHashTable: Final = partial(faces.MergedMultiTypeHashTable, graph=current_graph)
MultiTypeHashTable: Final = partial(faces.MultiTypeHashTable, graph=current_graph)

_TENSORFLOW: Final = GraphKind(current_graph, HashTable, MultiHashTable)


def create_hash_tables(
    slot_to_config: Mapping[str, HashTableConfigInstance],
    num_ps: int = 0,
    *,
    use_native_multi_hash_table: bool = False,
    hash_filters: Sequence[Any] | None = None,
    sync_clients: Sequence[Any] | None = None,
    saver_parallel: int = -1,
    model_name: str = "",
    max_rpc_deadline_millis: int = 30,
    device: Callable[[int], str] | None = ps_device,
) -> faces.MergedMultiTypeHashTable:
    """Add the tables of a model to the default graph; see :func:`mexport_pb.create_hash_tables`."""
    return faces.create_hash_tables(
        slot_to_config,
        num_ps,
        use_native_multi_hash_table=use_native_multi_hash_table,
        hash_filters=hash_filters,
        sync_clients=sync_clients,
        saver_parallel=saver_parallel,
        model_name=model_name,
        max_rpc_deadline_millis=max_rpc_deadline_millis,
        device=device,
        kind=_TENSORFLOW,
    )
