import itertools
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.record import RecordBatch, RecordReader, read_records, write_records
from tests.support.records import (
    COMPRESSIONS,
    EXAMPLE,
    EXAMPLE_RECORDS,
    compress,
    drain,
    encode,
    reader,
    some_records,
    starts,
)

RECORDS = [b"", b"hello", *some_records(6, 60), b"", b"x" * 300]
STREAM = encode(RECORDS)


@pytest.fixture(params=COMPRESSIONS, ids=lambda c: c or "none")
def compression(request):
    return request.param


@pytest.fixture
def path(tmp_path, compression):
    file = tmp_path / "records"
    file.write_bytes(compress(STREAM, compression))
    return file


def test_worked_example(tmp_path):
    (tmp_path / "example").write_bytes(EXAMPLE)
    assert list(read_records(tmp_path / "example")) == EXAMPLE_RECORDS


# The input, cut at every offset.


@pytest.mark.parametrize("knows_size", [True, False])
def test_input_that_comes_in_two_pieces(compression, knows_size):
    file = compress(STREAM, compression)
    for cut in range(1, len(file)):
        assert drain(reader(file, compression, [cut], knows_size)) == (RECORDS, None), cut


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 11, 12, 13, 16, 17])
def test_input_that_comes_in_many_pieces(compression, piece):
    file = compress(STREAM, compression)
    assert drain(reader(file, compression, [piece] * len(file))) == (RECORDS, None)
    data, offsets = reader(file, compression, [piece] * len(file)).read_batch(1000, 1 << 20)
    assert list(RecordBatch(data, offsets)) == RECORDS


def test_input_that_comes_in_random_pieces(compression):
    rng = random.Random(5)
    file = compress(STREAM, compression)
    for _ in range(200):
        pieces = [rng.choice([1, 2, 4, 8, 12, 40]) for _ in range(len(file))]
        assert drain(reader(file, compression, pieces)) == (RECORDS, None)


@settings(deadline=None, max_examples=200)
@given(
    records=st.lists(st.binary(max_size=200), max_size=8),
    compression=st.sampled_from(COMPRESSIONS),
    pieces=st.lists(st.integers(1, 50), max_size=50),
    max_records=st.integers(1, 10),
    max_bytes=st.integers(1, 500),
)
def test_any_records_in_any_pieces(records, compression, pieces, max_records, max_bytes):
    file = compress(encode(records), compression)
    assert drain(reader(file, compression, pieces)) == (records, None)
    source = reader(file, compression, pieces)
    got = []
    while True:
        batch = RecordBatch(*source.read_batch(max_records, max_bytes))
        assert len(batch) <= max_records
        assert len(batch.data) <= max_bytes or len(batch) == 1
        if not batch:
            break
        got += batch
    assert got == records


# The public face.


def test_iteration(path, compression):
    with RecordReader(path, compression) as records:
        assert list(records) == RECORDS
        assert list(records) == []
    assert list(read_records(path, compression)) == RECORDS


@pytest.mark.parametrize("name", [None, "", "zlib", "ZLIB", "gzip", "GZIP", "Snappy", "SNAPPY"])
def test_names_of_compressions(tmp_path, name):
    (tmp_path / "records").write_bytes(compress(STREAM, (name or "").lower()))
    assert list(read_records(tmp_path / "records", name)) == RECORDS


def test_offset_and_mixed_reading(path, compression):
    ends = starts(RECORDS)
    with RecordReader(path, compression) as records:
        assert records.offset == 0
        assert next(records) == RECORDS[0]
        assert records.offset == ends[1]
        assert list(records.read_batch(max_records=2)) == RECORDS[1:3]
        assert records.offset == ends[3]
        for record in records:
            assert record == RECORDS[3]
            break
        assert records.offset == ends[4]
        assert list(records.read_batch()) == RECORDS[4:]
        assert records.offset == ends[-1] == len(STREAM)
        assert len(records.read_batch()) == 0


def test_batch_is_a_sequence(path, compression):
    with RecordReader(path, compression) as records:
        batch = records.read_batch()
    assert isinstance(batch, RecordBatch)
    assert batch.data.dtype == np.uint8
    assert batch.offsets.dtype == np.int64
    assert batch.offsets.tolist() == np.cumsum([0, *map(len, RECORDS)]).tolist()
    assert batch.data.tobytes() == b"".join(RECORDS)
    assert len(batch) == len(RECORDS)
    assert list(batch) == [batch[i] for i in range(len(batch))] == RECORDS
    assert batch[-1] == RECORDS[-1]
    assert batch[1:4] == RECORDS[1:4]
    assert RECORDS[2] in batch
    assert list(reversed(batch)) == RECORDS[::-1]
    with pytest.raises(IndexError):
        batch[len(batch)]


def test_batch_outlives_the_reader(path, compression):
    with RecordReader(path, compression) as records:
        first = records.read_batch(max_records=3)
        rest = records.read_batch()
    del records
    first.data[:] = 0
    assert list(rest) == RECORDS[3:]


