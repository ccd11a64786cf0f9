"""The names of nodes and scopes, made unique by TensorFlow's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from mexport_pb.errors import InvalidArgumentError

__all__ = ["NameStack", "check_node_name", "names_and_scopes", "taken_names"]

# What the graph's own check accepts: words that may be joined by ">", no other character outside this set.
_NODE_NAME: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/]*(>[A-Za-z0-9.][A-Za-z0-9_.\-/]*)*")
# A scope inside another one may begin with a character that no node's full name can begin with.
_INNER_SCOPE: Final = re.compile(r"[A-Za-z0-9_.\\/>-]*")
_ROOT_SCOPE: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def check_node_name(name: str) -> None:
    """Check the full name of a node.

    Raises:
        InvalidArgumentError: it is not letters, digits and ``_.-/`` after a letter, digit or dot.
    """
    if not _NODE_NAME.fullmatch(name):
        raise InvalidArgumentError(f"illegal node name: got {name!r}, want a match of {_NODE_NAME.pattern!r}")


def names_and_scopes(names: Iterable[str]) -> set[str]:
    """Return the names of a graph's nodes and of all scopes that they are in."""
    taken: set[str] = set()
    for name in names:
        end = len(name)
        while end > 0 and name[:end] not in taken:
            taken.add(name[:end])
            end = name.rfind("/", 0, end)
    return taken


def taken_names(nodes: Iterable[str], names_in_use: Iterable[str] | None) -> set[str]:
    """Return the names of a graph that new nodes may not take.

    Args:
        nodes: Names of all nodes.
        names_in_use: What else is taken; None means the scopes that the nodes are in.

    Raises:
        InvalidArgumentError: ``names_in_use`` are no strings.
    """
    return names_and_scopes(nodes) if names_in_use is None else {*nodes, *_checked(names_in_use)}


def _checked(names: Iterable[str]) -> Iterable[str]:
    if isinstance(names, str | bytes):
        raise InvalidArgumentError(f"names_in_use: got {names!r}, want a list of names")
    found = list(names)
    for name in found:
        if not isinstance(name, str):
            raise InvalidArgumentError(f"names_in_use: got {name!r}, want strings")
    return found


class NameStack:
    """The current name scope, and all names in use.

    Names that differ only in case count as equal. The second ``x`` becomes ``x_1``, the next ``x_2``; a name that was
    given out like this is in use as any other. A scope takes a name too, so that a scope ``x`` after a node ``x`` is
    ``x_1``.

    Args:
        in_use: Names that are taken from the start, scopes included.

    Raises:
        InvalidArgumentError: these are no strings.
    """

    def __init__(self, in_use: Iterable[str] = ()) -> None:
        self._current = ""
        # lower-case name -> the number to try next when it is asked for again
        self._counters: dict[str, int] = {name.lower(): 1 for name in _checked(in_use)}

    @property
    def current(self) -> str:
        """The scope that names are made in: without the final "/"; "" at the root."""
        return self._current

    @property
    def in_use(self) -> set[str]:
        """All names that are taken, scopes included, in lower case."""
        return set(self._counters)

    def unique(self, name: str, *, mark_as_used: bool = True) -> str:
        """Return ``name`` in the current scope, with the first free suffix if it is taken.

        Args:
            name: A name relative to the current scope.
            mark_as_used: False only tells which name the next caller would get.
        """
        full = f"{self._current}/{name}" if self._current else name
        base = full.lower()
        number = self._counters.get(base, 0)
        if mark_as_used:
            self._counters[base] = number + 1
        if number == 0:
            return full
        key = base
        while key in self._counters:
            key = f"{base}_{number}"
            number += 1
        if mark_as_used:
            self._counters[key] = 1
        return f"{full}_{number - 1}"

    def for_node(self, name: str) -> str:
        """Return the full name of a node asked for as ``name``.

        A final "/" marks a scope's name, which the node takes as it is.

        Raises:
            InvalidArgumentError: the name is not legal.
        """
        full = name[:-1] if name.endswith("/") else self.unique(name)
        check_node_name(full)
        return full

    @contextmanager
    def scope(self, name: str | None) -> Iterator[str]:
        """Enter a scope and yield its name with a final "/" ("" for the root).

        Args:
            name: Relative to the current scope and made unique; a name with a final "/" re-enters exactly that scope;
                None or "" goes to the root.

        Raises:
            InvalidArgumentError: the name is not legal.
        """
        if name:
            pattern = _INNER_SCOPE if self._current else _ROOT_SCOPE
            if not pattern.fullmatch(name):
                raise InvalidArgumentError(f"illegal scope name: got {name!r}, want a match of {pattern.pattern!r}")
        outer = self._current
        if not name:
            self._current = ""
        elif name.endswith("/"):
            self._current = name[:-1]
        else:
            self._current = self.unique(name)
        try:
            yield f"{self._current}/" if name else ""
        finally:
            self._current = outer
