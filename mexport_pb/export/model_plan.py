"""What a SavedModel will consist of, known and checked before the first byte is written."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.check import check_meta_graph, check_meta_graphs
from mexport_pb.errors import InvalidArgumentError, MismatchError, UnsupportedError
from mexport_pb.export.assets import check_extra_files, resolve_assets
from mexport_pb.export.checkpoint import GLOBAL_STEP
from mexport_pb.export.table_check import find_table_problems
from mexport_pb.export.table_output import TableOutput
from mexport_pb.export.variables import VariablePlan, plan_variables
from mexport_pb.graph import add_saver, clear_devices, has_variables, strip_default_attrs, unsaved_variables
from mexport_pb.graph.main_op import main_op_keys
from mexport_pb.messages import SERVING_TAG, make_saved_model, to_message, to_text
from mexport_pb.messages.constants import TABLE_INITIALIZERS_COLLECTION
from mexport_pb.messages.pieces import SavedModelPieces
from mexport_pb.table.graph_tables import graph_tables

__all__ = ["ModelPlan", "Path_", "plan_saved_model"]

Path_: TypeAlias = str | os.PathLike[str]
SAVEABLES_COLLECTION = "saveable_objects"


@dataclass
class ModelPlan:
    """All that will be written, known before the first byte is."""

    model: SavedModelPieces | str
    """Text, if it shall be ``saved_model.pbtxt``."""
    checkpoint: Path_ | None
    variables: VariablePlan | None
    assets: dict[str, str]
    assets_extra: dict[str, str]
    tables: TableOutput | None


def plan_saved_model(
    meta_graph: Message | Sequence[Message],
    checkpoint: Path_ | None,
    *,
    tags: Iterable[str] | None = None,
    assets: Mapping[str, Path_] | None = None,
    assets_extra: Mapping[str, Path_] | None = None,
    clear_nodes: bool = False,
    strip: bool = False,
    global_step: int | None = None,
    restore_variables: bool = True,
    as_text: bool = False,
    tables: TableOutput | None = None,
) -> ModelPlan:
    """Checks everything that can be checked before a byte is written.

    Arguments and errors are those of :func:`mexport_pb.write_saved_model`.
    """
    if checkpoint is not None and not restore_variables:
        raise InvalidArgumentError("got a checkpoint and restore_variables=False")
    given = [meta_graph] if isinstance(meta_graph, Message) else list(meta_graph)
    if not given:
        raise InvalidArgumentError("got no meta graph, want at least one")
    if isinstance(tags, str):
        raise InvalidArgumentError(f"tags: got the string {tags!r}, want a list of strings")
    files: dict[str, str] = {}
    used_assets: set[str] = set()
    made = frozenset[str]() if tables is None else tables.asset_names
    graphs = []
    for message in given:
        # Each step may copy the graph, and lets go of the one before.
        graph = to_message(message, MetaGraphDef)
        if tags is not None and (len(given) > 1 or graph.meta_info_def.tags):
            raise InvalidArgumentError("tags are for a single meta graph without tags of its own")
        _refuse_unserved(graph)
        if not graph.meta_info_def.tags:
            graph.meta_info_def.tags.extend(tags or [SERVING_TAG])
        if checkpoint is not None and not graph.HasField("saver_def"):
            graph = add_saver(graph)
        resolved = resolve_assets(graph, assets, made)
        _add_sources(files, resolved.files)
        used_assets |= resolved.used
        # Only now: devices decide the saver's shards, and the saver's nodes have default attributes too.
        if clear_nodes:
            graph = clear_devices(graph)
        if strip:
            graph = strip_default_attrs(graph)
        check_meta_graph(graph)
        _refuse_empty_tables(graph, {*resolved.files, *made})
        if checkpoint is not None:
            _refuse_unset(graph)
        graphs.append(graph)
    for name in sorted(set(assets or {}) - used_assets):
        raise MismatchError(f"a file was given for the asset {name!r}, which the graph does not have")
    check_meta_graphs(graphs)
    variables = None
    if checkpoint is None:
        if restore_variables:
            _refuse_variables(graphs)
    else:
        extra = {} if global_step is None else {GLOBAL_STEP: np.array(global_step, np.int64)}
        variables = plan_variables(graphs, checkpoint, extra=extra)
    extra_files = check_extra_files(assets_extra or {})
    model = to_text(make_saved_model(graphs)) if as_text else SavedModelPieces(graphs)
    return ModelPlan(model, checkpoint, variables, files, extra_files, tables)


def _add_sources(files: dict[str, str], more: Mapping[str, str]) -> None:
    for name, source in more.items():
        known = files.setdefault(name, source)
        if known != source and not filecmp.cmp(known, source, shallow=False):
            raise InvalidArgumentError(f"two graphs name different sources for the asset {name!r}: {known}, {source}")


def _refuse_unserved(graph: MetaGraphDef) -> None:
    """Refuses graphs that would load and then fail at the first request, for want of what is not exported yet."""
    if SAVEABLES_COLLECTION in graph.collection_def:
        raise UnsupportedError(
            f"the graph has objects to save that are no variables (collection {SAVEABLES_COLLECTION!r}), such as "
            "mutable lookup tables; their content would be lost"
        )
    has_tables = TABLE_INITIALIZERS_COLLECTION in graph.collection_def
    if has_tables and not main_op_keys(graph):
        raise InvalidArgumentError(
            f"the graph has lookup tables (collection {TABLE_INITIALIZERS_COLLECTION!r}) and no main op to fill them: "
            "pass it through add_main_op"
        )


def _refuse_empty_tables(graph: MetaGraphDef, files: set[str]) -> None:
    """Refuses graphs whose signatures read embedding tables that the main op does not restore from complete files."""
    graph_tables(graph)
    for problem in find_table_problems(graph, files):
        raise MismatchError(f"embedding table {problem.node!r}: {problem.message}")


def _refuse_unset(graph: MetaGraphDef) -> None:
    """Refuses graphs whose signatures read variables that neither the saver nor the main op sets."""
    names = unsaved_variables(graph)
    if names:
        raise InvalidArgumentError(
            f"signatures read {len(names)} variables that nothing restores or initialises, such as {names[0]!r}: "
            "list them in the collection of variables, or let the main op set them"
        )


def _refuse_variables(graphs: Iterable[MetaGraphDef]) -> None:
    for graph in graphs:
        if graph.HasField("saver_def") or has_variables(graph):
            raise InvalidArgumentError(
                "the graph has variables: pass variables=<prefix of the checkpoint with their values>, or freeze it"
            )
