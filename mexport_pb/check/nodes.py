"""Checks of nodes: those of a graph and those of the functions in its library."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.graph_pb2 import FunctionDef, NodeDef
from mexport_pb.check.ops import Op, Ops, attr_of
from mexport_pb.check.problems import Report, quote

__all__ = ["PLACEHOLDERS", "Scope", "check_function", "check_function_names"]

PLACEHOLDERS: Final = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})

_NODE_NAME: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/>]*\Z")
_BODY_NODE_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\-/>]*\Z")
# As the C++ runtime reads device names; the Python loader puts some more spellings right.
_DEVICE: Final = re.compile(
    r"/\Z|(?:/job:(?P<job>\*|[A-Za-z][A-Za-z0-9_]*)|/(?:replica|task):(?:\*|[0-9]+)"
    r"|/device:(?:\*|[A-Za-z][A-Za-z0-9_]*)(?::(?:\*|[0-9]+))?|/(?:cpu|CPU|gpu|GPU):(?:\*|[0-9]+))*\Z"
)
_LOCAL_JOBS: Final = frozenset({None, "*", "localhost"})

# The one lawful kind of cycle: a Merge that takes from a NextIteration.
_LOOP_SOURCES: Final = frozenset({"NextIteration", "RefNextIteration"})
_LOOP_TARGETS: Final = frozenset({"Merge", "RefMerge"})

# Operations whose attributes of type func must name a function of the library.
_CALLERS: Final = frozenset(
    {
        "Case",
        "If",
        "PartitionedCall",
        "StatefulPartitionedCall",
        "StatelessCase",
        "StatelessIf",
        "StatelessWhile",
        "While",
    }
)


class Scope:
    """The nodes of a graph, or of the body of a function.

    In a graph a tensor is "node" or "node:index"; in a body it is "argument" or "node:output" or "node:output:index".
    """

    def __init__(
        self,
        nodes: Sequence[NodeDef],
        ops: Ops,
        report: Report,
        *,
        body_of: str | None = None,
        arguments: Mapping[str, int | None] | None = None,
    ) -> None:
        """Take the nodes.

        Args:
            nodes: All of the graph or body.
            ops: What is known of their ops.
            report: Where problems go.
            body_of: The function's name; None for a graph.
            arguments: Of the function, each with the number of its tensors; None where calls differ in it.
        """
        self._nodes = nodes
        self._ops = ops
        self._report = report
        self._body_of = body_of
        self._arguments = arguments or {}
        self._index: dict[str, int] = {}
        self._outputs: dict[int, int | None] = {}

    def node(self, name: str) -> NodeDef | None:
        """The node of that name, or None if there is none."""
        index = self._index.get(name)
        return None if index is None else self._nodes[index]

    def why_no_tensor(self, name: str) -> str | None:
        """Why `name` is no tensor here, or None if it is one as far as is known."""
        return self._why_no_tensor(name, self._index.get(name.partition(":")[0]))

    def why_no_operation(self, name: str) -> str | None:
        """Why `name` is no operation here, or None if it is one."""
        return None if name in self._index else f"there is no operation {quote(name)}"

    def dtype_of(self, name: str) -> int | None:
        """The DataType of a tensor of a graph; None if that is not known."""
        node_name, _, index = name.partition(":")
        node = self.node(node_name)
        if node is None:
            return None
        op = self._ops.get(node.op)
        if op is not None:
            return op.output_dtype(node, int(index) if _is_index(index) else 0)
        if node.op in PLACEHOLDERS or node.op == "Const":
            return attr_of(node, "dtype").type or None
        return None

    def check(self) -> None:
        """Report everything wrong with the nodes."""
        legal = _NODE_NAME if self._body_of is None else _BODY_NODE_NAME
        for index, node in enumerate(self._nodes):
            name = node.name
            if not legal.match(name):
                self._error(node, "illegal name")
            if self._index.setdefault(name, index) != index or name in self._arguments:
                self._error(node, "the name is taken")
        ops = [node.op for node in self._nodes]
        sources = []
        devices: set[str] = set()
        for node, op in zip(self._nodes, ops, strict=True):
            if not op:
                self._error(node, "no op")
            taken = self._check_inputs(node, op)
            if op in _LOOP_TARGETS:
                taken = [source for source in taken if ops[source] not in _LOOP_SOURCES]
            sources.append(taken)
            device = node.device
            if device not in devices:
                devices.add(device)
                self._check_device(node, device)
            self._check_attrs(node, op)
        self._check_cycles(sources)

    def _error(self, node: NodeDef, message: str) -> None:
        self._report.error(self._where(node), message)

    def _where(self, node: NodeDef) -> str:
        where = f"node {quote(node.name)}"
        return where if self._body_of is None else f"function {quote(self._body_of)} {where}"

    def _check_inputs(self, node: NodeDef, op_name: str) -> list[int]:
        """Check the inputs of a node; the positions of the nodes that they come from."""
        sources = []
        data = 0
        control = False
        for name in node.input:
            if name.startswith("^"):
                control = True
                source = self._index.get(name[1:])
                if source is None and name[1:] not in self._arguments:
                    self._error(node, f"control input {quote(name)}: there is no such node")
            else:
                data += 1
                if control:
                    self._error(node, f"data input {quote(name)} comes after a control input")
                source = self._index.get(name.partition(":")[0])
                reason = self._why_no_tensor(name, source)
                if reason is not None:
                    self._error(node, f"input {quote(name)}: {reason}")
            if source is not None:
                sources.append(source)
        op = self._ops.get(op_name)
        wanted = None if op is None else op.count_inputs(node)
        if wanted is not None and data != wanted:
            self._error(node, f"number of inputs of {quote(op_name)}: got {data}, want {wanted}")
        return sources

    def _why_no_tensor(self, name: str, source: int | None) -> str | None:
        node_name, *rest = name.split(":", 3)
        if node_name in self._arguments:
            return self._why_no_index(rest, self._arguments[node_name])
        if source is None:
            return f"there is no node {quote(node_name)}"
        if self._body_of is None:
            return self._why_no_index(rest, self._count_outputs(source))
        if not rest:
            return "a tensor of a function's node goes by the name of an output"
        op, node = self._known(source)
        if op is None:
            return self._why_no_index(rest[1:], None)
        if not op.has_output(rest[0]):
            return f"the node has no output {quote(rest[0])}"
        return self._why_no_index(rest[1:], op.count_output(node, rest[0]))

    @staticmethod
    def _why_no_index(rest: list[str], count: int | None) -> str | None:
        if len(rest) > 1 or (rest and not _is_index(rest[0])):
            return "not the name of a tensor"
        if count is None or (int(rest[0]) if rest else 0) < count:
            return None
        return f"there is no such output, it has {count}"

    def _known(self, index: int) -> tuple[Op | None, NodeDef]:
        node = self._nodes[index]
        return self._ops.get(node.op), node

    def _count_outputs(self, index: int) -> int | None:
        if index not in self._outputs:
            op, node = self._known(index)
            self._outputs[index] = None if op is None else op.count_outputs(node)
        return self._outputs[index]

    def _check_device(self, node: NodeDef, device: str) -> None:
        match = _DEVICE.match(device)
        if match is None:
            self._error(node, f"not a device: got {quote(device)}")
        elif match["job"] not in _LOCAL_JOBS:
            self._report.warn(
                self._where(node), f"a server has no job {quote(match['job'])}: got device {quote(device)}"
            )

    def _check_attrs(self, node: NodeDef, op: str) -> None:
        for key, value in node.attr.items():
            kind = value.WhichOneof("value")
            if kind == "placeholder" and self._body_of is None:
                self._error(node, f"attribute {quote(key)} is a placeholder outside of a function")
            elif op in _CALLERS and kind in ("func", "list"):
                for function in [value.func] if kind == "func" else value.list.func:
                    if function.name not in self._ops.functions:
                        self._error(node, f"attribute {quote(key)}: there is no function {quote(function.name)}")
        if op == "Const":
            reason = _why_no_value(node)
            if reason is not None:
                self._error(node, reason)

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


def check_function_names(library: Sequence[FunctionDef], report: Report) -> dict[str, FunctionDef]:
    """The functions of a library by name."""
    functions: dict[str, FunctionDef] = {}
    for function in library:
        name = function.signature.name
        if not name:
            report.error("function ''", "no name")
        if functions.setdefault(name, function) is not function:
            report.error(f"function {quote(name)}", "the name is taken")
    return functions


def check_function(name: str, function: FunctionDef, ops: Ops, report: Report) -> None:
    """Report everything wrong with the body of a function."""
    where = f"function {quote(name)}"
    arguments = {arg.name: None if arg.number_attr or arg.type_list_attr else 1 for arg in function.signature.input_arg}
    if len(arguments) < len(function.signature.input_arg):
        report.error(where, "two arguments of the same name")
    body = Scope(function.node_def, ops, report, body_of=name, arguments=arguments)
    body.check()
    outputs = {arg.name for arg in function.signature.output_arg}
    for key in sorted(outputs.symmetric_difference(function.ret)):
        report.error(where, f"output {quote(key)}: {'nothing is' if key in outputs else 'not declared, but'} returned")
    for key, tensor in sorted(function.ret.items()):
        reason = body.why_no_tensor(tensor)
        if reason is not None:
            report.error(where, f"output {quote(key)} returns {quote(tensor)}: {reason}")
    for key, node in sorted(function.control_ret.items()):
        reason = body.why_no_operation(node)
        if reason is not None:
            report.error(where, f"control output {quote(key)}: {reason}")


def _is_index(text: str) -> bool:
    return len(text) < 10 and text.isascii() and text.isdigit()


def _why_no_value(node: NodeDef) -> str | None:
    """Why the value of a Const is none that a loader takes; None if it is one."""
    value = attr_of(node, "value")
    if not value.HasField("tensor"):
        return "a Const without a value"
    tensor = value.tensor
    declared = attr_of(node, "dtype").type
    if tensor.dtype != declared:
        return f"dtype of the value: got {tensor.dtype}, want {declared}"
    if tensor.dtype not in tensor_pb2.DataType.values() or tensor.dtype == tensor_pb2.DT_INVALID:
        return f"dtype of the value: got {tensor.dtype}"
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        return "the value's shape is not fully known"
    # TensorFlow's own limit on dimensions keeps the product short, too.
    elements = math.prod(sizes) if len(sizes) <= 254 else 2**63
    if elements >= 2**63:
        return "the value's shape has too many dimensions or elements"
    size = dtypes.element_size(tensor.dtype)
    if tensor.tensor_content and size is not None and len(tensor.tensor_content) != elements * size:
        return f"bytes of the value: got {len(tensor.tensor_content)}, want {elements * size}"
    return None
