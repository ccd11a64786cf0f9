"""Dumps made smaller for serving: what is kept, what is dropped and why, and in what order."""

import json
import os

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.hash_table_pb2 import EntryDump, SlotExpireTimeConfig
from mexport_pb.table.sorted_runs import SortedRuns, take_rows

DAY = 86_400
NOW = 1_700_000_000
# One MiB is the least that may be asked for; tables of these sizes then go through the disk.
TIGHT = 1 << 20


def dump(n, dim=4, seed=0, optimizer="adagrad"):
    rng = np.random.default_rng(seed)
    ids = rng.integers(-(2**63), 2**63 - 1, n)
    assert len(np.unique(ids)) == n
    state = {"norm": rng.random((n, dim)).astype(np.float32)} if optimizer == "adagrad" else {}
    values = rng.standard_normal((n, dim)).astype(np.float32)
    return mx.TableDump(ids, values, np.full(n, NOW, np.int64), (mx.OptimizerState(optimizer, state),))


def config(dim=4, compressor=None, training=False):
    segment = mx.CombineAsSegment(dim, mx.ZerosInitializer(), mx.AdagradOptimizer(), compressor or mx.Fp32Compressor())
    return mx.CuckooHashTableConfig(mx.entry_config(segment, serving=not training))


def restored(loaded, **kwargs):
    table = mx.EmbeddingTable(config(**kwargs))
    table.restore(mx.TableDump(loaded.ids, loaded.values, loaded.timestamps, loaded.opt))
    return table


def sorted_by_id(of):
    order = np.argsort(of.ids.view(np.uint64))
    return of.ids[order], of.values[order], of.timestamps[order]


def bits(array):
    return array.view(np.uint32)


