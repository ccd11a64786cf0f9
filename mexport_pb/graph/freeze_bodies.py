"""The nodes of a graph, or of one of its functions, while variables are followed through them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from mexport_pb._proto.graph_pb2 import FunctionDef, NodeDef
from mexport_pb._proto.tensor_pb2 import DT_RESOURCE
from mexport_pb.errors import UnsupportedError
from mexport_pb.graph.index import NodeIndex, node_of

__all__ = ["Body", "FunctionBody", "Use"]


@dataclass(frozen=True, slots=True)
class Use:
    """That a node takes a tensor.

    Attributes:
        node: The one that takes it.
        index: Of its input.
        output: The number that the input names: of the output, or in functions of the tensor within a named output.
    """

    node: NodeDef
    index: int
    output: int


class Body:
    """The nodes of a graph.

    Attributes:
        nodes: By name.
        ops: The ops that the nodes had at first.
        uses: Who takes what a node or an argument gives, in the order of the nodes and their inputs.
        handles: Nodes and arguments that gave a handle before, and its variable.

    Raises:
        InvalidArgumentError: two nodes have one name.
    """

    def __init__(self, nodes: RepeatedCompositeFieldContainer[NodeDef], arguments: Iterable[str] = ()) -> None:
        self._list = nodes
        self._arguments = set(arguments)
        self.nodes = NodeIndex(nodes).nodes
        self.ops = {node.name: node.op for node in nodes}
        self.uses: dict[str, list[Use]] = {}
        self.handles: dict[str, str] = {}
        for node in nodes:
            for index, entry in enumerate(node.input):
                if not entry.startswith("^"):
                    self.uses.setdefault(node_of(entry), []).append(Use(node, index, _number(entry)))

    def path(self, name: str) -> str:
        """Return the name of a node for an error."""
        return name

    def add(self, name: str) -> NodeDef:
        """Append a node."""
        node = self._list.add(name=name)
        self.nodes[name] = node
        return node

    def unique(self, name: str) -> str:
        """Return a name that no node or argument has: the given one, or that with a number."""
        found, number = name, 0
        while found in self.nodes or found in self._arguments:
            number += 1
            found = f"{name}_{number}"
        return found


class FunctionBody(Body):
    """The nodes of a function.

    Attributes:
        function: The function.
        seen: What each argument was last followed with.
    """

    def __init__(self, function: FunctionDef) -> None:
        super().__init__(function.node_def, (argument.name for argument in function.signature.input_arg))
        self.function = function
        self.seen: dict[int, object] = {}
        self._name = function.signature.name

    def path(self, name: str) -> str:
        """Return the name of a node for an error."""
        return f"{name} of function {self._name}"

    def rename_output(self, name: str, old: str, new: str) -> None:
        """Let all that take an output of a node call it by its new name."""
        for use in self.uses.get(name, ()):
            use.node.input[use.index] = _renamed(use.node.input[use.index], old, new)
        for key, entry in list(self.function.ret.items()):
            if node_of(entry) == name:
                self.function.ret[key] = _renamed(entry, old, new)

    def check_outputs(self) -> None:
        """See that the function returns no handle, but for a loop's body, which returns values now.

        Raises:
            UnsupportedError: it does.
        """
        for output in self.function.signature.output_arg:
            source = node_of(self.function.ret.get(output.name, ""))
            if output.type == DT_RESOURCE and source in self.handles:
                raise UnsupportedError(
                    f"function {self._name!r} returns the handle of variable {self.handles[source]!r}; "
                    "a constant cannot take its place"
                )


def _number(entry: str) -> int:
    last = entry.rpartition(":")[2]
    return int(last) if last != entry and last.isascii() and last.isdecimal() and len(last) < 10 else 0


def _renamed(entry: str, old: str, new: str) -> str:
    parts = entry.split(":")
    if len(parts) > 1 and parts[1] == old:
        parts[1] = new
    return ":".join(parts)
