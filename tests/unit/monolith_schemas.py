# ruff: noqa: E501
"""Every field of Monolith's messages that we speak, written down apart from proto/.

A line is ``message: number name type[default]; …`` with ``*`` before the type of a repeated field, ``**`` of a packed one and
``oneof|`` before the type of a member of the oneof so called.
"""

# The files of proto/ that hold them.
MODULES = (
    "agent_service",
    "ckpt_info",
    "hash_table",
    "hash_table_collections",
    "hash_table_compressor",
    "hash_table_initializer",
    "hash_table_optimizer",
    "instance",
    "line_id",
    "monolith_checkpoint",
    "monolith_example",
    "parameter_sync",
    "serving_state",
)

HASH_TABLE = """
EntryDump: 1 id sfixed64; 2 num *float; 3 opt OptimizerDump; 4 last_update_ts_sec int64
EntryConfig: 1 segments *EntryConfig.Segment; 2 entry_type EntryConfig.EntryType[1]
EntryConfig.Segment: 1 init_config InitializerConfig; 2 opt_config OptimizerConfig; 3 comp_config FloatCompressorConfig; 7 dim_size int32
SlotExpireTimeConfig: 1 slot_expire_times *SlotExpireTimeConfig.SlotExpireTime; 2 default_expire_time uint32[36500]
SlotExpireTimeConfig.SlotExpireTime: 1 slot uint32; 2 expire_time uint32
CuckooEmbeddingHashTableConfig:
EmbeddingHashTableConfig: 1 entry_config EntryConfig; 2 initial_capacity uint64[1]; 3 slot_expire_time_config SlotExpireTimeConfig; 5 cuckoo type|CuckooEmbeddingHashTableConfig; 6 entry_type EmbeddingHashTableConfig.EntryType[1]; 7 enable_feature_eviction bool; 8 feature_evict_every_n_hours int32[240]; 10 skip_zero_embedding bool[False]
MultiEmbeddingHashTableConfig: 1 names *string; 2 configs *EmbeddingHashTableConfig
SlotOccurrenceThresholdConfig: 1 slot_occurrence_thresholds *SlotOccurrenceThresholdConfig.SlotOccurrenceThreshold; 2 default_occurrence_threshold uint32[0]
SlotOccurrenceThresholdConfig.SlotOccurrenceThreshold: 1 slot uint32; 2 occurrence_threshold uint32
SlidingHashFilterMetaDump: 1 split_num uint32[0]; 2 max_forward_step uint32[0]; 3 max_backward_step uint32[0]; 4 max_step uint32[0]; 5 head uint32[0]; 6 head_increment uint32[0]; 7 failure_count uint64[0]
HashFilterSplitMetaDump: 1 failure_count uint64[0]; 2 total_size uint64[0]; 3 num_elements uint64[0]; 4 fill_rate double[0.0]; 5 sliding_hash_filter_meta SlidingHashFilterMetaDump
HashFilterSplitDataDump: 1 offset uint32; 2 data *uint32
MultiHashTableMetadata: 1 table_name string; 2 num_entries uint64
ZerosInitializerConfig: 1 dim_size int32
OnesInitializerConfig: 1 dim_size int32
ConstantsInitializerConfig: 1 dim_size int32; 2 constant float
RandomUniformInitializerConfig: 1 dim_size int32; 2 minval float[-0.05]; 3 maxval float[0.05]
InitializerConfig: 1 zeros type|ZerosInitializerConfig; 2 random_uniform type|RandomUniformInitializerConfig; 3 ones type|OnesInitializerConfig; 15 constants type|ConstantsInitializerConfig
FloatCompressorConfig: 1 fp32 type|FloatCompressorConfig.Fp32; 2 fp16 type|FloatCompressorConfig.Fp16; 3 fixed_r8 type|FloatCompressorConfig.FixedR8; 4 one_bit type|FloatCompressorConfig.OneBit
FloatCompressorConfig.Fp32: 1 dim_size int32
FloatCompressorConfig.Fp16: 1 dim_size int32
FloatCompressorConfig.FixedR8: 1 dim_size int32; 2 r float[1.0]
FloatCompressorConfig.OneBit: 1 dim_size int32; 2 step_size int64[200]; 3 init_scale float[1.0]; 4 max_scale float[10000.0]; 5 amplitude float[0.1]
AdagradOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.001]; 3 initial_accumulator_value float[0.1]; 4 hessian_compression_times int32[1]; 5 weight_decay_factor float[0.0]; 6 warmup_steps int64[0]
DynamicWdAdagradOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.001]; 3 initial_accumulator_value float[0.1]; 4 hessian_compression_times int32[1]; 5 weight_decay_factor float[0.0]; 6 warmup_steps int64[0]; 7 decouple_weight_decay bool[False]; 8 enable_dynamic_wd bool[False]; 9 dynamic_wd_temperature float[1.0]; 10 flip_direction bool[False]
SgdOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 6 warmup_steps int64[0]
FtrlOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 beta float[0.0]; 4 initial_accumulator_value float[0.1]; 5 l1_regularization_strength float[0.0]; 6 l2_regularization_strength float[0.0]; 7 warmup_steps int64[0]
GroupFtrlOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 beta float[1.0]; 4 initial_accumulator_value float[0.0]; 5 l1_regularization_strength float[0.0]; 6 l2_regularization_strength float[0.0]; 7 warmup_steps int64[0]
GroupAdaGradOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 beta float[0.0]; 4 initial_accumulator_value float[0.1]; 5 l2_regularization_strength float[0.0]; 6 weight_decay_factor float[0.0]; 7 warmup_steps int64[0]
AdadeltaOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 weight_decay_factor float[0.0]; 4 averaging_ratio float[0.9]; 5 epsilon float[0.01]; 7 warmup_steps int64[0]
AdamOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 beta1 float[0.9]; 4 beta2 float[0.99]; 5 use_beta1_warmup bool[False]; 6 weight_decay_factor float[0.0]; 7 use_nesterov bool[False]; 8 epsilon float[0.01]; 9 warmup_steps int64[0]
AmsgradOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 beta1 float[0.9]; 4 beta2 float[0.99]; 6 weight_decay_factor float[0.0]; 7 use_nesterov bool[False]; 8 epsilon float[0.01]; 9 warmup_steps int64[0]
MomentumOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 weight_decay_factor float[0.0]; 4 use_nesterov bool[False]; 5 momentum float[0.9]; 6 warmup_steps int64[0]
MovingAverageOptimizerConfig: 1 dim_size int32; 2 momentum float[0.9]
BatchSoftmaxOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.1]
RmspropOptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 weight_decay_factor float[0.0]; 4 momentum float[0.9]
RmspropV2OptimizerConfig: 1 dim_size int32; 2 learning_rate float[0.01]; 3 weight_decay_factor float[0.0]; 4 momentum float[0.9]
DcOptimizerConfig: 1 dim_size int32; 2 lambda_ float[0.0]
OptimizerConfig: 1 adagrad type|AdagradOptimizerConfig; 2 sgd type|SgdOptimizerConfig; 3 ftrl type|FtrlOptimizerConfig; 4 stochastic_rounding_float16 bool; 5 dynamic_wd_adagrad type|DynamicWdAdagradOptimizerConfig; 6 adadelta type|AdadeltaOptimizerConfig; 7 adam type|AdamOptimizerConfig; 8 amsgrad type|AmsgradOptimizerConfig; 9 momentum type|MomentumOptimizerConfig; 10 moving_average type|MovingAverageOptimizerConfig; 11 rmsprop type|RmspropOptimizerConfig; 12 rmspropv2 type|RmspropV2OptimizerConfig; 13 dc type|DcOptimizerConfig; 14 group_ftrl type|GroupFtrlOptimizerConfig; 15 batch_softmax type|BatchSoftmaxOptimizerConfig; 16 group_adagrad type|GroupAdaGradOptimizerConfig
AdagradOptimizerDump: 1 norm *float
SgdOptimizerDump:
FtrlOptimizerDump: 1 zero *float; 2 norm *float
DynamicWdAdagradOptimizerDump: 1 norm *float; 2 last_update_step int64
AdadeltaOptimizerDump: 1 accum *float; 2 accum_update *float
AdamOptimizerDump: 1 m *float; 2 v *float; 3 beta1_power float; 4 beta2_power float
AmsgradOptimizerDump: 1 m *float; 2 v *float; 3 vhat *float; 4 beta1_power float; 5 beta2_power float
MomentumOptimizerDump: 1 n *float
RmspropOptimizerDump: 1 n *float
RmspropV2OptimizerDump: 1 n *float
GroupFtrlOptimizerDump: 1 zero *float; 2 norm *float
BatchSoftmaxOptimizerDump: 1 global_step int64
GroupAdaGradOptimizerDump: 1 grad_square_sum float
SingleOptimizerDump: 1 adagrad type|AdagradOptimizerDump; 2 sgd type|SgdOptimizerDump; 3 ftrl type|FtrlOptimizerDump; 4 dynamic_wd_adagrad type|DynamicWdAdagradOptimizerDump; 6 adadelta type|AdadeltaOptimizerDump; 7 adam type|AdamOptimizerDump; 8 amsgrad type|AmsgradOptimizerDump; 9 momentum type|MomentumOptimizerDump; 11 rmsprop type|RmspropOptimizerDump; 12 rmspropv2 type|RmspropV2OptimizerDump; 13 group_ftrl type|GroupFtrlOptimizerDump; 14 batch_softmax type|BatchSoftmaxOptimizerDump; 15 group_adagrad type|GroupAdaGradOptimizerDump
OptimizerDump: 1 dump *SingleOptimizerDump
"""

