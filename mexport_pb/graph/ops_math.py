"""Arithmetic, comparisons, reductions and products, named as ``tf`` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import (
    DT_BFLOAT16,
    DT_BOOL,
    DT_COMPLEX64,
    DT_COMPLEX128,
    DT_DOUBLE,
    DT_FLOAT,
    DT_HALF,
    DT_INT8,
    DT_INT16,
    DT_INT32,
    DT_INT64,
    DT_STRING,
    DT_UINT8,
    DT_UINT16,
    DT_UINT32,
    DT_UINT64,
)
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.ops_array import ArrayOps, TensorLike
from mexport_pb.graph.tensor import Tensor

__all__ = ["MathOps"]

# What a true division makes of integers.
_DIVISION_TYPES: Final[dict[int, int]] = {
    DT_UINT8: DT_FLOAT,
    DT_INT8: DT_FLOAT,
    DT_UINT16: DT_FLOAT,
    DT_INT16: DT_FLOAT,
    DT_INT32: DT_DOUBLE,
    DT_INT64: DT_DOUBLE,
    DT_UINT32: DT_DOUBLE,
    DT_UINT64: DT_DOUBLE,
}
_OPERATORS: Final = {
    "add": "AddV2",
    "sub": "Sub",
    "mul": "Mul",
    "floordiv": "FloorDiv",
    "mod": "FloorMod",
    "pow": "Pow",
}
_REAL_DIVISION: Final = frozenset({DT_HALF, DT_BFLOAT16, DT_FLOAT, DT_DOUBLE, DT_COMPLEX64, DT_COMPLEX128})


class MathOps(ArrayOps):
    """Each method adds the nodes that the function of that name in ``tf`` adds, and returns the result.

    Operands are broadcast. All raise InvalidArgumentError for types and shapes that do not go together.
    """

    def binary_operator(self, operator: str, x: TensorLike, y: TensorLike) -> Tensor:
        """Add what an operator of :class:`Tensor` means.

        Args:
            operator: "add", "sub", "mul", "truediv", "floordiv", "mod", "pow" or "matmul".
            x: The left operand; it or ``y`` is a tensor.
            y: The right operand.
        """
        with self.name_scope(operator) as scope:
            x, y = self._operands(x, y)
            match operator:
                case "matmul":
                    return self.matmul(x, y, name=scope)
                case "truediv":
                    return self._true_divide(x, y, scope)
                case "add" if dtypes.base_datatype(x.dtype) == DT_STRING:
                    return self.op("Add", [x, y], name=scope).output
                case "mul" if dtypes.base_datatype(x.dtype) == DT_BOOL:
                    return self.op("LogicalAnd", [x, y], name=scope).output
            return self.op(_OPERATORS[operator], [x, y], name=scope).output

    def logical_operator(self, operator: str, x: TensorLike, y: TensorLike) -> Tensor:
        """Add what "and", "or" or "xor" means: of bools, or of the bits of integers."""
        with self.name_scope(operator) as scope:
            if not isinstance(x, Tensor):
                x = self.to_tensor(x, dtypes.base_datatype(y.dtype), name="x")
            if dtypes.base_datatype(x.dtype) != DT_BOOL:
                return self.op({"and": "BitwiseAnd", "or": "BitwiseOr", "xor": "BitwiseXor"}[operator], [x, y]).output
            match operator:
                case "and":
                    return self.logical_and(x, y, name=scope)
                case "or":
                    return self.logical_or(x, y, name=scope)
            return self.logical_and(self.logical_or(x, y), self.logical_not(self.logical_and(x, y)), name=scope)

    def invert(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ``~x``: whether it does not hold, or integers with all bits turned over."""
        tensor = self.to_tensor(x)
        if dtypes.base_datatype(tensor.dtype) == DT_BOOL:
            return self.logical_not(tensor, name)
        return self._unary("Invert", tensor, name)

    def _operands(self, x: TensorLike, y: TensorLike) -> tuple[Tensor, Tensor]:
        # A constant takes the type of the other side.
        if isinstance(x, Tensor):
            return x, self.to_tensor(y, dtypes.base_datatype(x.dtype), name="y")
        left = self.to_tensor(x, dtypes.base_datatype(y.dtype) if hasattr(y, "dtype") else None, name="x")
        return left, self.to_tensor(y, dtypes.base_datatype(left.dtype), name="y")

    def _true_divide(self, x: Tensor, y: Tensor, scope: str) -> Tensor:
        wider = _DIVISION_TYPES.get(dtypes.base_datatype(x.dtype))
        if wider is not None:
            x, y = self.cast(x, wider), self.cast(y, wider)
        return self.op("RealDiv", [x, y], name=scope).output

    def _unary(self, op_type: str, x: TensorLike, name: str | None) -> Tensor:
        return self.op(op_type, [x], name=name).output

    def _binary(self, op_type: str, x: TensorLike, y: TensorLike, name: str | None) -> Tensor:
        return self.op(op_type, [x, y], name=name).output

    def add(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x + y``; strings are joined."""
        with self.name_scope(name or "Add") as scope:
            x, y = self._operands(x, y)
            is_string = dtypes.base_datatype(x.dtype) == DT_STRING
            return self.op("Add" if is_string else "AddV2", [x, y], name=scope).output

    def sub(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x - y``."""
        return self._binary("Sub", x, y, name)

    def mul(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x * y``."""
        return self._binary("Mul", x, y, name)

    def div(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x / y``, rounded down for integers (``tf.compat.v1.div``); the operator ``/`` makes floats."""
        with self.name_scope(name or "div") as scope:
            x, y = self._operands(x, y)
            real = dtypes.base_datatype(x.dtype) in _REAL_DIVISION
            return self.op("RealDiv" if real else "FloorDiv", [x, y], name=scope).output

    def pow(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x`` to the power of ``y``."""
        return self._binary("Pow", x, y, name)

    def negative(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ``-x``."""
        return self._unary("Neg", x, name)

    def abs(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return the absolute values."""
        return self._unary("Abs", x, name)

    def exp(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return e to the power of ``x``."""
        return self._unary("Exp", x, name)

    def log(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return the natural logarithm."""
        return self._unary("Log", x, name)

    def log1p(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ``log(1 + x)``."""
        return self._unary("Log1p", x, name)

    def sqrt(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return the square root."""
        return self._unary("Sqrt", x, name)

    def rsqrt(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return one divided by the square root."""
        return self._unary("Rsqrt", x, name)

    def square(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x * x``."""
        return self._unary("Square", x, name)

    def maximum(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return the larger of each two elements."""
        return self._binary("Maximum", x, y, name)

    def minimum(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return the smaller of each two elements."""
        return self._binary("Minimum", x, y, name)

    def floordiv(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x // y``, rounded down."""
        return self._binary("FloorDiv", x, y, name or "floordiv")

    def floormod(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return the remainder of ``x // y``."""
        return self._binary("FloorMod", x, y, name)

    def equal(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x == y``."""
        return self._binary("Equal", x, y, name)

    def not_equal(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x != y``."""
        return self._binary("NotEqual", x, y, name)

    def greater(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x > y``."""
        return self._binary("Greater", x, y, name)

    def greater_equal(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x >= y``."""
        return self._binary("GreaterEqual", x, y, name)

    def less(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x < y``."""
        return self._binary("Less", x, y, name)

    def less_equal(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return ``x <= y``."""
        return self._binary("LessEqual", x, y, name)

    def logical_and(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return whether both hold."""
        return self._binary("LogicalAnd", x, y, name)

    def logical_or(self, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
        """Return whether one of both holds."""
        return self._binary("LogicalOr", x, y, name)

    def logical_not(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return whether it does not hold."""
        return self._unary("LogicalNot", x, name)

    def matmul(
        self,
        a: TensorLike,
        b: TensorLike,
        transpose_a: bool = False,
        transpose_b: bool = False,
        name: str | None = None,
    ) -> Tensor:
        """Return the product of matrices, or of batches of matrices (rank above 2)."""
        with self.name_scope(name or "MatMul") as scope:
            left = self.to_tensor(a, None, name="a")
            right = self.to_tensor(b, dtypes.base_datatype(left.dtype), name="b")
            if any(one.shape is None or len(one.shape) > 2 for one in (left, right)):
                attrs = {"adj_x": transpose_a, "adj_y": transpose_b}
                return self.op("BatchMatMulV2", [left, right], attrs=attrs, name=scope).output
            attrs = {"transpose_a": transpose_a, "transpose_b": transpose_b}
            return self.op("MatMul", [left, right], attrs=attrs, name=scope).output

    def add_n(self, inputs: Sequence[TensorLike], name: str | None = None) -> Tensor:
        """Return the sum of tensors of one shape."""
        if not inputs:
            raise InvalidArgumentError("add_n: got no inputs")
        if len(inputs) == 1:
            tensor = self.to_tensor(inputs[0])
            return tensor if name is None else self.identity(tensor, name=name)
        return self.op("AddN", [list(inputs)], name=name).output

    def _reduce(self, op_type: str, x: TensorLike, axis: Any, keepdims: bool, name: str | None) -> Tensor:
        tensor = self.to_tensor(x, name="input")
        axes = self._all_axes(tensor) if axis is None else axis
        shapes = [()] if axis is None and not keepdims else None
        return self.op(op_type, [tensor, axes], attrs={"keep_dims": keepdims}, shapes=shapes, name=name).output

    def _all_axes(self, tensor: Tensor) -> Tensor:
        if tensor.shape:
            return self.const(list(range(len(tensor.shape))), DT_INT32)
        return self.range(0, self.rank(tensor))

    def reduce_sum(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return the sum over an axis, several, or all (None)."""
        return self._reduce("Sum", x, axis, keepdims, name)

    def reduce_mean(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return the mean over an axis, several, or all (None)."""
        return self._reduce("Mean", x, axis, keepdims, name)

    def reduce_max(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return the maximum over an axis, several, or all (None)."""
        return self._reduce("Max", x, axis, keepdims, name)

    def reduce_min(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return the minimum over an axis, several, or all (None)."""
        return self._reduce("Min", x, axis, keepdims, name)

    def reduce_prod(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return the product over an axis, several, or all (None)."""
        return self._reduce("Prod", x, axis, keepdims, name)

    def reduce_any(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return whether any holds over an axis, several, or all (None)."""
        return self._reduce("Any", x, axis, keepdims, name)

    def reduce_all(self, x: TensorLike, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        """Return whether all hold over an axis, several, or all (None)."""
        return self._reduce("All", x, axis, keepdims, name)
