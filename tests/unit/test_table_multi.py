"""Dumps of several tables in one set of files."""

from __future__ import annotations

import numpy as np
import pytest
from cramjam import snappy as cramjam_snappy

import mexport_pb as mx
from mexport_pb._proto.hash_table_pb2 import MultiHashTableMetadata, SlotExpireTimeConfig
from mexport_pb.record import RecordReader, RecordWriter, write_records
from tests.unit.test_table_files import assert_same, files_of, make, random_ids


def meta_of(path):
    with RecordReader(path) as reader:
        messages = [MultiHashTableMetadata.FromString(record) for record in reader]
    return [(message.table_name, message.num_entries) for message in messages]


def write_meta(path, parts):
    write_records(path, [MultiHashTableMetadata(table_name=n, num_entries=k).SerializeToString() for n, k in parts])


@pytest.mark.parametrize("shards", [1, 3])
def test_round_trip(shards, tmp_path):
    tables = {
        "slot_b": make(random_ids(3000), dim=4),
        "slot_a": make(random_ids(70, 1), dim=9, opt=False),
        "slot_c": make([]),
    }
    written = mx.write_multi_table(tmp_path / "m", tables, shards)
    assert written == {name: len(dump) for name, dump in tables.items()}
    names = [f"m{part}-{i:05d}-of-{shards:05d}" for part in ("", ".meta") for i in range(shards)]
    assert sorted(files_of(tmp_path)) == sorted(names)
    got = mx.read_multi_table(tmp_path / "m")
    assert list(got) == ["slot_a", "slot_b", "slot_c"]
    for name in ("slot_a", "slot_b"):
        assert_same(got[name], tables[name])
    assert len(got["slot_c"]) == 0


def test_meta_files_count_each_table_in_each_shard(tmp_path):
    mx.write_multi_table(tmp_path / "m", {"b": make(range(5)), "a": make(range(3)), "c": make([])}, 2)
    assert meta_of(tmp_path / "m.meta-00000-of-00002") == [("a", 2), ("b", 3), ("c", 0)]
    assert meta_of(tmp_path / "m.meta-00001-of-00002") == [("a", 1), ("b", 2), ("c", 0)]
    with RecordReader(tmp_path / "m-00000-of-00002", "snappy") as reader:
        assert sum(1 for _ in reader) == 5


def test_shard_count_goes_by_all_tables(tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make([1])})
    assert sorted(files_of(tmp_path)) == ["m-00000-of-00001", "m.meta-00000-of-00001"]


def test_no_tables(tmp_path):
    assert mx.write_multi_table(tmp_path / "m", {}) == {}
    assert set(files_of(tmp_path).values()) == {b""}
    assert mx.read_multi_table(tmp_path / "m") == {}


def test_one_expiry_for_all_tables_by_each_ones_newest_time(tmp_path):
    tables = {"a": make([1, 2], timestamps=[0, 86400]), "b": make([1, 2], timestamps=[0, 86399])}
    config = SlotExpireTimeConfig(default_expire_time=1)
    assert mx.write_multi_table(tmp_path / "m", tables, expire=config) == {"a": 1, "b": 2}
    assert mx.write_multi_table(tmp_path / "m", tables, expire=config, max_update_time=86400) == {"a": 1, "b": 1}


def test_expiry_by_a_time_of_each_table(tmp_path):
    tables = {name: make([1, 2], timestamps=[0, 86400]) for name in "abc"}
    config = SlotExpireTimeConfig(default_expire_time=1)
    times = {"a": 86399, "b": 2 * 86400}
    written = mx.write_multi_table(tmp_path / "m", tables, expire=config, max_update_time=times)
    assert written == {"a": 2, "b": 0, "c": 1}
    with pytest.raises(mx.InvalidArgumentError, match="max_update_time: got a time of 'd', want names of tables"):
        mx.write_multi_table(tmp_path / "m", tables, expire=config, max_update_time={"d": 1})
    with pytest.raises(mx.InvalidArgumentError, match=r"max_update_time: got 1\.5, want seconds in 64 bits"):
        mx.write_multi_table(tmp_path / "m", tables, expire=config, max_update_time={"a": 1.5})
    assert set(mx.read_multi_table(tmp_path / "m")) == {"a", "b", "c"}


def test_same_tables_give_the_same_bytes(tmp_path):
    tables = {"a": make(random_ids(5000)), "b": make(random_ids(5000, 1))}
    mx.write_multi_table(tmp_path / "x" / "m", tables, 3)
    mx.write_multi_table(tmp_path / "y" / "m", dict(reversed(tables.items())), 3)
    assert files_of(tmp_path / "x") == files_of(tmp_path / "y")


