"""What an exporter adds to a graph for its tables: restores from files, and signatures that push new values.

Each function takes a MetaGraphDef and returns a copy with further nodes; names, keys and the order of the nodes are
those of Monolith's exporters: see docs/formats/table_graph.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, TensorInfo
from mexport_pb._proto.tensor_pb2 import DT_FLOAT, DT_INT32, DT_INT64, DT_RESOURCE, DT_STRING
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.table_files import TableFiles, find_table_files
from mexport_pb.graph import Operation, Tensor
from mexport_pb.graph.extension import GraphExtension
from mexport_pb.graph.prune_collections import assets_of
from mexport_pb.messages import make_asset_file_def, make_signature_def, make_tensor_info, pack_asset_file_def
from mexport_pb.messages.constants import ASSET_BASE_FILENAME, ASSET_FILEPATHS_COLLECTION, ASSETS_COLLECTION
from mexport_pb.table.graph_tables import GraphTable, multi_tables, single_tables

__all__ = [
    "ASSET_BASE",
    "HASHTABLE_ASSIGN_SIGNATURE",
    "RAW_ASSIGN_SUFFIX",
    "add_ckpt_to_assets",
    "add_multi_hashtable_assign_signatures",
    "add_table_restores",
    "add_table_signatures",
    "build_hashtable_assign_inputs_outputs",
    "create_asset_base",
    "create_hashtable_restore_ops",
    "create_multi_hashtable_restore_ops",
]

ASSET_BASE: Final = "ASSET_BASE"
HASHTABLE_ASSIGN_SIGNATURE: Final = "hashtable_assign"
RAW_ASSIGN_SUFFIX: Final = "/raw_assign"

Infos = dict[str, TensorInfo]


def create_asset_base(meta_graph: Message, *, names_in_use: Iterable[str] | None = None) -> tuple[MetaGraphDef, str]:
    """Add the tensor that loaders feed with the path of ``assets/``, unless the graph has it.

    Returns:
        The copy, and the name of the tensor, "ASSET_BASE:0".

    Raises:
        InvalidArgumentError: another node has the name.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    base = _AssetBase(extension)
    name = base.tensor().name
    return extension.finish(), name


def add_ckpt_to_assets(
    meta_graph: Message, files: Iterable[str], *, names_in_use: Iterable[str] | None = None
) -> MetaGraphDef:
    """Add a Const with the name of each file to the collection ``asset_filepaths``.

    Args:
        meta_graph: A MetaGraphDef.
        files: Names, which the files will have below ``assets/``.
        names_in_use: Names that new nodes may not take.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    _add_assets(extension, files)
    return extension.finish()


def create_hashtable_restore_ops(
    meta_graph: Message,
    checkpoint: str | os.PathLike[str],
    *,
    shared_embedding: bool = False,
    names_in_use: Iterable[str] | None = None,
) -> tuple[MetaGraphDef, list[str]]:
    """Add the operations that restore the tables of the collection ``monolith_hash_tables``.

    A table that the model is to have a copy of gets its files into the collection ``asset_filepaths`` and is restored
    from below ``ASSET_BASE``; a shared one from the checkpoint's folder.

    Returns:
        The copy, and the names of the operations.

    Raises:
        MexportError: As :func:`find_table_files`, and SavedModelError for a damaged collection.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    tables = single_tables(extension.meta_graph, extension.index)
    names = _add_restores(extension, find_table_files(tables, checkpoint, shared_embedding=shared_embedding))
    return extension.finish(), names


def create_multi_hashtable_restore_ops(
    meta_graph: Message,
    checkpoint: str | os.PathLike[str],
    *,
    shared_embedding: bool = False,
    names_in_use: Iterable[str] | None = None,
) -> tuple[MetaGraphDef, list[str]]:
    """Add the operations that restore the tables of the collection ``monolith_multi_hash_tables``.

    Each waits for its table's initializer. Otherwise as :func:`create_hashtable_restore_ops`.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    tables = multi_tables(extension.meta_graph, extension.index)
    names = _add_restores(extension, find_table_files(tables, checkpoint, shared_embedding=shared_embedding))
    return extension.finish(), names


def add_table_restores(
    meta_graph: Message, files: Sequence[TableFiles], *, names_in_use: Iterable[str] | None = None
) -> tuple[MetaGraphDef, list[str]]:
    """Add the operations that restore tables from files that were found already, in their order."""
    extension = GraphExtension(meta_graph, names_in_use)
    names = _add_restores(extension, files)
    return extension.finish(), names


def build_hashtable_assign_inputs_outputs(
    meta_graph: Message, *, names_in_use: Iterable[str] | None = None
) -> tuple[MetaGraphDef, Infos, Infos]:
    """Add what sets values of the tables of the collection ``monolith_hash_tables``.

    Returns:
        The copy, and by key the inputs ``<name>_id`` int64 [n] and ``<name>_value`` float32 [n, dim], and the outputs
        ``<name>_result``, int32, the number of ids, of the signature ``hashtable_assign``.

    Raises:
        SavedModelError: A damaged collection.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    inputs, outputs = _add_assigns(extension)
    return extension.finish(), inputs, outputs


