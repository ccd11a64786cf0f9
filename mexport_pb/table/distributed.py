"""Tables that are spread over parameter servers by id. ``docs/placement.md`` shows what an export makes of them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Self

from mexport_pb._proto.tensor_pb2 import DT_FLOAT, DT_INT64
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.graph.export_mode import (
    SubGraphs,
    context_variable,
    is_exporting,
    is_exporting_distributed,
    is_exporting_standalone,
)
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.multi_hash_table import MultiHashTable
from mexport_pb.table.multi_type import MultiTypeTable, check_slots, group, with_rows_of
from mexport_pb.table.partition import check_num_ps, part_ids, part_rows, ps_of_tensor, sum_by_id
from mexport_pb.table.ragged import RaggedIds, embeddings_of, ragged_ids
from mexport_pb.table.remote import remote_predict
from mexport_pb.table.tensors import as_ids, placeholder

__all__ = ["DistributedMultiTypeHashTable", "ps_device"]

LOOKUP: Final = "lookup"
RAW_LOOKUP: Final = "raw_lookup"


def ps_device(index: int) -> str:
    """The device of a parameter server in a training cluster."""
    return f"/job:ps/task:{index}/device:CPU:0"


class DistributedMultiTypeHashTable:
    """Tables by name, each of them spread over parameter servers: server ``ps_of(id, num_ps)`` holds an id.

    In training the part of server i is on ``/job:ps/task:i``. In a standalone export all parts are in the one graph,
    without devices. In a distributed export part i is in the sub-graph ``ps_<i>``, which gets the signature ``lookup``
    (and ``raw_lookup``, if the tables are many behind one handle), and the entry calls it.

    Gradients of equal ids are added up before the optimizer takes one step.

    Args:
        num_ps: How many servers. In a distributed export for another number (``DistributedExporter(num_ps=...)``) that
            one counts.
        slot_to_config: The configuration of each table.
        table_factory: Makes the tables of one server, of its number and the configurations, in the default graph:
            a :class:`MultiTypeHashTable` or :class:`mexport_pb.MultiHashTable`.
        model_name: The model's name: the entry calls ``<model_name>:ps_<i>``.
        max_rpc_deadline_millis: How long such a call may take.
        device: The device of each server in training; None leaves the nodes without.
        graph: What gives the graph to make nodes in.

    Raises:
        InvalidArgumentError: ``num_ps`` is less than 1; by every method, for a name that is no table's; and by those
            that change tables, in a distributed export.
    """

    def __init__(
        self,
        num_ps: int,
        slot_to_config: Mapping[str, HashTableConfigInstance],
        table_factory: Callable[[int, dict[str, HashTableConfigInstance]], MultiTypeTable],
        model_name: str = "",
        max_rpc_deadline_millis: int = 30,
        *,
        device: Callable[[int], str] | None = ps_device,
        graph: Callable[[], Emitter] = get_default_graph,
    ) -> None:
        check_num_ps(num_ps)
        context = context_variable.get() if is_exporting_distributed() else None
        self._num_ps = num_ps if context is None or context.num_ps is None else context.num_ps
        self._graph = graph
        self._device = None if is_exporting() else device
        self._model_name = model_name or ""
        self._deadline = max_rpc_deadline_millis
        self._remote = context is not None
        self._signatures: list[tuple[str, str]] = []
        if context is None:
            configs = _with_settled_rates(graph(), slot_to_config)
            self._tables = []
            for i in range(self._num_ps):
                with self._on(i):
                    self._tables.append(table_factory(i, _on_server(configs, i)))
        else:
            self._tables = [
                self._sub_model(context, i, table_factory, _on_server(slot_to_config, i)) for i in range(self._num_ps)
            ]
        # Of tables behind one handle, ids and vectors travel in one tensor each.
        self._raw = all(isinstance(table, MultiHashTable) for table in self._tables)

    def _sub_model(
        self,
        context: SubGraphs,
        index: int,
        table_factory: Callable[[int, dict[str, HashTableConfigInstance]], MultiTypeTable],
        configs: dict[str, HashTableConfigInstance],
    ) -> MultiTypeTable:
        sub_graph = context.sub_graph(f"ps_{index}")
        with context.source.as_default(sub_graph):
            graph = self._graph()
            table = table_factory(index, configs)
            # Another set of distributed tables may have been here before.
            taken = {signature.name for signature in context.signatures(sub_graph)}
            number = next(n for n in range(len(taken) + 1) if f"{LOOKUP}{_suffix(n)}" not in taken)
            lookup, raw_lookup = f"{LOOKUP}{_suffix(number)}", f"{RAW_LOOKUP}{_suffix(number)}"
            ids = {name: placeholder(graph, DT_INT64, (None,)) for name in table.table_names}
            vectors = table.lookup(ids)
            dims = dict(zip(table.table_names, table.dims, strict=True))
            found = {name: with_rows_of(graph, vectors[name], ids[name], dims[name]) for name in ids}
            context.add_signature(sub_graph, lookup, ids, found)
            if isinstance(table, MultiHashTable):
                raw = {key: placeholder(graph, DT_INT64, (None,)) for key in ("id", "id_split")}
                flat = table.raw_lookup(RaggedIds(raw["id"], raw["id_split"]))
                context.add_signature(sub_graph, raw_lookup, raw, {"flat_emb": flat})
            self._signatures.append((lookup, raw_lookup))
        return table

    @property
    def num_ps(self) -> int:
        """How many servers."""
        return self._num_ps

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables, sorted."""
        return self._tables[0].table_names

    @property
    def dims(self) -> tuple[int, ...]:
        """The floats of each table's vectors."""
        return self._tables[0].dims

    def lookup(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        """The vectors of each table's ids, zeros for one that is not there: float32 [n, dim] by table."""
        check_slots(slot_to_id, self.table_names)
        if not slot_to_id:
            return {}
        graph = self._graph()
        dims = dict(zip(self.table_names, self.dims, strict=True))
        with graph.name_scope("distributed_lookup"):
            ids = {name: as_ids(graph, slot_to_id[name], name) for name in slot_to_id}
            # To ask once for an id pays where the answer comes over a network.
            unique = not is_exporting_standalone()
            parts = {name: part_ids(graph, one, self._num_ps, unique=unique) for name, one in ids.items()}
            found = []
            for i in range(self._num_ps):
                with graph.name_scope(f"ps_{i}"):
                    found.append(self._lookup_on(i, {name: part.ids[i] for name, part in parts.items()}))
            return {
                name: with_rows_of(graph, part.join(graph, [one[name] for one in found]), ids[name], dims[name])
                for name, part in parts.items()
            }

    def _lookup_on(self, index: int, ids: Mapping[str, Any]) -> dict[str, Any]:
        graph, table = self._graph(), self._tables[index]
        if isinstance(table, MultiHashTable) and self._raw:
            ragged = ragged_ids(graph, table.table_names, ids)
            flat = self._ask_raw(index, ragged) if self._remote else self._local_raw(index, table, ragged)
            return embeddings_of(graph, ragged, flat, table.table_names, table.dims)
        if self._remote:
            return self._ask(index, ids)
        with self._on(index):
            return table.lookup(ids)

    def _local_raw(self, index: int, table: MultiHashTable, ragged: RaggedIds) -> Any:
        with self._on(index):
            return table.raw_lookup(ragged)

    def _ask(self, index: int, ids: Mapping[str, Any]) -> dict[str, Any]:
        graph, names = self._graph(), self.table_names
        # A server wants all inputs of a signature.
        sent = [ids[name] if name in ids else graph.const([], DT_INT64) for name in names]
        wanted = [name for name in names if name in ids]
        dims = dict(zip(names, self.dims, strict=True))
        found = remote_predict(
            names,
            sent,
            wanted,
            **self._address(index),
            output_types=[DT_FLOAT] * len(wanted),
            signature_name=self._signatures[index][0],
            output_shapes=[(None, dims[name]) for name in wanted],
            graph=graph,
        )
        return dict(zip(wanted, found, strict=True))

    def _ask_raw(self, index: int, ragged: RaggedIds) -> Any:
        (flat,) = remote_predict(
            ["id", "id_split"],
            [ragged.values, ragged.row_splits],
            ["flat_emb"],
            **self._address(index),
            output_types=[DT_FLOAT],
            signature_name=self._signatures[index][1],
            output_shapes=[(None,)],
            graph=self._graph(),
        )
        return flat

    def _address(self, index: int) -> dict[str, Any]:
        return {
            "model_name": f"{self._model_name}:ps_{index}",
            "task": index,
            "old_model_name": f"ps_{index}",
            "max_rpc_deadline_millis": self._deadline,
        }

    def assign(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Set vectors."""
        return self._changed(slot_to_id_and_value, lambda table, pairs: table.assign(pairs, req_time))

    def assign_add(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Add to vectors."""
        return self._changed(slot_to_id_and_value, lambda table, pairs: table.assign_add(pairs, req_time))

    def apply_gradients(
        self, slot_to_id_and_grad: Mapping[str, tuple[Any, Any]], global_step: Any, req_time: Any = None
    ) -> Self:
        """Let the optimizers take a step; ``global_step`` is an int64 scalar."""
        graph = self._graph()
        check_slots(slot_to_id_and_grad, self.table_names)
        with graph.name_scope("distributed_gradients"):
            summed = {
                name: sum_by_id(graph, as_ids(graph, ids, name), grads)
                for name, (ids, grads) in slot_to_id_and_grad.items()
            }
            return self._changed(summed, lambda table, pairs: table.apply_gradients(pairs, global_step, req_time))

    def as_op(self) -> Any:
        """What to wait for after a change."""
        self._check_local()
        return group(self._graph(), [table.as_op() for table in self._tables])

    def _changed(
        self,
        pairs: Mapping[str, tuple[Any, Any]],
        change: Callable[[MultiTypeTable, dict[str, tuple[Any, Any]]], MultiTypeTable],
    ) -> Self:
        self._check_local()
        check_slots(pairs, self.table_names)
        graph = self._graph()
        parts: list[dict[str, tuple[Any, Any]]] = [{} for _ in self._tables]
        for name, (given, values) in pairs.items():
            ids = as_ids(graph, given, name)
            servers = ps_of_tensor(graph, ids, self._num_ps)
            of_servers = zip(
                part_rows(graph, ids, servers, self._num_ps),
                part_rows(graph, values, servers, self._num_ps),
                strict=True,
            )
            for part, pair in zip(parts, of_servers, strict=True):
                part[name] = pair
        copied = copy.copy(self)
        copied._tables = []
        for i, (table, part) in enumerate(zip(self._tables, parts, strict=True)):
            with self._on(i), graph.name_scope(f"ps_{i}"):
                copied._tables.append(change(table, part))
        return copied

    def _check_local(self) -> None:
        if self._remote:
            raise InvalidArgumentError("the tables are in other models: a distributed export only looks up")

    def _on(self, index: int) -> AbstractContextManager[Any]:
        return nullcontext() if self._device is None else self._graph().device(self._device(index))


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


def _on_server(configs: Mapping[str, HashTableConfigInstance], index: int) -> dict[str, HashTableConfigInstance]:
    """The part of a server is called ``<name>_<i>``, and so were its files under earlier names."""
    return {
        name: dataclasses.replace(config, extra_restore_names=[f"{one}_{index}" for one in config.extra_restore_names])
        for name, config in configs.items()
    }


def _with_settled_rates(
    graph: Emitter, configs: Mapping[str, HashTableConfigInstance]
) -> dict[str, HashTableConfigInstance]:
    """Functions of learning rates are called once, and not on every server anew."""

    def rates(config: HashTableConfigInstance) -> Iterator[Any]:
        for fn in config.learning_rate_fns:
            yield fn() if callable(fn) else fn

    with graph.name_scope("learning_rates"):
        return {
            name: dataclasses.replace(config, learning_rate_fns=list(rates(config))) for name, config in configs.items()
        }
