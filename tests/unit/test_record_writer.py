import ctypes
import errno
import os
import random
import re
import zlib
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.record import RecordReader, RecordWriter, crc32c, read_records, write_records
from tests.support.records import (
    COMPRESSIONS,
    EXAMPLE,
    EXAMPLE_RECORDS,
    compress,
    encode,
    snappy_blocks,
    some_records,
)

RECORDS = [b"", b"hello", *some_records(10, 200), b""]


@pytest.fixture(params=COMPRESSIONS, ids=lambda c: c or "none")
def compression(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records"


def test_worked_example(path):
    assert write_records(path, EXAMPLE_RECORDS) == 2
    assert path.read_bytes() == EXAMPLE


def test_bytes_are_those_of_the_format_page(path, compression):
    assert write_records(path, RECORDS, compression) == len(RECORDS)
    assert path.read_bytes() == compress(encode(RECORDS), compression)


@pytest.mark.parametrize(
    ("name", "want"),
    [(None, ""), ("ZLIB", "789c030000000001"), ("gzip", "1f8b080000000000000303000000000000000000"), ("Snappy", "")],
)
def test_file_of_no_records(path, name, want):
    assert write_records(path, [], name) == 0
    assert path.read_bytes().hex() == want
    assert list(read_records(path, name)) == []


@settings(deadline=None, max_examples=100)
@given(records=st.lists(st.binary(max_size=300), max_size=10), compression=st.sampled_from(COMPRESSIONS))
def test_round_trip(tmp_path_factory, records, compression):
    path = tmp_path_factory.getbasetemp() / "round_trip"
    write_records(path, records, compression)
    assert list(read_records(path, compression)) == records
    offsets = np.cumsum([0, *map(len, records)])
    with RecordWriter(path, compression) as writer:
        writer.write_batch(b"".join(records), offsets)
    assert list(read_records(path, compression)) == records


@pytest.mark.parametrize("size", [(1 << 20) - 17, (1 << 20) - 16, (1 << 20) - 15, 1 << 20, 3 << 20, (5 << 20) + 1])
def test_records_around_the_buffers(path, compression, size):
    data = random.Random(size).randbytes(size)
    records = [b"before", data, b"between", data[: size // 2], b"after"]
    write_records(path, records, compression)
    assert list(read_records(path, compression)) == records


def test_anything_that_lends_bytes(path):
    lenders = [b"ab", bytearray(b"cd"), memoryview(b"-ef-")[1:3], array("H", [0x6867]), np.frombuffer(b"ij", np.uint8)]
    with RecordWriter(path) as writer:
        for lender in lenders:
            writer.write(lender)
        writer.write(np.array([[1.0], [2.0]], np.float32))
        with pytest.raises(TypeError):
            writer.write("text")
        with pytest.raises(BufferError):
            writer.write(memoryview(b"abcd")[::2])
        with pytest.raises(TypeError):
            writer.write(None)
    assert list(read_records(path)) == [b"ab", b"cd", b"ef", b"gh", b"ij", bytes.fromhex("0000803f00000040")]


# Batches.


def test_batch_is_the_same_as_one_by_one(tmp_path, compression):
    data = np.frombuffer(b"skipped" + b"".join(RECORDS) + b"rest", np.uint8)
    offsets = 7 + np.cumsum([0, *map(len, RECORDS)])
    with RecordWriter(tmp_path / "batch", compression) as writer:
        writer.write_batch(data, offsets)
        writer.write_batch(b"", np.array([0]))
    write_records(tmp_path / "single", RECORDS, compression)
    assert (tmp_path / "batch").read_bytes() == (tmp_path / "single").read_bytes()


def test_batch_from_reader_to_writer(tmp_path, compression):
    records = some_records(5000, 300)
    write_records(tmp_path / "a", records)
    with RecordReader(tmp_path / "a") as reader, RecordWriter(tmp_path / "b", compression) as writer:
        while batch := reader.read_batch(max_bytes=10_000):
            writer.write_batch(batch.data, batch.offsets)
    assert list(read_records(tmp_path / "b", compression)) == records


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "offsets: got none, want one more than records"),
        ([-1, 2], r"offsets\[0\]: got -1, want 0 to 10"),
        ([0, 11], r"offsets\[1\]: got 11, want 0 to 10"),
        ([0, 5, 4], r"offsets\[2\]: got 4, want 5 to 10"),
        ([0, 2**63 - 1], rf"offsets\[1\]: got {2**63 - 1}, want 0 to 10"),
        ([[0, 1]], "offsets: got 2 dimensions, want 1"),
    ],
)
def test_wrong_offsets_write_nothing(path, offsets, message):
    with RecordWriter(path) as writer:
        writer.write(b"first")
        with pytest.raises(InvalidArgumentError, match=f"^{message}$"):
            writer.write_batch(bytes(10), np.array(offsets, np.int64))
        writer.write(b"last")
    assert list(read_records(path)) == [b"first", b"last"]


