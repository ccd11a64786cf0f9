"""The face of one embedding table in a graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto
from mexport_pb._proto.hash_table_pb2 import (
    EmbeddingHashTableConfig,
    SlotOccurrenceThresholdConfig,
)
from mexport_pb.graph import get_default_graph
from mexport_pb.messages.wire import serialize, to_message
from mexport_pb.table.collections import (
    HASH_TABLES_COLLECTION,
    TABLE_PREFIX,
    check_new_name,
    file_prefix,
    share_embedding_number,
    share_embedding_of,
    strip_scope,
)
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.filters import create_dummy_hash_filter, create_dummy_sync_client, create_hash_filters
from mexport_pb.table.graph_config import GraphTableConfig, learning_rates, stacked_learning_rates

__all__ = [
    "HashTable",
    "extract_slot_from_entry",
    "fused_apply_gradient",
    "fused_lookup",
    "hash_table_from_config",
    "test_hash_table",
]

_CPU = "/device:CPU:0"


class HashTable:
    """A table from int64 ids to vectors of float32, as nodes of a graph; made by :func:`hash_table_from_config`.

    Methods that change the table return a copy that carries the handle behind the change: what is asked of the copy
    happens after it. The first of these objects, not its copies, is in the collection ``monolith_hash_tables``, by
    which exporters and checkpoint listeners find the table.

    ``ids`` are int64 tensors [n], values and gradients float32 [n, dim], times int64 scalars in seconds (default 0).

    Attributes:
        export_share_embedding: Whether an export reads the table from the checkpoint in place of a copy; None leaves it
            to the exporter.

    Args:
        table: The handle.
        shared_name: The name of the table, and of its files.
        dim_size: The floats of a vector.
        slot_expire_time_config: A serialised SlotExpireTimeConfig for saving.
        learning_rate_tensor: float32, a rate for each segment.
        saver_parallel: The number of files to save in; -1 leaves it to the size.
        extra_restore_names: Names that older checkpoints have the table under.
        graph: The graph; the default graph if None.

    Raises:
        InvalidArgumentError: the graph has a table of that name, or with the same files.
    """

    def __init__(
        self,
        table: Any,
        shared_name: str,
        dim_size: int,
        slot_expire_time_config: bytes,
        learning_rate_tensor: Any,
        saver_parallel: int = -1,
        extra_restore_names: Iterable[str] = (),
        *,
        graph: Emitter | None = None,
    ) -> None:
        self._graph = graph or self._default_graph()
        present = (one.name for one in self._graph.get_collection(HASH_TABLES_COLLECTION))
        check_new_name(HASH_TABLES_COLLECTION, shared_name, present)
        self._set(table, shared_name, dim_size, slot_expire_time_config, learning_rate_tensor, saver_parallel)
        self._extra_restore_names = list(extra_restore_names)
        self.export_share_embedding: bool | None = None
        self._graph.add_to_collection(HASH_TABLES_COLLECTION, self)

    def _set(self, table: Any, name: str, dim: int, expire: bytes, rates: Any, parallel: int) -> None:
        self._table = table
        self._name = name
        self._dim_size = dim
        self._slot_expire_time_config = expire
        self._learning_rate_tensor = rates
        self._saver_parallel = parallel

    @property
    def table(self) -> Any:
        """The handle."""
        return self._table

    @property
    def name(self) -> str:
        """The shared name."""
        return self._name

    @property
    def dim_size(self) -> int:
        """The floats of a vector."""
        return self._dim_size

    @property
    def slot_expire_time_config(self) -> bytes:
        """The serialised SlotExpireTimeConfig for saving."""
        return self._slot_expire_time_config

    @property
    def extra_restore_names(self) -> list[str]:
        """Names that older checkpoints have the table under."""
        return self._extra_restore_names

    @property
    def file_prefixes(self) -> list[str]:
        """What the table's files in a checkpoint may begin with, the present name first."""
        return [file_prefix(name) for name in (self._name, *self._extra_restore_names)]

    def as_op(self) -> Any:
        """What to wait for after a change."""
        return self._table

    def lookup(self, ids: Any, use_multi_threads: bool = False) -> Any:
        """The vector of each id, zeros for one that is not there: float32 [n, dim]."""
        attrs = {"dim_size": self._dim_size, "use_multi_threads": use_multi_threads}
        return self._op("MonolithHashTableLookup", [self._table, ids], attrs).outputs[0]

    def lookup_entry(self, ids: Any) -> Any:
        """Each id's serialised EntryDump without the id, empty for one that is not there: string [n]."""
        return self._op("MonolithHashTableLookupEntry", [self._table, ids]).outputs[0]

    def assign(self, ids: Any, values: Any, req_time: Any = None) -> Self:
        """Set vectors."""
        return self._changed("MonolithHashTableAssign", [self._table, ids, values, _time(req_time)])

    def assign_add(self, ids: Any, values: Any, req_time: Any = None) -> Self:
        """Add to vectors."""
        return self._changed("MonolithHashTableAssignAdd", [self._table, ids, values, _time(req_time)])

    def apply_gradients(
        self,
        ids: Any,
        grads: Any,
        global_step: Any,
        use_multi_threads: bool = False,
        enable_dedup: bool = False,
        req_time: Any = None,
    ) -> Self:
        """Let the optimizers take a step; ``global_step`` is an int64 scalar."""
        inputs = [self._table, ids, grads, self._learning_rate_tensor, _time(req_time), global_step]
        attrs = {"use_multi_threads": use_multi_threads, "enable_dedup": enable_dedup}
        return self.table_update(self._op("MonolithHashTableOptimize", inputs, attrs).outputs[0])

    def table_update(self, update_op: Any) -> Self:
        """A copy that is used only after ``update_op`` ran."""
        with self._graph.control_dependencies([update_op]):
            return self._with(self._op("Identity", [self._table]).outputs[0])

    def save(self, basename: Any, random_sleep_ms: int = 0) -> Self:
        """Write the table's files; ``basename`` is a string scalar, a path without ``-00000-of-00001``."""
        attrs = {
            "nshards": self._saver_parallel,
            "random_sleep_ms": random_sleep_ms,
            "slot_expire_time_config": self._slot_expire_time_config,
        }
        return self._changed("MonolithHashTableSave", [self._table, basename], attrs)

    def restore(self, basename: Any) -> Self:
        """Drop all entries and read the table's files."""
        return self._changed("MonolithHashTableRestore", [self._table, basename])

    def size(self) -> Any:
        """The number of entries: int64 scalar."""
        return self._op("MonolithHashTableSize", [self._table]).outputs[0]

    def save_as_tensor(self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any) -> tuple[Any, Any]:
        """The next entries of a part of the table.

        Args:
            shard_idx: The part, int32.
            num_shards: Of how many, int32.
            limit: No more entries than this, int64. Fewer mean that the part is done.
            offset: 0 at first, then what came back, int64.

        Returns:
            The new offset, int64 scalar, and serialised EntryDumps, string [m].
        """
        inputs = [self._table, shard_idx, num_shards, limit, offset]
        node = self._op("MonolithHashTableSaveAsTensor", inputs, name="monolith_hash_table_save_as_tensor")
        return node.outputs[0], node.outputs[1]

    def to_proto(self, export_scope: str | None = None) -> HashTableProto | None:
        """The collection's entry, names relative to a scope; None for a table of another scope."""
        if export_scope and not self._table.name.startswith(export_scope):
            return None
        return HashTableProto(
            table_tensor=strip_scope(self._table.name, export_scope),
            dim_size=self._dim_size,
            shared_name=self._name,
            slot_expire_time_config=self._slot_expire_time_config,
            learning_rate_tensor=strip_scope(self._learning_rate_tensor.name, export_scope),
            saver_parallel=self._saver_parallel,
            extra_restore_names=self._extra_restore_names,
            export_share_embedding=share_embedding_number(self.export_share_embedding),
        )

    @classmethod
    def from_proto(cls, proto: Any, import_scope: str | None = None, *, graph: Emitter | None = None) -> Self:
        """The face of a table whose nodes are in the graph; not put into the collection.

        Raises:
            InvalidArgumentError: a tensor is not there.
        """
        message = to_message(proto, HashTableProto)
        scope = f"{import_scope.rstrip('/')}/" if import_scope else ""
        made = cls.__new__(cls)
        made._graph = graph or cls._default_graph()
        made._set(
            made._graph.get_tensor(scope + message.table_tensor),
            message.shared_name,
            message.dim_size,
            message.slot_expire_time_config,
            made._graph.get_tensor(scope + message.learning_rate_tensor),
            message.saver_parallel,
        )
        made._extra_restore_names = list(message.extra_restore_names)
        made.export_share_embedding = share_embedding_of(message)
        return made

    @staticmethod
    def _default_graph() -> Emitter:
        return get_default_graph()

    def _op(self, op_type: str, inputs: Sequence[Any], attrs: Any = None, name: str | None = None) -> Any:
        return self._graph.op(op_type, inputs, attrs=attrs, name=name)

    def _changed(self, op_type: str, inputs: Sequence[Any], attrs: Any = None) -> Self:
        return self._with(self._op(op_type, inputs, attrs).outputs[0])

    def _with(self, table: Any) -> Self:
        copied = copy.copy(self)
        copied._table = table
        return copied