MONOLITH = """
MultiHashTableProto: 1 dims *int32; 2 slot_expire_time_config bytes; 3 table_names *string; 4 learning_rate_tensor string; 5 shared_name string; 6 saver_parallel int32; 7 initializer_op string; 8 handle_tensor string
HashTableProto: 1 table_tensor string; 2 dim_size int32; 3 shared_name string; 4 slot_expire_time_config bytes; 5 learning_rate_tensor string; 6 saver_parallel int32; 7 extra_restore_names *string; 8 export_share_embedding HashTableProto.OptionalBool
CkptInfo: 1 slot_counts map<int32,int64>; 2 feature_counts map<string,int64>
"""

MODEL_EXPORT = """
ServingEntry: 1 export_dir string; 2 global_step int64
ServingModelState: 1 entries *ServingEntry
"""

NATIVE_TRAINING = """
MonolithCheckpointState: 1 exempt_model_checkpoint_paths *string; 2 last_checkpoint_save_timestamp int64; 3 builtin_hash_table_type MonolithCheckpointState.HashTableType
"""

PARAMETER_SYNC = """
DeltaEmbeddingHashTable: 1 unique_id string; 2 dim_size int32; 3 fids *int64; 4 embeddings *float
PushRequest: 1 model_name string; 2 signature_name string; 3 delta_hash_tables *DeltaEmbeddingHashTable; 4 timeout_in_ms int64[1000]; 5 delta_multi_hash_tables *DeltaEmbeddingHashTable
PushResponse: 1 status_code int32; 2 error_message string; 3 target string; 4 update_num int32
PushResult: 1 responses *PushResponse
ClientConfig: 1 model_name string; 2 signature_name string; 3 targets *string; 4 timeout_in_ms int64[1000]; 5 targets_extra_info *ClientConfig.TargetExtraInfo
ClientConfig.TargetExtraInfo: 1 idc string; 2 cluster string; 3 replica_id int64[-1]
"""

