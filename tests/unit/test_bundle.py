"""Writing, reading and merging bundles, without TensorFlow. Bytes are those of docs/formats/bundle.md."""

import os
import subprocess
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mexport_pb._proto import tensor_pb2
from mexport_pb.bundle import BundleReader, BundleWriter, TensorSlice, copy_bundle, merge_bundles, parse_shape_and_slice
from mexport_pb.errors import BundleError, InvalidArgumentError, MismatchError, MissingVariableError

MATRIX = np.arange(10, dtype=np.float32).reshape(5, 2)


def write(prefix, **arrays):
    with BundleWriter(prefix) as writer:
        for name, array in arrays.items():
            writer.add(name, array)


def test_bytes_of_the_format_page(tmp_path):
    with BundleWriter(tmp_path / "b") as writer:
        writer.add_slice("p", (5, 2), "5 2 -:0,1", np.ones((5, 1), np.float32))
        writer.add_slice("p", (5, 2), [(0, 5), (1, 1)], np.zeros((5, 1), np.float32))
        writer.add("s", ["ab", ""])
    data = (tmp_path / "b.data-00000-of-00001").read_bytes()
    assert data.hex() == "0000803f" * 5 + "00" * 20 + "0200" + "78270b34" + "6162"
    index = (tmp_path / "b.index").read_bytes()
    assert bytes.fromhex("00700001010280" + "7f8081") in index
    assert bytes.fromhex("080112081202080512020801281435a1406110") in index
    assert bytes.fromhex("080712041202080220282808359188b04d") in index
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00001", "b.index"]


def test_reads_what_it_wrote(tmp_path):
    prefix = tmp_path / "new" / "folders" / "variables"
    with BundleWriter(prefix) as writer:
        writer.add("w", MATRIX)
        writer.add("big endian", MATRIX.astype(">f4"))
        writer.add("transposed", MATRIX.T)
        writer.add("half", np.float16(0.5))
        writer.add("bf16", np.arange(3).astype(ml_dtypes.bfloat16))
        writer.add("strings", np.array([["a", b"b\x00"], ["é", b""]], object))
        writer.add("fixed-width strings", np.array([b"ab", b"c"]))
        writer.add("one string", "x")
        writer.add("list", [1, 2])
        writer.add("empty", np.zeros((0, 3), np.int8))
        writer.add_slice("parts", (5, 2), "3,2:-", MATRIX[3:])
        writer.add_slice("parts", (5, 2), TensorSlice(((0, 3), (0, 2))), MATRIX[:3])
    with BundleReader(prefix) as reader:
        assert reader.keys() == sorted(reader.keys())
        assert len(reader) == 11
        assert "parts" in reader
        assert "3,2:-" not in reader
        for name in ("w", "big endian", "parts"):
            np.testing.assert_array_equal(reader.read(name), MATRIX)
            assert reader.dtype(name) == tensor_pb2.DT_FLOAT
            assert reader.shape(name) == (5, 2)
        np.testing.assert_array_equal(reader.read("transposed"), MATRIX.T)
        assert reader.read("half").shape == ()
        assert reader.read("bf16").dtype == ml_dtypes.bfloat16
        assert reader.read("strings").tolist() == [[b"a", b"b\x00"], ["é".encode(), b""]]
        assert reader.read("fixed-width strings").tolist() == [b"ab", b"c"]
        assert reader.read("one string")[()] == b"x"
        assert reader.read("list").dtype == np.int64
        assert reader.read("empty").shape == (0, 3)
        assert reader.slices("parts") == ["3,2:-", "0,3:0,2"]
        assert reader.slices("w") == []
        assert reader.entry("w").size == 40
        np.testing.assert_array_equal(reader.read_slice("parts", "5 2 2,2:1,1"), MATRIX[2:4, 1:])
        np.testing.assert_array_equal(reader.read_slice("w", "5 2 2,2:1,1"), MATRIX[2:4, 1:])
        assert reader.read_slice("strings", "2 2 1,1:-").tolist() == [["é".encode(), b""]]
        reader.verify()
    with pytest.raises(InvalidArgumentError, match="is closed"):
        reader.read("w")


@given(
    st.dictionaries(st.text(min_size=1).filter(lambda s: s[0] != "\0"), st.integers(0, 2**64 - 1), max_size=40),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=50)
