"""Layers' building blocks, strings, and control flow, named as ``tf`` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.ops_array import TensorLike
from mexport_pb.graph.ops_math import MathOps
from mexport_pb.graph.tensor import Operation, Tensor
from mexport_pb.graph.variable import Variable

__all__ = ["NNOps"]


class NNOps(MathOps):
    """Each method adds the nodes that the function of that name in ``tf`` adds, and returns the result.

    All raise InvalidArgumentError for types and shapes that do not go together.
    """

    def bias_add(self, value: TensorLike, bias: TensorLike, name: str | None = None) -> Tensor:
        """Add a vector along the last axis."""
        with self.name_scope(name or "BiasAdd") as scope:
            tensor = self.to_tensor(value, name="input")
            vector = self.to_tensor(bias, tensor.dtype, name="bias")
            return self.op("BiasAdd", [tensor, vector], name=scope).output

    def relu(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ``max(x, 0)``."""
        return self._unary("Relu", x, name)

    def sigmoid(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return ``1 / (1 + exp(-x))``."""
        return self._unary("Sigmoid", x, name)

    def tanh(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return the hyperbolic tangent."""
        return self._unary("Tanh", x, name)

    def softmax(self, logits: TensorLike, name: str | None = None) -> Tensor:
        """Return exponentials that sum to 1 along the last axis."""
        return self._unary("Softmax", logits, name)

    def l2_loss(self, x: TensorLike, name: str | None = None) -> Tensor:
        """Return half the sum of squares."""
        return self._unary("L2Loss", x, name)

    def l2_normalize(self, x: TensorLike, axis: Any, epsilon: float = 1e-12, name: str | None = None) -> Tensor:
        """Scale vectors along an axis to length 1."""
        with self.name_scope(name or "l2_normalize") as scope:
            tensor = self.to_tensor(x, name="x")
            square_sum = self.reduce_sum(self.square(tensor), axis, keepdims=True)
            return self.mul(tensor, self.rsqrt(self.maximum(square_sum, epsilon)), name=scope)

    def string_join(self, inputs: Sequence[TensorLike], separator: str = "", name: str | None = None) -> Tensor:
        """Join strings element by element."""
        return self.op("StringJoin", [list(inputs)], attrs={"separator": separator}, name=name).output

    def string_to_hash_bucket_fast(self, x: TensorLike, num_buckets: int, name: str | None = None) -> Tensor:
        """Hash strings to ``0 … num_buckets - 1`` (int64), the same in every process."""
        return self.op("StringToHashBucketFast", [x], attrs={"num_buckets": num_buckets}, name=name).output

    def no_op(self, name: str | None = None) -> Operation:
        """Add an operation that does nothing but wait for its control inputs."""
        return self.op("NoOp", name=name)

    def group(self, *inputs: Operation | Tensor | Variable, name: str | None = None) -> Operation:
        """Add an operation that is done when all the given ones are; one more for each device if there are several."""
        with self.name_scope(name or "group_deps") as scope:
            if not inputs:
                return self.no_op(name=scope)
            by_device: dict[str, list[Operation | Tensor | Variable]] = {}
            for one in inputs:
                if not isinstance(one, Operation | Tensor | Variable):
                    raise InvalidArgumentError(f"group: got {one!r}, want operations, tensors or variables")
                by_device.setdefault(one.device, []).append(one)
            if len(by_device) == 1:
                ((device, members),) = by_device.items()
                return self._group_on(device, members, scope)
            groups = [self._group_on(device, by_device[device], None) for device in sorted(by_device)]
            with self.control_dependencies(groups):
                return self.no_op(name=scope)

    def _group_on(self, device: str, members: Sequence[Operation | Tensor | Variable], name: str | None) -> Operation:
        with self.control_dependencies(members), self.device(device):
            return self.no_op(name=name)
