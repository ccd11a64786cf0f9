"""Every way in which a record file can be damaged has its own error, at the right place, and ends the reading."""

import struct
import zlib

import pytest

from mexport_pb.errors import (
    InvalidArgumentError,
    RecordCompressionError,
    RecordDataCrcError,
    RecordError,
    RecordLengthCrcError,
    RecordTooLargeError,
    RecordTruncatedError,
)
from mexport_pb.record import RecordReader
from tests.support.records import (
    COMPRESSIONS,
    EXAMPLE,
    EXAMPLE_RECORDS,
    compress,
    drain,
    encode,
    header,
    masked,
    reader,
    snappy_block,
    starts,
)

RECORDS = [b"", b"hello", bytes(range(40)), b"x"]
STREAM = encode(RECORDS)


def text(error):
    return str(error)


# Plain files.


@pytest.mark.parametrize("knows_size", [True, False])
def test_every_truncation_of_a_plain_file(knows_size):
    ends = starts(RECORDS)
    for size in range(len(STREAM)):
        records, error = drain(reader(STREAM[:size], knows_size=knows_size))
        whole = sum(end <= size for end in ends[1:])
        assert records == RECORDS[:whole]
        tail = size - ends[whole]
        length = len(RECORDS[whole])
        if tail == 0:
            assert error is None
            continue
        assert error.offset == ends[whole]
        if tail < 12:
            assert type(error) is RecordTruncatedError
            want = f"the file ends within a record's header: got {tail} bytes, want 12"
        elif tail - 12 >= length:
            assert type(error) is RecordTruncatedError
            want = f"the file ends within a record's data checksum: got {tail - 12 - length} bytes, want 4"
        elif knows_size:
            assert type(error) is RecordTooLargeError
            want = f"length of a record: got {length}, want at most {tail - 12}, the rest of the file"
        else:
            assert type(error) is RecordTruncatedError
            want = f"the file ends within a record's data: got {tail - 12} bytes, want {length}"
        assert text(error) == f"offset {ends[whole]}: {want}"


