"""The signatures of Monolith's ops, hash tables' and remote predict, which TensorFlow knows only with a library loaded.

The table below is their one source: names, inputs, outputs, attributes and defaults are those of graphs that are out
there. ``stateful`` is ours where Monolith leaves it out: without it TensorFlow merges equal nodes and folds constants,
though each reads or changes a table.
"""

from __future__ import annotations

import ast
import functools
import re
from typing import Final

from mexport_pb._proto import graph_pb2, tensor_pb2

__all__ = ["table_op_defs"]

# op(input: type, …) -> (output: type, …) {attribute: type = default, …} stateful
# A type is that of all elements; "N * type" is a list of as many tensors as the attribute N says, and the name of an
# attribute of type list(type) a list of tensors of those types.
_OPS: Final = """
MonolithHashTable(filter_handle: resource, sync_client_handle: resource) -> (handle: resource)
    {config: string, container: string = "", shared_name: string = ""} stateful
CreateMonolithMultiHashTable(config: string, filter_handle: resource, sync_client_handle: resource)
    -> (multi_hash_table_handle: resource) {container: string = "", shared_name: string = ""} stateful
ReadMonolithMultiHashTable() -> (multi_hash_table_handle: resource)
    {container: string = "", shared_name: string = ""} stateful
IsHashTableInitialized(handle: resource) -> (is_initialized: bool) {} stateful

MonolithHashFilter() -> (handle: resource)
    {capacity: int = 300000000, split_num: int = 7, config: string = "", container: string = "",
     shared_name: string = ""} stateful
MonolithProbabilisticFilter() -> (handle: resource)
    {equal_probability: bool = False, config: string = "", container: string = "", shared_name: string = ""} stateful
MonolithDummyHashFilter() -> (handle: resource) {container: string = "", shared_name: string = ""} stateful
MonolithHashFilterSave(handle: resource, basename: string) -> (output_handle: resource) {} stateful
MonolithHashFilterRestore(handle: resource, basename: string) -> (output_handle: resource) {} stateful
MonolithHashFilterInterceptGradient(filter_handle: resource, ids: int64, embeddings: float)
    -> (same_embeddings: float) {} stateful
MonolithHashFilterInterceptGradientGradient(filter_handle: resource, ids: int64, grad: float)
    -> (filted_grad: float) {} stateful

MonolithDummySyncClient() -> (handle: resource)
    {config: string = "", container: string = "", shared_name: string = ""} stateful
MonolithParameterSyncClient() -> (handle: resource)
    {config: string, container: string = "", shared_name: string = ""} stateful
MonolithParameterSync(handle: resource, config_str: string) -> (result: string) {} stateful
MonolithDummySyncServer() -> (handle: resource)
    {address: string, container: string = "", shared_name: string = ""} stateful
MonolithDummySyncServerShutdown(handle: resource) -> (size: int64) {} stateful
MonolithDummySyncServerGetPort(handle: resource) -> (size: int32) {} stateful

MonolithHashTableLookup(table_handle: resource, ids: int64) -> (embeddings: float)
    {dim_size: int, use_multi_threads: bool = False} stateful
MonolithHashTableLookupEntry(table_handle: resource, ids: int64) -> (entry_str: string) {} stateful
MonolithHashTableLookupGradient(id_indices: int64, id_values: int64, input_grads: float)
    -> (ids: int64, output_grads: float) {}
MonolithHashTableFusedLookup(table_handles: N * resource, ids: int64, fused_slot_size: int32, req_time: int64)
    -> (embeddings: float, embedding_splits: int32, id_offsets: int32, embedding_offsets: int32, indices: int64)
    {N: int, num_of_shards: int} stateful
MonolithHashTableAssign(table_handle: resource, id_values: int64, id_updates: float, req_time: int64)
    -> (table_handle_output: resource) {} stateful
MonolithHashTableAssignAdd(table_handle: resource, id_values: int64, id_updates: float, req_time: int64)
    -> (table_handle_output: resource) {} stateful
MonolithHashTableOptimize(table_handle: resource, id_values: int64, id_updates: float, learning_rate_tensor: float,
    req_time: int64, global_step: int64) -> (table_handle_output: resource)
    {use_multi_threads: bool = False, queue_size: int = 0, enable_dedup: bool = False} stateful
MonolithHashTableFusedOptimize(table_handles: N * resource, ids: int64, indices: int64, fused_slot_size: int32,
    id_grads: float, id_offsets: int32, grad_offsets: int32, learning_rate_tensors: float, req_time: int64,
    global_step: int64) -> (table_handles_output: N * resource)
    {N: int, num_of_shards: int, enable_grad_accumulation: bool = False} stateful
MonolithHashTableSave(handle: resource, basename: string) -> (output_handle: resource)
    {nshards: int = -1, random_sleep_ms: int = 0, slot_expire_time_config: string = ""} stateful
MonolithHashTableRestore(handle: resource, basename: string) -> (output_handle: resource) {} stateful
MonolithHashTableSize(table_handle: resource) -> (size: int64) {} stateful
MonolithHashTableSaveAsTensor(table_handle: resource, shard_idx: int32, num_shards: int32, limit: int64,
    offset: int64) -> (new_offset: int64, entry: string) {} stateful
MonolithExtractSlotFromEntry(entry: string) -> (slot: int32) {fid_v2: bool}

MonolithMultiHashTableLookup(mtable: resource, id: int64, id_split: int64) -> (embedding: float) {} stateful
MonolithMultiHashTableLookupEntry(mtable: resource, id: int64, id_split: int64)
    -> (serialized_entries: string) {} stateful
MonolithMultiHashTableFusedLookup(mtable: resource, ids: int64, fused_slot_size: int32, req_time: int64)
    -> (embeddings: float, embedding_splits: int32, id_offsets: int32, embedding_offsets: int32, indices: int64)
    {num_of_shards: int} stateful
MonolithMultiHashTableAssign(mtable: resource, id: int64, id_split: int64, value: float, update_time: int64)
    -> (updated_table: resource) {} stateful
MonolithMultiHashTableAssignAdd(mtable: resource, id: int64, id_split: int64, value: float, update_time: int64)
    -> (updated_table: resource) {} stateful
MonolithMultiHashTableOptimize(mtable: resource, id: int64, id_split: int64, value: float, learning_rate: float,
    update_time: int64, global_step: int64) -> (updated_table: resource) {} stateful
MonolithMultiHashTableFusedOptimize(mtable: resource, ids: int64, indices: int64, fused_slot_size: int32,
    id_grads: float, id_offsets: int32, grad_offsets: int32, learning_rate_tensors: float, req_time: int64,
    global_step: int64) -> (mtable_out: resource)
    {num_of_shards: int, enable_grad_accumulation: bool = False} stateful
MonolithMultiHashTableReinitialize(mtable: resource, table_name: string, id: int64)
    -> (updated_table: resource, id_status: int32) {} stateful
MonolithMultiHashTableSave(mtable: resource, basename: string) -> (output_mtable: resource)
    {nshards: int = -1, slot_expire_time_config: string = ""} stateful
MonolithMultiHashTableRestore(mtable: resource, basename: string) -> (output_mtable: resource) {} stateful
MonolithMultiHashTableFeatureStat(basename: string) -> (features: string, counts: uint64) {} stateful

TfServingRemotePredict(input_tensor_aliases: string, input_tensors: T, output_tensor_aliases: string)
    -> (status_code: int32, status_error_message: string, output_tensors: output_types)
    {T: list(type), model_name: string = "", model_version: int = -1, fail_op_on_rpc_error: bool = True,
     max_rpc_deadline_millis: int = 30, signature_name: string = "serving_default", old_model_name: string = "",
     task: int = -1, output_types: list(type)} stateful
"""

