"""What the saver of a meta graph saves and restores, read back from its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError, UnsupportedError
from mexport_pb.graph.index import NodeIndex, node_of
from mexport_pb.graph.slices import full_shape_of
from mexport_pb.graph.tensor import Shape
from mexport_pb.messages import to_message

__all__ = ["SaveItem", "SavePlan", "restored_items", "restored_variables", "save_plan"]

# Ops of checkpoint format V1, which no bundle holds.
_OLD_OPS = frozenset({"Save", "SaveSlices", "Restore", "RestoreSlice"})


@dataclass(frozen=True, slots=True)
class SaveItem:
    """One tensor, or one part of a partitioned one, in the order of the saver.

    Attributes:
        key: In the checkpoint.
        shape_and_slice: Which part: "" for all of it, or the form that
            :func:`mexport_pb.bundle.parse_shape_and_slice` reads.
        dtype: A ``DataType`` number.
        full_shape: Of the whole tensor, as far as the graph knows it; None for an unknown rank.
    """

    key: str
    shape_and_slice: str
    dtype: int
    full_shape: Shape


@dataclass(frozen=True, slots=True)
class SavePlan:
    """What a saver writes into each data file, in order.

    Attributes:
        shards: The items of each file.
    """

    shards: tuple[tuple[SaveItem, ...], ...]

    @property
    def items(self) -> list[SaveItem]:
        """The items of all shards."""
        return [item for shard in self.shards for item in shard]


def save_plan(meta_graph: Message) -> SavePlan:
    """Return what the saver of a meta graph saves: ours, or TensorFlow's of any kind of format V2.

    The SaveV2 nodes behind ``save_tensor_name`` say it, one shard each, in the order of their shard numbers. A saver
    that can only restore has the RestoreV2 nodes behind ``restore_op_name`` instead, in the graph's order. Nodes of
    functions that are called there count too. Without a saver the plan is empty.

    Args:
        meta_graph: A MetaGraphDef.

    Raises:
        InvalidArgumentError: the saver's nodes are not in the graph, or keys and slices are not constants.
        UnsupportedError: a saver of format V1.
    """
    message = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    if not message.HasField("saver_def"):
        return SavePlan(())
    finder = _Finder(message)
    saver = message.saver_def
    index = NodeIndex(message.graph_def.node)
    saves: list[tuple[NodeIndex, NodeDef]] = []
    if node_of(saver.save_tensor_name) in index.nodes:
        saves = list(finder.find(index, saver.save_tensor_name, "SaveV2"))
    if saves:
        ordered = sorted(enumerate(saves), key=lambda entry: (_shard_number(*entry[1]), entry[0]))
        return SavePlan(tuple(_save_items(*found) for _, found in ordered))
    restores = finder.find(index, saver.restore_op_name, "RestoreV2")
    return SavePlan(tuple(_restore_items(*found) for found in restores))


def restored_items(meta_graph: Message) -> list[SaveItem]:
    """Return what the saver of a meta graph restores, by the RestoreV2 nodes behind ``restore_op_name``.

    That is what loaders run; :func:`save_plan` goes by the other half. Without a saver there is nothing.

    Raises:
        InvalidArgumentError: as :func:`save_plan`.
        UnsupportedError: a saver of format V1.
    """
    message = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    if not message.HasField("saver_def"):
        return []
    index = NodeIndex(message.graph_def.node)
    found = _Finder(message).find(index, message.saver_def.restore_op_name, "RestoreV2")
    return [item for body, node in found for item in _restore_items(body, node)]


def restored_variables(meta_graph: MetaGraphDef) -> dict[str, SaveItem]:
    """Return what the saver of a meta graph restores into each variable, by the name of the variable's node.

    Nodes of functions do not count. Without a saver there is nothing.

    Raises:
        InvalidArgumentError: as :func:`save_plan`.
        UnsupportedError: a saver of format V1.
    """
    if not meta_graph.HasField("saver_def"):
        return {}
    index = NodeIndex(meta_graph.graph_def.node)
    found = {}
    restores: dict[str, tuple[SaveItem, ...]] = {}
    for body, node in _Finder(meta_graph).find(index, meta_graph.saver_def.restore_op_name, "RestoreV2"):
        if body is index:
            restores[node.name] = _restore_items(index, node)
    for target, source, output in _assignments(index):
        items = restores.get(source.name, ())
        if output < len(items):
            found[index.source(target)[0].name] = items[output]
    return found


class _Finder:
    """Finds the nodes of an op among those that a node needs, functions that they call included."""

    def __init__(self, meta_graph: MetaGraphDef) -> None:
        library = meta_graph.graph_def.library.function
        self.functions = {function.signature.name: function for function in library}

    def find(self, index: NodeIndex, root: str, op: str) -> Iterator[tuple[NodeIndex, NodeDef]]:
        reachable = index.reachable([node_of(root)])
        called: list[str] = []
        for node in index.nodes.values():
            if node.name in reachable:
                yield from self._check(index, node, op)
                called += self._called(node)
        seen: set[str] = set()
        while called:
            name = called.pop(0)
            if name in seen:
                continue
            seen.add(name)
            body = NodeIndex(self.functions[name].node_def)
            for node in body.nodes.values():
                yield from self._check(body, node, op)
                called += self._called(node)

    def _check(self, index: NodeIndex, node: NodeDef, op: str) -> Iterator[tuple[NodeIndex, NodeDef]]:
        if node.op in _OLD_OPS:
            raise UnsupportedError(f"node {node.name!r}: {node.op} is of checkpoint format V1, want {op}")
        if node.op == op:
            yield index, node

    def _called(self, node: NodeDef) -> list[str]:
        names = [node.op, *(node.attr[key].func.name for key in sorted(node.attr) if node.attr[key].HasField("func"))]
        return [name for name in names if name in self.functions]


def _shard_number(index: NodeIndex, save: NodeDef) -> int:
    if not save.input:
        raise InvalidArgumentError(f"node {save.name!r} (SaveV2) has no inputs")
    file = index.nodes.get(node_of(save.input[0]))
    if file is None or file.op != "ShardedFilename" or len(file.input) < 2 or node_of(file.input[1]) not in index.nodes:
        return 0
    return index.integer(file.input[1]) or 0


def _data_inputs(node: NodeDef) -> list[str]:
    return [entry for entry in node.input if not entry.startswith("^")]


def _keys_and_slices(index: NodeIndex, node: NodeDef) -> list[tuple[str, str, int]]:
    types = node.attr["dtypes"].list.type if "dtypes" in node.attr else []
    inputs = _data_inputs(node)
    if len(inputs) < 3:
        raise InvalidArgumentError(f"node {node.name!r} ({node.op}): got {len(inputs)} inputs, want 3 or more")
    keys, slices = index.strings(inputs[1], len(types)), index.strings(inputs[2], len(types))
    try:
        base = [dtypes.base_datatype(one) for one in types]
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"node {node.name!r} ({node.op}): {error}") from None
    return list(zip(keys, slices, base, strict=True))


def _items(entries: Iterable[tuple[str, str, int]], shapes: Iterable[Shape]) -> tuple[SaveItem, ...]:
    return tuple(
        SaveItem(key, part, dtype, full_shape_of(part, shape))
        for (key, part, dtype), shape in zip(entries, shapes, strict=True)
    )


def _save_items(index: NodeIndex, node: NodeDef) -> tuple[SaveItem, ...]:
    entries = _keys_and_slices(index, node)
    tensors = _data_inputs(node)[3:]
    if len(tensors) != len(entries):
        raise InvalidArgumentError(f"node {node.name!r} (SaveV2): got {len(tensors)} tensors, want {len(entries)}")
    return _items(entries, [_shape(index, tensor) for tensor in tensors])


def _shape(index: NodeIndex, tensor: str) -> Shape:
    # An argument of a function is no node: nothing is known of it.
    return index.shape(tensor) if node_of(tensor) in index.nodes else None


def _restore_items(index: NodeIndex, node: NodeDef) -> tuple[SaveItem, ...]:
    entries = _keys_and_slices(index, node)
    return _items(entries, _assigned_shapes(index, node, len(entries)))


def _assigned_shapes(index: NodeIndex, restore: NodeDef, count: int) -> list[Shape]:
    """Return the shapes of the variables that the outputs are assigned to."""
    shapes: list[Shape] = [None] * count
    for target, source, output in _assignments(index):
        if source is restore and output < count:
            shapes[output] = index.variable_shape(target)
    return shapes


def _assignments(index: NodeIndex) -> Iterator[tuple[str, NodeDef, int]]:
    """Yield for each assignment the tensor assigned to, and the node and its output that the value comes from."""
    for node in index.nodes.values():
        if node.op not in ("AssignVariableOp", "Assign") or len(node.input) < 2:
            continue
        if node_of(node.input[1]) in index.nodes and node_of(node.input[0]) in index.nodes:
            yield node.input[0], *index.source(node.input[1])
