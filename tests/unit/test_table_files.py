"""Dumps of one table: the set of files, what is written, what is refused."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb import _core
from mexport_pb._proto.hash_table_pb2 import EntryDump, SlotExpireTimeConfig
from mexport_pb.record import RecordWriter, write_records
from mexport_pb.table.dump import to_columns
from mexport_pb.table.shards import ShardSet, auto_shard_count

DAY = 86400


def make(ids, dim=3, timestamps=None, opt=True):
    ids = np.asarray(ids, np.int64)
    n = len(ids)
    values = (ids[:, None] % 1000 + np.arange(dim)).astype(np.float32)
    timestamps = np.full(n, 1_700_000_000, np.int64) if timestamps is None else np.asarray(timestamps, np.int64)
    state = (mx.OptimizerState("adagrad", {"norm": values + 0.5}),) if opt else ()
    return mx.TableDump(ids, values, timestamps, state)


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_same(got, want):
    order = np.argsort(want.ids.view(np.uint64))
    np.testing.assert_array_equal(got.ids, want.ids[order])
    np.testing.assert_array_equal(got.values, want.values[order])
    np.testing.assert_array_equal(got.timestamps, want.timestamps[order])
    assert [s.kind for s in got.opt] == [s.kind for s in want.opt]
    for a, b in zip(got.opt, want.opt, strict=True):
        for name, column in b.columns.items():
            np.testing.assert_array_equal(a.columns[name], column[order])


def random_ids(n, seed=0):
    return np.unique(np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, n))


@pytest.mark.parametrize("compression", [None, "snappy", "zlib"])
@pytest.mark.parametrize("shards", [1, 3, 7])
def test_round_trip(shards, compression, tmp_path):
    dump = make(np.random.default_rng(1).permutation(random_ids(5000)))
    assert mx.write_table(tmp_path / "t", dump, shards, compression=compression) == len(dump)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [f"t-{i:05d}-of-{shards:05d}" for i in range(shards)]
    assert_same(mx.read_table(tmp_path / "t", compression=compression), dump)
    chunks = list(mx.iter_table(tmp_path / "t", rows_per_chunk=999, compression=compression))
    assert [len(chunk) for chunk in chunks] == [999] * 5 + [len(dump) - 4995]
    np.testing.assert_array_equal(
        np.concatenate([c.ids for c in chunks]), mx.read_table(tmp_path / "t", compression=compression).ids
    )


@pytest.mark.parametrize("multi", [False, True])
def test_a_hundred_shards(multi, tmp_path):
    dump = make(random_ids(2000))
    if multi:
        mx.write_multi_table(tmp_path / "t", {"a": dump, "b": make([1, 2])}, 100, threads=2)
        got = mx.read_multi_table(tmp_path / "t", threads=2)
        assert got["b"].ids.tolist() == [1, 2]
        assert_same(got["a"], dump)
    else:
        mx.write_table(tmp_path / "t", dump, 100, threads=2)
        assert_same(mx.read_table(tmp_path / "t", threads=2), dump)
    names = [f"t{part}-{i:05d}-of-00100" for part in (("", ".meta") if multi else ("",)) for i in range(100)]
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert all(path.stat().st_size > 0 for path in tmp_path.iterdir())


def test_rows_are_sorted_by_unsigned_id_and_divided_evenly(tmp_path):
    mx.write_table(tmp_path / "t", make([5, -1, 0, 7, -(2**63), 3, 2**63 - 1]), 3)
    got = [mx.read_table(tmp_path / "t").ids.tolist()]
    assert got == [[0, 3, 5, 7, 2**63 - 1, -(2**63), -1]]
    sizes = [(tmp_path / f"t-{i:05d}-of-00003").stat().st_size for i in range(3)]
    assert sizes[0] == sizes[1] * 3 // 2 == sizes[2] * 3 // 2


def test_same_table_gives_the_same_bytes(tmp_path):
    # Enough rows for several tasks within a file and for the radix sort.
    dump = make(np.random.default_rng(2).permutation(random_ids(70_000)), timestamps=None)
    dump.timestamps[::3] = 5
    order = np.random.default_rng(3).permutation(len(dump))
    other = mx.TableDump(
        dump.ids[order],
        dump.values[order],
        dump.timestamps[order],
        (mx.OptimizerState("adagrad", {"norm": dump.opt[0].columns["norm"][order]}),),
    )
    (tmp_path / "a").mkdir()
    mx.write_table(tmp_path / "a" / "t", dump, 2, threads=1)
    mx.write_table(tmp_path / "b" / "t", other, 2, threads=5)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    # Sizes of entries differ by their timestamps, so the reader has to count.
    assert_same(mx.read_table(tmp_path / "a" / "t", threads=3), dump)
    assert_same(mx.read_table(tmp_path / "a" / "t", threads=1), dump)


def test_reads_within_a_file_on_several_threads(tmp_path):
    dump = make(random_ids(200_000), dim=2)
    mx.write_table(tmp_path / "t", dump, 1)
    assert_same(mx.read_table(tmp_path / "t", threads=4), dump)


def test_sizes_that_only_look_uniform(tmp_path):
    # 2 and 4 bytes of timestamps make up for each other: the size divides, the records do not lie where it says.
    timestamps = [300, 5, 70_000]
    dump = make([1, 2, 3], timestamps=timestamps)
    mx.write_table(tmp_path / "t", dump, 1)
    size = (tmp_path / "t-00000-of-00001").stat().st_size
    first = 16 + struct.unpack("<Q", (tmp_path / "t-00000-of-00001").read_bytes()[:8])[0]
    assert size % first == 0
    assert_same(mx.read_table(tmp_path / "t"), dump)


@pytest.mark.parametrize(
    ("entries", "shards"), [(0, 1), (999_999, 1), (1_999_999, 1), (2_000_000, 2), (4_000_000, 4), (10**9, 4)]
)
def test_auto_shard_count(entries, shards):
    assert auto_shard_count(entries) == shards


def test_empty_table(tmp_path):
    assert mx.write_table(tmp_path / "t", make([]), 2) == 0
    assert files_of(tmp_path) == {"t-00000-of-00002": b"", "t-00001-of-00002": b""}
    dump = mx.read_table(tmp_path / "t")
    assert (dump.ids.shape, dump.values.shape, dump.opt) == ((0,), (0, 0), ())
    assert list(mx.iter_table(tmp_path / "t")) == []


def test_empty_shards_before_full_ones(tmp_path):
    mx.write_table(tmp_path / "u", make([4, 5]), 1)
    for i in (0, 2, 3):
        (tmp_path / f"t-{i:05d}-of-00004").write_bytes(b"")
    (tmp_path / "u-00000-of-00001").rename(tmp_path / "t-00001-of-00004")
    assert mx.read_table(tmp_path / "t").ids.tolist() == [4, 5]


def test_missing_timestamp_is_zero(tmp_path):
    write_records(tmp_path / "t-00000-of-00001", [b"\x09" + bytes(8) + b"\x15" + bytes(4)])
    assert mx.read_table(tmp_path / "t").timestamps.tolist() == [0]


# --- the set of files ---


def test_other_files_are_ignored(tmp_path):
    mx.write_table(tmp_path / "t", make([1]), 1)
    for name in (
        "t-00000-of-00009-tmp-123",
        "t-x-00000-of-00002",
        "t-0-of-1",
        "t1-00000-of-00002",
        "t",
        "t-000000-of-00001",
    ):
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "t.meta-00000-of-00003").write_bytes(b"")
    assert mx.read_table(tmp_path / "t").ids.tolist() == [1]


def test_names_with_wildcards(tmp_path):
    mx.write_table(tmp_path / "a[b]*?", make([1]), 1)
    mx.write_table(tmp_path / "ab", make([2]), 2)
    assert mx.read_table(tmp_path / "a[b]*?").ids.tolist() == [1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "There is no valid sharded files"),
        (["t-00000-of-00002-tmp-5"], "There is no valid sharded files"),
        (["t-00000-of-00002"], "shard 1 doesn't show up"),
        (["t-00001-of-00002"], "shard 0 doesn't show up"),
        (["t-00000-of-00001", "t-00001-of-00002"], "doesn't match nshards: got 2, want 1"),
        (["t-00000-of-00001", "t-00001-of-00001"], "shard exceeds nshards: got 1, want less than 1"),
        (["t-00000-of-00000"], "shard exceeds nshards: got 0, want less than 0"),
    ],
)
def test_refuses_sets_that_are_not_one(names, message, tmp_path):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for read in (mx.read_table, mx.iter_table):
        with pytest.raises(mx.TableError, match=message):
            read(tmp_path / "t")


@pytest.mark.parametrize("make_file", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_refuses_what_is_no_regular_file(make_file, tmp_path):
    make_file(tmp_path / "t-00000-of-00001")
    for use in (mx.read_table, mx.iter_table):
        with pytest.raises(mx.TableError, match="t-00000-of-00001: not a regular file"):
            use(tmp_path / "t")


def test_missing_folder(tmp_path):
    with pytest.raises(mx.TableError, match="There is no valid sharded files"):
        mx.read_table(tmp_path / "none" / "t")


# --- damage ---


def test_damage_in_the_middle_has_its_place(tmp_path):
    dump = make(random_ids(3000))
    mx.write_table(tmp_path / "t", dump, 2)
    path = tmp_path / "t-00001-of-00002"
    good = path.read_bytes()
    frame = 16 + struct.unpack("<Q", good[:8])[0]
    for at, error in [
        (0, mx.RecordLengthCrcError),
        (8, mx.RecordLengthCrcError),
        (20, mx.RecordDataCrcError),
        (frame - 1, mx.RecordDataCrcError),
    ]:
        bad = bytearray(good)
        bad[500 * frame + at] ^= 1
        path.write_bytes(bad)
        for threads in (1, 3):
            with pytest.raises(error) as caught:
                mx.read_table(tmp_path / "t", threads=threads)
            assert (caught.value.path, caught.value.offset) == (str(path), 500 * frame)
        with pytest.raises(error):
            list(mx.iter_table(tmp_path / "t"))


def test_every_truncation_is_refused(tmp_path):
    mx.write_table(tmp_path / "t", make([1, 2, 3]), 1)
    path = tmp_path / "t-00000-of-00001"
    good = path.read_bytes()
    frame = len(good) // 3
    for size in range(len(good)):
        path.write_bytes(good[:size])
        if size % frame == 0:
            assert len(mx.read_table(tmp_path / "t")) == size // frame
            continue
        with pytest.raises(mx.RecordError) as caught:
            mx.read_table(tmp_path / "t")
        assert caught.value.offset == size // frame * frame


def test_pieces_before_damage_come_out(tmp_path):
    mx.write_table(tmp_path / "t", make(range(10)), 1)
    path = tmp_path / "t-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1])
    chunks = mx.iter_table(tmp_path / "t", rows_per_chunk=4)
    assert [len(next(chunks)) for _ in range(3)] == [4, 4, 1]
    with pytest.raises(mx.RecordError):
        next(chunks)


def test_layouts_of_two_files_must_agree(tmp_path):
    for compression in (None, "snappy"):
        mx.write_table(tmp_path / "a", make([1], dim=3), 1, compression=compression)
        mx.write_table(tmp_path / "b", make([2], dim=4), 1, compression=compression)
        (tmp_path / "a-00000-of-00001").rename(tmp_path / "t-00000-of-00002")
        (tmp_path / "b-00000-of-00001").rename(tmp_path / "t-00001-of-00002")
        with pytest.raises(mx.TableError, match="t-00001-of-00002: offset 0: "):
            mx.read_table(tmp_path / "t", compression=compression)


def test_many_short_records_behind_a_long_one_ask_for_no_memory(tmp_path):
    long = b"\x09" + bytes(8) + (b"\x15" + bytes(4)) * 1_000_000
    with RecordWriter(tmp_path / "t-00000-of-00001") as writer:
        writer.write(long)
        writer.write_many([b""] * 1_000_000)
    # 10^12 floats, were room made for each.
    with pytest.raises(mx.TableError, match=f"offset {len(long) + 16}: an entry without an id"):
        mx.read_table(tmp_path / "t")


# --- expiry ---


def test_expiry_by_slot(tmp_path):
    now = 1_700_000_000
    ids = [(1 << 48) | 1, (2 << 48) | 1, (2 << 48) | 2, (3 << 48) | 1, -(1 << 63) | (2 << 48) | 3]
    times = [now, now - DAY + 1, now - DAY, now - 10 * DAY, now - DAY]
    config = SlotExpireTimeConfig(default_expire_time=10)
    config.slot_expire_times.add(slot=1, expire_time=0)
    config.slot_expire_times.add(slot=2, expire_time=1)
    # Slot 1 keeps nothing; of slot 2 one second less than a day; bit 63 is no part of the slot.
    assert mx.write_table(tmp_path / "t", make(ids, timestamps=times), 1, expire=config) == 1
    assert mx.read_table(tmp_path / "t").ids.tolist() == [ids[1]]
    config.default_expire_time = 11
    mx.write_table(tmp_path / "t", make(ids, timestamps=times), 1, expire=config)
    assert mx.read_table(tmp_path / "t").ids.tolist() == [ids[1], ids[3]]
    mx.write_table(tmp_path / "t", make(ids, timestamps=times), 1, expire=config, max_update_time=now + 5)
    assert mx.read_table(tmp_path / "t").ids.tolist() == [ids[3]]


def test_expiry_of_extreme_times(tmp_path):
    dump = make([1, 2], timestamps=[-(2**63), 2**63 - 1])
    assert mx.write_table(tmp_path / "t", dump, 1, expire=SlotExpireTimeConfig(default_expire_time=2**32 - 1)) == 1
    assert mx.read_table(tmp_path / "t").ids.tolist() == [2]
    assert mx.write_table(tmp_path / "t", make([]), 1, expire=SlotExpireTimeConfig()) == 0


def test_expiry_of_a_slot_that_no_id_has(tmp_path):
    config = SlotExpireTimeConfig()
    config.slot_expire_times.add(slot=1 << 15, expire_time=1)
    with pytest.raises(mx.InvalidArgumentError, match="slot: got 32768, want less than 32768"):
        mx.write_table(tmp_path / "t", make([1]), 1, expire=config)
    assert files_of(tmp_path) == {}


# --- replacing and failing ---


def test_new_files_replace_all_old_ones(tmp_path):
    mx.write_table(tmp_path / "t", make(range(9)), 3)
    mx.write_table(tmp_path / "t-x", make(range(9)), 1)
    mx.write_table(tmp_path / "t", make([7]), 2)
    assert sorted(files_of(tmp_path)) == ["t-00000-of-00002", "t-00001-of-00002", "t-x-00000-of-00001"]
    assert mx.read_table(tmp_path / "t").ids.tolist() == [7]


def test_full_disk_leaves_the_old_dump(tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make([1]), 1)
    before = files_of(tmp_path)

    def fail(paths, *_):
        with open(paths[0], "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_core, "write_table_files", fail)
    with pytest.raises(OSError, match="No space"):
        mx.write_table(tmp_path / "t", make([2]), 2)
    assert files_of(tmp_path) == before


def replacing(tmp_path, write):
    """Writes new files once the old ones are there to be read."""
    inner = ShardSet.__init__

    def init(self, paths):
        inner(self, paths)
        write()
        for path in tmp_path.iterdir():
            os.utime(path, ns=(1, 1))

    return init


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("pieces", [False, True])
def test_replaced_while_it_is_read(multi, pieces, tmp_path, monkeypatch):
    write, read, iterate = (
        (lambda base, dump, n: mx.write_multi_table(base, {"a": dump}, n), mx.read_multi_table, mx.iter_multi_table)
        if multi
        else (mx.write_table, mx.read_table, mx.iter_table)
    )
    write(tmp_path / "t", make([1, 2]), 2)
    monkeypatch.setattr(ShardSet, "__init__", replacing(tmp_path, lambda: write(tmp_path / "t", make([3, 4]), 2)))
    with pytest.raises(mx.TableError, match=r"t-00000-of-00002: the dump was replaced while it was read"):
        list(iterate(tmp_path / "t")) if pieces else read(tmp_path / "t")


def test_folder_in_the_way_leaves_the_old_dump(tmp_path):
    mx.write_table(tmp_path / "t", make([1, 2]), 2)
    os.unlink(tmp_path / "t-00001-of-00002")
    os.mkdir(tmp_path / "t-00001-of-00002")
    with pytest.raises(IsADirectoryError, match="t-00001-of-00002"):
        mx.write_table(tmp_path / "t", make([3]), 1)
    assert sorted(os.listdir(tmp_path)) == ["t-00000-of-00002", "t-00001-of-00002"]


def test_failed_rename_leaves_no_mixture(tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make([1, 2]), 2)
    rename = os.rename

    def fail(source, target):
        if "00001-of" in target:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        mx.write_table(tmp_path / "t", make([3, 4]), 2)
    assert files_of(tmp_path) == {}


def test_core_reports_a_failed_write():
    columns = _core.TableColumns(
        np.arange(100_000), np.zeros((100_000, 4), np.float32), np.zeros(100_000, np.int64), []
    )
    columns.plan(None, 0, 1)
    for compression in ("", "snappy"):
        with pytest.raises(OSError, match="/dev/full"):
            _core.write_table_files([b"/dev/full"], [columns], compression, 2)


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer needs files of its own")
@pytest.mark.parametrize("multi", [False, True])
def test_file_size_limit_leaves_the_old_dump(multi, tmp_path):
    # A write that really fails, in the middle of a file.
    code = """
        import resource, sys
        from pathlib import Path
        import mexport_pb as mx
        from tests.unit.test_table_files import files_of, make, random_ids
        folder, multi = Path(sys.argv[1]), sys.argv[2] == "True"
        def write(n):
            dump = make(random_ids(n), dim=16)
            if multi:
                mx.write_multi_table(folder / "t", {"a": dump}, 2)
            else:
                mx.write_table(folder / "t", dump, 2)
        write(10)
        before = files_of(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            write(50_000)
        except OSError as error:
            assert "File too large" in str(error) and "-tmp-" in error.filename, error
        else:
            raise AssertionError("no error")
        assert files_of(folder) == before
    """
    run = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(multi)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- order ---


@pytest.mark.parametrize(
    "ids",
    [
        # One slot and an outlier; few slots of dense ids; exponents; all digits alike but the lowest.
        [*range(1 << 20, (1 << 20) + 50_000), -1],
        [(slot << 48) + i for slot in (0, 5, 1 << 14) for i in range(20_000)],
        [sign + (1 << bit) + low for bit in range(8, 62) for low in range(200) for sign in (0, -(2**63))],
        range(-30_000, 30_000),
        [7 << 20 | i << 40 for i in range(40_000)],
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_of_any_distribution_are_sorted(ids, threads, tmp_path):
    ids = np.random.default_rng(5).permutation(np.array(list(ids), np.int64))
    mx.write_table(tmp_path / "t", make(ids, dim=1), 1, threads=threads)
    got = mx.read_table(tmp_path / "t")
    assert_same(got, make(ids, dim=1))
    dump = make(np.append(ids, ids[len(ids) // 2]), dim=1)
    with pytest.raises(mx.InvalidArgumentError, match=f"ids: got {ids[len(ids) // 2]} twice"):
        mx.write_table(tmp_path / "t", dump, 1, threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_sorted_ids_that_come_twice_where_parts_meet(threads, tmp_path):
    ids = np.arange(1 << 17)
    ids[1 << 16] -= 1
    with pytest.raises(mx.InvalidArgumentError, match="ids: got 65535 twice"):
        mx.write_table(tmp_path / "t", make(ids, dim=1), 1, threads=threads)


# --- arrays, threads, memory ---


def test_other_python_threads_run_meanwhile(tmp_path):
    dump = make(np.random.default_rng(0).permutation(300_000), dim=8)
    tables = {"a": dump}

    def ticks_while(work):
        """How often another thread got its turn in the longest time between two of them that `work` could fill."""
        stop, times = threading.Event(), []

        def tick():
            while not stop.is_set():
                times.append(time.perf_counter())
                time.sleep(0.0005)

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            start = time.perf_counter()
            for _ in range(3):
                work()
            end = time.perf_counter()
        finally:
            stop.set()
            thread.join()
        return sum(start < t < end for t in times), end - start

    for work in (
        lambda: mx.write_table(tmp_path / "t", dump, 1, threads=1),
        lambda: mx.read_table(tmp_path / "t", threads=1),
        lambda: list(mx.iter_table(tmp_path / "t", rows_per_chunk=300_000)),
        lambda: mx.write_multi_table(tmp_path / "m", tables, 1, threads=1),
        lambda: mx.read_multi_table(tmp_path / "m", threads=1),
        lambda: list(mx.iter_multi_table(tmp_path / "m", rows_per_chunk=300_000)),
    ):
        ticks, seconds = ticks_while(work)
        # With the GIL held there would be a turn or two at the border of each call.
        assert ticks > max(12, seconds * 50)


def test_arrays_are_borrowed_for_writing_and_given_for_reading(tmp_path):
    dump = make(range(1000))
    columns = to_columns(dump)
    dump.values[3] = 9  # seen by the writer: it has no copy
    columns.plan(None, 0, 1)
    _core.write_table_files([os.fsencode(tmp_path / "t-00000-of-00001")], [columns], None, 1)
    got = mx.read_table(tmp_path / "t")
    assert got.values[3].tolist() == [9, 9, 9]
    for array in (got.ids, got.values, got.timestamps, got.opt[0].columns["norm"]):
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not array.flags.owndata  # the core's memory, which the array keeps


@pytest.mark.parametrize("compression", [None, "snappy"])
@pytest.mark.parametrize("sizes", [(5, 70_000), (5, 2**62), (2**62, 5)])
def test_arrays_that_change_between_planning_and_writing(sizes, compression, tmp_path):
    # Entries that need more or fewer bytes than there was room made for are refused, not written somewhere else.
    dump = make(range(20_000), timestamps=[sizes[0]] * 20_000)
    columns = to_columns(dump)
    columns.plan(None, 0, 1)
    dump.timestamps[:] = sizes[1]
    with pytest.raises(mx.InvalidArgumentError, match="the arrays changed while they were written"):
        _core.write_table_files([os.fsencode(tmp_path / "t")], [columns], compression, 2)


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")
@pytest.mark.parametrize("multi", [False, True])
def test_memory_of_pieces_is_flat(multi, tmp_path):
    dump = make(random_ids(400_000), dim=48)
    size = dump.values.nbytes * 2
    if multi:
        mx.write_multi_table(tmp_path / "t", {"a": dump}, 2)
    else:
        mx.write_table(tmp_path / "t", dump, 2)
    code = """
        import sys
        import mexport_pb as mx
        from tests.support.memory import peak_rss
        multi = sys.argv[2] == "True"
        rows, before = 0, 0
        pieces = (mx.iter_multi_table if multi else mx.iter_table)(sys.argv[1], rows_per_chunk=1 << 14)
        for chunk in pieces:
            rows += len(chunk[1] if multi else chunk)
            before = before or peak_rss()  # with the first piece
        print(rows, peak_rss() - before)
    """
    run = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "t"), str(multi)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    rows, growth = map(int, done.stdout.split())
    assert rows == len(dump)
    # Of 25 pieces two may live at once, beside the blocks being read.
    assert growth < size / 4


# --- arguments ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([1, 1])}, "ids: got 1 twice"),
        ({"ids": np.array([1.0, 2.0])}, "ids: got float64 values, want int64"),
        ({"ids": np.array([[1, 2]])}, r"ids: got shape \(1, 2\), want \(2,\)"),
        ({"values": np.zeros(2, np.float32)}, "values: got 1 dimensions, want 2"),
        ({"values": np.zeros((3, 1), np.float32)}, r"values: got shape \(3, 1\), want \(2, 1\)"),
        ({"timestamps": np.zeros(3, np.int64)}, r"timestamps: got shape \(3,\), want \(2,\)"),
        ({"opt": (mx.OptimizerState("dc"),)}, "optimizer: got 'dc', want one of"),
        ({"opt": (mx.OptimizerState("ftrl", {"zero": np.zeros((2, 1))}),)}, "columns of ftrl: got"),
        (
            {"opt": (mx.OptimizerState("adagrad", {"norm": np.zeros((1, 1))}),)},
            r"adagrad's norm: got shape \(1, 1\), want \(2, 1\)",
        ),
        (
            {"opt": (mx.OptimizerState("adagrad", {"norm": np.zeros((2, 1))}),) * 2},
            "dimensions with an optimizer state: got 2, want at most 1",
        ),
    ],
)
def test_refuses_arrays_that_do_not_belong_together(change, message, tmp_path):
    good = {
        "ids": np.array([1, 2]),
        "values": np.zeros((2, 1), np.float32),
        "timestamps": np.zeros(2, np.int64),
    }
    with pytest.raises(mx.InvalidArgumentError, match=message):
        mx.write_table(tmp_path / "t", mx.TableDump(**{**good, **change}), 1)
    assert files_of(tmp_path) == {}


@pytest.mark.parametrize("shards", [0, -1, 100_000])
def test_refuses_shard_counts(shards, tmp_path):
    with pytest.raises(mx.InvalidArgumentError, match=f"num_shards: got {shards}, want 1 to 99999"):
        mx.write_table(tmp_path / "t", make([1]), shards)


def test_refuses_other_arguments(tmp_path):
    mx.write_table(tmp_path / "t", make([1]), 1)
    with pytest.raises(mx.InvalidArgumentError, match="threads: got 0, want at least 1"):
        mx.read_table(tmp_path / "t", threads=0)
    with pytest.raises(mx.InvalidArgumentError, match="rows_per_chunk: got 0, want at least 1"):
        mx.iter_table(tmp_path / "t", rows_per_chunk=0)
    with pytest.raises(mx.InvalidArgumentError, match="compression"):
        mx.read_table(tmp_path / "t", compression="lzma")
    with pytest.raises(mx.InvalidArgumentError, match="dump: got dict, want a TableDump"):
        mx.write_table(tmp_path / "t", {"ids": [1]})
    with pytest.raises(mx.InvalidArgumentError, match=r"wrong kind of message: got .*EntryDump, want"):
        mx.write_table(tmp_path / "t", make([1]), expire=EntryDump())
    with pytest.raises(mx.InvalidArgumentError, match=f"max_update_time: got {2**63}, want"):
        mx.write_table(tmp_path / "t", make([1]), expire=SlotExpireTimeConfig(), max_update_time=2**63)
    assert len(mx.read_table(tmp_path / "t")) == 1


def test_refuses_a_null_byte(tmp_path):
    for use in (mx.read_table, mx.iter_table, lambda base: mx.write_table(base, make([1]))):
        with pytest.raises(mx.InvalidArgumentError, match=r"basename: got .*null byte"):
            use(f"{tmp_path}/a\0b")


@pytest.mark.parametrize("base", ["", "dir/", ".", "dir/.."])
def test_refuses_names_of_folders(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    want = f"basename: got {base!r}, want the name of a dump"
    for write in (mx.write_table, lambda base, dump: mx.write_multi_table(base, {"a": dump})):
        with pytest.raises(mx.InvalidArgumentError, match=re.escape(want)):
            write(base, make([1]))
    for read in (mx.read_table, mx.iter_table, mx.read_multi_table, mx.iter_multi_table):
        with pytest.raises(mx.TableError, match=re.escape(want)):
            read(base)
    assert os.listdir(tmp_path) == []


def test_takes_unsigned_ids_and_arrays_that_are_not_contiguous(tmp_path):
    dump = mx.TableDump(
        np.array([2**64 - 1, 0], np.uint64), np.zeros((4, 6))[::2, ::2], np.zeros((2, 2), np.int64)[:, 0], ()
    )
    mx.write_table(tmp_path / "t", dump, 1)
    assert mx.read_table(tmp_path / "t").ids.tolist() == [0, -1]
    assert mx.read_table(tmp_path / "t").dim == 3