def test_tables_may_be_in_some_files_only(tmp_path):
    for i, (name, ids) in enumerate([("b", [1]), ("a", [2, 3])]):
        mx.write_multi_table(tmp_path / "m", {name: make(ids)}, 1)
        (tmp_path / "m-00000-of-00001").rename(tmp_path / f"t-{i:05d}-of-00002")
        (tmp_path / "m.meta-00000-of-00001").rename(tmp_path / f"t.meta-{i:05d}-of-00002")
    got = mx.read_multi_table(tmp_path / "t")
    assert {name: dump.ids.tolist() for name, dump in got.items()} == {"b": [1], "a": [2, 3]}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("a", 2)], "entries: got more than the 2 of the meta file"),
        ([("a", 3), ("b", 2**64 - 1)], "entries: got 3, want 18446744073709551615 more by the meta file"),
        ([("a", 1), ("b", 3)], "entries: got 3, want 1 more"),
    ],
)
def test_refuses_counts_that_the_data_does_not_have(parts, message, tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make([1, 2, 3])}, 1)
    write_meta(tmp_path / "m.meta-00000-of-00001", parts)
    with pytest.raises(mx.TableError, match=message):
        mx.read_multi_table(tmp_path / "m")


@pytest.mark.parametrize("record", [b"\x0a\x05ab", b"\x0a\x01\xff", b"\x08"])
def test_refuses_meta_records_that_are_none(record, tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make([1])}, 1)
    with RecordWriter(tmp_path / "m.meta-00000-of-00001") as writer:
        writer.write(record)
    with pytest.raises(mx.TableError, match=r"meta-00000-of-00001: offset 0: (not a Multi|table name: got)"):
        mx.read_multi_table(tmp_path / "m")


def test_refuses_sets_that_differ(tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make([1])}, 2)
    (tmp_path / "m.meta-00001-of-00002").unlink()
    with pytest.raises(mx.TableError, match=r"m\.meta: shard 1 doesn't show up"):
        mx.read_multi_table(tmp_path / "m")
    (tmp_path / "m.meta-00000-of-00002").rename(tmp_path / "m.meta-00000-of-00001")
    with pytest.raises(mx.TableError, match="doesn't match nshards: got 1, want 2"):
        mx.read_multi_table(tmp_path / "m")


def test_refuses_names_that_are_no_text(tmp_path):
    with pytest.raises(mx.InvalidArgumentError, match="table name"):
        mx.write_multi_table(tmp_path / "m", {"\udcff": make([1])})


def test_damaged_block(tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make(range(100))}, 1)
    path = tmp_path / "m-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(mx.RecordError, match="m-00000-of-00001"):
        mx.read_multi_table(tmp_path / "m")


# --- many blocks, many threads ---


def big_tables():
    # Shards of many blocks each, several tables in one block; entries of two sizes, so that nothing is where it seems.
    tables = {"wide": make(random_ids(12_000), dim=16), "none": make([]), "narrow": make(random_ids(9_000, 1), dim=1)}
    tables["wide"].timestamps[::3] = 7
    tables["wide"].values[:] = np.random.default_rng(0).standard_normal(tables["wide"].values.shape)
    return tables


@pytest.mark.parametrize("shards", [1, 5])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_read_the_same(shards, threads, tmp_path):
    tables = big_tables()
    mx.write_multi_table(tmp_path / "m", tables, shards, threads=threads)
    mx.write_multi_table(tmp_path / "one" / "m", tables, shards, threads=1)
    one = files_of(tmp_path / "one")
    assert {name: (tmp_path / name).read_bytes() for name in one} == one
    assert all((tmp_path / f"m-{i:05d}-of-{shards:05d}").stat().st_size > 5 << 16 for i in range(shards))
    got = mx.read_multi_table(tmp_path / "m", threads=threads)
    for name in ("wide", "narrow"):
        assert_same(got[name], tables[name])
    assert len(got["none"]) == 0


def test_blocks_are_those_of_the_record_writer(tmp_path):
    tables = big_tables()
    mx.write_multi_table(tmp_path / "m", tables, 1)
    with RecordReader(tmp_path / "m-00000-of-00001", "snappy") as reader:
        write_records(tmp_path / "r", reader, compression="snappy")
    assert (tmp_path / "m-00000-of-00001").read_bytes() == (tmp_path / "r").read_bytes()


@pytest.mark.parametrize("dim", [13_000, 52_000, 60_000])
def test_entries_of_many_blocks(dim, tmp_path):
    # An entry of 52,000 floats is just smaller than a block, one of 60,000 has more than one.
    tables = {"a": make(range(5), dim=dim, opt=False), "b": make(range(3), dim=1)}
    mx.write_multi_table(tmp_path / "m", tables, 1, threads=2)
    got = mx.read_multi_table(tmp_path / "m", threads=2)
    for name, dump in tables.items():
        assert_same(got[name], dump)
    with RecordReader(tmp_path / "m-00000-of-00001", "snappy") as reader:
        write_records(tmp_path / "r", reader, compression="snappy")
    assert (tmp_path / "m-00000-of-00001").read_bytes() == (tmp_path / "r").read_bytes()