def test_batch_limits(tmp_path):
    sizes = [10, 20, 30, 0, 100, 1]
    write_records(tmp_path / "records", [bytes(n) for n in sizes])

    def batches(**limits):
        with RecordReader(tmp_path / "records") as records:
            got = []
            while batch := records.read_batch(**limits):
                got.append([len(r) for r in batch])
            return got

    assert batches(max_records=4) == [[10, 20, 30, 0], [100, 1]]
    assert batches(max_bytes=30) == [[10, 20], [30, 0], [100], [1]]
    assert batches(max_bytes=1) == [[10], [20], [30], [0], [100], [1]]
    assert batches(max_records=2, max_bytes=60) == [[10, 20], [30, 0], [100], [1]]
    assert batches(max_records=2**62, max_bytes=2**62) == [sizes]
    with RecordReader(tmp_path / "records") as records:
        for limits in ({"max_records": 0}, {"max_bytes": 0}, {"max_records": -1}):
            with pytest.raises(InvalidArgumentError, match=r"max_records, max_bytes: got .*, want at least 1"):
                records.read_batch(**limits)


@pytest.mark.parametrize("size", [262_127, 262_128, 262_129, 262_144, 524_288, 1 << 20, 5_000_000])
def test_records_around_the_window(compression, size):
    data = random.Random(size).randbytes(size)
    records = [b"before", data, b"", data[: size // 2], b"after"]
    # The compiled checksum is tested elsewhere; the reference would take a minute.
    from mexport_pb import _core

    def record(r):
        length = len(r).to_bytes(8, "little")
        return b"".join(
            (
                length,
                _core.mask_crc(_core.crc32c(length)).to_bytes(4, "little"),
                r,
                _core.mask_crc(_core.crc32c(r)).to_bytes(4, "little"),
            )
        )

    file = compress(b"".join(map(record, records)), compression)
    for knows_size in (True, False):
        assert drain(reader(file, compression, knows_size=knows_size)) == (records, None)
    source = reader(file, compression)
    assert list(RecordBatch(*source.read_batch(10, 10**9))) == records


def test_large_window_is_given_back():
    """Small records after a huge one are read as before it."""
    huge = bytes(40 << 20)
    records = [b"a", huge, *[b"b" * 1000] * 1000]
    from mexport_pb import _core

    def record(r):
        length = len(r).to_bytes(8, "little")
        crcs = [_core.mask_crc(_core.crc32c(x)).to_bytes(4, "little") for x in (length, r)]
        return length + crcs[0] + r + crcs[1]

    assert drain(reader(b"".join(map(record, records)))) == (records, None)


def test_closed_reader(path, compression):
    records = RecordReader(path, compression)
    iterator = iter(records)
    next(iterator)
    records.close()
    records.close()
    for use in (lambda: next(records), lambda: next(iterator), records.read_batch, lambda: records.offset):
        with pytest.raises(InvalidArgumentError, match=r"^the record reader is closed$"):
            use()


def test_wrong_arguments(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"^compression: got 'lz4', want None, 'zlib', 'gzip' or 'snappy'"):
        RecordReader(tmp_path / "none", "lz4")
    with pytest.raises(InvalidArgumentError, match=r"null byte"):
        RecordReader("a\0b")
    with pytest.raises(FileNotFoundError) as error:
        RecordReader(tmp_path / "none")
    assert error.value.filename == str(tmp_path / "none")
    with RecordReader(tmp_path) as directory, pytest.raises(IsADirectoryError) as error:
        next(directory)
    assert error.value.filename == str(tmp_path)
    with pytest.raises(InvalidArgumentError, match="pieces: got 0, want at least 1"):
        reader(b"", pieces=[0])


def test_pipe(tmp_path, compression):
    """A source whose size nobody knows."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    file = compress(STREAM, compression)
    writer = threading.Thread(target=fifo.write_bytes, args=(file,))
    writer.start()
    assert list(read_records(fifo, compression)) == RECORDS
    writer.join()


def test_file_that_grows(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(encode([b"first"]))
    with RecordReader(path) as records:
        assert list(records) == [b"first"]
        with path.open("ab") as file:
            file.write(encode([b"second"]))
        assert list(records) == [b"second"]


def test_threads_share_a_reader(tmp_path, compression):
    records = [i.to_bytes(4, "little") * 30 for i in range(20_000)]
    write_records(tmp_path / "records", records, compression)
    with RecordReader(tmp_path / "records", compression) as shared, ThreadPoolExecutor(4) as pool:

        def work(by_batch):
            got = []
            if by_batch:
                while batch := shared.read_batch(max_records=50):
                    got += batch
            else:
                got += shared
            return got

        parts = list(pool.map(work, [False, True, False, True]))
    assert sorted(itertools.chain(*parts)) == sorted(records)
    assert all(part == sorted(part, key=lambda r: int.from_bytes(r[:4], "little")) for part in parts)
