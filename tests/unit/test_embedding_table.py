import dataclasses

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import mexport_pb as mx
from mexport_pb._proto import hash_table_pb2
from mexport_pb.errors import InvalidArgumentError
from tests.support.embedding_model import floats, ids_of, segment, serving, table_config, training

DAY = 86400
ADAGRAD = mx.AdagradOptimizer(initial_accumulator_value=1)


def test_absent_ids_are_zeros_and_stay_absent():
    table = training(segment(2, initializer=mx.OnesInitializer()))
    assert table.lookup(ids_of(1, 2)).tolist() == [[0, 0], [0, 0]]
    assert len(table) == 0
    assert table.contains(ids_of(1)).tolist() == [False]


def test_ids_of_all_shapes_and_both_signs():
    table = training(segment(1))
    ids = np.array([[0, -1], [2**63 - 1, -(2**63)]])
    table.assign(ids, floats([[1], [2]], [[3], [4]]))
    assert table.lookup(ids.view(np.uint64)).ravel().tolist() == [1, 2, 3, 4]
    assert table.lookup(ids).shape == (2, 2, 1)
    assert table.ids().view(np.uint64).tolist() == sorted(ids.view(np.uint64).ravel().tolist())
    assert table.lookup(np.empty((0,), np.int64)).shape == (0, 1)
    assert table.lookup(np.array(-1)).tolist() == [2]


def test_lookup_writes_where_it_is_told():
    table = training(segment(2))
    table.assign(ids_of(7), floats([1, 2]))
    out = np.full((3, 2), 9, np.float32)
    assert table.lookup(ids_of(7, 8), out=out[:2]) is not None
    assert out.tolist() == [[1, 2], [0, 0], [9, 9]]


def test_the_last_of_several_values_stays_and_sums_add_up():
    table = training(segment(1))
    table.assign(ids_of(1, 1), floats([1], [2]))
    assert table.lookup(ids_of(1)).tolist() == [[2]]
    table.assign_add(ids_of(1, 1, 1), floats([1], [1], [1]))
    assert table.lookup(ids_of(1)).tolist() == [[5]]


def test_repeated_gradients_are_steps_of_their_own():
    table = training(segment(1))
    table.optimize(ids_of(0, 1, 0), floats([1], [1], [1]), [0.1])
    np.testing.assert_allclose(table.lookup(ids_of(0, 1)), [[-0.2], [-0.1]])


def test_repeated_gradients_may_be_one_step():
    table = training(segment(1))
    table.optimize(ids_of(0, *[1] * 2, 0, 0), floats([1], [1], [1], [1], [1]), [0.1], sum_gradients=True)
    np.testing.assert_allclose(table.lookup(ids_of(0, 1)), [[-0.3], [-0.2]])
    # Which is another thing than several steps, where steps depend on each other.
    table = training(segment(1, optimizer=ADAGRAD))
    table.optimize(ids_of(0, 0), floats([1], [2]), [1], sum_gradients=True)
    np.testing.assert_allclose(table.save().opt[0].columns["norm"], [[1 + 3**2]])


def test_reinitialize_tells_what_was_there():
    table = training(segment(1, optimizer=ADAGRAD, initializer=mx.ConstantsInitializer(4)))
    table.optimize(ids_of(1), floats([1]), [1], 5)
    assert table.reinitialize(ids_of(1, 2, 2)).tolist() == [1, 0, 1]
    dump = table.save()
    assert dump.values.tolist() == [[4], [4]]
    assert dump.opt[0].columns["norm"].tolist() == [[1], [1]]
    assert (dump.timestamps > 1_600_000_000).all()
    assert table.max_update_time == 5


def test_serving_tables_start_from_zeros():
    for compressor in (mx.Fp32Compressor(), mx.Fp16Compressor(), mx.FixedR8Compressor(), mx.OneBitCompressor()):
        table = serving(compressor, 3)
        assert table.reinitialize(ids_of(1)).tolist() == [0]
        assert table.lookup(ids_of(1)).tolist() == [[0, 0, 0]]
        table.assign_add(ids_of(2), floats([1, 1, 1]))
        assert (table.lookup(ids_of(2)) > 0).all()
        table.assign(ids_of(1), floats([1, 1, 1]))
        before = table.lookup(ids_of(1))
        assert table.reinitialize(ids_of(1)).tolist() == [1]
        assert table.lookup(ids_of(1)).tolist() == before.tolist()


