"""Match the inputs and attributes of a new node with its op's signature.

Types are settled before constants are made, so that a constant takes the type of the tensor beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import AttrValue, OpDef
from mexport_pb._proto.tensor_pb2 import DT_RESOURCE
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.tensor import Tensor
from mexport_pb.messages import make_attr_value, make_tensor_proto

__all__ = ["Binding", "bind", "infer_attr_value", "output_dtypes"]


class VariableLike(Protocol):
    """What the binding needs to know of a variable."""

    @property
    def handle(self) -> Tensor:
        """The resource handle, or the ref tensor."""

    @property
    def dtype(self) -> int:
        """The type of the values."""

    def as_tensor(self) -> Tensor:
        """Return a tensor that reads the value."""


@dataclass(slots=True)
class Binding:
    """What a node is made of: its data inputs, flat, and all attributes."""

    inputs: list[Tensor] = field(default_factory=list)
    # The inputs that a node must share a device with: those taken by reference.
    references: list[Tensor] = field(default_factory=list)
    attrs: dict[str, AttrValue] = field(default_factory=dict)


MakeConst = Callable[[Any, int | None, str], Tensor]


def bind(
    definition: OpDef,
    inputs: Sequence[Any],
    attrs: Mapping[str, Any],
    make_const: MakeConst,
    is_variable: Callable[[Any], bool],
) -> Binding:
    """Return the node's inputs and attributes, defaults included.

    Args:
        definition: The op's signature.
        inputs: One entry for each input of the signature, a list for an input that is a list.
        attrs: By name; what follows from the inputs may be left out.
        make_const: Called with a value, the type that it must have (None: its own) and a name.
        is_variable: Tells variables from values.

    Raises:
        InvalidArgumentError: inputs or attributes do not fit the signature; the op is named, the node is not.
    """
    binder = _Binder(definition, attrs, make_const, is_variable)
    binder.bind_inputs(inputs)
    binder.bind_attrs()
    return binder.binding


class _Binder:
    def __init__(
        self,
        definition: OpDef,
        attrs: Mapping[str, Any],
        make_const: MakeConst,
        is_variable: Callable[[Any], bool],
    ) -> None:
        self.definition = definition
        self.given = attrs
        self.make_const = make_const
        self.is_variable = is_variable
        self.binding = Binding()
        self.declared = {attr.name: attr for attr in definition.attr}
        for name, value in attrs.items():
            if name in self.declared:
                self.binding.attrs[name] = self._declared_value(name, value)
            elif name.startswith("_"):
                self.binding.attrs[name] = infer_attr_value(value)
            else:
                raise InvalidArgumentError(f"{definition.name} has no attribute {name!r}")

    def _declared_value(self, name: str, value: Any) -> AttrValue:
        try:
            return make_attr_value(value, self.declared[name].type)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{self.definition.name}: attribute {name!r}: {error}") from None

    def bind_inputs(self, inputs: Sequence[Any]) -> None:
        args = self.definition.input_arg
        if len(inputs) != len(args):
            raise InvalidArgumentError(
                f"{self.definition.name}: got {len(inputs)} inputs, want {len(args)}"
                f" ({', '.join(arg.name for arg in args)})"
            )
        entries = [self._elements(arg, entry) for arg, entry in zip(args, inputs, strict=True)]
        self._settle_types(entries)
        for arg, elements in zip(args, entries, strict=True):
            wanted = self._wanted_types(arg, elements)
            is_list = bool(arg.number_attr or arg.type_list_attr)
            tensors = [
                self._convert(arg, value, dtype, f"{arg.name}_{i}" if is_list else arg.name)
                for i, (value, dtype) in enumerate(zip(elements, wanted, strict=True))
            ]
            self._infer_from(arg, tensors)
            self.binding.inputs += tensors
            if arg.is_ref:
                self.binding.references += tensors

    def _elements(self, arg: OpDef.ArgDef, entry: Any) -> list[Any]:
        if not (arg.number_attr or arg.type_list_attr):
            return [entry]
        if isinstance(entry, str | bytes) or not isinstance(entry, Sequence):
            raise InvalidArgumentError(f"{self.definition.name}: input {arg.name!r}: got {entry!r}, want a list")
        return list(entry)

    def _known_type(self, arg: OpDef.ArgDef, value: Any) -> int | None:
        if isinstance(value, Tensor):
            return dtypes.base_datatype(value.dtype)
        if self.is_variable(value):
            return DT_RESOURCE if arg.type == DT_RESOURCE else int(value.dtype)
        return None

    def _settle_types(self, entries: list[list[Any]]) -> None:
        """Find the type attributes that tensors decide, wherever among the inputs these are."""
        for arg, elements in zip(self.definition.input_arg, entries, strict=True):
            if not arg.type_attr or arg.type_attr in self.binding.attrs:
                continue
            for value in elements:
                known = self._known_type(arg, value)
                if known is not None:
                    self._set_type(arg.type_attr, known)
                    break

    def _set_type(self, name: str, dtype: int) -> None:
        self.binding.attrs[name] = AttrValue(type=dtype)  # type: ignore[arg-type]

    def _wanted_types(self, arg: OpDef.ArgDef, elements: list[Any]) -> list[int | None]:
        if arg.type:
            return [arg.type] * len(elements)
        if arg.type_attr:
            settled = self.binding.attrs.get(arg.type_attr)
            if settled is None:
                return [None] * len(elements)
            return [settled.type] * len(elements)
        given = self.binding.attrs.get(arg.type_list_attr)
        if given is None:
            return [None] * len(elements)
        if len(given.list.type) != len(elements):
            raise InvalidArgumentError(
                f"{self.definition.name}: input {arg.name!r}: got {len(elements)} tensors,"
                f" want {len(given.list.type)} as attribute {arg.type_list_attr!r} says"
            )
        return list(given.list.type)

    def _convert(self, arg: OpDef.ArgDef, entry: Any, dtype: int | None, name: str) -> Tensor:
        value = self._to_tensor(arg, entry, dtype, name)
        got = dtypes.base_datatype(value.dtype)
        if dtype is not None and got != dtype:
            raise InvalidArgumentError(
                f"{self.definition.name}: input {name!r} ({value.name}): got {dtypes.name_of(got)},"
                f" want {dtypes.name_of(dtype)}"
            )
        if arg.is_ref and not dtypes.is_ref(value.dtype):
            raise InvalidArgumentError(
                f"{self.definition.name}: input {name!r} ({value.name}): got a value, want a ref variable"
            )
        if arg.type_attr and dtype is None:
            # The first of several constants decides for the others.
            self._set_type(arg.type_attr, got)
        return value

    def _to_tensor(self, arg: OpDef.ArgDef, entry: Any, dtype: int | None, name: str) -> Tensor:
        if isinstance(entry, Tensor):
            return entry
        if self.is_variable(entry):
            variable: VariableLike = entry
            return variable.handle if arg.is_ref or arg.type == DT_RESOURCE else variable.as_tensor()
        return self._constant(arg, entry, dtype, name)

    def _constant(self, arg: OpDef.ArgDef, value: Any, dtype: int | None, name: str) -> Tensor:
        if dtype is None and arg.type_attr in self.binding.attrs:
            dtype = self.binding.attrs[arg.type_attr].type
        try:
            if dtype is None and arg.type_attr:
                dtype = self._type_of_constant(self.declared[arg.type_attr], value)
            return self.make_const(value, dtype, name)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{self.definition.name}: input {name!r}: {error}") from None

    def _type_of_constant(self, attr: OpDef.AttrDef, value: Any) -> int | None:
        """Return the type to make a constant of: its own if the op takes that, else the op's default if it has one."""
        if not attr.HasField("default_value"):
            return None
        default = attr.default_value.type
        natural = self._natural_type(value)
        return natural if natural in attr.allowed_values.list.type else default

    def _natural_type(self, value: Any) -> int:
        if isinstance(value, list | tuple):
            for one in value:
                if isinstance(one, Tensor) or self.is_variable(one):
                    return dtypes.base_datatype(one.dtype)
        return make_tensor_proto(value).dtype

    def _infer_from(self, arg: OpDef.ArgDef, tensors: list[Tensor]) -> None:
        if arg.number_attr:
            number = self.binding.attrs.setdefault(arg.number_attr, AttrValue(i=len(tensors)))
            if number.i != len(tensors):
                raise InvalidArgumentError(
                    f"{self.definition.name}: input {arg.name!r}: got {len(tensors)} tensors,"
                    f" want {number.i} as attribute {arg.number_attr!r} says"
                )
        if arg.type_list_attr and arg.type_list_attr not in self.binding.attrs:
            types = [dtypes.base_datatype(tensor.dtype) for tensor in tensors]
            self.binding.attrs[arg.type_list_attr] = make_attr_value(types, "list(type)")

    def bind_attrs(self) -> None:
        for attr in self.definition.attr:
            value = self.binding.attrs.get(attr.name)
            if value is None:
                if not attr.HasField("default_value"):
                    raise InvalidArgumentError(f"{self.definition.name}: attribute {attr.name!r} is missing")
                self.binding.attrs[attr.name] = attr.default_value
            else:
                _check_allowed(self.definition.name, attr, value)


