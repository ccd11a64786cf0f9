"""The compiled parts of bundles: slice keys, sorted tables, boxes of tensors."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mexport_pb import _core
from mexport_pb.errors import BundleCrcError, BundleError, InvalidArgumentError

INT64 = st.integers(-(2**63), 2**63 - 1) | st.builds(
    lambda bits, delta, sign: max(-(2**63), min(2**63 - 1, sign * 2**bits + delta)),
    st.integers(0, 63),
    st.integers(-2, 2),
    st.sampled_from([1, -1]),
)
NAMES = st.binary(max_size=20) | st.text(max_size=10).map(str.encode)


@given(NAMES, st.lists(st.tuples(INT64, INT64), max_size=6))
def test_slice_keys_round_trip(name, extents):
    assert _core.decode_slice_key(_core.encode_slice_key(name, extents)) == (name, extents)


@given(INT64, INT64)
def test_signed_codes_sort_as_their_values(a, b):
    def key(value):
        return _core.encode_slice_key(b"", [(value, 0)])

    assert (key(a) < key(b)) == (a < b)


@given(NAMES, NAMES)
def test_names_in_slice_keys_sort_as_names(a, b):
    assert (_core.encode_slice_key(a, []) < _core.encode_slice_key(b, [])) == (a < b)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "80"), (-1, "7f"), (63, "bf"), (-64, "40"), (64, "c040"), (-65, "3fbf"), (8191, "dfff"), (8192, "e02000"),
        (20000, "e04e20"), (70000, "e11170"), (2**55 - 1, "ff7fffffffffffff"), (2**55, "ff8080000000000000"),
        (2**62 - 1, "ffbfffffffffffffff"), (2**62, "ffc04000000000000000"), (2**63 - 1, "ffc07fffffffffffffff"),
        (-(2**63), "003f8000000000000000"),
    ],
)  # fmt: skip
def test_known_signed_codes(value, code):
    assert _core.encode_slice_key(b"", [(value, 0)]).hex() == "0000010101" + code + "80"


def test_slice_key_of_the_format_page():
    assert _core.encode_slice_key(b"p", [(0, -1), (0, 1)]).hex(" ") == "00 70 00 01 01 02 80 7f 80 81"
    assert _core.encode_slice_key(b"\x00\xff", []).hex(" ") == "00 00 ff ff 00 00 01 00"


@given(st.binary(max_size=30))
def test_each_slice_key_has_one_form(key):
    decoded = _core.decode_slice_key(key)
    assert decoded is None or _core.encode_slice_key(*decoded) == key


@given(NAMES, st.lists(st.tuples(INT64, INT64), min_size=1, max_size=3), st.data())
def test_changed_slice_keys_are_refused_or_mean_something_else(name, extents, data):
    key = bytearray(_core.encode_slice_key(name, extents))
    position = data.draw(st.integers(0, len(key) - 1))
    key[position] ^= data.draw(st.integers(1, 255))
    assert _core.decode_slice_key(bytes(key)) != (name, extents)
    assert _core.decode_slice_key(bytes(key[:position])) is None


def test_hostile_rank_of_a_slice_key_allocates_nothing():
    assert _core.decode_slice_key(bytes.fromhex("00 70 00 01 08 7f ff ff ff ff ff ff ff 80 80")) is None


TABLES = st.dictionaries(st.binary(max_size=12), st.binary(max_size=200), max_size=60) | st.dictionaries(
    st.sampled_from([b"a" * n + bytes([m]) for n in range(30) for m in (0, 1, 127, 254, 255)]),
    st.binary(max_size=3) | st.just(b"x" * 100_000),
    max_size=40,
)


@given(TABLES)
@settings(max_examples=200, deadline=None)
def test_tables_round_trip(table):
    entries = sorted(table.items())
    assert _core.read_sstable(_core.write_sstable(entries), "t") == entries


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_table(file):
    with pytest.raises(BundleError):
        _core.read_sstable(file, "t")


@pytest.mark.parametrize("entries", [[(b"b", b""), (b"a", b"")], [(b"a", b""), (b"a", b"")], [(b"", b""), (b"", b"")]])
def test_keys_must_ascend(entries):
    with pytest.raises(InvalidArgumentError, match="ascend strictly"):
        _core.write_sstable(entries)


def test_table_of_the_format_page():
    entries = [(b"", bytes.fromhex("08011a020801")), (b"s", bytes.fromhex("080112002804355e2fe1a7"))]
    assert _core.write_sstable(entries).hex() == (
        "00000608011a02080100010b73080112002804355e2fe1a70000000001000000008ef0cd17"
        "000000000100000000c0f2a1b0000102740020000000000100000000"
        "1a7f04db2508320e" + "00" * 36 + "57fb808b247547db"
    )


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def u32(value):
    return value.to_bytes(4, "little")


def entry(shared, suffix, value, *, unshared=None, size=None):
    lengths = (shared, len(suffix) if unshared is None else unshared, len(value) if size is None else size)
    return b"".join(map(varint, lengths)) + suffix + value


def block(entries, restarts=(0,), count=None):
    return b"".join(entries) + b"".join(map(u32, restarts)) + u32(len(restarts) if count is None else count)


def trailer(contents, kind=0):
    crc = _core.mask_crc(_core.crc32c(contents + bytes([kind])))
    return bytes([kind]) + u32(crc)


def table(data, index=None, *, metaindex=None, kind=0, footer=None):
    """A table around the given data blocks, with right checksums and, where not given, right handles."""
    file, handles = b"", []
    for contents in data:
        handles.append((len(file), len(contents)))
        file += contents + trailer(contents, kind)
    metaindex = block([]) if metaindex is None else metaindex
    meta_handle = (len(file), len(metaindex))
    file += metaindex + trailer(metaindex)
    if index is None:
        separators = [bytes([0x30 + i]) + b"~" for i in range(len(data))]
        entries = [entry(0, s, varint(o) + varint(n)) for s, (o, n) in zip(separators, handles, strict=True)]
        index = block(entries, list(itertools.accumulate(map(len, entries), initial=0))[:-1] or (0,))
    index_handle = (len(file), len(index))
    file += index + trailer(index)
    handles = b"".join(map(varint, (*meta_handle, *index_handle))) if footer is None else footer
    return file + handles.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


GOOD = [block([entry(0, b"0a", b"1"), entry(1, b"b", b"2")]), block([entry(0, b"1a", b"3")])]
HUGE = (1 << 60, 1 << 31, (1 << 64) - 1)


def test_handmade_table_is_good():
    assert _core.read_sstable(table(GOOD), "t") == [(b"0a", b"1"), (b"0b", b"2"), (b"1a", b"3")]


BROKEN = {
    "no restarts": ([block([entry(0, b"0a", b"1")], ())], "impossible number of restarts"),
    "huge restart count": ([block([entry(0, b"0a", b"1")], (0,), 0xFFFFFFFF)], "impossible number of restarts"),
    "restart within an entry": ([block([entry(0, b"0a", b"1")], (0, 2))], "restart that no entry begins at"),
    "restart beyond the entries": ([block([entry(0, b"0a", b"1")], (0, 1000))], "restart that no entry begins at"),
    "restarts that descend": (
        [block([entry(0, b"0a", b"1"), entry(0, b"0b", b"1")], (0, 6, 0))],
        "restart that no entry begins at",
    ),
    "first restart not at 0": ([block([entry(0, b"0a", b"1"), entry(0, b"0b", b"")], (6,))], "restart that shares"),
    "restart that shares": ([block([entry(0, b"0a", b"1"), entry(1, b"b", b"")], (0, 6))], "restart that shares"),
    "shares more than there is": ([block([entry(0, b"0a", b"1"), entry(3, b"b", b"")])], "malformed entry"),
    "suffix beyond the block": ([block([entry(0, b"0a", b"1", unshared=90)])], "malformed entry"),
    "value beyond the block": ([block([entry(0, b"0a", b"1", size=90)])], "malformed entry"),
    "keys descend": ([block([entry(0, b"0b", b"1"), entry(1, b"a", b"2")])], "keys do not ascend"),
    "keys repeat": ([block([entry(0, b"0a", b"1"), entry(2, b"", b"2")])], "keys do not ascend"),
    "keys repeat over blocks": ([GOOD[0], block([entry(0, b"0b", b"3")])], "keys do not ascend"),
    "key above its separator": ([block([entry(0, b"9", b"1")])], "key above the index key"),
    "key below the separator before": ([GOOD[0], block([entry(0, b"0c", b"3")])], "keys do not ascend"),
    "empty data block": ([block([])], "empty data block"),
    "too short": ([b"\0\0\0\0"], "too short"),
    **{f"suffix of {n:#x}": ([block([entry(0, b"0a", b"1", unshared=n)])], "malformed entry") for n in HUGE},
    **{f"value of {n:#x}": ([block([entry(0, b"0a", b"1", size=n)])], "malformed entry") for n in HUGE},
    **{f"shared of {n:#x}": ([block([entry(n, b"0a", b"1")])], "malformed entry") for n in HUGE},
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_blocks_under_right_checksums(data, message):
    with pytest.raises(BundleError, match=f"^some/path: offset [0-9]+: .*{message}"):
        _core.read_sstable(table(data), "some/path")


@pytest.mark.parametrize("size", [*HUGE, 5, 100])
@pytest.mark.parametrize("offset", [0, 3, *HUGE])
def test_handles_of_data_blocks_that_lead_astray(offset, size):
    index = block([entry(0, b"9", varint(offset) + varint(size))])
    with pytest.raises(BundleError):
        _core.read_sstable(table(GOOD[:1], index), "t")


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x80", b"\x00\x13\x00", b"\x80\x00\x13", b"\xff" * 11])
def test_malformed_handles(value):
    with pytest.raises(BundleError, match="malformed handle"):
        _core.read_sstable(table(GOOD[:1], block([entry(0, b"9", value)])), "t")


def test_one_block_is_not_read_twice():
    handle = varint(0) + varint(len(GOOD[0]))
    with pytest.raises(BundleError, match="not where the one before it ends"):
        _core.read_sstable(table(GOOD[:1], block([entry(0, b"5", handle), entry(0, b"6", handle)], (0, 6))), "t")


def test_block_that_no_handle_names():
    handle = varint(0) + varint(len(GOOD[0]))
    with pytest.raises(BundleError, match="gap before the metaindex block"):
        _core.read_sstable(table(GOOD, block([entry(0, b"5", handle)])), "t")


def test_metaindex_with_entries():
    with pytest.raises(BundleError, match="metaindex block is not empty"):
        _core.read_sstable(table(GOOD, metaindex=block([entry(0, b"a", b"")])), "t")


def test_compressed_block():
    with pytest.raises(BundleError, match=r"data block is compressed, .* got type 1, want 0"):
        _core.read_sstable(table(GOOD, kind=1), "t")


@pytest.mark.parametrize("numbers", [(0, 8, 0, 8), *((n, n, n, n) for n in HUGE), (1 << 63, 1 << 63, 0, 0), (0,)])
def test_footers_that_lead_astray(numbers):
    with pytest.raises(BundleError, match=r"footer|do not end the file"):
        _core.read_sstable(table(GOOD, footer=b"".join(map(varint, numbers))), "t")


def test_checksum_error_names_block_and_place():
    file = bytearray(table(GOOD))
    file[len(GOOD[0]) + 5 + 3] ^= 1
    with pytest.raises(BundleCrcError, match=r"checksum of the data block: got 0x[0-9a-f]{8}, want 0x") as caught:
        _core.read_sstable(bytes(file), "t")
    assert caught.value.path == "t"
    assert caught.value.offset == len(GOOD[0]) + 5


BOXES = st.lists(
    st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            st.just(n), st.integers(0, n - 1).flatmap(lambda s: st.tuples(st.just(s), st.integers(1, n - s)))
        )
    ),
    max_size=5,
)


@given(BOXES, st.sampled_from([np.uint8, np.int32, np.complex128]))
@settings(max_examples=300, deadline=None)
def test_boxes_are_numpys(tmp_path_factory, dims, dtype):
    shape = [n for n, _ in dims]
    starts, lengths = [s for _, (s, _) in dims], [n for _, (_, n) in dims]
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    path = str(tmp_path_factory.getbasetemp() / "box")
    writer = _core.BundleDataWriter(path)
    offset, size, crc = writer.append(array.reshape(-1).view(np.uint8))
    writer.close()
    out = np.empty(lengths, dtype)
    place = _core.TensorPlace(_core.TensorLayout.FIXED, offset, size, array.size, "x")
    got = _core.BundleDataReader(path).read_box(
        place, array.itemsize, shape, starts, lengths, out.reshape(-1).view(np.uint8)
    )
    assert got == crc
    np.testing.assert_array_equal(out, array[tuple(slice(s, s + n) for s, n in zip(starts, lengths, strict=True))])


def test_box_larger_than_a_chunk(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (1000, 7001), np.uint8)
    writer = _core.BundleDataWriter(str(tmp_path / "f"))
    offset, size, crc = writer.append(array.reshape(-1))
    writer.close()
    out = np.empty((900, 5000), np.uint8)
    place = _core.TensorPlace(_core.TensorLayout.FIXED, offset, size, array.size, "x")
    reader = _core.BundleDataReader(str(tmp_path / "f"))
    assert reader.read_box(place, 1, [1000, 7001], [50, 1001], [900, 5000], out.reshape(-1)) == crc
    np.testing.assert_array_equal(out, array[50:950, 1001:6001])


@pytest.mark.parametrize(
    ("shape", "starts", "lengths", "message"),
    [
        ([4], [0], [5], "leaves the tensor"),
        ([4], [2**63], [2**63], "leaves the tensor"),
        ([4], [], [], "differ in rank"),
        ([2**40, 2**40], [0, 0], [1, 1], "too many bytes"),
        ([5], [0], [4], "does not match the size"),
    ],
)
def test_boxes_that_make_no_sense(tmp_path, shape, starts, lengths, message):
    (tmp_path / "f").write_bytes(b"abcd")
    place = _core.TensorPlace(_core.TensorLayout.FIXED, 0, 4, 4, "x")
    with pytest.raises(InvalidArgumentError, match=message):
        _core.BundleDataReader(str(tmp_path / "f")).read_box(place, 1, shape, starts, lengths, np.empty(4, np.uint8))


def test_buffers_of_the_wrong_kind_are_refused(tmp_path):
    writer = _core.BundleDataWriter(str(tmp_path / "f"))
    for wrong in (np.zeros(3, np.int16), np.zeros((2, 2), np.uint8), np.zeros(8, np.uint8)[::2]):
        with pytest.raises(InvalidArgumentError, match="contiguous one-dimensional buffer of bytes"):
            writer.append(wrong)
    writer.append(np.arange(4, dtype=np.uint8))
    writer.close()
    with pytest.raises(InvalidArgumentError, match="is closed"):
        writer.append(np.zeros(1, np.uint8))
    reader = _core.BundleDataReader(str(tmp_path / "f"))
    place = _core.TensorPlace(_core.TensorLayout.FIXED, 0, 4, 4, "x")
    with pytest.raises(InvalidArgumentError, match="buffer size: got 5, want 4 bytes"):
        reader.read_into(place, np.zeros(5, np.uint8))


def test_reserved_space_is_cut_off(tmp_path):
    writer = _core.BundleDataWriter(str(tmp_path / "f"), 1 << 20)
    writer.append(np.arange(5, dtype=np.uint8))
    writer.close()
    assert (tmp_path / "f").read_bytes() == bytes(range(5))
