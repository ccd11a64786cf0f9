"""Writing a SavedModel from MetaGraphDefs and a checkpoint: plan, stage, check, publish."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.bundle import copy_to_shards
from mexport_pb.check import check_meta_graph, check_meta_graphs
from mexport_pb.errors import InvalidArgumentError, MismatchError, UnsupportedError
from mexport_pb.export.assets import check_extra_files, copy_files, resolve_assets
from mexport_pb.export.checkpoint import GLOBAL_STEP
from mexport_pb.export.publish import staged_directory
from mexport_pb.export.table_check import find_table_problems
from mexport_pb.export.table_output import TableOutput
from mexport_pb.export.validate import check_validation, validate_staged
from mexport_pb.export.variables import VariablePlan, plan_variables
from mexport_pb.export.version import timestamped_directory
from mexport_pb.graph import add_saver, clear_devices, has_variables, strip_default_attrs, unsaved_variables
from mexport_pb.graph.main_op import main_op_keys
from mexport_pb.messages import SERVING_TAG, make_saved_model, to_message, to_text
from mexport_pb.messages.constants import (
    ASSETS_DIRECTORY,
    ASSETS_EXTRA_DIRECTORY,
    SAVED_MODEL_PB,
    SAVED_MODEL_PBTXT,
    TABLE_INITIALIZERS_COLLECTION,
    VARIABLES_DIRECTORY,
    VARIABLES_PREFIX,
)
from mexport_pb.messages.pieces import SavedModelPieces
from mexport_pb.table.graph_tables import graph_tables

__all__ = [
    "Path_",
    "Validation",
    "write_saved_model",
]

Path_: TypeAlias = str | os.PathLike[str]
SAVEABLES_COLLECTION = "saveable_objects"

Validation: TypeAlias = Literal["structure", "restore", "warmup"]


@dataclass(frozen=True)
class _Plan:
    """All that will be written, known before the first byte is."""

    model: SavedModelPieces | str
    """Text, if it shall be ``saved_model.pbtxt``."""
    checkpoint: Path_ | None
    variables: VariablePlan | None
    assets: dict[str, str]
    assets_extra: dict[str, str]
    tables: TableOutput | None


def write_saved_model(
    meta_graph: Message | Sequence[Message],
    export_dir: Path_,
    variables: Path_ | None = None,
    *,
    tags: Iterable[str] | None = None,
    assets: Mapping[str, Path_] | None = None,
    assets_extra: Mapping[str, Path_] | None = None,
    clear_devices: bool = False,
    strip_default_attrs: bool = False,
    global_step: int | None = None,
    restore_variables: bool = True,
    as_text: bool = False,
    validate: Validation = "structure",
    timestamped: bool = False,
    tables: TableOutput | None = None,
) -> Path:
    """Writes a SavedModel directory, all of it or nothing.

    A graph that has variables and no saver gets one (:func:`mexport_pb.add_saver`). Values go from the checkpoint to
    the export as bytes; memory stays flat however large they are. A graph is in memory three times with its constants,
    the caller's own included. Layout: docs/formats/saved_model.md.

    For a graph as it was before ``tf.compat.v1.saved_model.Builder`` saved it, with the signatures, tags and options
    that the Builder was given, the files are the Builder's byte for byte.

    Args:
        meta_graph: A MetaGraphDef, of this package or of TensorFlow, or several with different tags.
        export_dir: The directory to make. It must not exist; a server's ``<base>/<version>``.
        variables: Prefix of the checkpoint with the values of all variables; None for graphs without variables.
        tags: Tags of a single graph that has none of its own; ``{"serve"}`` if it has none either way.
        assets: Sources, by file name under ``assets/``, of the AssetFileDefs that the graphs have already. Those of
            the collection ``asset_filepaths`` need none: the graph holds their paths; a source by file name, or by
            tensor name ("asset:0"), takes such a path's place.
        assets_extra: Sources by path relative to ``assets.extra/``.
        clear_devices: Whether nodes lose their devices. The saver's shards are those of the devices that they had.
        strip_default_attrs: Whether attributes that have their default value are left out.
        global_step: The value of the variable ``global_step`` where the checkpoint has none.
        restore_variables: False writes neither values nor a saver, for graphs whose variables are set by others.
        as_text: Write ``saved_model.pbtxt`` in place of ``saved_model.pb``.
        validate: How the staged model is checked before it is published: ``"structure"`` looks at every message and
            at the variable index, ``"restore"`` also lets TensorFlow load it and restore the variables, ``"warmup"``
            also replays ``assets.extra/tf_serving_warmup_requests``, which must be there, as a model server does.
        timestamped: ``export_dir`` is named by a unix second (:func:`timestamped_directory`); where another export took
            it, the next free one is taken.
        tables: The files of embedding tables, planned by an exporter. Without it, tables that signatures read must
            have all of their files among the graph's assets, and be restored from there by the main op.

    Returns:
        The published directory.

    Raises:
        InvalidArgumentError: A graph or an argument is illegal.
        SavedModelError: A collection of embedding tables is damaged.
        MissingVariableError: A variable is not in the checkpoint.
        MismatchError: A variable has another dtype or shape there, or an asset has no source.
        DataError: The checkpoint is damaged; checksums are verified on the way.
        VersionExistsError: ``export_dir`` is there already; it was not touched.
        ValidationError: The staged model failed its check.
        TableError: A dump of a table is damaged; found where dumps are made smaller.
        UnsupportedError: A graph has mutable lookup tables, or hash tables within functions.
        OSError: The disk is full, a folder not writable, and the like. In every case nothing is left behind.
    """
    check_validation(validate)
    plan = _make_plan(
        meta_graph,
        variables,
        tags=tags,
        assets=assets,
        assets_extra=assets_extra,
        clear_nodes=clear_devices,
        strip=strip_default_attrs,
        global_step=global_step,
        restore_variables=restore_variables,
        as_text=as_text,
        tables=tables,
    )
    if timestamped and not Path(export_dir).name.isdecimal():
        raise InvalidArgumentError(f"{os.fspath(export_dir)}: got timestamped=True, want a name that is a unix second")
    next_target = partial(timestamped_directory, Path(export_dir).parent) if timestamped else None
    with staged_directory(export_dir, next_target=next_target) as staged:
        _emit(plan, staged.path)
        # The check reads the model back: a large one need not be in memory twice.
        del plan
        validate_staged(staged.path, validate)
        return staged.commit()


def _make_plan(
    meta_graph: Message | Sequence[Message],
    checkpoint: Path_ | None,
    *,
    tags: Iterable[str] | None,
    assets: Mapping[str, Path_] | None,
    assets_extra: Mapping[str, Path_] | None,
    clear_nodes: bool,
    strip: bool,
    global_step: int | None,
    restore_variables: bool,
    as_text: bool,
    tables: TableOutput | None,
) -> _Plan:
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
    return _Plan(model, checkpoint, variables, files, extra_files, tables)


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


def _emit(plan: _Plan, folder: Path) -> None:
    # saved_model.pb comes last: no reader takes a folder without it for a model.
    (folder / VARIABLES_DIRECTORY).mkdir()
    if plan.variables is not None and plan.variables.count and plan.checkpoint is not None:
        # Not durable here: the whole tree is brought to the disk before it gets its name.
        copy_to_shards(
            plan.checkpoint,
            folder / VARIABLES_PREFIX,
            plan.variables.shards,
            extra=plan.variables.extra,
            durable=False,
        )
    copy_files(plan.assets, folder / ASSETS_DIRECTORY)
    if plan.tables is not None:
        plan.tables.write(folder / ASSETS_DIRECTORY, scratch=folder)
    copy_files(plan.assets_extra, folder / ASSETS_EXTRA_DIRECTORY)
    if isinstance(plan.model, str):
        (folder / SAVED_MODEL_PBTXT).write_text(plan.model, encoding="utf-8")
    else:
        with open(folder / SAVED_MODEL_PB, "wb") as file:
            file.writelines(plan.model)