def test_names_of_every_kind_round_trip(tmp_path_factory, values, random):
    prefix = tmp_path_factory.getbasetemp() / "names"
    names = list(values)
    random.shuffle(names)
    with BundleWriter(prefix) as writer:
        for name in names:
            writer.add(name, np.uint64(values[name]))
    with BundleReader(prefix) as reader:
        assert reader.keys() == sorted(values, key=str.encode)
        assert {name: int(reader.read(name)) for name in names} == values


def test_name_that_is_not_utf8(tmp_path):
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    write(tmp_path / "b", **{name: 1.0})
    reader = BundleReader(tmp_path / "b")
    assert reader.keys() == [name]
    assert reader.read(name) == 1.0
    reader.verify()


def test_folder_that_is_not_utf8(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"\xff")
    write(os.fsdecode(os.path.join(folder, b"b")), a=1.0)
    BundleReader(os.fsdecode(os.path.join(folder, b"b"))).verify()
    with open(os.path.join(folder, b"b.index"), "r+b") as file:
        file.truncate(60)
    with pytest.raises(BundleError, match="wrong magic number"):
        BundleReader(os.fsdecode(os.path.join(folder, b"b")))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("", 1.0, "name of a tensor: got ''"),
        ("\0x", 1.0, "begin with NUL"),
        ("a", 1.0, "'a' is there twice"),
        ("p", 1.0, "'p' is there twice"),
        ("x", np.array(["2020-01-01"], "M8[D]"), "'x': numpy dtype without"),
        ("x", np.array([1, None], object), "'x': element of a string tensor: got int, want str or bytes"),
        ("x", [[1], [1, 2]], "'x': "),
    ],
)
def test_add_refuses_and_goes_on(tmp_path, name, value, message):
    with BundleWriter(tmp_path / "b") as writer:
        writer.add("a", 1.0)
        writer.add_slice("p", (5, 2), "0,3:-", MATRIX[:3])
        with pytest.raises(InvalidArgumentError, match=message):
            writer.add(name, value)
        writer.add_slice("p", (5, 2), "3,2:-", MATRIX[3:])
    assert BundleReader(tmp_path / "b").keys() == ["a", "p"]


@pytest.mark.parametrize(
    ("name", "shape", "part", "value", "message"),
    [
        ("p", (5, 2), "0,3:-", MATRIX[:3], "slice 0,3:- is there twice"),
        ("p", (5, 2), "3,2:-", MATRIX[3:].astype(np.int32), "differ in dtype or full shape: got int32"),
        ("p", (6, 2), "3,2:-", MATRIX[3:], "differ in dtype or full shape"),
        ("p", (5, 2), "3,2:-", MATRIX, "shape of slice"),
        ("p", (5, 2), "3,3:-", MATRIX[:3], "leaves the shape"),
        ("p", (5, 2), "3,2", MATRIX[3:], "got 1 dimensions, want 2"),
        ("p", (5, 2), "6 2 3,2:-", MATRIX[3:], "want \\(5, 2\\)"),
        ("p", (5, 2), "3,0:-", MATRIX[:0], "got start 3, length 0"),
        ("p", (5, 2), [(-1, 2), (0, 2)], MATRIX[3:], "got start -1, length 2"),
        ("p", (5, 2), [(2**63 - 1, 2**63 - 1), (0, 2)], MATRIX[3:], "got start"),
        ("p", (5, 2), "three", MATRIX[3:], "malformed slice: got 'three'"),
        ("p", (5, 2), "5 2 ", MATRIX[3:], "got 0 dimensions"),
        ("p", (5, 2), "-:-", MATRIX, "'p' is there twice"),
        ("a", (5, 2), "3,2:-", MATRIX[3:], "'a' is there twice"),
    ],
)
def test_add_slice_refuses_and_goes_on(tmp_path, name, shape, part, value, message):
    with BundleWriter(tmp_path / "b") as writer:
        writer.add("a", 1.0)
        writer.add_slice("p", (5, 2), "0,3:-", MATRIX[:3])
        with pytest.raises(InvalidArgumentError, match=message):
            writer.add_slice(name, shape, part, value)
        writer.add_slice("p", (5, 2), "3,2:-", MATRIX[3:])
    np.testing.assert_array_equal(BundleReader(tmp_path / "b").read("p"), MATRIX)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["0,3:-"], "do not cover the tensor: got 6 elements, want 10"),
        (["0,3:-", "2,3:-"], "slices overlap: 0,3:- and 2,3:-"),
        (["0,5:0,1", "0,3:-"], "slices overlap"),
        (["0,3:0,2", "0,3:-"], "slices overlap"),
        (["0,2:0,1", "0,2:1,1", "2,3:0,1", "1,4:1,1"], "slices overlap: 0,2:1,1 and 1,4:1,1"),
    ],
)
def test_close_refuses_parts_that_do_not_make_up_the_tensor(tmp_path, parts, message):
    writer = BundleWriter(tmp_path / "b")
    for part in parts:
        box = TensorSlice.parse(part).box((5, 2))
        writer.add_slice("p", (5, 2), part, np.zeros([length for _, length in box]))
    with pytest.raises(InvalidArgumentError, match=message):
        writer.close()
    assert os.listdir(tmp_path) == []


