"""Python's operators on tensors and variables, with the nodes that those of ``tf.compat.v1`` make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from mexport_pb.errors import InvalidArgumentError

if TYPE_CHECKING:
    from mexport_pb.graph.builder import GraphBuilder
    from mexport_pb.graph.tensor import Tensor

__all__ = ["Operators"]


class _Operand(Protocol):
    @property
    def graph(self) -> GraphBuilder: ...

    @property
    def name(self) -> str: ...

    def as_tensor(self) -> Tensor: ...


class Operators:
    """The operators of tensors and variables; a variable's value is read first.

    ``==`` and ``!=`` tell whether two are the same object, as they do in graphs of ``tf.compat.v1``:
    :meth:`GraphBuilder.equal` compares values. What Python would need a value for, such as ``if`` and ``for``, is
    refused: a graph has none until it runs.
    """

    __slots__ = ()

    # numpy must leave `array + tensor` to the tensor.
    __array_priority__ = 100

    def __add__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("add", self.as_tensor(), other)

    def __radd__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("add", other, self.as_tensor())

    def __sub__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("sub", self.as_tensor(), other)

    def __rsub__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("sub", other, self.as_tensor())

    def __mul__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("mul", self.as_tensor(), other)

    def __rmul__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("mul", other, self.as_tensor())

    def __truediv__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("truediv", self.as_tensor(), other)

    def __rtruediv__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("truediv", other, self.as_tensor())

    def __floordiv__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("floordiv", self.as_tensor(), other)

    def __rfloordiv__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("floordiv", other, self.as_tensor())

    def __mod__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("mod", self.as_tensor(), other)

    def __rmod__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("mod", other, self.as_tensor())

    def __pow__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("pow", self.as_tensor(), other)

    def __rpow__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("pow", other, self.as_tensor())

    def __matmul__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("matmul", self.as_tensor(), other)

    def __rmatmul__(self: _Operand, other: Any) -> Tensor:
        return self.graph.binary_operator("matmul", other, self.as_tensor())

    def __and__(self: _Operand, other: Any) -> Tensor:
        return self.graph.logical_operator("and", self.as_tensor(), other)

    def __rand__(self: _Operand, other: Any) -> Tensor:
        return self.graph.logical_operator("and", other, self.as_tensor())

    def __or__(self: _Operand, other: Any) -> Tensor:
        return self.graph.logical_operator("or", self.as_tensor(), other)

    def __ror__(self: _Operand, other: Any) -> Tensor:
        return self.graph.logical_operator("or", other, self.as_tensor())

    def __xor__(self: _Operand, other: Any) -> Tensor:
        return self.graph.logical_operator("xor", self.as_tensor(), other)

    def __rxor__(self: _Operand, other: Any) -> Tensor:
        return self.graph.logical_operator("xor", other, self.as_tensor())

    def __lt__(self: _Operand, other: Any) -> Tensor:
        return self.graph.less(self.as_tensor(), other)

    def __le__(self: _Operand, other: Any) -> Tensor:
        return self.graph.less_equal(self.as_tensor(), other)

    def __gt__(self: _Operand, other: Any) -> Tensor:
        return self.graph.greater(self.as_tensor(), other)

    def __ge__(self: _Operand, other: Any) -> Tensor:
        return self.graph.greater_equal(self.as_tensor(), other)

    def __neg__(self: _Operand) -> Tensor:
        return self.graph.negative(self.as_tensor())

    def __invert__(self: _Operand) -> Tensor:
        return self.graph.invert(self.as_tensor())

    def __abs__(self: _Operand) -> Tensor:
        return self.graph.abs(self.as_tensor())

    def __getitem__(self: _Operand, key: Any) -> Tensor:
        return self.graph.getitem(self.as_tensor(), key)

    def __bool__(self: _Operand) -> NoReturn:
        raise InvalidArgumentError(
            f"{self.name}: used as a Python bool, but it has no value until the graph runs:"
            " want where, logical_and, or a test such as `is None`"
        )

    def __iter__(self: _Operand) -> Iterator[Tensor]:
        raise InvalidArgumentError(
            f"{self.name}: iterated over, but it has no value until the graph runs: want unstack or split"
        )

    def __len__(self: _Operand) -> int:
        raise InvalidArgumentError(f"{self.name}: its length is asked for: want .shape[0], or shape() of the graph")
