"""The table ops: loads their library into TensorFlow once, and one function for each op.

The functions add one node to the default graph, or run it in eager mode. An argument that stands for an input takes a
tensor or what TensorFlow makes one of; those behind the ``*`` are attributes. docs/formats/table_ops.md says what each
op does; the names of arguments and results are those of its inputs and outputs. All raise
:class:`~mexport_pb.errors.MexportError` as :func:`load_op_library` does.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from mexport_pb.errors import MexportError
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.ops_build import COMMAND, find_ops_library

__all__ = [
    "FusedLookup",
    "RemotePrediction",
    "create_multi_hash_table",
    "dummy_hash_filter",
    "dummy_sync_client",
    "dummy_sync_server",
    "dummy_sync_server_get_port",
    "dummy_sync_server_shutdown",
    "extract_slot_from_entry",
    "hash_filter",
    "hash_filter_intercept_gradient",
    "hash_filter_intercept_gradient_gradient",
    "hash_filter_restore",
    "hash_filter_save",
    "hash_table",
    "hash_table_assign",
    "hash_table_assign_add",
    "hash_table_fused_lookup",
    "hash_table_fused_optimize",
    "hash_table_lookup",
    "hash_table_lookup_entry",
    "hash_table_lookup_gradient",
    "hash_table_optimize",
    "hash_table_restore",
    "hash_table_save",
    "hash_table_save_as_tensor",
    "hash_table_size",
    "is_hash_table_initialized",
    "load_op_library",
    "multi_hash_table_assign",
    "multi_hash_table_assign_add",
    "multi_hash_table_feature_stat",
    "multi_hash_table_fused_lookup",
    "multi_hash_table_fused_optimize",
    "multi_hash_table_lookup",
    "multi_hash_table_lookup_entry",
    "multi_hash_table_optimize",
    "multi_hash_table_reinitialize",
    "multi_hash_table_restore",
    "multi_hash_table_save",
    "parameter_sync",
    "parameter_sync_client",
    "probabilistic_filter",
    "read_multi_hash_table",
    "tf_serving_remote_predict",
]

# TensorFlow's types are not known to a type checker; these say what is meant.
Tensor: TypeAlias = Any
Handle: TypeAlias = Any  # a scalar of dtype resource


class RemotePrediction(NamedTuple):
    """What a remote prediction returns.

    Attributes:
        status_code: int32 [], 0 or gRPC's code of what went wrong.
        status_error_message: string [], what went wrong.
        output_tensors: One for each alias; of shape [0] where something went wrong.
    """

    status_code: Tensor
    status_error_message: Tensor
    output_tensors: list[Tensor]


class FusedLookup(NamedTuple):
    """What a fused lookup returns.

    Attributes:
        embeddings: float32 [floats], shard after shard, table after table in each.
        embedding_splits: int32 [shards], the floats of each shard.
        id_offsets: int32 [slots + 1], where the ids of each slot begin, and the end.
        embedding_offsets: int32 [slots + 1], where the floats of each slot begin, and the end.
        indices: int64, the ids.
    """

    embeddings: Tensor
    embedding_splits: Tensor
    id_offsets: Tensor
    embedding_offsets: Tensor
    indices: Tensor


def load_op_library(path: str | os.PathLike[str] | None = None) -> Any:
    """Load the ops' library and return its Python module. Loading it again does nothing.

    Args:
        path: The library; by default the one that was loaded before, else the one that
            :func:`mexport_pb.runtime.ops_build.find_ops_library` finds.

    Raises:
        MexportError: There is no library for the installed TensorFlow, it is for another one, or other ops of the same
            names are loaded. The message names the command that compiles one.
    """
    if path is None and _loaded:
        return next(iter(_loaded.values()))
    path = os.path.realpath(path if path is not None else find_ops_library())
    if path not in _loaded:
        _loaded[path] = _load(path)
    return _loaded[path]


def op_library_path() -> str:
    """The path of the loaded library; loads it first where it is not.

    Raises:
        MexportError: as :func:`load_op_library` does.
    """
    load_op_library()
    return next(iter(_loaded))


# By path; a process has one at most.
_loaded: dict[str, Any] = {}


def _load(path: str) -> Any:
    tf = tensorflow()
    try:
        module = tf.load_op_library(path)
    except (tf.errors.OpError, OSError, RuntimeError) as error:
        raise MexportError(
            f"{path}: tensorflow {tf.__version__} cannot load it: {error}; run `{COMMAND}` to compile one for it"
        ) from error
    if not hasattr(module, "monolith_hash_table"):
        # TensorFlow passes over ops that are there already, and their kernels may be those of either library.
        raise MexportError(f"{path}: got no table ops of its own, want one library of them in a process")
    _register_gradients()
    _register_collections()
    return module


@functools.cache
def _register_gradients() -> None:
    tf = tensorflow()

    def intercept_gradient(op: Any, grad: Tensor) -> list[Tensor]:
        return [None, None, hash_filter_intercept_gradient_gradient(op.inputs[0], op.inputs[1], grad)]

    tf.RegisterGradient("MonolithHashFilterInterceptGradient")(intercept_gradient)
    tf.no_gradient("IsHashTableInitialized")


@functools.cache
def _register_collections() -> None:
    """Lets TensorFlow write the collections of tables into messages, and read them."""
    from tensorflow.python.framework.ops import register_proto_function

    from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto, MultiHashTableProto
    from mexport_pb.runtime.hash_table_ops import HashTable
    from mexport_pb.runtime.multi_hash_table_ops import MultiHashTable
    from mexport_pb.table.collections import HASH_TABLES_COLLECTION, MULTI_HASH_TABLES_COLLECTION

    for key, proto, face in (
        (HASH_TABLES_COLLECTION, HashTableProto, HashTable),
        (MULTI_HASH_TABLES_COLLECTION, MultiHashTableProto, MultiHashTable),
    ):
        register_proto_function(key, proto_type=proto, to_proto=face.to_proto, from_proto=face.from_proto)


def _ops() -> Any:
    return load_op_library()


# Resources.


def hash_table(
    filter_handle: Handle,
    sync_client_handle: Handle,
    *,
    config: bytes,
    container: str = "",
    shared_name: str = "",
    name: str | None = None,
) -> Handle:
    """Make a table, or find the one of that name. `config` is a serialised EmbeddingHashTableConfig."""
    return _ops().monolith_hash_table(
        filter_handle, sync_client_handle, config=config, container=container, shared_name=shared_name, name=name
    )


def create_multi_hash_table(
    config: Tensor,
    filter_handle: Handle,
    sync_client_handle: Handle,
    *,
    container: str = "",
    shared_name: str = "",
    name: str | None = None,
) -> Handle:
    """Make several tables, or find those of that name. `config` is a serialised MultiEmbeddingHashTableConfig."""
    return _ops().create_monolith_multi_hash_table(
        config, filter_handle, sync_client_handle, container=container, shared_name=shared_name, name=name
    )


def read_multi_hash_table(*, container: str = "", shared_name: str = "", name: str | None = None) -> Handle:
    """Return the handle of the tables of that name, which another node makes."""
    return _ops().read_monolith_multi_hash_table(container=container, shared_name=shared_name, name=name)


def is_hash_table_initialized(handle: Handle, *, name: str | None = None) -> Tensor:
    """Tell whether several tables were made: bool []."""
    return _ops().is_hash_table_initialized(handle, name=name)


def hash_filter(
    *,
    capacity: int = 300_000_000,
    split_num: int = 7,
    config: bytes = b"",
    container: str = "",
    shared_name: str = "",
    name: str | None = None,
) -> Handle:
    """Make a filter that counts. `config` is a serialised SlotOccurrenceThresholdConfig."""
    return _ops().monolith_hash_filter(
        capacity=capacity,
        split_num=split_num,
        config=config,
        container=container,
        shared_name=shared_name,
        name=name,
    )


def probabilistic_filter(
    *,
    equal_probability: bool = False,
    config: bytes = b"",
    container: str = "",
    shared_name: str = "",
    name: str | None = None,
) -> Handle:
    """Make a filter that admits by chance. `config` as for :func:`hash_filter`."""
    return _ops().monolith_probabilistic_filter(
        equal_probability=equal_probability, config=config, container=container, shared_name=shared_name, name=name
    )


def dummy_hash_filter(*, container: str = "", shared_name: str = "", name: str | None = None) -> Handle:
    """Make a filter that admits everything."""
    return _ops().monolith_dummy_hash_filter(container=container, shared_name=shared_name, name=name)


def hash_filter_save(handle: Handle, basename: Tensor, *, name: str | None = None) -> Handle:
    """Write a filter's files."""
    return _ops().monolith_hash_filter_save(handle, basename, name=name)


