"""Freeze a graph: its variables become constants, and only what its signatures need is left.

docs/formats/freeze.md says what becomes of each node.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable
from typing import Final, cast

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb._proto.tensor_pb2 import DT_STRING, DataType
from mexport_pb.bundle import BundleReader
from mexport_pb.errors import InvalidArgumentError, UnsupportedError
from mexport_pb.graph.checkpoint_match import check_match
from mexport_pb.graph.freeze_convert import convert_variables
from mexport_pb.graph.freeze_variables import frozen_variables
from mexport_pb.graph.graph_variables import VARIABLE_OPS
from mexport_pb.graph.index import NodeIndex, node_of
from mexport_pb.graph.main_op import add_main_op, table_initializers
from mexport_pb.graph.prune import signature_tensors
from mexport_pb.graph.prune_collections import keep_assets, keep_collections
from mexport_pb.graph.save_plan import SaveItem
from mexport_pb.graph.slices import part_shape_of
from mexport_pb.graph.strip import refresh_op_list
from mexport_pb.messages import make_tensor_proto, make_tensor_shape, to_message
from mexport_pb.messages.constants import (
    ASSET_FILEPATHS_COLLECTION,
    ASSETS_COLLECTION,
    INIT_OP_SIGNATURE,
    TABLE_INITIALIZERS_COLLECTION,
    TRAIN_OP_SIGNATURE,
)
from mexport_pb.messages.tensors import is_raw_content
from mexport_pb.messages.wire import MAX_MESSAGE_BYTES

__all__ = ["freeze"]

_KEPT_COLLECTIONS: Final = (TABLE_INITIALIZERS_COLLECTION, ASSET_FILEPATHS_COLLECTION, ASSETS_COLLECTION)

# Tables that a checkpoint fills by way of the saver, which a frozen graph has not.
_SAVED_TABLE: Final = re.compile(r"Monolith\w*HashTable\w*|Mutable(Dense)?HashTable\w*")

_Checkpoint = str | os.PathLike[str] | None


def freeze(meta_graph: Message, checkpoint: _Checkpoint) -> MetaGraphDef:
    """Return the graph with the checkpoint's values in place of its variables, cut down to its signatures.

    The graph_def is the one that ``tf.compat.v1.graph_util.convert_variables_to_constants`` makes of it for all inputs
    and outputs of the signatures, with every node's device put back, wherever TensorFlow's result can be loaded.

    The signatures stay. Collections, the saver and the main op go, with one exception: initializers of lookup tables
    that are left stay with their assets, and a new main op runs them. Training signatures go too.

    It takes about the memory of the result, and no data is read before all is checked.

    Args:
        meta_graph: A MetaGraphDef with signatures.
        checkpoint: Prefix of the checkpoint with the values; None for a graph without variables.

    Raises:
        InvalidArgumentError: no signature, a signature names a tensor that is not there, functions or nodes are
            missing, or the result would be too large for a protobuf message.
        MissingVariableError: a variable is not in the checkpoint.
        MismatchError: a variable has another dtype or shape there.
        UnsupportedError: what the signatures need writes to a variable, passes one on in a way that no constant can
            follow, or reads a table that only a checkpoint fills.
        DataError: a collection or the checkpoint is damaged.
        OSError: the checkpoint cannot be read.
    """
    source = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    index = NodeIndex(source.graph_def.node)
    kept = _needed(source, index)
    variables = [node for node in source.graph_def.node if node.name in kept and node.op in VARIABLE_OPS]
    if not variables:
        return _frozen(source, kept, {}, 0)
    if checkpoint is None:
        raise InvalidArgumentError(f"the graph has variables, such as {variables[0].name!r}: got no checkpoint to read")
    items = frozen_variables(source, index, variables)
    with BundleReader(checkpoint) as reader:
        check_match(list(items.values()), reader)
        shapes = {name: _shape(item, reader) for name, item in items.items()}
        size = sum(_proto_bytes(item, shapes[name], reader) for name, item in items.items())
        constants = {name: (item.dtype, shapes[name]) for name, item in items.items()}
        result = _frozen(source, kept, constants, size)
        nodes = NodeIndex(result.graph_def.node)
        for name, item in items.items():
            _set_value(nodes.nodes[name], item, reader, shapes[name])
    return result


def _needed(meta_graph: MetaGraphDef, index: NodeIndex) -> set[str]:
    """Return the nodes behind the signatures, and initializers of tables among these."""
    kept = _reachable(index, _signature_nodes(meta_graph, index))
    waiting = table_initializers(meta_graph)
    found = True
    while found:
        due = [name for name in waiting if name in index.nodes and _initialized(index.nodes[name]) in kept]
        waiting = [name for name in waiting if name not in due]
        kept |= _reachable(index, due)
        found = bool(due)
    for name in sorted(kept):
        if _SAVED_TABLE.fullmatch(index.nodes[name].op):
            raise UnsupportedError(
                f"node {name!r}: a table ({index.nodes[name].op}) has its contents from a checkpoint, "
                "which cannot be frozen into the graph"
            )
    return kept


def _signature_nodes(meta_graph: MetaGraphDef, index: NodeIndex) -> list[str]:
    names: list[str] = []
    signatures = [key for key in sorted(meta_graph.signature_def) if key not in (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE)]
    if not signatures:
        raise InvalidArgumentError("the graph has no signature to freeze it for")
    for key in signatures:
        signature = meta_graph.signature_def[key]
        infos = [info for part in (signature.inputs, signature.outputs) for _, info in sorted(part.items())]
        for tensor in signature_tensors(infos):
            if node_of(tensor) not in index.nodes:
                raise InvalidArgumentError(f"signature {key!r} names {tensor!r}, which is not in the graph")
            names.append(node_of(tensor))
    return names


def _initialized(initializer: NodeDef) -> str:
    """Return the node of the table that an initializer fills."""
    return node_of(initializer.input[0]) if initializer.input and not initializer.input[0].startswith("^") else ""


def _reachable(index: NodeIndex, roots: Iterable[str]) -> set[str]:
    """Return the nodes that the roots need; those that a node is colocated with count as its inputs."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        node = index.nodes[name]
        for entry in node.input:
            if node_of(entry) not in index.nodes:
                raise InvalidArgumentError(f"node {name!r}: its input {entry!r} is not in the graph")
            waiting.append(node_of(entry))
        if "_class" in node.attr:
            groups = [group.decode(errors="replace") for group in node.attr["_class"].list.s]
            waiting += [name for group in groups if (name := group.removeprefix("loc:@")) in index.nodes]
    return found


