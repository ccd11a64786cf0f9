"""Cut a graph down to what its signatures need.

Three steps: walk backwards from everything that a server runs, turn fed tensors into placeholders, and drop from the
meta graph whatever names a node that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import AttrValue, GraphDef, NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from mexport_pb._proto.tensor_pb2 import DataType
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.functions import keep_functions
from mexport_pb.graph.graph_variables import find_variables, variable_defs
from mexport_pb.graph.index import NodeIndex, node_of, split_tensor_name
from mexport_pb.graph.main_op import table_initializers
from mexport_pb.graph.names import NameStack, names_and_scopes
from mexport_pb.graph.prune_collections import assets_of, keep_assets, keep_collections
from mexport_pb.graph.prune_tables import keep_tables, table_needs
from mexport_pb.graph.saver import add_saver
from mexport_pb.graph.strip import refresh_op_list
from mexport_pb.graph.tensor_infos import declared_shape, tensor_info_of
from mexport_pb.messages import make_node_def, to_message
from mexport_pb.messages.constants import (
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    LOCAL_VARIABLES_COLLECTION,
    MAIN_OP_COLLECTION,
    TRAIN_OP_SIGNATURE,
)

__all__ = ["prune_to_signatures", "signature_tensors"]

# Must be fed wherever they are reached.
_UNFED: Final = frozenset({"Placeholder", "PlaceholderV2"})
# Inputs already; a default that goes with one is kept.
_INPUTS: Final = _UNFED | {"PlaceholderWithDefault"}

_Ref = tuple[str, int]
_CONTROL: Final = -1


def prune_to_signatures(meta_graph: Message, *, keep_main_op: bool = True) -> MetaGraphDef:
    """Return a copy with only the nodes that its signatures, main op, assets and saver need.

    A graph without a saver gets one for the variables that are left (:func:`add_saver`): a later one could not tell
    their keys, for the collections of variables go with the variables' initializers. A saver that is there stays whole,
    with all that it restores.

    A signature's input is a border: what only computes it is dropped. An input that is computed by a node becomes a
    Placeholder of the same name, type and shape; one that is not its node's first output becomes a Placeholder of a new
    name, which the signature then names. Where another signature, the main op or the saver needs the node itself, it
    stays, and loaders feed the tensor in its place. A PlaceholderWithDefault keeps its default.

    Kept are also initializers of lookup tables and local variables that are left, for :func:`add_main_op`, and of
    embedding tables, whose collections lose the tables that are not. Dropped are
    training signatures, ``cond_context``, ``while_context``, ``queue_runners`` and ``savers``, which only extend a
    graph, the object graph of TensorFlow 2, colocations with dropped nodes, and unused functions.

    Args:
        meta_graph: A MetaGraphDef with signatures.
        keep_main_op: False drops the main op and the assets that only it needs.

    Raises:
        InvalidArgumentError: no signature; a signature, the main op or the saver names a tensor that is not there, or
            needs a placeholder that is not fed.
        SavedModelError: a collection is damaged.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    copy.signature_def.pop(TRAIN_OP_SIGNATURE, None)
    if not keep_main_op:
        copy.signature_def.pop(INIT_OP_SIGNATURE, None)
        for name in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION):
            copy.collection_def.pop(name, None)
    if not any(name != INIT_OP_SIGNATURE for name in copy.signature_def):
        raise InvalidArgumentError("the graph has no signature to prune to")
    index = NodeIndex(copy.graph_def.node)
    kept = _needed(copy, index)
    if not copy.HasField("saver_def"):
        wanted = {variable.name for variable in find_variables(copy, index) if variable.name in kept.nodes}
        if wanted:
            copy = add_saver(copy, variables=wanted)
            index = NodeIndex(copy.graph_def.node)
            kept = _needed(copy, index)
    _rebuild(copy, index, kept)
    return copy


