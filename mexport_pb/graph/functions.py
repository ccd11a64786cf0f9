"""The functions of a graph's library that its nodes call, directly or through other functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mexport_pb._proto.graph_pb2 import AttrValue, FunctionDef, FunctionDefLibrary, NodeDef

__all__ = ["called_functions", "keep_functions"]


def called_functions(node: NodeDef) -> list[str]:
    """Return the names by which a node may call functions: its op, and the functions among its attributes."""
    return [node.op, *_mentioned(node.attr)]


def _mentioned(attrs: Mapping[str, AttrValue]) -> list[str]:
    names: list[str] = []
    waiting = [attrs]
    while waiting:
        for value in waiting.pop().values():
            functions = [value.func] if value.HasField("func") else list(value.list.func)
            for function in functions:
                names.append(function.name)
                waiting.append(function.attr)
    return names


def keep_functions(library: FunctionDefLibrary, nodes: Iterable[NodeDef]) -> FunctionDefLibrary:
    """Return the part of a library that the given nodes need, gradients of the functions in it included.

    Args:
        library: Not changed.
        nodes: Of the graph.
    """
    functions: dict[str, FunctionDef] = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
    kept: set[str] = set()
    waiting = [name for node in nodes for name in called_functions(node)]
    while waiting:
        name = waiting.pop()
        if name in kept or name not in functions:
            continue
        kept.add(name)
        if name in gradients:
            waiting.append(gradients[name])
        waiting += _mentioned(functions[name].attr)
        for node in functions[name].node_def:
            waiting += called_functions(node)
    return FunctionDefLibrary(
        function=[function for function in library.function if function.signature.name in kept],
        gradient=[gradient for gradient in library.gradient if gradient.function_name in kept],
        registered_gradients=[one for one in library.registered_gradients if one.gradient_func in kept],
    )
