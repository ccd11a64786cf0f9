"""What a meta graph leaves out or lists: default attributes, devices, the signatures of its ops.

The rules are those of ``tf.compat.v1.saved_model.Builder``, gaps included, so that the results are equal.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import FunctionDef, GraphDef, NodeDef, OpDef, OpList
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.messages import serialize, to_message
from mexport_pb.messages.op_defs import OpDefs

__all__ = ["clear_devices", "op_list", "refresh_op_list", "strip_default_attrs", "strip_nodes"]


def op_list(graph: Message, op_defs: Iterable[Message] = ()) -> OpList:
    """Return the signatures of the ops that a graph uses, sorted by name.

    Listed are the ops of the nodes, and of functions that a node calls as an op or by the attribute ``f`` of
    PartitionedCall and StatefulPartitionedCall. Functions reached otherwise (branches of If, bodies of While) do not
    count. Ops without a known signature are left out.

    Args:
        graph: A MetaGraphDef or a GraphDef. The signatures that a MetaGraphDef lists already come before TensorFlow's.
        op_defs: OpDefs that come before both.

    Raises:
        InvalidArgumentError: another kind of message.
    """
    given = [to_message(one, OpDef) for one in op_defs]
    if graph.DESCRIPTOR.name == GraphDef.DESCRIPTOR.name:
        graph_def = graph if isinstance(graph, GraphDef) else to_message(graph, GraphDef)
        return _op_list(graph_def, OpDefs(given))
    meta_graph = graph if isinstance(graph, MetaGraphDef) else to_message(graph, MetaGraphDef)
    return _op_list(meta_graph.graph_def, _signatures(meta_graph, given))


def _signatures(meta_graph: MetaGraphDef, given: Iterable[OpDef] = ()) -> OpDefs:
    return OpDefs([*given, *meta_graph.meta_info_def.stripped_op_list.op])


def _op_list(graph_def: GraphDef, signatures: OpDefs) -> OpList:
    functions = {function.signature.name: function for function in graph_def.library.function}
    used: set[str] = set()
    waiting: list[FunctionDef] = []

    def use(op: str) -> None:
        if op not in used:
            used.add(op)
            if op in functions:
                waiting.append(functions[op])

    def use_nodes(nodes: Iterable[NodeDef]) -> None:
        for node in nodes:
            use(node.op)
            if node.op in ("PartitionedCall", "StatefulPartitionedCall") and "f" in node.attr:
                use(node.attr["f"].func.name)

    use_nodes(graph_def.node)
    while waiting:
        use_nodes(waiting.pop().node_def)
    known = (signatures.get(op) for op in sorted(used) if op not in functions)
    return OpList(op=[one for one in known if one is not None])


def refresh_op_list(meta_graph: MetaGraphDef) -> None:
    """List the signatures of the ops that the graph uses now. Changes the message that is given."""
    listed = _op_list(meta_graph.graph_def, _signatures(meta_graph))
    meta_graph.meta_info_def.stripped_op_list.CopyFrom(listed)


def strip_default_attrs(meta_graph: Message, op_defs: Iterable[Message] = ()) -> MetaGraphDef:
    """Return a copy in which no node has an attribute that equals its op's default, so that older servers load it.

    Nodes of functions are stripped too. Calls of functions, and ops without a known signature, stay as they are.

    Args:
        meta_graph: A MetaGraphDef.
        op_defs: OpDefs that come before those that the meta graph lists, and these before TensorFlow's.

    Raises:
        InvalidArgumentError: another kind of message.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    library = copy.graph_def.library.function if copy.graph_def.HasField("library") else ()
    functions = {function.signature.name for function in library}
    signatures = _signatures(copy, [to_message(one, OpDef) for one in op_defs])
    strip_nodes(copy.graph_def.node, signatures, functions)
    for function in library:
        strip_nodes(function.node_def, signatures, functions)
    copy.meta_info_def.stripped_default_attrs = True
    return copy


def strip_nodes(nodes: Iterable[NodeDef], signatures: OpDefs, functions: Iterable[str] = ()) -> None:
    """Remove default attributes from the given nodes themselves.

    Args:
        nodes: To be changed.
        signatures: By op.
        functions: Names that are calls of functions.
    """
    defaults: dict[str, dict[str, bytes]] = {name: {} for name in functions}
    for node in nodes:
        of_op = defaults.get(node.op)
        if of_op is None:
            of_op = defaults[node.op] = _defaults(signatures.get(node.op))
        if not of_op:
            continue
        equal = [name for name, value in node.attr.items() if of_op.get(name) == serialize(value)]
        for name in equal:
            del node.attr[name]


def _defaults(signature: OpDef | None) -> dict[str, bytes]:
    if signature is None:
        return {}
    return {attr.name: serialize(attr.default_value) for attr in signature.attr if attr.HasField("default_value")}


def clear_devices(meta_graph: Message) -> MetaGraphDef:
    """Return a copy in which no node of the graph says a device; nodes of functions keep theirs.

    Raises:
        InvalidArgumentError: not a MetaGraphDef.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    for node in copy.graph_def.node:
        node.ClearField("device")
    # TensorFlow's Builder leaves an empty library behind here.
    copy.graph_def.library.SetInParent()
    return copy