def add_multi_hashtable_assign_signatures(
    meta_graph: Message, *, names_in_use: Iterable[str] | None = None
) -> MetaGraphDef:
    """Add for each entry of the collection ``monolith_multi_hash_tables`` the signature ``<shared_name>/raw_assign``.

    Inputs are ``id`` int64 [n], ``id_split`` int64 [tables + 1] and ``flat_value`` float32 [sum]; the output ``result``
    is 0.

    Raises:
        InvalidArgumentError: The graph has such a signature.
        SavedModelError: A damaged collection.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    _add_raw_assigns(extension)
    return extension.finish()


def add_table_signatures(
    meta_graph: Message, *, always: bool, names_in_use: Iterable[str] | None = None
) -> MetaGraphDef:
    """Add all signatures that push values of tables.

    Args:
        meta_graph: A MetaGraphDef.
        always: Add ``hashtable_assign`` to a graph without tables too, without inputs and outputs.
        names_in_use: Names that new nodes may not take.

    Raises:
        InvalidArgumentError: The graph has such a signature, of another kind.
        SavedModelError: A damaged collection.
    """
    extension = GraphExtension(meta_graph, names_in_use)
    signatures = extension.meta_graph.signature_def
    inputs, outputs = _add_assigns(extension)
    if inputs or (always and HASHTABLE_ASSIGN_SIGNATURE not in signatures):
        if HASHTABLE_ASSIGN_SIGNATURE in signatures:
            raise InvalidArgumentError(f"the graph has a signature {HASHTABLE_ASSIGN_SIGNATURE!r} already")
        signatures[HASHTABLE_ASSIGN_SIGNATURE].CopyFrom(make_signature_def(inputs, outputs))
    _add_raw_assigns(extension)
    return extension.finish()


class _AssetBase:
    """The one tensor that loaders feed with the path of assets/."""

    def __init__(self, extension: GraphExtension) -> None:
        self._extension = extension
        self._tensor: Tensor | None = None

    def tensor(self) -> Tensor:
        if self._tensor is None:
            present = self._present()
            self._tensor = self._made() if present is None else present
        return self._tensor

    def _present(self) -> Tensor | None:
        node = self._extension.index.nodes.get(ASSET_BASE)
        if node is None:
            return None
        fed = {asset.tensor_info.name: asset.filename for asset in assets_of(self._extension.meta_graph)}
        if node.op not in ("Const", "Placeholder") or fed.get(f"{ASSET_BASE}:0") != ASSET_BASE_FILENAME:
            raise InvalidArgumentError(f"the graph has a node {ASSET_BASE!r} that is not fed with the assets' path")
        return self._extension.tensor(f"{ASSET_BASE}:0", DT_STRING, ())

    def _made(self) -> Tensor:
        builder = self._extension.builder
        made = builder.const(ASSET_BASE_FILENAME, DT_STRING, name=ASSET_BASE)
        if made.name != f"{ASSET_BASE}:0":
            raise InvalidArgumentError(f"the graph has a scope {ASSET_BASE!r}")
        asset = pack_asset_file_def(make_asset_file_def(made.name, ASSET_BASE_FILENAME))
        builder.add_to_collection(ASSETS_COLLECTION, asset)
        return made


def _add_assets(extension: GraphExtension, files: Iterable[str]) -> None:
    for name in files:
        path = extension.builder.const(name, DT_STRING)
        extension.builder.add_to_collection(ASSET_FILEPATHS_COLLECTION, path)


def _add_restores(extension: GraphExtension, found: Sequence[TableFiles]) -> list[str]:
    builder = extension.builder
    asset_base = _AssetBase(extension)
    present: set[str] = set()
    names = []
    for files in found:
        table = files.table
        base: Tensor | str = f"{files.folder}/"
        if not files.shared:
            # Two tables may have been one once: their file is one asset.
            new = [name for name in files.asset_names if name not in present]
            _add_assets(extension, new)
            present.update(new)
            base = asset_base.tensor()
        basename = builder.string_join([base, files.prefix])
        handle = extension.tensor(table.handle, DT_RESOURCE, ())
        if table.initializer is None:
            restore = builder.op("MonolithHashTableRestore", [handle, basename])
        else:
            with builder.control_dependencies([extension.operation(table.initializer)]):
                restore = builder.op("MonolithMultiHashTableRestore", [handle, basename])
        names.append(restore.name)
    return names


def _add_assigns(extension: GraphExtension) -> tuple[Infos, Infos]:
    builder = extension.builder
    inputs: Infos = {}
    outputs: Infos = {}
    for table in single_tables(extension.meta_graph, extension.index):
        (dim,) = table.dims.values()
        ids = builder.placeholder(DT_INT64, [None])
        values = builder.placeholder(DT_FLOAT, [None, dim])
        handle = extension.tensor(table.handle, DT_RESOURCE, ())
        time = builder.const(0, DT_INT64)
        assign = builder.op("MonolithHashTableAssign", [handle, ids, values, time])
        with builder.control_dependencies([assign]):
            count = builder.op("Size", [ids], attrs={"out_type": DT_INT32}).output
        inputs[f"{table.name}_id"] = make_tensor_info(ids)
        inputs[f"{table.name}_value"] = make_tensor_info(values)
        outputs[f"{table.name}_result"] = make_tensor_info(count)
    return inputs, outputs


def _add_raw_assigns(extension: GraphExtension) -> None:
    builder = extension.builder
    for table in multi_tables(extension.meta_graph, extension.index):
        signature = f"{table.name}{RAW_ASSIGN_SUFFIX}"
        if signature in extension.meta_graph.signature_def:
            raise InvalidArgumentError(f"the graph has a signature {signature!r} already")
        ids = builder.placeholder(DT_INT64, [None])
        splits = builder.placeholder(DT_INT64, [None])
        values = builder.placeholder(DT_FLOAT, [None])
        checked = _checked_splits(extension, table, ids, splits)
        time = builder.const(0, DT_INT64)
        with builder.control_dependencies(checked):
            handle = extension.tensor(table.handle, DT_RESOURCE, ())
            assign = builder.op("MonolithMultiHashTableAssign", [handle, ids, splits, values, time])
        with builder.control_dependencies([assign]):
            result = builder.const(0, DT_INT32)
        inputs = {"id": ids, "id_split": splits, "flat_value": values}
        extension.meta_graph.signature_def[signature].CopyFrom(
            make_signature_def(
                {key: make_tensor_info(tensor) for key, tensor in inputs.items()}, {"result": make_tensor_info(result)}
            )
        )


def _checked_splits(extension: GraphExtension, table: GraphTable, ids: Tensor, splits: Tensor) -> list[Operation]:
    """Assertions that the splits part the ids: an operation of another maker may not look."""
    builder = extension.builder
    with builder.name_scope("RaggedFromRowSplits"):
        count = builder.const(len(table.dims) + 1, DT_INT64)
        length = builder.op("Size", [splits], attrs={"out_type": DT_INT64}).output
        whole = _assert(
            extension, builder.equal(length, count), f"id_split: want {len(table.dims) + 1} numbers", splits
        )
        with builder.control_dependencies([whole]):
            begin, end = (builder.op("Slice", [splits, [at], [1]]).output for at in (0, len(table.dims)))
            lengths = builder.sub(
                builder.op("Slice", [splits, [1], [len(table.dims)]]).output,
                builder.op("Slice", [splits, [0], [len(table.dims)]]).output,
            )
        zero = builder.const(0, DT_INT64)
        size = builder.op("Size", [ids], attrs={"out_type": DT_INT64}).output
        return [
            _assert(extension, builder.reduce_all(builder.equal(begin, zero)), "id_split: want 0 first", splits),
            _assert(extension, builder.reduce_all(builder.greater_equal(lengths, zero)), "id_split: descends", splits),
            _assert(
                extension, builder.reduce_all(builder.equal(end, size)), "id_split: want the size of id last", splits
            ),
        ]


def _assert(extension: GraphExtension, condition: Tensor, message: str, data: Tensor) -> Operation:
    return extension.builder.op("Assert", [condition, [extension.builder.const(message), data]])