def signature_tensors(infos: Iterable[TensorInfo]) -> list[str]:
    """Return the names of all tensors that inputs or outputs of a signature are made of."""
    names: list[str] = []
    waiting = list(infos)
    while waiting:
        info = waiting.pop(0)
        match info.WhichOneof("encoding"):
            case "coo_sparse":
                sparse = info.coo_sparse
                names += [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
            case "composite_tensor":
                waiting += info.composite_tensor.components
            case _:
                names.append(info.name)
    return names


@dataclass(slots=True)
class _Kept:
    """What stays.

    Attributes:
        nodes: As they are.
        fed: Outputs of other nodes that become placeholders, in the order of the signatures.
    """

    nodes: set[str] = field(default_factory=set)
    fed: list[_Ref] = field(default_factory=list)


def _needed(meta_graph: MetaGraphDef, index: NodeIndex) -> _Kept:
    kept = _Kept()
    inputs: dict[_Ref, None] = {}
    for key, signature in sorted(meta_graph.signature_def.items()):
        if key == INIT_OP_SIGNATURE:
            continue
        fed = _inputs_of(key, signature, index)
        inputs.update(dict.fromkeys(fed))
        outputs = signature_tensors(_values(signature.outputs))
        kept.nodes |= _walk(index, outputs, set(fed), who=f"signature {key!r}")
    for name, _ in inputs:
        # Unused inputs stay too: loaders feed them.
        if index.nodes[name].op in _INPUTS and name not in kept.nodes:
            kept.nodes |= _walk(index, [name], set(), who=f"input {name!r}", fed_by_loader=[name])
    # What loaders feed once, by themselves.
    fed_once = [node_of(asset.tensor_info.name) for asset in assets_of(meta_graph)]
    if meta_graph.HasField("saver_def"):
        saver = meta_graph.saver_def
        fed_once.append(node_of(saver.filename_tensor_name))
        # TensorFlow asks for a save_tensor_name, but not that there be such a tensor.
        roots = [saver.filename_tensor_name, saver.restore_op_name]
        roots += [saver.save_tensor_name] if node_of(saver.save_tensor_name) in index.nodes else []
        kept.nodes |= _walk(index, roots, set(), who="the saver", fed_by_loader=fed_once)
    kept.nodes |= _walk(index, _main_ops(meta_graph), set(), who="the main op", fed_by_loader=fed_once)
    _keep_initializers(meta_graph, index, kept, fed_once)
    kept.fed = [ref for ref in inputs if ref[0] not in kept.nodes]
    return kept


def _values(infos: Mapping[str, TensorInfo]) -> list[TensorInfo]:
    return [info for _, info in sorted(infos.items())]


def _inputs_of(key: str, signature: SignatureDef, index: NodeIndex) -> list[_Ref]:
    refs = [split_tensor_name(name) for name in signature_tensors(_values(signature.inputs))]
    for name, _ in refs:
        if name not in index.nodes:
            raise InvalidArgumentError(f"signature {key!r}: its input {name!r} is not in the graph")
    return refs


def _main_ops(meta_graph: MetaGraphDef) -> list[str]:
    names: list[str] = []
    for collection in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION):
        if collection in meta_graph.collection_def:
            names += meta_graph.collection_def[collection].node_list.value
    if INIT_OP_SIGNATURE in meta_graph.signature_def:
        names += signature_tensors(_values(meta_graph.signature_def[INIT_OP_SIGNATURE].outputs))
    return names


def _keep_initializers(meta_graph: MetaGraphDef, index: NodeIndex, kept: _Kept, fed_once: list[str]) -> None:
    """Keep the initializers of tables and local variables that are kept, and again those that these bring in.

    Embedding tables keep what makes them, and their learning rates.
    """
    # What is initialised, and the nodes to keep with it.
    waiting = [
        (node_of(local.variable_name), [local.initializer_name, local.snapshot_name])
        for local in variable_defs(meta_graph, LOCAL_VARIABLES_COLLECTION) or []
    ]
    for name in table_initializers(meta_graph):
        inputs = index.nodes[name].input if name in index.nodes else []
        if inputs and not inputs[0].startswith("^"):
            waiting.append((node_of(inputs[0]), [name]))
    waiting += table_needs(meta_graph)
    found = True
    while found:
        due = [roots for target, roots in waiting if target in kept.nodes]
        waiting = [(target, roots) for target, roots in waiting if target not in kept.nodes]
        for roots in due:
            kept.nodes |= _walk(index, roots, set(), who="an initializer", fed_by_loader=fed_once)
        found = bool(due)


def _walk(
    index: NodeIndex, roots: Iterable[str], fed: Collection[_Ref], *, who: str, fed_by_loader: Collection[str] = ()
) -> set[str]:
    """Return the nodes that run when the roots are asked for and some tensors are fed.

    Args:
        index: Of the graph.
        roots: Tensors or operations.
        fed: Tensors that are not computed. A node that gives one of them and is waited for does not run either.
        who: Asks, for the error.
        fed_by_loader: Placeholders that need not be in ``fed``.

    Raises:
        InvalidArgumentError: a tensor is not in the graph, or a placeholder would run.
    """
    fed_nodes = {name for name, _ in fed}
    found: set[str] = set()
    waiting = [split_tensor_name(name) for name in roots]
    for name, _ in waiting:
        if name not in index.nodes:
            raise InvalidArgumentError(f"{who} needs {name!r}, which is not in the graph")
    while waiting:
        ref = waiting.pop()
        name = ref[0]
        if name in found or ref in fed or (ref[1] == _CONTROL and name in fed_nodes):
            continue
        node = index.nodes[name]
        if node.op in _UNFED and name not in fed_by_loader:
            raise InvalidArgumentError(f"{who} needs the placeholder {name!r}, which is not among its inputs")
        found.add(name)
        for entry in node.input:
            if node_of(entry) not in index.nodes:
                raise InvalidArgumentError(f"node {name!r}: its input {entry!r} is not in the graph")
            waiting.append((node_of(entry), _CONTROL) if entry.startswith("^") else split_tensor_name(entry))
    return found


