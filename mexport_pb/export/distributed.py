"""One version of a model as several SavedModels: docs/distributed.md."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from mexport_pb.check import check_asset_filename
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.base import BaseExporter
from mexport_pb.export.context import ExportContext, ExportMode, enter_export_mode
from mexport_pb.export.group import ENTRY, GroupMember, recovered_base, staged_group
from mexport_pb.export.model_plan import ModelPlan, Path_
from mexport_pb.export.parallel import Check, run_tasks
from mexport_pb.export.resharded import resharded_checkpoint
from mexport_pb.export.source import Graph, GraphSource
from mexport_pb.export.spec import ModelFn, ReceiverFn
from mexport_pb.export.table_output import TableMode, check_table_mode
from mexport_pb.export.validate import check_fit, replay_staged, validate_staged
from mexport_pb.export.version import timestamped_version
from mexport_pb.export.writer import Validation, write_plan
from mexport_pb.graph.placement import place_on_cpu
from mexport_pb.table import ServingTables
from mexport_pb.table.files import thread_count
from mexport_pb.table.partition import check_num_ps

__all__ = ["DistributedExporter"]

_DENSE_PREFIX: Final = "dense"
_SUFFIX_ATTRIBUTE: Final = "export_suffix"
_LEAST_MEMORY: Final = 1 << 20
# So many threads more than processors: some wait for the disk.
_WAITING: Final = 4

_Kind: TypeAlias = Literal["entry", "dense_sub_graph", "server", "dense_part"]
"""Servers and dense sub-graphs have tables and signatures to push to them; dense parts are frozen if so wished."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _SubModel:
    name: str
    graph: Graph
    kind: _Kind
    suffix: str = ""

    @property
    def member(self) -> GroupMember:
        return GroupMember(self.name, self.suffix)


