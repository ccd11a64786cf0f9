"""Dumps of several tables in one set of files."""

from __future__ import annotations

import pytest

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
