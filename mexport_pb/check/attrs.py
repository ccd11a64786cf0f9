"""Checks of one attribute: its value against what an OpDef declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.graph_pb2 import AttrValue
from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb.check.ops import Attr
from mexport_pb.check.problems import quote
from mexport_pb.errors import DataError
from mexport_pb.messages.shapes import count_elements, shape_to_list

__all__ = ["SHAPE_TELLERS", "dtype_name", "why_no_constant", "why_not_legal", "why_other_shape"]

SHAPE_TELLERS: Final = {"Const": "value", "Placeholder": "shape"}
"""Ops whose one output has the shape that an attribute tells."""

_BASE_DATATYPES: Final = frozenset(
    number for number in tensor_pb2.DataType.values() if number and not dtypes.is_ref(number)
)
_LIST_FIELDS: Final = ("s", "i", "f", "b", "type", "shape", "tensor", "func")

# Field of AttrValue -> what OpDefs call it.
_KINDS: Final = {"s": "string", "i": "int", "f": "float", "b": "bool", "list": "list", "placeholder": "placeholder"}

_SHOWN: Final = 8
_MAX_DIMS: Final = 8


def dtype_name(dtype: int) -> str:
    """The short name of a DataType; its number if there is no such."""
    return dtypes.name_of(dtype) if dtype and dtype in tensor_pb2.DataType.values() else f"number {dtype}"


def why_not_legal(value: AttrValue, attr: Attr) -> str | None:
    """Why an attribute may not have this value; None if it may."""
    if attr.field is None:
        return None
    kind = value.WhichOneof("value")
    if not attr.is_list:
        if kind != attr.field:
            return f"got {_kind_of(kind)}, want {_article(attr.type)}"
        return _why_no_element([getattr(value, attr.field)], attr)
    if kind != "list":
        return f"got {_kind_of(kind)}, want {_article(attr.type)}"
    for field in _LIST_FIELDS:
        if field != attr.field and len(getattr(value.list, field)):
            return f"got a list({_KINDS.get(field, field)}), want {_article(attr.type)}"
    elements = getattr(value.list, attr.field)
    if attr.minimum is not None and len(elements) < attr.minimum:
        return f"got {len(elements)} elements, want {attr.minimum} or more"
    return _why_no_element(elements, attr)


def _why_no_element(elements: Iterable[Any], attr: Attr) -> str | None:
    if attr.field == "type":
        for element in elements:
            if element not in _BASE_DATATYPES:
                return f"got {dtype_name(element)}, want a dtype that is no reference"
    elif attr.field == "shape":
        for element in elements:
            reason = _why_no_shape(element)
            if reason is not None:
                return reason
    elif attr.field == "i" and not attr.is_list and attr.minimum is not None:
        for element in elements:
            if element < attr.minimum:
                return f"got {element}, want {attr.minimum} or more"
    if attr.allowed is not None and attr.field in ("type", "s"):
        for element in elements:
            if element not in attr.allowed:
                shown = dtype_name(element) if attr.field == "type" else quote(element.decode("utf-8", "replace"))
                return f"got {shown}, which is not among those that the op allows: {_allowed(attr)}"
    return None


def _why_no_shape(shape: TensorShapeProto) -> str | None:
    for dim in shape.dim:
        if dim.size < -1:
            return f"got a shape with size {dim.size}, want -1 (unknown) or more"
    return None


def _allowed(attr: Attr) -> str:
    values = sorted(attr.allowed or ())
    names = [quote(one.decode("utf-8", "replace")) if isinstance(one, bytes) else dtype_name(one) for one in values]
    return ", ".join(names[:_SHOWN] + ["…"] * (len(names) > _SHOWN))


def _kind_of(field: str | None) -> str:
    return "no value" if field is None else _article(_KINDS.get(field, field))


def _article(kind: str) -> str:
    return f"{'an' if kind == 'int' else 'a'} {kind}"


def why_no_constant(value: AttrValue, dtype: AttrValue) -> str | None:
    """Why the attributes `value` and `dtype` of a Const make none that a loader takes; None if they do.

    In the body of a function either may stand for what the caller gives.
    """
    if value.WhichOneof("value") == "placeholder":
        return None
    if not value.HasField("tensor"):
        return "a Const without a value"
    tensor = value.tensor
    if dtype.WhichOneof("value") != "placeholder" and tensor.dtype != dtype.type:
        return f"dtype of the value: got {dtype_name(tensor.dtype)}, but attribute 'dtype' is {dtype_name(dtype.type)}"
    if tensor.dtype not in _BASE_DATATYPES:
        return f"dtype of the value: got {dtype_name(tensor.dtype)}, want a dtype that is no reference"
    try:
        elements = count_elements(tensor.tensor_shape)
    except DataError as error:
        return f"shape of the value: {error}"
    size = dtypes.element_size(tensor.dtype)
    if tensor.tensor_content and size is not None and len(tensor.tensor_content) != elements * size:
        return f"bytes of the value: got {len(tensor.tensor_content)}, want {elements * size}"
    return None


def why_other_shape(op_name: str, values: Mapping[str, AttrValue], said: AttrValue) -> str | None:
    """Why `_output_shapes` of one of :data:`SHAPE_TELLERS` contradicts what tells its shape; None if it does not.

    TensorFlow's import refuses such a node.
    """
    key = SHAPE_TELLERS[op_name]
    value = values.get(key, AttrValue())
    known = value.tensor.tensor_shape if key == "value" else value.shape
    shapes = said.list.shape
    if not shapes:
        return "got no shape, want one for each output"
    if key == "shape" and not known.dim:
        return None  # of a placeholder, which for old graphs means nothing
    got, want = shape_to_list(shapes[0]), shape_to_list(known)
    if got is None or want is None:
        return None
    if len(got) == len(want) and all(a == b or a is None or b is None for a, b in zip(got, want, strict=True)):
        return None
    return f"got {_text_of(shapes[0])}, but attribute {quote(key)} is of shape {_text_of(known)}"


def _text_of(shape: TensorShapeProto) -> str:
    """A shape for a message: ``[2, ?]``, cut off if it is long."""
    sizes = [str(dim.size) if dim.size >= 0 else "?" for dim in shape.dim[:_MAX_DIMS]]
    return f"[{', '.join([*sizes, '…'] if len(shape.dim) > _MAX_DIMS else sizes)}]"
