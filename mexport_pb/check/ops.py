"""What OpDefs tell about the attributes, inputs and outputs of nodes."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.graph_pb2 import AttrValue, OpDef
from mexport_pb.messages.op_defs import op_def

__all__ = ["UNKNOWN", "Attr", "Op", "Ops", "Signature", "attr_of"]

UNKNOWN: Final = 0
"""Stands for the DataType of a tensor that nothing tells (DT_INVALID)."""

# An op whose arguments depend on attributes is looked through for every combination of these. No real one has more
# arguments or attributes than this; one that has is taken for an op of unknown arguments.
_MAX_VARIABLE_ARGS: Final = 64

# Lists of tensors that are longer stay in runs of equal ones: a number from outside says how long they are.
_MAX_EXPANDED: Final = 64

_NO_VALUE: Final = AttrValue()
_DATATYPES: Final = frozenset(tensor_pb2.DataType.values()) - {tensor_pb2.DT_INVALID}

# An attribute's value, as far as it tells of tensors: a number of them, their DataType, or all their DataTypes.
_Fact: TypeAlias = int | tuple[int, ...] | None

# OpDef.AttrDef.type without "list(…)" -> the field of AttrValue that holds it.
_FIELDS: Final = {
    "string": "s",
    "int": "i",
    "float": "f",
    "bool": "b",
    "type": "type",
    "shape": "shape",
    "tensor": "tensor",
    "func": "func",
}


def attr_of(values: Mapping[str, AttrValue], key: str) -> AttrValue:
    """The attribute of that name; an empty AttrValue if there is none."""
    return values.get(key, _NO_VALUE)


class Attr:
    """One attribute that an OpDef declares.

    Attributes:
        type: As OpDefs spell it, e.g. "list(type)".
        field: The field of AttrValue, or of its list, that holds such a value; None for a type that nobody knows.
        is_list: Whether it is a list.
        plain: Whether any value in that field will do.
        minimum: The least value of an integer, the least length of a list; None if any will do.
        allowed: The values that the OpDef allows; None if any will do.
    """

    __slots__ = ("allowed", "field", "is_list", "minimum", "plain", "type")

    def __init__(self, definition: OpDef.AttrDef) -> None:
        self.type = definition.type
        element = self.type.removeprefix("list(").removesuffix(")")
        self.is_list = element != self.type
        self.field = _FIELDS.get(element)
        self.minimum = definition.minimum if definition.has_minimum else None
        values = definition.allowed_values.list
        self.allowed: frozenset[int | bytes] | None = frozenset([*values.type, *values.s]) or None
        free = self.allowed is None and self.minimum is None
        self.plain = not self.is_list and (self.field in ("b", "f", "tensor") or (self.field in ("s", "i") and free))


class _Runs(Sequence[int]):
    """The DataTypes of very many tensors, as runs of one type and lists of types."""

    def __init__(self, parts: Iterable[tuple[int, Sequence[int]]]) -> None:
        self._parts: list[Sequence[int]] = []
        self._ends: list[int] = []
        end = 0
        for count, types in parts:
            end += count
            self._parts.append(types)
            self._ends.append(end)

    def __len__(self) -> int:
        return min(self._ends[-1], sys.maxsize)

    def __getitem__(self, index: int) -> int:  # type: ignore[override]  # nobody slices it
        part = bisect_right(self._ends, index)
        if part == len(self._ends):
            raise IndexError(index)
        types = self._parts[part]
        return types[0] if len(types) == 1 else types[index - self._ends[part]]


class Signature:
    """The tensors that a node takes and gives, by their DataTypes, :data:`UNKNOWN` where nothing tells.

    Attributes:
        inputs: All inputs in order; None if not even their number is known.
        outputs: The same of the outputs.
    """

    __slots__ = ("_by_name", "_facts", "_named", "inputs", "outputs")

    def __init__(self, op: Op, facts: Mapping[str, _Fact]) -> None:
        """Take the op, and of its attributes those that say something about tensors."""
        # Not the op, which keeps its signatures: on a cycle, both would hold the model's memory until it is collected.
        self._by_name = op.output_by_name
        self._facts = facts
        self._named: dict[str, Sequence[int] | None] = {}
        self.inputs = self._all(op.inputs)
        self.outputs = self._all(op.outputs)

    def has_output(self, name: str) -> bool:
        """Whether the op has an output argument of this name."""
        return name in self._by_name

    def output(self, name: str) -> Sequence[int] | None:
        """The tensors that the output argument `name` stands for; None if not even their number is known."""
        if name not in self._named:
            part = self._part(self._by_name[name])
            self._named[name] = None if part is None else _join([part])
        return self._named[name]

    def _all(self, args: Sequence[OpDef.ArgDef]) -> Sequence[int] | None:
        parts = []
        for arg in args:
            part = self._part(arg)
            if part is None:
                return None
            parts.append(part)
        return _join(parts)

    def _part(self, arg: OpDef.ArgDef) -> tuple[int, Sequence[int]] | None:
        """The number of an argument's tensors, and their DataTypes, or the one of all of them."""
        if arg.type_list_attr:
            types = self._facts.get(arg.type_list_attr)
            return (len(types), types) if isinstance(types, tuple) else None
        count: _Fact = 1
        if arg.number_attr:
            count = self._facts.get(arg.number_attr)
        kind: _Fact = arg.type
        if not kind and arg.type_attr:
            kind = self._facts.get(arg.type_attr)
        if not isinstance(count, int):
            return None
        if not isinstance(kind, int) or not kind:
            kind = UNKNOWN
        elif arg.is_ref:
            kind = dtypes.ref_datatype(kind)
        return max(count, 0), (kind,)


