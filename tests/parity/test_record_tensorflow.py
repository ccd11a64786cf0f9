"""TensorFlow's writer and readers are the oracle, in both directions."""

import contextlib
import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mexport_pb.errors import RecordError, RecordTooLargeError, RecordTruncatedError
from mexport_pb.record import RecordReader, RecordWriter, masked_crc32c, read_records, write_records
from tests.support.records import compress, encode, snappy_blocks

pytestmark = pytest.mark.tensorflow

COMPRESSIONS = ["", "ZLIB", "GZIP", "SNAPPY"]
BLOCK = 262144

rng = random.Random(11)
SETS = {
    "no records": [],
    "one empty record": [b""],
    "empty records": [b""] * 1000,
    "example": [b"", b"hello"],
    "every length": [rng.randbytes(n) for n in range(300)],
    "repetitive": [bytes([i % 7]) * 132 for i in range(20_000)],
    "random": [rng.randbytes(132) for _ in range(20_000)],
    "around a block": [rng.randbytes(BLOCK + n) for n in (-29, -28, -17, -16, -15, -13, -12, -11, -1, 0)],
    "fill a block": [rng.randbytes(BLOCK - 16 - 28), b"", b"12", b"3", rng.randbytes(BLOCK // 2), b"4"],
    "5 MB": [b"before", rng.randbytes(5_000_000), b"after"],
    "5 MB of zeros": [bytes(5_000_000)] * 2,
}


@pytest.fixture(scope="module")
def tf():
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def record_io(tf):
    from tensorflow.python.lib.io import _pywrap_record_io

    return _pywrap_record_io


@pytest.fixture(params=COMPRESSIONS, ids=lambda c: c or "none")
def compression(request):
    return request.param


@pytest.fixture(params=SETS.values(), ids=SETS)
def records(request):
    return request.param


@pytest.fixture(scope="module")
def tensorflow_writes(record_io):
    def write(path, compression, records, flush_every=0):
        writer = record_io.RecordWriter(str(path), record_io.RecordWriterOptions(compression))
        for count, record in enumerate(records, 1):
            writer.write(record)
            if flush_every and count % flush_every == 0:
                writer.flush()
        writer.close()
        return path.read_bytes()

    return write


def ours(path, compression, records, flush_every=0):
    with RecordWriter(path, compression) as writer:
        for count, record in enumerate(records, 1):
            writer.write(record)
            if flush_every and count % flush_every == 0:
                writer.flush()
    return path.read_bytes()


@pytest.mark.parametrize("name", ["", "ZLIB", "GZIP"])
def test_same_bytes(tmp_path, tensorflow_writes, name, records):
    want = tensorflow_writes(tmp_path / "theirs", name, records)
    assert ours(tmp_path / "ours", name, records) == want
    with RecordWriter(tmp_path / "batch", name) as writer:
        writer.write_batch(b"".join(records), np.cumsum([0, *map(len, records)]))
    assert (tmp_path / "batch").read_bytes() == want
    # The reference that the unit tests use.
    if sum(map(len, records)) < 100_000:
        assert compress(encode(records), name.lower()) == want


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", ["", "ZLIB", "GZIP"])
def test_same_bytes_with_flushes(tmp_path, tensorflow_writes, name, every):
    records = [rng.randbytes(rng.randrange(400)) for _ in range(100)]
    want = tensorflow_writes(tmp_path / "theirs", name, records, every)
    assert ours(tmp_path / "ours", name, records, every) == want


@pytest.mark.parametrize("every", [0, 1, 3])
def test_same_snappy_blocks(tmp_path, tensorflow_writes, every):
    """Snappy's bytes are free; what is in which block is not, as long as a block holds it."""
    for records in SETS.values():
        if max(map(len, records), default=0) > BLOCK:
            continue
        theirs = snappy_blocks(tensorflow_writes(tmp_path / "theirs", "SNAPPY", records, every))
        assert snappy_blocks(ours(tmp_path / "ours", "SNAPPY", records, every)) == theirs


def test_tensorflow_reads_ours(tmp_path, tf, record_io, compression, records):
    path = str(tmp_path / "ours")
    write_records(path, records, compression)
    assert list(record_io.RecordIterator(path, compression)) == records
    dataset = tf.data.TFRecordDataset(path, compression_type=compression)
    assert list(dataset.as_numpy_iterator()) == records


def test_we_read_tensorflows(tmp_path, tensorflow_writes, compression, records):
    path = tmp_path / "theirs"
    tensorflow_writes(path, compression, records)
    assert list(read_records(path, compression)) == records
    got = []
    with RecordReader(path, compression) as reader:
        while batch := reader.read_batch(max_bytes=100_000):
            got += batch
    assert got == records


def test_snappy_blocks_that_tensorflow_writes_and_cannot_read(tmp_path, tf, tensorflow_writes, record_io):
    path = tmp_path / "theirs"
    records = [rng.randbytes(BLOCK + 1)]
    blocks = snappy_blocks(tensorflow_writes(path, "SNAPPY", records))
    assert max(map(len, blocks)) == BLOCK + 1
    with pytest.raises(tf.errors.OpError):
        list(record_io.RecordIterator(str(path), "SNAPPY"))
    assert list(read_records(path, "snappy")) == records


@settings(deadline=None, max_examples=50)
@given(records=st.lists(st.binary(max_size=2000), max_size=20), name=st.sampled_from(COMPRESSIONS))
def test_any_records(tmp_path_factory, record_io, tensorflow_writes, records, name):
    base = tmp_path_factory.getbasetemp()
    theirs = tensorflow_writes(base / "theirs", name, records)
    mine = ours(base / "ours", name, records)
    assert mine == theirs or name == "SNAPPY"
    assert list(read_records(base / "theirs", name)) == records
    assert list(record_io.RecordIterator(str(base / "ours"), name)) == records


def test_public_writer_and_reader(tmp_path, tf):
    """What users of TensorFlow call; the other tests use the class beneath, which also takes SNAPPY."""
    records = SETS["example"]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs"), "GZIP") as writer:
        for record in records:
            writer.write(record)
    assert ours(tmp_path / "ours", "gzip", records) == (tmp_path / "theirs").read_bytes()
    dataset = tf.data.TFRecordDataset(str(tmp_path / "ours"), "GZIP", buffer_size=1)
    assert list(dataset.as_numpy_iterator()) == records


def test_checksum(tmp_path, tensorflow_writes):
    for record in SETS["every length"]:
        file = tensorflow_writes(tmp_path / "theirs", "", [record])
        assert int.from_bytes(file[-4:], "little") == masked_crc32c(record)
        assert int.from_bytes(file[8:12], "little") == masked_crc32c(file[:8])


def test_we_notice_all_damage_that_tensorflow_notices(tmp_path, tf, record_io, compression):
    """And what it calls the end of the file: a header, a stream or a block that is cut short."""
    records = [b"", b"hello", b"x" * 40]
    path = tmp_path / "damaged"
    file = ours(path, compression, records)
    noticed = 0
    for size in range(len(file)):
        path.write_bytes(file[:size])
        try:
            theirs = list(record_io.RecordIterator(str(path), compression))
        except tf.errors.DataLossError:
            with pytest.raises((RecordTruncatedError, RecordTooLargeError)):
                list(read_records(path, compression))
            noticed += 1
            continue
        assert theirs == records[: len(theirs)]
        with contextlib.suppress(RecordTruncatedError):
            assert list(read_records(path, compression)) == theirs
    assert noticed > 20
    for place in range(len(file)):
        path.write_bytes(file[:place] + bytes([file[place] ^ 0xFF]) + file[place + 1 :])
        try:
            theirs = list(record_io.RecordIterator(str(path), compression))
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
            with pytest.raises(RecordError):
                list(read_records(path, compression))
        else:
            assert theirs == records[: len(theirs)]
