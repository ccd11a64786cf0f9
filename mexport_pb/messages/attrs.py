"""AttrValue: the value of one attribute of a node."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import AttrValue, NameAttrList
from mexport_pb._proto.tensor_pb2 import TensorProto
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.shapes import make_tensor_shape
from mexport_pb.messages.tensors import make_tensor_proto
from mexport_pb.messages.wire import to_message

__all__ = ["make_attr_value"]


def make_attr_value(value: Any, type: str) -> AttrValue:
    """The AttrValue of an attribute that an OpDef declares with `type`.

    Args:
        value: By type: "string" str or bytes; "int" an integer; "float" a number; "bool" a bool; "type" see
            :data:`mexport_pb.dtypes.DTypeLike`; "shape" see :data:`~mexport_pb.messages.shapes.ShapeLike`; "tensor" a
            TensorProto or what :func:`make_tensor_proto` takes; "func" a function's name or a NameAttrList;
            "list(T)" an iterable of such values; "placeholder" the name of the function's attribute that stands in.
            An AttrValue is copied whatever the type.
        type: As in OpDef.AttrDef.type.

    Raises:
        InvalidArgumentError: the value does not fit the type, or there is no such type.
    """
    if isinstance(value, Message) and value.DESCRIPTOR.name == AttrValue.DESCRIPTOR.name:
        return to_message(value, AttrValue)
    attr = AttrValue()
    if type == "placeholder":
        attr.placeholder = str(value)
        return attr
    element = type.removeprefix("list(").removesuffix(")")
    entry = _ELEMENTS.get(element)
    if entry is None or type not in (element, f"list({element})"):
        raise InvalidArgumentError(f"unknown attribute type: got {type!r}")
    field, convert = entry
    if element == type:
        _set(attr, field, convert(value))
        return attr
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidArgumentError(f"attribute of type {type}: got {reprlib.repr(value)}, want a list")
    attr.list.SetInParent()
    getattr(attr.list, field).extend([convert(one) for one in value])
    return attr


def _set(attr: AttrValue, field: str, value: Any) -> None:
    if isinstance(value, Message):
        getattr(attr, field).CopyFrom(value)
    else:
        setattr(attr, field, value)


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"attribute of type string: {error}") from None
    if isinstance(value, bytes):
        return value
    raise InvalidArgumentError(f"attribute of type string: got {reprlib.repr(value)}, want str or bytes")


def _int(value: Any) -> int:
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return int(value)
    raise InvalidArgumentError(f"attribute of type int: got {reprlib.repr(value)}, want a 64-bit integer")


def _float(value: Any) -> float:
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InvalidArgumentError(f"attribute of type float: got {reprlib.repr(value)}, want a number")


def _bool(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InvalidArgumentError(f"attribute of type bool: got {reprlib.repr(value)}, want True or False")


def _tensor(value: Any) -> TensorProto:
    return to_message(value, TensorProto) if isinstance(value, Message) else make_tensor_proto(value)


def _func(value: Any) -> NameAttrList:
    if isinstance(value, str):
        return NameAttrList(name=value)
    if isinstance(value, Message):
        return to_message(value, NameAttrList)
    raise InvalidArgumentError(
        f"attribute of type func: got {reprlib.repr(value)}, want a function's name or a NameAttrList"
    )


# OpDef's name of the type -> the field of AttrValue and of its ListValue, and what turns a value into the field's.
_ELEMENTS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "string": ("s", _string),
    "int": ("i", _int),
    "float": ("f", _float),
    "bool": ("b", _bool),
    "type": ("type", dtypes.datatype_of),
    "shape": ("shape", make_tensor_shape),
    "tensor": ("tensor", _tensor),
    "func": ("func", _func),
}
