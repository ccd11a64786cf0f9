"""The numbers: optimizers, compressors, retrievers and initializers against known answers."""

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto import hash_table_pb2
from tests.support.embedding_model import floats, ids_of, segment, serving, training

ONE = ids_of(1)
X = floats([1e3, 1.0])


def optimize(table, gradients, rates, steps, **kwargs):
    """What a lookup returns after each step."""
    out = []
    for _ in range(steps):
        table.optimize(ONE, floats(gradients), rates, **kwargs)
        out.append(table.lookup(ONE)[0])
    return out


# optimizer, learning rate, gradients, vector after one step and after two
GOLDEN = [
    (mx.AdagradOptimizer(initial_accumulator_value=1), 0.1, [1, 2], [-0.0707107, -0.0894427], None),
    (
        mx.AdagradOptimizer(initial_accumulator_value=1, weight_decay_factor=0.1),
        0.1, [1, 2], None, [-0.128173, -0.155943],
    ),
    (mx.AdagradOptimizer(initial_accumulator_value=0.1), 1.0, [1], [-0.95346254], [-1.643528]),
    (mx.FtrlOptimizer(), 0.01, [10, 1], [-0.009995, -0.00953463], [-0.0170643, -0.0164353]),
    (mx.AdadeltaOptimizer(), 0.01, [10, 1], [-0.0031607, -0.0030151], [-0.0064035, -0.0061047]),
    (mx.AdamOptimizer(), 0.01, [10, 1], [-0.00990099, -0.00909091], [-0.01983060, -0.01842895]),
    (mx.AmsgradOptimizer(), 0.01, [10, 1], [-0.00990099, -0.00909091], [-0.01983060, -0.01842895]),
    (mx.MomentumOptimizer(), 0.01, [10], [-0.1], [-0.29]),
    (mx.RmspropOptimizer(), 7.0, [10], [-0.024025], [-0.042686]),
    (mx.RmspropV2Optimizer(), 0.01, [10, 1], [-0.0090909, -0.005], [-0.0158549, -0.0092045]),
    (mx.MovingAverageOptimizer(), 0.5, [10], [1.0], [1.9]),
    (
        mx.GroupAdaGradOptimizer(l2_regularization_strength=1, beta=1, initial_accumulator_value=0),
        0.01, [10], [-0.008182], [-0.014125],
    ),
    (mx.SgdOptimizer(), 0.5, [2, -4], [-1, 2], [-2, 4]),
]  # fmt: skip


@pytest.mark.parametrize(("optimizer", "rate", "gradients", "first", "second"), GOLDEN)
def test_optimizers_give_known_answers(optimizer, rate, gradients, first, second):
    table = training(segment(len(gradients), optimizer=optimizer))
    one, two = optimize(table, [gradients], [rate], 2)
    if first is not None:
        np.testing.assert_allclose(one, first, rtol=2e-4)
    if second is not None:
        np.testing.assert_allclose(two, second, rtol=2e-4)


def test_segments_have_learning_rates_of_their_own():
    table = training(
        segment(1, optimizer=mx.AdagradOptimizer(initial_accumulator_value=1)),
        segment(2, optimizer=mx.AdagradOptimizer(initial_accumulator_value=2)),
    )
    assert (table.dim, table.slice_size) == (3, 2)
    (one,) = optimize(table, [[1, 2, 3]], [1, 2], 1)
    np.testing.assert_allclose(one, [-0.7071068, -1.6329931, -1.8090681], rtol=1e-6)


def test_batch_softmax_learns_the_interval():
    table = training(segment(1, optimizer=mx.BatchSoftmaxOptimizer()))
    np.testing.assert_allclose(optimize(table, [[0]], [0.1], 1, global_step=1)[0], [0.1])
    for step in range(6, 3000, 5):
        table.optimize(ONE, floats([0]), [0.1], 0, step)
    np.testing.assert_allclose(table.lookup(ONE), [[5]], rtol=1e-3)
    state = table.save().opt[0].columns["global_step"]
    assert (state.dtype, state.tolist()) == (np.int64, [2996])


def test_weight_decay_counts_in_wide_vectors_too():
    """The vectors of eight that a faster build might treat apart."""
    make = mx.AdagradOptimizer(initial_accumulator_value=1, weight_decay_factor=0.1)
    narrow = optimize(training(segment(1, optimizer=make)), [[1]], [0.1], 3)[-1]
    wide = optimize(training(segment(11, optimizer=make)), [[1] * 11], [0.1], 3)[-1]
    np.testing.assert_array_equal(wide, np.repeat(narrow, 11))


