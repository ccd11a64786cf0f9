"""One entry saved by TensorFlow and by us, from the same graph and checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

import mexport_pb as mx
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.runtime import TensorFlowSource
from tests.corpus.compare import Comparison, compare_trees
from tests.corpus.model import Entry, Model, Signature
from tests.corpus.session import new_graph, new_session, repeatable_names

__all__ = ["Inputs", "compare_builder", "compare_exporter", "save_with_builder"]

_v1 = tf.compat.v1
_DEFAULT = "serving_default"
_STEP = 7


@dataclass(frozen=True)
class Inputs:
    """What :func:`mexport_pb.write_saved_model` needs to write what the Builder wrote.

    Attributes:
        meta_graphs: The graphs as they were before the Builder added to them, with signatures, tags and main op.
        checkpoint: Prefix of a checkpoint that a session wrote; None for graphs without variables.
        options: Keyword arguments.
        names_in_use: Names that TensorFlow held for taken in the first graph.
    """

    meta_graphs: list[MetaGraphDef]
    checkpoint: Path | None
    options: dict[str, bool]
    names_in_use: set[str]


def compare_builder(entry: Entry, work: Path) -> Comparison:
    """``tf.compat.v1.saved_model.Builder`` against :func:`mexport_pb.write_saved_model`.

    Args:
        entry: The graph.
        work: A folder for files of the graph, checkpoint and exports; the exports are ``builder`` and ``ours``.
    """
    inputs = save_with_builder(entry, work)
    mx.write_saved_model(inputs.meta_graphs, work / "ours", inputs.checkpoint, **inputs.options)
    return compare_trees(work / "builder", work / "ours")


def save_with_builder(entry: Entry, work: Path) -> Inputs:
    """Lets the Builder save an entry's graph into the folder ``builder``, and returns what we need for the same."""
    files = _folder(work / "files")
    with new_graph(entry.name) as graph:
        model = entry.build(files)
        ours = [_meta_graph(graph, model)]
        names = TensorFlowSource().names_in_use(graph)
    if entry.second_tags and entry.second is None:
        # The second MetaGraph is of the graph with the saver that the first one got.
        ours.append(mx.add_saver(mx.add_saver(ours[0])))
    checkpoint = work / "train" / "model.ckpt"
    if entry.train is not None:
        _train(entry.train, entry, files, checkpoint)
    with graph.as_default(), repeatable_names(entry.name), new_session(graph, entry.cluster) as session:
        _initialize(session, None if entry.train is None else checkpoint, graph)
        builder = _v1.saved_model.Builder(str(work / "builder"))
        options = {"clear_devices": entry.clear_devices, "strip_default_attrs": entry.strip_default_attrs}
        builder.add_meta_graph_and_variables(
            session,
            list(entry.tags),
            _signature_defs(model),
            assets_collection=_assets(model),
            main_op=model.main_op,
            **options,
        )
        if entry.second_tags and entry.second is None:
            builder.add_meta_graph(list(entry.second_tags), _signature_defs(model), **options)
        if entry.train is None:
            _save(session, checkpoint)
    if entry.second is not None:
        with new_graph(f"{entry.name}/second") as second:
            more = entry.second(files)
            ours.append(_meta_graph(second, more))
            builder.add_meta_graph(
                list(entry.second_tags),
                _signature_defs(more),
                assets_collection=_assets(more),
                main_op=more.main_op,
                **options,
            )
    builder.save()

    for meta_graph, tags in zip(ours, (entry.tags, entry.second_tags), strict=False):
        meta_graph.meta_info_def.tags.extend(tags)
    return Inputs(ours, checkpoint if _has_variables(graph) else None, options, names)


def compare_exporter(entry: Entry, work: Path) -> Comparison:
    """The upstream exporter's steps, done with TensorFlow, against :class:`mexport_pb.StandaloneExporter`.

    The steps: model_fn, signatures and an empty ``hashtable_assign``, the global step, a sharded Saver that restores
    the checkpoint, a main op that groups the restores of tables (of which a dense model has none), the Builder. Where
    the graph has lookup tables or local variables, the main op also runs their initializers, without which the model
    could not answer; upstream leaves those out.
    """
    files = _folder(work / "files")
    checkpoint = work / "train" / f"model.ckpt-{_STEP}"
    _train(entry.train or entry.build, entry, files, checkpoint)
    _export_upstream(entry, files, checkpoint, work / "upstream")

    def receiver_fn() -> Any:
        model = entry.build(files)
        name, first = _split(model)
        context, graph = mx.get_current_export_ctx(), _v1.get_default_graph()
        for other, signature in model.signatures.items():
            if other != name:
                context.add_signature(graph, other, signature.inputs, signature.outputs, signature.method)
        return mx.ServingInputReceiver({"first": first, "default": name}, first.inputs)

    def model_fn(features: Any, mode: str) -> Any:
        return mx.EstimatorSpec(mode, features["first"].outputs)

    exporter = mx.StandaloneExporter(model_fn, work / "train", work / "ours", source=_SeededSource())
    with repeatable_names(entry.name):
        path = exporter.export_saved_model(receiver_fn, checkpoint)
    return compare_trees(work / "upstream", Path(os.fsdecode(path)))