def hash_filter_restore(handle: Handle, basename: Tensor, *, name: str | None = None) -> Handle:
    """Read a filter's files."""
    return _ops().monolith_hash_filter_restore(handle, basename, name=name)


def hash_filter_intercept_gradient(
    filter_handle: Handle, ids: Tensor, embeddings: Tensor, *, name: str | None = None
) -> Tensor:
    """Return the embeddings; on the way back, the gradients of filtered ids become zeros."""
    return _ops().monolith_hash_filter_intercept_gradient(filter_handle, ids, embeddings, name=name)


def hash_filter_intercept_gradient_gradient(
    filter_handle: Handle, ids: Tensor, grad: Tensor, *, name: str | None = None
) -> Tensor:
    """Count the ids and return their gradients, with zeros for those that are filtered."""
    return _ops().monolith_hash_filter_intercept_gradient_gradient(filter_handle, ids, grad, name=name)


def dummy_sync_client(
    *, config: bytes = b"", container: str = "", shared_name: str = "", name: str | None = None
) -> Handle:
    """Make a client that pushes nothing."""
    return _ops().monolith_dummy_sync_client(config=config, container=container, shared_name=shared_name, name=name)


def parameter_sync_client(
    *, config: bytes, container: str = "", shared_name: str = "", name: str | None = None
) -> Handle:
    """Make a client that pushes what training changes in its tables. `config` is a serialised ClientConfig."""
    return _ops().monolith_parameter_sync_client(config=config, container=container, shared_name=shared_name, name=name)


