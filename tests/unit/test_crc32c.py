"""Every implementation of crc32c that this processor runs, against a bit-by-bit reference."""

import random

import pytest

from mexport_pb import _core
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.record import crc32c, mask_crc, masked_crc32c, unmask_crc

IMPLEMENTATIONS = _core.crc32c_implementations()


def reference(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.fixture(params=[*IMPLEMENTATIONS, None])
def extend(request):
    def run(data, crc=0):
        return _core.crc32c(data, crc, request.param)

    return run


def test_portable_twin_is_always_there():
    assert IMPLEMENTATIONS[0] == "portable"
    assert len(set(IMPLEMENTATIONS)) == len(IMPLEMENTATIONS)


# RFC 3720, section B.4, and the customary check value.
@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_vectors(extend, data, want):
    assert extend(data) == want
    assert reference(data) == want


def test_every_short_length(extend):
    data = random.Random(1).randbytes(1100)
    for size in range(len(data) + 1):
        assert extend(data[:size]) == reference_prefix(data)[size], size


_PREFIXES = {}


def reference_prefix(data):
    """The reference of every prefix, computed once."""
    if data not in _PREFIXES:
        crcs = [0]
        for i in range(len(data)):
            crcs.append(reference(data[i : i + 1], crcs[-1]))
        _PREFIXES[data] = crcs
    return _PREFIXES[data]


def test_every_alignment(extend):
    data = random.Random(2).randbytes(1400)
    view = memoryview(data)
    for start in range(65):
        for size in (0, 1, 7, 8, 9, 191, 192, 255, 256, 257, 1000):
            assert extend(view[start : start + size]) == reference_prefix_of(data, start)[size], (start, size)


def reference_prefix_of(data, start):
    return reference_prefix(data[start:])


def test_every_split_point(extend):
    data = random.Random(3).randbytes(1300)
    whole = reference_prefix(data)[-1]
    for split in range(len(data) + 1):
        assert extend(data[split:], extend(data[:split])) == whole, split


@pytest.mark.parametrize("size", [3071, 3072, 3073, 6144, 10007, 65536, 100_003, 262_161])
def test_long_input(extend, size):
    data = random.Random(size).randbytes(size)
    assert extend(data) == reference_prefix(data)[-1]
    # An initial value with every bit pattern of interest.
    for crc in (1, 0x80000000, 0xFFFFFFFF, 0x12345678):
        assert extend(data, crc) == _core.crc32c(data, crc, "portable")
    assert extend(data[:1000], 0xFFFFFFFF) == reference(data[:1000], 0xFFFFFFFF)


def test_any_contiguous_buffer():
    assert crc32c(bytearray(b"123456789")) == crc32c(memoryview(b"123456789")) == 0xE3069283
    with pytest.raises(TypeError):
        crc32c("123456789")
    with pytest.raises(BufferError):
        crc32c(memoryview(b"123456789")[::2])


def test_unknown_implementation():
    with pytest.raises(InvalidArgumentError, match="implementation: got 'abacus', which is not present"):
        _core.crc32c(b"", 0, "abacus")


def test_mask():
    assert mask_crc(0) == 0xA282EAD8
    assert masked_crc32c(b"") == 0xA282EAD8
    assert masked_crc32c(b"123456789") == mask_crc(0xE3069283) == 0xC78AB0E5
    for crc in (0, 1, 0x80000000, 0xFFFFFFFF, 0xDEADBEEF):
        assert unmask_crc(mask_crc(crc)) == crc
