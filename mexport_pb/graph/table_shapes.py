"""Static shapes of the outputs of hash table ops and of the remote predict op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.shapes import with_rank
from mexport_pb.graph.tensor import Shape

if TYPE_CHECKING:
    from mexport_pb.graph.shape_functions import InferenceContext

__all__ = ["TABLE_SHAPES"]


def _scalars(context: InferenceContext) -> Sequence[Shape]:
    return [()] * context.outputs


def _vectors(context: InferenceContext) -> Sequence[Shape]:
    return [(None,)] * context.outputs


def _rows(context: InferenceContext) -> Sequence[Shape]:
    ids = context.shape(1)
    return [(ids[0] if ids else None, context.attr("dim_size").i)]


def _one_each(context: InferenceContext) -> Sequence[Shape]:
    ids = context.shape(1)
    return [(ids[0] if ids else None,)]


def _as_ids(context: InferenceContext) -> Sequence[Shape]:
    return [context.shape(1)]


def _as_last(context: InferenceContext) -> Sequence[Shape]:
    return [context.shape(len(context.inputs) - 1)]


def _as_first(context: InferenceContext) -> Sequence[Shape]:
    return [context.shape(0)]


def _gradient(context: InferenceContext) -> Sequence[Shape]:
    ids = context.shape(1)
    grads = with_rank(context.shape(2), 2)
    return [ids, (ids[0] if ids else None, grads[1])]


def _fused(context: InferenceContext) -> Sequence[Shape]:
    shards = context.attr("num_of_shards").i
    sizes = with_rank(context.shape(len(context.inputs) - 2), 1)[0]
    offsets = (None if sizes is None else sizes + 1,)
    return [(None,), (shards,), offsets, offsets, context.shape(len(context.inputs) - 3)]


def _piece(context: InferenceContext) -> Sequence[Shape]:
    return [(), (None,)]


def _reinitialize(context: InferenceContext) -> Sequence[Shape]:
    return [(), context.shape(2)]


def _predict(context: InferenceContext) -> Sequence[Shape]:
    tensors = {"input_tensor_aliases": len(context.inputs) - 2, "output_tensor_aliases": context.outputs - 2}
    for (what, want), index in zip(tensors.items(), (0, len(context.inputs) - 1), strict=True):
        (got,) = with_rank(context.shape(index), 1)
        if got not in (None, want):
            raise InvalidArgumentError(f"{what}: got {got} aliases, want {want}, one for each tensor")
    return [(), (), *[None] * (context.outputs - 2)]


_GROUPS: Final[dict[Callable[[InferenceContext], Sequence[Shape]], str]] = {
    _scalars: """MonolithHashTable CreateMonolithMultiHashTable ReadMonolithMultiHashTable IsHashTableInitialized
        MonolithHashFilter MonolithProbabilisticFilter MonolithDummyHashFilter MonolithHashFilterSave
        MonolithHashFilterRestore MonolithDummySyncClient MonolithParameterSyncClient MonolithDummySyncServer
        MonolithDummySyncServerShutdown MonolithDummySyncServerGetPort MonolithHashTableAssign
        MonolithHashTableAssignAdd MonolithHashTableOptimize MonolithHashTableFusedOptimize MonolithHashTableSave
        MonolithHashTableRestore MonolithHashTableSize MonolithMultiHashTableAssign MonolithMultiHashTableAssignAdd
        MonolithMultiHashTableOptimize MonolithMultiHashTableFusedOptimize MonolithMultiHashTableSave
        MonolithMultiHashTableRestore""",
    _vectors: "MonolithMultiHashTableLookup MonolithMultiHashTableFeatureStat MonolithParameterSync",
    _rows: "MonolithHashTableLookup",
    _one_each: "MonolithHashTableLookupEntry",
    _as_ids: "MonolithMultiHashTableLookupEntry",
    _as_last: "MonolithHashFilterInterceptGradient MonolithHashFilterInterceptGradientGradient",
    _as_first: "MonolithExtractSlotFromEntry",
    _gradient: "MonolithHashTableLookupGradient",
    _fused: "MonolithHashTableFusedLookup MonolithMultiHashTableFusedLookup",
    _piece: "MonolithHashTableSaveAsTensor",
    _reinitialize: "MonolithMultiHashTableReinitialize",
    _predict: "TfServingRemotePredict",
}

TABLE_SHAPES: Final = {op: function for function, ops in _GROUPS.items() for op in ops.split()}
"""Shape functions by op; every op of :func:`mexport_pb.messages.table_ops.table_op_defs` has one."""