def hash_table_from_config(
    config: HashTableConfigInstance,
    hash_filter: Any = None,
    name_suffix: str = "",
    sync_client: Any = None,
    saver_parallel: int = -1,
    *,
    graph: Emitter | None = None,
    face: Callable[..., HashTable] = HashTable,
) -> HashTable:
    """Add a table to a graph. While an export runs it is a serving table.

    Args:
        config: Its configuration, with a learning rate for each segment.
        hash_filter: The handle of its filter; None admits every id.
        name_suffix: The table is ``MonolithHashTable_<suffix>``: its node, its shared name and its files.
        sync_client: The handle of the client that pushes its updates; None pushes none.
        saver_parallel: The number of files to save in; -1 leaves it to the size.
        graph: The graph; the default graph if None.
        face: What makes the returned object, of HashTable's arguments.

    Raises:
        InvalidArgumentError: the name is taken or illegal, or the configuration has not one rate for each segment.
    """
    builder = graph or get_default_graph()
    name = f"{TABLE_PREFIX}{name_suffix}"
    settled = GraphTableConfig.of(config, name)
    with builder.device(_CPU):
        if hash_filter is None:
            hash_filter = create_dummy_hash_filter(name_suffix, graph=builder)
        if sync_client is None:
            sync_client = create_dummy_sync_client(graph=builder)
        attrs = {"config": serialize(settled.config), "shared_name": name}
        table = builder.op("MonolithHashTable", [hash_filter, sync_client], name=name, attrs=attrs).outputs[0]
    with builder.name_scope("learning_rate"):
        rates = stacked_learning_rates(builder, learning_rates(builder, config))
    return face(
        table,
        name,
        settled.dim,
        settled.slot_expire_time_config,
        rates,
        saver_parallel,
        config.extra_restore_names,
        graph=builder,
    )


