"""The heart of a GraphBuilder: scopes, devices, control inputs, and the making of nodes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import AttrValue, FunctionDef, NodeDef, OpDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import binding
from mexport_pb.graph.devices import DeviceSpec, merge_devices
from mexport_pb.graph.full_types import full_type_of
from mexport_pb.graph.names import NameStack
from mexport_pb.graph.shape_functions import InferenceContext, infer_shapes
from mexport_pb.graph.tensor import Operation, Shape, Tensor
from mexport_pb.graph.variable import Variable
from mexport_pb.messages import (
    ShapeLike,
    make_attr_value,
    make_node_def,
    make_tensor_proto,
    make_tensor_shape,
    shape_to_list,
    to_message,
)
from mexport_pb.messages.op_defs import OpDefs

if TYPE_CHECKING:
    from mexport_pb.graph.builder import GraphBuilder

__all__ = ["GraphCore", "to_shape"]


def to_shape(shape: ShapeLike) -> Shape:
    """Return a static shape as a tuple.

    Raises:
        InvalidArgumentError: not a shape.
    """
    sizes = shape_to_list(make_tensor_shape(shape))
    return None if sizes is None else tuple(sizes)


class _ControlScope:
    """The control inputs that one ``with`` block asks for, and the operations made in it."""

    def __init__(self, operations: list[Operation]) -> None:
        self.operations = operations
        self.members: set[Operation] = set()


class GraphCore:
    """Nodes in the order of their making. Users make a :class:`~mexport_pb.graph.builder.GraphBuilder`.

    Args:
        op_defs: Signatures of ops that TensorFlow has not, or has differently.
        names_in_use: Names that no node or scope of this graph may take.
    """

    def __init__(self, *, op_defs: Iterable[Message] = (), names_in_use: Iterable[str] = ()) -> None:
        self.op_defs = OpDefs([to_message(one, OpDef) for one in op_defs])
        self.functions: dict[str, FunctionDef] = {}
        self._names = NameStack(names_in_use)
        self._operations: dict[str, Operation] = {}
        # Innermost last. None stands for "no device from further out".
        self._devices: list[str | None] = []
        self._colocations: list[Operation] = []
        self._attr_scopes: list[tuple[str, AttrValue]] = []
        self._control_scopes: list[_ControlScope] = []
        self._collections: dict[str, list[Any]] = {}

    # Scopes.

    @contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Put a prefix before the names of the nodes made within, and yield it ("scope/").

        Args:
            name: Made unique; a name with a final "/" (such as a yielded one) re-enters that very scope; None or ""
                goes to the root.

        Raises:
            InvalidArgumentError: an illegal name.
        """
        with self._names.scope(name) as scope:
            yield scope

    @contextmanager
    def device(self, device: str | None) -> Iterator[None]:
        """Place the nodes made within on a device.

        Args:
            device: A full or partial device string. What it does not say comes from the scopes around it. None shuts
                those out.

        Raises:
            InvalidArgumentError: not a device string.
        """
        if device is not None:
            DeviceSpec.parse(device)
        self._devices.append(device)
        try:
            yield
        finally:
            self._devices.pop()

    @contextmanager
    def colocate_with(
        self, op: Operation | Tensor | Variable | None, *, ignore_existing: bool = False
    ) -> Iterator[None]:
        """Ask the loader to place the nodes made within where ``op`` is; scopes of ``device`` are shut out.

        Args:
            op: An operation, a tensor's, or a variable's; None takes all such wishes back.
            ignore_existing: Take no notice of ``colocate_with`` blocks further out.

        Raises:
            InvalidArgumentError: None without ``ignore_existing``.
        """
        if op is None and not ignore_existing:
            raise InvalidArgumentError("colocate_with(None) wants ignore_existing=True")
        devices, colocations = self._devices, self._colocations
        self._devices = []
        kept = [] if ignore_existing else colocations
        self._colocations = kept if op is None else [*kept, self._operation_of(op, "colocate_with")]
        try:
            yield
        finally:
            self._devices, self._colocations = devices, colocations

    @contextmanager
    def attr_scope(self, name: str, value: AttrValue) -> Iterator[None]:
        """Give an attribute to all nodes made within that do not have it."""
        self._attr_scopes.append((name, value))
        try:
            yield
        finally:
            self._attr_scopes.pop()

    @contextmanager
    def control_dependencies(self, control_inputs: Iterable[Operation | Tensor | Variable] | None) -> Iterator[None]:
        """Run the given operations before those made within.

        Blocks nest. An operation that takes a tensor made within the same block needs no control input of its own.

        Args:
            control_inputs: Operations, or tensors and variables for their operations; None shuts out the control
                inputs of the blocks around.

        Raises:
            InvalidArgumentError: something else, or an operation of another graph.
        """
        outer = self._control_scopes
        if control_inputs is None:
            self._control_scopes = []
        else:
            present = {op for scope in outer for op in scope.operations}
            added: list[Operation] = []
            for entry in control_inputs:
                op = self._operation_of(entry, "control_inputs")
                if op not in present:
                    present.add(op)
                    added.append(op)
                    op.mark_as_manual_control_input()
            self._control_scopes = [*outer, _ControlScope(added)]
        try:
            yield
        finally:
            self._control_scopes = outer

    def _operation_of(self, entry: Operation | Tensor | Variable, what: str) -> Operation:
        op = entry.op if isinstance(entry, Tensor | Variable) else entry
        if not isinstance(op, Operation):
            raise InvalidArgumentError(f"{what}: got {entry!r}, want an operation, a tensor or a variable")
        self._check_mine(op)
        return op

    def _check_mine(self, op: Operation) -> None:
        if op.graph is not self:
            raise InvalidArgumentError(f"{op.name!r} belongs to another graph")

    # Nodes.

    @property
    def operations(self) -> list[Operation]:
        """All operations in the order of their making."""
        return list(self._operations.values())

    @property
    def names_in_use(self) -> set[str]:
        """All names that nodes and scopes have taken, in lower case."""
        return self._names.in_use

    def unique_name(self, name: str) -> str:
        """Return ``name`` in the current scope, with the first free suffix if it is taken, and take it."""
        return self._names.unique(name)

    def get_operation(self, name: str) -> Operation:
        """Return the operation of that name.

        Raises:
            InvalidArgumentError: there is none.
        """
        if name not in self._operations:
            raise InvalidArgumentError(f"no operation {name!r} in the graph")
        return self._operations[name]

    def get_tensor(self, name: str) -> Tensor:
        """Return a tensor by its name, "node:index" ("node" for index 0).

        Raises:
            InvalidArgumentError: there is none.
        """
        node, _, index = name.partition(":")
        outputs = self.get_operation(node).outputs
        if index and not (index.isascii() and index.isdigit()):
            raise InvalidArgumentError(f"not a tensor's name: got {name!r}")
        if int(index or 0) >= len(outputs):
            raise InvalidArgumentError(f"no tensor {name!r}: {node!r} has {len(outputs)} outputs")
        return outputs[int(index or 0)]

    def op(
        self,
        op_type: str,
        inputs: Sequence[Any] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        dtypes: Sequence[dtypes.DTypeLike] | None = None,
        shapes: Sequence[ShapeLike] | None = None,
        control_inputs: Iterable[Operation | Tensor | Variable] = (),
        device: str | None = None,
    ) -> Operation:
        """Add a node, and before it the constants and variable reads that its inputs need.

        Args:
            op_type: The kind of operation.
            inputs: One entry for each input of the op's signature, a list for an input that is a list; for an op
                without a known signature a flat list. An entry is a tensor, a variable (its value is read) or a
                constant of the type that the op wants.
            name: Made unique in the current scope; by default the op's type.
            attrs: Values as :func:`mexport_pb.messages.make_attr_value` takes them. Types and lengths follow from the
                inputs, and the rest is written with its default. Ops without a signature take AttrValues or plain
                values.
            dtypes: Of the outputs. Needed for an op without a signature only.
            shapes: Of the outputs, where they are known better than they can be inferred.
            control_inputs: As :meth:`control_dependencies`.
            device: As :meth:`device`.

        Raises:
            InvalidArgumentError: inputs, attributes or names that do not fit.
        """
        with ExitStack() as scopes:
            if device is not None:
                scopes.enter_context(self.device(device))
            if control_inputs := list(control_inputs):
                scopes.enter_context(self.control_dependencies(control_inputs))
            scope = scopes.enter_context(self.name_scope(name or op_type))
            definition = self.op_defs.get(op_type)
            if definition is not None:
                bound = binding.bind(definition, inputs, attrs or {}, self._argument, _is_variable)
                types = binding.output_dtypes(definition, bound.attrs)
                if dtypes is not None and [_datatype(one) for one in dtypes] != types:
                    raise InvalidArgumentError(f"{op_type}: outputs are of types {types}, got {list(dtypes)}")
            else:
                if dtypes is None:
                    near = difflib.get_close_matches(op_type, self.op_defs)
                    hint = f"; near: {', '.join(near)}" if near else ""
                    raise InvalidArgumentError(f"{op_type}: an op without a known signature needs dtypes{hint}")
                bound = self._bind_unknown(inputs, attrs or {})
                types = [_datatype(one) for one in dtypes]
            for reference in bound.references:
                scopes.enter_context(self.colocate_with(reference))
            return self.add_node(op_type, scope, bound.inputs, bound.attrs, types, shapes)

    def _bind_unknown(self, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> binding.Binding:
        return binding.Binding(
            inputs=[self.to_tensor(entry, name=f"input_{i}") for i, entry in enumerate(inputs)],
            attrs={key: binding.infer_attr_value(value) for key, value in attrs.items()},
        )

    def add_node(
        self,
        op_type: str,
        name: str,
        inputs: Sequence[Tensor],
        attrs: Mapping[str, AttrValue],
        output_dtypes: Sequence[int],
        shapes: Sequence[ShapeLike] | None = None,
    ) -> Operation:
        """Add a node of settled inputs, attributes and output types; :meth:`op` settles them.

        Raises:
            InvalidArgumentError: an illegal or taken name, inputs of another graph, or impossible shapes.
        """
        full_name = self._names.for_node(name)
        if full_name in self._operations:
            raise InvalidArgumentError(f"node {full_name!r} exists already")
        for tensor in inputs:
            self._check_mine(tensor.op)
        node = make_node_def(op_type, full_name, attrs=attrs)
        for key, value in self._attr_scopes:
            if key not in node.attr:
                node.attr[key].CopyFrom(value)
        definition = self.op_defs.get(op_type)
        full_type = None if definition is None else full_type_of(definition, attrs)
        if full_type is not None:
            node.experimental_type.CopyFrom(full_type)
        output_shapes = self._output_shapes(node, inputs, len(output_dtypes), shapes)
        self._place(node)
        # A graph's edges are a set, and are written sorted by name.
        control_inputs = sorted(self._control_inputs_for({tensor.op for tensor in inputs}), key=lambda op: op.name)
        node.input.extend([tensor.input_name for tensor in inputs])
        node.input.extend([f"^{op.name}" for op in control_inputs])
        op = Operation(cast("GraphBuilder", self), node, inputs, control_inputs, output_dtypes, output_shapes)
        self._operations[full_name] = op
        for scope in self._control_scopes:
            scope.members.add(op)
        return op

    def refer_to(self, node: NodeDef, output_dtypes: Sequence[int], output_shapes: Sequence[Shape]) -> Operation:
        """Return an operation for a node that another graph has already, to be an input of nodes of this one.

        The node is neither copied nor exported. Its name must be among ``names_in_use``.
        """
        return Operation(cast("GraphBuilder", self), node, (), (), output_dtypes, output_shapes)

    def _output_shapes(
        self, node: NodeDef, inputs: Sequence[Tensor], count: int, shapes: Sequence[ShapeLike] | None
    ) -> list[Shape]:
        if shapes is None:
            return infer_shapes(InferenceContext(node, inputs, count))
        if len(shapes) != count:
            raise InvalidArgumentError(f"node {node.name!r}: got {len(shapes)} shapes, want {count}")
        return [to_shape(shape) for shape in shapes]

    def _control_inputs_for(self, data_inputs: set[Operation]) -> set[Operation]:
        result: set[Operation] = set()
        for scope in self._control_scopes:
            if data_inputs.isdisjoint(scope.members):
                result.update(op for op in scope.operations if op not in data_inputs)
        return result

    def _place(self, node: NodeDef) -> None:
        scopes: list[str] = []
        for device in reversed(self._devices):
            if device is None:
                break
            scopes.append(device)
        node.device = merge_devices(scopes) if scopes else ""
        if self._colocations:
            node.device = next((op.device for op in reversed(self._colocations) if op.device), node.device)
            groups = {group for op in self._colocations for group in op.colocation_groups()}
            node.attr["_class"].CopyFrom(make_attr_value(sorted(groups), "list(string)"))

    # Constants and placeholders.

    def const(
        self, value: Any, dtype: dtypes.DTypeLike = None, shape: Sequence[int] | None = None, name: str = "Const"
    ) -> Tensor:
        """Add a constant.

        Args:
            value: What :func:`mexport_pb.messages.make_tensor_proto` takes.
            dtype: By default the value's own.
            shape: By default the value's own; a scalar fills a larger one and is stored once.
            name: Made unique.

        Raises:
            InvalidArgumentError: the value does not fit.
        """
        proto = make_tensor_proto(value, dtype, shape)
        attrs = {"dtype": AttrValue(type=proto.dtype), "value": AttrValue(tensor=proto)}
        return self.add_node("Const", name, (), attrs, [proto.dtype]).output

    def placeholder(self, dtype: dtypes.DTypeLike, shape: ShapeLike = None, name: str = "Placeholder") -> Tensor:
        """Add an input of the graph.

        Args:
            dtype: Of its elements.
            shape: None for any shape, within it None for any size.
            name: Made unique.

        Raises:
            InvalidArgumentError: not a dtype or shape.
        """
        return self.op("Placeholder", attrs={"dtype": dtype, "shape": make_tensor_shape(shape)}, name=name).output

    def to_tensor(self, value: Any, dtype: dtypes.DTypeLike = None, name: str = "Const") -> Tensor:
        """Return a tensor of a value: itself for a tensor, its value for a variable, else a constant.

        Args:
            value: A tensor, a variable or a constant. A list that holds tensors is stacked.
            dtype: What the tensor must be of; None takes what comes.
            name: Of the constant.

        Raises:
            InvalidArgumentError: another type, or no value.
        """
        if isinstance(value, Variable):
            value = value.as_tensor()
        if not isinstance(value, Tensor):
            return self._argument(value, None if dtype is None else _datatype(dtype), name)
        if dtype is not None and dtypes.base_datatype(value.dtype) != _datatype(dtype):
            raise InvalidArgumentError(
                f"{value.name}: got {dtypes.name_of(value.dtype)}, want {dtypes.name_of(_datatype(dtype))}"
            )
        return value

    def _argument(self, value: Any, dtype: int | None, name: str) -> Tensor:
        if isinstance(value, list | tuple) and any(isinstance(one, Tensor | Variable) for one in value):
            with self.name_scope(name) as scope:
                wanted = dtype if dtype is not None else next(one.dtype for one in value if hasattr(one, "dtype"))
                parts = [self.to_tensor(one, dtypes.base_datatype(wanted), name=str(i)) for i, one in enumerate(value)]
                return self.op("Pack", [parts], name=scope).output
        return self.const(value, dtype, name=name)

    # Collections and functions.

    def add_to_collection(self, name: str, value: Any) -> None:
        """Append to a named list that goes into the meta graph.

        Args:
            name: The list.
            value: A tensor, operation or variable; a message (Any or another); bytes, str, int or float; an object
                whose ``to_proto()`` makes a message when the meta graph is made. One list holds values of one kind.
        """
        self._collections.setdefault(name, []).append(value)

    def get_collection(self, name: str) -> list[Any]:
        """Return a copy of a named list; empty if there is none."""
        return list(self._collections.get(name, ()))

    def add_function(self, function: Message) -> None:
        """Add a FunctionDef to the graph's library, where nodes call it by its signature's name.

        Raises:
            InvalidArgumentError: no FunctionDef, or another function has the name.
        """
        added = to_message(function, FunctionDef)
        present = self.functions.setdefault(added.signature.name, added)
        if present != added:
            raise InvalidArgumentError(f"function {added.signature.name!r} exists already")


def _is_variable(value: Any) -> bool:
    return isinstance(value, Variable)


def _datatype(dtype: dtypes.DTypeLike) -> int:
    return dtypes.datatype_of(dtype)