def _rebuild(meta_graph: MetaGraphDef, index: NodeIndex, kept: _Kept) -> None:
    """Write the graph anew and drop what names nodes that are gone."""
    renamed, placeholders = _placeholders(meta_graph, index, kept)
    present = kept.nodes | {node.name for nodes in placeholders.values() for node in nodes}
    nodes: list[NodeDef] = []
    for node in meta_graph.graph_def.node:
        if node.name in kept.nodes:
            _rewire(node, renamed)
            _drop_colocations(node, present)
            nodes.append(node)
        nodes += placeholders.get(node.name, ())
    graph_def = meta_graph.graph_def
    library = keep_functions(graph_def.library, nodes) if graph_def.HasField("library") else None
    rebuilt = GraphDef(node=nodes, versions=graph_def.versions)
    graph_def.CopyFrom(rebuilt)
    if library is not None:
        graph_def.library.CopyFrom(library)
    functions = {function.signature.name for function in graph_def.library.function} if library is not None else set()
    aliases = meta_graph.meta_info_def.function_aliases
    for name in [name for name in aliases if name not in functions]:
        del aliases[name]
    for signature in meta_graph.signature_def.values():
        for info in signature.inputs.values():
            _rename(info, renamed)
        for info in signature.outputs.values():
            _rename(info, renamed)
    keep_collections(meta_graph, present, renamed)
    keep_tables(meta_graph, present)
    keep_assets(meta_graph, present)
    meta_graph.ClearField("object_graph_def")
    refresh_op_list(meta_graph)


def _placeholders(
    meta_graph: MetaGraphDef, index: NodeIndex, kept: _Kept
) -> tuple[dict[str, str], dict[str, list[NodeDef]]]:
    """Return the new names of fed tensors, and the placeholders that stand in for each node."""
    names = NameStack(names_and_scopes(index.nodes))
    declared = {
        split_tensor_name(info.name): info
        for _, signature in sorted(meta_graph.signature_def.items())
        for info in _values(signature.inputs)
        if info.WhichOneof("encoding") == "name"
    }
    renamed: dict[str, str] = {}
    placeholders: dict[str, list[NodeDef]] = {}
    for node_name, output in kept.fed:
        info = declared.get((node_name, output)) or TensorInfo()
        dtype = info.dtype or _dtype(meta_graph, f"{node_name}:{output}")
        known = declared_shape(index.nodes[node_name], output)
        shape = info.tensor_shape if known is None else known
        name = node_name if output == 0 else names.unique(f"{node_name}/output_{output}")
        if output:
            renamed[f"{node_name}:{output}"] = name
        attrs = {"dtype": AttrValue(type=dtype), "shape": AttrValue(shape=shape)}
        attrs["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[shape]))
        placeholders.setdefault(node_name, []).append(make_node_def("Placeholder", name, attrs=attrs))
    for node_name, nodes in placeholders.items():
        if nodes[0].name != node_name:
            # Who waited for the node waits for a placeholder of it now.
            renamed[f"^{node_name}"] = nodes[0].name
    return renamed, placeholders


def _dtype(meta_graph: MetaGraphDef, name: str) -> DataType:
    return tensor_info_of(meta_graph, [name])[name].dtype


def _rewire(node: NodeDef, renamed: Mapping[str, str]) -> None:
    for i, entry in enumerate(node.input):
        if entry in renamed:
            node.input[i] = f"^{renamed[entry]}" if entry.startswith("^") else renamed[entry]


def _rename(info: TensorInfo, renamed: Mapping[str, str]) -> None:
    match info.WhichOneof("encoding"):
        case "coo_sparse":
            sparse = info.coo_sparse
            sparse.values_tensor_name = _renamed(sparse.values_tensor_name, renamed)
            sparse.indices_tensor_name = _renamed(sparse.indices_tensor_name, renamed)
            sparse.dense_shape_tensor_name = _renamed(sparse.dense_shape_tensor_name, renamed)
        case "composite_tensor":
            for component in info.composite_tensor.components:
                _rename(component, renamed)
        case _:
            info.name = _renamed(info.name, renamed)


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    return f"{renamed[name]}:0" if name in renamed else name


def _drop_colocations(node: NodeDef, present: Collection[str]) -> None:
    if "_class" not in node.attr:
        return
    groups = node.attr["_class"].list.s
    left = [
        group for group in groups if not group.startswith(b"loc:@") or group[5:].decode(errors="replace") in present
    ]
    if not left:
        del node.attr["_class"]
    elif len(left) != len(groups):
        del groups[:]
        groups.extend(left)
