"""Variables that a served model would read without ever having got a value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import FunctionDef, NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.graph.functions import called_functions, keep_functions
from mexport_pb.graph.graph_variables import VARIABLE_OPS
from mexport_pb.graph.index import NodeIndex, node_of, split_tensor_name
from mexport_pb.graph.prune import signature_tensors
from mexport_pb.messages import to_message
from mexport_pb.messages.constants import (
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    MAIN_OP_COLLECTION,
    TRAIN_OP_SIGNATURE,
)
from mexport_pb.messages.op_defs import op_def

__all__ = ["unsaved_variables"]

_ASSIGNMENTS: Final = frozenset({"Assign", "AssignVariableOp"})
# Their outputs are the handle or the ref that they take.
_HANDED_ON: Final = frozenset({"Identity", "RefIdentity", "Enter", "RefEnter", "Switch", "RefSwitch"})
# Ops that call functions, of which the first input is no argument.
_ARGUMENTS_FROM_1: Final = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})

# What nodes of one variable have in common: container and shared name.
_Identity = tuple[bytes, bytes]
_Argument = tuple[str, int]


def unsaved_variables(meta_graph: Message) -> list[str]:
    """Return the variables that signatures read, but that nothing sets when the model is loaded.

    Set are those that the saver's restore operation assigns, and those that the main op (also as ``legacy_init_op``, or
    as a signature) assigns, as it does for local variables; functions that these call count. An operation that
    TensorFlow does not know is taken to set the variables that it is given. Assignments within a signature do not
    count, nor does the signature of training. So ask when the graph has its saver and its main op.

    Takes time in proportion to the graph's size, for each way in which signatures feed tensors that nodes compute.

    Args:
        meta_graph: A MetaGraphDef.

    Returns:
        Names of nodes in the graph's order, then "function:node" for variables that only functions hold.

    Raises:
        InvalidArgumentError: a signature, the saver, the main op or a node names a node that is not there.
    """
    message = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    index = NodeIndex(message.graph_def.node)
    read = [index.nodes[name] for name in _read_by_signatures(message, index)]
    wanted = {node.name: _identity(node) for node in read if node.op in VARIABLE_OPS}
    inner = {
        f"{function.signature.name}:{node.name}": _identity(node)
        for function in keep_functions(message.graph_def.library, read).function
        for node in function.node_def
        if node.op in VARIABLE_OPS
    }
    if not wanted and not inner:
        return []
    found = _set_at_loading(message, index)
    found_inside = found | set(wanted.values())
    names = [node.name for node in message.graph_def.node if node.name in wanted and wanted[node.name] not in found]
    return names + [name for name, identity in inner.items() if identity not in found_inside]


def _identity(node: NodeDef) -> _Identity:
    container = node.attr["container"].s if "container" in node.attr else b""
    shared_name = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    return container, shared_name or node.name.encode()


def _read_by_signatures(meta_graph: MetaGraphDef, index: NodeIndex) -> set[str]:
    """Return the nodes that run for the signatures' outputs."""
    # Most signatures feed placeholders only, and are walked together.
    outputs: dict[frozenset[tuple[str, int]], list[str]] = defaultdict(list)
    for name, signature in meta_graph.signature_def.items():
        if name in (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE):
            continue
        fed = {split_tensor_name(one) for one in signature_tensors(signature.inputs.values())}
        computed = frozenset(ref for ref in fed if index.get(ref[0]).input)
        outputs[computed] += signature_tensors(signature.outputs.values())
    needed: set[str] = set()
    for fed_refs, names in outputs.items():
        needed |= _needed(index, names, fed_refs)
    return needed


def _needed(index: NodeIndex, tensors: Iterable[str], fed: frozenset[tuple[str, int]]) -> set[str]:
    found: set[str] = set()
    waiting = list(tensors)
    while waiting:
        entry = waiting.pop()
        if fed and not entry.startswith("^") and split_tensor_name(entry) in fed:
            continue
        name = node_of(entry)
        if name not in found:
            found.add(name)
            waiting += index.get(name).input
    return found