@pytest.mark.parametrize(
    ("offsets", "got"),
    [
        ([0.0, 5.0], "float64"),
        (["0", "5"], "<U1"),
        ([False, True], "bool"),
        ([0, 2**64], "object"),
        (None, "object"),
        (np.array([0, 5], "M8[s]"), r"datetime64\[s\]"),
    ],
)
def test_offsets_of_the_wrong_type(path, offsets, got):
    with RecordWriter(path) as writer:
        for same in (offsets, np.asarray(offsets)):
            with pytest.raises(InvalidArgumentError, match=rf"^offsets: got {got}, want integers$"):
                writer.write_batch(bytes(10), same)
        with pytest.raises(InvalidArgumentError, match=r"^offsets: got list, want integers$"):
            writer.write_batch(bytes(10), [[0], [1, 2]])
    assert list(read_records(path)) == []


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 2, 5],
        (0, 2, 5),
        np.array([0, 2, 5], np.uint64),
        np.array([0, 2, 5], ">i2"),
        np.array([0, 9, 2, 9, 5])[::2],
        np.frombuffer(b"x" + np.array([0, 2, 5]).tobytes(), np.int64, offset=1),
    ],
    ids=["list", "tuple", "unsigned", "big-endian", "strided", "unaligned"],
)
def test_offsets_of_any_integers(path, offsets):
    with RecordWriter(path) as writer:
        writer.write_batch(b"abcde", offsets)
    assert list(read_records(path)) == [b"ab", b"cde"]


@pytest.mark.parametrize("new", [2**62, -1, 0])
def test_offsets_that_change_meanwhile(monkeypatch, path, new):
    """Each offset is checked as it is used: here a codec changes the last one after the check of them all."""

    class Codec:
        def compress(self, data):
            plain.append(bytes(data))
            offsets[-1] = new
            return b""

        def flush(self, mode=None):
            return b""

    plain = []
    monkeypatch.setattr(zlib, "compressobj", lambda *arguments: Codec())
    offsets = np.array([0, 1_000_000, 1_000_001, 1_000_002])
    with RecordWriter(path, "zlib") as writer:
        with pytest.raises(InvalidArgumentError, match=rf"offsets\[3\]: got {new}, want 1000001 to 1000002"):
            writer.write_batch(bytes(1_000_002), offsets)
        writer.write(b"more")
    path.write_bytes(b"".join(plain))
    assert list(read_records(path)) == [bytes(1_000_000), b"\0", b"more"]


class _Pointer(ctypes.Structure):
    _fields_ = (("Oh", ctypes.c_int), ("x", ctypes.py_object))


class _NoPointer(ctypes.Structure):
    _fields_ = (("Oh", ctypes.c_int), ("x", ctypes.c_int))