def _check_allowed(op: str, attr: OpDef.AttrDef, value: AttrValue) -> None:
    if attr.HasField("allowed_values"):
        allowed = attr.allowed_values.list
        types = value.list.type if value.HasField("list") else [value.type]
        if allowed.type and (wrong := [one for one in types if one not in allowed.type]):
            names = ", ".join(dtypes.name_of(one) for one in allowed.type)
            raise InvalidArgumentError(
                f"{op}: attribute {attr.name!r}: got {dtypes.name_of(wrong[0])}, want one of {names}"
            )
        strings = value.list.s if value.HasField("list") else [value.s]
        if allowed.s and any(one not in allowed.s for one in strings):
            names = ", ".join(one.decode() for one in allowed.s)
            raise InvalidArgumentError(f"{op}: attribute {attr.name!r}: got {strings!r}, want one of {names}")
    if attr.has_minimum:
        is_list = attr.type.startswith("list(")
        size = sum(len(items) for _, items in value.list.ListFields()) if is_list else value.i
        if size < attr.minimum:
            raise InvalidArgumentError(f"{op}: attribute {attr.name!r}: got {size}, want >= {attr.minimum}")


def output_dtypes(definition: OpDef, attrs: Mapping[str, AttrValue]) -> list[int]:
    """Return the types of an op's outputs, reference types for those that are references."""
    result: list[int] = []
    for arg in definition.output_arg:
        if arg.type_list_attr:
            types: list[int] = list(attrs[arg.type_list_attr].list.type)
        else:
            count = attrs[arg.number_attr].i if arg.number_attr else 1
            types = [attrs[arg.type_attr].type if arg.type_attr else arg.type] * count
        result += [dtypes.ref_datatype(one) for one in types] if arg.is_ref else types
    return result


# By the message's name, so that TensorFlow's own are taken too.
_NAMES = {"NameAttrList": "func", "TensorProto": "tensor", "TensorShapeProto": "shape"}


def infer_attr_value(value: Any) -> AttrValue:
    """Return the AttrValue of an attribute that no signature declares.

    Args:
        value: An AttrValue, bool, int, float, str, bytes, TensorProto, TensorShapeProto or NameAttrList, or a list of
            one of these.

    Raises:
        InvalidArgumentError: another kind of value, or an empty list, which has no type.
    """
    if isinstance(value, Message) and value.DESCRIPTOR.name == AttrValue.DESCRIPTOR.name:
        return make_attr_value(value, "placeholder")
    if isinstance(value, list | tuple):
        if not value:
            raise InvalidArgumentError("attribute: got an empty list without a type, want an AttrValue")
        return make_attr_value(value, f"list({_kind(value[0])})")
    return make_attr_value(value, _kind(value))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str | bytes):
        return "string"
    if isinstance(value, Message) and value.DESCRIPTOR.name in _NAMES:
        return _NAMES[value.DESCRIPTOR.name]
    raise InvalidArgumentError(f"attribute: got {value!r}, want an AttrValue or a plain value")
