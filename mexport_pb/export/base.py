"""What all exporters share: running a model_fn, and writing one graph of it as one SavedModel."""

from __future__ import annotations

import abc
import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.checkpoint import checkpoint_step, latest_checkpoint
from mexport_pb.export.context import ExportContext
from mexport_pb.export.environment import without_training_cluster
from mexport_pb.export.frozen import frozen_meta_graph
from mexport_pb.export.model_plan import ModelPlan, Path_, plan_saved_model
from mexport_pb.export.signatures import build_signature_defs, export_outputs_of, signatures_of
from mexport_pb.export.source import Graph, GraphSource, ProtobufSource
from mexport_pb.export.spec import EstimatorSpec, ModeKeys, ModelFn, ReceiverFn, RunConfig, ServingInputReceiver
from mexport_pb.export.table_graph import add_table_signatures
from mexport_pb.export.table_output import TableMode, TableOutput, check_table_mode, plan_tables
from mexport_pb.export.validate import check_validation
from mexport_pb.export.version import check_version, timestamped_directory, versioned_directory
from mexport_pb.export.writer import Validation, publish_plan
from mexport_pb.graph import add_main_op, add_saver, clear_devices, strip_default_attrs
from mexport_pb.graph.names import names_and_scopes
from mexport_pb.messages import SERVING_TAG
from mexport_pb.messages.constants import WARMUP_FILENAME
from mexport_pb.table import TableSetLedger
from mexport_pb.warmup.collected import collected_warmup_plan
from mexport_pb.warmup.generate import gen_warmup_file

__all__ = ["BaseExporter"]


