"""The registered table ops against the table that graphs of Monolith were written with."""

from __future__ import annotations

import re

import pytest

tf = pytest.importorskip("tensorflow")

from mexport_pb.runtime import load_op_library  # noqa: E402

pytestmark = pytest.mark.tensorflow

# name [S: stateful]: inputs -> outputs | attributes, as REGISTER_OP writes them.
OPS = """
MonolithHashTable S: filter_handle:resource sync_client_handle:resource -> handle:resource
  | config:string container:string='' shared_name:string=''
CreateMonolithMultiHashTable S: config:string filter_handle:resource sync_client_handle:resource
  -> multi_hash_table_handle:resource | container:string='' shared_name:string=''
ReadMonolithMultiHashTable S: -> multi_hash_table_handle:resource | container:string='' shared_name:string=''
IsHashTableInitialized S: handle:resource -> is_initialized:bool |
MonolithHashFilter S: -> handle:resource
  | capacity:int=300000000 split_num:int=7 config:string='' container:string='' shared_name:string=''
MonolithProbabilisticFilter S: -> handle:resource
  | equal_probability:bool=false config:string='' container:string='' shared_name:string=''
MonolithDummyHashFilter S: -> handle:resource | container:string='' shared_name:string=''
MonolithHashFilterSave S: handle:resource basename:string -> output_handle:resource |
MonolithHashFilterRestore S: handle:resource basename:string -> output_handle:resource |
MonolithHashFilterInterceptGradient S: filter_handle:resource ids:int64 embeddings:float -> same_embeddings:float |
MonolithHashFilterInterceptGradientGradient S: filter_handle:resource ids:int64 grad:float -> filted_grad:float |
MonolithDummySyncClient S: -> handle:resource | config:string='' container:string='' shared_name:string=''
MonolithParameterSyncClient S: -> handle:resource | config:string container:string='' shared_name:string=''
MonolithParameterSync S: handle:resource config_str:string -> result:string |
MonolithDummySyncServer S: -> handle:resource | address:string container:string='' shared_name:string=''
MonolithDummySyncServerShutdown S: handle:resource -> size:int64 |
MonolithDummySyncServerGetPort S: handle:resource -> size:int32 |
MonolithHashTableLookup S: table_handle:resource ids:int64 -> embeddings:float
  | dim_size:int use_multi_threads:bool=false
MonolithHashTableLookupEntry S: table_handle:resource ids:int64 -> entry_str:string |
MonolithHashTableLookupGradient: id_indices:int64 id_values:int64 input_grads:float -> ids:int64 output_grads:float |
MonolithHashTableFusedLookup S: table_handles:N*resource ids:int64 fused_slot_size:int32 req_time:int64
  -> embeddings:float embedding_splits:int32 id_offsets:int32 embedding_offsets:int32 indices:int64
  | N:int>=1 num_of_shards:int
MonolithHashTableAssign S: table_handle:resource id_values:int64 id_updates:float req_time:int64
  -> table_handle_output:resource |
MonolithHashTableAssignAdd S: table_handle:resource id_values:int64 id_updates:float req_time:int64
  -> table_handle_output:resource |
MonolithHashTableOptimize S: table_handle:resource id_values:int64 id_updates:float learning_rate_tensor:float
  req_time:int64 global_step:int64 -> table_handle_output:resource
  | use_multi_threads:bool=false queue_size:int=0 enable_dedup:bool=false
MonolithHashTableFusedOptimize S: table_handles:N*resource ids:int64 indices:int64 fused_slot_size:int32 id_grads:float
  id_offsets:int32 grad_offsets:int32 learning_rate_tensors:float req_time:int64 global_step:int64
  -> table_handles_output:N*resource | N:int>=1 num_of_shards:int enable_grad_accumulation:bool=false
MonolithHashTableSave S: handle:resource basename:string -> output_handle:resource
  | nshards:int=-1 random_sleep_ms:int=0 slot_expire_time_config:string=''
MonolithHashTableRestore S: handle:resource basename:string -> output_handle:resource |
MonolithHashTableSize S: table_handle:resource -> size:int64 |
MonolithHashTableSaveAsTensor S: table_handle:resource shard_idx:int32 num_shards:int32 limit:int64 offset:int64
  -> new_offset:int64 entry:string |
MonolithExtractSlotFromEntry: entry:string -> slot:int32 | fid_v2:bool
MonolithMultiHashTableLookup S: mtable:resource id:int64 id_split:int64 -> embedding:float |
MonolithMultiHashTableLookupEntry S: mtable:resource id:int64 id_split:int64 -> serialized_entries:string |
MonolithMultiHashTableFusedLookup S: mtable:resource ids:int64 fused_slot_size:int32 req_time:int64
  -> embeddings:float embedding_splits:int32 id_offsets:int32 embedding_offsets:int32 indices:int64 | num_of_shards:int
MonolithMultiHashTableAssign S: mtable:resource id:int64 id_split:int64 value:float update_time:int64
  -> updated_table:resource |
MonolithMultiHashTableAssignAdd S: mtable:resource id:int64 id_split:int64 value:float update_time:int64
  -> updated_table:resource |
MonolithMultiHashTableOptimize S: mtable:resource id:int64 id_split:int64 value:float learning_rate:float
  update_time:int64 global_step:int64 -> updated_table:resource |
MonolithMultiHashTableFusedOptimize S: mtable:resource ids:int64 indices:int64 fused_slot_size:int32 id_grads:float
  id_offsets:int32 grad_offsets:int32 learning_rate_tensors:float req_time:int64 global_step:int64
  -> mtable_out:resource | num_of_shards:int enable_grad_accumulation:bool=false
MonolithMultiHashTableReinitialize S: mtable:resource table_name:string id:int64
  -> updated_table:resource id_status:int32 |
MonolithMultiHashTableSave S: mtable:resource basename:string -> output_mtable:resource
  | nshards:int=-1 slot_expire_time_config:string=''
MonolithMultiHashTableRestore S: mtable:resource basename:string -> output_mtable:resource |
MonolithMultiHashTableFeatureStat S: basename:string -> features:string counts:uint64 |
"""
ENTRIES = re.findall(r"^(\w+)( S)?:(.*?)->(.*?)\|(.*?)(?=^\w|\Z)", OPS, re.MULTILINE | re.DOTALL)


