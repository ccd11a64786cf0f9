"""Checks of nodes: those of a graph, or those of a function's body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.graph_pb2 import AttrValue, NodeDef
from mexport_pb.check.attrs import SHAPE_TELLERS, dtype_name, why_no_constant, why_not_legal, why_other_shape
from mexport_pb.check.calls import CALLERS, Callee, why_not_callable
from mexport_pb.check.devices import check_device
from mexport_pb.check.ops import UNKNOWN, Op, Ops, Signature, attr_of
from mexport_pb.check.problems import Report, quote

__all__ = ["PLACEHOLDERS", "Scope"]

PLACEHOLDERS: Final = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})

_NODE_NAME: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/]*(?:>[A-Za-z0-9.][A-Za-z0-9_.\-/]*)*\Z")
_BODY_NODE_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\-/>]*\Z")

# The one lawful kind of cycle: a Merge that takes from a NextIteration.
_LOOP_SOURCES: Final = frozenset({"NextIteration", "RefNextIteration"})
_LOOP_TARGETS: Final = frozenset({"Merge", "RefMerge"})

_SHAPES: Final = "_output_shapes"
_COLOCATION: Final = "_class"
_COLOCATED_WITH: Final = b"loc:@"

# Of the attributes that a node lacks, so many are named.
_MISSING_SHOWN: Final = 3

_REF_OFFSET: Final = dtypes.ref_datatype(tensor_pb2.DT_FLOAT) - tensor_pb2.DT_FLOAT


class Scope:
    """The nodes of a graph, or of the body of a function.

    In a graph a tensor is "node" or "node:index"; in a body it is "argument" or "node:output" or "node:output:index".
    """

    def __init__(
        self,
        nodes: Sequence[NodeDef],
        ops: Ops,
        callees: Mapping[str, Callee],
        report: Report,
        *,
        body_of: str | None = None,
        arguments: Mapping[str, Sequence[int] | None] | None = None,
    ) -> None:
        """Take the nodes.

        Args:
            nodes: All of the graph or body.
            ops: What is known of their ops.
            callees: The functions that they may call.
            report: Where problems go.
            body_of: The function's name; None for a graph.
            arguments: Of the function, each with the DataTypes of its tensors; None where calls differ in their number.
        """
        self._nodes = nodes
        self._ops = ops
        self._callees = callees
        self._report = report
        self._body_of = body_of
        self._arguments = arguments or {}
        self._index: dict[str, int] = {}
        self._signatures: list[Signature | None] = []
        self._colocations: set[bytes] = set()  # which are known to be good

    def node(self, name: str) -> NodeDef | None:
        """The node of that name, or None if there is none."""
        index = self._index.get(name)
        return None if index is None else self._nodes[index]

    def reach(self, names: Iterable[str]) -> dict[str, NodeDef]:
        """The nodes of a graph that run when those of these names, or tensors of theirs, are asked for."""
        found: dict[str, NodeDef] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop().removeprefix("^").partition(":")[0]
            node = None if name in found else self.node(name)
            if node is not None:
                found[name] = node
                waiting.extend(node.input)
        return found

    def why_no_tensor(self, name: str) -> str | None:
        """Why `name` is no tensor here, or None if it is one as far as is known."""
        found = self._tensor(name, self._index.get(name.partition(":")[0]))
        return found if isinstance(found, str) else None

    def why_no_operation(self, name: str) -> str | None:
        """Why `name` is no operation here, or None if it is one."""
        return None if name in self._index else f"there is no operation {quote(name)}"

    def dtype_of(self, name: str) -> int | None:
        """The DataType of a tensor; None if that is not known."""
        found = self._tensor(name, self._index.get(name.partition(":")[0]))
        return None if isinstance(found, str) or found == UNKNOWN else found

    def check(self) -> None:
        """Report everything wrong with the nodes."""
        legal = _NODE_NAME if self._body_of is None else _BODY_NODE_NAME
        for index, node in enumerate(self._nodes):
            name = node.name
            if not legal.match(name):
                self._error(node, "illegal name: want letters, digits and any of '_.-/>', a letter or digit first")
            if self._index.setdefault(name, index) != index or name in self._arguments:
                self._error(node, "the name is taken")
        op_names = [node.op for node in self._nodes]
        devices: set[str] = set()
        for node, op_name in zip(self._nodes, op_names, strict=True):
            if not op_name:
                self._error(node, "no op")
            self._signatures.append(self._check_attrs(node, op_name))
            device = node.device
            if device not in devices:
                devices.add(device)
                check_device(self._where(node), device, self._report)
        sources = []
        for node, op_name, signature in zip(self._nodes, op_names, self._signatures, strict=True):
            taken = self._check_inputs(node, op_name, signature)
            if op_name in _LOOP_TARGETS:
                taken = [source for source in taken if op_names[source] not in _LOOP_SOURCES]
            sources.append(taken)
        self._check_cycles(sources)

    def _error(self, node: NodeDef, message: str) -> None:
        self._report.error(self._where(node), message)

    def _where(self, node: NodeDef) -> str:
        where = f"node {quote(node.name)}"
        return where if self._body_of is None else f"function {quote(self._body_of)} {where}"

    def _check_attrs(self, node: NodeDef, op_name: str) -> Signature | None:
        """Check the attributes of a node; what they say of the tensors that it takes and gives."""
        values = dict(node.attr.items())
        op = self._ops.get(op_name)
        rules = {} if op is None else op.attrs
        for key, value in values.items():
            rule = rules.get(key)
            if rule is None and key.startswith("_"):
                if key == _COLOCATION and self._body_of is None:
                    self._check_colocation(node, value)
                continue
            kind = value.WhichOneof("value")
            if kind == "placeholder":
                if self._body_of is None:
                    self._error(node, f"attribute {quote(key)} is a placeholder outside of a function")
            elif rule is not None and (not rule.plain or kind != rule.field):
                reason = why_not_legal(value, rule)
                if reason is not None:
                    self._error(node, f"attribute {quote(key)}: {reason}")
        if op is not None and not op.required_set <= values.keys():
            self._report_missing(node, op, values)
        if op_name == "Const":
            reason = why_no_constant(attr_of(values, "value"), attr_of(values, "dtype"))
            if reason is not None:
                self._error(node, reason)
        if op_name in SHAPE_TELLERS and _SHAPES in values and self._body_of is None:
            reason = why_other_shape(op_name, values, values[_SHAPES])
            if reason is not None:
                self._error(node, f"attribute {quote(_SHAPES)}: {reason}")
        if op_name in CALLERS:
            for key, reason in why_not_callable(op_name, values, self._callees):
                self._error(node, f"attribute {quote(key)}: {reason}")
        return None if op is None else op.signature(values)

    def _report_missing(self, node: NodeDef, op: Op, values: Mapping[str, AttrValue]) -> None:
        # Not all are looked for: a hostile op has millions, and each of as many nodes would lack them.
        missing = (name for name in op.required if name not in values and (op.name, name) != ("Const", "value"))
        for name in islice(missing, _MISSING_SHOWN):
            self._error(
                node, f"attribute {quote(name)} is missing: {quote(op.name)} needs it and has no default for it"
            )

    def _check_colocation(self, node: NodeDef, value: AttrValue) -> None:
        names = value.list.s
        if not value.HasField("list") or (not names and value.list.ByteSize()):
            self._error(node, f"attribute {quote(_COLOCATION)}: want a list(string)")
        for name in names:
            if name in self._colocations:
                continue
            target = name.removeprefix(_COLOCATED_WITH).decode("utf-8", "replace")
            if target in self._index or not name.startswith(_COLOCATED_WITH):
                self._colocations.add(name)
            else:
                self._error(
                    node,
                    f"attribute {quote(_COLOCATION)}: there is no node {quote(target)}; drop the colocation with it",
                )

    def _check_inputs(self, node: NodeDef, op_name: str, signature: Signature | None) -> list[int]:
        """Check the inputs of a node; the positions of the nodes that they come from."""
        sources = []
        found: list[int] = []
        names = node.input
        control = False
        for name in names:
            if name.startswith("^"):
                control = True
                source = self._index.get(name[1:])
                if source is None and name[1:] not in self._arguments:
                    self._error(node, f"control input {quote(name)}: there is no such node")
            else:
                if control:
                    self._error(node, f"data input {quote(name)} comes after a control input")
                source = self._index.get(name.partition(":")[0])
                tensor = self._tensor(name, source)
                if isinstance(tensor, str):
                    self._error(node, f"input {quote(name)}: {tensor}")
                    tensor = UNKNOWN
                found.append(tensor)
            if source is not None:
                sources.append(source)
        wanted = None if signature is None else signature.inputs
        if wanted is None:
            return sources
        if len(found) != len(wanted):
            self._error(node, f"number of inputs of {quote(op_name)}: got {len(found)}, want {len(wanted)}")
        elif tuple(found) != wanted:
            self._check_types(node, op_name, found, wanted)
        return sources

    def _check_types(self, node: NodeDef, op_name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
        data = [name for name in node.input if not name.startswith("^")]
        for position, (got, want) in enumerate(zip(found, wanted, strict=True)):
            # A reference is read where its value is wanted, not the reverse.
            if got != want and got - _REF_OFFSET != want and UNKNOWN not in (got, want):
                self._error(
                    node,
                    f"input {quote(data[position])}: got {dtype_name(got)}, want {dtype_name(want)}, "
                    f"as the attributes of this {quote(op_name)} say",
                )

    def _tensor(self, name: str, source: int | None) -> int | str:
        """The DataType of a tensor, or why there is none of that name. `source` is the position of its node."""
        node_name, colon, rest = name.partition(":")
        if self._body_of is not None:
            return self._body_tensor(node_name, rest.split(":", 2) if colon else [], source)
        if source is None:
            return f"there is no node {quote(node_name)}"
        signature = self._signatures[source]
        outputs = None if signature is None else signature.outputs
        return _pick(outputs, rest if colon else None)

    def _body_tensor(self, node_name: str, rest: list[str], source: int | None) -> int | str:
        if node_name in self._arguments:
            return _pick(self._arguments[node_name], ":".join(rest) if rest else None)
        if source is None:
            return f"there is no node {quote(node_name)}"
        if not rest:
            return "a tensor of a function's node goes by the name of an output"
        signature = self._signatures[source]
        index = ":".join(rest[1:]) if len(rest) > 1 else None
        if signature is None:
            return _pick(None, index)
        if not signature.has_output(rest[0]):
            return f"the node has no output {quote(rest[0])}"
        return _pick(signature.output(rest[0]), index)

    def _check_cycles(self, sources: list[list[int]]) -> None:
        """Put the nodes into an order (Kahn); what is left over is on a cycle, or behind one."""
        targets: list[list[int]] = [[] for _ in sources]
        missing = [len(taken) for taken in sources]
        for target, taken in enumerate(sources):
            for source in taken:
                targets[source].append(target)
        ready = [index for index, count in enumerate(missing) if count == 0]
        left = len(sources)
        while ready:
            left -= 1
            for target in targets[ready.pop()]:
                missing[target] -= 1
                if missing[target] == 0:
                    ready.append(target)
        if left:
            first = next(index for index, count in enumerate(missing) if count)
            self._error(self._nodes[first], f"on a cycle or behind one, as {left - 1} other nodes are")


def _pick(tensors: Sequence[int] | None, index: str | None) -> int | str:
    """The DataType of one of a node's tensors, or why it has no such one."""
    if index is None:
        position = 0
    elif len(index) < 10 and index.isascii() and index.isdigit():
        position = int(index)
    else:
        return "not the name of a tensor"
    if tensors is None:
        return UNKNOWN
    if position >= len(tensors):
        return f"there is no such output, it has {len(tensors)}"
    return tensors[position]
