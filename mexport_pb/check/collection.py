"""Checks of collections, which the Python loader turns into objects again, and of assets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.control_flow_pb2 import CondContextDef, ControlFlowContextDef, ValuesDef, WhileContextDef
from mexport_pb._proto.queue_runner_pb2 import QueueRunnerDef
from mexport_pb._proto.saved_model_pb2 import AssetFileDef, CollectionDef
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb._proto.variable_pb2 import VariableDef
from mexport_pb.check.nodes import Scope
from mexport_pb.check.problems import Report, quote
from mexport_pb.errors import DataError, InvalidArgumentError
from mexport_pb.messages import parse, unpack_asset_file_def
from mexport_pb.messages.constants import (
    ASSET_BASE_FILENAME,
    ASSETS_COLLECTION,
    LEGACY_INIT_OP_COLLECTION,
    MAIN_OP_COLLECTION,
)

__all__ = ["check_asset_filename", "check_assets", "check_collections"]

# A name in a message, the field that it is in, and what looks it up.
_Name = tuple[str, str, Callable[[str], str | None]]


def check_asset_filename(filename: str) -> None:
    """Refuse a name that could lead out of assets/, or that names no file in it.

    "./" is legal: it feeds the path of assets/ itself.

    Raises:
        InvalidArgumentError: more than one component, "." or "..", a NUL, or an empty name.
    """
    if filename == ASSET_BASE_FILENAME:
        return
    if filename in ("", ".", "..") or "/" in filename or "\0" in filename:
        raise InvalidArgumentError(
            f"asset filename: got {quote(filename)}, want one component or '{ASSET_BASE_FILENAME}'"
        )


def check_collections(
    collections: Mapping[str, CollectionDef], graph: Scope, report: Report, *, init_signature: bool
) -> None:
    """Report everything wrong with the collections. With an init signature, loaders run no other main op."""
    main = MAIN_OP_COLLECTION if MAIN_OP_COLLECTION in collections else LEGACY_INIT_OP_COLLECTION
    for key, collection in sorted(collections.items()):
        where = f"collection {quote(key)}"
        names = collection.node_list.value
        if key == main and not init_signature:
            if len(names) != 1:
                report.error(where, f"number of operations: got {len(names)}, want 1")
            for name in names:
                if ":" in name:
                    report.error(f"{where} element {quote(name)}", "got a tensor's name, want an operation's")
        for name in names:
            reason = _why_no_element(name, graph)
            if reason is not None:
                report.error(f"{where} element {quote(name)}", reason)
        names_in = _MESSAGES.get(key)
        if names_in is not None:
            for position, data in enumerate(collection.bytes_list.value):
                _check_names(f"{where} element {position}", data, names_in, graph, report)
        if key == ASSETS_COLLECTION:
            check_assets(where, _unpack(where, collection, report), graph, report)


def check_assets(where: str, assets: Iterable[tuple[int, AssetFileDef]], graph: Scope, report: Report) -> None:
    """Report everything wrong with assets, each of them with its position."""
    fed: set[str] = set()
    for position, asset in assets:
        here = f"{where} element {position}"
        name = asset.tensor_info.name
        reason = graph.why_no_tensor(name)
        if reason is not None:
            report.error(here, f"tensor {quote(name)}: {reason}")
        elif ":" not in name:
            report.error(here, f"got the name of an operation, {quote(name)}, want the tensor's, {quote(name + ':0')}")
        elif graph.dtype_of(name) not in (None, tensor_pb2.DT_STRING):
            report.error(here, f"tensor {quote(name)} is no string tensor")
        if name.removesuffix(":0") in fed:
            report.error(here, f"tensor {quote(name)} is fed twice: want one asset for each tensor")
        fed.add(name.removesuffix(":0"))
        try:
            check_asset_filename(asset.filename)
        except InvalidArgumentError as error:
            report.error(here, str(error))
        if "\\" in asset.filename:
            report.warn(here, f"asset filename: got {quote(asset.filename)}, in which Windows sees a path")


def _unpack(where: str, collection: CollectionDef, report: Report) -> Iterator[tuple[int, AssetFileDef]]:
    for position, packed in enumerate(collection.any_list.value):
        try:
            asset = unpack_asset_file_def(packed)
        except DataError as error:
            report.error(f"{where} element {position}", str(error))
        else:
            yield position, asset


def _why_no_element(name: str, graph: Scope) -> str | None:
    """Why `name` is neither a tensor nor an operation, each of which has its own spelling."""
    return graph.why_no_tensor(name) if ":" in name else graph.why_no_operation(name)


def _check_names(
    where: str, data: bytes, names_in: Callable[[bytes, Scope], Iterable[_Name]], graph: Scope, report: Report
) -> None:
    try:
        names = names_in(data, graph)
        for field, name, why_not in names:
            reason = why_not(name)
            if reason is not None:
                report.error(where, f"{field} {quote(name)}: {reason}")
    except DataError as error:
        report.error(where, str(error))


def _variable_names(data: bytes, graph: Scope) -> Iterator[_Name]:
    variable = parse(VariableDef, data)
    yield "variable_name", variable.variable_name, graph.why_no_tensor
    yield "initializer_name", variable.initializer_name, graph.why_no_operation
    yield "snapshot_name", variable.snapshot_name, graph.why_no_tensor
    if variable.initial_value_name:
        yield "initial_value_name", variable.initial_value_name, graph.why_no_tensor


def _saver_names(data: bytes, graph: Scope) -> Iterator[_Name]:
    # Nothing looks them up, but they must be there.
    saver = parse(SaverDef, data)
    for field in ("save_tensor_name", "restore_op_name"):
        yield field, getattr(saver, field), lambda name: None if name else "want a name"


def _queue_runner_names(data: bytes, graph: Scope) -> Iterator[_Name]:
    runner = parse(QueueRunnerDef, data)
    for field, names in (
        ("queue_name", [runner.queue_name]),
        ("enqueue_op_name", runner.enqueue_op_name),
        ("close_op_name", [runner.close_op_name]),
        ("cancel_op_name", [runner.cancel_op_name]),
    ):
        for name in names:
            yield field, name, lambda name: _why_no_element(name, graph)


def _cond_names(data: bytes, graph: Scope) -> Iterator[_Name]:
    return _context_names(ControlFlowContextDef(cond_ctxt=parse(CondContextDef, data)), graph)


def _while_names(data: bytes, graph: Scope) -> Iterator[_Name]:
    return _context_names(ControlFlowContextDef(while_ctxt=parse(WhileContextDef, data)), graph)


def _context_names(outermost: ControlFlowContextDef, graph: Scope) -> Iterator[_Name]:
    def why_not(name: str) -> str | None:
        return _why_no_element(name, graph)

    waiting = [outermost]
    while waiting:
        context = waiting.pop()
        if context.HasField("cond_ctxt"):
            cond = context.cond_ctxt
            yield "pred_name", cond.pred_name, why_not
            yield "pivot_name", cond.pivot_name, why_not
            yield from _value_names(cond.values_def, why_not)
            waiting.extend(cond.nested_contexts)
        elif context.HasField("while_ctxt"):
            loop = context.while_ctxt
            for field in ("pivot_for_pred_name", "pivot_for_body_name", "pivot_name"):
                yield field, getattr(loop, field), why_not
            if loop.maximum_iterations_name:
                yield "maximum_iterations_name", loop.maximum_iterations_name, why_not
            for field in ("loop_exit_names", "loop_enter_names"):
                for name in getattr(loop, field):
                    yield field, name, why_not
            yield from _value_names(loop.values_def, why_not)
            waiting.extend(loop.nested_contexts)


def _value_names(values: ValuesDef, why_not: Callable[[str], str | None]) -> Iterator[_Name]:
    external = dict(values.external_values)
    for name in external.values():
        yield "external_values", name, why_not
    for name in values.values:
        if name not in external:
            yield "values", name.partition(":")[0], why_not


# Collections of messages with names that the Python loader looks up in the graph.
_MESSAGES: Final[dict[str, Callable[[bytes, Scope], Iterable[_Name]]]] = {
    "cond_context": _cond_names,
    "global_step": _variable_names,
    "local_variables": _variable_names,
    "metric_variables": _variable_names,
    "model_variables": _variable_names,
    "moving_average_variables": _variable_names,
    "queue_runners": _queue_runner_names,
    "savers": _saver_names,
    "trainable_variables": _variable_names,
    "variables": _variable_names,
    "while_context": _while_names,
}
