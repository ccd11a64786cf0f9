"""The face of several embedding tables behind one handle in a graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from mexport_pb._proto.hash_table_collections_pb2 import MultiHashTableProto
from mexport_pb._proto.tensor_pb2 import DT_FLOAT
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.messages.wire import to_message
from mexport_pb.table.collections import (
    MULTI_HASH_TABLES_COLLECTION,
    MULTI_TABLE_PREFIX,
    check_new_name,
    strip_scope,
)
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.filters import create_dummy_hash_filter, create_dummy_sync_client
from mexport_pb.table.graph_config import MultiGraphTableConfig, learning_rates, stacked_learning_rates
from mexport_pb.table.ragged import RaggedIds, embeddings_of, ragged_ids, row_lengths, split_rows
from mexport_pb.table.tensors import concat

__all__ = ["MultiHashTable", "RaggedIds"]

_CPU = "/device:CPU:0"


class MultiHashTable:
    """Tables from int64 ids to vectors of float32, as nodes of a graph; made by :meth:`from_configs`.

    Tables are in the order of their names, whatever the order of the configurations. ``initializer`` must run before
    any other of the nodes. Methods that change tables return a copy as those of :class:`mexport_pb.HashTable` do; the
    first of these objects is in the collection ``monolith_multi_hash_tables``.

    Raises:
        InvalidArgumentError: by every method, for a name that is no table's.
    """

    def __init__(
        self,
        handle: Any,
        initializer: Any,
        shared_name: str,
        table_names: Sequence[str],
        dims: Sequence[int],
        slot_expire_time_config: bytes,
        learning_rate_tensor: Any,
        saver_parallel: int = -1,
        *,
        graph: Emitter | None = None,
    ) -> None:
        self._graph = graph or self._default_graph()
        self._handle = handle
        self._initializer = initializer
        self._shared_name = shared_name
        self._table_names = tuple(table_names)
        self._dims = tuple(dims)
        self._slot_expire_time_config = slot_expire_time_config
        self._learning_rate = learning_rate_tensor
        self._saver_parallel = saver_parallel

    @classmethod
    def from_configs(
        cls,
        configs: Mapping[str, HashTableConfigInstance],
        hash_filter: Any = None,
        sync_client: Any = None,
        name_suffix: str = "",
        saver_parallel: int = -1,
        *,
        graph: Emitter | None = None,
    ) -> Self:
        """Add tables to a graph. While an export runs they are serving tables.

        Args:
            configs: The configuration of each table.
            hash_filter: The handle of the filter of all; None admits every id.
            sync_client: The handle of the client that pushes updates; None pushes none.
            name_suffix: The shared name is ``MonolithMultiHashTable_<suffix>``, that of the files too.
            saver_parallel: The number of files to save in; -1 leaves it to the size.
            graph: The graph; the default graph if None.

        Raises:
            InvalidArgumentError: the name is taken or no file's, or a configuration has not one rate for each segment.
        """
        builder = graph or cls._default_graph()
        shared_name = f"{MULTI_TABLE_PREFIX}{name_suffix}"
        present = (one.shared_name for one in builder.get_collection(MULTI_HASH_TABLES_COLLECTION))
        check_new_name(MULTI_HASH_TABLES_COLLECTION, shared_name, present)
        settled = MultiGraphTableConfig.of(configs, shared_name)
        with builder.device(_CPU):
            if hash_filter is None:
                hash_filter = create_dummy_hash_filter(name_suffix, graph=builder)
            if sync_client is None:
                sync_client = create_dummy_sync_client(graph=builder)
        rates = [rate for instance in settled.instances for rate in learning_rates(builder, instance)]
        stacked = stacked_learning_rates(builder, rates)
        # Creating and using are apart, so that only the initializer needs the configuration.
        with builder.device(_CPU):
            inputs = [settled.config, hash_filter, sync_client]
            attrs = {"shared_name": shared_name}
            created = builder.op("CreateMonolithMultiHashTable", inputs, attrs=attrs)
            handle = builder.op("ReadMonolithMultiHashTable", attrs=attrs).outputs[0]
            is_initialized = builder.op("IsHashTableInitialized", [created.outputs[0]]).outputs[0]
        made = cls(
            handle,
            created,
            shared_name,
            settled.names,
            settled.dims,
            settled.slot_expire_time_config,
            stacked,
            saver_parallel,
            graph=builder,
        )
        builder.add_to_collection(MULTI_HASH_TABLES_COLLECTION, made)
        made._register(is_initialized)
        return made

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables, sorted."""
        return self._table_names

    @property
    def dims(self) -> tuple[int, ...]:
        """The floats of each table's vectors."""
        return self._dims

    @property
    def handle(self) -> Any:
        """The handle."""
        return self._handle

    @property
    def shared_name(self) -> str:
        """The name of the tables together, and of their files."""
        return self._shared_name

    @property
    def initializer(self) -> Any:
        """The operation that makes the tables."""
        return self._initializer

    def as_op(self) -> Any:
        """What to wait for after a change."""
        return self._handle.op

    # By table: ids int64 [n], values float32 [n, dim].

    def lookup(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        """The vectors of each table's ids, zeros for one that is not there: float32 [n, dim] by table."""
        ids = self.get_ragged_id(slot_to_id)
        found = self.get_embeddings(ids, self.raw_lookup(ids))
        return {name: found[name] for name in slot_to_id}

    def lookup_entry(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        """Serialised EntryDumps without the id, empty for ids that are not there: string [n] by table."""
        ids = self.get_ragged_id(slot_to_id)
        entries = self._op("MonolithMultiHashTableLookupEntry", [self._handle, ids.values, ids.row_splits]).outputs[0]
        count = len(self._table_names)
        parts = split_rows(self._graph, entries, row_lengths(self._graph, ids, count), count)
        return {name: parts[self._table_names.index(name)] for name in slot_to_id}

    def assign(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Set vectors."""
        ids, values = self._flat(slot_to_id_and_value)
        return self.raw_assign(ids, values, req_time)

    def assign_add(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Add to vectors."""
        ids, values = self._flat(slot_to_id_and_value)
        return self._changed("MonolithMultiHashTableAssignAdd", ids, [values, _time(req_time)])

    def apply_gradients(
        self, slot_to_id_and_grad: Mapping[str, tuple[Any, Any]], global_step: Any, req_time: Any = None
    ) -> Self:
        """Let the optimizers take a step; ``global_step`` is an int64 scalar."""
        ids, grads = self._flat(slot_to_id_and_grad)
        return self.raw_apply_gradients(ids, grads, global_step, req_time)

    def reinitialize(self, table_name: str, ids: Any) -> tuple[Self, Any]:
        """Make entries of a table new.

        Returns:
            The copy, and for each id int32: 1 was there, 0 was not, -1 there is no such table.
        """
        node = self._op("MonolithMultiHashTableReinitialize", [self._handle, table_name, ids])
        return self._with(node.outputs[0]), node.outputs[1]

    # By ids and floats of all tables in a row.

    def get_ragged_id(self, slot_to_id: Mapping[str, Any]) -> RaggedIds:
        """Ids by table, those of missing tables none, in a row."""
        self._check_names(slot_to_id)
        return ragged_ids(self._graph, self._table_names, slot_to_id)

    def get_flat_value(self, slot_to_value: Mapping[str, Any]) -> Any:
        """Values by table, those of missing tables none, in a row: float32 [sum]."""
        self._check_names(slot_to_value)
        flat = []
        for name in self._table_names:
            value = _const(self._graph, slot_to_value.get(name, []), DT_FLOAT)
            flat.append(self._op("Reshape", [value, [-1]]).outputs[0])
        return concat(self._graph, flat)

    def get_embeddings(self, ragged_id: Any, value: Any) -> dict[str, Any]:
        """What :meth:`raw_lookup` returned, by table: float32 [n, dim]."""
        return embeddings_of(self._graph, ragged_id, value, self._table_names, self._dims)

    def raw_lookup(self, ragged_id: Any) -> Any:
        """The vectors of :class:`RaggedIds`, or a ragged tensor of them, in a row: float32 [sum]."""
        inputs = [self._handle, ragged_id.values, ragged_id.row_splits]
        return self._op("MonolithMultiHashTableLookup", inputs).outputs[0]

    def raw_assign(self, ragged_id: Any, flat_value: Any, req_time: Any = None) -> Self:
        """Set vectors."""
        return self._changed("MonolithMultiHashTableAssign", ragged_id, [flat_value, _time(req_time)])

    def raw_apply_gradients(self, ragged_id: Any, flat_grad: Any, global_step: Any, req_time: Any = None) -> Self:
        """Let the optimizers take a step."""
        more = [flat_grad, self._learning_rate, _time(req_time), global_step]
        return self._changed("MonolithMultiHashTableOptimize", ragged_id, more)

    def fused_lookup(self, ids: Any, fused_slot_size: Any, num_of_shards: int, req_time: Any = None) -> tuple[Any, ...]:
        """As :func:`mexport_pb.table.fused_lookup`."""
        inputs = [self._handle, ids, fused_slot_size, _time(req_time)]
        node = self._op("MonolithMultiHashTableFusedLookup", inputs, {"num_of_shards": num_of_shards})
        return tuple(node.outputs)

    def fused_apply_gradient(
        self,
        ids: Any,
        indices: Any,
        fused_slot_size: Any,
        id_grads: Any,
        id_offsets: Any,
        grad_offsets: Any,
        global_step: Any,
        req_time: Any,
        num_of_shards: int,
        enable_grad_accumulation: bool = False,
    ) -> Self:
        """As :func:`mexport_pb.table.fused_apply_gradient`."""
        inputs = [
            self._handle,
            ids,
            indices,
            fused_slot_size,
            id_grads,
            id_offsets,
            grad_offsets,
            self._learning_rate,
            _time(req_time),
            global_step,
        ]
        attrs = {"num_of_shards": num_of_shards, "enable_grad_accumulation": enable_grad_accumulation}
        return self._with(self._op("MonolithMultiHashTableFusedOptimize", inputs, attrs).outputs[0])

    def save(self, basename: Any) -> Self:
        """Write the tables' files; ``basename`` is a string scalar, a path without ``-00000-of-00001``."""
        attrs = {"nshards": self._saver_parallel, "slot_expire_time_config": self._slot_expire_time_config}
        return self._with(self._op("MonolithMultiHashTableSave", [self._handle, basename], attrs).outputs[0])

    def restore(self, basename: Any) -> Self:
        """Read the tables' files; entries that they do not have stay."""
        return self._with(self._op("MonolithMultiHashTableRestore", [self._handle, basename]).outputs[0])

    def feature_stat(self, basename: Any) -> tuple[Any, Any]:
        """The tables that files hold, string [m], and the number of entries of each, uint64 [m]."""
        node = self._op("MonolithMultiHashTableFeatureStat", [basename])
        return node.outputs[0], node.outputs[1]

    def to_proto(self, export_scope: str | None = None) -> MultiHashTableProto | None:
        """The collection's entry, names relative to a scope; None for tables of another scope."""
        if export_scope and not self._handle.name.startswith(export_scope):
            return None
        return MultiHashTableProto(
            dims=self._dims,
            slot_expire_time_config=self._slot_expire_time_config,
            table_names=self._table_names,
            learning_rate_tensor=strip_scope(self._learning_rate.name, export_scope),
            shared_name=self._shared_name,
            saver_parallel=self._saver_parallel,
            initializer_op=strip_scope(self._initializer.name, export_scope),
            handle_tensor=strip_scope(self._handle.name, export_scope),
        )

    @classmethod
    def from_proto(cls, proto: Any, import_scope: str | None = None, *, graph: Emitter | None = None) -> Self:
        """The face of tables whose nodes are in the graph; not put into the collection.

        Raises:
            InvalidArgumentError: a node is not there.
        """
        message = to_message(proto, MultiHashTableProto)
        builder = graph or cls._default_graph()
        scope = f"{import_scope.rstrip('/')}/" if import_scope else ""
        return cls(
            builder.get_tensor(scope + message.handle_tensor),
            builder.get_operation(scope + message.initializer_op),
            message.shared_name,
            message.table_names,
            message.dims,
            message.slot_expire_time_config,
            builder.get_tensor(scope + message.learning_rate_tensor),
            message.saver_parallel,
            graph=builder,
        )

    @staticmethod
    def _default_graph() -> Emitter:
        return get_default_graph()

    def _register(self, is_initialized: Any) -> None:
        """Tells a training framework what to run before the tables are used; a graph for serving has none."""

    def _check_names(self, names: Mapping[str, Any]) -> None:
        for name in names:
            if name not in self._table_names:
                raise InvalidArgumentError(f"no table {name!r}: got {sorted(names)}, have {list(self._table_names)}")

    def _flat(self, ids_and_values: Mapping[str, tuple[Any, Any]]) -> tuple[RaggedIds, Any]:
        ids = self.get_ragged_id({name: pair[0] for name, pair in ids_and_values.items()})
        return ids, self.get_flat_value({name: pair[1] for name, pair in ids_and_values.items()})

    def _op(self, op_type: str, inputs: Sequence[Any], attrs: Any = None) -> Any:
        return self._graph.op(op_type, inputs, attrs=attrs)

    def _changed(self, op_type: str, ids: Any, more: Sequence[Any]) -> Self:
        return self._with(self._op(op_type, [self._handle, ids.values, ids.row_splits, *more]).outputs[0])

    def _with(self, handle: Any) -> Self:
        copied = copy.copy(self)
        copied._handle = handle
        return copied


def _const(graph: Emitter, value: Any, dtype: int) -> Any:
    """A tensor as it is, a list as a constant."""
    if hasattr(value, "dtype") and hasattr(value, "op"):
        return value
    return graph.const(value, dtype)


def _time(req_time: Any) -> Any:
    return 0 if req_time is None else req_time