@pytest.mark.parametrize(
    "optimizer", [mx.FtrlOptimizer(), mx.GroupAdaGradOptimizer(), mx.AdagradOptimizer(), mx.AdamOptimizer()]
)
def test_a_learning_rate_of_zero_changes_no_vector(optimizer):
    table = training(segment(3, optimizer=optimizer, initializer=mx.OnesInitializer()))
    assert optimize(table, [[1, 2, 3]], [0], 2)[-1].tolist() == [1, 1, 1]


def test_adam_goes_on_after_a_restore_as_if_nothing_had_been():
    for optimizer in (mx.AdamOptimizer(), mx.AmsgradOptimizer(), mx.AdamOptimizer(use_nesterov=True)):
        table = training(segment(2, optimizer=optimizer))
        optimize(table, [[1, 2]], [0.1], 3)
        restored = table.empty_like()
        restored.restore(table.save())
        np.testing.assert_array_equal(optimize(restored, [[3, -1]], [0.1], 2), optimize(table, [[3, -1]], [0.1], 2))


def decoded(compressor, values, **config):
    table = serving(compressor, len(values), **config)
    table.assign(ONE, floats(values))
    return table.lookup(ONE)[0]


def test_fp32_keeps_every_bit():
    values = floats(1.5, -0.0, np.inf, 1e-42)
    assert decoded(mx.Fp32Compressor(), values).tobytes() == values.tobytes()


def test_fp16_is_numpys_half_for_all_numbers():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[~np.isnan(halves)]
    near = np.nextafter(halves, rng.choice(floats(-np.inf, np.inf), len(halves)))
    with np.errstate(invalid="ignore"):
        middle = (halves[:-1].astype(np.float64) + halves[1:]).astype(np.float32) / 2
    values = np.concatenate([bits.view(np.float32), halves, near, middle])
    with np.errstate(all="ignore"):
        want = values.astype(np.float16).astype(np.float32)
    got = decoded(mx.Fp16Compressor(), values)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def test_fixed_r8_rounds_to_steps_and_stays_in_range():
    compressor, step = mx.FixedR8Compressor(r=5), 5 / 128
    np.testing.assert_allclose(decoded(compressor, [100, 0, 3.5]), [5, 0, 3.5], atol=step)
    values = [1.4, -1.4, 1.6, -1.6, 1.5, -1.5]
    np.testing.assert_allclose(decoded(compressor, [v * step for v in values]) / step, [1, -1, 2, -2, 2, -2])
    huge = decoded(compressor, [np.nan, np.inf, -np.inf, 3e38, -3e38])
    np.testing.assert_allclose(huge / step, [0, 127, -128, 127, -128])


def test_one_bit_keeps_signs():
    values = [3, -2, 0, np.nan, 1e-30, -np.inf]
    assert decoded(mx.OneBitCompressor(amplitude=1), values).tolist() == [1, -1, -1, -1, 1, -1]
    assert decoded(mx.OneBitCompressor(amplitude=-1), values).tolist() == [-1 * v for v in (-1, 1, -1, -1, -1, 1)]


def test_compressors_side_by_side():
    table = mx.EmbeddingTable(
        mx.CuckooHashTableConfig(
            mx.entry_config(
                segment(1, compressor=mx.Fp16Compressor()), segment(2, compressor=mx.FixedR8Compressor()), serving=True
            )
        )
    )
    table.assign(ONE, floats([0.1, 0.5, 0.25]))
    np.testing.assert_allclose(table.lookup(ONE), [[0.1, 0.5, 0.25]], atol=1e-4)


def test_retrievers_change_what_is_seen_not_what_is_kept():
    table = training(
        segment(2, compressor=mx.FixedR8Compressor(r=128)), segment(1, compressor=mx.OneBitCompressor(amplitude=0.1))
    )
    table.assign(ONE, floats([1.4, -2.6, 1]))
    np.testing.assert_allclose(table.lookup(ONE), [[1, -3, 0.07615941]], rtol=1e-6)
    np.testing.assert_array_equal(table.save().values, floats([1.4, -2.6, 1]))


