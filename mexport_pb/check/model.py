"""Checks of meta graphs and SavedModels: tags, versions, signatures and the saver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.graph_pb2 import VersionDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel, SignatureDef, TensorInfo
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb.check.attrs import dtype_name
from mexport_pb.check.calls import Callee
from mexport_pb.check.collection import check_assets, check_collections
from mexport_pb.check.functions import check_function, check_gradients, name_functions
from mexport_pb.check.nodes import Scope
from mexport_pb.check.ops import Ops
from mexport_pb.check.problems import Problem, Report, quote
from mexport_pb.check.restore import check_start
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages import to_message
from mexport_pb.messages.constants import DEFAULT_SIGNATURE, INIT_OP_SIGNATURE, SCHEMA_VERSION, TRAIN_OP_SIGNATURE

__all__ = [
    "check_meta_graph",
    "check_meta_graphs",
    "check_saved_model_message",
    "find_problems",
    "find_saved_model_problems",
]

# How many errors the text of an exception lists.
_SHOWN: Final = 20


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


def check_meta_graphs(meta_graphs: Sequence[MetaGraphDef]) -> None:
    """Refuse MetaGraphDefs that are no SavedModel together.

    Raises:
        InvalidArgumentError: as :func:`check_saved_model_message`.
    """
    report = Report()
    with report.until_full():
        _check_meta_graphs(meta_graphs, report)
    _raise_errors(report.problems, "saved model")


def check_saved_model_message(saved_model: Message) -> None:
    """Refuse an illegal SavedModel, see :func:`find_saved_model_problems`.

    Raises:
        InvalidArgumentError: lists the errors; warnings raise nothing.
    """
    _raise_errors(find_saved_model_problems(saved_model), "saved model")


def _raise_errors(problems: list[Problem], what: str) -> None:
    errors = [f"{problem.where}: {problem.message}" for problem in problems if problem.severity == "error"]
    if errors:
        more = [f"and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else []
        raise InvalidArgumentError("\n  ".join([f"illegal {what}:", *errors[:_SHOWN], *more]))


def _check_saved_model(saved_model: SavedModel, report: Report) -> None:
    if saved_model.saved_model_schema_version != SCHEMA_VERSION:
        report.warn("schema version", f"got {saved_model.saved_model_schema_version}, want {SCHEMA_VERSION}")
    _check_meta_graphs(saved_model.meta_graphs, report)


def _check_meta_graphs(meta_graphs: Sequence[MetaGraphDef], report: Report) -> None:
    if not meta_graphs:
        report.error("saved model", "no meta graph")
    seen: set[frozenset[str]] = set()
    for position, meta_graph in enumerate(meta_graphs):
        where = f"meta graph {position}"
        tags = list(meta_graph.meta_info_def.tags)
        if not tags or "" in tags:
            report.error(where, "no tag, or an empty one")
        if len(set(tags)) < len(tags):
            report.warn(where, "a tag is there twice")
        if frozenset(tags) in seen:
            report.error(where, "no loader reaches it, for an earlier one has the same tags")
        seen.add(frozenset(tags))
        with report.within(f"{where}: " if len(meta_graphs) > 1 else ""):
            _check_meta_graph(meta_graph, report)


def _check_meta_graph(meta_graph: MetaGraphDef, report: Report) -> None:
    graph_def = meta_graph.graph_def
    _check_versions(graph_def.versions, report)
    functions = name_functions(graph_def.library.function, report)
    check_gradients(graph_def.library, functions, report)
    ops = Ops(meta_graph.meta_info_def.stripped_op_list.op, [function.signature for function in functions.values()])
    for name in sorted(ops.contradictory):
        report.warn(f"op {quote(name)}", "it is listed with two signatures, so its nodes are not checked")
    callees = {name: Callee.of(function.signature) for name, function in functions.items()}
    graph = Scope(graph_def.node, ops, callees, report)
    graph.check()
    for name, function in functions.items():
        check_function(name, function, ops, callees, report)
    for name in sorted(ops.unknown):
        report.warn(f"custom op {quote(name)}", "its signature is not listed; the server needs the library that has it")
    for key, signature in sorted(meta_graph.signature_def.items()):
        _check_signature(key, signature, graph, report)
    if meta_graph.HasField("saver_def"):
        _check_saver(meta_graph.saver_def, graph, report)
    check_collections(
        meta_graph.collection_def, graph, report, init_signature=INIT_OP_SIGNATURE in meta_graph.signature_def
    )
    check_start(meta_graph, graph, ops, report)
    check_assets("asset_file_def", enumerate(meta_graph.asset_file_def), graph, report)


def _check_versions(versions: VersionDef, report: Report) -> None:
    if versions.min_consumer > versions.producer:
        report.error(
            "versions", f"min_consumer {versions.min_consumer} is newer than the producer, {versions.producer}"
        )
    if versions.producer in versions.bad_consumers:
        report.error("versions", f"bad_consumers has the producer itself, {versions.producer}")


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


def _wrong_with(outermost: TensorInfo, graph: Scope) -> Iterator[str]:
    waiting = [outermost]
    while waiting:
        info = waiting.pop()
        encoding = info.WhichOneof("encoding")
        if encoding == "composite_tensor":
            waiting.extend(reversed(info.composite_tensor.components))
            continue
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
                yield f"dtype: got {dtype_name(info.dtype)}, but tensor {quote(info.name)} is {dtype_name(actual)}"


def _wrong_with_tensor(name: str, graph: Scope) -> Iterator[str]:
    reason = graph.why_no_tensor(name)
    if reason is not None:
        yield f"tensor {quote(name)}: {reason}"


def _without_ref(dtype: int) -> int:
    return dtypes.base_datatype(dtype) if dtype in tensor_pb2.DataType.values() else dtype


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
    filename = saver.filename_tensor_name
    where = f"saver filename_tensor_name {quote(filename)}"
    if graph.dtype_of(filename) not in (None, tensor_pb2.DT_STRING):
        report.error(where, "it is no string tensor")
    elif ":" not in filename and graph.node(filename) is not None:
        report.error(where, f"got the name of an operation, want the tensor's, {quote(filename + ':0')}")
    restore = graph.node(saver.restore_op_name)
    if restore is not None and restore.op in ("Placeholder", "PlaceholderV2"):
        report.error(f"saver restore_op_name {quote(restore.name)}", "a Placeholder restores nothing")