def _set_at_loading(meta_graph: MetaGraphDef, index: NodeIndex) -> set[_Identity]:
    """Return the variables that restore and main op assign."""
    library = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    running = [index.nodes[name] for name in index.reachable(_loading_roots(meta_graph))]
    called = keep_functions(meta_graph.graph_def.library, running).function
    bodies = [_uses(_Body.of(function), library) for function in called]
    main = _uses(_Body(index.nodes), library)
    assigned: set[_Argument] = set()
    # From each argument of a function to those of its callers that go there.
    callers: dict[_Argument, list[_Argument]] = defaultdict(list)
    for function, uses in zip(called, bodies, strict=True):
        name = function.signature.name
        assigned.update((name, argument) for argument in uses.assigned_arguments)
        for argument, callee in uses.passed_arguments:
            callers[callee].append((name, argument))
    waiting = list(assigned)
    while waiting:
        for caller in callers[waiting.pop()]:
            if caller not in assigned:
                assigned.add(caller)
                waiting.append(caller)
    run = {node.name for node in running}
    found: set[_Identity] = set()
    for uses, names in [(main, run), *((body, None) for body in bodies)]:
        found.update(_identity(variable) for by, variable in uses.assigned if names is None or by in names)
        for by, variable, callee in uses.passed:
            if callee in assigned and (names is None or by in names):
                found.add(_identity(variable))
    return found


def _loading_roots(meta_graph: MetaGraphDef) -> list[str]:
    roots = [
        node_of(name)
        for key in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION)
        if key in meta_graph.collection_def
        for name in meta_graph.collection_def[key].node_list.value
    ]
    if meta_graph.HasField("saver_def") and meta_graph.saver_def.restore_op_name:
        roots.append(node_of(meta_graph.saver_def.restore_op_name))
    if INIT_OP_SIGNATURE in meta_graph.signature_def:
        signature = meta_graph.signature_def[INIT_OP_SIGNATURE]
        roots += [node_of(info.name) for info in signature.outputs.values()]
    return roots


@dataclass(slots=True)
class _Body:
    """The graph, or the body of a function with the numbers of its arguments."""

    nodes: Mapping[str, NodeDef]
    arguments: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, function: FunctionDef) -> _Body:
        names = {arg.name: i for i, arg in enumerate(function.signature.input_arg)}
        return cls({node.name: node for node in function.node_def}, names)

    def source(self, name: str) -> NodeDef | int | None:
        """Return the variable or the argument that a tensor is, None if it is neither."""
        seen: set[str] = set()
        while (name := node_of(name)) not in seen:
            seen.add(name)
            node = self.nodes.get(name)
            if node is None:
                return self.arguments.get(name)
            if node.op in VARIABLE_OPS:
                return node
            if node.op not in _HANDED_ON or not node.input:
                return None
            name = node.input[0]
        return None


@dataclass(slots=True)
class _Uses:
    """Which variables and arguments the nodes of a body assign, and which they pass to functions' arguments."""

    assigned: list[tuple[str, NodeDef]] = field(default_factory=list)
    assigned_arguments: list[int] = field(default_factory=list)
    passed: list[tuple[str, NodeDef, _Argument]] = field(default_factory=list)
    passed_arguments: list[tuple[int, _Argument]] = field(default_factory=list)


def _uses(body: _Body, library: Mapping[str, FunctionDef]) -> _Uses:
    uses = _Uses()
    for node in body.nodes.values():
        callees = [name for name in called_functions(node) if name in library]
        inputs = [entry for entry in node.input if not entry.startswith("^")]
        if node.op in _ASSIGNMENTS:
            inputs = inputs[:1]
        elif not callees and op_def(node.op) is not None:
            continue
        for position, entry in enumerate(inputs):
            source = body.source(entry)
            if source is None:
                continue
            for callee in callees:
                argument = (callee, position - (node.op in _ARGUMENTS_FROM_1))
                if isinstance(source, NodeDef):
                    uses.passed.append((node.name, source, argument))
                else:
                    uses.passed_arguments.append((source, argument))
            if callees:
                continue
            if isinstance(source, NodeDef):
                uses.assigned.append((node.name, source))
            else:
                uses.assigned_arguments.append(source)
    return uses
