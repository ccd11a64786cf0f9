"""CollectionDef: the named lists that a graph carries, and the VariableDefs that some of them hold."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import CollectionDef
from mexport_pb._proto.variable_pb2 import SaveSliceInfoDef, VariableDef
from mexport_pb.messages.wire import serialize

__all__ = [
    "make_any_list",
    "make_bytes_list",
    "make_float_list",
    "make_int64_list",
    "make_node_list",
    "make_variable_def",
]


def make_node_list(names: Iterable[str]) -> CollectionDef:
    """A collection of tensors ("node:0") or operations ("node")."""
    collection = CollectionDef()
    collection.node_list.value.extend(names)
    collection.node_list.SetInParent()
    return collection


def make_bytes_list(values: Iterable[bytes | str | Message]) -> CollectionDef:
    """A collection of byte strings; text is encoded as UTF-8, messages (VariableDef, ...) are serialised."""
    collection = CollectionDef()
    collection.bytes_list.value.extend([_to_bytes(value) for value in values])
    collection.bytes_list.SetInParent()
    return collection


def make_int64_list(values: Iterable[int]) -> CollectionDef:
    """A collection of integers."""
    collection = CollectionDef()
    collection.int64_list.value.extend(values)
    collection.int64_list.SetInParent()
    return collection


def make_float_list(values: Iterable[float]) -> CollectionDef:
    """A collection of float32 numbers."""
    collection = CollectionDef()
    collection.float_list.value.extend(values)
    collection.float_list.SetInParent()
    return collection


def make_any_list(values: Iterable[Message]) -> CollectionDef:
    """A collection of google.protobuf.Any messages, see :func:`~mexport_pb.messages.assets.pack_asset_file_def`."""
    collection = CollectionDef()
    for value in values:
        collection.any_list.value.add().ParseFromString(serialize(value))
    collection.any_list.SetInParent()
    return collection


def make_variable_def(
    variable_name: str,
    *,
    initializer_name: str,
    snapshot_name: str,
    initial_value_name: str = "",
    is_resource: bool = True,
    trainable: bool = True,
    save_slice_info: SaveSliceInfoDef | None = None,
) -> VariableDef:
    """The entry of a variable in the collections "variables" and "trainable_variables".

    Args:
        variable_name: The tensor that is the variable or its handle, "w:0".
        initializer_name: The operation that assigns the initial value, "w/Assign".
        snapshot_name: The tensor that reads the value, "w/Read/ReadVariableOp:0" or, of a ref variable, "w/read:0".
        initial_value_name: The tensor that is assigned, "w/Initializer/zeros:0".
        is_resource: A VarHandleOp, not a VariableV2.
        trainable: Optimisers update it.
        save_slice_info: Of one part of a partitioned variable, which part.
    """
    return VariableDef(
        variable_name=variable_name,
        initializer_name=initializer_name,
        snapshot_name=snapshot_name,
        initial_value_name=initial_value_name,
        is_resource=is_resource,
        trainable=trainable,
        save_slice_info_def=save_slice_info,
    )


def _to_bytes(value: bytes | str | Message) -> bytes:
    if isinstance(value, Message):
        return serialize(value)
    return value.encode() if isinstance(value, str) else value
