"""Record files made and taken apart in plain Python, independently of the code under test."""

import random
import struct
import zlib

import cramjam

from mexport_pb import _core

COMPRESSIONS = ["", "zlib", "gzip", "snappy"]
WINDOW_BITS = {"zlib": 15, "gzip": 31}

# The worked example of docs/formats/tfrecord.md.
EXAMPLE_RECORDS = [b"", b"hello"]
EXAMPLE = bytes.fromhex("0000000000000000 29039807 d8ea82a2 0500000000000000 eab2043e 68656c6c6f bb1f1c19")


def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def header(length):
    encoded = struct.pack("<Q", length)
    return encoded + struct.pack("<I", masked(encoded))


def encode(records):
    """The stream of these records."""
    return b"".join(header(len(r)) + r + struct.pack("<I", masked(r)) for r in records)


def starts(records):
    """Where each record begins in the stream, and where the stream ends."""
    ends = [0]
    for record in records:
        ends.append(ends[-1] + 16 + len(record))
    return ends


def snappy_block(data):
    raw = bytes(cramjam.snappy.compress_raw(data))
    return struct.pack(">I", len(raw)) + raw


def compress(stream, compression, block=262144):
    """A file around the stream."""
    if compression in WINDOW_BITS:
        encoder = zlib.compressobj(-1, zlib.DEFLATED, WINDOW_BITS[compression], 9)
        return encoder.compress(stream) + encoder.flush()
    if compression == "snappy":
        return b"".join(snappy_block(stream[i : i + block]) for i in range(0, len(stream), block))
    return stream


def snappy_blocks(file):
    """The uncompressed blocks of a snappy file."""
    blocks = []
    while file:
        (size,) = struct.unpack(">I", file[:4])
        blocks.append(bytes(cramjam.snappy.decompress_raw(file[4 : 4 + size])))
        assert len(file) >= 4 + size
        file = file[4 + size :]
    return blocks


def reader(file, compression="", pieces=(), knows_size=None, max_record_bytes=2**31 - 1):
    """The compiled reader over bytes that arrive in pieces; as from a file unless told otherwise."""
    return _core.RecordReader.from_pieces(file, list(pieces), knows_size is not False, compression, max_record_bytes)


def drain(source):
    """The records that a reader gives, one by one, and the error that ended it, if any."""
    records = []
    try:
        while True:
            records.append(next(source))
    except StopIteration:
        return records, None
    except Exception as error:
        return records, error


def some_records(count, size, seed=0):
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(size)) for _ in range(count)]
