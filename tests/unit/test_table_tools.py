"""Merging, splitting and partitioning dumps; finding them by what users say."""

import os
import resource
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import mexport_pb as mx
from mexport_pb.record import RecordReader, RecordWriter, write_records
from mexport_pb.table import sorting
from mexport_pb.table.info import iter_entries
from mexport_pb.table.layout import concatenate, take
from mexport_pb.table.shards import ShardSet
from tests.support.tables import assert_equal, files_of, make_table, random_ids
from tests.unit.test_table_files import replacing

NO_TSAN = pytest.mark.skipif(
    os.environ.get("MEXPORT_SANITIZED") == "tsan", reason="ThreadSanitizer does not know pyarrow's locks"
)


def write_unsorted(basename, dump, shards=2):
    """A dump as Monolith writes it: the entries in the order of a hash table."""
    mx.write_table(f"{basename}.sorted", dump, 1)
    with RecordReader(f"{basename}.sorted-00000-of-00001") as reader:
        records = list(reader)
    order = np.random.default_rng(0).permutation(len(records))
    for shard in range(shards):
        own = [records[i] for i in order[shard::shards].tolist()]
        write_records(f"{basename}-{shard:05d}-of-{shards:05d}", own)
    os.unlink(f"{basename}.sorted-00000-of-00001")


@pytest.fixture
def small_pieces(monkeypatch):
    """Every step happens several times."""
    monkeypatch.setattr(sorting, "_MAX_CHUNK_ROWS", 50)
    monkeypatch.setattr(sorting, "MEMORY", 20_000)
    monkeypatch.setattr(sorting, "_FAN_IN", 3)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("unsorted", [False, True])
def test_merge_is_what_a_write_of_all_gives(shards, unsorted, small_pieces, tmp_path):
    dump = make_table(random_ids(3000))
    write = write_unsorted if unsorted else mx.write_table
    for i in range(5):
        write(tmp_path / f"in_{i}", take(dump, slice(i, None, 5)), 2)
    assert mx.merge_tables([tmp_path / "in_*"], tmp_path / "a" / "t", num_shards=shards) == 3000
    mx.write_table(tmp_path / "b" / "t", dump, shards)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(files_of(tmp_path / "a"))


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(
    "use",
    [
        lambda base: list(mx.table_infos([base])),
        lambda base: list(iter_entries(base)),
        lambda base: mx.merge_tables([base], f"{base}.out"),
    ],
)
def test_replaced_while_it_is_read(use, multi, tmp_path, monkeypatch):
    def write(ids):
        if multi:
            mx.write_multi_table(tmp_path / "t", {"a": make_table(ids)}, 2)
        else:
            mx.write_table(tmp_path / "t", make_table(ids), 2)

    write([1, 2])
    monkeypatch.setattr(ShardSet, "__init__", replacing(tmp_path, lambda: write([3, 4])))
    with pytest.raises(mx.TableError, match=r"t-00000-of-00002: the dump was replaced while it was read"):
        use(tmp_path / "t")
    assert not list(tmp_path.glob("*.out*"))


@pytest.mark.parametrize("target", ["out", "out.npz"])
def test_full_disk_is_named(target, tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make_table(random_ids(10)), 1)
    before = files_of(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "sendfile", fail)
    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match=rf"No space left on device: '.*/{target}'"):
        mx.convert_table(tmp_path / "t", tmp_path / target)
    assert files_of(tmp_path) == before