_OP: Final = re.compile(r"(\w+)\(([^)]*)\)\s*->\s*\(([^)]*)\)\s*\{([^}]*)\}( stateful)?")
_TYPES: Final = {
    "resource": tensor_pb2.DT_RESOURCE,
    "string": tensor_pb2.DT_STRING,
    "int32": tensor_pb2.DT_INT32,
    "int64": tensor_pb2.DT_INT64,
    "uint64": tensor_pb2.DT_UINT64,
    "float": tensor_pb2.DT_FLOAT,
    "bool": tensor_pb2.DT_BOOL,
}


@functools.cache
def table_op_defs() -> dict[str, graph_pb2.OpDef]:
    """Return the signatures by op name. The messages are shared: do not change them."""
    found = {}
    for name, inputs, outputs, attrs, stateful in _OP.findall(_OPS):
        definition = graph_pb2.OpDef(name=name)
        if stateful:
            definition.is_stateful = True
        for text in _items(inputs):
            _read_argument(text, definition.input_arg.add())
        for text in _items(outputs):
            _read_argument(text, definition.output_arg.add())
        for text in _items(attrs):
            _read_attribute(text, definition.attr.add())
        found[name] = definition
    return found


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _read_argument(text: str, argument: graph_pb2.OpDef.ArgDef) -> None:
    argument.name, _, kind = text.partition(": ")
    number, times, element = kind.rpartition(" * ")
    if element not in _TYPES:
        argument.type_list_attr = element
        return
    argument.type = _TYPES[element]
    if times:
        argument.number_attr = number


def _read_attribute(text: str, attribute: graph_pb2.OpDef.AttrDef) -> None:
    attribute.name, _, rest = text.partition(": ")
    attribute.type, equals, default = rest.partition(" = ")
    if attribute.name == "N" or attribute.type.startswith("list("):
        # Of a list of inputs or outputs, which TensorFlow wants not to be empty where an op says nothing of it.
        attribute.has_minimum, attribute.minimum = True, 1
    if equals:
        value = ast.literal_eval(default)
        field = {"string": "s", "int": "i", "bool": "b"}[attribute.type]
        setattr(attribute.default_value, field, value.encode() if isinstance(value, str) else value)
