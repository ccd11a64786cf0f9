"""Checks of meta graphs and SavedModels: signatures, saver, collections, assets and tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.saved_model_pb2 import (
    AssetFileDef,
    CollectionDef,
    MetaGraphDef,
    SavedModel,
    SignatureDef,
    TensorInfo,
)
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb._proto.variable_pb2 import VariableDef
from mexport_pb.check.nodes import PLACEHOLDERS, Scope, check_function, check_function_names
from mexport_pb.check.ops import Ops
from mexport_pb.check.problems import Problem, Report, quote
from mexport_pb.errors import DataError, InvalidArgumentError
from mexport_pb.messages import parse, to_message, unpack_asset_file_def
from mexport_pb.messages.constants import (
    ASSET_BASE_FILENAME,
    ASSETS_COLLECTION,
    DEFAULT_SIGNATURE,
    INIT_OP_SIGNATURE,
    LEGACY_INIT_OP_COLLECTION,
    MAIN_OP_COLLECTION,
    SCHEMA_VERSION,
    TRAIN_OP_SIGNATURE,
)

__all__ = [
    "check_asset_filename",
    "check_meta_graph",
    "check_saved_model_message",
    "find_problems",
    "find_saved_model_problems",
]

# How many errors the text of an exception lists.
_SHOWN: Final = 20

# Collections of VariableDefs, whose names the Python loader looks up in the graph.
_VARIABLE_COLLECTIONS: Final = (
    "global_step",
    "local_variables",
    "metric_variables",
    "model_variables",
    "moving_average_variables",
    "trainable_variables",
    "variables",
)


def find_problems(meta_graph: Message) -> list[Problem]:
    """Everything wrong with a MetaGraphDef (ours or TensorFlow's), at most MAX_PROBLEMS of it.

    Its tags are not looked at, for that of a checkpoint has none; see :func:`find_saved_model_problems`.
    """
    own = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    report = Report()
    with report.until_full():
        _check_meta_graph(own, report)
    return report.problems


def find_saved_model_problems(saved_model: Message) -> list[Problem]:
    """Everything wrong with a SavedModel (ours or TensorFlow's), at most MAX_PROBLEMS of it."""
    own = saved_model if isinstance(saved_model, SavedModel) else to_message(saved_model, SavedModel)
    report = Report()
    with report.until_full():
        _check_saved_model(own, report)
    return report.problems


def check_meta_graph(meta_graph: Message) -> None:
    """Refuse an illegal MetaGraphDef, see :func:`find_problems`.

    Raises:
        InvalidArgumentError: lists the errors; warnings raise nothing.
    """
    _raise_errors(find_problems(meta_graph), "meta graph")


def check_saved_model_message(saved_model: Message) -> None:
    """Refuse an illegal SavedModel, see :func:`find_saved_model_problems`.

    Raises:
        InvalidArgumentError: lists the errors; warnings raise nothing.
    """
    _raise_errors(find_saved_model_problems(saved_model), "saved model")


def check_asset_filename(filename: str) -> None:
    """Refuse a name that could lead out of assets/, or that names no file in it.

    "./" is legal: it feeds the path of assets/ itself.

    Raises:
        InvalidArgumentError: more than one component, "." or "..", a NUL, or an empty name.
    """
    if filename == ASSET_BASE_FILENAME:
        return
    if filename in ("", ".", "..") or any(character in filename for character in "/\\\0"):
        raise InvalidArgumentError(
            f"asset filename: got {quote(filename)}, want one component or '{ASSET_BASE_FILENAME}'"
        )


def _raise_errors(problems: list[Problem], what: str) -> None:
    errors = [f"{problem.where}: {problem.message}" for problem in problems if problem.severity == "error"]
    if errors:
        more = [f"and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else []
        raise InvalidArgumentError("\n  ".join([f"illegal {what}:", *errors[:_SHOWN], *more]))


def _check_saved_model(saved_model: SavedModel, report: Report) -> None:
    if saved_model.saved_model_schema_version != SCHEMA_VERSION:
        report.warn("schema version", f"got {saved_model.saved_model_schema_version}, want {SCHEMA_VERSION}")
    if not saved_model.meta_graphs:
        report.error("saved model", "no meta graph")
    seen: set[frozenset[str]] = set()
    for position, meta_graph in enumerate(saved_model.meta_graphs):
        where = f"meta graph {position}"
        tags = list(meta_graph.meta_info_def.tags)
        if not tags or "" in tags:
            report.error(where, "no tag, or an empty one")
        if len(set(tags)) < len(tags):
            report.warn(where, "a tag is there twice")
        if frozenset(tags) in seen:
            report.error(where, "no loader reaches it, for an earlier one has the same tags")
        seen.add(frozenset(tags))
        with report.within(f"{where}: " if len(saved_model.meta_graphs) > 1 else ""):
            _check_meta_graph(meta_graph, report)


def _check_meta_graph(meta_graph: MetaGraphDef, report: Report) -> None:
    graph_def = meta_graph.graph_def
    functions = check_function_names(graph_def.library.function, report)
    ops = Ops(meta_graph.meta_info_def.stripped_op_list.op, (function.signature for function in functions.values()))
    graph = Scope(graph_def.node, ops, report)
    graph.check()
    for name, function in functions.items():
        check_function(name, function, ops, report)
    for key, signature in sorted(meta_graph.signature_def.items()):
        _check_signature(key, signature, graph, report)
    if meta_graph.HasField("saver_def"):
        _check_saver(meta_graph.saver_def, graph, report)
    for key, collection in sorted(meta_graph.collection_def.items()):
        _check_collection(key, collection, graph, report)
    _check_assets("asset_file_def", enumerate(meta_graph.asset_file_def), graph, report)


def _check_signature(key: str, signature: SignatureDef, graph: Scope, report: Report) -> None:
    where = f"signature {quote(key)}"
    if key in (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE):
        if signature.inputs or list(signature.outputs) != [key]:
            report.error(where, "a reserved key: want no input, and one output of the same key")
            return
        name = signature.outputs[key].name
        reason = graph.why_no_tensor(name) if ":" in name else graph.why_no_operation(name)
        if reason is not None:
            report.error(where, reason)
        return
    for kind, infos in (("input", signature.inputs), ("output", signature.outputs)):
        for name, info in sorted(infos.items()):
            for reason in _wrong_with(info, graph):
                report.error(f"{where} {kind} {quote(name)}", reason)
    for name in sorted(signature.defaults):
        if name not in signature.inputs:
            report.error(f"{where} default {quote(name)}", "there is no such input")
    if key == DEFAULT_SIGNATURE and not signature.method_name:
        report.warn(where, "no method name: a server answers no request with it")


def _wrong_with(info: TensorInfo, graph: Scope) -> Iterator[str]:
    encoding = info.WhichOneof("encoding")
    if encoding == "composite_tensor":
        for component in info.composite_tensor.components:
            yield from _wrong_with(component, graph)
        return
    if encoding is None:
        yield "it names no tensor"
    elif encoding == "coo_sparse":
        sparse = info.coo_sparse
        for name in (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name):
            yield from _wrong_with_tensor(name, graph)
    else:
        yield from _wrong_with_tensor(info.name, graph)
    if info.dtype == tensor_pb2.DT_INVALID:
        yield "no dtype"
    elif encoding == "name":
        actual = graph.dtype_of(info.name)
        if actual is not None and _without_ref(actual) != _without_ref(info.dtype):
            yield f"dtype: got {_dtype_name(info.dtype)}, but tensor {quote(info.name)} is {_dtype_name(actual)}"


def _wrong_with_tensor(name: str, graph: Scope) -> Iterator[str]:
    reason = graph.why_no_tensor(name)
    if reason is not None:
        yield f"tensor {quote(name)}: {reason}"


def _without_ref(dtype: int) -> int:
    return dtypes.base_datatype(dtype) if dtype in tensor_pb2.DataType.values() else dtype


def _dtype_name(dtype: int) -> str:
    return dtypes.name_of(dtype) if dtype in tensor_pb2.DataType.values() else f"number {dtype}"


def _check_saver(saver: SaverDef, graph: Scope, report: Report) -> None:
    # Nobody saves a loaded model, so a graph may have lost that operation; the Python loader still wants a name.
    complain = report.warn if saver.save_tensor_name else report.error
    for field, name, reason, add in (
        ("filename_tensor_name", saver.filename_tensor_name, graph.why_no_tensor, report.error),
        ("save_tensor_name", saver.save_tensor_name, graph.why_no_tensor, complain),
        ("restore_op_name", saver.restore_op_name, graph.why_no_operation, report.error),
    ):
        why = reason(name)
        if why is not None:
            add(f"saver {field} {quote(name)}", why)
    if graph.dtype_of(saver.filename_tensor_name) not in (None, tensor_pb2.DT_STRING):
        report.error(f"saver filename_tensor_name {quote(saver.filename_tensor_name)}", "it is no string tensor")


def _check_collection(key: str, collection: CollectionDef, graph: Scope, report: Report) -> None:
    where = f"collection {quote(key)}"
    names = collection.node_list.value
    if key in (MAIN_OP_COLLECTION, LEGACY_INIT_OP_COLLECTION) and len(names) != 1:
        report.error(where, f"number of operations: got {len(names)}, want 1")
    for name in names:
        reason = graph.why_no_tensor(name) if ":" in name else graph.why_no_operation(name)
        if reason is not None:
            report.error(f"{where} element {quote(name)}", reason)
    if key in _VARIABLE_COLLECTIONS:
        for position, data in enumerate(collection.bytes_list.value):
            _check_variable(f"{where} element {position}", data, graph, report)
    if key == ASSETS_COLLECTION:
        assets = []
        for position, packed in enumerate(collection.any_list.value):
            try:
                assets.append((position, unpack_asset_file_def(packed)))
            except DataError as error:
                report.error(f"{where} element {position}", str(error))
        _check_assets(where, assets, graph, report)


def _check_variable(where: str, data: bytes, graph: Scope, report: Report) -> None:
    try:
        variable = parse(VariableDef, data)
    except DataError as error:
        report.error(where, str(error))
        return
    wanted: list[tuple[str, str, Callable[[str], str | None]]] = [
        ("variable_name", variable.variable_name, graph.why_no_tensor),
        ("initializer_name", variable.initializer_name, graph.why_no_operation),
        ("snapshot_name", variable.snapshot_name, graph.why_no_tensor),
    ]
    if variable.initial_value_name:
        wanted.append(("initial_value_name", variable.initial_value_name, graph.why_no_tensor))
    for field, name, why_not in wanted:
        reason = why_not(name)
        if reason is not None:
            report.error(where, f"{field} {quote(name)}: {reason}")


def _check_assets(where: str, assets: Iterable[tuple[int, AssetFileDef]], graph: Scope, report: Report) -> None:
    fed: set[str] = set()
    for position, asset in assets:
        here = f"{where} element {position}"
        name = asset.tensor_info.name
        node = graph.node(name.removesuffix(":0"))
        if node is None:
            report.error(here, f"there is no tensor {quote(name)}")
        elif node.op not in PLACEHOLDERS and node.op != "Const":
            report.error(here, f"tensor {quote(name)} is of a {quote(node.op)}, want a Const or a Placeholder")
        elif graph.dtype_of(name) != tensor_pb2.DT_STRING:
            report.error(here, f"tensor {quote(name)} is no string tensor")
        if name.removesuffix(":0") in fed:
            report.error(here, f"tensor {quote(name)} is fed twice")
        fed.add(name.removesuffix(":0"))
        try:
            check_asset_filename(asset.filename)
        except InvalidArgumentError as error:
            report.error(here, str(error))