@pytest.mark.parametrize(
    "data",
    [
        np.array([object()]),
        memoryview(np.array([object()])),
        np.zeros(1, [("x", object)]),
        # numpy has no buffer format for these.
        np.zeros(1, [("x", object), ("t", "M8[s]")]),
        (ctypes.py_object * 2)(),
        _Pointer(),
    ],
    ids=["array", "memoryview", "fields", "fields without format", "ctypes", "ctypes structure"],
)
def test_references_are_not_bytes(path, data):
    with RecordWriter(path) as writer:
        for use in (
            lambda: writer.write(data),
            lambda: writer.write_many([data]),
            lambda: writer.write_batch(data, [0, 8]),
            lambda: crc32c(data),
        ):
            with pytest.raises(InvalidArgumentError, match=r"^data: got references to python objects, want bytes$"):
                use()
    assert list(read_records(path)) == []


def test_bytes_of_any_type(path):
    lenders = [
        np.array([1.5], ml_dtypes.bfloat16),
        np.array([3], "M8[s]"),
        np.zeros(1, [("Oh", np.int32), ("t", "M8[s]")]),
        np.zeros(1, [("Oh", np.int32)]),
        _NoPointer(),
    ]
    assert write_records(path, lenders) == len(lenders)
    assert list(read_records(path)) == [b"\xc0\x3f", b"\x03" + bytes(7), bytes(12), bytes(4), bytes(8)]


def test_exception_of_a_codec(monkeypatch, path):
    """It comes up once; what comes later blames neither the device nor the codec."""

    class Codec:
        def compress(self, data):
            raise MemoryError

    monkeypatch.setattr(zlib, "compressobj", lambda *arguments: Codec())
    writer = RecordWriter(path, "zlib")
    with pytest.raises(MemoryError):
        writer.write(bytes(1_000_000))
    for use in (lambda: writer.write(b"y"), writer.flush, writer.close):
        with pytest.raises(InvalidArgumentError, match=r"^the record writer is of no use any more: an exception ended"):
            use()
    writer.close()


# Snappy's blocks end between header, data and checksum.


@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        ([262144 - 16], [262144]),
        ([262144 - 15], [262141, 4]),
        ([262144 - 12], [262144, 4]),
        ([262144 - 11], [12, 262137]),
        ([262144], [12, 262144, 4]),
        ([262145], [12, 262144, 5]),
        ([600_000], [12, 262144, 262144, 600_000 - 2 * 262144 + 4]),
        ([262144 - 16 - 12, 5], [262144, 9]),
        ([262144 - 16 - 11, 5], [262133, 21]),
        ([100_000] * 4, [200_044, 200_020]),
        ([0, 0], [32]),
    ],
)
def test_snappy_blocks(path, sizes, want):
    records = [random.Random(n).randbytes(n) for n in sizes]
    write_records(path, records, "snappy")
    blocks = snappy_blocks(path.read_bytes())
    assert [len(block) for block in blocks] == want
    assert list(read_records(path, "snappy")) == records


# Flushing and closing.


def test_flush_makes_records_readable(path, compression):
    with RecordWriter(path, compression) as writer:
        for count, record in enumerate(RECORDS, 1):
            writer.write(record)
            (writer.sync if count % 2 else writer.flush)()
            if compression in ("zlib", "gzip"):
                stream = zlib.decompressobj(47).decompress(path.read_bytes())
            elif compression == "snappy":
                stream = b"".join(snappy_blocks(path.read_bytes()))
            else:
                stream = path.read_bytes()
            assert stream == encode(RECORDS[:count])
    assert list(read_records(path, compression)) == RECORDS


def test_flush_ends_a_snappy_block(path):
    with RecordWriter(path, "snappy") as writer:
        writer.flush()
        writer.write(b"a")
        writer.flush()
        writer.flush()
        writer.write(b"b")
    assert [len(block) for block in snappy_blocks(path.read_bytes())] == [17, 17]


