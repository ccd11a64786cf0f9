"""Lets the faces of tables make their nodes in a ``tf.Graph``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mexport_pb._proto.graph_pb2 import AttrValue
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.op_defs import OpDefs
from mexport_pb.messages.table_ops import table_op_defs
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.ops import load_op_library

__all__ = ["GraphEmitter", "current_graph"]


class GraphEmitter:
    """An :class:`~mexport_pb.table.emitter.Emitter` of TensorFlow's default graph, whichever that is at each call.

    Raises:
        InvalidArgumentError: by every method, in eager mode.
    """

    def __init__(self) -> None:
        self._tf = tensorflow()

    @property
    def graph(self) -> Any:
        """The default graph."""
        self._check()
        return self._tf.compat.v1.get_default_graph()

    def _check(self) -> None:
        if self._tf.executing_eagerly():
            raise InvalidArgumentError("no default graph: want a call within `with tf.Graph().as_default()`")

    def op(
        self,
        op_type: str,
        inputs: Sequence[Any] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Add a node and return its operation.

        Raises:
            MexportError: there is no library of table ops.
            InvalidArgumentError: TensorFlow refuses the inputs.
        """
        from tensorflow.python.framework import op_def_library

        self._check()
        if op_type in table_op_defs():
            load_op_library()
        definition = OpDefs()[op_type]
        given = dict(attrs or {})
        keywords: dict[str, Any] = {}
        for arg, value in zip(definition.input_arg, inputs, strict=True):
            # A type that the inputs tell may not be said once more: they are made to tell it.
            keywords[arg.name] = self._of_type(value, given.pop(arg.type_attr, None), is_list=bool(arg.number_attr))
            if (types := given.pop(arg.type_list_attr, None)) is not None:
                keywords[arg.name] = [self._of_type(one, t, is_list=False) for one, t in zip(value, types, strict=True)]
        inferred = {one for arg in definition.input_arg for one in (arg.type_attr, arg.number_attr, arg.type_list_attr)}
        for attr in definition.attr:
            if attr.name not in inferred and attr.HasField("default_value"):
                keywords[attr.name] = _plain(attr.default_value)
        try:
            made = op_def_library.apply_op(op_type, name=name, **(keywords | given))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"{op_type}: {error}") from error
        if isinstance(made, self._tf.Operation):
            return made
        return (made[0] if isinstance(made, list | tuple) else made).op

    def _of_type(self, value: Any, dtype: Any, *, is_list: bool) -> Any:
        if dtype is None:
            return value
        if is_list:
            return [self._tf.convert_to_tensor(one, dtype) for one in value]
        return self._tf.convert_to_tensor(value, dtype)

    def const(self, value: Any, dtype: Any) -> Any:
        """Add a constant; what TensorFlow can make a tensor of is taken as well.

        Raises:
            InvalidArgumentError: it is of another type.
        """
        self._check()
        try:
            return self._tf.convert_to_tensor(value, self._tf.as_dtype(dtype))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"Const: {error}") from error

    def device(self, device: str) -> AbstractContextManager[Any]:
        """Place the nodes of the block."""
        context: AbstractContextManager[Any] = self.graph.device(device)
        return context

    def name_scope(self, name: str) -> AbstractContextManager[Any]:
        """Put a prefix before the names of the nodes of the block."""
        context: AbstractContextManager[Any] = self.graph.name_scope(name)
        return context

    def control_dependencies(self, control_inputs: Iterable[Any]) -> AbstractContextManager[Any]:
        """Let the nodes of the block wait."""
        context: AbstractContextManager[Any] = self.graph.control_dependencies(list(control_inputs))
        return context

    def unique_name(self, name: str) -> str:
        """Take a name that no node has."""
        return str(self.graph.unique_name(name))

    def get_tensor(self, name: str) -> Any:
        """The tensor of that name; raises InvalidArgumentError if there is none."""
        return self._found(self.graph.get_tensor_by_name, name)

    def get_operation(self, name: str) -> Any:
        """The operation of that name; raises InvalidArgumentError if there is none."""
        return self._found(self.graph.get_operation_by_name, name)

    def _found(self, get: Callable[[str], Any], name: str) -> Any:
        try:
            return get(name)
        except (KeyError, ValueError) as error:
            raise InvalidArgumentError(f"the default graph has no {name!r}: {error}") from error

    def add_to_collection(self, name: str, value: Any) -> None:
        """Append to a collection."""
        self.graph.add_to_collection(name, value)

    def get_collection(self, name: str) -> list[Any]:
        """A collection."""
        return list(self.graph.get_collection(name))


@functools.cache
def current_graph() -> GraphEmitter:
    """The emitter of this process."""
    return GraphEmitter()


def _plain(value: AttrValue) -> Any:
    """The value of an attribute that is a default."""
    kind = value.WhichOneof("value")
    if kind != "list":
        return getattr(value, str(kind))
    return [one for _, elements in value.list.ListFields() for one in elements]
