"""Table dumps beside TensorFlow's record reader and writer."""

from __future__ import annotations

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.hash_table_pb2 import EntryDump, MultiHashTableMetadata

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


def make(n):
    rng = np.random.default_rng(n)
    values = rng.standard_normal((n, 5), np.float32)
    state = mx.OptimizerState("ftrl", {"zero": values + 1, "norm": values * 2})
    return mx.TableDump(rng.permutation(n).astype(np.int64) - n // 2, values, rng.integers(0, 2**31, n), (state,))


def records(path, compression):
    from tensorflow.python.lib.io._pywrap_record_io import RecordIterator

    return list(RecordIterator(str(path), compression))


def write_records(path, compression, serialized):
    from tensorflow.python.lib.io._pywrap_record_io import RecordWriter, RecordWriterOptions

    writer = RecordWriter(str(path), RecordWriterOptions(compression))
    for record in serialized:
        writer.write(record)
    writer.close()


def entries_of(dump):
    order = np.argsort(dump.ids.view(np.uint64))
    for i in order.tolist():
        entry = EntryDump(id=int(dump.ids[i]), num=dump.values[i].tolist(), last_update_ts_sec=int(dump.timestamps[i]))
        state = entry.opt.dump.add().ftrl
        state.zero.extend(dump.opt[0].columns["zero"][i].tolist())
        state.norm.extend(dump.opt[0].columns["norm"][i].tolist())
        yield entry.SerializeToString()


def test_tensorflow_reads_our_tables(tmp_path):
    dump = make(3000)
    mx.write_table(tmp_path / "t", dump, 3)
    got = [record for i in range(3) for record in records(tmp_path / f"t-{i:05d}-of-00003", "")]
    assert got == list(entries_of(dump))


def test_our_files_are_those_that_tensorflow_writes(tmp_path):
    dump = make(1000)
    mx.write_table(tmp_path / "t", dump, 1)
    write_records(tmp_path / "theirs", "", entries_of(dump))
    assert (tmp_path / "t-00000-of-00001").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_tensorflow_reads_our_multi_tables(tmp_path):
    tables = {"b": make(4000), "a": make(10)}
    mx.write_multi_table(tmp_path / "m", tables, 1)
    got = records(tmp_path / "m-00000-of-00001", "SNAPPY")
    assert got == [*entries_of(tables["a"]), *entries_of(tables["b"])]
    meta = [MultiHashTableMetadata.FromString(r) for r in records(tmp_path / "m.meta-00000-of-00001", "")]
    assert [(m.table_name, m.num_entries) for m in meta] == [("a", 10), ("b", 4000)]


def test_we_read_what_tensorflow_writes(tmp_path):
    dump = make(4000)
    serialized = list(entries_of(dump))
    write_records(tmp_path / "m-00000-of-00001", "SNAPPY", serialized)
    meta = MultiHashTableMetadata(table_name="a", num_entries=len(serialized)).SerializeToString()
    write_records(tmp_path / "m.meta-00000-of-00001", "", [meta])
    order = np.argsort(dump.ids.view(np.uint64))
    got = mx.read_multi_table(tmp_path / "m")["a"]
    np.testing.assert_array_equal(got.ids, dump.ids[order])
    np.testing.assert_array_equal(got.opt[0].columns["norm"], dump.opt[0].columns["norm"][order])
