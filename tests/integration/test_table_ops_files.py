"""Saving and restoring by the ops: files, file systems, damage, expiry."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto import hash_table_pb2  # noqa: E402
from mexport_pb.runtime import ops  # noqa: E402
from tests.support.table_ops import (  # noqa: E402
    entry,
    expire_config,
    ids,
    in_session,
    multi_table,
    table,
    table_config,
)

pytestmark = pytest.mark.tensorflow
errors = tf.errors
DAY = 86400
ADAGRAD = mx.AdagradOptimizer(initial_accumulator_value=0.5)


def assign(handle, keys, values, time=0):
    return ops.hash_table_assign(handle, np.array(keys, np.int64), np.array(values, np.float32), np.int64(time))


def lookup(handle, *keys, dim=1):
    return ops.hash_table_lookup(handle, ids(*keys), dim_size=dim)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_save_and_restore(tmp_path):
    base = str(tmp_path / "new" / "folder" / "table")
    with in_session() as run:
        handle = table(table_config(2, optimizer=ADAGRAD))
        run(assign(handle, [-1, 1], [[1, 2], [3, 4]], time=7))
        saved = ops.hash_table_save(handle, base)
        assert saved.shape == ()
        run(saved)
        run(assign(handle, [1, 2], [[9, 9], [9, 9]]))
        # Restoring drops what was added since.
        restored = ops.hash_table_restore(handle, base)
        assert run(lookup(restored, -1, 1, 2, dim=2)).tolist() == [[1, 2], [3, 4], [0, 0]]
        assert run(ops.hash_table_size(handle)) == 2
        assert names(tmp_path / "new" / "folder") == ["table-00000-of-00001"]
    with in_session() as run:
        handle = table(table_config(2, optimizer=ADAGRAD), "another")
        run(ops.hash_table_restore(handle, base))
        dump = entry(run(ops.hash_table_lookup_entry(handle, ids(-1)))[0])
        assert (list(dump.num), dump.last_update_ts_sec) == ([1, 2], 7)
        assert list(dump.opt.dump[0].adagrad.norm) == [0.5, 0.5]


@pytest.mark.parametrize("shards", [1, 3, 100])
def test_the_files_are_those_of_write_table(shards, tmp_path):
    rng = np.random.default_rng(3)
    keys = rng.integers(-(2**63), 2**63, 10_000)
    values = rng.normal(size=(10_000, 3)).astype(np.float32)
    with in_session() as run:
        handle = table(table_config(3, optimizer=mx.FtrlOptimizer()))
        run(assign(handle, keys, values, time=300))
        run(ops.hash_table_save(handle, str(tmp_path / "by_op" / "t"), nshards=shards))
    (tmp_path / "by_mx").mkdir()
    mx.write_table(tmp_path / "by_mx" / "t", mx.read_table(tmp_path / "by_op" / "t"), shards)
    assert len(names(tmp_path / "by_op")) == shards
    for name in names(tmp_path / "by_mx"):
        assert (tmp_path / "by_op" / name).read_bytes() == (tmp_path / "by_mx" / name).read_bytes()


def test_the_files_of_several_tables_are_read_and_written_by_mx(tmp_path):
    configs = {"b": table_config(2), "a": table_config(1, optimizer=ADAGRAD), "none": table_config(1)}
    base = str(tmp_path / "by_op" / "t")
    with in_session() as run:
        handle = multi_table(configs)
        values = np.arange(3000, dtype=np.float32)
        keys = np.arange(2000, dtype=np.int64)
        run(ops.multi_hash_table_assign(handle, keys, ids(0, 1000, 2000, 2000), values, np.int64(4)))
        run(ops.multi_hash_table_save(handle, base, nshards=2))
    dumps = mx.read_multi_table(base)
    assert {name: len(dump.ids) for name, dump in dumps.items()} == {"a": 1000, "b": 1000, "none": 0}
    (tmp_path / "by_mx").mkdir()
    mx.write_multi_table(tmp_path / "by_mx" / "t", dumps, 2)
    with in_session() as run:
        handle = multi_table(configs)
        run(ops.multi_hash_table_restore(handle, str(tmp_path / "by_mx" / "t")))
        got = run(ops.multi_hash_table_lookup(handle, keys, ids(0, 1000, 2000, 2000)))
        np.testing.assert_array_equal(got, values)
    for i in range(2):
        meta = f"t.meta-0000{i}-of-00002"
        assert (tmp_path / "by_op" / meta).read_bytes() == (tmp_path / "by_mx" / meta).read_bytes()


def test_tensorflow_reads_the_snappy_files(tmp_path):
    from tensorflow.python.lib.io import _pywrap_record_io

    with in_session() as run:
        handle = multi_table({"a": table_config(64)})
        run(ops.multi_hash_table_assign(handle, np.arange(5000), ids(0, 5000), np.ones(320_000), np.int64(0)))
        run(ops.multi_hash_table_save(handle, str(tmp_path / "t")))
    records = list(_pywrap_record_io.RecordIterator(str(tmp_path / "t-00000-of-00001"), "SNAPPY"))
    assert [entry(record).id for record in records] == list(range(5000))
    assert (tmp_path / "t-00000-of-00001").stat().st_size < 5000 * 64


def test_an_empty_table_has_empty_files(tmp_path):
    with in_session() as run:
        handle, many = table(table_config()), multi_table({"a": table_config()})
        run(ops.hash_table_save(handle, str(tmp_path / "one"), nshards=2))
        run(ops.multi_hash_table_save(many, str(tmp_path / "many")))
        assert [path.stat().st_size for path in sorted(tmp_path.glob("one-*"))] == [0, 0]
        assert (tmp_path / "many-00000-of-00001").stat().st_size == 0
        run([ops.hash_table_restore(handle, str(tmp_path / "one"))])
        run(ops.multi_hash_table_restore(many, str(tmp_path / "many")))


def test_other_file_systems(tmp_path):
    base = "ram://folder/table"
    with in_session() as run:
        handle, many = table(table_config()), multi_table({"a": table_config()})
        run(assign(handle, [1], [[5]]))
        run(ops.hash_table_save(handle, base, nshards=2))
        assert sorted(tf.io.gfile.listdir("ram://folder/")) == ["table-00000-of-00002", "table-00001-of-00002"]
        run(assign(handle, [1], [[6]]))
        run(ops.hash_table_restore(handle, base))
        assert run(lookup(handle, 1)).tolist() == [[5]]
        run(ops.multi_hash_table_assign(many, ids(3), ids(0, 1), [4.0], np.int64(0)))
        run(ops.multi_hash_table_save(many, "ram://folder/many"))
        run(ops.multi_hash_table_restore(many, "ram://folder/many"))
        assert run(ops.multi_hash_table_feature_stat("ram://folder/many")[1]).tolist() == [1]
        with pytest.raises(errors.UnimplementedError, match="nowhere"):
            run(ops.hash_table_save(handle, "nowhere://folder/table"))


def test_expiry_by_the_latest_time(tmp_path):
    base = str(tmp_path / "table")
    with in_session() as run:
        handle = table(table_config())
        run(assign(handle, [0, 1, 2], [[1], [1], [1]], time=0))
        run(assign(handle, [1], [[1]], time=1))
        run(
            ops.hash_table_optimize(handle, ids(3), np.ones((1, 1), np.float32), [1.0], np.int64(10 * DAY), np.int64(0))
        )
        run(ops.hash_table_save(handle, base, slot_expire_time_config=expire_config(10)))
        assert mx.read_table(base).ids.tolist() == [1, 3]
        run(ops.hash_table_save(handle, base, slot_expire_time_config=expire_config(0)))
        assert mx.read_table(base).ids.tolist() == []
        run(ops.hash_table_save(handle, base))
        assert mx.read_table(base).ids.tolist() == [0, 1, 2, 3]


def test_expiry_by_slot(tmp_path):
    base = str(tmp_path / "table")
    first, second = (1 << 48) | 7, (2 << 48) | 7
    with in_session() as run:
        handle = table(table_config())
        run(assign(handle, [first, second], [[1], [2]], time=100))
        save = ops.hash_table_save(handle, base, slot_expire_time_config=expire_config(5, s1=0, s2=1))
        run(save)
        run(ops.hash_table_restore(handle, base))
        assert run(lookup(handle, first, second)).tolist() == [[0], [2]]
        run(save)
        assert mx.read_table(base).ids.tolist() == [second]


def test_a_save_replaces_a_dump_with_another_number_of_files(tmp_path):
    base = str(tmp_path / "table1")
    with in_session() as run:
        handle, other = table(table_config(), "table1"), table(table_config(), "table10")
        run([assign(handle, [1], [[1]]), assign(other, [2], [[2]])])
        run(ops.hash_table_save(other, str(tmp_path / "table10"), nshards=2))
        (tmp_path / "table1-00000-of-00009-tmp-12345").write_bytes(b"left over")
        (tmp_path / "table1-extra-00000-of-00001").write_bytes(b"another table's")
        run(ops.hash_table_save(handle, base, nshards=5))
        run(ops.hash_table_save(handle, base, nshards=3))
        assert len(list(tmp_path.glob("table1-*-of-00003"))) == 3
        assert not list(tmp_path.glob("table1-*-of-00005"))
        run([ops.hash_table_restore(handle, base), ops.hash_table_restore(other, str(tmp_path / "table10"))])
        assert run(lookup(handle, 1, 2)).tolist() == [[1], [0]]
        assert run(lookup(other, 1, 2)).tolist() == [[0], [2]]


@pytest.mark.parametrize("shards", [0, 100_000])
def test_wrong_numbers_of_files(shards, tmp_path):
    with in_session() as run:
        with pytest.raises(errors.InvalidArgumentError, match=f"nshards: got {shards}, want 1 to 99999"):
            run(ops.hash_table_save(table(table_config()), str(tmp_path / "t"), nshards=shards))
        with pytest.raises(errors.InvalidArgumentError, match="slot_expire_time_config"):
            run(ops.hash_table_save(table(table_config()), str(tmp_path / "t"), slot_expire_time_config=b"\xff"))


def test_a_basename_is_no_pattern(tmp_path):
    base = str(tmp_path / "t[1]*")
    with in_session() as run:
        handle = table(table_config())
        run(assign(handle, [1], [[1]]))
        run(ops.hash_table_save(handle, base))
        run(ops.hash_table_restore(handle, base))
        assert run(ops.hash_table_size(handle)) == 1
        dotted = str(tmp_path / "." / "t[1]*").replace("/t[", "/./t[")
        run(ops.hash_table_restore(handle, dotted))


def test_a_failed_write_is_an_error_and_leaves_the_old_dump(tmp_path):
    base = tmp_path / "table"
    with in_session() as run:
        handle = table(table_config())
        run(assign(handle, [1], [[1]]))
        run(ops.hash_table_save(handle, str(base)))
        run(assign(handle, [1], [[2]]))
        # A folder where the second shard's name would be.
        (tmp_path / "table-00001-of-00002").mkdir()
        (tmp_path / "table-00001-of-00002" / "x").touch()
        with pytest.raises(errors.OpError, match="table-00001-of-00002"):
            run(ops.hash_table_save(handle, str(base), nshards=2))
        shutil.rmtree(tmp_path / "table-00001-of-00002")
        (tmp_path / "file").touch()
        with pytest.raises(errors.OpError, match="file"):
            run(ops.hash_table_save(handle, str(tmp_path / "file" / "table")))
        assert "-tmp-" not in " ".join(names(tmp_path))


def saved(tmp_path, shards=2, count=10):
    base = str(tmp_path / "table")
    keys = np.arange(count)
    with in_session() as run:
        handle = table(table_config(2, optimizer=ADAGRAD))
        run(assign(handle, keys, np.ones((count, 2)), time=5))
        run(ops.hash_table_save(handle, base, nshards=shards))
    return base


def damage_cases():
    def cut(folder):
        path = folder / "table-00001-of-00002"
        path.write_bytes(path.read_bytes()[:-3])

    def flip(folder):
        path = folder / "table-00001-of-00002"
        data = bytearray(path.read_bytes())
        data[30] ^= 1
        path.write_bytes(data)

    def no_entry(folder):
        records = list(mx.read_records(folder / "table-00001-of-00002"))
        mx.write_records(folder / "table-00001-of-00002", [*records[:3], b"\xff\xff"])

    def other_dimension(folder):
        dump = hash_table_pb2.EntryDump(id=3, num=[1.0], last_update_ts_sec=1)
        dump.opt.dump.add().adagrad.norm.append(1.0)
        mx.write_records(folder / "table-00001-of-00002", [dump.SerializeToString()])

    def no_state(folder):
        dump = hash_table_pb2.EntryDump(id=3, num=[1.0, 2.0], last_update_ts_sec=1)
        mx.write_records(folder / "table-00001-of-00002", [dump.SerializeToString()])

    def other_optimizer(folder):
        dump = hash_table_pb2.EntryDump(id=3, num=[1.0, 2.0], last_update_ts_sec=1)
        dump.opt.dump.add().sgd.SetInParent()
        mx.write_records(folder / "table-00001-of-00002", [dump.SerializeToString()])

    def bad_time(folder):
        dump = hash_table_pb2.EntryDump(id=3, num=[1.0, 2.0], last_update_ts_sec=-1)
        dump.opt.dump.add().adagrad.norm.extend([1.0, 1.0])
        mx.write_records(folder / "table-00001-of-00002", [dump.SerializeToString()])

    def missing(folder):
        (folder / "table-00001-of-00002").unlink()

    def mixed(folder):
        (folder / "table-00001-of-00003").touch()

    def beyond(folder):
        (folder / "table-00002-of-00002").touch()

    def none(folder):
        for path in folder.glob("table-*"):
            path.unlink()

    file = "table-00001-of-00002: offset "
    return [
        pytest.param(cut, errors.DataLossError, f"{file}.*the file ends within", id="cut"),
        pytest.param(flip, errors.DataLossError, f"{file}0: checksum of a record's data", id="flip"),
        pytest.param(no_entry, errors.FailedPreconditionError, file, id="no entry"),
        pytest.param(other_dimension, errors.FailedPreconditionError, f"{file}0: .*got 1, want 2", id="dimension"),
        pytest.param(no_state, errors.FailedPreconditionError, f"{file}0", id="no state"),
        pytest.param(other_optimizer, errors.FailedPreconditionError, f"{file}0", id="optimizer"),
        pytest.param(bad_time, errors.FailedPreconditionError, f"{file}0: last_update_ts_sec: got -1", id="time"),
        pytest.param(missing, errors.InvalidArgumentError, "table: shard 1 of 2 doesn't show up", id="missing"),
        pytest.param(mixed, errors.InvalidArgumentError, "doesn't match nshards: got 3, want 2", id="mixed"),
        pytest.param(
            beyond, errors.InvalidArgumentError, "shard exceeds nshards: got 2, want less than 2", id="beyond"
        ),
        pytest.param(none, errors.InvalidArgumentError, "table: There is no valid sharded files", id="none"),
    ]


@pytest.mark.parametrize(("damage", "kind", "message"), damage_cases())
def test_a_restore_that_fails_leaves_the_table_as_it_was(damage, kind, message, tmp_path):
    base = saved(tmp_path)
    damage(tmp_path)
    with in_session() as run:
        handle = table(table_config(2, optimizer=ADAGRAD))
        run(assign(handle, [100], [[7, 7]]))
        with pytest.raises(kind, match=message):
            run(ops.hash_table_restore(handle, base))
        assert run(lookup(handle, 0, 100, dim=2)).tolist() == [[0, 0], [7, 7]]
        assert run(ops.hash_table_size(handle)) == 1


def test_a_serving_table_takes_the_vectors_of_any_table(tmp_path):
    base = saved(tmp_path)
    with in_session() as run:
        handle = table(table_config(2, serving=True, optimizer=mx.SgdOptimizer(), compressor=mx.Fp16Compressor()))
        run(ops.hash_table_restore(handle, base))
        assert run(lookup(handle, 3, 10, dim=2)).tolist() == [[1, 1], [0, 0]]
        narrow = table(table_config(1, serving=True), "narrow")
        with pytest.raises(errors.FailedPreconditionError, match=r"values: got 2, want 1, .* table 'narrow'"):
            run(ops.hash_table_restore(narrow, base))


def test_entries_without_a_time_and_packed_ones(tmp_path):
    # num as one packed field: 12 08 and two floats.
    packed = b"\x09" + (5).to_bytes(8, "little") + b"\x12\x08" + np.array([1, 2], "<f4").tobytes()
    mx.write_records(tmp_path / "t-00000-of-00001", [packed])
    with in_session() as run:
        handle = table(table_config(2))
        run(ops.hash_table_restore(handle, str(tmp_path / "t")))
        dump = entry(run(ops.hash_table_lookup_entry(handle, ids(5)))[0])
        assert (list(dump.num), dump.last_update_ts_sec) == ([1, 2], 0)


def multi_saved(tmp_path):
    base = str(tmp_path / "many")
    with in_session() as run:
        handle = multi_table({"a": table_config(1), "b": table_config(2)})
        run(ops.multi_hash_table_assign(handle, ids(1, 2, 3, 4), ids(0, 2, 4), np.ones(6), np.int64(0)))
        run(ops.multi_hash_table_save(handle, base, nshards=1))
    return base


def meta_record(name, count):
    return hash_table_pb2.MultiHashTableMetadata(table_name=name, num_entries=count).SerializeToString()


@pytest.mark.parametrize(
    ("metas", "message"),
    [
        ([("a", 2), ("b", 3)], "Parse entry failed! table 'b': got 2 entries, want 3 by the meta file"),
        ([("a", 2), ("b", 1)], "Parse entry failed! got more entries than the meta file says"),
        ([("b", 2), ("a", 2)], "values|got 1"),
        ([("a", 2), ("b", 2**63)], "Parse entry failed!"),
    ],
)
@pytest.mark.parametrize("used", [False, True])
def test_meta_files_that_do_not_fit(metas, message, used, tmp_path):
    base = multi_saved(tmp_path)
    mx.write_records(tmp_path / "many.meta-00000-of-00001", [meta_record(*meta) for meta in metas])
    with in_session() as run:
        handle = multi_table({"a": table_config(1), "b": table_config(2)})
        if used:
            run(ops.multi_hash_table_assign(handle, ids(9, 9), ids(0, 1, 2), [5.0, 6, 6], np.int64(0)))
        with pytest.raises(errors.DataLossError, match=message):
            run(ops.multi_hash_table_restore(handle, base))
        got = run(ops.multi_hash_table_lookup(handle, ids(1, 9, 3, 9), ids(0, 2, 4)))
        assert got.tolist() == ([0, 5, 0, 0, 6, 6] if used else [0] * 6)


def test_damaged_and_missing_meta_files(tmp_path):
    base = multi_saved(tmp_path)
    meta = tmp_path / "many.meta-00000-of-00001"
    with in_session() as run:
        handle = multi_table({"a": table_config(1), "b": table_config(2)})
        restore = ops.multi_hash_table_restore(handle, base)
        stat = ops.multi_hash_table_feature_stat(base)
        mx.write_records(meta, [b"\xff"])
        for step in (restore, stat):
            with pytest.raises(errors.DataLossError, match=r"many\.meta-00000-of-00001: offset 0"):
                run(step)
        meta.unlink()
        for step in (restore, stat):
            with pytest.raises(errors.NotFoundError, match=r"many\.meta-00000-of-00001"):
                run(step)
        (tmp_path / "many-00000-of-00001").unlink()
        for step in (restore, stat):
            with pytest.raises(errors.InvalidArgumentError, match="many: There is no valid sharded files"):
                run(step)


def test_lookups_go_on_while_a_table_is_restored(tmp_path):
    keys = np.arange(20_000)
    with in_session() as run:
        handle = table(table_config(4))
        for value in (1, 2):
            run(assign(handle, keys, np.full((len(keys), 4), value)))
            run(ops.hash_table_save(handle, str(tmp_path / str(value)), nshards=3, random_sleep_ms=3))
        restores = [ops.hash_table_restore(handle, str(tmp_path / str(value))).op for value in (1, 2)]
        looked_up = ops.hash_table_lookup(handle, keys, dim_size=4)
        stop, failures, seen = threading.Event(), [], set()

        def look():
            try:
                while not stop.is_set():
                    rows = run(looked_up)
                    assert (rows == rows[0, 0]).all()  # of one dump, as a whole
                    seen.add(float(rows[0, 0]))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            for restore in restores:
                run(restore)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert seen <= {1.0, 2.0}


def test_training_goes_on_while_a_table_is_saved(tmp_path):
    base = str(tmp_path / "table")
    count = 50_000
    with in_session() as run:
        handle = table(table_config(4))
        fed = tf.compat.v1.placeholder(tf.int64, [None])
        add = ops.hash_table_assign_add(handle, fed, tf.ones([tf.size(fed), 4]), np.int64(0)).op
        keys = np.arange(count)
        run(add, {fed: keys})
        stop, failures, steps = threading.Event(), [], [0]

        def train():
            try:
                while not stop.is_set():
                    run(add, {fed: np.random.default_rng(steps[0]).integers(0, 2 * count, 1000)})
                    steps[0] += 1
            except BaseException as error:
                failures.append(error)

        trainer = threading.Thread(target=train)
        trainer.start()
        for _ in range(3):
            run(ops.hash_table_save(handle, base, nshards=3))
            dump = mx.read_table(base)
            # Each entry as it was at one moment, and none of those that were there before is missing.
            assert (dump.values == dump.values[:, :1]).all()
            assert np.isin(keys, dump.ids).all()
        stop.set()
        trainer.join()
        assert not failures
        assert steps[0] > 0


def test_writers_of_one_folder_take_turns(tmp_path):
    mx.write_table(tmp_path / "t", mx.TableDump(ids(9), np.zeros((1, 1), np.float32), ids(0), ()), 2)
    before = names(tmp_path)
    with in_session() as run:
        handle = table(table_config(1))
        run(assign(handle, [1], [[1]]))
        saver = threading.Thread(target=run, args=(ops.hash_table_save(handle, str(tmp_path / "t"), nshards=3),))
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            # As mx.write_table does while it replaces files.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            saver.start()
            saver.join(0.5)
            assert saver.is_alive()
            assert [name for name in names(tmp_path) if "-tmp-" not in name] == before
        finally:
            os.close(descriptor)
        saver.join()
    assert names(tmp_path) == [f"t-{i:05d}-of-00003" for i in range(3)]
    assert mx.read_table(tmp_path / "t").ids.tolist() == [1]


def test_a_cancelled_step_gives_up_a_save(tmp_path):
    with in_session() as run:
        handle = table(table_config(32))
        run(assign(handle, np.arange(100_000), np.ones((100_000, 32))))
        options = tf.compat.v1.RunOptions(timeout_in_ms=1)
        with pytest.raises(errors.DeadlineExceededError):
            run(ops.hash_table_save(handle, str(tmp_path / "t"), nshards=1), options=options)
        # The op itself ends soon after; until then its temporary files may be there.
        run(ops.hash_table_save(handle, str(tmp_path / "t"), nshards=1))
        assert len(mx.read_table(tmp_path / "t").ids) == 100_000
