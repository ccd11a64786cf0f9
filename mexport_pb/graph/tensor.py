"""Operations of a graph under construction, and the tensors that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb.graph.operators import Operators

if TYPE_CHECKING:
    from mexport_pb.graph.builder import GraphBuilder

__all__ = ["Operation", "Shape", "Tensor"]

Shape: TypeAlias = tuple[int | None, ...] | None
"""A static shape: None for an unknown rank, within it None for an unknown size."""

MANUAL_CONTROL_ATTR: Final = "_has_manual_control_dependencies"


class Tensor(Operators):
    """One output of an operation.

    Operators take another tensor, a variable, or a constant of the tensor's type, and add a node to the tensor's graph;
    ``x[...]`` takes what numpy's basic indexing takes, and scalar tensors. See :class:`Operators` for what is refused.

    Attributes:
        op: The operation.
        index: Which of its outputs.
        dtype: A ``DataType`` number; a reference type (``DT_FLOAT_REF``) for a ref variable's own tensor.
    """

    __slots__ = ("_shape", "dtype", "index", "op")

    def __init__(self, op: Operation, index: int, dtype: int, shape: Shape) -> None:
        self.op = op
        self.index = index
        self.dtype = dtype
        self._shape = shape

    @property
    def name(self) -> str:
        """The full name, "node:index"."""
        return f"{self.op.name}:{self.index}"

    @property
    def input_name(self) -> str:
        """The name as NodeDef.input has it: without ":0"."""
        return self.op.name if self.index == 0 else self.name

    @property
    def shape(self) -> list[int | None] | None:
        """The static shape: None for an unknown rank, within it None for an unknown size."""
        return None if self._shape is None else list(self._shape)

    @property
    def static_shape(self) -> Shape:
        """The static shape as a tuple."""
        return self._shape

    @property
    def device(self) -> str:
        """The operation's device."""
        return self.op.device

    @property
    def graph(self) -> GraphBuilder:
        """The graph that the tensor belongs to."""
        return self.op.graph

    def as_tensor(self) -> Tensor:
        """Return the tensor itself; a variable returns its value."""
        return self

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r} shape={self.shape} dtype={dtypes.name_of(self.dtype)}>"


class Operation:
    """One node of a graph. Made by the graph's methods, not by its users."""

    __slots__ = ("_control_inputs", "_graph", "_inputs", "_node", "_outputs")

    def __init__(
        self,
        graph: GraphBuilder,
        node: NodeDef,
        inputs: Sequence[Tensor],
        control_inputs: Sequence[Operation],
        output_dtypes: Sequence[int],
        output_shapes: Sequence[Shape],
    ) -> None:
        self._graph = graph
        self._node = node
        self._inputs = tuple(inputs)
        self._control_inputs = tuple(control_inputs)
        self._outputs = tuple(
            Tensor(self, index, dtype, shape)
            for index, (dtype, shape) in enumerate(zip(output_dtypes, output_shapes, strict=True))
        )

    @property
    def name(self) -> str:
        """The node's name."""
        return self._node.name

    @property
    def type(self) -> str:
        """The kind of operation, e.g. "MatMul"."""
        return self._node.op

    @property
    def device(self) -> str:
        """The device string; "" leaves the choice to the loader."""
        return self._node.device

    @property
    def graph(self) -> GraphBuilder:
        """The graph that the operation belongs to."""
        return self._graph

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that it takes."""
        return self._inputs

    @property
    def control_inputs(self) -> tuple[Operation, ...]:
        """The operations that run before it and give it nothing, sorted by name."""
        return self._control_inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that it gives."""
        return self._outputs

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self._outputs[0]

    @property
    def node_def(self) -> NodeDef:
        """The node itself, not a copy; without ``_output_shapes``."""
        return self._node

    def colocation_groups(self) -> list[bytes]:
        """Return the groups of nodes that must share a device with this one; its own if it is in no other."""
        groups = (
            [group for group in self._node.attr["_class"].list.s if group.startswith(b"loc:@")]
            if ("_class" in self._node.attr)
            else []
        )
        return groups or [b"loc:@" + self.name.encode()]

    def mark_as_manual_control_input(self) -> None:
        """Record that a caller named this operation as a control input, as TensorFlow does."""
        self._node.attr[MANUAL_CONTROL_ATTR].b = True

    def __repr__(self) -> str:
        return f"<Operation {self.name!r} type={self.type}>"