def parameter_sync(handle: Handle, config_str: Tensor, *, name: str | None = None) -> Tensor:
    """Push what changed: string [1], a PushResult as JSON. `config_str` is a ClientConfig; empty for the last one."""
    return _ops().monolith_parameter_sync(handle, config_str, name=name)


def dummy_sync_server(*, address: str, container: str = "", shared_name: str = "", name: str | None = None) -> Handle:
    """Start a server that takes pushes and counts them; port 0 takes a free one."""
    return _ops().monolith_dummy_sync_server(address=address, container=container, shared_name=shared_name, name=name)


def dummy_sync_server_shutdown(handle: Handle, *, name: str | None = None) -> Tensor:
    """Stop the server and return how many entries came, an id once for each table: int64 []."""
    return _ops().monolith_dummy_sync_server_shutdown(handle, name=name)


def dummy_sync_server_get_port(handle: Handle, *, name: str | None = None) -> Tensor:
    """Return the port that the server listens on: int32 []."""
    return _ops().monolith_dummy_sync_server_get_port(handle, name=name)


# Other models.


def tf_serving_remote_predict(
    input_tensor_aliases: Tensor,
    input_tensors: Sequence[Tensor],
    output_tensor_aliases: Tensor,
    *,
    output_types: Sequence[Any],
    model_name: str = "",
    model_version: int = -1,
    fail_op_on_rpc_error: bool = True,
    max_rpc_deadline_millis: int = 30,
    signature_name: str = "serving_default",
    old_model_name: str = "",
    task: int = -1,
    name: str | None = None,
) -> RemotePrediction:
    """Ask a server of another model. :func:`mexport_pb.runtime.remote_predict.set_predict_servers` says which."""
    return RemotePrediction(
        *_ops().tf_serving_remote_predict(
            input_tensor_aliases=input_tensor_aliases,
            input_tensors=input_tensors,
            output_tensor_aliases=output_tensor_aliases,
            output_types=output_types,
            model_name=model_name,
            model_version=model_version,
            fail_op_on_rpc_error=fail_op_on_rpc_error,
            max_rpc_deadline_millis=max_rpc_deadline_millis,
            signature_name=signature_name,
            old_model_name=old_model_name,
            task=task,
            name=name,
        )
    )


# One table.


def hash_table_lookup(
    table_handle: Handle, ids: Tensor, *, dim_size: int, use_multi_threads: bool = False, name: str | None = None
) -> Tensor:
    """Look up: float32 [number of ids, dim_size], zeros for an id that is not there."""
    return _ops().monolith_hash_table_lookup(
        table_handle, ids, dim_size=dim_size, use_multi_threads=use_multi_threads, name=name
    )


def hash_table_lookup_entry(table_handle: Handle, ids: Tensor, *, name: str | None = None) -> Tensor:
    """Return serialised entries without their ids: string [number of ids], empty for one that is not there."""
    return _ops().monolith_hash_table_lookup_entry(table_handle, ids, name=name)