AGENT_SERVICE = """
AddressList: 1 address *string
HeartBeatRequest: 1 server_type ServerType
HeartBeatResponse: 1 addresses map<string,AddressList>
"""

MATRIX = """
LineId: 2 uid fixed64; 3 req_time int64; 4 item_id fixed64; 6 actions **int32; 19 chnid int64; 23 pre_actions **int32; 27 sample_rate float[1.0]; 39 special_strategies *int32; 41 device_type string; 48 cid string; 49 user_id string; 87 is_draw bool; 145 rank int32; 235 data_source_name string
Feature: 1 name string; 2 fid **fixed64; 3 float_value **float; 4 int64_value **int64; 5 bytes_value *bytes; 6 fid_list *Fixed64List; 7 float_list *FloatList; 8 int64_list *Int64List; 9 bytes_list *BytesList
Fixed64List: 1 value **fixed64
FloatList: 1 value **float
Int64List: 1 value **int64
BytesList: 1 value *bytes
"""

PARSER = """
Instance: 1 fid **fixed64; 2 value **float; 3 label **float; 4 instance_weight float; 5 line_id mexport.matrix.LineId; 6 dense **float; 7 label_tag *Instance.LabelTag; 8 next_fid **fixed64; 9 feature *mexport.matrix.Feature; 100 data_source_key uint32
Instance.LabelTag: 1 key int32; 2 val float
"""