def test_skipping_zeros_erases_them():
    table = serving(mx.Fp32Compressor(), 2, skip_zero_embedding=True)
    table.assign(ids_of(1, 2, 3, 4), floats([1, 2], [0, -0.0], [1e-30, 0], [np.nan, 0]))
    assert table.contains(ids_of(1, 2, 3, 4)).tolist() == [True, False, False, True]
    table.assign(ids_of(1), floats([0, 0]))
    assert len(table) == 1
    table.assign_add(ids_of(5), floats([0, 0]))
    assert table.contains(ids_of(5)).all()
    dump = mx.TableDump(ids_of(6, 7, 8), floats([0, 0], [1, 0], [0, 1]), ids_of(99, 5, 5))
    table.restore(dump)
    assert table.ids().tolist() == [7, 8]
    # 2^-126 is the smallest sum of squares that is not zero.
    table.assign(ids_of(7, 8), floats([2**-63, 0], [0, np.nextafter(np.float32(2**-63), np.float32(0))]))
    assert table.ids().tolist() == [7]
    assert table.max_update_time == 99


def expiring(days, default):
    config = table_config(segment(1)).as_proto()
    config.slot_expire_time_config.default_expire_time = default
    for slot, day in days.items():
        config.slot_expire_time_config.slot_expire_times.add(slot=slot, expire_time=day)
    return mx.EmbeddingTable(config)


def test_evicting_goes_by_the_days_of_a_slot():
    table = expiring({1: 5, 2: 6}, 14)
    ids = np.array([1 << 48, 2 << 48, 3 << 48, (1 << 48) + (1 << 63)], np.uint64)
    table.assign(ids, np.zeros((4, 1), np.float32), 100)
    assert table.evict() == 0
    assert table.evict(100 + 5 * DAY - 1) == 0
    assert table.evict(100 + 5 * DAY) == 2  # bit 63 is no part of the slot
    table.assign(ids_of(0), np.zeros((1, 1), np.float32), 100 + 6 * DAY)
    assert table.evict() == 1
    assert table.evict(100 + 14 * DAY) == 1
    assert table.ids().tolist() == [0]


def test_erased_rows_are_used_again():
    table = expiring({}, 0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        ids = rng.integers(0, 2**62, 5000)
        table.assign(ids, np.ones((5000, 1), np.float32), 1)
        assert (table.lookup(ids) == 1).all()
        assert table.evict() == 5000
    assert len(table) == 0
    assert table.memory_bytes < 5000 * 60


def test_saved_tables_restore_to_the_same():
    table = training(segment(3, optimizer=mx.AdamOptimizer()), segment(1, optimizer=mx.BatchSoftmaxOptimizer()))
    rng = np.random.default_rng(1)
    ids = rng.integers(-(2**63), 2**63 - 1, 1000)
    table.optimize(ids, rng.random((1000, 4), np.float32), [0.1, 0.1], 9, 4)
    dump = table.save()
    assert (np.diff(dump.ids.view(np.uint64).astype(object)) > 0).all()
    other = table.empty_like()
    other.assign(ids_of(5), floats([1, 2, 3, 4]))
    other.restore(dump)
    again = other.save()
    assert other.max_update_time == 9
    for name in ("ids", "values", "timestamps"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dump, name))
    for a, b in zip(again.opt, dump.opt, strict=True):
        for name in a.columns:
            np.testing.assert_array_equal(a.columns[name], b.columns[name])
    pieces = list(table.iter_save(300))
    assert [len(p) for p in pieces] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate([p.values for p in pieces]), dump.values)


def test_tables_go_through_files(tmp_path):
    table = training(segment(2, optimizer=ADAGRAD), segment(1, optimizer=mx.FtrlOptimizer()))
    table.optimize(ids_of(-1, 1), floats([1, 2, 3], [4, 5, 6]), [1, 1], 8)
    mx.write_table(tmp_path / "table", table.save(), num_shards=3)
    served = serving(mx.Fp32Compressor(), 3)
    served.restore(mx.read_table(tmp_path / "table"))
    np.testing.assert_array_equal(served.lookup(ids_of(-1, 1)), table.lookup(ids_of(-1, 1)))
    restored = table.empty_like()
    restored.restore(mx.read_table(tmp_path / "table"))
    assert restored.lookup_entry(ids_of(-1, 1)) == table.lookup_entry(ids_of(-1, 1))


