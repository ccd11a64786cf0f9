"""The variables of a meta graph: found by its collection ``variables``, or else by its nodes."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb._proto.variable_pb2 import VariableDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.index import NodeIndex, attr_dtype, attr_shape, node_of
from mexport_pb.graph.slices import SaveSlice
from mexport_pb.graph.tensor import Shape
from mexport_pb.messages import parse, to_message
from mexport_pb.messages.constants import LOCAL_VARIABLES_COLLECTION, VARIABLES_COLLECTION

__all__ = ["RESOURCE_OPS", "VARIABLE_OPS", "GraphVariable", "find_variables", "has_variables", "variable_defs"]

RESOURCE_OPS = frozenset({"VarHandleOp"})
REF_OPS = frozenset({"VariableV2", "Variable"})
VARIABLE_OPS = RESOURCE_OPS | REF_OPS


@dataclass(frozen=True, slots=True)
class GraphVariable:
    """One variable, or one part of a partitioned one.

    Attributes:
        node: Of the handle, or of the ref variable.
        key: Its name in a checkpoint.
        is_resource: A resource variable.
        dtype: Of the values.
        shape: Of the values, as far as the graph knows it.
        shape_and_slice: Which part of a partitioned variable it is, as SaveV2 takes it; "" for a whole one.
        read: The node that reads the value: "w/Read/ReadVariableOp" or "w/read"; None if the graph has none.
        caching_device: Where readers of a resource variable find a copy of its value; None if it is not cached.
    """

    node: NodeDef
    key: str
    is_resource: bool
    dtype: int
    shape: Shape
    shape_and_slice: str
    read: NodeDef | None
    caching_device: str | None = None

    @property
    def name(self) -> str:
        """The name of its node."""
        return self.node.name


def variable_defs(meta_graph: MetaGraphDef, collection: str) -> list[VariableDef] | None:
    """Return the entries of a collection of variables; None if there is no such collection.

    Raises:
        SavedModelError: an entry is not a VariableDef.
    """
    if collection not in meta_graph.collection_def:
        return None
    found = meta_graph.collection_def[collection]
    if not found.HasField("bytes_list"):
        return None
    return [parse(VariableDef, data) for data in found.bytes_list.value]


def has_variables(meta_graph: Message) -> bool:
    """True if the graph has variables that a checkpoint would hold.

    Raises:
        InvalidArgumentError: not a MetaGraphDef, or its variables are not in its graph.
        SavedModelError: the collection ``variables`` is damaged.
    """
    message = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    return bool(find_variables(message, NodeIndex(message.graph_def.node)))


def find_variables(meta_graph: MetaGraphDef, index: NodeIndex) -> list[GraphVariable]:
    """Return the variables to save, in the order of the collection.

    Without a collection ``variables`` these are all VarHandleOp and VariableV2 nodes in the graph's order, one for each
    shared name, except local variables; parts of partitioned variables cannot be told from whole ones then.

    Args:
        meta_graph: The graph.
        index: Of its nodes.

    Raises:
        InvalidArgumentError: a variable of the collection is not in the graph, or not a variable there.
        SavedModelError: an entry of the collection is not a VariableDef.
    """
    definitions = variable_defs(meta_graph, VARIABLES_COLLECTION)
    if definitions is None:
        return _by_nodes(meta_graph, index)
    return [_by_definition(definition, index) for definition in definitions]


def _by_definition(definition: VariableDef, index: NodeIndex) -> GraphVariable:
    node = index.get(node_of(definition.variable_name))
    part = ""
    key = node.name
    if definition.HasField("save_slice_info_def") and definition.save_slice_info_def.full_name:
        info = definition.save_slice_info_def
        part = SaveSlice.from_message(info).shape_and_slice(info.var_shape)
        key = info.full_name
    if definition.is_resource != (node.op not in REF_OPS):
        raise InvalidArgumentError(f"variable {node.name!r}: got a {node.op}, want what its VariableDef says")
    read = _read(node, definition.snapshot_name, index)
    return _variable(node, key, part, read, _caching_device(definition, read, index))


def _caching_device(definition: VariableDef, read: NodeDef | None, index: NodeIndex) -> str | None:
    """Return the device of the copy of what ``read`` reads, which is then the variable's snapshot."""
    snapshot = index.nodes.get(node_of(definition.snapshot_name))
    if not definition.is_resource or read is None or snapshot is None or snapshot.op != "Identity":
        return None
    return snapshot.device if snapshot.input and node_of(snapshot.input[0]) == read.name else None


def _read(node: NodeDef, snapshot_name: str, index: NodeIndex) -> NodeDef | None:
    """Return the node that reads a variable: the one that it was made with, or the one of its VariableDef."""
    if node.op in REF_OPS:
        candidates = [node_of(snapshot_name), f"{node.name}/read"]
    else:
        candidates = [f"{node.name}/Read/ReadVariableOp", node_of(snapshot_name)]
    for name in candidates:
        read = index.nodes.get(name)
        wanted = "Identity" if node.op in REF_OPS else "ReadVariableOp"
        if read is not None and read.op == wanted and read.input and node_of(read.input[0]) == node.name:
            return read
    return None


def _variable(
    node: NodeDef, key: str, part: str, read: NodeDef | None, caching_device: str | None = None
) -> GraphVariable:
    return GraphVariable(
        node=node,
        key=key,
        is_resource=node.op not in REF_OPS,
        dtype=attr_dtype(node, "dtype"),
        shape=attr_shape(node, "shape"),
        shape_and_slice=part,
        read=read,
        caching_device=caching_device,
    )


def _by_nodes(meta_graph: MetaGraphDef, index: NodeIndex) -> list[GraphVariable]:
    local = variable_defs(meta_graph, LOCAL_VARIABLES_COLLECTION) or []
    passed = {node_of(definition.variable_name) for definition in local}
    shared: set[tuple[bytes, bytes]] = set()
    found = []
    for node in meta_graph.graph_def.node:
        if node.op not in VARIABLE_OPS or node.name in passed:
            continue
        name = node.attr["shared_name"].s if "shared_name" in node.attr else b""
        container = node.attr["container"].s if "container" in node.attr else b""
        identity = (container, name or node.name.encode())
        if identity not in shared:
            shared.add(identity)
            found.append(_variable(node, node.name, "", _read(node, "", index)))
    return found
