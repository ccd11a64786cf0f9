"""Whether a model's tables have their values when the first request comes: asked of messages and of file names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import MexportError
from mexport_pb.graph.index import NodeIndex, node_of
from mexport_pb.graph.prune import signature_tensors
from mexport_pb.graph.prune_collections import assets_of
from mexport_pb.messages.constants import (
    ASSET_BASE_FILENAME,
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    MAIN_OP_COLLECTION,
    TRAIN_OP_SIGNATURE,
)
from mexport_pb.table.multi import meta_basename
from mexport_pb.table.shards import complete_shards, find_shards, group_shards

__all__ = ["TableProblem", "find_table_problems"]

_SINGLE: Final = "MonolithHashTable"
_CREATE: Final = "CreateMonolithMultiHashTable"
_READ: Final = "ReadMonolithMultiHashTable"
_HANDLES: Final = frozenset({_SINGLE, _CREATE, _READ})
_RESTORES: Final = frozenset({"MonolithHashTableRestore", "MonolithMultiHashTableRestore"})
_MAX_CHAIN: Final = 64

# Whether it stands for many tables, container, and shared name.
_Identity = tuple[bool, bytes, bytes]


@dataclass(frozen=True)
class TableProblem:
    """What is wrong with a table.

    Attributes:
        node: Its handle's node.
        message: What is wrong.
        outside: Whether files outside of the model are the matter, which may be there on the machine that serves.
    """

    node: str
    message: str
    outside: bool = False


def find_table_problems(meta_graph: MetaGraphDef, files: Iterable[str]) -> list[TableProblem]:
    """Finds tables that signatures read and that the main op does not restore, or not from a complete set of files.

    Args:
        meta_graph: The graph, with its main op.
        files: The names of all files below ``assets/``.

    Returns:
        The problems, in the order of the graph's nodes; of a table that is restored from a path that only the graph
        can tell, none.

    Raises:
        InvalidArgumentError: A node, a signature or the main op names a node that is not there.
    """
    inside = [
        (function.signature.name, node.op)
        for function in meta_graph.graph_def.library.function
        for node in function.node_def
        if node.op in _HANDLES
    ]
    problems = [TableProblem(name, f"a {op} within a function: its restore cannot be checked") for name, op in inside]
    if not any(node.op in _HANDLES for node in meta_graph.graph_def.node):
        return problems
    index = NodeIndex(meta_graph.graph_def.node)
    requested = index.reachable(_outputs(meta_graph))
    running = index.reachable(_main_ops(meta_graph))
    restores: dict[_Identity, NodeDef] = {}
    created: set[_Identity] = set()
    for name in running:
        node = index.nodes[name]
        if node.op == _CREATE:
            created.add(_identity(node))
        if node.op in _RESTORES and len(node.input) > 1 and (handle := _handle_of(index, node.input[0])) is not None:
            restores[_identity(handle)] = node
    groups = group_shards(files)
    fed = {node_of(asset.tensor_info.name): asset.filename for asset in assets_of(meta_graph)}
    seen: set[_Identity] = set()
    for node in meta_graph.graph_def.node:
        if node.op not in _HANDLES or node.name not in requested or _identity(node) in seen:
            continue
        identity = _identity(node)
        seen.add(identity)
        restore = restores.get(identity)
        if node.op != _SINGLE and identity not in created:
            problems.append(TableProblem(node.name, "signatures read the tables, and the main op does not make them"))
        elif restore is None:
            problems.append(TableProblem(node.name, "signatures read the table, and the main op does not restore it"))
        else:
            problems += _file_problems(node, restore, index, fed, groups)
    return problems


def _outputs(meta_graph: MetaGraphDef) -> list[str]:
    return [
        node_of(name)
        for key, signature in meta_graph.signature_def.items()
        if key not in (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE)
        for name in signature_tensors(signature.outputs.values())
    ]


def _main_ops(meta_graph: MetaGraphDef) -> list[str]:
    """What loaders run after the restore: the first that there is of three."""
    if INIT_OP_SIGNATURE in meta_graph.signature_def:
        return [node_of(one) for one in signature_tensors(meta_graph.signature_def[INIT_OP_SIGNATURE].outputs.values())]
    for key in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION):
        if key in meta_graph.collection_def:
            return [node_of(name) for name in meta_graph.collection_def[key].node_list.value]
    return []


def _identity(node: NodeDef) -> _Identity:
    container = node.attr["container"].s if "container" in node.attr else b""
    shared_name = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    return node.op != _SINGLE, container, shared_name or node.name.encode()


def _handle_of(index: NodeIndex, name: str) -> NodeDef | None:
    """The node that makes a handle; operations in between hand theirs on as their first input."""
    for _ in range(_MAX_CHAIN):
        node = index.nodes.get(node_of(name))
        if node is None or node.op in _HANDLES:
            return node
        if not node.input or not (node.op == "Identity" or node.op.startswith("Monolith")):
            return None
        name = node.input[0]
    return None


def _file_problems(
    handle: NodeDef,
    restore: NodeDef,
    index: NodeIndex,
    fed: dict[str, str],
    groups: dict[str, list[tuple[str, int, int]]],
) -> list[TableProblem]:
    path = _path_of(index, restore.input[1], fed)
    if path is None:
        return []
    inside, text = path
    basenames = [text, meta_basename(text)] if handle.op != _SINGLE else [text]
    find: Callable[[str], object] = (lambda base: complete_shards(base, groups)) if inside else find_shards
    for basename in basenames:
        try:
            find(basename)
        except (MexportError, OSError) as error:
            where = "assets/" if inside else ""
            return [TableProblem(handle.name, f"its files are not there: {where}{error}", outside=not inside)]
    return []


def _path_of(index: NodeIndex, name: str, fed: dict[str, str]) -> tuple[bool, str] | None:
    """What a basename is: below assets/ or not, and the path from there; None if only the graph can tell."""
    parts: list[str] = []
    inside = False
    waiting = [name]
    for _ in range(_MAX_CHAIN):
        if not waiting:
            break
        node = index.nodes.get(node_of(waiting.pop(0)))
        if node is None:
            return None
        if node.name in fed:
            if parts or inside:
                return None
            inside = True
            if fed[node.name] != ASSET_BASE_FILENAME:
                parts.append(fed[node.name])
        elif node.op == "StringJoin" and not (node.attr["separator"].s if "separator" in node.attr else b""):
            waiting = [one for one in node.input if not one.startswith("^")] + waiting
        elif node.op == "Identity":
            waiting.insert(0, node.input[0])
        elif node.op == "Const" and len(node.attr["value"].tensor.string_val) == 1:
            parts.append(os.fsdecode(node.attr["value"].tensor.string_val[0]))
        else:
            return None
    return (inside, "".join(parts)) if not waiting else None