def plain_of(path):
    data, plain = path.read_bytes(), b""
    while data:
        size = int.from_bytes(data[:4])
        plain, data = plain + cramjam_snappy.decompress_raw(data[4 : 4 + size]).read(), data[4 + size :]
    return plain


def store_blocks(path, plain, size=1 << 18):
    blocks = [cramjam_snappy.compress_raw(plain[i : i + size]).read() for i in range(0, len(plain), size)]
    path.write_bytes(b"".join(len(block).to_bytes(4) + block for block in blocks))


def test_blocks_that_others_cut(tmp_path):
    tables = big_tables()
    mx.write_multi_table(tmp_path / "m", tables, 1)
    path = tmp_path / "m-00000-of-00001"
    plain = plain_of(path)
    for size in (777, 5000, 100_001, 1 << 18, 1 << 20):
        store_blocks(path, plain, size)
        got = mx.read_multi_table(tmp_path / "m", threads=2)
        for name in ("wide", "narrow"):
            assert_same(got[name], tables[name])


@pytest.mark.parametrize(
    ("at", "error"), [(0, mx.RecordLengthCrcError), (20, mx.RecordDataCrcError), (-1, mx.RecordDataCrcError)]
)
def test_damage_in_the_middle_has_its_place(at, error, tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make(random_ids(20_000), dim=9)}, 1)
    path = tmp_path / "m-00000-of-00001"
    plain = bytearray(plain_of(path))
    frame = 16 + int.from_bytes(plain[:8], "little")
    plain[12_345 * frame + at % frame] ^= 1
    store_blocks(path, plain)
    for threads in (1, 2):
        with pytest.raises(error) as caught:
            mx.read_multi_table(tmp_path / "m", threads=threads)
        assert (caught.value.path, caught.value.offset) == (str(path), 12_345 * frame)
    with pytest.raises(error) as caught:
        for _ in mx.iter_multi_table(tmp_path / "m", rows_per_chunk=1000):
            pass
    assert caught.value.offset == 12_345 * frame


def test_layouts_of_two_files_must_agree(tmp_path):
    for i in range(2):
        mx.write_multi_table(tmp_path / "m", {"a": make(random_ids(5000, i), dim=4 + i)}, 1)
        (tmp_path / "m-00000-of-00001").rename(tmp_path / f"t-{i:05d}-of-00002")
        (tmp_path / "m.meta-00000-of-00001").rename(tmp_path / f"t.meta-{i:05d}-of-00002")
    with pytest.raises(mx.TableError, match=r"t-00001-of-00002: offset 0: the layout of the entries is not that of"):
        mx.read_multi_table(tmp_path / "t", threads=2)


@pytest.mark.parametrize("size", [1, 4, 5, 300])
def test_every_kind_of_truncation(size, tmp_path):
    mx.write_multi_table(tmp_path / "m", big_tables(), 1)
    path = tmp_path / "m-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-size])
    with pytest.raises(mx.RecordTruncatedError, match="m-00000-of-00001"):
        mx.read_multi_table(tmp_path / "m", threads=2)


# --- in pieces ---


@pytest.mark.parametrize("shards", [1, 3])
def test_pieces(shards, tmp_path):
    tables = big_tables()
    mx.write_multi_table(tmp_path / "m", tables, shards)
    parts = {name: [] for name in tables}
    for name, chunk in mx.iter_multi_table(tmp_path / "m", rows_per_chunk=1000):
        assert 0 < len(chunk) <= 1000
        parts[name].append(chunk)
    assert parts.pop("none") == []
    for name, chunks in parts.items():
        order = np.argsort(tables[name].ids.view(np.uint64))
        np.testing.assert_array_equal(np.concatenate([c.ids for c in chunks]), tables[name].ids[order])
        np.testing.assert_array_equal(np.concatenate([c.values for c in chunks]), tables[name].values[order])
        # Full, but for the end of a shard.
        assert sum(len(chunk) < 1000 for chunk in chunks) <= shards


@pytest.mark.parametrize(("entries", "message"), [(2, "got more than the 2"), (4, "got 3, want 1 more")])
def test_pieces_that_the_meta_file_does_not_count(entries, message, tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make([1, 2, 3])}, 1)
    write_meta(tmp_path / "m.meta-00000-of-00001", [("a", entries)])
    with pytest.raises(mx.TableError, match=message):
        list(mx.iter_multi_table(tmp_path / "m"))


def test_pieces_without_rows(tmp_path):
    mx.write_multi_table(tmp_path / "m", {"a": make([])}, 1)
    assert list(mx.iter_multi_table(tmp_path / "m")) == []
    with pytest.raises(mx.InvalidArgumentError, match="rows_per_chunk: got 0, want at least 1"):
        mx.iter_multi_table(tmp_path / "m", rows_per_chunk=0)