def test_hash_table(
    dim_size: int,
    enable_hash_filter: bool = False,
    name_suffix: str | None = None,
    learning_rate: float | Callable[[], Any] = 1.0,
    occurrence_threshold: int = 0,
    use_adagrad: bool = False,
    expire_time: int = 36500,
    sync_client: Any = None,
    extra_restore_names: Sequence[str] = (),
    *,
    graph: Emitter | None = None,
    face: Callable[..., HashTable] = HashTable,
) -> HashTable:
    """Add a table of one segment to a graph, for tests: zeros at first, plain floats, sgd or adagrad.

    Args:
        dim_size: The floats of a vector.
        enable_hash_filter: Whether ids must occur often enough.
        name_suffix: As for :func:`hash_table_from_config`; by default "test", "test_1", ….
        learning_rate: A number, or a function that makes one.
        occurrence_threshold: How often, for the filter.
        use_adagrad: Adagrad in place of sgd.
        expire_time: After so many days an entry is left out of dumps.
        sync_client: As for :func:`hash_table_from_config`.
        extra_restore_names: Names that older checkpoints have the table under.
        graph: The graph; the default graph if None.
        face: As for :func:`hash_table_from_config`.
    """
    builder = graph or get_default_graph()
    table_config = EmbeddingHashTableConfig()
    table_config.cuckoo.SetInParent()
    segment = table_config.entry_config.segments.add(dim_size=dim_size)
    getattr(segment.opt_config, "adagrad" if use_adagrad else "sgd").SetInParent()
    segment.init_config.zeros.SetInParent()
    segment.comp_config.fp32.SetInParent()
    table_config.slot_expire_time_config.default_expire_time = expire_time
    thresholds = SlotOccurrenceThresholdConfig(default_occurrence_threshold=occurrence_threshold)
    hash_filters = create_hash_filters(0, enable_hash_filter, serialize(thresholds), graph=builder)
    return hash_table_from_config(
        HashTableConfigInstance(table_config, [learning_rate], extra_restore_names),
        hash_filters[0],
        name_suffix or builder.unique_name("test"),
        sync_client,
        graph=builder,
        face=face,
    )


