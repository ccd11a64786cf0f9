"""The facts of a meta graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from mexport_pb import dtypes
from mexport_pb._proto.object_graph_pb2 import SavedObjectGraph
from mexport_pb._proto.saved_model_pb2 import AssetFileDef, CollectionDef, MetaGraphDef, SignatureDef, TensorInfo
from mexport_pb.errors import InvalidArgumentError, MexportError
from mexport_pb.inspect.facts import (
    Damage,
    FunctionFacts,
    GraphFacts,
    GraphTableFacts,
    ObjectFacts,
    SignatureFacts,
    TensorFacts,
)
from mexport_pb.messages import INIT_OP_SIGNATURE, shape_to_list, unpack_asset_file_def
from mexport_pb.messages.constants import ASSETS_COLLECTION, LEGACY_INIT_OP_COLLECTION, MAIN_OP_COLLECTION
from mexport_pb.messages.op_defs import known_ops
from mexport_pb.table.graph_tables import graph_tables

__all__ = ["asset_defs", "dtype_name", "graph_facts"]


def graph_facts(
    meta_graph: MetaGraphDef, sizes: Mapping[str, int] | None, where: str, damages: list[Damage]
) -> GraphFacts:
    """Gather what a graph is.

    Args:
        meta_graph: The values of large constants may be missing.
        sizes: Of a :class:`GraphOutline`; None for the text form.
        where: The file, for ``damages``.
        damages: Gets what is wrong.
    """
    graph = meta_graph.graph_def
    library = graph.library
    ops: Counter[str] = Counter(node.op for node in graph.node)
    devices: Counter[str] = Counter(node.device for node in graph.node)
    for function in library.function:
        ops.update(node.op for node in function.node_def)
        devices.update(node.device for node in function.node_def)
    own = {function.signature.name for function in library.function}
    known = set(known_ops()) | own
    return GraphFacts(
        tags=tuple(meta_graph.meta_info_def.tags),
        tensorflow_version=meta_graph.meta_info_def.tensorflow_version,
        nodes=len(graph.node),
        ops=_by_count(ops),
        devices=_by_count(devices),
        functions=tuple(
            FunctionFacts(
                function.signature.name,
                len(function.node_def),
                len(function.signature.input_arg),
                len(function.signature.output_arg),
            )
            for function in sorted(library.function, key=lambda one: one.signature.name)
        ),
        custom_ops={op: count for op, count in _by_count(ops).items() if op not in known},
        constants=ops["Const"],
        constant_bytes=None
        if sizes is None
        else sum(size for name, size in sizes.items() if name.startswith("constants")),
        signatures=tuple(_signature(name, meta_graph.signature_def[name]) for name in sorted(meta_graph.signature_def)),
        collections={name: _entries(meta_graph.collection_def[name]) for name in sorted(meta_graph.collection_def)},
        main_op=_main_op(meta_graph),
        saver=meta_graph.saver_def.restore_op_name or None,
        objects=_objects(meta_graph.object_graph_def) if meta_graph.HasField("object_graph_def") else None,
        tables=_tables(meta_graph, where, damages),
    )


def asset_defs(meta_graph: MetaGraphDef, where: str, damages: list[Damage]) -> list[AssetFileDef]:
    """The assets as loaders find them: in the field, else in the collection."""
    if meta_graph.asset_file_def or ASSETS_COLLECTION not in meta_graph.collection_def:
        return list(meta_graph.asset_file_def)
    found = []
    for packed in meta_graph.collection_def[ASSETS_COLLECTION].any_list.value:
        try:
            found.append(unpack_asset_file_def(packed))
        except MexportError as error:
            damages.append(Damage(where, f"collection {ASSETS_COLLECTION!r}: {error}"))
    return found


def dtype_name(datatype: int) -> str:
    """Of any number."""
    try:
        return dtypes.name_of(datatype)
    except InvalidArgumentError:
        return f"type {datatype}" if datatype else "none"


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _signature(name: str, signature: SignatureDef) -> SignatureFacts:
    return SignatureFacts(
        name,
        signature.method_name,
        tuple(_tensor(key, signature.inputs[key]) for key in sorted(signature.inputs)),
        tuple(_tensor(key, signature.outputs[key]) for key in sorted(signature.outputs)),
    )


def _tensor(key: str, info: TensorInfo) -> TensorFacts:
    return TensorFacts(key, ", ".join(_names(info)), dtype_name(info.dtype), shape_to_list(info.tensor_shape))


def _names(info: TensorInfo) -> Iterable[str]:
    kind = info.WhichOneof("encoding")
    if kind == "coo_sparse":
        sparse = info.coo_sparse
        return [sparse.indices_tensor_name, sparse.values_tensor_name, sparse.dense_shape_tensor_name]
    if kind == "composite_tensor":
        return [name for part in info.composite_tensor.components for name in _names(part)]
    return [info.name]


def _entries(collection: CollectionDef) -> int:
    kind = collection.WhichOneof("kind")
    return 0 if kind is None else len(getattr(collection, kind).value)


def _main_op(meta_graph: MetaGraphDef) -> str | None:
    """What loaders run after the restore: the first that there is of three."""
    if INIT_OP_SIGNATURE in meta_graph.signature_def:
        outputs = meta_graph.signature_def[INIT_OP_SIGNATURE].outputs
        return outputs[INIT_OP_SIGNATURE].name if INIT_OP_SIGNATURE in outputs else None
    for key in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION):
        if key in meta_graph.collection_def:
            return ", ".join(meta_graph.collection_def[key].node_list.value) or None
    return None


def _objects(graph: SavedObjectGraph) -> ObjectFacts:
    kinds = Counter(node.WhichOneof("kind") or "none" for node in graph.nodes)
    identifiers = Counter(node.user_object.identifier for node in graph.nodes if node.HasField("user_object"))
    return ObjectFacts(len(graph.nodes), _by_count(kinds), _by_count(identifiers))


def _tables(meta_graph: MetaGraphDef, where: str, damages: list[Damage]) -> tuple[GraphTableFacts, ...]:
    try:
        tables = graph_tables(meta_graph)
    except MexportError as error:
        damages.append(Damage(where, f"embedding tables: {error}"))
        return ()
    return tuple(GraphTableFacts(table.name, table.dims, table.prefixes, table.serving) for table in tables)
