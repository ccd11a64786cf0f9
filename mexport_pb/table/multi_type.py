"""Several tables by name, whatever they are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.hash_table import HashTable
from mexport_pb.table.tensors import as_ids, static_shape, with_shape

__all__ = ["MultiTypeHashTable", "MultiTypeTable", "check_slots", "group", "with_rows_of"]


class MultiTypeTable(Protocol):
    """Tables by name. :class:`mexport_pb.MultiHashTable` is one, and so are all classes here.

    Ids are int64 [n], values and gradients float32 [n, dim]. Methods that change tables return what to use after it.
    """

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables, sorted."""

    @property
    def dims(self) -> tuple[int, ...]:
        """The floats of each table's vectors."""

    def lookup(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        """The vectors of each table's ids, zeros for one that is not there: float32 [n, dim] by table."""

    def assign(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Set vectors."""

    def assign_add(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Add to vectors."""

    def apply_gradients(
        self, slot_to_id_and_grad: Mapping[str, tuple[Any, Any]], global_step: Any, req_time: Any = None
    ) -> Self:
        """Let the optimizers take a step."""

    def as_op(self) -> Any:
        """What to wait for after a change."""


class MultiTypeHashTable:
    """A table of its own for each name. Gradients of equal ids are added up before the optimizer takes one step.

    Args:
        slot_to_config: The configuration of each table.
        hash_table_factory: Makes a table of a name suffix and a configuration:
            :func:`mexport_pb.hash_table_from_config`.
        graph: What gives the graph to make nodes in.

    Raises:
        InvalidArgumentError: there is no table; by every method, for a name that is no table's.
    """

    def __init__(
        self,
        slot_to_config: Mapping[str, HashTableConfigInstance],
        hash_table_factory: Callable[[str, HashTableConfigInstance], HashTable],
        *,
        graph: Callable[[], Emitter] = get_default_graph,
    ) -> None:
        if not slot_to_config:
            raise InvalidArgumentError("slot_to_config: got no table, want at least one")
        self._graph = graph
        self._tables = {name: hash_table_factory(name, slot_to_config[name]) for name in sorted(slot_to_config)}

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables, sorted."""
        return tuple(self._tables)

    @property
    def dims(self) -> tuple[int, ...]:
        """The floats of each table's vectors."""
        return tuple(table.dim_size for table in self._tables.values())

    def lookup(self, slot_to_id: Mapping[str, Any]) -> dict[str, Any]:
        """The vectors of each table's ids, zeros for one that is not there: float32 [n, dim] by table."""
        check_slots(slot_to_id, self._tables)
        return {name: self._tables[name].lookup(as_ids(self._graph(), ids, name)) for name, ids in slot_to_id.items()}

    def assign(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Set vectors."""
        return self._changed(slot_to_id_and_value, lambda table, *pair: table.assign(*pair, req_time))

    def assign_add(self, slot_to_id_and_value: Mapping[str, tuple[Any, Any]], req_time: Any = None) -> Self:
        """Add to vectors."""
        return self._changed(slot_to_id_and_value, lambda table, *pair: table.assign_add(*pair, req_time))

    def apply_gradients(
        self, slot_to_id_and_grad: Mapping[str, tuple[Any, Any]], global_step: Any, req_time: Any = None
    ) -> Self:
        """Let the optimizers take a step; ``global_step`` is an int64 scalar."""
        return self._changed(
            slot_to_id_and_grad,
            lambda table, *pair: table.apply_gradients(*pair, global_step, enable_dedup=True, req_time=req_time),
        )

    def as_op(self) -> Any:
        """What to wait for after a change."""
        return group(self._graph(), [table.as_op() for table in self._tables.values()])

    def _changed(self, pairs: Mapping[str, tuple[Any, Any]], change: Callable[..., HashTable]) -> Self:
        check_slots(pairs, self._tables)
        copied = copy.copy(self)
        copied._tables = self._tables | {
            name: change(self._tables[name], as_ids(self._graph(), ids, name), values)
            for name, (ids, values) in pairs.items()
        }
        return copied


def check_slots(names: Iterable[str], tables: Iterable[str]) -> None:
    """Refuse names that are no table's.

    Raises:
        InvalidArgumentError: there is one.
    """
    known = set(tables)
    for name in names:
        if name not in known:
            raise InvalidArgumentError(f"no table {name!r}: got {sorted(names)}, have {sorted(known)}")


def group(graph: Emitter, things: Sequence[Any]) -> Any:
    """An operation that waits for operations or tensors."""
    with graph.control_dependencies(things):
        return graph.op("NoOp", name="done")


def with_rows_of(graph: Emitter, vectors: Any, ids: Any, dim: int) -> Any:
    """Vectors with the static shape of a vector for each id."""
    shape = static_shape(ids)
    return with_shape(graph, vectors, (None if shape is None else shape[0], dim))
