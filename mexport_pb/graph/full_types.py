"""The full type that a node carries when its op's signature describes its outputs beyond their element type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from mexport_pb._proto import graph_pb2, tensor_pb2
from mexport_pb._proto.graph_pb2 import AttrValue, FullTypeDef, OpDef

__all__ = ["full_type_of"]

_ELEMENT_TYPES: Final[dict[int, int]] = {
    tensor_pb2.DataType.Value(f"DT_{name}"): graph_pb2.FullTypeId.Value(f"TFT_{name}")
    for name in [
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "HALF",
        "FLOAT",
        "DOUBLE",
        "BFLOAT16",
        "COMPLEX64",
        "COMPLEX128",
        "STRING",
    ]
} | {tensor_pb2.DT_VARIANT: graph_pb2.TFT_LEGACY_VARIANT}


def full_type_of(definition: OpDef, attrs: Mapping[str, AttrValue]) -> FullTypeDef | None:
    """Return NodeDef.experimental_type: a product of the outputs' types; None if the signature describes none.

    Args:
        definition: The op's signature. Only Shape, lists and datasets describe outputs.
        attrs: Of the node, by which type variables are replaced.
    """
    if not any(arg.HasField("experimental_full_type") for arg in definition.output_arg):
        return None
    outputs = [_instantiate(arg.experimental_full_type, attrs) for arg in definition.output_arg]
    return FullTypeDef(type_id=graph_pb2.TFT_PRODUCT, args=outputs)


def _instantiate(template: FullTypeDef, attrs: Mapping[str, AttrValue]) -> FullTypeDef:
    if template.type_id == graph_pb2.TFT_VAR:
        return _element(attrs[template.s].type)
    if template.type_id == graph_pb2.TFT_FOR_EACH:
        container, each, variable = template.args
        types = attrs[variable.s].list.type
        members = [_instantiate(each, {**attrs, variable.s: AttrValue(type=one)}) for one in types]
        return FullTypeDef(type_id=container.type_id, args=members)
    return FullTypeDef(type_id=template.type_id, args=[_instantiate(arg, attrs) for arg in template.args])


def _element(dtype: int) -> FullTypeDef:
    return FullTypeDef(type_id=cast(graph_pb2.FullTypeId, _ELEMENT_TYPES.get(dtype, graph_pb2.TFT_UNSET)))