def test_tables_without_entries_go_through_files(tmp_path):
    for table in (training(segment(2)), training(segment(2, optimizer=ADAGRAD))):
        mx.write_table(tmp_path / "table", table.save())
        dump = mx.read_table(tmp_path / "table")
        table.assign(ids_of(1), floats([1, 2]))
        table.restore(dump, clear=False)
        assert table.ids().tolist() == [1]
        table.restore(dump)
        assert len(table) == 0
    tables = mx.MultiTable({name: table_config(segment(2, optimizer=ADAGRAD)) for name in "ab"})
    tables["b"].assign(ids_of(1), floats([1, 2]))
    mx.write_multi_table(tmp_path / "tables", tables.save())
    tables["b"].clear()
    tables.restore(mx.read_multi_table(tmp_path / "tables"))
    assert [table.ids().tolist() for table in tables.values()] == [[], [1]]


def test_restoring_replaces_or_merges():
    table = training(segment(1))
    table.assign(ids_of(1, 2), floats([1], [2]))
    dump = mx.TableDump(ids_of(2, 3), floats([20], [30]), ids_of(0, 0))
    table.restore(dump, clear=False)
    assert table.lookup(ids_of(1, 2, 3)).ravel().tolist() == [1, 20, 30]
    table.restore(dump)
    assert table.lookup(ids_of(1, 2, 3)).ravel().tolist() == [0, 20, 30]


@pytest.mark.parametrize(
    "change",
    [
        {"timestamps": ids_of(0, -1)},
        {"timestamps": ids_of(0, 2**32)},
        {"timestamps": ids_of(0)},
        {"values": floats([1, 1])},
        {"values": floats([1], [1], [1])},
        {"opt": ()},
        {"opt": (mx.OptimizerState("sgd"),)},
        {"opt": (mx.OptimizerState("adagrad", {}),)},
        {"opt": (mx.OptimizerState("adagrad", {"norm": floats([1])}),)},
        {"opt": (mx.OptimizerState("adagrad", {"norm": floats(1, 1)}),)},
        {"opt": (mx.OptimizerState("adagrad", {"norm": np.ones((2, 1))}),)},
    ],
)
def test_a_bad_dump_leaves_the_table_as_it_was(change):
    table = training(segment(1, optimizer=ADAGRAD))
    table.assign(ids_of(9), floats([9]))
    good = {
        "ids": ids_of(1, 2),
        "values": floats([1], [2]),
        "timestamps": ids_of(3, 4),
        "opt": (mx.OptimizerState("adagrad", {"norm": floats([1], [1])}),),
    }
    for clear in (True, False):
        with pytest.raises(InvalidArgumentError, match="got"):
            table.restore(mx.TableDump(**{**good, **change}), clear=clear)
        assert table.ids().tolist() == [9]
    table.restore(mx.TableDump(**good))
    assert table.ids().tolist() == [1, 2]