class DistributedExporter(BaseExporter):
    """Exports the entry, parameter servers and dense parts of a model as one version of several SavedModels.

    ``<export_dir_base>/entry/<version>`` has the graph that model_fn builds, ``<export_dir_base>/<name>/<version>`` the
    graphs that it asks the export's context for. A reader that finds an entry's version finds that of every other
    sub-model, at whatever point an exporter died: docs/distributed.md.

    Args:
        model_fn: As for :class:`BaseExporter`.
        model_dir: The folder of checkpoints.
        export_dir_base: The folder of sub-models.
        shared_embedding: As for :class:`BaseExporter`.
        warmup_file: As for :class:`BaseExporter`; for the entry.
        export_context_list: As for :class:`BaseExporter`.
        dense_only: Whether parameter servers are left out.
        allow_gpu: Whether the entry's nodes may be placed on GPUs. Otherwise all are on CPU:0 of their task.
        with_remote_gpu: Whether model_fn shall put the dense part into a sub-graph; told by the context.
        clear_entry_devices: Whether the entry's nodes lose their devices.
        include_graphs: Names of the sub-models to export, ``"entry"`` among them; all if None.
        global_step_as_timestamp: Name versions by the global step instead of unix seconds.
        freeze_variable: Whether sub-graphs whose name begins with "dense" get constants for variables.
        source: As for :class:`BaseExporter`.
        validate: As for :class:`BaseExporter`; for each sub-model, and whether the calls between them fit. ``"warmup"``
            loads all sub-models at once, those of the version that are there already among them, and replays the
            entry's file through the calls between them.
        tables: As for :class:`BaseExporter`; ``memory_bytes`` is for all threads together.
        threads: How many sub-models are written at a time; a few more than there are processors if None.
        num_ps: How many parameter servers the export is for. model_fn builds ``ps_0`` to ``ps_<num_ps - 1>``, whose ids
            are those with ``id mod num_ps``; where the checkpoint's tables are of another number, their rows are moved.
            None: as many as model_fn builds, and the checkpoint's tables as they are.

    Attributes:
        table_ledgers: Where tables were made smaller, what became of each row, by published directory.
    """

    def __init__(
        self,
        model_fn: ModelFn,
        model_dir: Path_,
        export_dir_base: Path_,
        shared_embedding: bool = False,
        warmup_file: Path_ | None = None,
        export_context_list: Sequence[Callable[[], AbstractContextManager[Any]]] | None = None,
        dense_only: bool = False,
        allow_gpu: bool = False,
        with_remote_gpu: bool = False,
        clear_entry_devices: bool = False,
        include_graphs: Iterable[str] | None = None,
        global_step_as_timestamp: bool = False,
        freeze_variable: bool = True,
        *,
        source: GraphSource | None = None,
        validate: Validation = "structure",
        tables: TableMode = "copy",
        threads: int | None = None,
        num_ps: int | None = None,
    ) -> None:
        super().__init__(
            model_fn,
            model_dir,
            export_dir_base,
            shared_embedding,
            warmup_file,
            export_context_list,
            source=source,
            validate=validate,
            global_step_as_timestamp=global_step_as_timestamp,
            tables=tables,
        )
        if isinstance(include_graphs, str):
            raise InvalidArgumentError(f"include_graphs: got the string {include_graphs!r}, want a list of names")
        self._dense_only = dense_only
        self._allow_gpu = allow_gpu
        self._with_remote_gpu = with_remote_gpu
        self._clear_entry_devices = clear_entry_devices
        self._include_graphs = None if include_graphs is None else frozenset(include_graphs)
        self._freeze_variable = freeze_variable
        self._threads = thread_count(threads) if threads is not None else thread_count(None) + _WAITING
        if num_ps is not None:
            check_num_ps(num_ps)
        self._num_ps = num_ps

    def export_saved_model(
        self,
        serving_input_receiver_fn: ReceiverFn,
        checkpoint_path: Path_ | None = None,
        global_step: int | None = None,
    ) -> dict[str, bytes]:
        """Exports the model; see :meth:`BaseExporter.export_saved_model`.

        Returns:
            The published directory of each sub-model that was written, as file system bytes. Those that had the version
            already are not written.

        Raises:
            InvalidArgumentError: There is no checkpoint, a sub-graph's name or suffix is illegal, or the model_fn's
                outputs cannot be exported.
            VersionExistsError: Somebody else made one of the directories meanwhile; nothing was published.
            PublishError: The version could not be published; the message says what was done.
            MexportError: As :func:`mexport_pb.write_saved_model`; nothing was published.
        """
        context = ExportContext(self._with_remote_gpu, source=self._source, num_ps=self._num_ps)
        checkpoint = self._find_checkpoint(checkpoint_path)
        step = self._version_step(checkpoint, global_step)
        with enter_export_mode(ExportMode.DISTRIBUTED, context), self._export_environment():
            graph = self._source.new_graph()
            self._run_model_fn(graph, context, serving_input_receiver_fn)
            known = _sub_models(graph, context)
            self._check_servers(known)
            models = self._wanted(known, step)
            if not models:
                _log.info("%s: nothing to export", self._export_dir_base)
                return {}
            with self._tables_of_servers(models, checkpoint) as tables:
                # Everything is planned before a byte is written: a table whose files are missing costs nothing.
                plans = {
                    model.name: self._plan(model, context, checkpoint, tables, global_step, models) for model in models
                }
                return self._write(models, plans, step, known)

    def _check_servers(self, models: list[_SubModel]) -> None:
        servers = {model.name for model in models if model.kind == "server"}
        if self._num_ps is not None and (
            len(servers) != self._num_ps or servers != {f"ps_{i}" for i in range(len(servers))}
        ):
            got = ", ".join(sorted(servers)) or "none"
            raise InvalidArgumentError(f"num_ps is {self._num_ps}: want sub-graphs ps_0 and so on, so many; got {got}")

    def _tables_of_servers(self, models: list[_SubModel], checkpoint: str) -> AbstractContextManager[str]:
        """The prefix of the folder with the tables of so many servers as there will be."""
        if self._num_ps is None or not any(model.kind == "server" for model in models):
            return nullcontext(checkpoint)
        return resharded_checkpoint(checkpoint, self._num_ps, self._export_dir_base, self._threads)

    def _wanted(self, models: list[_SubModel], step: int | None) -> list[_SubModel]:
        """Those sub-models that are asked for and not there yet, after what dead exporters left was cleaned up."""
        if self._include_graphs is not None and (unknown := self._include_graphs - {model.name for model in models}):
            _log.warning("include_graphs: the model has no %s", ", ".join(sorted(unknown)))
        with recovered_base(self._export_dir_base):
            return [model for model in models if self._should_export(model, step)]

    def _should_export(self, model: _SubModel, step: int | None) -> bool:
        if step is not None:
            target = self._export_dir_base / model.name / f"{step}{model.suffix}"
            if os.path.lexists(target):
                _log.info("%s: it is there already, skipping", target)
                return False
        if self._dense_only and model.kind == "server":
            return False
        return self._include_graphs is None or model.name in self._include_graphs

    def _plan(
        self,
        model: _SubModel,
        context: ExportContext,
        checkpoint: str,
        tables: str,
        global_step: int | None,
        models: list[_SubModel],
    ) -> ModelPlan:
        if model.kind == "entry":
            return self._plan_saved_model(
                model.graph,
                checkpoint,
                export_ctx=context,
                restore_hashtable=False,
                assign_hashtable=False,
                assets_extra=self.gen_warmup_assets(model.graph, context),
                clear_devices=self._clear_entry_devices,
                global_step=global_step,
                place=partial(place_on_cpu, allow_gpu=self._allow_gpu),
            )
        if model.kind == "dense_part" and self._freeze_variable:
            return self._plan_frozen_saved_model(model.graph, checkpoint, export_ctx=context, global_step=global_step)
        moved = model.kind == "server" and tables != checkpoint
        mode = self._table_mode(min(self._threads, len(models)))
        plan = self._plan_saved_model(
            model.graph,
            checkpoint,
            export_ctx=context,
            restore_hashtable=model.kind != "dense_part",
            assign_hashtable=model.kind != "dense_part",
            global_step=global_step,
            # The files in scratch space are ours: no second copy of them is needed.
            tables="hardlink" if moved and mode == "copy" else mode,
            table_checkpoint=tables if moved else checkpoint,
        )
        if moved and plan.tables is not None:
            for files in plan.tables.tables:
                if files.shared:
                    raise InvalidArgumentError(
                        f"table {files.table.name!r}: is shared with the checkpoint, which has not the tables of "
                        f"{self._num_ps} parameter servers"
                    )
        return plan

    def _published(self, models: list[_SubModel], step: int | None) -> dict[str, Path]:
        """The directories of those sub-models that are there already in the version that is exported."""
        if step is None:
            return {}
        paths = {model.name: self._export_dir_base / model.name / f"{step}{model.suffix}" for model in models}
        return {name: path for name, path in paths.items() if path.is_dir()}

    def _table_mode(self, parts: int) -> TableMode:
        mode = check_table_mode(self._tables)
        if not isinstance(mode, ServingTables):
            return self._tables
        return dataclasses.replace(mode, memory_bytes=max(_LEAST_MEMORY, mode.memory_bytes // parts))

    def _write(
        self, models: list[_SubModel], plans: dict[str, ModelPlan], step: int | None, known: list[_SubModel]
    ) -> dict[str, bytes]:
        # Readers start at the entry: it comes last.
        ordered = sorted(models, key=lambda model: model.kind == "entry")
        places = [(self._export_dir_base / model.name, model.suffix) for model in models]
        next_version = partial(timestamped_version, places) if step is None else None
        version = timestamped_version(places) if step is None else step
        members = [model.member for model in ordered]
        # A model that TensorFlow loads is in memory as a whole: one at a time.
        one_load = threading.Lock() if self._validate == "restore" else nullcontext()
        # Warmup requests need all of the models at once: later.
        validation = "structure" if self._validate == "warmup" else self._validate

        with staged_group(self._export_dir_base, members, version, next_version=next_version) as group:

            def write(number: int, check: Check) -> None:
                folder = group.paths[number]
                write_plan(plans[ordered[number].name], folder, check)
                with one_load:
                    check()
                    validate_staged(folder, validation)

                check()
                group.sync(number)

            run_tasks([partial(write, number) for number in range(len(ordered))], self._threads, f"export {version}")
            staged = dict(zip((model.name for model in ordered), group.paths, strict=True))
            together = {**self._published(known, step), **staged}
            check_fit(together)
            if self._validate == "warmup":
                replay_staged(together)
            targets = dict(zip((model.name for model in ordered), group.commit(), strict=True))
        for model in models:
            self._keep_ledgers(plans[model.name], targets[model.name])
        return {model.name: os.fsencode(targets[model.name]) for model in models}


def _sub_models(entry: Graph, context: ExportContext) -> list[_SubModel]:
    """All sub-models in the order of the result: entry, dense sub-graphs, parameter servers, dense parts."""
    models = [_SubModel(ENTRY, entry, "entry")]
    models += [_sub_model(name, graph, "dense_sub_graph") for name, graph in context.dense_sub_graphs.items()]
    parts = [name for name in context.sub_graphs if name.startswith(_DENSE_PREFIX)]
    servers = [name for name in context.sub_graphs if name not in parts]
    models += [_sub_model(name, context.sub_graphs[name], "server") for name in servers]
    models += [_sub_model(name, context.sub_graphs[name], "dense_part") for name in parts]
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise InvalidArgumentError(f"two graphs of the export are named {model.name!r}")
        seen.add(model.name)
    return models


def _sub_model(name: str, graph: Graph, kind: _Kind) -> _SubModel:
    suffix = getattr(graph, _SUFFIX_ATTRIBUTE, "")
    if name.startswith("."):
        raise InvalidArgumentError(f"sub-graph {name!r}: want a name that does not begin with a dot")
    if not isinstance(suffix, str) or suffix[:1].isdigit():
        raise InvalidArgumentError(
            f"sub-graph {name!r}: got suffix {suffix!r}, want text that does not go on with the version's digits"
        )
    for text in (name, f"1{suffix}"):
        try:
            check_asset_filename(text)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"sub-graph {name!r}, suffix {suffix!r}: want names of one component") from error
    return _SubModel(name, graph, kind, suffix)
