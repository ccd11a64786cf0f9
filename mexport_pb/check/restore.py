"""Checks of what a loader runs before the first request: the restore of variables, and the initializers of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb.check.calls import CALLERS
from mexport_pb.check.nodes import PLACEHOLDERS, Scope
from mexport_pb.check.ops import Ops, attr_of
from mexport_pb.check.problems import Report, quote
from mexport_pb.messages.constants import (
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    MAIN_OP_COLLECTION,
    TABLE_INITIALIZERS_COLLECTION,
    TRAIN_OP_SIGNATURE,
)
from mexport_pb.messages.op_defs import op_def

__all__ = ["check_start"]

_READERS: Final = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
_VARIABLES: Final = frozenset({"VarHandleOp", "Variable", "VariableV2"})

# Operations that set variables or other state have these in their names.
_SETTERS: Final = ("Assign", "Deserialize", "Import", "Load", "Restore", "Scatter")

# Only these tables refuse every look-up until an operation of such a name has run.
_TABLE_INITIALIZERS: Final = "InitializeTable"


def check_start(meta_graph: MetaGraphDef, graph: Scope, ops: Ops, report: Report) -> None:
    """Report variables that the restore, and tables that the main op leaves without a value though requests read them.

    What only a custom op or a function's body could tell is taken to be right.
    """
    requested = graph.reach(_outputs(meta_graph.signature_def))
    restored = graph.reach([meta_graph.saver_def.restore_op_name])
    started = graph.reach(_main_ops(meta_graph))
    if meta_graph.HasField("saver_def"):
        unset = any(node.op in _VARIABLES and name not in started for name, node in requested.items())
        _check_restore(meta_graph.saver_def, graph, restored, ops, report, unset=unset)
    if TABLE_INITIALIZERS_COLLECTION in meta_graph.collection_def:  # asking for the key would add it
        names = meta_graph.collection_def[TABLE_INITIALIZERS_COLLECTION].node_list.value
        _check_tables(names, graph, requested, started | restored, report)


def _outputs(signatures: Mapping[str, SignatureDef]) -> list[str]:
    """The plain tensors that requests ask for."""
    return [
        info.name
        for key, signature in signatures.items()
        if key not in (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE)
        for info in signature.outputs.values()
        if info.WhichOneof("encoding") == "name"
    ]


def _main_ops(meta_graph: MetaGraphDef) -> list[str]:
    """What loaders run after the restore: the first that there is of three."""
    if INIT_OP_SIGNATURE in meta_graph.signature_def:
        return [info.name for info in meta_graph.signature_def[INIT_OP_SIGNATURE].outputs.values()]
    for key in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION):
        if key in meta_graph.collection_def:
            return list(meta_graph.collection_def[key].node_list.value)
    return []


def _check_restore(
    saver: SaverDef, graph: Scope, restored: Mapping[str, NodeDef], ops: Ops, report: Report, *, unset: bool
) -> None:
    root = graph.node(saver.restore_op_name)
    if root is None or root.op in PLACEHOLDERS:
        return
    where = f"saver restore_op_name {quote(root.name)}"
    opaque = [node for node in restored.values() if node.op in ops.functions or op_def(node.op) is None]
    callers = [node for node in restored.values() if node.op in CALLERS]
    if not opaque and not callers and not any(part in node.op for node in restored.values() for part in _SETTERS):
        if unset:
            report.error(where, "it restores nothing, and requests read variables: they fail")
        return
    readers = [node for node in restored.values() if node.op in _READERS]
    filename = saver.filename_tensor_name.partition(":")[0]
    if readers and not opaque and graph.node(filename) is not None:
        fed = graph.reach([node.name for node in (*readers, *callers)])
        if filename not in fed:
            report.error(
                f"saver filename_tensor_name {quote(saver.filename_tensor_name)}",
                f"nothing that {quote(root.name)} restores is read from it: want what feeds {quote(readers[0].name)}",
            )


def _check_tables(
    names: Iterable[str],
    graph: Scope,
    requested: Mapping[str, NodeDef],
    started: Mapping[str, NodeDef],
    report: Report,
) -> None:
    # Another handle of the same shared name is the same table.
    shared = {attr_of(node.attr, "shared_name").s for node in started.values()} - {b""}
    for name in dict.fromkeys(names):
        node = graph.node(name)
        if node is None or name in started or name in requested or not node.input:
            continue
        table = graph.node(node.input[0].removeprefix("^").partition(":")[0])
        if table is None or table.name in started or table.name not in requested:
            continue
        if attr_of(table.attr, "shared_name").s in shared:
            continue
        if node.op.startswith(_TABLE_INITIALIZERS):
            report.error(f"table initializer {quote(name)}", "it is not run by the main op: requests fail")
        else:
            report.warn(f"table initializer {quote(name)}", "it is not run by the main op")