def test_swap_and_clear():
    a = training(segment(1))
    b = a.empty_like()
    a.assign(ids_of(1), floats([1]), 5)
    b.assign(ids_of(2), floats([2]), 3)
    a.swap(b)
    assert (a.ids().tolist(), b.ids().tolist()) == ([2], [1])
    assert (a.max_update_time, b.max_update_time) == (5, 5)
    with pytest.raises(InvalidArgumentError, match="different configurations"):
        a.swap(training(segment(2)))
    a.clear()
    assert len(a) == 0
    assert a.max_update_time == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.lookup([1]), "ids: got list, want a numpy array"),
        (lambda t: t.lookup(np.array([1], np.int32)), r"ids: got int32\(1,\), want int64 or uint64"),
        (lambda t: t.lookup(np.array([1], ">i8")), "ids: got >i8"),
        (lambda t: t.lookup(np.arange(4)[::2]), "ids: got an array with gaps, want a C-contiguous one"),
        (lambda t: t.lookup(ids_of(1), out=np.zeros((1, 3), np.float32)), r"out: got float32\(1, 3\), want"),
        (lambda t: t.lookup(ids_of(1, 2), out=np.zeros((1, 4), np.float32)), r"want float32\[2, 2\]"),
        (lambda t: t.lookup(ids_of(1), out=np.zeros((1, 2))), r"out: got float64\(1, 2\)"),
        (lambda t: t.lookup(ids_of(1), out=np.broadcast_to(np.float32(0), (1, 2))), "out: got"),
        (lambda t: t.assign(ids_of(1), np.zeros((1, 1), np.float32)), r"values: got float32\(1, 1\), want"),
        (lambda t: t.assign(ids_of(1), floats([1, 2]), -1), "update time: got -1"),
        (lambda t: t.assign(ids_of(1), floats([1, 2]), 2**32), "update time: got 4294967296"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), []), "learning rates: got 0, want 1"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), [1], 0, -1), "global step: got -1"),
        (lambda t: list(t.iter_save(0)), "rows_per_chunk: got 0"),
        (lambda t: t.iter_save("a"), "rows_per_chunk: got 'a', want an integer"),
        (lambda t: t.assign(ids_of(1), floats([1, 2]), None), "update time: got None, want an integer"),
        (lambda t: t.assign(ids_of(1), floats([1, 2]), 1.5), r"update time: got 1\.5, want an integer"),
        (lambda t: t.assign(ids_of(1), floats([1, 2]), 2**64), f"update time: got {2**64}, want an integer of 64 bits"),
        (lambda t: t.assign_add(ids_of(1), floats([1, 2]), "x"), "update time: got 'x', want an integer"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), 0.1), r"learning rates: got 0\.1, want a sequence"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), "1"), "learning rates: got '1', want a sequence"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), [None]), r"learning rates: got \[None\], want a sequence"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), [1], 1.5), r"update time: got 1\.5"),
        (lambda t: t.optimize(ids_of(1), floats([1, 2]), [1], 0, 2**63), f"global step: got {2**63}, want an integer"),
        (lambda t: t.evict(1.5), r"update time: got 1\.5, want an integer"),
        (lambda t: t.evict(-1), "update time: got -1, want seconds"),
        (lambda t: t.swap(None), "other: got NoneType, want an EmbeddingTable"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, message):
    table = training(segment(2))
    with pytest.raises(InvalidArgumentError, match=message):
        call(table)
    assert len(table) == 0


def test_read_only_arrays_are_for_reading():
    table = training(segment(1))
    ids = ids_of(1)
    ids.flags.writeable = False
    assert table.lookup(ids).tolist() == [[0]]
    out = np.zeros((1, 1), np.float32)
    out.flags.writeable = False
    with pytest.raises(InvalidArgumentError, match="out: got a read-only array"):
        table.lookup(ids, out=out)


def test_serving_tables_refuse_what_needs_state():
    table = serving(mx.Fp16Compressor())
    for call in (
        table.save,
        lambda: table.lookup_entry(ids_of(1)),
        lambda: table.optimize(ids_of(1), floats([1]), [1]),
        lambda: table.slice_size,
    ):
        with pytest.raises(InvalidArgumentError, match="got a serving table, want a training table"):
            call()


