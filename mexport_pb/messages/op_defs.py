"""The table of TensorFlow's op signatures, read from ``op_defs.pbtxt`` when first asked for, and of the hash tables'.

``scripts/generate_op_defs.py`` writes the file. Only the ops that are asked for are parsed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from google.protobuf import text_format

from mexport_pb._proto import graph_pb2
from mexport_pb.messages.table_ops import table_op_defs

__all__ = ["OpDefs", "known_ops", "op_def"]


@functools.cache
def _lines() -> dict[str, str]:
    # Every op is one line, which says its name first.
    text = resources.files("mexport_pb.messages").joinpath("op_defs.pbtxt").read_text(encoding="utf-8")
    return {line.split('"', 2)[1]: line for line in text.splitlines() if not line.startswith("#")}


@functools.cache
def _parsed(name: str) -> graph_pb2.OpDef:
    op_list = text_format.Parse(_lines()[name], graph_pb2.OpList())
    return op_list.op[0]


def known_ops() -> list[str]:
    """Return the names of all ops of TensorFlow's own, sorted."""
    return sorted(_lines())


def op_def(name: str) -> graph_pb2.OpDef | None:
    """Return the signature of an op of TensorFlow's own or of the hash tables, or None if it is neither.

    The message is shared: do not change it.
    """
    return _parsed(name) if name in _lines() else table_op_defs().get(name)


class OpDefs(Mapping[str, graph_pb2.OpDef]):
    """Signatures by op name: the given ones, and the table for the rest.

    Args:
        given: Signatures that come before those of the table, the first of a name before later ones.
    """

    def __init__(self, given: Iterable[graph_pb2.OpDef] = ()) -> None:
        self._given: dict[str, graph_pb2.OpDef] = {}
        for definition in given:
            self._given.setdefault(definition.name, definition)

    @property
    def given(self) -> list[graph_pb2.OpDef]:
        """The signatures that come before those of the table."""
        return list(self._given.values())

    def __getitem__(self, name: str) -> graph_pb2.OpDef:
        found = self._given.get(name) or op_def(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self._given
        yield from (name for table in (_lines(), table_op_defs()) for name in table if name not in self._given)

    def __len__(self) -> int:
        return len(self._given.keys() | _lines().keys() | table_op_defs().keys())