def test_every_flipped_bit_of_a_plain_file():
    ends = starts(RECORDS)
    for bit in range(8 * len(STREAM)):
        damaged = bytearray(STREAM)
        damaged[bit // 8] ^= 1 << bit % 8
        records, error = drain(reader(damaged))
        hit = sum(end <= bit // 8 for end in ends[1:])
        assert records == RECORDS[:hit]
        assert type(error) is (RecordLengthCrcError if bit // 8 - ends[hit] < 12 else RecordDataCrcError)
        assert error.offset == ends[hit]


def test_checksum_messages():
    damaged = bytearray(EXAMPLE)
    damaged[16 + 8] ^= 0xFF
    records, error = drain(reader(damaged))
    assert records == EXAMPLE_RECORDS[:1]
    assert text(error) == "offset 16: checksum of a record's length: got 0x3e04b215, want 0x3e04b2ea"
    damaged = bytearray(EXAMPLE)
    damaged[-1] ^= 0xFF
    _, error = drain(reader(damaged))
    assert text(error) == "offset 16: checksum of a record's data: got 0xe61c1fbb, want 0x191c1fbb"


@pytest.mark.parametrize("length", [6, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 16, 2**64 - 1])
def test_made_up_length(length):
    file = EXAMPLE + header(length) + b"12345"
    records, error = drain(reader(file))
    assert records == EXAMPLE_RECORDS
    assert type(error) is RecordTooLargeError
    assert text(error) == f"offset 37: length of a record: got {length}, want at most 5, the rest of the file"


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("length", [2**31, 2**40, 2**64 - 1])
def test_made_up_length_in_a_stream(compression, length):
    file = compress(EXAMPLE + header(length) + b"12345", compression)
    records, error = drain(reader(file, compression, knows_size=False))
    assert records == EXAMPLE_RECORDS
    assert type(error) is RecordTooLargeError
    assert text(error) == f"offset 37: length of a record: got {length}, want at most 2147483647, the reader's limit"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_limit(compression):
    file = compress(STREAM, compression)
    assert drain(reader(file, compression, max_record_bytes=40)) == (RECORDS, None)
    records, error = drain(reader(file, compression, max_record_bytes=39))
    assert records == RECORDS[:2]
    assert type(error) is RecordTooLargeError
    assert text(error) == "offset 37: length of a record: got 40, want at most 39, the reader's limit"


def test_limit_of_nothing_reads_empty_records():
    assert drain(reader(encode([b"", b""]), max_record_bytes=0)) == ([b"", b""], None)
    with pytest.raises(InvalidArgumentError, match="max_record_bytes: got -1, want at least 0"):
        reader(b"", max_record_bytes=-1)


def test_largest_limit_and_length():
    """No sum of sizes overflows."""
    _, error = drain(reader(header(2**63 - 1), knows_size=False, max_record_bytes=2**63 - 1))
    assert text(error) == f"offset 0: the file ends within a record's data: got 0 bytes, want {2**63 - 1}"


# Compressed files.


@pytest.mark.parametrize("compression", ["zlib", "gzip", "snappy"])
def test_every_truncation_of_a_compressed_file(compression):
    file = compress(STREAM, compression)
    for size in range(1, len(file)):
        records, error = drain(reader(file[:size], compression))
        assert records == RECORDS[: len(records)]
        assert type(error) is RecordTruncatedError, size
        assert error.offset == starts(RECORDS)[len(records)]


@pytest.mark.parametrize("compression", ["zlib", "gzip"])
def test_deflate_file_of_no_bytes(compression):
    _, error = drain(reader(b"", compression))
    assert type(error) is RecordTruncatedError
    assert text(error) == f"offset 0: the file ends within its {compression} stream"


@pytest.mark.parametrize("compression", ["zlib", "gzip", "snappy"])
def test_stream_that_ends_within_a_record(compression):
    for size in range(len(STREAM)):
        records, error = drain(reader(compress(STREAM[:size], compression), compression))
        assert records == RECORDS[: len(records)]
        if size in starts(RECORDS):
            assert error is None
        else:
            assert type(error) is RecordTruncatedError
            assert "the file ends within a record's " in text(error)


@pytest.mark.parametrize("compression", ["zlib", "gzip", "snappy"])
def test_every_flipped_bit_of_a_compressed_file(compression):
    """Either it is noticed, or it changes no record: a gzip header's time, a copy from elsewhere of the same bytes."""
    file = compress(STREAM, compression)
    unnoticed = 0
    for bit in range(8 * len(file)):
        damaged = bytearray(file)
        damaged[bit // 8] ^= 1 << bit % 8
        records, error = drain(reader(damaged, compression))
        assert records == RECORDS[: len(records)]
        if error is None:
            assert records == RECORDS
            unnoticed += 1
        else:
            assert isinstance(error, RecordError)
    assert unnoticed <= 64


@pytest.mark.parametrize("compression", ["zlib", "gzip"])
def test_not_a_deflate_stream(compression):
    _, error = drain(reader(b"hello, world", compression))
    assert type(error) is RecordCompressionError
    assert text(error) == (
        f"offset 0: damaged {compression} stream: Error -3 while decompressing data: incorrect header check"
    )


@pytest.mark.parametrize(("compression", "wrong"), [("zlib", "gzip"), ("gzip", "zlib"), ("zlib", ""), ("gzip", "")])
def test_wrong_compression(compression, wrong):
    records, error = drain(reader(compress(STREAM, compression), wrong))
    assert not records
    assert type(error) is (RecordCompressionError if wrong else RecordLengthCrcError)


def test_bytes_after_the_zlib_stream():
    for behind in (b"\0", b"garbage", compress(STREAM, "zlib")):
        records, error = drain(reader(compress(STREAM, "zlib") + behind, "zlib"))
        assert records == RECORDS
        assert type(error) is RecordCompressionError
        assert text(error) == f"offset {len(STREAM)}: bytes after the end of the zlib stream"


def test_gzip_members_are_one_stream():
    cut = 20
    file = compress(STREAM[:cut], "gzip") + compress(b"", "gzip") + compress(STREAM[cut:], "gzip")
    assert drain(reader(file, "gzip")) == (RECORDS, None)
    assert drain(reader(file, "gzip", pieces=[1] * len(file))) == (RECORDS, None)


def test_bytes_after_a_gzip_member():
    records, error = drain(reader(compress(STREAM, "gzip") + b"garbage", "gzip"))
    assert records == RECORDS
    assert type(error) is RecordCompressionError
    assert error.offset == len(STREAM)
    records, error = drain(reader(compress(STREAM, "gzip") + b"\x1f", "gzip"))
    assert records == RECORDS
    assert type(error) is RecordTruncatedError


def test_zlib_stream_that_asks_for_a_dictionary():
    encoder = zlib.compressobj(zdict=b"hello")
    _, error = drain(reader(encoder.compress(STREAM) + encoder.flush(), "zlib"))
    assert type(error) is RecordCompressionError


def test_snappy_blocks_of_any_size():
    for block in (1, 2, 7, 1000):
        assert drain(reader(compress(STREAM, "snappy", block=block), "snappy")) == (RECORDS, None)
    # TensorFlow writes blocks above 256 KiB, though it does not read them.
    large = encode([bytes(700_000)])
    assert drain(reader(compress(large, "snappy", block=10**6), "snappy")) == ([bytes(700_000)], None)


@pytest.mark.parametrize(("limit", "largest"), [(0, 262144), (262128, 262144), (262129, 262145), (300_000, 300_016)])
def test_largest_snappy_block(limit, largest):
    stream = encode([bytes(limit), *[b""] * 20_000])
    assert drain(reader(compress(stream, "snappy", block=largest), "snappy", max_record_bytes=limit))[1] is None
    file = compress(stream, "snappy", block=largest + 1)
    records, error = drain(reader(file, "snappy", max_record_bytes=limit))
    assert not records
    assert type(error) is RecordTooLargeError
    assert text(error) == (
        f"offset 0: snappy block: got {largest + 1} uncompressed bytes, want at most {largest} by the reader's limit"
    )


def test_empty_snappy_blocks():
    empty = bytes.fromhex("00000001 00")
    assert drain(reader(empty, "snappy")) == ([], None)
    assert drain(reader(empty * 3 + compress(STREAM, "snappy") + empty, "snappy")) == (RECORDS, None)


@pytest.mark.parametrize(
    ("block", "want"),
    [
        ("00000000", "size 0"),
        # A varint that does not end.
        ("00000006 ffffffffffff", "no uncompressed size"),
        ("00000001 80", "no uncompressed size"),
        ("00000004 ffffff07 00000000", "uncompressed size: got 16777215, want at most 256 for 4 bytes"),
        # The front of a plain file.
        (STREAM.hex(), "size 0"),
        (encode([bytes(132)]).hex(), "size: got 2214592512, want at most 5 for 0 uncompressed bytes"),
        # A copy from before the beginning.
        ("00000003 04 0d 01", "damaged snappy block: "),
        # Fewer bytes than promised.
        ("00000003 02 00 61", "damaged snappy block: "),
        # More bytes than promised.
        ("00000004 01 04 6162", "damaged snappy block: "),
    ],
)
def test_damaged_snappy_block(block, want):
    records, error = drain(reader(bytes.fromhex(block), "snappy"))
    assert not records
    assert type(error) is RecordCompressionError
    assert text(error).startswith("offset 0: damaged snappy block: ")
    assert want in text(error)


def test_snappy_file_that_ends_early():
    file = snappy_block(STREAM)
    _, error = drain(reader(file[:3], "snappy"))
    assert text(error) == "offset 0: the file ends within the size of a snappy block: got 3 bytes, want 4"
    _, error = drain(reader(file[:-2], "snappy"))
    assert text(error) == (
        f"offset 0: the file ends within a snappy block: got {len(file) - 6} bytes, want {len(file) - 4}"
    )
    records, error = drain(reader(file + b"\0", "snappy"))
    assert records == RECORDS
    assert error.offset == len(STREAM)


# After the error.


@pytest.mark.parametrize(("compression", "cut"), [("", 5), ("zlib", 3), ("gzip", 3), ("snappy", 3)])
def test_error_is_repeated(compression, cut):
    source = reader(compress(STREAM, compression)[:-cut], compression, knows_size=False)
    _, first = drain(source)
    assert isinstance(first, RecordTruncatedError)
    where = source.offset
    for _ in range(3):
        with pytest.raises(RecordTruncatedError) as again:
            next(source)
        assert str(again.value) == str(first)
        with pytest.raises(RecordTruncatedError) as again:
            source.read_batch(10, 10)
        assert str(again.value) == str(first)
    assert source.offset == where == first.offset


def test_batch_before_the_damage_comes_first():
    damaged = STREAM[:-1] + bytes([STREAM[-1] ^ 1])
    source = reader(damaged)
    data, offsets = source.read_batch(100, 1 << 20)
    assert data.tobytes() == b"".join(RECORDS[:-1])
    assert len(offsets) == len(RECORDS)
    for _ in range(2):
        with pytest.raises(RecordDataCrcError) as error:
            source.read_batch(100, 1 << 20)
        assert error.value.offset == starts(RECORDS)[-2]


@pytest.mark.parametrize("batch", [False, True])
def test_exception_of_a_codec(monkeypatch, batch):
    """It comes up once, after the records before it; what comes later blames neither file nor codec."""

    class Codec:
        eof, unconsumed_tail, unused_data = False, b"", b""

        def decompress(self, data, room):
            if bytes(data) == b"2":
                raise MemoryError
            return STREAM[:-1]

    monkeypatch.setattr(zlib, "decompressobj", lambda bits: Codec())
    source = reader(b"12", "zlib", pieces=[1, 1])
    if batch:
        data, offsets = source.read_batch(100, 1 << 20)
        assert data.tobytes() == b"".join(RECORDS[:-1])
        assert len(offsets) == len(RECORDS)
    else:
        assert [next(source) for _ in RECORDS[:-1]] == RECORDS[:-1]
    with pytest.raises(MemoryError):
        source.read_batch(100, 1 << 20)
    for use in (lambda: next(source), lambda: source.read_batch(100, 1 << 20)):
        with pytest.raises(InvalidArgumentError, match=r"^the record reader is of no use any more: an exception ended"):
            use()


def test_error_names_the_path(tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(EXAMPLE + b"123")
    with RecordReader(path) as records, pytest.raises(RecordTruncatedError) as error:
        list(records)
    assert error.value.path == str(path)
    assert error.value.offset == 37
    assert str(error.value) == f"{path}: offset 37: the file ends within a record's header: got 3 bytes, want 12"


def test_error_names_a_path_that_is_not_text(tmp_path):
    path = bytes(tmp_path / "damaged") + b"\xff"
    with open(path, "wb") as file:
        file.write(b"123")
    with RecordReader(path.decode("utf-8", "surrogateescape")) as records, pytest.raises(RecordTruncatedError) as error:
        list(records)
    assert error.value.path == path.decode("utf-8", "surrogateescape")


def test_reference_encoder_makes_the_worked_example():
    assert encode(EXAMPLE_RECORDS) == EXAMPLE
    assert struct.pack("<I", masked(b"hello")) == EXAMPLE[-4:]