class TableMachine(RuleBasedStateMachine):
    """A training table of one sgd segment beside a dict."""

    IDS = st.lists(st.integers(0, 40) | st.sampled_from([-1, 2**63 - 1, -(2**63)]), max_size=80)

    @initialize()
    def start(self):
        self.table = training(segment(2, initializer=mx.OnesInitializer()))
        self.model = {}

    def batch(self, ids, seed):
        ids = np.array(ids, np.int64)
        return ids, np.random.default_rng(seed).integers(-8, 8, (len(ids), 2)).astype(np.float32)

    @rule(ids=IDS, seed=st.integers(0, 99), time=st.integers(0, 2**32 - 1))
    def assign(self, ids, seed, time):
        ids, values = self.batch(ids, seed)
        self.table.assign(ids, values, time)
        for i, value in zip(ids.tolist(), values, strict=True):
            self.model[i] = (value, time)

    @rule(ids=IDS, seed=st.integers(0, 99))
    def assign_add(self, ids, seed):
        ids, values = self.batch(ids, seed)
        self.table.assign_add(ids, values, 1)
        for i, value in zip(ids.tolist(), values, strict=True):
            self.model[i] = (self.model.get(i, (np.ones(2, np.float32), 0))[0] + value, 1)

    @rule(ids=IDS, seed=st.integers(0, 99))
    def optimize(self, ids, seed):
        ids, values = self.batch(ids, seed)
        self.table.optimize(ids, values, [0.5], 2)
        for i, value in zip(ids.tolist(), values, strict=True):
            self.model[i] = (self.model.get(i, (np.ones(2, np.float32), 0))[0] - np.float32(0.5) * value, 2)

    @rule(time=st.integers(0, 2**32 - 1))
    def evict(self, time):
        old = {i for i, (_, ts) in self.model.items() if time - ts >= 36500 * DAY}
        assert self.table.evict(time) == len(old)
        for i in old:
            del self.model[i]

    @rule()
    def clear(self):
        self.table.clear()
        self.model.clear()

    @rule()
    def reload(self):
        dump = self.table.save()
        self.table = self.table.empty_like()
        self.table.restore(dump)

    @invariant()
    def same(self):
        dump = self.table.save()
        want = sorted(self.model, key=lambda i: i % 2**64)
        assert dump.ids.tolist() == want
        assert dump.timestamps.tolist() == [self.model[i][1] for i in want]
        np.testing.assert_array_equal(dump.values, np.array([self.model[i][0] for i in want]).reshape(-1, 2))
        probe = np.arange(-2, 45)
        zero = np.zeros(2, np.float32)
        np.testing.assert_array_equal(
            self.table.lookup(probe), [self.model.get(i, (zero, 0))[0] for i in probe.tolist()]
        )
        assert len(self.table) == len(want)


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_large_tables_keep_everything():
    table = mx.EmbeddingTable(table_config(segment(3, compressor=mx.Fp32Compressor()), serving=True))
    rng = np.random.default_rng(2)
    ids = np.unique(rng.integers(-(2**63), 2**63 - 1, 300_000))
    values = rng.random((len(ids), 3), np.float32)
    table.assign(ids, values)
    assert len(table) == len(ids)
    np.testing.assert_array_equal(table.lookup(ids), values)
    assert not table.contains(ids + 1)[~np.isin(ids + 1, ids)].any()
    np.testing.assert_array_equal(table.ids().view(np.uint64), np.sort(ids.view(np.uint64)))
    # Ids that resemble each other find places like any others.
    for step in (1, 1 << 32, 1 << 48, 5):
        table.clear()
        with np.errstate(over="ignore"):
            ids = np.arange(60_000, dtype=np.int64) * step
        ids = np.unique(ids)
        table.assign(ids, np.ones((len(ids), 3), np.float32))
        assert len(table) == len(ids)


def test_several_tables_take_over_all_dumps_or_none():
    tables = mx.MultiTable({name: table_config(segment(1, optimizer=ADAGRAD)) for name in "ab"})
    good = mx.TableDump(ids_of(1), floats([2]), ids_of(3), (mx.OptimizerState("adagrad", {"norm": floats([1])}),))
    bad = [
        (dataclasses.replace(good, timestamps=ids_of(-1)), "update time: got -1"),
        (dataclasses.replace(good, values=floats([1, 2])), "values: got"),
        (dataclasses.replace(good, opt=()), "table 'b': optimizers of the dump: got"),
    ]
    for dump, message in bad:
        with pytest.raises(InvalidArgumentError, match=message):
            tables.restore({"a": good, "b": dump})
        assert [len(table) for table in tables.values()] == [0, 0]
    tables.restore({"a": good, "b": good, "c": bad[0][0]})
    assert [table.max_update_time for table in tables.values()] == [3, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda config: mx.MultiTable([config]), "configs: got list, want a mapping by the names of tables"),
        (lambda config: mx.MultiTable({1: config}), "table name: got 1, want text"),
        (lambda config: mx.MultiTable({"\ud800": config}), r"table name: got '\\ud800', want text"),
        (lambda config: mx.MultiTable({"a": 3}), "table 'a': not a message: got int"),
        (lambda config: mx.MultiTable({"a": config}).restore([1]), "dumps: got list, want a mapping"),
    ],
)
def test_wrong_arguments_of_multi_tables_are_named(call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call(table_config(segment(1)))


def test_multi_tables_have_names_and_one_save():
    tables = mx.MultiTable({"b": table_config(segment(1)), "a": table_config(segment(2))})
    assert list(tables) == ["a", "b"]
    tables["b"].assign(ids_of(1), floats([1]))
    dumps = tables.save()
    assert list(dumps) == ["a", "b"]
    assert dumps["a"].values.shape == (0, 2)
    assert dumps["b"].ids.tolist() == [1]
    other = mx.MultiTable({"b": table_config(segment(1)), "c": table_config(segment(1))})
    other["b"].assign(ids_of(2), floats([2]))
    other.restore(dumps)
    assert other["b"].ids().tolist() == [1, 2]
    with pytest.raises(KeyError):
        tables["c"]
    with pytest.raises(InvalidArgumentError, match="table 'x': table config: got no segments"):
        mx.MultiTable({"x": hash_table_pb2.EmbeddingHashTableConfig(cuckoo={})})