class BaseExporter(abc.ABC):
    """Exports a model_fn's graphs with the values of a checkpoint.

    Args:
        model_fn: Builds the model: ``model_fn(features, mode=..., config=...) -> EstimatorSpec``; ``mode`` and
            ``config`` are given if it takes them.
        model_dir: The folder of checkpoints.
        export_dir_base: The folder of versions to export into.
        shared_embedding: Whether embedding tables are read from the checkpoint's folder at load time instead of
            being copied into the export. A table's own setting goes first.
        warmup_file: A TFRecord file of PredictionLogs to install for warmup. One that does not exist is made, with
            random requests, if the graph's collections say of what features (see ``docs/warmup.md``).
        export_context_list: Makers of context managers that are entered, in their order, around the export.
        source: What kind of graphs model_fn builds: :class:`ProtobufSource` (the default) or
            :class:`mexport_pb.runtime.TensorFlowSource`.
        validate: How each staged model is checked before it is published; see :func:`write_saved_model`.
        global_step_as_timestamp: Name versions by the global step instead of unix seconds.
        tables: How embedding tables that are not shared get into the export: ``"copy"``, ``"hardlink"``, ``"serving"``
            (made smaller), or :class:`mexport_pb.ServingTables` with options.

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
        *,
        source: GraphSource | None = None,
        validate: Validation = "structure",
        global_step_as_timestamp: bool = False,
        tables: TableMode = "copy",
    ) -> None:
        self._model_fn = model_fn
        self._model_dir = os.fspath(model_dir)
        self._export_dir_base = Path(export_dir_base)
        self._shared_embedding = shared_embedding
        self._warmup_file = None if warmup_file is None else os.fspath(warmup_file)
        self._export_context_list = list(export_context_list or [])
        self._source: GraphSource = source or ProtobufSource()
        check_validation(validate)
        self._validate: Validation = validate
        self._global_step_as_timestamp = global_step_as_timestamp
        check_table_mode(tables)
        self._tables: TableMode = tables
        self.table_ledgers: dict[str, list[TableSetLedger]] = {}

    @abc.abstractmethod
    def export_saved_model(
        self,
        serving_input_receiver_fn: ReceiverFn,
        checkpoint_path: Path_ | None = None,
        global_step: int | None = None,
    ) -> bytes | dict[str, bytes]:
        """Exports the model.

        Args:
            serving_input_receiver_fn: Builds the inputs of the serving graph.
            checkpoint_path: Prefix of the checkpoint; the newest one of ``model_dir`` if None.
            global_step: The step that the checkpoint is of; read from it if None.

        Returns:
            The published directory, or the directories by sub-model, as file system bytes.
        """

    def gen_warmup_assets(self, graph: Graph | None = None, context: ExportContext | None = None) -> dict[str, str]:
        """The warmup file under the name that servers look for, as extra assets; empty without one.

        Args:
            graph: The serving graph; its collections say how to make a file that does not exist.
            context: Has the graph's signatures.

        Raises:
            InvalidArgumentError: The file does not exist, and nothing says how to make it.
            MexportError: It cannot be made; see :func:`mexport_pb.gen_warmup_file`. Nothing is left of it.
        """
        if self._warmup_file is None:
            return {}
        if not os.path.isfile(self._warmup_file):
            plan = None
            if graph is not None and context is not None:
                plan = collected_warmup_plan(partial(self._source.get_collection, graph))
            if graph is None or context is None or plan is None:
                raise InvalidArgumentError(
                    f"{self._warmup_file}: the warmup file does not exist, and nothing names features to make it of"
                )
            gen_warmup_file(
                self._warmup_file,
                build_signature_defs(context.signatures(graph), self._source, graph),
                plan.features,
                variant=plan.variant,
                batch_sizes=[plan.batch_size],
                max_records=plan.max_records,
                model_name=plan.model_name,
                drop_rate=plan.drop_rate,
            )
        return {WARMUP_FILENAME: self._warmup_file}

    def _find_checkpoint(self, checkpoint_path: Path_ | None) -> str:
        if checkpoint_path is not None:
            return os.fsdecode(checkpoint_path)
        found = latest_checkpoint(self._model_dir)
        if found is None:
            raise InvalidArgumentError(f"{self._model_dir}: no checkpoint to export in this folder")
        return found

    @contextlib.contextmanager
    def _export_environment(self) -> Iterator[None]:
        """Enters the user's contexts, and hides the training cluster from the model_fn."""
        with contextlib.ExitStack() as stack:
            for make_context in self._export_context_list:
                stack.enter_context(make_context())
            stack.enter_context(without_training_cluster())
            yield

    def _run_model_fn(self, graph: Graph, context: ExportContext, serving_input_receiver_fn: ReceiverFn) -> None:
        """Builds the serving graph in ``graph`` and hands its signatures to ``context``."""
        with self._source.as_default(graph):
            receiver = _as_receiver(serving_input_receiver_fn())
            spec = self._call_model_fn(receiver.features)
            for signature in signatures_of(receiver, export_outputs_of(spec), self._source, graph):
                context.add_signature(graph, signature.name, signature.inputs, signature.outputs, signature.method_name)

    def _call_model_fn(self, features: Any) -> EstimatorSpec:
        parameters = inspect.signature(self._model_fn).parameters
        takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        # Labels are for training; model functions that ask for them get none.
        offered = {"labels": None, "mode": ModeKeys.PREDICT, "config": RunConfig(self._model_dir)}
        spec: EstimatorSpec = self._model_fn(
            features, **{k: v for k, v in offered.items() if takes_all or k in parameters}
        )
        if not hasattr(spec, "predictions"):
            raise InvalidArgumentError(f"the model_fn returned {type(spec).__name__}, want an EstimatorSpec")
        return spec

    def _export_saved_model_from_graph(
        self,
        graph: Graph,
        checkpoint_path: Path_ | None,
        export_dir_base: Path_ | None = None,
        export_dir: Path_ | None = None,
        *,
        export_ctx: ExportContext,
        restore_vars: bool = True,
        restore_hashtable: bool = True,
        assign_hashtable: bool = True,
        export_tags: Iterable[str] = (SERVING_TAG,),
        assets_extra: Mapping[str, Path_] | None = None,
        clear_devices: bool = False,
        strip_default_attrs: bool = True,
        global_step: int | None = None,
    ) -> bytes:
        """Writes one graph as one SavedModel.

        Args:
            graph: A graph of this exporter's source.
            checkpoint_path: Prefix of the checkpoint with its variables.
            export_dir_base: The folder to make a version in; the version is chosen by the exporter's rule.
            export_dir: The directory to make, if the caller chose it.
            export_ctx: Has the graph's signatures.
            restore_vars: Whether the variables' values and a saver go into the model.
            restore_hashtable: Whether the embedding tables' values go into the model.
            assign_hashtable: Whether the model can be fed new table values (signature ``hashtable_assign``).
            export_tags: The tags of the graph.
            assets_extra: Sources by path relative to ``assets.extra/``.
            clear_devices: Whether nodes lose their devices.
            strip_default_attrs: Whether attributes that have their default value are left out.
            global_step: The step to name the version by, where that is the rule, else read from the checkpoint; and the
                value of the variable ``global_step`` if the checkpoint has none.

        Returns:
            The published directory.

        Raises:
            MexportError: As :func:`write_saved_model`.
        """
        target, timestamped = self._target(checkpoint_path, export_dir_base, export_dir, global_step)
        plan = self._plan_saved_model(
            graph,
            checkpoint_path,
            export_ctx=export_ctx,
            restore_vars=restore_vars,
            restore_hashtable=restore_hashtable,
            assign_hashtable=assign_hashtable,
            export_tags=export_tags,
            assets_extra=assets_extra,
            clear_devices=clear_devices,
            strip_default_attrs=strip_default_attrs,
            global_step=global_step,
        )
        return self._publish(plan, target, timestamped)

    def _export_frozen_saved_model_from_graph(
        self,
        graph: Graph,
        checkpoint_path: Path_ | None,
        export_dir_base: Path_ | None = None,
        export_dir: Path_ | None = None,
        *,
        export_ctx: ExportContext,
        export_tags: Iterable[str] = (SERVING_TAG,),
        assets_extra: Mapping[str, Path_] | None = None,
        clear_devices: bool = False,
        strip_default_attrs: bool = True,
        global_step: int | None = None,
    ) -> bytes:
        """Writes one graph as one SavedModel with constants in place of its variables (:func:`mexport_pb.freeze`).

        The only variable is ``global_step``, which is read from the checkpoint. Embedding tables, their signatures and
        collections are left out; a signature that needs a table cannot be frozen.

        Args:
            graph: As :meth:`_export_saved_model_from_graph`, and so are the others.
            checkpoint_path: Prefix of the checkpoint with the values.
            export_dir_base: The folder to make a version in.
            export_dir: The directory to make.
            export_ctx: Has the graph's signatures; what they need is kept.
            export_tags: The tags of the graph.
            assets_extra: Sources by path relative to ``assets.extra/``.
            clear_devices: Whether nodes lose their devices.
            strip_default_attrs: Whether attributes that have their default value are left out.
            global_step: The step to name the version by, and the value of the variable if the checkpoint has none.

        Returns:
            The published directory.

        Raises:
            MexportError: As :func:`mexport_pb.freeze` and :func:`write_saved_model`.
        """
        target, timestamped = self._target(checkpoint_path, export_dir_base, export_dir, global_step)
        plan = self._plan_frozen_saved_model(
            graph,
            checkpoint_path,
            export_ctx=export_ctx,
            export_tags=export_tags,
            assets_extra=assets_extra,
            clear_devices=clear_devices,
            strip_default_attrs=strip_default_attrs,
            global_step=global_step,
        )
        return self._publish(plan, target, timestamped)

    def _plan_saved_model(
        self,
        graph: Graph,
        checkpoint_path: Path_ | None,
        *,
        export_ctx: ExportContext,
        restore_vars: bool = True,
        restore_hashtable: bool = True,
        assign_hashtable: bool = True,
        export_tags: Iterable[str] = (SERVING_TAG,),
        assets_extra: Mapping[str, Path_] | None = None,
        clear_devices: bool = False,
        strip_default_attrs: bool = True,
        global_step: int | None = None,
        tables: TableMode | None = None,
        table_checkpoint: Path_ | None = None,
        place: Callable[[MetaGraphDef], MetaGraphDef] | None = None,
    ) -> ModelPlan:
        """What :meth:`_export_saved_model_from_graph` writes.

        ``tables`` takes the place of the exporter's own mode, ``table_checkpoint`` that of the checkpoint for tables;
        ``place`` gives the graph's nodes their devices.
        """
        meta_graph, output = self._serving_meta_graph(
            graph,
            export_ctx,
            checkpoint_path if table_checkpoint is None else table_checkpoint,
            restore_vars=restore_vars,
            restore_hashtable=restore_hashtable,
            assign_hashtable=assign_hashtable,
            tables=self._tables if tables is None else tables,
            place=place,
        )
        return plan_saved_model(
            _cleaned(meta_graph, clear_devices, strip_default_attrs),
            checkpoint_path if restore_vars else None,
            tags=export_tags,
            assets_extra=assets_extra,
            global_step=global_step if restore_vars else None,
            restore_variables=restore_vars,
            tables=output,
        )

    def _plan_frozen_saved_model(
        self,
        graph: Graph,
        checkpoint_path: Path_ | None,
        *,
        export_ctx: ExportContext,
        export_tags: Iterable[str] = (SERVING_TAG,),
        assets_extra: Mapping[str, Path_] | None = None,
        clear_devices: bool = False,
        strip_default_attrs: bool = True,
        global_step: int | None = None,
    ) -> ModelPlan:
        """What :meth:`_export_frozen_saved_model_from_graph` writes."""
        signatures = build_signature_defs(export_ctx.signatures(graph), self._source, graph)
        meta_graph = frozen_meta_graph(self._source.to_meta_graph(graph), signatures, checkpoint_path)
        return plan_saved_model(
            _cleaned(meta_graph, clear_devices, strip_default_attrs),
            checkpoint_path if meta_graph.HasField("saver_def") else None,
            tags=export_tags,
            assets_extra=assets_extra,
            global_step=global_step,
        )

    def _publish(self, plan: ModelPlan, target: Path, timestamped: bool) -> bytes:
        path = publish_plan(plan, target, validate=self._validate, timestamped=timestamped)
        self._keep_ledgers(plan, path)
        return os.fsencode(path)

    def _keep_ledgers(self, plan: ModelPlan, path: Path) -> None:
        if plan.tables is not None and plan.tables.ledgers:
            self.table_ledgers[str(path)] = plan.tables.ledgers

    def _target(
        self,
        checkpoint_path: Path_ | None,
        export_dir_base: Path_ | None,
        export_dir: Path_ | None,
        global_step: int | None,
    ) -> tuple[Path, bool]:
        """The directory to make, and whether it is named by the time."""
        if export_dir is not None and export_dir_base is None:
            return Path(export_dir), False
        if export_dir_base is None or export_dir is not None:
            got = "neither" if export_dir is None else "both"
            raise InvalidArgumentError(f"want either export_dir or export_dir_base, got {got}")
        step = None if checkpoint_path is None else self._version_step(checkpoint_path, global_step)
        if step is not None:
            return versioned_directory(str(export_dir_base), step), False
        return timestamped_directory(str(export_dir_base)), True

    def _version_step(self, checkpoint: Path_, global_step: int | None) -> int | None:
        """The step to name the version by; None where it is named by the time."""
        if not self._global_step_as_timestamp:
            return None
        return check_version(checkpoint_step(checkpoint) if global_step is None else global_step)

    def _serving_meta_graph(
        self,
        graph: Graph,
        context: ExportContext,
        table_checkpoint: Path_ | None,
        *,
        restore_vars: bool,
        restore_hashtable: bool,
        assign_hashtable: bool,
        tables: TableMode,
        place: Callable[[MetaGraphDef], MetaGraphDef] | None,
    ) -> tuple[MetaGraphDef, TableOutput | None]:
        if restore_vars:
            # A saver needs a variable: the global step makes sure that there is one.
            with self._source.as_default(graph):
                self._source.create_global_step(graph)
        signatures = build_signature_defs(context.signatures(graph), self._source, graph)
        meta_graph = self._source.to_meta_graph(graph)
        if place is not None:
            meta_graph = place(meta_graph)
        for name, signature in signatures.items():
            meta_graph.signature_def[name].CopyFrom(signature)
        names = _Names(self._source.names_in_use(graph), meta_graph)
        if assign_hashtable:
            # Pushers of table values call it by name, so it is there even in a model without tables.
            meta_graph = add_table_signatures(meta_graph, always=True, names_in_use=names.of(meta_graph))
        if restore_vars:
            meta_graph = add_saver(meta_graph, names_in_use=names.of(meta_graph))
        restores: list[str] = []
        output = None
        if restore_hashtable:
            meta_graph, restores, output = plan_tables(
                meta_graph,
                table_checkpoint,
                shared_embedding=self._shared_embedding,
                mode=tables,
                names_in_use=names.of(meta_graph),
            )
        # Upstream groups the restores of tables, of which a dense model has none; without restores it makes a no-op.
        name = "group_deps" if restore_hashtable else "NoOp"
        return add_main_op(meta_graph, restores, name=name, names_in_use=names.of(meta_graph)), output


