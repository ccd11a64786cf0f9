"""The stack of default graphs, one per thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mexport_pb.errors import InvalidArgumentError

if TYPE_CHECKING:
    from mexport_pb.graph.builder import GraphBuilder

__all__ = ["get_default_graph", "has_default_graph", "pushed_default"]


class _Stack(threading.local):
    def __init__(self) -> None:
        self.graphs: list[GraphBuilder] = []


_STACK = _Stack()


@contextmanager
def pushed_default(graph: GraphBuilder) -> Iterator[GraphBuilder]:
    """Make a graph this thread's default within a ``with`` block."""
    _STACK.graphs.append(graph)
    try:
        yield graph
    finally:
        _STACK.graphs.pop()


def has_default_graph() -> bool:
    """True within some ``with graph.as_default()`` of this thread."""
    return bool(_STACK.graphs)


def get_default_graph() -> GraphBuilder:
    """Return the graph of the innermost ``with graph.as_default()`` of this thread.

    Raises:
        InvalidArgumentError: there is none.
    """
    if not _STACK.graphs:
        raise InvalidArgumentError("no default graph: want a call within `with graph.as_default()`")
    return _STACK.graphs[-1]
