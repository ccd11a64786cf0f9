"""Exporting a graph that a training job saved: its ``.meta`` file, cut down to what some signatures need."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.serving_tables import make_tables_serve
from mexport_pb.export.table_graph import add_table_signatures
from mexport_pb.export.table_output import TableMode, check_table_mode, plan_tables
from mexport_pb.export.writer import Path_, Validation, write_saved_model
from mexport_pb.graph import (
    add_main_op,
    clear_devices,
    freeze,
    prune_to_signatures,
    strip_default_attrs,
    tensor_info_of,
)
from mexport_pb.messages import SERVING_TAG, make_signature_def, read_meta_graph, to_message
from mexport_pb.table import TableSetLedger

__all__ = ["SignatureSpec", "export_meta_graph", "parse_signature"]


@dataclass(frozen=True)
class SignatureSpec:
    """A predict signature by tensor names.

    Attributes:
        name: Its key in the model.
        inputs: Tensor name by key, such as ``{"x": "x:0"}``.
        outputs: The same for the outputs.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def parse_signature(text: str) -> SignatureSpec:
    """Reads ``name:key=tensor,key=tensor->key=tensor``, as the command line takes it.

    The name may itself contain colons. ``serving_default:x=x:0->y=y:0`` feeds ``x:0`` and fetches ``y:0``. Nothing
    between the name's colon and the arrow is a signature without inputs.

    Raises:
        InvalidArgumentError: The text has another form.
    """
    form = f"signature {text!r}: want name:key=tensor[,key=tensor…]->key=tensor[,key=tensor…]"
    left, arrow, right = text.partition("->")
    first_key = left.split("=", 1)[0]
    name, colon, _ = first_key.rpartition(":")
    if not arrow or not colon or not name:
        raise InvalidArgumentError(form)
    inputs, outputs = _parse_tensors(left[len(name) + 1 :], form), _parse_tensors(right, form)
    if not outputs:
        raise InvalidArgumentError(f"{form}; it has no outputs")
    return SignatureSpec(name, inputs, outputs)


def export_meta_graph(
    meta_graph: Message | Path_,
    checkpoint: Path_ | None,
    export_dir: Path_,
    signatures: Iterable[SignatureSpec] = (),
    *,
    prune: bool = True,
    freeze: bool = False,
    tags: Iterable[str] = (SERVING_TAG,),
    clear_devices: bool = True,
    strip_default_attrs: bool = True,
    assets: Mapping[str, Path_] | None = None,
    assets_extra: Mapping[str, Path_] | None = None,
    as_text: bool = False,
    validate: Validation = "structure",
    timestamped: bool = False,
    tables: TableMode = "copy",
    shared_embedding: bool = False,
    table_ledgers: list[TableSetLedger] | None = None,
) -> Path:
    """Exports a MetaGraphDef, such as the ``.meta`` file beside a checkpoint, for serving.

    Args:
        meta_graph: A MetaGraphDef, or the path of a file with one.
        checkpoint: Prefix of the checkpoint with its variables; None for a graph without variables.
        export_dir: The directory to make.
        signatures: The signatures; dtypes and shapes are the graph's. They replace those that the graph has; without
            any the graph must have its own.
        prune: Whether to ship only what the signatures need. Without it the training part is shipped too.
        freeze: Whether variables become constants (:func:`mexport_pb.freeze`): for small models. It prunes too, but
            without ``prune`` all that computes a signature's input is shipped as well.
        tags: The tags of the graph.
        clear_devices: Whether nodes lose their devices, which name jobs that a server does not have.
        strip_default_attrs: Whether attributes that have their default value are left out.
        assets: As for :func:`write_saved_model`: where the training job's asset files are now.
        assets_extra: Sources by path relative to ``assets.extra/``.
        as_text: Write ``saved_model.pbtxt``.
        validate: As for :func:`write_saved_model`.
        timestamped: As for :func:`write_saved_model`.
        tables: How embedding tables that are left and not shared get into the export, as for
            :class:`mexport_pb.StandaloneExporter`. The graph's tables become serving tables, with signatures that push
            values.
        shared_embedding: Whether tables that do not say otherwise are read where the checkpoint is.
        table_ledgers: Gets, where tables are made smaller, what became of each row.

    Returns:
        The published directory.

    Raises:
        InvalidArgumentError: A signature names a tensor that the graph does not have, or needs more inputs.
        MismatchError: A table's files are missing, or their entries have another dimension.
        TableError: A table's files are incomplete or damaged.
        MexportError: As :func:`write_saved_model`.
    """
    check_table_mode(tables)
    if isinstance(meta_graph, str | os.PathLike):
        graph = read_meta_graph(meta_graph)
    else:
        graph = to_message(meta_graph, MetaGraphDef)
    specs = list(signatures)
    if specs:
        _set_signatures(graph, specs)
    if not graph.signature_def:
        raise InvalidArgumentError("the graph has no signature: say which tensors to feed and fetch")
    # The saver of the training job saves optimizer slots too and knows other devices: the export gets its own.
    graph.ClearField("saver_def")
    if prune:
        graph = prune_to_signatures(graph)
    if freeze:
        graph = _freeze(graph, checkpoint)
    graph = add_table_signatures(make_tables_serve(graph), always=False)
    graph, restores, output = plan_tables(graph, checkpoint, shared_embedding=shared_embedding, mode=tables)
    graph = add_main_op(graph, restores)
    if clear_devices:
        graph = _clear_devices(graph)
    if strip_default_attrs:
        graph = _strip_default_attrs(graph)
    del graph.meta_info_def.tags[:]
    path = write_saved_model(
        graph,
        export_dir,
        None if freeze else checkpoint,
        tags=tags,
        assets=assets,
        assets_extra=assets_extra,
        as_text=as_text,
        validate=validate,
        timestamped=timestamped,
        tables=output,
    )
    if output is not None and table_ledgers is not None:
        table_ledgers.extend(output.ledgers)
    return path


# The flags of export_meta_graph have the names that the field uses, and hide the functions there.
_clear_devices = clear_devices
_freeze = freeze
_strip_default_attrs = strip_default_attrs


def _parse_tensors(text: str, form: str) -> dict[str, str]:
    tensors: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, tensor = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not tensor:
            raise InvalidArgumentError(form)
        if key in tensors:
            raise InvalidArgumentError(f"{form}; the key {key!r} comes twice")
        tensors[key] = tensor if ":" in tensor else f"{tensor}:0"
    return tensors


def _set_signatures(graph: MetaGraphDef, specs: list[SignatureSpec]) -> None:
    built: dict[str, SignatureDef] = {}
    infos = tensor_info_of(graph, {t for spec in specs for t in (*spec.inputs.values(), *spec.outputs.values())})
    for spec in specs:
        if spec.name in built:
            raise InvalidArgumentError(f"the signature {spec.name!r} comes twice")
        built[spec.name] = make_signature_def(
            {key: infos[tensor] for key, tensor in spec.inputs.items()},
            {key: infos[tensor] for key, tensor in spec.outputs.items()},
        )
    graph.signature_def.clear()
    for name, signature in built.items():
        graph.signature_def[name].CopyFrom(signature)