# pytest would take it for a test of whoever imports it.
test_hash_table.__test__ = False  # type: ignore[attr-defined]


def fused_lookup(
    tables: Sequence[Any],
    ids: Any,
    fused_slot_size: Any,
    num_of_shards: int,
    req_time: Any = None,
    *,
    graph: Emitter | None = None,
) -> tuple[Any, ...]:
    """Look up in several tables at once.

    Args:
        tables: Handles.
        ids: int64, those of shard 0 for each table, then those of shard 1, ….
        fused_slot_size: int32 [shards * tables], the number of ids of each shard and table.
        num_of_shards: How many shards.
        req_time: int64 scalar, not used.
        graph: The graph; the default graph if None.

    Returns:
        embeddings, embedding_splits, id_offsets, embedding_offsets, indices.
    """
    inputs = [list(tables), ids, fused_slot_size, _time(req_time)]
    builder = graph or get_default_graph()
    node = builder.op("MonolithHashTableFusedLookup", inputs, attrs={"num_of_shards": num_of_shards})
    return tuple(node.outputs)


def fused_apply_gradient(
    tables: Sequence[Any],
    ids: Any,
    indices: Any,
    fused_slot_size: Any,
    id_grads: Any,
    id_offsets: Any,
    grad_offsets: Any,
    learning_rate_tensors: Any,
    req_time: Any,
    global_step: Any,
    num_of_shards: int,
    enable_grad_accumulation: bool = False,
    *,
    graph: Emitter | None = None,
) -> list[Any]:
    """Let the optimizers of several tables take a step; arguments as :func:`fused_lookup` takes and returned them.

    Returns:
        The handles behind the change.
    """
    inputs = [
        list(tables),
        ids,
        indices,
        fused_slot_size,
        id_grads,
        id_offsets,
        grad_offsets,
        learning_rate_tensors,
        _time(req_time),
        global_step,
    ]
    attrs = {"num_of_shards": num_of_shards, "enable_grad_accumulation": enable_grad_accumulation}
    builder = graph or get_default_graph()
    return list(builder.op("MonolithHashTableFusedOptimize", inputs, attrs=attrs).outputs)


def extract_slot_from_entry(entry: Any, fid_v2: bool = True, *, graph: Emitter | None = None) -> Any:
    """The slot of the id of each serialised EntryDump: int32 [n]."""
    node = (graph or get_default_graph()).op("MonolithExtractSlotFromEntry", [entry], attrs={"fid_v2": fid_v2})
    return node.outputs[0]


def _time(req_time: Any) -> Any:
    return 0 if req_time is None else req_time