class _SeededSource(TensorFlowSource):
    """Graphs with the random seed of the reference's."""

    def new_graph(self) -> Any:
        graph = super().new_graph()
        with graph.as_default():
            _v1.set_random_seed(1)
        return graph


def _export_upstream(entry: Entry, files: Path, checkpoint: Path, export_dir: Path) -> None:
    keys = _v1.GraphKeys
    with new_graph(entry.name) as graph:
        model = entry.build(files)
        name, first = _split(model)
        signatures = {other: signature for other, signature in model.signatures.items() if other != name}
        signatures[_DEFAULT] = first
        for key in signatures:
            _v1.add_to_collection("signature_name", key)
        _v1.train.get_or_create_global_step()
        signatures["hashtable_assign"] = Signature({}, {})
        saver = _v1.train.Saver(sharded=True)
        with new_session(graph, entry.cluster) as session:
            saver.restore(session, str(checkpoint))
            restores_of_tables: list[Any] = []
            initializers = [v.initializer for v in graph.get_collection(keys.LOCAL_VARIABLES)]
            initializers += graph.get_collection(keys.TABLE_INITIALIZERS)
            main_op = tf.group(*restores_of_tables, *initializers)
            builder = _v1.saved_model.Builder(str(export_dir))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                _signature_defs(Model(signatures)),
                assets_collection=graph.get_collection(keys.ASSET_FILEPATHS),
                main_op=main_op,
                saver=saver,
                strip_default_attrs=True,
                clear_devices=False,
            )
        builder.save()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _split(model: Model) -> tuple[str, Signature]:
    name = _DEFAULT if _DEFAULT in model.signatures else next(iter(model.signatures))
    return name, model.signatures[name]


def _meta_graph(graph: Any, model: Model) -> Any:
    source = TensorFlowSource()
    meta_graph = source.to_meta_graph(graph)
    for name, signature in model.signatures.items():
        inputs = {key: source.tensor_info(tensor) for key, tensor in signature.inputs.items()}
        outputs = {key: source.tensor_info(tensor) for key, tensor in signature.outputs.items()}
        meta_graph.signature_def[name].CopyFrom(mx.make_signature_def(inputs, outputs, signature.method))
    return meta_graph if model.main_op is None else mx.set_main_op(meta_graph, model.main_op.name)


def _signature_defs(model: Model) -> dict[str, Any]:
    infos = _v1.saved_model.build_tensor_info
    return {
        name: _v1.saved_model.build_signature_def(
            {key: infos(tensor) for key, tensor in signature.inputs.items()},
            {key: infos(tensor) for key, tensor in signature.outputs.items()},
            signature.method,
        )
        for name, signature in model.signatures.items()
    }


def _assets(model: Model) -> list[Any] | None:
    return _v1.get_collection(_v1.GraphKeys.ASSET_FILEPATHS) if model.use_assets else None


def _has_variables(graph: Any) -> bool:
    return bool(graph.get_collection(_v1.GraphKeys.GLOBAL_VARIABLES))


def _initialize(session: Any, checkpoint: Path | None, graph: Any) -> None:
    """Gives variables their values without a trace in the graph: initializers one by one, in an order that works."""
    variables = graph.get_collection(_v1.GraphKeys.GLOBAL_VARIABLES)
    if checkpoint is None:
        for variable in variables:
            session.run(variable.initializer)
        return
    # Another graph's saver knows how to restore, from whatever parts the checkpoint has.
    reader = tf.train.load_checkpoint(str(checkpoint))
    for variable in variables:
        info = variable._get_save_slice_info()
        if info is None:
            value = reader.get_tensor(variable.op.name)
        else:
            part = tuple(slice(o, o + n) for o, n in zip(info.var_offset, info.var_shape, strict=True))
            value = reader.get_tensor(info.full_name)[part]
        variable.load(value, session)


def _save(session: Any, checkpoint: Path) -> None:
    """Writes a checkpoint of the session, as a training job does."""
    _folder(checkpoint.parent)
    if _has_variables(session.graph):
        _v1.train.Saver().save(session, str(checkpoint), write_state=False)


def _train(build: Any, entry: Entry, files: Path, checkpoint: Path) -> None:
    """Makes a checkpoint of a graph and its global step."""
    with new_graph(f"{entry.name}/train") as graph:
        build(files)
        step = _v1.train.get_or_create_global_step()
        with new_session(graph, entry.cluster) as session:
            _initialize(session, None, graph)
            session.run(_v1.assign(step, _STEP))
            _save(session, checkpoint)
