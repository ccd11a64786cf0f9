"""Damaged and hostile bundles: each is refused by one of our errors, and none makes the reader ask for memory."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mexport_pb import _core
from mexport_pb._proto import bundle_pb2, tensor_pb2
from mexport_pb.bundle import BundleReader, BundleWriter, copy_bundle, merge_bundles
from mexport_pb.errors import BundleCrcError, BundleError, UnsupportedError

MATRIX = np.arange(10, dtype=np.float32).reshape(5, 2)
HEADER = bundle_pb2.BundleHeaderProto(num_shards=1, version={"producer": 1})
EMPTY_CRC = 0xA282EAD8


def write_small(prefix):
    with BundleWriter(prefix) as writer:
        writer.add("w", MATRIX)
        writer.add_slice("p", (5, 2), "0,3:-", MATRIX[:3])
        writer.add_slice("p", (5, 2), "3,2:-", MATRIX[3:])
        writer.add("s", ["ab", "", "x" * 130])
        writer.add("e", np.zeros((0, 2)))
        writer.add("es", np.zeros((0,), object))
        writer.add("b", np.array([True, False]))
    return f"{prefix}.index", f"{prefix}.data-00000-of-00001"


def check(prefix):
    """Everything that a caller can do with all of a bundle."""
    reader = BundleReader(prefix)
    reader.verify()
    return [reader.read(name) for name in reader.keys()]  # noqa: SIM118


def test_every_flipped_bit_of_the_index_is_noticed_at_opening(tmp_path):
    path, _ = write_small(tmp_path / "b")
    with open(path, "rb") as file:
        good = file.read()
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            with open(path, "wb") as file:
                file.write(bad)
            with pytest.raises(BundleError) as caught:
                BundleReader(tmp_path / "b")
            assert caught.value.path == path


def test_every_flipped_bit_of_the_data_is_noticed(tmp_path):
    _, path = write_small(tmp_path / "b")
    with open(path, "rb") as file:
        good = file.read()
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            with open(path, "wb") as file:
                file.write(bad)
            reader = BundleReader(tmp_path / "b")
            with pytest.raises(BundleError, match="tensor '") as caught:
                reader.verify()
            assert caught.value.path == path
            assert caught.value.offset <= position
            with pytest.raises(BundleError, match="tensor '"):
                copy_bundle(tmp_path / "b", tmp_path / "c")
            with pytest.raises(BundleError, match="tensor '"):
                for name in reader.keys():  # noqa: SIM118
                    reader.read(name)
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00001", "b.index"]


def test_every_truncation_is_noticed(tmp_path):
    paths = write_small(tmp_path / "b")
    for path in paths:
        with open(path, "rb") as file:
            good = file.read()
        for size in range(len(good)):
            with open(path, "wb") as file:
                file.write(good[:size])
            with pytest.raises(BundleError) as caught:
                check(tmp_path / "b")
            assert caught.value.path == path
        with open(path, "wb") as file:
            file.write(good)
    check(tmp_path / "b")


def test_appended_bytes(tmp_path):
    index, data = write_small(tmp_path / "b")
    with open(data, "ab") as file:
        file.write(b"left over")
    check(tmp_path / "b")  # no tensor claims them
    with open(index, "ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="wrong magic number"):
        check(tmp_path / "b")


def test_checksum_error_names_file_offset_and_tensor(tmp_path):
    _, path = write_small(tmp_path / "b")
    with open(path, "r+b") as file:
        file.seek(45)
        file.write(b"\xff")
    with pytest.raises(BundleCrcError) as caught:
        BundleReader(tmp_path / "b").read("p")
    assert str(caught.value).startswith(f"{path}: offset 40: tensor 'p 0,3:-': checksum: got 0x")
    assert (caught.value.path, caught.value.offset) == (path, 40)


def entry(**fields):
    fields = {"dtype": tensor_pb2.DT_FLOAT, "shape": {"dim": [{"size": 2}]}, "size": 8, "crc32c": 1} | fields
    return bundle_pb2.BundleEntryProto(**fields)


def shape(*dims):
    return {"dim": [{"size": n} for n in dims]}


def part(*extents):
    return {"extent": [{"start": s, "length": n} for s, n in extents]}


def write_raw(prefix, entries, header=HEADER, data=b"\0" * 64):
    """A bundle whose table is sound and whose entries are as given."""
    table = {k: v if isinstance(v, bytes) else v.SerializeToString() for k, v in ({b"": header} | entries).items()}
    if table[b""] == b"no header":
        del table[b""]
    with open(f"{prefix}.index", "wb") as file:
        file.write(_core.write_sstable(sorted(table.items())))
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
        file.write(data)


KEY = _core.encode_slice_key
PART_ENTRY = entry(shape=shape(1), size=4)
FULL = {"size": 0, "crc32c": 0}

HOSTILE = {
    "no header": ({b"": b"no header", b"a": entry()}, "no header"),
    "nothing": ({b"": b"no header"}, "no header"),
    "header of garbage": ({b"": b"\xff\xff"}, "not a protobuf message"),
    "entry of garbage": ({b"a": b"\x0a\xff"}, "not a protobuf message"),
    "no shards": ({b"": bundle_pb2.BundleHeaderProto()}, "number of data files: got 0"),
    "negative shards": ({b"": bundle_pb2.BundleHeaderProto(num_shards=-1)}, "number of data files: got -1"),
    "negative producer": (
        {b"": bundle_pb2.BundleHeaderProto(num_shards=1, version={"producer": -1})},
        "got producer -1",
    ),
    "shard beyond": ({b"a": entry(shard_id=1)}, "number of the data file: got 1, want 0 to 0"),
    "negative shard": ({b"a": entry(shard_id=-1)}, "number of the data file: got -1"),
    "no dtype": ({b"a": entry(dtype=0)}, "dtype that no tensor has: got 0"),
    "reference dtype": ({b"a": entry(dtype=101)}, "dtype that no tensor has: got 101"),
    "negative dtype": ({b"a": entry(dtype=-5)}, "dtype that no tensor has: got -5"),
    "unknown rank": ({b"a": entry(shape={"unknown_rank": True})}, "shape that no tensor has: got unknown"),
    "negative dim": ({b"a": entry(shape=shape(2, -1))}, "shape that no tensor has"),
    "rank": ({b"a": entry(shape=shape(*[1] * 255), size=4)}, "shape that no tensor has"),
    "overflow": ({b"a": entry(shape=shape(2**32, 2**32), size=0)}, "more than 2\\^63 - 1 elements"),
    "size too small": ({b"a": entry(size=4)}, "size: got 4, want 8 for float32"),
    "size too large": ({b"a": entry(size=2**60)}, "size: got 1152921504606846976, want 8"),
    "negative size": ({b"a": entry(size=-8)}, "place in the data file: got offset 0, size -8"),
    "negative offset": ({b"a": entry(offset=-8)}, "place in the data file: got offset -8"),
    "offset overflow": ({b"a": entry(offset=2**63 - 4)}, "place in the data file: got offset"),
    "strings": ({b"a": entry(dtype=7, shape=shape(2**60), size=100)}, "size: got 100, want at least"),
    "variants": ({b"a": entry(dtype=21, shape=shape(2**60), size=100)}, "size: got 100, want at least"),
    "overlap": ({b"a": entry(), b"b": entry(offset=4)}, "b'a' and b'b' overlap in data file 0"),
    "part without tensor": ({KEY(b"p", [(0, 1)]): PART_ENTRY}, "slice without its tensor"),
    "key that is no slice key": ({b"\0\1": entry()}, "slice without its tensor"),
    "tensor without part": (
        {b"p": entry(slices=[part((0, 2))], **FULL)},
        "no entry for its slice 0,2",
    ),
    "part of another dtype": (
        {b"p": entry(slices=[part((0, 2))], **FULL), KEY(b"p", [(0, 2)]): entry(dtype=tensor_pb2.DT_INT32)},
        "its slice 0,2 differs in dtype or shape",
    ),
    "part of another shape": (
        {b"p": entry(slices=[part((0, 2))], **FULL), KEY(b"p", [(0, 2)]): entry(shape=shape(1, 2))},
        "its slice 0,2 differs in dtype or shape",
    ),
    "part in parts": (
        {b"p": entry(slices=[part((0, 2))], **FULL), KEY(b"p", [(0, 2)]): entry(slices=[part((0, 2))], **FULL)},
        "its slice 0,2 differs in dtype or shape",
    ),
    "part beyond": ({b"p": entry(slices=[part((1, 2))], **FULL)}, "leaves the shape"),
    "part far beyond": ({b"p": entry(slices=[part((2**63 - 1, 2))], **FULL)}, "slice wants starts"),
    "negative part": ({b"p": entry(slices=[part((-1, 2))], **FULL)}, "slice wants starts"),
    "empty part": ({b"p": entry(slices=[part((0, 0))], **FULL)}, "slice wants starts"),
    "part of another rank": ({b"p": entry(slices=[part((0, 2), (0, 1))], **FULL)}, "got 2 dimensions, want 1"),
    "part twice": (
        {b"p": entry(slices=[part((0, 1)), part((0, 1))], **FULL), KEY(b"p", [(0, 1)]): PART_ENTRY},
        "slices overlap: 0,1 and 0,1",
    ),
    "gap": (
        {b"p": entry(slices=[part((0, 1))], **FULL), KEY(b"p", [(0, 1)]): PART_ENTRY},
        "slices do not cover the tensor: got 1 elements, want 2",
    ),
    "data and parts": ({b"p": entry(slices=[part((0, 2))])}, "a partitioned tensor with data of its own"),
    "many boxes": (
        {b"p": entry(shape=shape(200, 200), slices=[part((i % 200, 1), (i // 200, 1)) for i in range(10001)], **FULL)},
        "too many parts: got 10001",
    ),
}


@pytest.mark.parametrize(("entries", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_index_is_refused_at_opening(tmp_path, entries, message):
    write_raw(tmp_path / "b", entries)
    with pytest.raises(BundleError, match=message) as caught:
        BundleReader(tmp_path / "b")
    assert caught.value.path == str(tmp_path / "b.index")


@pytest.mark.parametrize(
    "header",
    [
        bundle_pb2.BundleHeaderProto(num_shards=1, endianness=1),
        bundle_pb2.BundleHeaderProto(num_shards=1, version={"min_consumer": 2}),
        bundle_pb2.BundleHeaderProto(num_shards=1, version={"bad_consumers": [1]}),
    ],
)
def test_other_endianness_and_versions(tmp_path, header):
    write_raw(tmp_path / "b", {}, header)
    with pytest.raises(UnsupportedError, match=r"b.index: (big-endian bundle|bundle refuses readers of version 1)"):
        BundleReader(tmp_path / "b")


def test_types_without_a_stored_form(tmp_path):
    write_raw(
        tmp_path / "b",
        {b"resource": entry(dtype=tensor_pb2.DT_RESOURCE), b"new": entry(dtype=99, offset=8), b"old": entry(offset=16)},
    )
    reader = BundleReader(tmp_path / "b")
    for name, message in (("resource", "a resource is a handle"), ("new", "unknown dtype number 99")):
        for use in (reader.read, lambda name: copy_bundle(reader.prefix, tmp_path / "c", [name])):
            with pytest.raises(UnsupportedError, match=message):
                use(name)
    with pytest.raises(UnsupportedError):
        reader.verify()
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00001", "b.index"]


def stored_strings(lengths, strings, checksum=None):
    crc = _core.crc32c(b"".join(n.to_bytes(4, "little") for n in lengths))
    check = _core.mask_crc(crc) if checksum is None else checksum
    varints = b"".join(bytes([n]) for n in lengths)
    raw = varints + check.to_bytes(4, "little") + strings
    return raw, _core.mask_crc(_core.crc32c(check.to_bytes(4, "little") + strings, crc))


@pytest.mark.parametrize(
    ("lengths", "strings", "checksum", "message"),
    [
        ([1, 2], b"abc", None, None),
        ([1, 1], b"abc", None, "lengths of the elements do not add up: got 2 bytes, want 3"),
        ([1, 3], b"abc", None, "lengths of the elements do not add up: got 4 bytes, want 3"),
        ([1, 127], b"abc", None, "element longer than the tensor"),
        ([1, 2], b"abc", 7, "checksum of the string lengths"),
    ],
)
def test_strings_under_right_checksums(tmp_path, lengths, strings, checksum, message):
    raw, crc = stored_strings(lengths, strings, checksum)
    write_raw(tmp_path / "b", {b"s": entry(dtype=7, size=len(raw), crc32c=crc)}, data=raw)
    reader = BundleReader(tmp_path / "b")
    if message is None:
        assert reader.read("s").tolist() == [b"a", b"bc"]
        reader.verify()
        return
    for use in (lambda: reader.read("s"), reader.verify, lambda: copy_bundle(tmp_path / "b", tmp_path / "c")):
        with pytest.raises(BundleError, match=f"offset 0: tensor 's': {message}"):
            use()


@pytest.mark.parametrize("lengths", ["ffffffffffffffffff01", "ffffffffffffffffffff", "8000", "ffffffffffffffff7f"])
def test_hostile_lengths_of_strings_and_variants(tmp_path, lengths):
    data = bytes.fromhex(lengths).ljust(64, b"\0")
    for dtype in (7, 21):
        write_raw(tmp_path / "b", {b"s": entry(dtype=dtype, size=64)}, data=data)
        with pytest.raises(BundleError, match=r"element longer than the tensor|malformed length"):
            BundleReader(tmp_path / "b").verify()


def test_lengths_that_end_with_the_tensor(tmp_path):
    # The last byte says that another one follows.
    for raw, dtype, dims in ((b"\0\0\0\0\x80", 7, 1), (b"\x80" * 5, 21, 1)):
        write_raw(tmp_path / "b", {b"s": entry(dtype=dtype, shape=shape(dims), size=len(raw))}, data=raw)
        with pytest.raises(BundleError):
            BundleReader(tmp_path / "b").verify()


def test_variant_with_bytes_behind_it(tmp_path):
    write_raw(tmp_path / "b", {b"v": entry(dtype=21, shape=shape(0), size=8, crc32c=EMPTY_CRC)})
    with pytest.raises(BundleError, match="bytes behind the last element: got 8"):
        BundleReader(tmp_path / "b").verify()


def test_variants_are_not_read_as_arrays(tmp_path):
    write_raw(tmp_path / "b", {b"v": entry(dtype=21, shape=shape(0), size=0, crc32c=EMPTY_CRC)})
    reader = BundleReader(tmp_path / "b")
    reader.verify()
    with pytest.raises(UnsupportedError, match="a variant has no numpy form; it can be copied"):
        reader.read("v")


def test_bool_that_is_neither(tmp_path):
    crc = _core.mask_crc(_core.crc32c(b"\x01\x02"))
    write_raw(tmp_path / "b", {b"a": entry(dtype=tensor_pb2.DT_BOOL, size=2, crc32c=crc)}, data=b"\x01\x02")
    with pytest.raises(BundleError, match="tensor 'a': bool: got 2, want 0 or 1"):
        BundleReader(tmp_path / "b").read("a")


def test_rank_that_numpy_does_not_take(tmp_path):
    crc = _core.mask_crc(_core.crc32c(b"\0" * 4))
    write_raw(tmp_path / "b", {b"a": entry(shape=shape(*[1] * 65), size=4, crc32c=crc)})
    with pytest.raises(UnsupportedError, match="numpy takes 64 dimensions: got 65"):
        BundleReader(tmp_path / "b").read("a")
    copy_bundle(tmp_path / "b", tmp_path / "c")
    BundleReader(tmp_path / "c").verify()


def test_names_in_an_index_are_not_file_names(tmp_path):
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    crc = _core.mask_crc(_core.crc32c(b"\0" * 8))
    names = [b"../../out", b"/tmp/x", b"a/../../b", b"\n"]
    write_raw(folder / "b", {name: entry(offset=8 * i, crc32c=crc) for i, name in enumerate(names)})
    assert BundleReader(folder / "b").read("../../out").shape == (2,)
    copy_bundle(folder / "b", folder / "c")
    merge_bundles([folder / "b"], folder / "d")
    assert len(os.listdir(folder)) == 6
    assert os.listdir(tmp_path) == ["in"]


def test_one_good_part_does_not_vouch_for_the_others(tmp_path):
    rest = 1 << 50
    crc = _core.mask_crc(_core.crc32c(b"\0"))
    parts = {
        (0, 1): entry(dtype=6, shape=shape(1), size=1, crc32c=crc),
        (1, rest): entry(dtype=6, shape=shape(rest), size=rest, offset=1),
    }
    full = entry(dtype=6, shape=shape(rest + 1), slices=[part(extent) for extent in parts], **FULL)
    write_raw(tmp_path / "b", {b"p": full} | {KEY(b"p", [extent]): value for extent, value in parts.items()})
    reader = BundleReader(tmp_path / "b")
    for use in (lambda: reader.read("p"), lambda: reader.read_slice("p", f"{rest + 1} 0,{rest}")):
        with pytest.raises(BundleError, match="tensor 'p 1,1125899906842624' ends beyond the file"):
            use()


def test_sparse_index_is_refused_by_its_size(tmp_path):
    with open(tmp_path / "b.index", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="index too large"):
        BundleReader(tmp_path / "b")


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")
def test_hostile_sizes_take_no_memory(tmp_path):
    """Tensors that lie beyond their small file, of every layout, in a process that may not grow."""
    huge = 1 << 40
    entries = {
        b"float": entry(shape=shape(huge // 4), size=huge),
        b"strings": entry(dtype=7, shape=shape(huge - 4), size=huge, offset=huge),
        b"few strings": entry(dtype=7, shape=shape(2), size=huge, offset=2 * huge),
        b"variants": entry(dtype=21, shape=shape(2), size=huge, offset=3 * huge),
        b"p": entry(shape=shape(huge // 2), slices=[part((0, huge // 4)), part((huge // 4, huge // 4))], **FULL),
    }
    for i in range(2):
        key = KEY(b"p", [(i * huge // 4, huge // 4)])
        entries[key] = entry(shape=shape(huge // 4), size=huge, offset=(4 + i) * huge)
    write_raw(tmp_path / "b", entries)
    code = """if True:
        import resource, sys
        from mexport_pb.bundle import BundleReader, copy_bundle, copy_to_shards, BundleItem
        from mexport_pb.errors import BundleError, UnsupportedError
        reader = BundleReader(sys.argv[1])
        uses = [reader.verify]
        for name in reader.keys():
            uses.append(lambda name=name: reader.read(name))
            uses.append(lambda name=name: copy_bundle(sys.argv[1], sys.argv[2], [name]))
        uses.append(lambda: reader.read_slice("float", f"{1 << 38} 5,7"))
        uses.append(lambda: reader.read_slice("p", f"{1 << 39} 5,{1 << 38}"))
        uses.append(lambda: copy_to_shards(sys.argv[1], sys.argv[2], [[BundleItem("p")]]))
        from tests.support.memory import peak_rss
        before = peak_rss()
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        for use in uses:
            try:
                use()
            except (BundleError, UnsupportedError):
                continue
            raise SystemExit("not refused")
        print((peak_rss() - before) // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b"), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32 * 1024
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00001", "b.index"]
