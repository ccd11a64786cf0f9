"""The tools for table dumps on files that TensorFlow and the protobuf runtime wrote, in the order of a hash table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mexport_pb._proto.hash_table_pb2 import EntryDump, MultiHashTableMetadata
from mexport_pb.cli import main

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

ENTRIES = 500
SHARDS = 3


def write_records(path, records, compression=""):
    # The public writer has no snappy.
    from tensorflow.python.lib.io._pywrap_record_io import RecordWriter, RecordWriterOptions

    writer = RecordWriter(str(path), RecordWriterOptions(compression))
    for record in records:
        writer.write(record)
    writer.close()


def entries():
    rng = np.random.default_rng(0)
    for number in rng.permutation(np.unique(rng.integers(-(2**63), 2**63 - 1, ENTRIES))).tolist():
        entry = EntryDump(id=number, num=rng.standard_normal(5).tolist(), last_update_ts_sec=number & 0xFFFF)
        state = entry.opt.dump.add().adam
        state.m.extend(rng.standard_normal(2).tolist())
        state.v.extend(rng.standard_normal(2).tolist())
        state.beta1_power, state.beta2_power = rng.standard_normal(2).tolist()
        entry.opt.dump.add().sgd.SetInParent()
        entry.opt.dump.add().batch_softmax.global_step = number
        yield entry


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dump")
    serialized = [entry.SerializeToString() for entry in entries()]
    for shard in range(SHARDS):
        write_records(folder / f"t-{shard:05d}-of-{SHARDS:05d}", serialized[shard::SHARDS])
    return folder


def records_of(path, compression=""):
    from tensorflow.python.lib.io._pywrap_record_io import RecordIterator

    return list(RecordIterator(str(path), compression))


def canonical():
    return [e.SerializeToString() for e in sorted(entries(), key=lambda e: e.id % 2**64)]


@pytest.mark.parametrize("suffix", ["", ".npz", ".parquet"])
def test_convert_there_and_back(suffix, dump, tmp_path):
    middle = tmp_path / f"m{suffix}"
    assert main(["table", "convert", str(dump / "t"), str(middle)]) == 0
    assert main(["table", "convert", str(middle), str(tmp_path / "back"), "--shards", "1"]) == 0
    assert records_of(tmp_path / "back-00000-of-00001") == canonical()


def test_split_and_merge(dump, tmp_path):
    assert main(["table", "split", str(dump / "t"), "-o", str(tmp_path / "p"), "-n", "5", "--by", "mod"]) == 0
    for i in range(5):
        got = [EntryDump.FromString(record) for record in records_of(tmp_path / f"p_{i}-00000-of-00001")]
        assert got == [e for e in sorted(entries(), key=lambda e: e.id % 2**64) if e.id % 2**64 % 5 == i]
    assert main(["table", "merge", str(tmp_path / "p_*"), "-o", str(tmp_path / "all")]) == 0
    assert records_of(tmp_path / "all-00000-of-00001") == canonical()


def test_info(dump, capsys):
    assert main(["table", "info", str(dump / "t"), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    ids = [entry.id for entry in entries()]
    times = [entry.last_update_ts_sec for entry in entries()]
    assert (info["rows"], info["dim"], info["is_sorted"], info["duplicates"]) == (ENTRIES, 5, False, 0)
    assert (info["min_id"], info["max_id"], info["oldest"], info["newest"]) == (
        min(ids),
        max(ids),
        min(times),
        max(times),
    )
    assert [segment["optimizer"] for segment in info["segments"]] == ["adam", "sgd", "batch_softmax"]
    assert sum(info["slots"].values()) == ENTRIES
    assert info["slots"][str(ids[0] >> 48 & 0x7FFF)] >= 1


def test_several_tables(tmp_path, capsys):
    everything = list(entries())
    for shard in range(2):
        parts = {"x": everything[shard:100:2], "y": everything[100 + shard :: 2]}
        write_records(
            tmp_path / f"m-{shard:05d}-of-00002",
            [e.SerializeToString() for part in parts.values() for e in part],
            "SNAPPY",
        )
        write_records(
            tmp_path / f"m.meta-{shard:05d}-of-00002",
            [
                MultiHashTableMetadata(table_name=name, num_entries=len(part)).SerializeToString()
                for name, part in parts.items()
            ],
        )
    assert main(["table", "info", str(tmp_path / "m"), "--json"]) == 0
    infos = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(info["table"], info["rows"], info["compression"]) for info in infos] == [
        ("x", 100, "snappy"),
        ("y", ENTRIES - 100, "snappy"),
    ]
    assert main(["table", "merge", str(tmp_path / "m"), "-o", str(tmp_path / "sorted"), "--shards", "1"]) == 0
    got = [EntryDump.FromString(record) for record in records_of(tmp_path / "sorted-00000-of-00001", "SNAPPY")]
    want = [sorted(part, key=lambda e: e.id % 2**64) for part in (everything[:100], everything[100:])]
    assert got == want[0] + want[1]
    metas = [MultiHashTableMetadata.FromString(r) for r in records_of(tmp_path / "sorted.meta-00000-of-00001")]
    assert [(meta.table_name, meta.num_entries) for meta in metas] == [("x", 100), ("y", ENTRIES - 100)]
