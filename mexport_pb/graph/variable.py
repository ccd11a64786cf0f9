"""Variables of a graph under construction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mexport_pb import dtypes
from mexport_pb._proto.variable_pb2 import VARIABLE_AGGREGATION_NONE, VariableAggregation, VariableDef
from mexport_pb.graph.operators import Operators
from mexport_pb.graph.slices import SaveSlice
from mexport_pb.graph.tensor import Operation, Tensor
from mexport_pb.messages import make_variable_def

if TYPE_CHECKING:
    from mexport_pb.graph.builder import GraphBuilder

__all__ = ["Variable"]


class Variable(Operators):
    """A variable, usable wherever a tensor is: its value is read there.

    Made by :meth:`GraphBuilder.variable`.

    Attributes:
        handle: The resource handle, or the ref tensor of a ref variable.
        dtype: Of the values, a ``DataType`` number.
        initializer: The operation that assigns the initial value.
        initial_value: The tensor that is assigned.
        snapshot: The tensor that reads the value for savers: "w/Read/ReadVariableOp:0" or "w/read:0".
        trainable: Whether it is in the collection "trainable_variables".
        save_slice: Which part of a partitioned variable it is, else None.
        aggregation: How updates of several replicas become one; only ever written into the VariableDef.
    """

    __slots__ = (
        "aggregation",
        "dtype",
        "handle",
        "initial_value",
        "initializer",
        "save_slice",
        "snapshot",
        "trainable",
    )

    def __init__(
        self,
        *,
        handle: Tensor,
        initial_value: Tensor,
        initializer: Operation,
        snapshot: Tensor,
    ) -> None:
        self.handle = handle
        self.dtype = snapshot.dtype
        self.initial_value = initial_value
        self.initializer = initializer
        self.snapshot = snapshot
        self.trainable = True
        self.save_slice: SaveSlice | None = None
        self.aggregation: VariableAggregation = VARIABLE_AGGREGATION_NONE

    @property
    def name(self) -> str:
        """The name of the handle, "w:0"."""
        return self.handle.name

    @property
    def op(self) -> Operation:
        """The operation of the handle."""
        return self.handle.op

    @property
    def shape(self) -> list[int | None] | None:
        """The static shape, see :attr:`Tensor.shape`."""
        return self.snapshot.shape

    @property
    def device(self) -> str:
        """The device that the variable lives on."""
        return self.handle.device

    @property
    def graph(self) -> GraphBuilder:
        """The graph that the variable belongs to."""
        return self.handle.graph

    @property
    def is_resource(self) -> bool:
        """True for a resource variable, False for a ref variable."""
        return not dtypes.is_ref(self.handle.dtype)

    def as_tensor(self) -> Tensor:
        """Return a tensor of the value, as operations take it: a new read, or the snapshot of a ref variable."""
        if not self.is_resource:
            return self.snapshot
        with self.graph.colocate_with(None, ignore_existing=True):
            return self.graph.op("ReadVariableOp", [self], attrs={"dtype": self.dtype}).output

    value = as_tensor

    def read_value(self) -> Tensor:
        """Add a read that happens where it is asked for: after the control inputs of the current scope."""
        if not self.is_resource:
            return self.graph.op("Identity", [self.handle], name="read").output
        with self.graph.name_scope("Read"):
            value = self.graph.op("ReadVariableOp", [self], attrs={"dtype": self.dtype}).output
        return self.graph.identity(value)

    def assign(self, value: Any, name: str | None = None) -> Operation:
        """Add an operation that assigns a value of the variable's type.

        Args:
            value: A tensor, a variable or a constant.
            name: Of the operation.

        Raises:
            InvalidArgumentError: another type.
        """
        if not self.is_resource:
            attrs = {"use_locking": False, "validate_shape": True}
            return self.graph.op("Assign", [self, value], name=name, attrs=attrs)
        new = self.graph.to_tensor(value, dtype=self.dtype)
        return self.graph.op(
            "AssignVariableOp", [self, new], name=name, attrs={"validate_shape": self.shape is not None}
        )

    def to_variable_def(self) -> VariableDef:
        """Return the entry for the graph's collections of variables."""
        part = self.save_slice
        definition = make_variable_def(
            self.name,
            initializer_name=self.initializer.name,
            snapshot_name=self.snapshot.name,
            initial_value_name=self.initial_value.name,
            is_resource=self.is_resource,
            trainable=self.trainable,
            save_slice_info=None if part is None else part.to_message(self.shape or ()),
        )
        definition.aggregation = self.aggregation
        return definition

    def __repr__(self) -> str:
        return f"<Variable {self.name!r} shape={self.shape} dtype={dtypes.name_of(self.dtype)}>"