class Op:
    """One OpDef, or the signature of a function.

    Attributes:
        name: The op's.
        attrs: Its attributes.
        required: The names of those without a default, in order.
        required_set: The same as a set.
        inputs: Its input arguments.
        outputs: Its output arguments.
    """

    def __init__(self, definition: OpDef) -> None:
        self.name = definition.name
        self.attrs = {attr.name: Attr(attr) for attr in definition.attr}
        self.required = tuple(attr.name for attr in definition.attr if not attr.HasField("default_value"))
        self.required_set = frozenset(self.required)
        self.inputs = definition.input_arg
        self.outputs = definition.output_arg
        self.output_by_name = {arg.name: arg for arg in self.outputs}
        self._defaults = {attr.name: attr.default_value for attr in definition.attr}
        self._telling = self._telling_attrs()
        self._signatures: dict[tuple[_Fact, ...], Signature] = {}

    def signature(self, values: Mapping[str, AttrValue]) -> Signature:
        """What a node with these attributes takes and gives."""
        key = tuple([self._fact(values, name, field) for name, field in self._telling])
        signature = self._signatures.get(key)
        if signature is None:
            facts = {name: fact for (name, _), fact in zip(self._telling, key, strict=True)}
            signature = self._signatures[key] = Signature(self, facts)
        return signature

    def _telling_attrs(self) -> tuple[tuple[str, str], ...]:
        """The attributes that arguments name, each with its field in AttrValue."""
        found = {
            name: field
            for arg in (*self.inputs, *self.outputs)
            for name, field in ((arg.type_attr, "type"), (arg.number_attr, "i"), (arg.type_list_attr, "list"))
            if name
        }
        many = max(len(found), len(self.inputs), len(self.outputs)) > _MAX_VARIABLE_ARGS
        return () if many else tuple(found.items())

    def _fact(self, values: Mapping[str, AttrValue], name: str, field: str) -> _Fact:
        value = values.get(name)
        if value is None:
            value = self._defaults.get(name)
        if value is None or value.WhichOneof("value") != field:
            return None
        if field == "i":
            return value.i
        if field == "type":
            return value.type if value.type in _DATATYPES else None
        return tuple([kind if kind in _DATATYPES else UNKNOWN for kind in value.list.type])


class Ops:
    """The ops and functions that are known by definition, or else as TensorFlow's own; others may exist."""

    def __init__(self, definitions: Iterable[OpDef], functions: Iterable[OpDef]) -> None:
        functions = list(functions)
        self.functions: Final = frozenset(function.name for function in functions)
        self.contradictory: Final[set[str]] = set()
        """Ops that are defined in two ways, which are taken for unknown ones. Loaders look at no definition."""
        self.unknown: Final[set[str]] = set()
        """Ops that were asked for, and that neither the definitions nor TensorFlow's table have."""
        listed: dict[str, OpDef] = {}
        for definition in definitions:
            if listed.setdefault(definition.name, definition) != definition:
                self.contradictory.add(definition.name)
        self._definitions = listed
        self._definitions.update((function.name, function) for function in functions)
        self.contradictory.difference_update(self.functions)
        self._ops: dict[str, Op | None] = {}

    def get(self, name: str) -> Op | None:
        """The op of that name, or None if it is not known."""
        op = self._ops.get(name, ...)
        if op is ...:
            definition = None if name in self.contradictory else self._definitions.get(name) or op_def(name)
            op = self._ops[name] = None if definition is None else Op(definition)
            if op is None and name and name not in self.contradictory:
                self.unknown.add(name)
        return op


def _join(parts: Sequence[tuple[int, Sequence[int]]]) -> Sequence[int]:
    if sum(count for count, _ in parts) > _MAX_EXPANDED:
        return _Runs(parts)
    joined: list[int] = []
    for count, types in parts:
        joined.extend(types if len(types) == count else [types[0]] * count)
    return tuple(joined)