def test_nothing_appears_before_close_and_nothing_after_a_failure(tmp_path):
    write(tmp_path / "b", a=1.0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def now():
        return {path.name: path.read_bytes() for path in tmp_path.iterdir() if "temp" not in path.name}

    with pytest.raises(KeyError), BundleWriter(tmp_path / "b") as writer:
        writer.add("a", 2.0)
        assert now() == before
        raise KeyError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(InvalidArgumentError, match="given up"):
        writer.close()
    with pytest.raises(InvalidArgumentError, match="given up"):
        writer.add("b", 1.0)

    writer = BundleWriter(tmp_path / "b")
    writer.add("a", 2.0)
    writer.close()
    writer.close()
    assert now() != before
    with pytest.raises(InvalidArgumentError, match="is closed"):
        writer.add("b", 1.0)
    del writer

    BundleWriter(tmp_path / "b").add("a", 3.0)
    assert sorted(os.listdir(tmp_path)) == sorted(before)
    assert BundleReader(tmp_path / "b").read("a") == 2.0


def two_shards(prefix):
    """A bundle of two data files, numbered against the order of the keys: z in 0, a in 1."""
    folder = prefix.parent / "parts"
    write(folder / "z", z=np.arange(4))
    write(folder / "a", a=np.arange(4) + 100)
    merge_bundles([folder / "z", folder / "a"], prefix, move=True)


def contents(prefix):
    with BundleReader(prefix) as reader:
        reader.verify()
        return {key: reader.read(key).tolist() for key in sorted(reader.keys())}


OLD = {"a": [100, 101, 102, 103], "z": [0, 1, 2, 3]}
REPLACEMENTS = {
    "fewer data files": lambda prefix: write(prefix, a=2.0),
    "merged in place": lambda prefix: merge_bundles([prefix], prefix, move=True),
    "copied onto itself": lambda prefix: copy_bundle(prefix, prefix, ["a"]),
}


class FailingRename:
    def __init__(self, number):
        self.left = number
        self.rename = os.rename

    def __call__(self, source, target):
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "no space", target)
        self.rename(source, target)


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_failing_rename_leaves_the_old_bundle(tmp_path, monkeypatch, replace):
    two_shards(tmp_path / "b")
    before = sorted(os.listdir(tmp_path))
    for number in range(1, 20):
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", FailingRename(number))
            try:
                replace(tmp_path / "b")
                break
            except OSError:
                pass
        assert sorted(os.listdir(tmp_path)) == before
        assert contents(tmp_path / "b") == OLD
    assert number >= 5
    assert "a" in contents(tmp_path / "b")