def hash_table_lookup_gradient(
    id_indices: Tensor, id_values: Tensor, input_grads: Tensor, *, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return ids and, for each, the row of gradients that its first index names."""
    ids, grads = _ops().monolith_hash_table_lookup_gradient(id_indices, id_values, input_grads, name=name)
    return ids, grads


def hash_table_fused_lookup(
    table_handles: Sequence[Handle],
    ids: Tensor,
    fused_slot_size: Tensor,
    req_time: Tensor,
    *,
    num_of_shards: int,
    name: str | None = None,
) -> FusedLookup:
    """Look up in several tables for several shards."""
    return FusedLookup(
        *_ops().monolith_hash_table_fused_lookup(
            table_handles, ids, fused_slot_size, req_time, num_of_shards=num_of_shards, name=name
        )
    )


def hash_table_assign(
    table_handle: Handle, id_values: Tensor, id_updates: Tensor, req_time: Tensor, *, name: str | None = None
) -> Handle:
    """Assign float32 [ids, dim]; the last one of several for an id stays."""
    return _ops().monolith_hash_table_assign(table_handle, id_values, id_updates, req_time, name=name)


def hash_table_assign_add(
    table_handle: Handle, id_values: Tensor, id_updates: Tensor, req_time: Tensor, *, name: str | None = None
) -> Handle:
    """Add float32 [ids, dim]."""
    return _ops().monolith_hash_table_assign_add(table_handle, id_values, id_updates, req_time, name=name)


def hash_table_optimize(
    table_handle: Handle,
    id_values: Tensor,
    id_updates: Tensor,
    learning_rate_tensor: Tensor,
    req_time: Tensor,
    global_step: Tensor,
    *,
    use_multi_threads: bool = False,
    queue_size: int = 0,
    enable_dedup: bool = False,
    name: str | None = None,
) -> Handle:
    """Take a step for each gradient, or with `enable_dedup` one for the sum of an id's gradients."""
    return _ops().monolith_hash_table_optimize(
        table_handle,
        id_values,
        id_updates,
        learning_rate_tensor,
        req_time,
        global_step,
        use_multi_threads=use_multi_threads,
        queue_size=queue_size,
        enable_dedup=enable_dedup,
        name=name,
    )


def hash_table_fused_optimize(
    table_handles: Sequence[Handle],
    ids: Tensor,
    indices: Tensor,
    fused_slot_size: Tensor,
    id_grads: Tensor,
    id_offsets: Tensor,
    grad_offsets: Tensor,
    learning_rate_tensors: Tensor,
    req_time: Tensor,
    global_step: Tensor,
    *,
    num_of_shards: int,
    enable_grad_accumulation: bool = False,
    name: str | None = None,
) -> list[Handle]:
    """Take steps in several tables for several shards."""
    return list(
        _ops().monolith_hash_table_fused_optimize(
            table_handles,
            ids,
            indices,
            fused_slot_size,
            id_grads,
            id_offsets,
            grad_offsets,
            learning_rate_tensors,
            req_time,
            global_step,
            num_of_shards=num_of_shards,
            enable_grad_accumulation=enable_grad_accumulation,
            name=name,
        )
    )


def hash_table_save(
    handle: Handle,
    basename: Tensor,
    *,
    nshards: int = -1,
    random_sleep_ms: int = 0,
    slot_expire_time_config: bytes = b"",
    name: str | None = None,
) -> Handle:
    """Write a table's files."""
    return _ops().monolith_hash_table_save(
        handle,
        basename,
        nshards=nshards,
        random_sleep_ms=random_sleep_ms,
        slot_expire_time_config=slot_expire_time_config,
        name=name,
    )


def hash_table_restore(handle: Handle, basename: Tensor, *, name: str | None = None) -> Handle:
    """Replace a table's entries by those of a dump."""
    return _ops().monolith_hash_table_restore(handle, basename, name=name)


def hash_table_size(table_handle: Handle, *, name: str | None = None) -> Tensor:
    """Return the number of entries: int64 []."""
    return _ops().monolith_hash_table_size(table_handle, name=name)


def hash_table_save_as_tensor(
    table_handle: Handle,
    shard_idx: Tensor,
    num_shards: Tensor,
    limit: Tensor,
    offset: Tensor,
    *,
    name: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the next offset, and up to `limit` serialised entries with their ids, fewer only at the end."""
    new_offset, entries = _ops().monolith_hash_table_save_as_tensor(
        table_handle, shard_idx, num_shards, limit, offset, name=name
    )
    return new_offset, entries


def extract_slot_from_entry(entry: Tensor, *, fid_v2: bool, name: str | None = None) -> Tensor:
    """Return the slot of each serialised entry's id: int32, shaped as `entry`."""
    return _ops().monolith_extract_slot_from_entry(entry, fid_v2=fid_v2, name=name)


# Several tables. `id` holds the ids of the first table, then those of the second, …; `id_split` where each begins, and
# the end.


def multi_hash_table_lookup(mtable: Handle, id: Tensor, id_split: Tensor, *, name: str | None = None) -> Tensor:
    """Look up: float32 [floats], table after table, request after request."""
    return _ops().monolith_multi_hash_table_lookup(mtable, id, id_split, name=name)


def multi_hash_table_lookup_entry(mtable: Handle, id: Tensor, id_split: Tensor, *, name: str | None = None) -> Tensor:
    """Return serialised entries without their ids: string [number of ids], empty for one that is not there."""
    return _ops().monolith_multi_hash_table_lookup_entry(mtable, id, id_split, name=name)


def multi_hash_table_fused_lookup(
    mtable: Handle,
    ids: Tensor,
    fused_slot_size: Tensor,
    req_time: Tensor,
    *,
    num_of_shards: int,
    name: str | None = None,
) -> FusedLookup:
    """Look up for several shards."""
    return FusedLookup(
        *_ops().monolith_multi_hash_table_fused_lookup(
            mtable, ids, fused_slot_size, req_time, num_of_shards=num_of_shards, name=name
        )
    )


def multi_hash_table_assign(
    mtable: Handle,
    id: Tensor,
    id_split: Tensor,
    value: Tensor,
    update_time: Tensor,
    *,
    name: str | None = None,
) -> Handle:
    """Assign the floats of each table, which lie one after another in `value`."""
    return _ops().monolith_multi_hash_table_assign(mtable, id, id_split, value, update_time, name=name)


def multi_hash_table_assign_add(
    mtable: Handle,
    id: Tensor,
    id_split: Tensor,
    value: Tensor,
    update_time: Tensor,
    *,
    name: str | None = None,
) -> Handle:
    """Add the floats of each table, which lie one after another in `value`."""
    return _ops().monolith_multi_hash_table_assign_add(mtable, id, id_split, value, update_time, name=name)


def multi_hash_table_optimize(
    mtable: Handle,
    id: Tensor,
    id_split: Tensor,
    value: Tensor,
    learning_rate: Tensor,
    update_time: Tensor,
    global_step: Tensor,
    *,
    name: str | None = None,
) -> Handle:
    """Take a step for each gradient; `learning_rate` has one for each segment of each table."""
    return _ops().monolith_multi_hash_table_optimize(
        mtable, id, id_split, value, learning_rate, update_time, global_step, name=name
    )


def multi_hash_table_fused_optimize(
    mtable: Handle,
    ids: Tensor,
    indices: Tensor,
    fused_slot_size: Tensor,
    id_grads: Tensor,
    id_offsets: Tensor,
    grad_offsets: Tensor,
    learning_rate_tensors: Tensor,
    req_time: Tensor,
    global_step: Tensor,
    *,
    num_of_shards: int,
    enable_grad_accumulation: bool = False,
    name: str | None = None,
) -> Handle:
    """Take steps for several shards."""
    return _ops().monolith_multi_hash_table_fused_optimize(
        mtable,
        ids,
        indices,
        fused_slot_size,
        id_grads,
        id_offsets,
        grad_offsets,
        learning_rate_tensors,
        req_time,
        global_step,
        num_of_shards=num_of_shards,
        enable_grad_accumulation=enable_grad_accumulation,
        name=name,
    )


def multi_hash_table_reinitialize(
    mtable: Handle,
    table_name: Tensor,
    id: Tensor,
    *,
    name: str | None = None,
) -> tuple[Handle, Tensor]:
    """Give ids of one table new entries. The status, int32: 1 had one, 0 had none, -1 no such table."""
    handle, status = _ops().monolith_multi_hash_table_reinitialize(mtable, table_name, id, name=name)
    return handle, status


def multi_hash_table_save(
    mtable: Handle,
    basename: Tensor,
    *,
    nshards: int = -1,
    slot_expire_time_config: bytes = b"",
    name: str | None = None,
) -> Handle:
    """Write the tables' files."""
    return _ops().monolith_multi_hash_table_save(
        mtable, basename, nshards=nshards, slot_expire_time_config=slot_expire_time_config, name=name
    )


def multi_hash_table_restore(mtable: Handle, basename: Tensor, *, name: str | None = None) -> Handle:
    """Add a dump's entries to those of the tables."""
    return _ops().monolith_multi_hash_table_restore(mtable, basename, name=name)


def multi_hash_table_feature_stat(basename: Tensor, *, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Return the names of a dump's tables, sorted, and the entries of each: string [n], uint64 [n]."""
    features, counts = _ops().monolith_multi_hash_table_feature_stat(basename, name=name)
    return features, counts