class _Names:
    """The names that a graph's source knows of, and those that were added since.

    What a source knows may be less than the nodes say: TensorFlow enters the scopes of an imported graph anew.
    """

    def __init__(self, known: set[str] | None, meta_graph: MetaGraphDef) -> None:
        self._known = known
        self._first = {node.name for node in meta_graph.graph_def.node}

    def of(self, meta_graph: MetaGraphDef) -> set[str] | None:
        """Names that new nodes may not take; None where the source knows no more than the nodes say."""
        if self._known is None:
            return None
        added = (node.name for node in meta_graph.graph_def.node if node.name not in self._first)
        return self._known | names_and_scopes(added)


def _cleaned(meta_graph: MetaGraphDef, clear_nodes: bool, strip: bool) -> MetaGraphDef:
    if clear_nodes:
        meta_graph = clear_devices(meta_graph)
    return strip_default_attrs(meta_graph) if strip else meta_graph


def _as_receiver(value: Any) -> ServingInputReceiver:
    """Takes receivers of other makers too, by their attributes."""
    if isinstance(value, ServingInputReceiver):
        return value
    if not (hasattr(value, "features") and hasattr(value, "receiver_tensors")):
        raise InvalidArgumentError(
            f"the serving_input_receiver_fn returned {type(value).__name__}, want a ServingInputReceiver"
        )
    alternatives = getattr(value, "receiver_tensors_alternatives", None) or {}
    return ServingInputReceiver(value.features, value.receiver_tensors, alternatives)