@pytest.mark.parametrize("operation", ["fsync", "open"])
def test_failing_sync_leaves_the_old_bundle(tmp_path, monkeypatch, operation):
    write(tmp_path / "b", a=1.0)
    before = sorted(os.listdir(tmp_path))

    def fail(*_):
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(OSError, match="input/output"):
            write(tmp_path / "b", a=2.0)
    assert sorted(os.listdir(tmp_path)) == before
    assert contents(tmp_path / "b") == {"a": 1.0}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_a_kill_leaves_the_old_bundle_the_new_one_or_none(tmp_path, kind):
    code = """
import os, signal, sys
from pathlib import Path
from tests.unit.test_bundle import REPLACEMENTS
left, kind, prefix = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
rename = os.rename
def kill(source, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.rename = kill
REPLACEMENTS[kind](prefix)
"""
    outcomes = []
    for number in range(1, 20):
        prefix = tmp_path / str(number) / "b"
        two_shards(prefix)
        done = subprocess.run([sys.executable, "-c", code, str(number), kind, prefix], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        if os.path.exists(f"{prefix}.index"):
            assert contents(prefix) == OLD
            outcomes.append("old")
            continue
        outcomes.append("none")
        with pytest.raises(FileNotFoundError):
            BundleReader(prefix)
        if kind != "merged in place":  # which has moved data files into their new places
            restore_old(prefix)
            assert contents(prefix) == OLD
    assert outcomes[0] == "old"
    assert set(outcomes[1:]) == {"none"}


def restore_old(prefix):
    """What docs/formats/bundle.md says to do after a kill."""
    kept = sorted(path for path in prefix.parent.iterdir() if ".old-" in path.name)
    for path in kept:  # sorted: data files come before the index
        path.rename(prefix.parent / f"b.{path.name.split('.', 2)[2]}")


def test_merge_in_place_renumbers_data_files(tmp_path):
    two_shards(tmp_path / "b")
    merge_bundles([tmp_path / "b"], tmp_path / "b", move=True)
    assert contents(tmp_path / "b") == OLD
    with BundleReader(tmp_path / "b") as reader:
        assert (reader.entry("a").shard_id, reader.entry("z").shard_id) == (0, 1)
    assert len(os.listdir(tmp_path)) == 3


def test_merge_onto_an_input_under_another_spelling(tmp_path):
    two_shards(tmp_path / "b")
    write(tmp_path / "c", c=[7])
    (tmp_path / "link").symlink_to(tmp_path)
    merge_bundles([tmp_path / "c", tmp_path / "link" / "b"], tmp_path / "b", move=True)
    assert contents(tmp_path / "b") == {**OLD, "c": [7]}
    assert sorted(os.listdir(tmp_path)) == [*(f"b.data-0000{i}-of-00003" for i in range(3)), "b.index", "link"]


def test_replacing_removes_the_old_data_files_only(tmp_path):
    two_shards(tmp_path / "b")
    others = ["b.data-00000-of-00009", "b.data-00001-of-00002.bak", "bb.data-00000-of-00002"]
    for name in others:
        (tmp_path / name).touch()
    write(tmp_path / "b", a=2.0)
    assert sorted(os.listdir(tmp_path)) == sorted(["b.data-00000-of-00001", "b.index", *others])
    assert contents(tmp_path / "b") == {"a": 2.0}


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_a_damaged_index_is_replaced(tmp_path, damage):
    write(tmp_path / "b", a=1.0)
    (tmp_path / "b.index").write_bytes(damage)
    write(tmp_path / "b", a=2.0)
    assert contents(tmp_path / "b") == {"a": 2.0}


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "b.index").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "b", a=2.0)
    assert os.listdir(tmp_path) == ["b.index"]


@pytest.mark.parametrize("durable", [True, False])
def test_durable_bundles_are_synced_before_they_get_their_names(tmp_path, monkeypatch, durable):
    calls = []
    rename, fsync = os.rename, os.fsync

    def spy_rename(source, target):
        calls.append(os.path.basename(target))
        rename(source, target)

    def spy_fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", spy_rename)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    with BundleWriter(tmp_path / "b", durable=durable) as writer:
        writer.add("a", 1.0)
    if durable:
        assert calls == ["file", "file", "b.data-00000-of-00001", "folder", "b.index", "folder"]
    else:
        assert calls == ["b.data-00000-of-00001", "b.index"]


def test_full_disk(tmp_path):
    limit = 1 << 20
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from mexport_pb.bundle import BundleWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "writer = BundleWriter(sys.argv[1])\n"
        "try:\n"
        "    writer.add('a', np.zeros(10**7))\n"
        "except OSError as error:\n"
        "    print(error.filename)\n"
        "try:\n"
        "    writer.close()\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(str(tmp_path / "b.temp-"))
    assert lines[1].endswith("is given up")
    assert os.listdir(tmp_path) == []