def op_def(name):
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name)


@pytest.fixture(scope="module", autouse=True)
def library():
    return load_op_library()


def show_arg(arg):
    number = f"{arg.number_attr}*" if arg.number_attr else ""
    return f"{arg.name}:{number}{tf.dtypes.as_dtype(arg.type).name}".replace("float32", "float")


def show_attr(attr):
    default = ""
    if attr.HasField("default_value"):
        value = attr.default_value
        shown = {
            "s": lambda: repr(value.s.decode()),
            "i": lambda: str(value.i),
            "b": lambda: str(value.b).lower(),
        }
        default = "=" + shown[value.WhichOneof("value")]()
    minimum = f">={attr.minimum}" if attr.has_minimum else ""
    return f"{attr.name}:{attr.type}{minimum}{default}"


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry[0] for entry in ENTRIES])
def test_op_is_registered_as_in_the_table(entry):
    name, stateful, inputs, outputs, attrs = entry
    found = op_def(name)
    assert found is not None
    assert [show_arg(arg) for arg in found.input_arg] == inputs.split()
    assert [show_arg(arg) for arg in found.output_arg] == outputs.split()
    assert [show_attr(attr) for attr in found.attr] == attrs.split()
    assert found.is_stateful == bool(stateful)
    assert not found.is_commutative
    assert not found.is_aggregate


def test_the_table_has_all_ops_of_the_library(library):
    registered = {op.name for op in library.OP_LIST.op} if hasattr(library, "OP_LIST") else None
    names = [entry[0] for entry in ENTRIES]
    assert len(names) == len(set(names)) == OPS.count("->")
    if registered is not None:
        assert registered == set(names)


def test_every_op_but_those_of_the_test_server_has_a_kernel():
    from tensorflow.python.framework import kernels

    without = [name for name, *_ in ENTRIES if not kernels.get_registered_kernels_for_op(name).kernel]
    assert without == [
        "MonolithDummySyncServer",
        "MonolithDummySyncServerShutdown",
        "MonolithDummySyncServerGetPort",
    ]
