"""One table for all slots that are configured alike."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self

from mexport_pb._proto.tensor_pb2 import DT_INT64
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.table.collections import TABLE_PREFIX
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.multi_type import MultiTypeTable, check_slots, with_rows_of
from mexport_pb.table.partition import sum_by_id
from mexport_pb.table.ragged import split_rows
from mexport_pb.table.tensors import as_ids, concat

__all__ = ["MergedMultiTypeHashTable", "merge_slots", "merged_name"]

_RENAMED_SLOT: Final = re.compile(r"fc_(slot_[0-9]*)")


def merged_name(slots: Iterable[str]) -> str:
    """The name of the table that slots share: the md5, in hexadecimal, of their sorted names with commas between."""
    return hashlib.md5(",".join(sorted(slots)).encode(), usedforsecurity=False).hexdigest()


def merge_slots(
    slot_to_config: Mapping[str, HashTableConfigInstance],
) -> tuple[dict[str, HashTableConfigInstance], dict[str, str]]:
    """Find the slots that may share a table: those whose configurations and learning rates are the same text.

    A table's earlier names are those of all its slots, and, where slots are called ``fc_slot_<n>``, the name that it
    had when they were called ``slot_<n>``.

    Returns:
        The configuration of each merged table, and the table of each slot. What the caller gave is not changed.

    Raises:
        InvalidArgumentError: there is no slot, or one whose name has a comma.
    """
    if not slot_to_config:
        raise InvalidArgumentError("slot_to_config: got no slot, want at least one")
    alike: dict[str, list[str]] = {}
    for slot in sorted(slot_to_config):
        if "," in slot or not slot:
            raise InvalidArgumentError(f"slot {slot!r}: want a name, without commas")
        alike.setdefault(str(slot_to_config[slot]), []).append(slot)
    configs, table_of = {}, {}
    for slots in alike.values():
        name = merged_name(slots)
        earlier = [one for slot in slots for one in slot_to_config[slot].extra_restore_names]
        old = merged_name(_before_renaming(slot) for slot in slots)
        if old != name:
            earlier.append(f"{TABLE_PREFIX}{old}")
        configs[name] = dataclasses.replace(slot_to_config[slots[0]], extra_restore_names=list(dict.fromkeys(earlier)))
        table_of.update(dict.fromkeys(slots, name))
    return configs, table_of


def _before_renaming(slot: str) -> str:
    match = _RENAMED_SLOT.fullmatch(slot)
    return match[1] if match else slot


class MergedMultiTypeHashTable:
    """Slots by name, in tables that those share which are configured alike. Fewer tables make smaller graphs.

    Ids of slots that share a table must differ, as fids do, which begin with their slot.

    Args:
        slot_to_config: The configuration of each slot.
        factory: Makes the tables of the merged configurations, by :func:`merged_name`.
        sum_gradients: Whether gradients of equal ids are added up here, for tables that do not do so.
        graph: What gives the graph to make nodes in.

    Raises:
        InvalidArgumentError: there is no slot; by every method, for a name that is no slot's.
    """

    def __init__(
        self,
        slot_to_config: Mapping[str, HashTableConfigInstance],
        factory: Callable[[dict[str, HashTableConfigInstance]], MultiTypeTable],
        *,
        sum_gradients: bool = False,
        graph: Callable[[], Emitter] = get_default_graph,
    ) -> None:
        configs, self._table_of = merge_slots(slot_to_config)
        self._graph = graph
        self._sum_gradients = sum_gradients
        self._table = factory(configs)

    @property
    def table_names(self) -> tuple[str, ...]:
        """The slots, sorted."""
        return tuple(sorted(self._table_of))

    @property
    def dims(self) -> tuple[int, ...]:
        """The floats of each slot's vectors."""
        dims = dict(zip(self._table.table_names, self._table.dims, strict=True))
        return tuple(dims[self._table_of[slot]] for slot in self.table_names)

    @property
    def slot_mapping(self) -> dict[str, str]:
        """The table of each slot."""
        return dict(self._table_of)

    def lookup(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        """The vectors of each slot's ids, zeros for one that is not there: float32 [n, dim] by slot."""
        graph = self._graph()
        ids = self._checked(slot_to_id)
        slots_of = self._by_table(ids)
        merged = {table: concat(graph, [ids[slot] for slot in slots]) for table, slots in slots_of.items()}
        found = self._table.lookup(merged)
        dims = dict(zip(self._table.table_names, self._table.dims, strict=True))
        vectors = {}
        for table, slots in slots_of.items():
            parts = [found[table]]
            if len(slots) > 1:
                sizes = [graph.op("Size", [ids[slot]], attrs={"out_type": DT_INT64}).outputs[0] for slot in slots]
                parts = split_rows(graph, found[table], graph.op("Pack", [sizes]).outputs[0], len(slots))
            for slot, part in zip(slots, parts, strict=True):
                vectors[slot] = with_rows_of(graph, part, ids[slot], dims[table])
        return {slot: vectors[slot] for slot in slot_to_id}

    def assign(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Set vectors."""
        return self._with(self._table.assign(self._merged(slot_to_id_and_value), req_time))

    def assign_add(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Add to vectors."""
        return self._with(self._table.assign_add(self._merged(slot_to_id_and_value), req_time))

    def apply_gradients(
        self, slot_to_id_and_grad: Mapping[str, tuple[Any, Any]], global_step: Any, req_time: Any = None
    ) -> Self:
        """Let the optimizers take a step; ``global_step`` is an int64 scalar."""
        merged = self._merged(slot_to_id_and_grad)
        if self._sum_gradients:
            merged = {table: sum_by_id(self._graph(), *pair) for table, pair in merged.items()}
        return self._with(self._table.apply_gradients(merged, global_step, req_time))

    def as_op(self) -> Any:
        """What to wait for after a change."""
        return self._table.as_op()

    def _merged(self, pairs: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
        graph = self._graph()
        ids = self._checked({slot: pair[0] for slot, pair in pairs.items()})
        return {
            table: (
                concat(graph, [ids[slot] for slot in slots]),
                concat(graph, [pairs[slot][1] for slot in slots]),
            )
            for table, slots in self._by_table(ids).items()
        }

    def _checked(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        check_slots(slot_to_id, self._table_of)
        return {slot: as_ids(self._graph(), ids, slot) for slot, ids in slot_to_id.items()}

    def _by_table(self, slots: Iterable[str]) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for slot in sorted(slots):
            result.setdefault(self._table_of[slot], []).append(slot)
        return result

    def _with(self, table: MultiTypeTable) -> Self:
        copied = copy.copy(self)
        copied._table = table
        return copied
