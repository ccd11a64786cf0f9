"""Embedding hash tables in memory."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from mexport_pb import _core
from mexport_pb._proto import hash_table_pb2
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.wire import serialize, to_message
from mexport_pb.table.dump import OptimizerState, TableDump, check_dump, state_fields

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from mexport_pb.table.config import CuckooHashTableConfig, HashTableConfigInstance

__all__ = ["EmbeddingTable", "TableConfig"]

Ids: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.uint64]
TableConfig: TypeAlias = "Message | bytes | CuckooHashTableConfig | HashTableConfigInstance"

_NO_DUMP: Final = frozenset({"moving_average"})  # optimizers that leave nothing in a dump


class EmbeddingTable:
    """A hash table from 64-bit ids to vectors of float32, kept for training or for serving.

    A training table holds each vector with its optimizer's state; a serving table holds encoded vectors only. What a
    configuration may say, and what each method does to the last bit, is in ``docs/embedding_table.md``.

    All methods may run in any number of threads at once, and release Python's lock while they work. Each id is read
    and written as a whole; a batch of ids is not.

    Ids are arrays of int64 or uint64 without gaps, of any shape; one that is negative as int64 is the same id as its
    uint64. Values are float32, of that shape with ``dim`` behind it. No method converts or copies an array. Times
    are seconds, in 32 bits.

    Args:
        config: An ``EmbeddingHashTableConfig`` as a message, its bytes, or what :mod:`mexport_pb.table.config` builds.

    Raises:
        InvalidArgumentError: by the constructor for a configuration that makes no table; by every method, before it
            changes anything, for arrays of another type or shape, for arguments of another type, and for a negative
            or too large time; by methods that read or change optimizer state for a serving table.
    """

    def __init__(self, config: TableConfig) -> None:
        self._core = _core.EmbeddingTable(config_bytes(config))

    @classmethod
    def _wrap(cls, core: _core.EmbeddingTable) -> EmbeddingTable:
        table = cls.__new__(cls)
        table._core = core
        return table

    @property
    def config(self) -> hash_table_pb2.EmbeddingHashTableConfig:
        """A copy of the configuration."""
        return hash_table_pb2.EmbeddingHashTableConfig.FromString(self._core.config)

    @property
    def dim(self) -> int:
        """The floats of a vector, all segments together."""
        return self._core.dim

    @property
    def slice_size(self) -> int:
        """The segments of a vector, each of which has a learning rate of its own.

        Raises:
            InvalidArgumentError: for a serving table.
        """
        if not self._core.training:
            raise InvalidArgumentError("slice size: got a serving table, want a training table")
        return self._core.segments

    @property
    def training(self) -> bool:
        """Whether the table holds optimizer state."""
        return self._core.training

    @property
    def max_update_time(self) -> int:
        """The largest time of an update so far, restored ones included; 0 at first."""
        return self._core.max_update_time

    @property
    def memory_bytes(self) -> int:
        """The bytes of rows and index, room that erased entries left included."""
        return self._core.memory_bytes

    def __len__(self) -> int:
        return self._core.size

    def lookup(self, ids: Ids, *, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Return the vector of each id, zeros for one that is not there.

        Args:
            ids: Any shape.
            out: Where to write; a new array when None.
        """
        if out is None:
            out = np.empty((*_shape(ids), self.dim), np.float32)
        self._core.lookup(ids, out)
        return out

    def contains(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return for each id whether it is there."""
        out = np.empty(_shape(ids), np.bool_)
        self._core.contains(ids, out)
        return out

    def lookup_entry(self, ids: Ids) -> list[bytes]:
        """Return each id's serialised ``EntryDump`` without the id itself; empty bytes for one that is not there."""
        return self._core.lookup_entry(ids)

    def assign(self, ids: Ids, values: npt.NDArray[np.float32], update_time: int = 0) -> None:
        """Set vectors; of several for one id the last stays. Optimizer state is kept, or made for a new id.

        With ``skip_zero_embedding``, a vector of zeros erases its id.
        """
        self._core.assign(ids, values, _integer("update time", update_time))

    def assign_add(self, ids: Ids, values: npt.NDArray[np.float32], update_time: int = 0) -> None:
        """Add to vectors, one after another. A new id begins with what its initializer says, or zeros for serving."""
        self._core.assign_add(ids, values, _integer("update time", update_time))

    def optimize(
        self,
        ids: Ids,
        gradients: npt.NDArray[np.float32],
        learning_rates: Sequence[float],
        update_time: int = 0,
        global_step: int = 0,
        *,
        sum_gradients: bool = False,
    ) -> None:
        """Apply gradients, one after another.

        Args:
            ids: Any shape; new ones begin with what their initializer says.
            gradients: Of what :meth:`lookup` returned. Not changed.
            learning_rates: One for each segment.
            update_time: When.
            global_step: The step of the training, at least 0.
            sum_gradients: Add up several gradients for one id, for one step. When False, each is a step.
        """
        time, step = _integer("update time", update_time), _integer("global step", global_step)
        self._core.optimize(ids, gradients, _rates(learning_rates), time, step, bool(sum_gradients))

    def reinitialize(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Make entries new, with the present time, and add those that are not there. Returns 1 for those that were.

        The vectors of a serving table stay; new ones are zeros.
        """
        return self._core.reinitialize(ids).reshape(_shape(ids))

    def evict(self, time: int | None = None) -> int:
        """Drop the entries that were last updated their slot's days before `time`, or longer ago; return how many.

        Args:
            time: :attr:`max_update_time` when None.
        """
        return self._core.evict(None if time is None else _integer("update time", time))

    def clear(self) -> None:
        """Drop all entries, and give back their memory."""
        self._core.clear()

    def ids(self) -> npt.NDArray[np.int64]:
        """Return all ids in ascending order of their unsigned values."""
        return self._core.ids()

    def save(self, ids: Ids | None = None) -> TableDump:
        """Copy entries out: the stored vectors, not as a lookup sees them, with all state.

        Args:
            ids: Those to copy, in this order, without the ones that are not there; no writer waits. When None, all in
                the order of :meth:`ids`, as they were at one moment, for which writers wait and readers do not.
        """
        return _dump(self._core, self._core.save(ids))

    def iter_save(self, rows_per_chunk: int = 1 << 16) -> Iterator[TableDump]:
        """Yield all entries in the order of :meth:`ids` in pieces, for tables that do not fit into memory twice.

        The ids are those of the moment of the first piece; entries are as they are when their piece is made.
        """
        if _integer("rows_per_chunk", rows_per_chunk) < 1:
            raise InvalidArgumentError(f"rows_per_chunk: got {rows_per_chunk}, want at least 1")
        if not self.training:
            raise InvalidArgumentError("saving: got a serving table, want a training table")
        return self._pieces(rows_per_chunk)

    def _pieces(self, rows: int) -> Iterator[TableDump]:
        ids = self.ids()
        for begin in range(0, len(ids), rows):
            yield self.save(ids[begin : begin + rows])

    def restore(self, dump: TableDump, *, clear: bool = True) -> None:
        """Take over the entries of a dump.

        A training table needs the state of each of its optimizers. A serving table encodes the vectors and ignores
        state and times.

        Args:
            dump: Arrays as :func:`mexport_pb.read_table` returns them. Files without entries do not say what an entry
                is: such a dump fits every table.
            clear: Drop all other entries, in the one moment in which the new ones are all there. Until then the table
                is as it was, and it stays so if there is an error. When False, entries are added to those there.
        """
        self._core.restore(*_columns(self._core, dump), bool(clear))

    def empty_like(self) -> EmbeddingTable:
        """Make an empty table of the same configuration."""
        return self._wrap(_core.EmbeddingTable(self._core.config))

    def swap(self, other: EmbeddingTable) -> None:
        """Exchange all entries with another table, at one moment; for restoring in pieces into a table that is in use.

        Raises:
            InvalidArgumentError: the tables differ in configuration.
        """
        if not isinstance(other, EmbeddingTable):
            raise InvalidArgumentError(f"other: got {type(other).__name__}, want an EmbeddingTable")
        self._core.swap(other._core)


def config_bytes(config: TableConfig) -> bytes:
    """The bytes of a table's configuration."""
    as_proto = getattr(config, "as_proto", None)
    message: Any = config if as_proto is None else as_proto()
    if isinstance(message, bytes):
        return message
    return serialize(to_message(message, hash_table_pb2.EmbeddingHashTableConfig))


def _integer(what: str, value: SupportsIndex) -> int:
    try:
        integer = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{what}: got {value!r}, want an integer") from None
    if not -(1 << 63) <= integer < 1 << 63:
        raise InvalidArgumentError(f"{what}: got {integer}, want an integer of 64 bits")
    return integer


def _rates(learning_rates: Any) -> list[float]:
    try:
        if not isinstance(learning_rates, str):
            return [float(rate) for rate in learning_rates]
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidArgumentError(f"learning rates: got {learning_rates!r}, want a sequence of numbers")


def _shape(ids: Ids) -> tuple[int, ...]:
    if not isinstance(ids, np.ndarray):
        raise InvalidArgumentError(f"ids: got {type(ids).__name__}, want a numpy array")
    return ids.shape


def _dump(table: _core.EmbeddingTable, columns: _core._EntryColumns) -> TableDump:
    ids, values, timestamps, states = columns
    left = iter(states)
    opt = tuple(
        OptimizerState(kind, {name: next(left) for name, _, _ in state_fields()[kind]})
        for kind in table.optimizers
        if kind not in _NO_DUMP
    )
    return TableDump(ids, values, timestamps, opt)


def _columns(
    table: _core.EmbeddingTable, dump: TableDump
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], list[npt.NDArray[Any]]]:
    check_dump(dump)
    if not len(dump) and not dump.opt and np.shape(dump.values) == (0, 0):
        return dump.ids, np.empty((0, table.dim), np.float32), dump.timestamps, []
    return dump.ids, dump.values, dump.timestamps, _states(table, dump)


def _states(table: _core.EmbeddingTable, dump: TableDump) -> list[npt.NDArray[Any]]:
    if not table.training:
        return []
    want = [kind for kind in table.optimizers if kind not in _NO_DUMP]
    # Without state there is nothing to restore, so a dump may lack it.
    if not dump.opt and not any(state_fields()[kind] for kind in want):
        return []
    got = [state.kind for state in dump.opt]
    if got != want:
        raise InvalidArgumentError(f"optimizers of the dump: got {got}, want {want}")
    states = []
    for state in dump.opt:
        fields = [name for name, _, _ in state_fields()[state.kind]]
        if sorted(fields) != sorted(state.columns):
            raise InvalidArgumentError(f"columns of {state.kind}: got {sorted(state.columns)}, want {sorted(fields)}")
        states += [state.columns[name] for name in fields]
    return states
