"""Functions that take values where they took variables: found, and given new names in the end."""

from __future__ import annotations

from collections.abc import Iterable

from mexport_pb._proto.graph_pb2 import FunctionDef, FunctionDefLibrary, GraphDef, NodeDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.freeze_bodies import FunctionBody
from mexport_pb.graph.functions import called_functions

__all__ = ["FrozenFunctions"]

_MAX_DIGITS = 18


class FrozenFunctions:
    """The functions of a library that variables reach.

    Args:
        library: To be changed.
    """

    def __init__(self, library: FunctionDefLibrary) -> None:
        self._library = library
        self._all = {function.signature.name: function for function in library.function}
        self._new_names = _frozen_names(list(self._all))
        self._bodies: dict[str, FunctionBody] = {}
        self._originals: dict[str, FunctionDef] = {}

    def body(self, caller: NodeDef, name: str) -> FunctionBody:
        """Return the body of a function that a variable reaches.

        Raises:
            InvalidArgumentError: there is no such function.
        """
        if name not in self._bodies:
            if name not in self._all:
                raise InvalidArgumentError(
                    f"node {caller.name!r} ({caller.op}) calls {name!r}, which is not in the graph's library"
                )
            original = FunctionDef()
            original.CopyFrom(self._all[name])
            self._originals[name] = original
            self._bodies[name] = FunctionBody(self._all[name])
        return self._bodies[name]

    def finish(self, graph_def: GraphDef, callers: Iterable[tuple[NodeDef, tuple[str, ...]]]) -> None:
        """Give the changed functions new names, so that nobody takes them for those that they were.

        Args:
            graph_def: The graph, of which the library was given.
            callers: Nodes that passed variables on, and their attributes that name functions.

        Raises:
            UnsupportedError: a function returns a handle.
        """
        for name, body in self._bodies.items():
            body.check_outputs()
            body.function.signature.name = self._new_names[name]
        for node, attrs in callers:
            for attr in attrs:
                value = node.attr[attr]
                for function in [value.func] if value.HasField("func") else value.list.func:
                    if function.name in self._bodies:
                        function.name = self._new_names[function.name]
        self._keep_originals(graph_def.node)

    def _keep_originals(self, nodes: Iterable[NodeDef]) -> None:
        """Put back functions that others call without a variable, by their old names."""
        missing = dict(self._originals)
        waiting = [*nodes, *_nodes_of(self._library.function)]
        while waiting and missing:
            called = {name for node in waiting for name in called_functions(node)}
            found = [missing.pop(name) for name in sorted(called & missing.keys())]
            self._library.function.extend(found)
            waiting = _nodes_of(found)


def _nodes_of(functions: Iterable[FunctionDef]) -> list[NodeDef]:
    return [node for function in functions for node in function.node_def]


def _frozen_names(names: list[str]) -> dict[str, str]:
    """Return "base_frozen_<n>" for each name "base" or "base_<k>", numbered by k and base.

    TensorFlow takes the numbers from a counter of the process; these follow the greatest such number that is there.
    """
    parsed = sorted((*_split(name), name) for name in names)
    start = 1 + max((number for number, base, _ in parsed if base.endswith("_frozen")), default=-1)
    return {name: f"{base}_frozen_{start + i}" for i, (_, base, name) in enumerate(parsed)}


def _split(name: str) -> tuple[int, str]:
    base, _, digits = name.rpartition("_")
    if digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS:
        return int(digits), base
    return -1, name