@pytest.mark.parametrize("options", [{}, {"memory_bytes": TIGHT}, {"pack_floats": True}, {"num_shards": 7}])
@pytest.mark.parametrize("n", [0, 1, 5, 70_000])
def test_kept_rows_are_all_there_in_order_and_bit_equal(tmp_path, n, options):
    given = dump(n)
    given.values[: n // 2 : 97] = np.nan
    mx.write_table(tmp_path / "in", given, 3)
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out", mx.ServingTables(**options))
    got = mx.read_table(tmp_path / "out")
    assert ledger.files_written == options.get("num_shards", 3)
    assert ledger.tables == (mx.TableLedger("in", n, n, {"zero": 0, "expired": 0}),)
    ids, values, times = sorted_by_id(given)
    np.testing.assert_array_equal(got.ids, ids)
    np.testing.assert_array_equal(got.timestamps, times)
    if n:
        np.testing.assert_array_equal(bits(got.values), bits(values))
        assert got.opt == ()
        full, slim = restored(given), restored(got)
        some = np.concatenate([ids[::3], [0, 1]])
        np.testing.assert_array_equal(bits(full.lookup(some)), bits(slim.lookup(some)))


def test_memory_on_disk_or_not_the_bytes_are_the_same(tmp_path):
    mx.write_table(tmp_path / "in", dump(60_000, dim=8), 2)
    for name, options in {"a": {}, "b": {"memory_bytes": TIGHT}}.items():
        mx.slim_table(tmp_path / "in", tmp_path / name, mx.ServingTables(num_shards=3, **options))
    for shard in range(3):
        files = [(tmp_path / f"{name}-0000{shard}-of-00003").read_bytes() for name in "ab"]
        assert files[0] == files[1]
    assert sorted(os.listdir(tmp_path))[0] == "a-00000-of-00003", "what was sorted on disk is gone"
    assert not list(tmp_path.glob("rows-*"))


def test_without_dropping_anything_the_files_are_those_of_the_writer(tmp_path):
    given = dump(1000)
    mx.write_table(tmp_path / "in", given, 3)
    options = mx.ServingTables(drop_optimizer_state=False, drop_zero_rows=False, drop_expired=False)
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out", options)
    for shard in range(3):
        name = f"-0000{shard}-of-00003"
        assert (tmp_path / f"in{name}").read_bytes() == (tmp_path / f"out{name}").read_bytes()
    assert ledger.optimizer_state == "kept"
    assert ledger.bytes_read == ledger.bytes_written
    packed = mx.ServingTables(drop_optimizer_state=False, pack_floats=True)
    mx.slim_table(tmp_path / "in", tmp_path / "packed", packed)
    table = mx.EmbeddingTable(config(training=True))
    table.restore(mx.read_table(tmp_path / "packed"))
    np.testing.assert_array_equal(bits(table.save().opt[0].columns["norm"]), bits(state_of(given)))


def state_of(given):
    return given.opt[0].columns["norm"][np.argsort(given.ids.view(np.uint64))]


def test_rows_of_zeros_are_dropped_and_counted(tmp_path):
    given = dump(10, dim=2)
    given.values[2] = 0.0
    given.values[5] = -0.0
    given.values[7] = [0.0, 1e-45]  # not zero: a lookup tells it from nothing
    mx.write_table(tmp_path / "in", given)
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out")
    assert ledger.tables[0] == mx.TableLedger("in", 10, 8, {"zero": 2, "expired": 0})
    got = mx.read_table(tmp_path / "out").ids
    assert set(given.ids) - set(got) == {given.ids[2], given.ids[5]}
    kept = mx.slim_table(tmp_path / "in", tmp_path / "all", keep_zero_rows=True)
    assert kept.tables[0].rows_kept == 10


def expire_config(default, **slots):
    made = SlotExpireTimeConfig(default_expire_time=default)
    for slot, days in slots.items():
        made.slot_expire_times.add(slot=int(slot[1:]), expire_time=days)
    return made


@pytest.mark.parametrize("memory_bytes", [256 << 20, TIGHT])
def test_expired_rows_are_those_that_the_writer_leaves_out(tmp_path, memory_bytes):
    n = 50_000
    rng = np.random.default_rng(3)
    given = dump(n, dim=1)
    given.timestamps[:] = NOW - rng.integers(0, 40 * DAY, n)
    given.ids[:] = (given.ids & ~(0x7FFF << 48)) | rng.integers(0, 3, n) << 48
    expire = expire_config(20, s1=10, s2=0)
    mx.write_table(tmp_path / "in", given, 2)
    want = mx.write_table(tmp_path / "want", given, 2, expire=expire)
    options = mx.ServingTables(drop_optimizer_state=False, memory_bytes=memory_bytes)
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out", options, expire=expire)
    assert 0 < want < n
    assert ledger.tables[0] == mx.TableLedger("in", n, want, {"zero": 0, "expired": n - want})
    for shard in range(2):
        name = f"-0000{shard}-of-00002"
        assert (tmp_path / f"want{name}").read_bytes() == (tmp_path / f"out{name}").read_bytes()


@pytest.mark.parametrize(("age", "kept"), [(DAY - 1, 1), (DAY, 0), (DAY + 1, 0)])
def test_ages_are_counted_to_the_time_that_was_asked(tmp_path, age, kept):
    given = dump(1)
    mx.write_table(tmp_path / "in", given)
    options = mx.ServingTables(req_time=NOW + age)
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out", options, expire=expire_config(1))
    assert ledger.tables[0].rows_kept == kept
    assert len(mx.read_table(tmp_path / "out")) == kept


def test_a_dropped_row_of_zeros_still_tells_the_time(tmp_path):
    given = dump(2)
    given.values[0] = 0
    given.timestamps[1] = NOW - DAY
    mx.write_table(tmp_path / "in", given)
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out", expire=expire_config(1))
    assert ledger.tables[0] == mx.TableLedger("in", 2, 0, {"zero": 1, "expired": 1})


def test_many_tables(tmp_path):
    given = {"b": dump(30_000, dim=3), "a": dump(1000, dim=8, seed=1), "empty": dump(0)}
    given["a"].values[:10] = 0
    given["b"].values[:20] = 0
    mx.write_multi_table(tmp_path / "in", given, 3)
    options = mx.ServingTables(memory_bytes=TIGHT, num_shards=2, pack_floats=True)
    ledger = mx.slim_multi_table(tmp_path / "in", tmp_path / "out", options, keep_zero_rows=frozenset("b"))
    assert ledger.tables == (
        mx.TableLedger("a", 1000, 990, {"zero": 10, "expired": 0}),
        mx.TableLedger("b", 30_000, 30_000, {"zero": 0, "expired": 0}),
        mx.TableLedger("empty", 0, 0, {"zero": 0, "expired": 0}),
    )
    assert (ledger.files_read, ledger.files_written) == (6, 4)
    got = mx.read_multi_table(tmp_path / "out")
    assert list(got) == ["a", "b", "empty"]
    ids, values, _ = sorted_by_id(given["b"])
    np.testing.assert_array_equal(got["b"].ids, ids)
    np.testing.assert_array_equal(bits(got["b"].values), bits(values))
    assert len(got["a"]) == 990


def test_many_tables_without_dropping_anything_are_those_of_the_writer(tmp_path):
    given = {"b": dump(3000, dim=3), "a": dump(100, dim=8, seed=1)}
    mx.write_multi_table(tmp_path / "in", given, 3)
    mx.slim_multi_table(tmp_path / "in", tmp_path / "out", mx.ServingTables(drop_optimizer_state=False))
    for path in tmp_path.glob("in*"):
        assert path.read_bytes() == (tmp_path / path.name.replace("in", "out", 1)).read_bytes()


def test_packed_floats_are_a_fifth_smaller_and_any_parser_reads_them(tmp_path):
    given = dump(100, dim=64, optimizer="sgd")
    mx.write_table(tmp_path / "in", given)
    plain = mx.slim_table(tmp_path / "in", tmp_path / "plain")
    packed = mx.slim_table(tmp_path / "in", tmp_path / "packed", mx.ServingTables(pack_floats=True))
    assert plain.bytes_written - packed.bytes_written == 100 * (64 - 3)
    rows = {}
    for record in mx.read_records(tmp_path / "packed-00000-of-00001"):
        entry = EntryDump.FromString(record)
        assert not entry.HasField("opt")
        rows[entry.id] = np.array(entry.num, np.float32)
    assert len(rows) == 100
    for id_, vector in zip(given.ids, given.values, strict=True):
        np.testing.assert_array_equal(rows[id_], vector)


@pytest.mark.parametrize("memory_bytes", [256 << 20, TIGHT])
def test_an_id_that_comes_twice(tmp_path, memory_bytes):
    n = 40_000
    given = dump(n, dim=8)
    mx.write_table(tmp_path / "one", given)
    mx.write_table(tmp_path / "two", take_rows(given, slice(0, 1)))
    # Of two sound files one set.
    os.rename(tmp_path / "one-00000-of-00001", tmp_path / "in-00000-of-00002")
    os.rename(tmp_path / "two-00000-of-00001", tmp_path / "in-00001-of-00002")
    with pytest.raises(mx.TableError, match=f"table 'in': id {given.ids[0]} comes twice"):
        mx.slim_table(tmp_path / "in", tmp_path / "out", mx.ServingTables(memory_bytes=memory_bytes))


def test_files_of_two_layouts(tmp_path):
    mx.write_table(tmp_path / "a", dump(3, dim=2))
    mx.write_table(tmp_path / "b", dump(3, dim=3, seed=1))
    os.rename(tmp_path / "a-00000-of-00001", tmp_path / "in-00000-of-00002")
    os.rename(tmp_path / "b-00000-of-00001", tmp_path / "in-00001-of-00002")
    with pytest.raises(mx.TableError, match="got 3"):
        mx.slim_table(tmp_path / "in", tmp_path / "out")


def test_a_meta_file_that_says_too_little_or_too_much(tmp_path):
    mx.write_multi_table(tmp_path / "in", {"a": dump(10)}, 1)
    mx.write_multi_table(tmp_path / "more", {"a": dump(11)}, 1)
    mx.write_multi_table(tmp_path / "less", {"a": dump(9)}, 1)
    for other, message in (("more", "want 1 more by the meta file"), ("less", "got more than the 9")):
        os.replace(tmp_path / f"{other}.meta-00000-of-00001", tmp_path / "in.meta-00000-of-00001")
        with pytest.raises(mx.TableError, match=message):
            mx.slim_multi_table(tmp_path / "in", tmp_path / other / "out")


def test_a_damaged_dump(tmp_path):
    mx.write_table(tmp_path / "in", dump(100), 2)
    path = tmp_path / "in-00001-of-00002"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(mx.RecordError):
        mx.slim_table(tmp_path / "in", tmp_path / "out")
    path.unlink()
    with pytest.raises(mx.TableError, match="doesn't show up"):
        mx.slim_table(tmp_path / "in", tmp_path / "out2")


def test_nothing_is_written_over(tmp_path):
    mx.write_table(tmp_path / "in", dump(1))
    with pytest.raises(mx.InvalidArgumentError, match="is there already"):
        mx.slim_table(tmp_path / "in", tmp_path / "in")


@pytest.mark.parametrize("wrong", [{"num_shards": 0}, {"num_shards": 100_000}, {"req_time": -1}, {"memory_bytes": 5}])
def test_options_that_make_no_sense(wrong):
    with pytest.raises(mx.InvalidArgumentError, match=f"{next(iter(wrong))}: got"):
        mx.ServingTables(**wrong)


def test_a_ledger_adds_up_and_is_json(tmp_path):
    with pytest.raises(AssertionError):
        mx.TableLedger("a", 3, 1, {"zero": 1})
    mx.write_table(tmp_path / "in", dump(3))
    ledger = mx.slim_table(tmp_path / "in", tmp_path / "out")
    assert json.loads(ledger.to_json())["tables"] == [
        {"rows_dropped": {"expired": 0, "zero": 0}, "rows_kept": 3, "rows_read": 3, "table": "in"}
    ]


def test_blocks_are_small_whatever_the_runs(tmp_path):
    runs = SortedRuns("t", tmp_path / "runs")
    rng = np.random.default_rng(1)
    total = 0
    for size in (1, 3000, 20_000, 500, 20_000):
        ids = np.unique(rng.integers(0, 2**40, size)) * 5 + total % 5
        total += len(ids)
        runs.add(mx.TableDump(ids, np.zeros((len(ids), 2), np.float32), np.zeros(len(ids), np.int64)))
        runs.spill()
    runs.finish()
    row = 8 + 8 + 8
    blocks = list(runs.blocks(3000 * row))
    assert max(map(len, blocks)) <= 3000
    assert sum(map(len, blocks)) == total
    ids = np.concatenate([block.ids for block in blocks])
    assert (ids[1:] > ids[:-1]).all()
