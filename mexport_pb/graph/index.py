"""Look up the nodes of a GraphDef by name, and walk them against the direction of the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb.errors import DataError, InvalidArgumentError, UnsupportedError
from mexport_pb.graph.tensor import Shape
from mexport_pb.messages import shape_to_list, tensor_proto_to_array

__all__ = ["NodeIndex", "node_of", "split_tensor_name"]

# How many Identity nodes in a row are looked through.
_MAX_CHAIN = 64

_REF_VARIABLES = frozenset({"VariableV2", "Variable"})


def node_of(name: str) -> str:
    """Return the node that an input of a node, a tensor's name or an operation's name speaks of.

    Inputs of functions' nodes ("node:output:index") are understood too.
    """
    return name.removeprefix("^").partition(":")[0]


def split_tensor_name(name: str) -> tuple[str, int]:
    """Return node and output index of "node:index"; "node" alone means index 0.

    Raises:
        InvalidArgumentError: not such a name.
    """
    node, colon, index = name.partition(":")
    if not node or node.startswith("^") or (colon and not (index.isascii() and index.isdigit() and len(index) < 10)):
        raise InvalidArgumentError(f"name of a tensor: got {name!r}, want node:index")
    return node, int(index or 0)


class NodeIndex:
    """Nodes by name. The nodes are not copied.

    Args:
        nodes: Of a GraphDef or of a function.

    Raises:
        InvalidArgumentError: two nodes have one name.
    """

    def __init__(self, nodes: Sequence[NodeDef]) -> None:
        self.nodes = {node.name: node for node in nodes}
        if len(self.nodes) != len(nodes):
            seen: set[str] = set()
            for node in nodes:
                if node.name in seen:
                    raise InvalidArgumentError(f"two nodes have the name {node.name!r}")
                seen.add(node.name)

    def get(self, name: str) -> NodeDef:
        """Return a node.

        Raises:
            InvalidArgumentError: there is none of that name.
        """
        node = self.nodes.get(name)
        if node is None:
            raise InvalidArgumentError(f"the graph has no node {name!r}")
        return node

    def reachable(self, roots: Iterable[str], stop: Collection[str] = ()) -> set[str]:
        """Return the nodes that the roots need, themselves included; loops of while loops are no trouble.

        Args:
            roots: Names of nodes.
            stop: Nodes of which the inputs do not count.

        Raises:
            InvalidArgumentError: a root or an input is not in the graph.
        """
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            node = self.get(name)
            found.add(name)
            if name in stop:
                continue
            for entry in node.input:
                source = node_of(entry)
                if source not in found:
                    if source not in self.nodes:
                        raise InvalidArgumentError(f"node {name!r}: its input {entry!r} is not in the graph")
                    waiting.append(source)
        return found

    def source(self, name: str) -> tuple[NodeDef, int]:
        """Return the node and the output behind a tensor, looking through Identity.

        Raises:
            InvalidArgumentError: no such tensor, or a chain without end.
        """
        for _ in range(_MAX_CHAIN):
            parts = name.split(":")
            node = self.get(parts[0])
            # In functions the index comes last, after the output's name.
            index = int(parts[-1]) if len(parts) > 1 and parts[-1].isdecimal() else 0
            if node.op != "Identity" or not node.input:
                return node, index
            name = node.input[0]
        raise InvalidArgumentError(f"more than {_MAX_CHAIN} Identity nodes in a row before {name!r}")

    def strings(self, name: str, count: int) -> list[str]:
        """Return the elements of a constant vector of strings.

        Args:
            name: The tensor.
            count: How many elements it must have.

        Raises:
            InvalidArgumentError: not a constant vector of so many strings.
        """
        node, _ = self.source(name)
        if node.op != "Const" or "value" not in node.attr:
            raise InvalidArgumentError(f"node {node.name!r}: got {node.op}, want a constant list of strings")
        proto = node.attr["value"].tensor
        if shape_to_list(proto.tensor_shape) != [count]:
            raise InvalidArgumentError(f"node {node.name!r}: want a constant list of {count} strings")
        try:
            values = tensor_proto_to_array(proto).tolist()
            return [value.decode() for value in values]
        except (DataError, UnicodeDecodeError, AttributeError) as error:
            raise InvalidArgumentError(f"node {node.name!r}: want a constant list of strings: {error}") from None

    def integer(self, name: str) -> int | None:
        """Return the value of a constant integer; None for anything else."""
        node, _ = self.source(name)
        if node.op != "Const" or "value" not in node.attr:
            return None
        proto = node.attr["value"].tensor
        if proto.tensor_shape.dim:
            return None
        try:
            value = tensor_proto_to_array(proto).item()
        except (DataError, UnsupportedError):
            return None
        return value if isinstance(value, int) else None

    def shape(self, name: str) -> Shape:
        """Return what the graph knows of a tensor's shape.

        Raises:
            InvalidArgumentError: no such tensor.
        """
        node, index = self.source(name)
        if node.op == "ReadVariableOp" and node.input and node_of(node.input[0]) in self.nodes:
            return self.variable_shape(node.input[0])
        if node.op in _REF_VARIABLES:
            return attr_shape(node, "shape")
        shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else []
        if index < len(shapes):
            sizes = shape_to_list(shapes[index])
            return None if sizes is None else tuple(sizes)
        return None

    def variable_shape(self, name: str) -> Shape:
        """Return the declared shape of a variable by its handle or ref tensor.

        Raises:
            InvalidArgumentError: no such tensor.
        """
        node, _ = self.source(name)
        return attr_shape(node, "shape") if node.op == "VarHandleOp" or node.op in _REF_VARIABLES else None


def attr_shape(node: NodeDef, name: str) -> Shape:
    """Return an attribute of type shape; None if it is missing."""
    if name not in node.attr:
        return None
    sizes = shape_to_list(node.attr[name].shape)
    return None if sizes is None else tuple(sizes)


def attr_dtype(node: NodeDef, name: str) -> int:
    """Return an attribute of type type, as a base type.

    Raises:
        InvalidArgumentError: it is missing, or not a known type.
    """
    if name not in node.attr:
        raise InvalidArgumentError(f"node {node.name!r} ({node.op}) has no attribute {name!r}")
    try:
        return dtypes.base_datatype(node.attr[name].type)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"node {node.name!r}: {error}") from None
