"""Checks of calls: do the functions that a node names exist, and take and return what the node says?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mexport_pb._proto.graph_pb2 import AttrValue, OpDef
from mexport_pb.check.attrs import dtype_name
from mexport_pb.check.ops import attr_of
from mexport_pb.check.problems import quote

__all__ = ["CALLERS", "Callee", "why_not_callable"]

# Operations with attributes that name functions: each with the attributes that list the types of what the function
# takes and returns. A loop's condition returns one tensor of any type.
_ONE_OF_ANY: Final = ""
CALLERS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Case": {"branches": ("Tin", "Tout")},
    "If": {"then_branch": ("Tin", "Tout"), "else_branch": ("Tin", "Tout")},
    "PartitionedCall": {"f": ("Tin", "Tout")},
    "StatefulPartitionedCall": {"f": ("Tin", "Tout")},
    "StatelessCase": {"branches": ("Tin", "Tout")},
    "StatelessIf": {"then_branch": ("Tin", "Tout"), "else_branch": ("Tin", "Tout")},
    "StatelessWhile": {"cond": ("T", _ONE_OF_ANY), "body": ("T", "T")},
    "While": {"cond": ("T", _ONE_OF_ANY), "body": ("T", "T")},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Callee:
    """What a function takes and returns, as DataTypes; None where that depends on the call."""

    inputs: Sequence[int] | None
    outputs: Sequence[int] | None

    @classmethod
    def of(cls, signature: OpDef) -> Callee:
        """Take a function's signature."""
        return cls(_fixed_types(signature.input_arg), _fixed_types(signature.output_arg))


def _fixed_types(args: Sequence[OpDef.ArgDef]) -> tuple[int, ...] | None:
    if any(not arg.type or arg.number_attr for arg in args):
        return None
    return tuple([arg.type for arg in args])


def why_not_callable(
    op_name: str, values: Mapping[str, AttrValue], callees: Mapping[str, Callee]
) -> Iterator[tuple[str, str]]:
    """The attributes by which a node of one of :data:`CALLERS` names functions that it cannot call, each with why."""
    for key, (taken, returned) in CALLERS[op_name].items():
        value = values.get(key)
        if value is None:
            continue
        for name in dict.fromkeys(func.name for func in ([value.func] if value.HasField("func") else value.list.func)):
            callee = callees.get(name)
            if callee is None:
                yield key, f"there is no function {quote(name)}"
                continue
            reason = _why_other(callee.inputs, values, taken, "takes")
            if reason is None and returned != _ONE_OF_ANY:
                reason = _why_other(callee.outputs, values, returned, "returns")
            elif reason is None and callee.outputs is not None and len(callee.outputs) != 1:
                reason = f"returns {len(callee.outputs)} tensors, want 1"
            if reason is not None:
                yield key, f"function {quote(name)} {reason}"


def _why_other(types: Sequence[int] | None, values: Mapping[str, AttrValue], key: str, verb: str) -> str | None:
    attr = attr_of(values, key)
    if types is None or not attr.HasField("list"):
        return None
    said = attr.list.type
    if len(types) != len(said):
        return f"{verb} {len(types)} tensors, but attribute {quote(key)} lists {len(said)}"
    for position, (one, other) in enumerate(zip(types, said, strict=True)):
        if one != other:
            return (
                f"{verb} {dtype_name(one)} at position {position}, but attribute {quote(key)} says {dtype_name(other)}"
            )
    return None