def _frozen(
    source: MetaGraphDef, kept: Collection[str], constants: dict[str, tuple[int, tuple[int, ...]]], size: int
) -> MetaGraphDef:
    """Return the result without the constants' values.

    Args:
        source: The whole meta graph.
        kept: The nodes that stay.
        constants: Dtype and shape of each variable.
        size: What the values will take, in bytes.
    """
    result = MetaGraphDef()
    graph_def = result.graph_def
    graph_def.node.extend(node for node in source.graph_def.node if node.name in kept)
    # Also when it is empty: TensorFlow's extract_sub_graph leaves a library behind.
    graph_def.library.CopyFrom(source.graph_def.library)
    graph_def.versions.CopyFrom(source.graph_def.versions)
    size += graph_def.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise InvalidArgumentError(
            f"the frozen graph is too large for a protobuf message: got {size} bytes, want <= {MAX_MESSAGE_BYTES}; "
            "export it with its variables"
        )
    convert_variables(graph_def, constants, source.meta_info_def.stripped_op_list.op)
    result.meta_info_def.CopyFrom(source.meta_info_def)
    for key in _KEPT_COLLECTIONS:
        if key in source.collection_def:
            result.collection_def[key].CopyFrom(source.collection_def[key])
    result.asset_file_def.extend(source.asset_file_def)
    keep_collections(result, kept, {})
    keep_assets(result, kept)
    for key, signature in source.signature_def.items():
        if key not in (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE):
            result.signature_def[key].CopyFrom(signature)
    functions = {function.signature.name for function in graph_def.library.function}
    aliases = result.meta_info_def.function_aliases
    for name in [name for name in aliases if name not in functions]:
        del aliases[name]
    if table_initializers(result):
        return add_main_op(result)
    refresh_op_list(result)
    return result


def _shape(item: SaveItem, reader: BundleReader) -> tuple[int, ...]:
    part = item.shape_and_slice
    return part_shape_of(part) if part else tuple(reader.shape(item.key))


def _proto_bytes(item: SaveItem, shape: tuple[int, ...], reader: BundleReader) -> int:
    """Return about how many bytes the value takes in a TensorProto; never much more than it does."""
    if item.dtype != DT_STRING:
        return math.prod(shape) * dtypes.numpy_dtype(item.dtype).itemsize
    entry = reader.entry(item.key)
    return sum(stored.size for _, stored in reader.stored(item.key, entry)) if entry.slices else entry.size


def _set_value(node: NodeDef, item: SaveItem, reader: BundleReader, shape: tuple[int, ...]) -> None:
    tensor = node.attr["value"].tensor
    if is_raw_content(item.dtype, math.prod(shape)):
        # The array is gone before the message copies its bytes: the largest variable counts twice, not three times.
        content = reader.read_slice(item.key, item.shape_and_slice).tobytes()
        tensor.dtype = cast(DataType, item.dtype)
        tensor.tensor_shape.CopyFrom(make_tensor_shape(shape))
        tensor.tensor_content = content
    else:
        array = reader.read_slice(item.key, item.shape_and_slice)
        tensor.CopyFrom(make_tensor_proto(array, item.dtype, shape))
