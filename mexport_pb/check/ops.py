"""What OpDefs tell about the inputs and outputs of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mexport_pb._proto.graph_pb2 import AttrValue, NodeDef, OpDef

__all__ = ["Op", "Ops", "attr_of"]

# An op whose arguments stand for a variable number of tensors is looked through for every node of it. No real one has
# more arguments than this; one that has is taken for an unknown op.
_MAX_VARIABLE_ARGS: Final = 64

_NO_VALUE: Final = AttrValue()


def attr_of(node: NodeDef, key: str) -> AttrValue:
    """The node's attribute; an empty AttrValue if it has none of that name."""
    return node.attr.get(key, _NO_VALUE)


class Op:
    """One OpDef, or the signature of a function."""

    def __init__(self, definition: OpDef) -> None:
        self._inputs = definition.input_arg
        self._outputs = definition.output_arg
        self._defaults = {attr.name: attr.default_value for attr in definition.attr}
        self._fixed_inputs = _is_fixed(self._inputs)
        self._fixed_outputs = _is_fixed(self._outputs)
        self._output_by_name = {arg.name: arg for arg in self._outputs}

    def count_inputs(self, node: NodeDef) -> int | None:
        """How many tensors a node of this op takes; None if its attributes do not say."""
        return len(self._inputs) if self._fixed_inputs else self._count(self._inputs, node)

    def count_outputs(self, node: NodeDef) -> int | None:
        """How many tensors a node of this op gives; None if its attributes do not say."""
        return len(self._outputs) if self._fixed_outputs else self._count(self._outputs, node)

    def has_output(self, name: str) -> bool:
        """Whether the op has an output argument of this name."""
        return name in self._output_by_name

    def count_output(self, node: NodeDef, name: str) -> int | None:
        """How many tensors the output argument `name` stands for; None if the node's attributes do not say."""
        return self._arity(self._output_by_name[name], node)

    def output_dtype(self, node: NodeDef, index: int) -> int | None:
        """The DataType of output `index`; None if that is not known."""
        if self._fixed_outputs:
            return self._dtype(self._outputs[index], 0, node) if index < len(self._outputs) else None
        if len(self._outputs) > _MAX_VARIABLE_ARGS:
            return None
        for arg in self._outputs:
            count = self._arity(arg, node)
            if count is None:
                return None
            if index < count:
                return self._dtype(arg, index, node)
            index -= count
        return None

    def _count(self, args: Sequence[OpDef.ArgDef], node: NodeDef) -> int | None:
        if len(args) > _MAX_VARIABLE_ARGS:
            return None
        total = 0
        for arg in args:
            count = self._arity(arg, node)
            if count is None:
                return None
            total += count
        return total

    def _arity(self, arg: OpDef.ArgDef, node: NodeDef) -> int | None:
        if arg.number_attr:
            value = self._attr(node, arg.number_attr)
            return max(value.i, 0) if value.HasField("i") else None
        if arg.type_list_attr:
            value = self._attr(node, arg.type_list_attr)
            return len(value.list.type) if value.HasField("list") else None
        return 1

    def _dtype(self, arg: OpDef.ArgDef, index: int, node: NodeDef) -> int | None:
        if arg.type_list_attr:
            return self._attr(node, arg.type_list_attr).list.type[index]
        return arg.type or self._attr(node, arg.type_attr).type or None

    def _attr(self, node: NodeDef, key: str) -> AttrValue:
        value = node.attr.get(key)
        return self._defaults.get(key, _NO_VALUE) if value is None else value


class Ops:
    """The ops and functions that are known by definition; others may exist."""

    def __init__(self, definitions: Iterable[OpDef], functions: Iterable[OpDef]) -> None:
        functions = list(functions)
        self.functions: Final = frozenset(function.name for function in functions)
        self._definitions = {definition.name: definition for definition in [*definitions, *functions]}
        self._ops: dict[str, Op | None] = {}

    def get(self, name: str) -> Op | None:
        """The op of that name, or None if it is not known."""
        op = self._ops.get(name, ...)
        if op is ...:
            definition = self._definitions.get(name)
            op = self._ops[name] = None if definition is None else Op(definition)
        return op


def _is_fixed(args: Iterable[OpDef.ArgDef]) -> bool:
    return not any(arg.number_attr or arg.type_list_attr for arg in args)
