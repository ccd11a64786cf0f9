import contextlib

import pytest
from hypothesis import given, strategies as st

import mexport_pb as mx
from mexport_pb._proto.hash_table_pb2 import EmbeddingHashTableConfig
from mexport_pb.errors import InvalidArgumentError, MexportError
from tests.support.embedding_model import segment, table_config


def make(change=lambda config: None, *, serving=False, **parts):
    config = table_config(segment(2, **parts), serving=serving).as_proto()
    change(config)
    return mx.EmbeddingTable(config)


def first(config):
    return config.entry_config.segments[0]


def many_dims(config):
    first(config).dim_size = 2**31 - 1


def set_kind(name):
    return lambda config: getattr(first(config).opt_config, name).SetInParent()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.ClearField("cuckoo"), "EmbeddingHashTableConfig must be set type"),
        (lambda c: setattr(c, "skip_zero_embedding", True), "Only EntryConfig_EntryType_SERVING supports skip_zero"),
        (lambda c: setattr(c.entry_config, "entry_type", 0), "entry_type: got 0"),
        (lambda c: first(c).init_config.Clear(), "segment 0: InitializerConfig must be set type"),
        (lambda c: first(c).opt_config.Clear(), "segment 0: OptimizerConfig must be set type"),
        (lambda c: first(c).comp_config.Clear(), "segment 0: FloatCompressorConfig must be set type"),
        (lambda c: first(c).ClearField("init_config"), "got 0, 2 and 2, want the same"),
        (lambda c: first(c).ClearField("opt_config"), "got 2, 0 and 2, want the same"),
        (lambda c: first(c).ClearField("dim_size"), "dim_size: got 0, want at least 1"),
        (lambda c: setattr(first(c), "dim_size", -1), "dim_size: got -1"),
        (many_dims, "dimensions: got 2147483647, want at most 1048576"),
        (lambda c: c.entry_config.ClearField("segments"), "got no segments"),
        (set_kind("group_ftrl"), "optimizer group_ftrl is not implemented"),
        (set_kind("dynamic_wd_adagrad"), "optimizer dynamic_wd_adagrad is not implemented"),
        (set_kind("dc"), "optimizer dc is not implemented"),
        (set_kind("batch_softmax"), "dim_size with batch_softmax: got 2, want 1"),
        (lambda c: setattr(first(c).comp_config.one_bit, "step_size", 0), "one_bit step_size: got 0"),
        (lambda c: setattr(first(c).init_config.random_uniform, "minval", 1), "random_uniform: got minval 1"),
        (lambda c: c.slot_expire_time_config.slot_expire_times.add(slot=32768), "slot: got 32768, want less"),
    ],
)  # fmt: skip
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make(change)


def test_serving_tables_need_compressors_only():
    def strip(config):
        first(config).ClearField("init_config")
        first(config).ClearField("opt_config")

    assert make(strip, serving=True).dim == 2
    with pytest.raises(InvalidArgumentError, match="FloatCompressorConfig must be set type"):
        make(lambda c: first(c).ClearField("comp_config"), serving=True)
    with pytest.raises(InvalidArgumentError, match="dc is not implemented"):
        make(set_kind("dc"), serving=True)


def test_training_tables_need_no_compressor():
    table = make(lambda c: first(c).ClearField("comp_config"))
    assert (table.dim, table.slice_size, table.training) == (2, 1, True)


def test_a_capacity_is_a_hint():
    table = make(lambda c: setattr(c, "initial_capacity", 2**64 - 1))
    assert len(table) == 0


def test_later_fields_count_and_messages_merge():
    base = table_config(segment(2)).as_proto().SerializeToString()
    other = table_config(segment(3)).as_proto().SerializeToString()
    assert mx.EmbeddingTable(base + other).dim == 5
    assert EmbeddingHashTableConfig.FromString(base + other) == mx.EmbeddingTable(base + other).config


@given(st.binary(max_size=60))
def test_any_bytes_are_a_config_or_an_error(data):
    with contextlib.suppress(MexportError):
        mx.EmbeddingTable(data)


@given(st.data())
def test_damaged_configs_are_a_table_or_an_error(data):
    good = table_config(segment(2), segment(1, optimizer=mx.AdamOptimizer())).as_proto().SerializeToString()
    damaged = bytearray(good)
    damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(good)))
    with contextlib.suppress(MexportError):
        mx.EmbeddingTable(bytes(damaged[:end]))


def test_wrappers_write_every_default():
    adagrad = mx.AdagradOptimizer().as_proto()
    assert adagrad.WhichOneof("type") == "adagrad"
    assert adagrad.adagrad.HasField("hessian_compression_times")
    assert adagrad.adagrad.HasField("weight_decay_factor")
    assert not adagrad.adagrad.HasField("learning_rate")
    assert mx.OneBitCompressor().as_proto().one_bit.amplitude == pytest.approx(0.05)
    assert mx.FixedR8Compressor().as_proto().fixed_r8.HasField("r")
    for wrapper in (mx.Fp32Compressor(), mx.SgdOptimizer(), mx.ZerosInitializer(), mx.OnesInitializer()):
        assert wrapper.as_proto().WhichOneof("type") is not None
    assert mx.StochasticRoundingFloat16OptimizerWrapper(mx.SgdOptimizer()).as_proto().stochastic_rounding_float16
    assert mx.BatchSoftmaxInitializer(5).as_proto().constants.constant == 5
    with pytest.raises(InvalidArgumentError, match=r"init_step_interval: got 0\.5"):
        mx.BatchSoftmaxInitializer(0.5)


def test_eviction_is_configured_only_when_asked_for():
    assert not mx.CuckooHashTableConfig().as_proto().HasField("enable_feature_eviction")
    config = mx.CuckooHashTableConfig(feature_evict_every_n_hours=3).as_proto()
    assert (config.enable_feature_eviction, config.feature_evict_every_n_hours) == (True, 3)


def test_instances_know_their_learning_rates():
    config = table_config(segment(1)).as_proto()
    instance = mx.HashTableConfigInstance(config, [0.5, lambda: 2])
    assert instance.call_learning_rate_fns() == [0.5, 2.0]
    assert str(instance) == str(mx.HashTableConfigInstance(config, instance.learning_rate_fns))
    assert str(instance) != str(mx.HashTableConfigInstance(config, [0.5]))
    assert mx.EmbeddingTable(instance).dim == 1
    with pytest.raises(InvalidArgumentError, match="learning_rate_fns: got none"):
        mx.HashTableConfigInstance(config, []).call_learning_rate_fns()