def test_path_types(tmp_path):
    write_records(str(tmp_path / "a"), [b"x"])
    write_records(Path(tmp_path / "b"), [b"x"])
    strange = os.fsdecode(bytes(tmp_path) + b"/\xff")
    write_records(strange, [b"x"])
    assert list(read_records(strange)) == [b"x"]
    with pytest.raises(InvalidArgumentError, match="null byte"):
        RecordWriter("a\0b")


def test_existing_file_is_replaced(path):
    path.write_bytes(bytes(1000))
    write_records(path, [b"x"])
    assert path.read_bytes() == encode([b"x"])


@pytest.mark.parametrize("wrong", ["lz4", "zlib ", 5, b"zlib", 0, [], True])
def test_wrong_compression_creates_nothing(path, wrong):
    want = re.escape(f"compression: got {wrong!r}, want None, 'zlib', 'gzip' or 'snappy'")
    for opened in (RecordWriter, RecordReader):
        with pytest.raises(InvalidArgumentError, match=f"^{want}$"):
            opened(path, wrong)
    assert not path.exists()


def test_missing_directory(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        RecordWriter(tmp_path / "none" / "records")
    assert error.value.filename == str(tmp_path / "none" / "records")


def test_closed_writer(path, compression):
    writer = RecordWriter(path, compression)
    writer.write(b"x")
    writer.close()
    writer.close()
    for use in (
        lambda: writer.write(b"y"),
        lambda: writer.write_batch(b"", np.array([0])),
        lambda: writer.write_many([b"y"]),
        writer.flush,
        writer.sync,
    ):
        with pytest.raises(InvalidArgumentError, match=r"^the record writer is closed$"):
            use()
    assert list(read_records(path, compression)) == [b"x"]


def test_exception_in_the_block_closes_the_file(path, compression):
    with pytest.raises(KeyError), RecordWriter(path, compression) as writer:
        writer.write(b"x")
        raise KeyError
    with pytest.raises(InvalidArgumentError):
        writer.write(b"y")
    assert list(read_records(path, compression)) == [b"x"]


def test_iterable_that_fails(path):
    def records():
        yield b"x"
        raise KeyError

    with pytest.raises(KeyError):
        write_records(path, records())
    assert list(read_records(path)) == [b"x"]
    with pytest.raises(TypeError):
        write_records(path, [b"x", "text"])
    assert list(read_records(path)) == [b"x"]


def test_forgotten_writer_warns_and_closes(path, compression):
    writer = RecordWriter(path, compression)
    writer.write(b"x")
    with pytest.warns(ResourceWarning, match=r"unclosed record writer: .*records"):
        del writer
    assert list(read_records(path, compression)) == [b"x"]


def test_full_device(compression):
    """The failure comes up in whatever call meets it, again in every later one, and in the first close."""
    writer = RecordWriter("/dev/full", compression)
    writer.write(b"x")
    for use in (writer.flush, writer.flush, lambda: writer.write(b"y"), writer.close):
        with pytest.raises(OSError, match="/dev/full") as error:
            use()
        assert error.value.errno == errno.ENOSPC
    writer.close()
    with pytest.raises(InvalidArgumentError):
        writer.write(b"y")


def test_full_device_at_close():
    with pytest.raises(OSError, match="No space left"), RecordWriter("/dev/full") as writer:
        writer.write(b"x")


def test_failure_to_close_hides_no_other():
    with pytest.raises(KeyError), RecordWriter("/dev/full") as writer:
        writer.write(b"x")
        raise KeyError


def test_threads_share_a_writer(path, compression):
    records = [[bytes([t, i % 256]) * 50 for i in range(3000)] for t in range(4)]
    with RecordWriter(path, compression) as writer, ThreadPoolExecutor(4) as pool:

        def work(part):
            for record in part[:1000]:
                writer.write(record)
            writer.write_many(part[1000:2000])
            writer.write_batch(b"".join(part[2000:]), np.arange(1001) * 100)

        list(pool.map(work, records))
    got = list(read_records(path, compression))
    for thread, part in enumerate(records):
        assert [r for r in got if r[0] == thread] == part