def test_interrupt_as_soon_as_the_work_folder_is_there(tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make_table(random_ids(10)), 1)
    before = files_of(tmp_path)
    mkdir = os.mkdir

    def interrupted(*arguments, **options):
        mkdir(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mx.merge_tables([tmp_path / "t"], tmp_path / "out")
    assert os.listdir(tmp_path) == list(before)


@NO_TSAN
def test_merge_of_all_kinds_of_files(tmp_path):
    dump = make_table(random_ids(300))
    parts = [take(dump, slice(i, None, 4)) for i in range(4)]
    mx.write_table(tmp_path / "a", parts[0], 2)
    mx.write_multi_table(tmp_path / "b", {"x": parts[1]}, 2)
    for i, suffix in ((2, "npz"), (3, "parquet")):
        mx.write_table(tmp_path / "c", parts[i], 1)
        mx.convert_table(tmp_path / "c", tmp_path / f"{i}.{suffix}")
    sources = [tmp_path / "a", tmp_path / "b-00001-of-00002", tmp_path / "2.npz", tmp_path / "3.parquet"]
    assert mx.merge_tables(sources, tmp_path / "out", table="x") == 300
    assert_equal(mx.read_table(tmp_path / "out"), dump)


def conflicting():
    """Three tables: id 1 everywhere, 2 in the first two, equally new, others once."""
    return [
        make_table([2, 10, 1], seed=1, timestamps=[5, 1, 50]),
        make_table([1, 2, 11], seed=2, timestamps=[70, 5, 1]),
        make_table([12, 1], seed=3, timestamps=[1, 60]),
    ]


@pytest.mark.parametrize("unsorted", [False, True])
@pytest.mark.parametrize(("policy", "winners"), [("first", (0, 0)), ("last", (2, 1)), ("newest", (1, 1))])
def test_conflicts(policy, winners, unsorted, tmp_path):
    tables = conflicting()
    for i, table in enumerate(tables):
        (write_unsorted if unsorted else mx.write_table)(tmp_path / f"in_{i}", table, 1)
    sources = [tmp_path / f"in_{i}" for i in range(3)]
    assert mx.merge_tables(sources, tmp_path / "out", on_conflict=policy) == 5
    got = mx.read_table(tmp_path / "out")
    want = concatenate(
        [
            take(tables[winner], np.flatnonzero(tables[winner].ids == i))
            for i, winner in zip((1, 2), winners, strict=True)
        ]
        + [take(table, np.flatnonzero(table.ids >= 10)) for table in tables]
    )
    assert_equal(got, want)


def test_conflict_is_an_error_that_names_both(tmp_path):
    for i, table in enumerate(conflicting()):
        mx.write_table(tmp_path / f"in_{i}", table, 1)
    with pytest.raises(mx.TableError, match=r"in_1: id 1 comes here and in .*in_0$"):
        mx.merge_tables([tmp_path / "in_0", tmp_path / "in_1"], tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("policy", "winner"), [("first", 0), ("last", 2), ("newest", 1)])
def test_conflict_within_a_dump(policy, winner, tmp_path):
    tables = [take(table, np.flatnonzero(table.ids == 1)) for table in conflicting()]
    with RecordWriter(tmp_path / "t-00000-of-00001") as writer:
        for table in tables:
            mx.write_table(tmp_path / "x", table, 1)
            with RecordReader(tmp_path / "x-00000-of-00001") as reader:
                writer.write_many(reader)
    mx.merge_tables([tmp_path / "t"], tmp_path / "out", on_conflict=policy)
    assert_equal(mx.read_table(tmp_path / "out"), tables[winner])
    with pytest.raises(mx.TableError, match="t: id 1 comes twice"):
        mx.merge_tables([tmp_path / "t"], tmp_path / "v")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tables=st.lists(st.lists(st.integers(-20, 20), unique=True, max_size=25), min_size=1, max_size=5),
    policy=st.sampled_from(["first", "last", "newest"]),
    unsorted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_merge_is_that_of_a_dict(tables, policy, unsorted, seed, tmp_path):
    rng = np.random.default_rng(seed)
    want = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_MAX_CHUNK_ROWS", 4)
        patch.setattr(sorting, "MEMORY", 400)
        patch.setattr(sorting, "_FAN_IN", 2)
        for i, ids in enumerate(tables):
            times = rng.integers(0, 3, len(ids)).tolist()
            dump = make_table(ids, 1, ("sgd",), seed=seed + i, timestamps=times)
            (write_unsorted if unsorted else mx.write_table)(tmp_path / f"in_{i}", dump, 2)
            for row, (number, time) in enumerate(zip(ids, times, strict=True)):
                entry = (time, dump.values[row].tobytes())
                replaces = {"first": False, "last": True, "newest": number in want and time >= want[number][0]}[policy]
                if number not in want or replaces:
                    want[number] = entry
        sources = [tmp_path / f"in_{i}" for i in range(len(tables))]
        mx.merge_tables(sources, tmp_path / "out", on_conflict=policy, force=True)
    got = mx.read_table(tmp_path / "out")
    assert got.ids.tolist() == sorted(want, key=lambda i: i % 2**64)
    rows = zip(got.ids.tolist(), got.timestamps.tolist(), got.values, strict=True)
    assert {number: (time, value.tobytes()) for number, time, value in rows} == want


def test_layouts_must_agree(tmp_path):
    mx.write_table(tmp_path / "a", make_table([1], 4, ("adagrad",)), 1)
    mx.write_table(tmp_path / "b", make_table([2], 3, ("adagrad",)), 1)
    mx.write_table(tmp_path / "c", make_table([3], 4, ("sgd",)), 1)
    mx.write_table(tmp_path / "empty", make_table([]), 1)
    with pytest.raises(mx.TableError, match=r"b: layout .* got dim 3, adagrad norm \[2\], want that of .*a: dim 4"):
        mx.merge_tables([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(mx.TableError, match=r"c: layout .* got dim 4, sgd, want"):
        mx.merge_tables([tmp_path / "a", tmp_path / "c"], tmp_path / "out")
    assert mx.merge_tables([tmp_path / "empty", tmp_path / "a"], tmp_path / "out") == 1


@NO_TSAN
def test_layouts_within_a_dump_must_agree(tmp_path):
    for i, dim in enumerate((4, 3)):
        mx.write_table(tmp_path / "x", make_table([i], dim, ("sgd",)), 1)
        os.rename(tmp_path / "x-00000-of-00001", tmp_path / f"t-{i:05d}-of-00002")
    for call in (
        lambda: mx.merge_tables([tmp_path / "t"], tmp_path / "out"),
        lambda: mx.convert_table(tmp_path / "t", tmp_path / "out.npz"),
        lambda: mx.convert_table(tmp_path / "t", tmp_path / "out.parquet"),
        lambda: list(mx.table_infos([tmp_path / "t"])),
    ):
        with pytest.raises(mx.TableError, match="got dim 3, sgd, want that of the first entry: dim 4"):
            call()
    assert not list(tmp_path.glob("out*"))


def test_several_tables_merge_by_name(tmp_path):
    x, y, z = (make_table(random_ids(100, seed=i), dim=2 * i + 4, seed=i) for i in range(3))
    mx.write_multi_table(tmp_path / "a", {"x": take(x, slice(0, 50)), "y": y}, 2)
    mx.write_multi_table(tmp_path / "b", {"x": take(x, slice(50, None)), "z": z}, 3)
    assert mx.merge_tables([tmp_path / "a", tmp_path / "b"], tmp_path / "c" / "m", num_shards=2) == 300
    mx.write_multi_table(tmp_path / "d" / "m", {"x": x, "y": y, "z": z}, 2)
    assert files_of(tmp_path / "c") == files_of(tmp_path / "d")
    mx.write_table(tmp_path / "e", x, 1)
    with pytest.raises(mx.InvalidArgumentError, match="is of one table, and others are of several"):
        mx.merge_tables([tmp_path / "a", tmp_path / "e"], tmp_path / "f")
    with pytest.raises(mx.InvalidArgumentError, match="no table 'q'; there are: x, y"):
        mx.merge_tables([tmp_path / "a"], tmp_path / "f", table="q")
    with pytest.raises(mx.InvalidArgumentError, match="a dump of several tables, which one table does not replace"):
        mx.convert_table(tmp_path / "e", tmp_path / "a", force=True)
    with pytest.raises(mx.InvalidArgumentError, match="has several tables, name one: x, y"):
        mx.convert_table(tmp_path / "a", tmp_path / "f.npz")


@pytest.mark.parametrize("n", [1, 4, 7])
def test_split(n, tmp_path):
    dump = make_table(random_ids(1000))
    mx.write_table(tmp_path / "t", dump, 3)
    assert mx.split_table(tmp_path / "t", tmp_path / "a" / "t", n) == 1000
    mx.write_table(tmp_path / "b" / "t", dump, n)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    with pytest.raises(mx.InvalidArgumentError, match="num_shards"):
        mx.split_table(tmp_path / "t", tmp_path / "c" / "t", 0)


def test_partition_to_many_within_the_limit_of_open_files(tmp_path):
    dump = make_table(random_ids(2000), 1, ("sgd",))
    mx.write_table(tmp_path / "t", dump, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, hard))
    try:
        assert sum(mx.partition_table(tmp_path / "t", tmp_path / "p", 512)) == 2000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    parts = [mx.read_table(tmp_path / f"p_{i}") for i in range(512)]
    assert_equal(concatenate([part for part in parts if len(part)]), dump)


def test_many_tables_within_the_limit_of_open_files(tmp_path):
    tables = {f"t{i}": make_table([i], 1, ("sgd",)) for i in range(200)}
    mx.write_multi_table(tmp_path / "t", tables, 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        assert mx.split_table(tmp_path / "t", tmp_path / "a" / "t", 3) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    mx.write_multi_table(tmp_path / "b" / "t", tables, 3)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_split_in_place(tmp_path):
    dump = make_table(random_ids(100))
    mx.write_table(tmp_path / "t", dump, 3)
    with pytest.raises(mx.InvalidArgumentError, match="is there already"):
        mx.split_table(tmp_path / "t", tmp_path / "t", 2)
    assert mx.split_table(tmp_path / "t", tmp_path / "t", 2, force=True) == 100
    assert sorted(files_of(tmp_path)) == ["t-00000-of-00002", "t-00001-of-00002"]
    assert_equal(mx.read_table(tmp_path / "t"), dump)


def test_split_of_several_tables(tmp_path):
    tables = {"x": make_table(random_ids(100)), "y": make_table([1], 2, ("sgd",)), "z": make_table([])}
    mx.write_multi_table(tmp_path / "t", tables, 3)
    assert mx.split_table(tmp_path / "t", tmp_path / "a" / "t", 2) == 101
    mx.write_multi_table(tmp_path / "b" / "t", tables, 2)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert mx.split_table(tmp_path / "t", tmp_path / "c" / "t", 2, table="x") == 100
    assert_equal(mx.read_table(tmp_path / "c" / "t"), tables["x"])


@pytest.mark.parametrize("n", [1, 3, 5, 8])
def test_partition_is_by_unsigned_remainder(n, tmp_path):
    ids = np.concatenate([random_ids(200), np.array([0, 1, -1, 2**63 - 1, -(2**63)])])
    dump = make_table(ids)
    mx.write_table(tmp_path / "t", dump, 2)
    counts = mx.partition_table(tmp_path / "t", tmp_path / "p", n, num_shards=2)
    got = [mx.read_table(tmp_path / f"p_{i}") for i in range(n)]
    assert counts == [len(table) for table in got]
    for i, table in enumerate(got):
        assert {int(x) % 2**64 % n for x in table.ids} <= {i}
    assert_equal(concatenate(got), dump)
    # The signed remainder, which Monolith's Python side takes, is another one unless n is a power of two.
    same = all(int(x) % n == i for i, table in enumerate(got) for x in table.ids)
    assert same == (n in (1, 8))
    with pytest.raises(mx.InvalidArgumentError, match="p_0-00000-of-00002: is there already"):
        mx.partition_table(tmp_path / "t", tmp_path / "p", n)
    with pytest.raises(mx.InvalidArgumentError, match="num_tables: got 0"):
        mx.partition_table(tmp_path / "t", tmp_path / "q", 0)


def test_target_that_is_no_dump(tmp_path):
    mx.write_table(tmp_path / "t", make_table([1]), 1)
    for target in (tmp_path / "x.npz", tmp_path, f"{tmp_path}/", ""):
        with pytest.raises(mx.InvalidArgumentError, match="target"):
            mx.merge_tables([tmp_path / "t"], target)
    with pytest.raises(mx.InvalidArgumentError, match="num_shards"):
        mx.convert_table(tmp_path / "t", tmp_path / "x.npz", num_shards=2)
    with pytest.raises(mx.InvalidArgumentError, match="on_conflict: got 'oldest'"):
        mx.merge_tables([tmp_path / "t"], tmp_path / "x", on_conflict="oldest")
    with pytest.raises(mx.InvalidArgumentError, match="sources: got none"):
        mx.merge_tables([], tmp_path / "x")


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def found(*names, **options):
    return [os.path.basename(files.name) for files in mx.find_tables(names, **options)]


def test_names(tmp_path):
    touch(tmp_path, "t-00000-of-00002", "t-00001-of-00002", "t-00000-of-00002-tmp-17", "t.npz", "u.parquet", "readme")
    touch(tmp_path, "ta-00000-of-00001", "m-00000-of-00001", "m.meta-00000-of-00001", "x[1]-00000-of-00001")
    assert found(tmp_path / "t") == ["t"]
    assert found(tmp_path / "t-00001-of-00002") == ["t"]
    assert found(tmp_path / "t.npz") == ["t.npz"]
    assert found(tmp_path / "m.meta-00000-of-00001") == found(tmp_path / "m.meta") == found(tmp_path / "m") == ["m"]
    assert found(tmp_path / "t*") == ["t", "t.npz", "ta"]
    assert found(tmp_path / "t-*") == ["t"]
    assert found(tmp_path / "m.meta-*") == ["m"]
    assert found(tmp_path.parent / f"{tmp_path.name[:-1]}?" / "u*") == ["u.parquet"]
    assert found(tmp_path / "x[1]") == ["x[1]"]
    assert found(tmp_path / "t", tmp_path / "ta", f"{tmp_path}/./t") == ["t", "ta"]
    assert found(tmp_path) == ["m", "t", "t.npz", "ta", "u.parquet", "x[1]"]
    (files,) = mx.find_tables([tmp_path / "m"])
    assert [os.path.basename(x) for x in (*files.paths, *files.metas)] == ["m-00000-of-00001", "m.meta-00000-of-00001"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("q", "q: no table dump of this name; there are in .*: feed_0, other$"),
        ("feed_9", "there are in .*: feed_0, other$"),
        ("feed_0-00001-of-00001", "no table dump of this name"),
        ("z*", "no table dump matches; there are in .*: feed_0, other$"),
        ("nowhere/x", "there is no folder .*nowhere"),
        ("empty/x", "there are none in .*empty"),
        ("empty", "no table dump in this folder"),
        ("nowhere/x*", "there is no folder"),
        (".", "several table dumps in this folder, name one: .*feed_0, .*other"),
        ("lost.npz", "no table dump of this name"),
        ("nul\0l", "no table dump of this name"),
    ],
)
def test_names_of_nothing(name, message, tmp_path):
    touch(tmp_path, "feed_0-00000-of-00001", "other-00000-of-00001")
    touch(tmp_path / "empty")
    with pytest.raises(mx.TableError, match=message):
        mx.find_tables([tmp_path / name], folders=False)


def test_folder_of_one_dump(tmp_path):
    touch(tmp_path, "t-00000-of-00001", "t.meta-00000-of-00001")
    assert found(tmp_path, folders=False) == ["t"]


def test_incomplete_sets(tmp_path):
    touch(tmp_path, "t-00000-of-00002", "m-00000-of-00001", "m.meta-00000-of-00002", "m.meta-00001-of-00002")
    with pytest.raises(mx.TableError, match="shard 1 doesn't show up"):
        mx.find_tables([tmp_path / "t"])
    with pytest.raises(mx.TableError, match="doesn't match nshards: got 2, want 1"):
        mx.find_tables([tmp_path / "m"])
