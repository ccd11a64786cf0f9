"""Turn variables into constants, and everything that their handles reach into what takes a value.

Each variable is followed along the data edges, depth first, in the order of the graph's nodes; that order decides where
new nodes come. docs/formats/freeze.md lists what becomes of which op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from mexport_pb._proto.graph_pb2 import AttrValue, FunctionDef, GraphDef, NodeDef, OpDef
from mexport_pb._proto.tensor_pb2 import DataType, TensorShapeProto
from mexport_pb.errors import InvalidArgumentError, UnsupportedError
from mexport_pb.graph.freeze_bodies import Body, FunctionBody, Use
from mexport_pb.graph.freeze_functions import FrozenFunctions
from mexport_pb.graph.graph_variables import RESOURCE_OPS
from mexport_pb.messages import make_tensor_proto, make_tensor_shape
from mexport_pb.messages.op_defs import OpDefs

__all__ = ["convert_variables"]

# Ops of one data input, which they pass on. A second input is the predicate of a Switch.
_PASSING: Final = frozenset({"Enter", "Exit", "Identity", "NextIteration", "Switch", "_SwitchN"})


@dataclass(frozen=True)
class _Caller:
    """How an op calls functions: with its inputs from the first on, one argument each."""

    first: int
    types: str
    functions: tuple[str, ...]


_CALLERS: Final = {
    "If": _Caller(1, "Tin", ("then_branch", "else_branch")),
    "StatelessIf": _Caller(1, "Tin", ("then_branch", "else_branch")),
    "Case": _Caller(1, "Tin", ("branches",)),
    "PartitionedCall": _Caller(0, "Tin", ("f",)),
    "StatefulPartitionedCall": _Caller(0, "Tin", ("f",)),
    "While": _Caller(0, "T", ("body", "cond")),
    "StatelessWhile": _Caller(0, "T", ("body", "cond")),
}
_LOOPS: Final = frozenset({"While", "StatelessWhile"})


@dataclass(frozen=True, slots=True)
class _Value:
    """What travels along an edge.

    Attributes:
        variable: The name of its node.
        dtype: Of its elements.
        shape: Of the variable.
        kind: "resource" for a handle, "ref" for a reference, "value" for the value that a reference was read into.
    """

    variable: str
    dtype: DataType
    shape: tuple[int, ...]
    kind: str


def convert_variables(
    graph_def: GraphDef, constants: Mapping[str, tuple[int, tuple[int, ...]]], op_defs: Iterable[OpDef]
) -> None:
    """Put a Const in place of each variable. Changes the graph that is given; the constants have no values yet.

    Args:
        graph_def: The graph.
        constants: Dtype and shape by the name of the variable's node.
        op_defs: Signatures that come before TensorFlow's.

    Raises:
        InvalidArgumentError: a function or an attribute is missing.
        UnsupportedError: a variable is written to, or used in a way that no constant can follow.
    """
    if constants:
        _Conversion(graph_def, OpDefs(op_defs)).run(constants)


class _Conversion:
    def __init__(self, graph_def: GraphDef, op_defs: OpDefs) -> None:
        self._op_defs = op_defs
        self._graph_def = graph_def
        self._graph = Body(graph_def.node)
        self._functions = FrozenFunctions(graph_def.library)
        self._callers: list[tuple[NodeDef, tuple[str, ...]]] = []
        # Gathers of the graph's top level in the order in which they are met, and those of them that were converted.
        self._gathers: dict[str, NodeDef] = {}
        self._waiting: list[tuple[Body, Use, _Value]] = []

    def run(self, constants: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        for name, (dtype, shape) in constants.items():
            node = self._graph.nodes[name]
            kind = "resource" if node.op in RESOURCE_OPS else "ref"
            _renew(node, "Const", {"dtype": AttrValue(type=cast(DataType, dtype))})
            node.attr["value"].tensor.SetInParent()
            self._follow(self._graph, name, _Value(name, cast(DataType, dtype), shape, kind))
            while self._waiting:
                body, use, value = self._waiting.pop()
                _HANDLERS.get(body.ops[use.node.name], _Conversion._other)(self, body, use, value)
        self._add_axes()
        self._functions.finish(self._graph_def, self._callers)

    def _follow(self, body: Body, name: str, value: _Value, output: int | None = None) -> None:
        """Visit all that take what a node (or one output of it) or an argument gives, next and in their order."""
        uses = [use for use in body.uses.get(name, ()) if output is None or use.output == output]
        self._waiting += [(body, use, value) for use in reversed(uses)]
        if value.kind == "resource":
            body.handles[name] = value.variable

    # Ops: each gets one use of a variable by a node, which may come again for another variable.

    def _read(self, body: Body, use: Use, value: _Value) -> None:
        node = use.node
        if use.index or value.kind != "resource" or node.op != "ReadVariableOp":
            return
        attrs = {"T": _attr(node, "dtype"), **_colocation(node)}
        _renew(node, "Identity", attrs, node.input[:1])
        if isinstance(body, FunctionBody):
            body.rename_output(node.name, "value", "output")

    def _gather(self, body: Body, use: Use, value: _Value) -> None:
        node = use.node
        if body is self._graph:
            self._gathers.setdefault(node.name, node)
        if use.index or value.kind != "resource" or node.op != "ResourceGather":
            return
        inputs = _two_inputs(node)
        indices = _attr(node, "Tindices")
        batch_dims = node.attr["batch_dims"].i if "batch_dims" in node.attr else 0
        axis = body.unique(f"{node.name}/axis")
        attrs = {"Tparams": _attr(node, "dtype"), "Tindices": indices, "Taxis": indices, **_colocation(node)}
        if batch_dims:
            attrs["batch_dims"] = AttrValue(i=batch_dims)
        _renew(node, "GatherV2", attrs, [*inputs, axis if body is self._graph else f"{axis}:output:0"])
        if body is not self._graph:
            self._add_axis(body, node)

    def _add_axes(self) -> None:
        for node in self._gathers.values():
            if node.op == "GatherV2":
                self._add_axis(self._graph, node)

    def _add_axis(self, body: Body, gather: NodeDef) -> None:
        axis = body.add(gather.input[2].partition(":")[0])
        axis.op = "Const"
        axis.attr["dtype"].CopyFrom(gather.attr["Taxis"])
        batch_dims = gather.attr["batch_dims"].i if "batch_dims" in gather.attr else 0
        axis.attr["value"].tensor.CopyFrom(make_tensor_proto(batch_dims, gather.attr["Taxis"].type, ()))

    def _gather_nd(self, body: Body, use: Use, value: _Value) -> None:
        node = use.node
        if use.index or value.kind != "resource" or node.op != "ResourceGatherNd":
            return
        attrs = {"Tparams": _attr(node, "dtype"), "Tindices": _attr(node, "Tindices"), **_colocation(node)}
        _renew(node, "GatherNd", attrs, _two_inputs(node))

    def _pass(self, body: Body, use: Use, value: _Value) -> None:
        if use.index:
            return
        use.node.attr["T"].type = value.dtype
        if "_output_shapes" in use.node.attr:
            del use.node.attr["_output_shapes"]
        self._follow(body, use.node.name, value if value.kind == "resource" else replace(value, kind="value"))

    def _call(self, body: Body, use: Use, value: _Value) -> None:
        node, op = use.node, body.ops[use.node.name]
        caller = _CALLERS[op]
        argument = use.index - caller.first
        if argument < 0:
            return
        names = [name for attr in caller.functions for name in _called(node, attr)]
        self._callers.append((node, caller.functions))
        types = node.attr[caller.types].list.type if caller.types in node.attr else []
        if argument >= len(types):
            raise InvalidArgumentError(f"node {node.name!r} ({op}): input {use.index} has no type in {caller.types!r}")
        types[argument] = value.dtype
        for name in names:
            self._enter(node, name, argument, value)
        if op in _LOOPS:
            self._loop(body, node, argument, value)

    def _enter(self, node: NodeDef, name: str, argument: int, value: _Value) -> None:
        body = self._functions.body(node, name)
        function = body.function
        if argument >= len(function.signature.input_arg):
            raise InvalidArgumentError(f"node {node.name!r} ({node.op}): function {name!r} has no argument {argument}")
        given = replace(value, kind="resource" if value.kind == "resource" else "value")
        seen = (given.dtype, given.shape, given.kind)
        if body.seen.get(argument) == seen:
            return
        body.seen[argument] = seen
        _set_argument(function, argument, value.dtype)
        self._follow(body, function.signature.input_arg[argument].name, given)

    def _loop(self, body: Body, node: NodeDef, argument: int, value: _Value) -> None:
        """Give what a loop carries on its new type: its body returns what it takes."""
        for name in _called(node, "body"):
            outputs = self._functions.body(node, name).function.signature.output_arg
            if argument < len(outputs):
                outputs[argument].type = value.dtype
        shape = make_tensor_shape(value.shape)
        _set_shape(node, "output_shapes", argument, shape)
        if value.kind != "resource":
            return
        if body is self._graph:
            # Importers compare it with the shapes that they infer.
            _set_shape(node, "_output_shapes", argument, shape)
        self._follow(body, node.name, value, argument)

    def _other(self, body: Body, use: Use, value: _Value) -> None:
        node = use.node
        if value.kind == "resource" or (value.kind == "ref" and self._takes_refs(node.op)):
            what = "handle" if value.kind == "resource" else "reference"
            raise UnsupportedError(
                f"node {body.path(node.name)!r} ({node.op}), which the signatures need, takes the {what} of variable "
                f"{value.variable!r}, to write to it or to pass it on; a constant cannot take its place"
            )

    def _takes_refs(self, op: str) -> bool:
        op_def = self._op_defs.get(op)
        return op_def is not None and any(arg.is_ref for arg in op_def.input_arg)


# Not kept by the conversion, which would be on a cycle and hold the graph's memory until that is collected.
_HANDLERS: Final[Mapping[str, Callable[[_Conversion, Body, Use, _Value], None]]] = {
    "ReadVariableOp": _Conversion._read,
    "ResourceGather": _Conversion._gather,
    "ResourceGatherNd": _Conversion._gather_nd,
    **dict.fromkeys(_PASSING, _Conversion._pass),
    **dict.fromkeys(_CALLERS, _Conversion._call),
}


def _renew(node: NodeDef, op: str, attrs: Mapping[str, AttrValue], inputs: Iterable[str] = ()) -> None:
    """Make a node another one of the same name and device. Control inputs and other attributes go."""
    renewed = NodeDef(name=node.name, op=op, input=list(inputs), device=node.device, attr=dict(attrs))
    node.CopyFrom(renewed)


def _two_inputs(node: NodeDef) -> list[str]:
    if len(node.input) < 2 or node.input[1].startswith("^"):
        raise InvalidArgumentError(f"node {node.name!r} ({node.op}): got {len(node.input)} inputs, want 2")
    return node.input[:2]


def _attr(node: NodeDef, name: str) -> AttrValue:
    if name not in node.attr:
        raise InvalidArgumentError(f"node {node.name!r} ({node.op}) has no attribute {name!r}")
    copy = AttrValue()
    copy.CopyFrom(node.attr[name])
    return copy


def _colocation(node: NodeDef) -> dict[str, AttrValue]:
    return {"_class": _attr(node, "_class")} if "_class" in node.attr else {}


def _called(node: NodeDef, attr: str) -> list[str]:
    if attr not in node.attr:
        raise InvalidArgumentError(f"node {node.name!r} ({node.op}) has no attribute {attr!r}")
    value = node.attr[attr]
    return [value.func.name] if value.HasField("func") else [function.name for function in value.list.func]


def _set_argument(function: FunctionDef, argument: int, dtype: DataType) -> None:
    """Give an argument another type, and say nothing of its shape."""
    function.signature.input_arg[argument].type = dtype
    unknown = TensorShapeProto(unknown_rank=True)
    if "_input_shapes" in function.attr:
        _set_shape(function, "_input_shapes", argument, unknown)
    # TensorFlow leaves empty attributes behind.
    attrs = function.arg_attr[argument].attr
    if "_output_shapes" in attrs and attrs["_output_shapes"].list.shape:
        attrs["_output_shapes"].list.shape[0].CopyFrom(unknown)


def _set_shape(holder: NodeDef | FunctionDef, attr: str, position: int, shape: TensorShapeProto) -> None:
    if attr in holder.attr and position < len(holder.attr[attr].list.shape):
        holder.attr[attr].list.shape[position].CopyFrom(shape)
