"""What the faces of tables need of the graph that they make nodes in.

A :class:`~mexport_pb.graph.GraphBuilder` is one as it is; for a ``tf.Graph`` a small adapter adds :meth:`Emitter.op`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["Emitter"]


class Emitter(Protocol):
    """Makes nodes. Tensors and operations are of the graph's own kinds: they have ``name``, tensors ``dtype``."""

    def op(
        self,
        op_type: str,
        inputs: Sequence[Any] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Adds a node, and returns its operation, which has ``outputs``.

        Args:
            op_type: The kind of operation, of TensorFlow's own or of the hash tables'.
            inputs: One entry for each input of the op's signature, a list for an input that is a list; tensors, or
                constants of the type that the op wants.
            name: Made unique in the current scope; by default the op's type.
            attrs: What does not follow from the inputs and has no default. Types are DataType numbers.
        """

    def const(self, value: Any, dtype: Any) -> Any:
        """Adds a constant of a type, a DataType number, and returns its tensor."""

    def device(self, device: str) -> AbstractContextManager[Any]:
        """Places the nodes of the block."""

    def name_scope(self, name: str) -> AbstractContextManager[Any]:
        """Puts a prefix before the names of the nodes of the block."""

    def control_dependencies(self, control_inputs: Iterable[Any]) -> AbstractContextManager[Any]:
        """Lets the nodes of the block wait for operations or tensors."""

    def unique_name(self, name: str) -> str:
        """Takes a name that no node has."""

    def get_tensor(self, name: str) -> Any:
        """The tensor of that name."""

    def get_operation(self, name: str) -> Any:
        """The operation of that name."""

    def add_to_collection(self, name: str, value: Any) -> None:
        """Appends to a collection."""

    def get_collection(self, name: str) -> list[Any]:
        """A collection, empty if there is none."""