def test_one_bit_scales_gradients_and_learns_its_scale():
    table = training(segment(1, compressor=mx.OneBitCompressor(amplitude=0.1)))
    table.assign(ONE, floats([2]))
    np.testing.assert_allclose(table.lookup(ONE), [[0.09640275]], rtol=1e-6)
    gradient = floats([1])
    table.optimize(ONE, gradient, [1], 0, 1)
    np.testing.assert_allclose(2 - table.save().values[0], 0.00706508, rtol=1e-4)
    assert gradient.tolist() == [[1]]  # the caller's own
    table.assign(ONE, floats([2]))
    table.optimize(ONE, floats([0]), [1], 0, 1000)
    np.testing.assert_allclose(table.lookup(ONE), [[0.09998888]], rtol=1e-6)
    np.testing.assert_allclose(table.lookup(ONE), 0.1 * np.tanh(2.4494897 * 2), rtol=1e-5)


def test_one_bits_scale_has_a_maximum():
    one_bit = mx.OneBitCompressor(amplitude=0.1).as_proto()
    one_bit.one_bit.max_scale = 1.5
    table = training(segment(1, compressor=one_bit))
    table.assign(ONE, floats([0.5]))
    for step, scale in ((0, 1), (200, np.sqrt(2)), (400, 1.5)):
        table.optimize(ONE, floats([0]), [1], 0, step)
        np.testing.assert_allclose(table.lookup(ONE), [[0.1 * np.tanh(scale * 0.5)]], rtol=1e-6)


def test_initializers():
    def first(initializer, n=1):
        table = training(segment(n, initializer=initializer))
        table.reinitialize(ONE)
        return table.lookup(ONE)[0]

    assert first(mx.ZerosInitializer()).tolist() == [0]
    assert first(mx.OnesInitializer()).tolist() == [1]
    assert first(mx.ConstantsInitializer(2.5)).tolist() == [2.5]
    values = first(mx.RandomUniformInitializer(-2, 4), 10_000)
    assert values.min() >= -2
    assert values.max() < 4
    np.testing.assert_allclose([values.mean(), values.std()], [1, 6 / 12**0.5], atol=0.1)
    assert np.abs(first(mx.RandomUniformInitializer(), 100)).max() <= 0.05


def test_adding_to_a_new_id_begins_with_its_initial_value():
    table = training(segment(1, initializer=mx.ConstantsInitializer(5)))
    table.assign_add(ONE, floats([1]))
    assert table.lookup(ONE).tolist() == [[6]]


def test_stochastic_rounding_is_right_on_average_and_only_in_its_segment():
    rounded = mx.StochasticRoundingFloat16OptimizerWrapper(mx.SgdOptimizer())
    n = 40_000
    table = training(segment(n, optimizer=rounded), segment(1))
    low, high = 1.0, 1 + 2**-10
    value = np.float32(low + 0.25 * (high - low))
    table.optimize(ONE, np.full((1, n + 1), -value), [1, 1])
    values = table.lookup(ONE)[0]
    assert values[-1] == value
    assert set(values[:-1].tolist()) == {low, high}
    assert abs((values[:-1] == high).mean() - 0.25) < 0.02


def test_entries_read_by_id_are_dumps_without_it():
    optimizers = [
        mx.AdamOptimizer(),
        mx.MovingAverageOptimizer(),
        mx.SgdOptimizer(),
        mx.FtrlOptimizer(),
        mx.GroupAdaGradOptimizer(),
    ]
    table = training(*(segment(2, optimizer=o) for o in optimizers), segment(1, optimizer=mx.BatchSoftmaxOptimizer()))
    table.optimize(ONE, np.arange(1, 12, dtype=np.float32)[None], [0.1] * 6, 77, 3)
    present, absent = table.lookup_entry(ids_of(1, 2))
    assert absent == b""
    entry = hash_table_pb2.EntryDump.FromString(present)
    assert entry.SerializeToString(deterministic=True) == present
    assert not entry.HasField("id")
    assert entry.last_update_ts_sec == 77
    assert list(entry.num) == table.lookup(ONE)[0].tolist()
    kinds = [dump.WhichOneof("type") for dump in entry.opt.dump]
    assert kinds == ["adam", "sgd", "ftrl", "group_adagrad", "batch_softmax"]
    for state, dump in zip(table.save().opt, entry.opt.dump, strict=True):
        assert state.kind == dump.WhichOneof("type")
        for name, column in state.columns.items():
            np.testing.assert_array_equal(np.ravel(getattr(getattr(dump, state.kind), name)), column[0].ravel())
