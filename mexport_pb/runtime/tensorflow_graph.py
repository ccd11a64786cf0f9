"""TensorFlow's current default graph as the faces of tables want one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.op_defs import op_def
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.ops import load_op_library

__all__ = ["TensorFlowGraph", "current_graph"]


class TensorFlowGraph:
    """An :class:`~mexport_pb.table.emitter.Emitter`; every method goes to the graph that is TensorFlow's default then.

    Raises:
        InvalidArgumentError: by every method, in eager mode; by those that make a node, for inputs that it cannot take.
    """

    def op(
        self,
        op_type: str,
        inputs: Sequence[Any] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Adds a node, and constants for what is no tensor yet."""
        _default_graph()
        signature = op_def(op_type)
        if signature is None or len(inputs) != len(signature.input_arg):
            raise InvalidArgumentError(f"{op_type}: got {len(inputs)} inputs, want those of a known op")
        inferred = {
            attr for arg in signature.input_arg for attr in (arg.type_attr, arg.number_attr, arg.type_list_attr)
        }
        arguments = {arg.name: value for arg, value in zip(signature.input_arg, inputs, strict=True)}
        for attr in signature.attr:
            if attr.name not in inferred:
                arguments[attr.name] = attrs[attr.name] if attrs and attr.name in attrs else _default(attr)
        try:
            made = _apply_op()(op_type, name=name, **arguments)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"{op_type}: {error}") from error
        if isinstance(made, (list, tuple)):
            made = made[0]
        return getattr(made, "op", made)

    def const(self, value: Any, dtype: Any) -> Any:
        """Adds a constant; a tensor or a variable is taken as it is."""
        _default_graph()
        tf = tensorflow()
        try:
            return tf.convert_to_tensor(value, tf.as_dtype(dtype))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"Const: {error}") from error

    def device(self, device: str) -> AbstractContextManager[Any]:
        """Places the nodes of the block."""
        placed: AbstractContextManager[Any] = _default_graph().device(device)
        return placed

    def name_scope(self, name: str) -> AbstractContextManager[Any]:
        """Puts a prefix before the names of the nodes of the block."""
        scope: AbstractContextManager[Any] = _default_graph().name_scope(name)
        return scope

    def control_dependencies(self, control_inputs: Iterable[Any]) -> AbstractContextManager[Any]:
        """Lets the nodes of the block wait for operations or tensors."""
        waiting: AbstractContextManager[Any] = _default_graph().control_dependencies(list(control_inputs))
        return waiting

    def unique_name(self, name: str) -> str:
        """Takes a name that no node has."""
        return str(_default_graph().unique_name(name))

    def get_tensor(self, name: str) -> Any:
        """The tensor of that name."""
        return _found(_default_graph().get_tensor_by_name, name)

    def get_operation(self, name: str) -> Any:
        """The operation of that name."""
        return _found(_default_graph().get_operation_by_name, name)

    def add_to_collection(self, name: str, value: Any) -> None:
        """Appends to a collection."""
        _default_graph().add_to_collection(name, value)

    def get_collection(self, name: str) -> list[Any]:
        """A collection, empty if there is none."""
        return list(_default_graph().get_collection(name))


@functools.cache
def current_graph() -> TensorFlowGraph:
    """The one of this process: which graph it stands for is TensorFlow's to say."""
    return TensorFlowGraph()


def _default_graph() -> Any:
    tf = tensorflow()
    if tf.executing_eagerly():
        raise InvalidArgumentError("no default graph: want a call within `with tf.Graph().as_default()`")
    return tf.compat.v1.get_default_graph()


@functools.cache
def _apply_op() -> Callable[..., Any]:
    """TensorFlow's maker of nodes by the names of their signatures, which the public functions rename in part."""
    from tensorflow.python.framework.op_def_library import apply_op

    load_op_library()
    return apply_op  # type: ignore[no-any-return]


def _default(attr: Any) -> Any:
    kind = attr.default_value.WhichOneof("value")
    return None if kind is None else getattr(attr.default_value, kind)


def _found(get: Callable[[str], Any], name: str) -> Any:
    try:
        return get(name)
    except (KeyError, ValueError) as error:
        raise InvalidArgumentError(f"the default graph has no {name!r}: {error}") from error
