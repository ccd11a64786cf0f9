"""Writing a SavedModel from MetaGraphDefs and a checkpoint: plan, stage, check, publish."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from google.protobuf.message import Message

from mexport_pb.bundle import copy_to_shards
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.assets import copy_files
from mexport_pb.export.model_plan import ModelPlan, Path_, plan_saved_model
from mexport_pb.export.publish import staged_directory
from mexport_pb.export.table_output import TableOutput
from mexport_pb.export.validate import check_validation, validate_staged
from mexport_pb.export.version import timestamped_directory
from mexport_pb.messages.constants import (
    ASSETS_DIRECTORY,
    ASSETS_EXTRA_DIRECTORY,
    SAVED_MODEL_PB,
    SAVED_MODEL_PBTXT,
    VARIABLES_DIRECTORY,
    VARIABLES_PREFIX,
)

__all__ = [
    "Path_",
    "Validation",
    "publish_plan",
    "write_plan",
    "write_saved_model",
]

Validation: TypeAlias = Literal["structure", "restore", "warmup"]


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
    plan = plan_saved_model(
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
    return publish_plan(plan, export_dir, validate=validate, timestamped=timestamped)


def publish_plan(plan: ModelPlan, export_dir: Path_, *, validate: Validation, timestamped: bool = False) -> Path:
    """Makes one directory of a plan; see :func:`write_saved_model`. The plan is used up."""
    if timestamped and not Path(export_dir).name.isdecimal():
        raise InvalidArgumentError(f"{os.fspath(export_dir)}: got timestamped=True, want a name that is a unix second")
    next_target = partial(timestamped_directory, Path(export_dir).parent) if timestamped else None
    with staged_directory(export_dir, next_target=next_target) as staged:
        write_plan(plan, staged.path)
        validate_staged(staged.path, validate)
        return staged.commit()


def write_plan(plan: ModelPlan, folder: Path, check: Callable[[], None] | None = None) -> None:
    """Writes what was planned into an empty folder; not durable yet. The plan is used up.

    Args:
        plan: What to write.
        folder: A staged directory.
        check: Called now and then; may raise to give the rest up.

    Raises:
        MexportError, OSError: As :func:`write_saved_model`.
    """
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
            check=check,
        )
    copy_files(plan.assets, folder / ASSETS_DIRECTORY, check)
    if plan.tables is not None:
        plan.tables.write(folder / ASSETS_DIRECTORY, scratch=folder, check=check)
    copy_files(plan.assets_extra, folder / ASSETS_EXTRA_DIRECTORY, check)
    if isinstance(plan.model, str):
        (folder / SAVED_MODEL_PBTXT).write_text(plan.model, encoding="utf-8")
    else:
        with open(folder / SAVED_MODEL_PB, "wb") as file:
            file.writelines(plan.model)
    # The check of what was staged reads the model back: a large one need not be in memory twice.
    plan.model = ""