MONOLITH_IO = """
FidList: 1 value **fixed64
FloatList: 1 value **float
DoubleList: 1 value **double
Int64List: 1 value **int64
BytesList: 1 value *bytes
FidLists: 1 list *FidList
FloatLists: 1 list *FloatList
DoubleLists: 1 list *DoubleList
Int64Lists: 1 list *Int64List
BytesLists: 1 list *BytesList
Feature: 1 fid_v1_list type|FidList; 2 fid_v2_list type|FidList; 3 float_list type|FloatList; 4 double_list type|DoubleList; 5 int64_list type|Int64List; 6 bytes_list type|BytesList; 7 fid_v2_lists type|FidLists; 8 float_lists type|FloatLists; 9 double_lists type|DoubleLists; 10 int64_lists type|Int64Lists; 11 bytes_lists type|BytesLists; 12 int64_value type|int64; 13 float_value type|float; 14 double_value type|double; 15 bytes_value type|bytes; 16 fid_v1_lists type|FidLists
NamedFeature: 1 name string; 2 feature Feature; 3 id int32; 6 sorted_id int32
NamedFeatureList: 1 name string; 2 feature *Feature; 3 type FeatureListType; 4 id int32
RawFeature: 1 feature *bytes
NamedRawFeature: 1 name string; 2 raw_feature RawFeature; 3 id int32
NamedRawFeatureList: 1 name string; 2 raw_feature *RawFeature; 3 type FeatureListType; 4 id int32
Example: 1 named_feature *NamedFeature; 2 named_raw_feature *NamedRawFeature; 100 line_id mexport.matrix.LineId; 101 label **float; 102 instance_weight float; 103 data_source_key uint32
ExampleBatch: 1 named_feature_list *NamedFeatureList; 2 named_raw_feature_list *NamedRawFeatureList; 3 batch_size int32; 100 data_source_key uint32
"""

# The syntax and the fields of each package.
PACKAGES = {
    "mexport.hash_table": HASH_TABLE,
    "mexport.monolith": MONOLITH,
    "mexport.model_export": MODEL_EXPORT,
    "mexport.native_training": NATIVE_TRAINING,
    "mexport.parameter_sync": PARAMETER_SYNC,
    "mexport.agent_service": AGENT_SERVICE,
    "mexport.matrix": MATRIX,
    "mexport.parser": PARSER,
    "mexport.monolith_io": MONOLITH_IO,
}

PROTO3_MODULES = {"agent_service", "ckpt_info", "monolith_example"}

# In the order of declaration: the first one is the default where no other is named.
ENUMS = {
    "mexport.hash_table.EntryConfig.EntryType": {"UNKNOWN": 0, "TRAINING": 1, "SERVING": 2},
    "mexport.hash_table.EmbeddingHashTableConfig.EntryType": {"PACKED": 1, "RAW": 2},
    "mexport.monolith.HashTableProto.OptionalBool": {"kBoolNone": -1, "kFalse": 0, "kTrue": 1},
    "mexport.native_training.MonolithCheckpointState.HashTableType": {
        "UNKNOWN": 0,
        "CUCKOO_HASH_MAP": 1,
        "MULTI_CUCKOO_HASH_MAP": 2,
    },
    "mexport.agent_service.ServerType": {"PS": 0, "ENTRY": 1, "DENSE": 2},
    "mexport.monolith_io.FeatureListType": {"INDIVIDUAL": 0, "SHARED": 1},
}
