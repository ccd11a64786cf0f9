"""All tables of a model by one call, whether it is trained, exported whole, or exported in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.graph.export_mode import is_exporting
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.distributed import DistributedMultiTypeHashTable, ps_device
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.hash_table import HashTable, hash_table_from_config
from mexport_pb.table.merged import MergedMultiTypeHashTable
from mexport_pb.table.multi_hash_table import MultiHashTable
from mexport_pb.table.multi_type import MultiTypeHashTable, MultiTypeTable

__all__ = ["GRAPH_BUILDER", "GraphKind", "create_hash_tables"]


@dataclass(frozen=True)
class GraphKind:
    """The faces of tables in one kind of graph.

    Attributes:
        default_graph: Gives the graph that user code builds in.
        single: The face of one table.
        multi: The face of many behind one handle.
    """

    default_graph: Callable[[], Emitter]
    single: type[HashTable]
    multi: type[MultiHashTable]


GRAPH_BUILDER = GraphKind(get_default_graph, HashTable, MultiHashTable)


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
    kind: GraphKind = GRAPH_BUILDER,
) -> MergedMultiTypeHashTable:
    """Add the tables of a model to the default graph: slots that are configured alike share one.

    In training and in a standalone export the table of a merged name is ``MonolithHashTable_<md5>``, or, with parameter
    servers, ``MonolithHashTable_<md5>_<i>``; many behind one handle are ``MonolithMultiHashTable_`` or
    ``MonolithMultiHashTable_<i>``. In a distributed export table i is in the sub-graph ``ps_<i>``.

    Args:
        slot_to_config: The configuration of each slot.
        num_ps: How many parameter servers; 0 for tables that are not spread.
        use_native_multi_hash_table: Whether the tables of a server are many behind one handle.
        hash_filters: The handle of each server's filter, or of the one where there are no servers
            (:func:`create_hash_filters`); None admits every id. An export has none.
        sync_clients: The same of the clients that push updates; None pushes none. An export has none.
        saver_parallel: The number of files to save each table in; -1 leaves it to the size.
        model_name: As for :class:`DistributedMultiTypeHashTable`, and so are the others.
        max_rpc_deadline_millis: How long a call of a parameter server may take.
        device: The device of each server in training; None leaves the nodes without.
        kind: The kind of graph.

    Raises:
        InvalidArgumentError: there is no slot, a configuration has not one rate for each segment, tables of these names
            are there already, or there are not as many filters or clients as servers.
    """
    filters = _Handles("hash_filters", hash_filters, num_ps)
    clients = _Handles("sync_clients", sync_clients, num_ps)

    def tables_of(index: int | None, configs: Mapping[str, HashTableConfigInstance]) -> MultiTypeTable:
        hash_filter, sync_client = filters.of(index), clients.of(index)
        graph = kind.default_graph()
        if use_native_multi_hash_table:
            suffix = "" if index is None else str(index)
            return kind.multi.from_configs(configs, hash_filter, sync_client, suffix, saver_parallel, graph=graph)

        def single(name: str, config: HashTableConfigInstance) -> HashTable:
            suffix = name if index is None else f"{name}_{index}"
            return hash_table_from_config(
                config, hash_filter, suffix, sync_client, saver_parallel, graph=graph, face=kind.single
            )

        return MultiTypeHashTable(configs, single, graph=kind.default_graph)

    def tables(configs: dict[str, HashTableConfigInstance]) -> MultiTypeTable:
        if num_ps == 0:
            return tables_of(None, configs)
        return DistributedMultiTypeHashTable(
            num_ps,
            configs,
            tables_of,
            model_name,
            max_rpc_deadline_millis,
            device=device,
            graph=kind.default_graph,
        )

    return MergedMultiTypeHashTable(
        slot_to_config,
        tables,
        sum_gradients=use_native_multi_hash_table and num_ps == 0,
        graph=kind.default_graph,
    )


class _Handles:
    def __init__(self, what: str, handles: Sequence[Any] | None, num_ps: int) -> None:
        # Those of the training graph are no nodes of an export's.
        self._handles = None if handles is None or is_exporting() else list(handles)
        if self._handles is not None and len(self._handles) != max(num_ps, 1):
            raise InvalidArgumentError(f"{what}: got {len(self._handles)}, want {max(num_ps, 1)}")

    def of(self, index: int | None) -> Any:
        return None if self._handles is None else self._handles[index or 0]