def test_missing_tensor_names_checkpoint_and_near_names(tmp_path):
    write(tmp_path / "b", **{"dense/kernel": 1.0, "dense/bias": 1.0, "zzz": 1.0})
    reader = BundleReader(tmp_path / "b")
    for use in (reader.read, reader.entry, reader.shape, reader.dtype, reader.slices):
        with pytest.raises(MissingVariableError, match=r"b: no tensor 'dense/kernal' .*near names: 'dense/kernel'"):
            use("dense/kernal")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("5 2 0,6:-", InvalidArgumentError),
        ("5 2", InvalidArgumentError),
        ("5 x 0,1:-", InvalidArgumentError),
        ("5 -2 0,1:-", InvalidArgumentError),
        ("5 2 0,1:-:-", InvalidArgumentError),
        ("5 2 0,+1:-", InvalidArgumentError),
        ("5 2 0,1,2:-", InvalidArgumentError),
        ("5 2 0,٣:-", InvalidArgumentError),
        (f"5 2 0,{'9' * 5000}:-", InvalidArgumentError),
        (f"{'9' * 5000} 2 0,1:-", InvalidArgumentError),
        ("6 2 0,1:-", MismatchError),
        ("10 0,1", MismatchError),
    ],
)
def test_slices_that_are_refused(tmp_path, text, error):
    write(tmp_path / "b", a=MATRIX)
    with pytest.raises(error):
        BundleReader(tmp_path / "b").read_slice("a", text)


@pytest.mark.parametrize("text", ["5 2 0,3:0,2", "5 2 -:0,1", "7 3,1", "5 2 -:-"])
def test_slice_text_round_trips(text):
    shape, part = parse_shape_and_slice(text)
    assert " ".join(map(str, shape)) + f" {part}" == text
    assert TensorSlice.from_proto(part.to_proto()) == part


def test_missing_files_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        BundleReader(tmp_path / "b")
    assert caught.value.filename == str(tmp_path / "b.index")
    write(tmp_path / "b", a=1.0)
    os.unlink(tmp_path / "b.data-00000-of-00001")
    reader = BundleReader(tmp_path / "b")  # opening looks at the index alone
    with pytest.raises(FileNotFoundError) as caught:
        reader.read("a")
    assert caught.value.filename == str(tmp_path / "b.data-00000-of-00001")


def test_a_reader_serves_threads(tmp_path):
    arrays = {f"v{i}": np.full(50_000, i) for i in range(8)}
    write(tmp_path / "b", **arrays)
    reader = BundleReader(tmp_path / "b")
    wrong = []

    def work():
        wrong.extend(name for name, array in arrays.items() if not np.array_equal(reader.read(name), array))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_more_data_files_than_are_kept_open(tmp_path):
    prefixes = [tmp_path / f"part-{i}" for i in range(100)]
    for i, prefix in enumerate(prefixes):
        write(prefix, **{f"v{i}": np.int64(i)})
    merge_bundles(prefixes, tmp_path / "all")
    reader = BundleReader(tmp_path / "all")
    assert reader.num_shards == 100
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        assert all(reader.read(f"v{i}") == i for i in range(100))
    assert len(os.listdir("/proc/self/fd")) - before < 70
    reader.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_merge_refuses(tmp_path):
    write(tmp_path / "a", x=1.0)
    write(tmp_path / "b", x=1.0)
    write(tmp_path / "none")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InvalidArgumentError, match="no bundles"):
        merge_bundles([], tmp_path / "out")
    with pytest.raises(InvalidArgumentError, match="'x' is in more than one"):
        merge_bundles([tmp_path / "a", tmp_path / "b"], tmp_path / "out", move=True)
    with pytest.raises(InvalidArgumentError, match="data files without tensors: got 2 data files, 1 of them"):
        merge_bundles([tmp_path / "a", tmp_path / "none"], tmp_path / "out")
    for value, shape in ((MATRIX[3:].astype(np.int32), (5, 2)), (MATRIX[3:], (6, 2))):
        with BundleWriter(tmp_path / "p", partial=True) as writer:
            writer.add_slice("p", (5, 2), "0,3:-", MATRIX[:3])
        with BundleWriter(tmp_path / "q", partial=True) as writer:
            writer.add_slice("p", shape, "3,2:-", value)
        with pytest.raises(InvalidArgumentError, match="'p': parts differ in dtype or full shape"):
            merge_bundles([tmp_path / "p", tmp_path / "q"], tmp_path / "out")
    assert sorted(n for n in os.listdir(tmp_path) if n[0] not in "pq") == before


def test_merge_that_cannot_read_a_data_file_leaves_all_as_it_was(tmp_path):
    write(tmp_path / "a", x=1.0)
    write(tmp_path / "b", y=1.0)
    os.unlink(tmp_path / "b.data-00000-of-00001")
    before = sorted(os.listdir(tmp_path))
    for move in (False, True):
        with pytest.raises(FileNotFoundError):
            merge_bundles([tmp_path / "a", tmp_path / "b"], tmp_path / "out", move=move)
        assert sorted(os.listdir(tmp_path)) == before
