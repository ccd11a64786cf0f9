"""The snappy codec of the core, by way of record files, beside cramjam's."""

from __future__ import annotations

import cramjam
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mexport_pb.errors import RecordCompressionError, RecordError
from mexport_pb.record import read_records, write_records

PROPERTY = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
# What the codec treats apart: pieces of 64 KiB, those too short to search, blocks of 256 KiB.
SIZES = st.one_of(
    st.integers(1, 300), st.sampled_from([0xFFFF, 0x10000, 0x10001, 0x10010, 0x10011, 0x3FFF0, 0x40000, 0x50000])
)


def blocks_of(file):
    while file:
        size = int.from_bytes(file[:4])
        yield file[4 : 4 + size]
        file = file[4 + size :]


@st.composite
def inputs(draw):
    """Bytes with repetitions of all lengths and distances."""
    size = draw(SIZES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = rng.integers(0, draw(st.sampled_from([1, 2, 16, 256])), size, dtype=np.uint8)
    for _ in range(draw(st.integers(0, 1 + size // 20))):
        length, distance = int(rng.integers(1, 200)), int(rng.integers(1, min(size, 70_000) + 1))
        at = int(rng.integers(distance, size + 1))
        for i in range(at, min(size, at + length)):
            data[i] = data[i - distance]
    return data.tobytes()


@given(data=inputs())
@PROPERTY
def test_blocks_are_cramjams(data, tmp_path):
    write_records(tmp_path / "r", [data], compression="snappy")
    blocks = list(blocks_of((tmp_path / "r").read_bytes()))
    plain = [bytes(cramjam.snappy.decompress_raw(block)) for block in blocks]
    assert data in b"".join(plain)
    assert [bytes(cramjam.snappy.compress_raw(p)) for p in plain] == blocks
    assert list(read_records(tmp_path / "r", compression="snappy")) == [data]


def decode(path, block):
    """The plain bytes of a block, which need not be records: what cannot be one tells them."""
    path.write_bytes(len(block).to_bytes(4) + block)
    try:
        return list(read_records(path, compression="snappy"))
    except RecordError as error:
        return error


def judge(block):
    try:
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError:
        return None


@st.composite
def elements(draw):
    """A block of literals and copies of all forms, most of them legal, and now and then a wrong byte."""
    out, size = bytearray(), 0
    for _ in range(draw(st.integers(0, 12))):
        form = draw(st.integers(0, 3))
        if form == 0 or size == 0:
            length = draw(st.sampled_from([1, 2, 15, 16, 17, 59, 60, 61, 62, 255, 256, 257, 400]))
            bytes_ = draw(st.integers(1, 4)) if length <= 256 else draw(st.integers(2, 4))
            if length <= 60 and draw(st.booleans()):
                out.append((length - 1) << 2)
            else:
                out.append((59 + bytes_) << 2)
                out += (length - 1).to_bytes(bytes_, "little")
            out += np.random.default_rng(length).bytes(length)
            size += length
            continue
        offset = min(draw(st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 40, 64, 2047, 3000, 70_000])), size)
        offset += draw(st.sampled_from([0] * 12 + [1]))
        length = draw(st.integers(4, 11)) if form == 1 else draw(st.integers(1, 64))
        if form == 1 and offset < 2048:
            out += bytes([offset >> 8 << 5 | (length - 4) << 2 | 1, offset & 0xFF])
        else:
            out.append((length - 1) << 2 | (2 if form < 3 and offset < 65536 else 3))
            out += offset.to_bytes(2 if out[-1] & 3 == 2 else 4, "little")
        size += length
    size += draw(st.sampled_from([0] * 12 + [1, -1]))
    size = max(size, 0)
    header = bytearray()
    while size >= 0x80:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    block = header + bytes([size]) + out
    if draw(st.integers(0, 4)) == 0:
        block[draw(st.integers(0, len(block) - 1))] = draw(st.integers(0, 255))
    return bytes(block[: len(block) - draw(st.sampled_from([0] * 8 + [1, 2, 5]))])


@given(block=elements())
@settings(PROPERTY, max_examples=1500)
def test_takes_what_cramjam_takes(block, tmp_path):
    """As records: a frame around whatever the block holds, split over two blocks."""
    want = judge(block)
    if not block:
        return
    got = decode(tmp_path / "r", block)
    if want is None:
        assert isinstance(got, RecordError)
        return
    # Told apart from damage of the block by the record reader, which sees the plain bytes.
    assert not isinstance(got, RecordCompressionError)
    if not want:
        return
    framed = tmp_path / "f"
    write_records(framed, [want])
    record = framed.read_bytes()
    parts = [bytes(cramjam.snappy.compress_raw(record[:12])), block, bytes(cramjam.snappy.compress_raw(record[-4:]))]
    framed.write_bytes(b"".join(len(part).to_bytes(4) + part for part in parts))
    assert list(read_records(framed, compression="snappy")) == [want]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("05 00", "holds|ends within|got"),
        ("04 04 6161 01 00", "a copy from before the beginning"),
        ("05 00 61 0d 02", "a copy from before the beginning"),
        ("02 08 616161", "holds more bytes than it says"),
        ("03 00 61 0e 0100", "holds more bytes than it says"),
        ("03 00 61", "got 1 uncompressed bytes, want 3"),
        ("02 00 61 02 01", "ends within an element"),
        ("02 f0", "ends within an element"),
        ("06 10 6161", "ends within an element"),
    ],
)
def test_names_the_damage(block, message, tmp_path):
    error = decode(tmp_path / "r", bytes.fromhex(block))
    assert isinstance(error, RecordCompressionError)
    with pytest.raises(RecordCompressionError, match=f"offset 0: damaged snappy block: ({message})"):
        raise error
