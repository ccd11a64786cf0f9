"""Copying tensors between bundles."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mexport_pb.bundle import BundleItem, BundleReader, BundleWriter, copy_bundle, copy_to_shards
from mexport_pb.errors import InvalidArgumentError, MismatchError, MissingVariableError

MIB = 1 << 20
MATRIX = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.fixture
def source(tmp_path):
    with BundleWriter(tmp_path / "in" / "model.ckpt") as writer:
        writer.add("whole", MATRIX)
        writer.add("dense/bias", np.ones(3))
        writer.add("names", ["a", "bc", "", "d"])
        writer.add_slice("parts", (10, 3), "5,5:-", MATRIX[5:])
        writer.add_slice("parts", (10, 3), "0,5:-", MATRIX[:5])
    return str(tmp_path / "in" / "model.ckpt")


def read_all(prefix):
    with BundleReader(prefix) as reader:
        reader.verify()
        return {name: reader.read(name) for name in reader.keys()}  # noqa: SIM118


def test_copy_keeps_everything(source, tmp_path):
    report = copy_bundle(source, tmp_path / "out" / "variables")
    assert report.names == ("dense/bias", "names", "parts", "whole")
    assert report.bytes == os.path.getsize(tmp_path / "out" / "variables.data-00000-of-00001")
    np.testing.assert_equal(read_all(tmp_path / "out" / "variables"), read_all(source))
    assert BundleReader(tmp_path / "out" / "variables").slices("parts") == ["5,5:-", "0,5:-"]


def test_copy_of_some_is_in_the_order_of_keys(source, tmp_path):
    report = copy_bundle(source, tmp_path / "out", iter(["whole", "dense/bias"]))
    assert report.names == ("dense/bias", "whole")
    assert report.bytes == 24 + 120
    reader = BundleReader(tmp_path / "out")
    assert [(reader.entry(name).offset, reader.entry(name).size) for name in report.names] == [(0, 24), (24, 120)]


def test_copy_of_none(source, tmp_path):
    assert copy_bundle(source, tmp_path / "out", []).bytes == 0
    assert BundleReader(tmp_path / "out").keys() == []


def test_copy_over_itself(source):
    before = read_all(source)
    copy_bundle(source, source)
    np.testing.assert_equal(read_all(source), before)
    assert len(os.listdir(os.path.dirname(source))) == 2


def test_missing_key_names_key_checkpoint_and_near_names(source, tmp_path):
    message = r"in/model.ckpt: no tensor 'dense/bia' in the checkpoint; near names: 'dense/bias'"
    with pytest.raises(MissingVariableError, match=message):
        copy_bundle(source, tmp_path / "out", ["whole", "dense/bia"])
    with pytest.raises(MissingVariableError, match=message):
        copy_to_shards(source, tmp_path / "out", [[BundleItem("whole"), BundleItem("dense/bia")]])
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    ("shards", "extra", "error", "message"),
    [
        ([], {}, InvalidArgumentError, "at least one tensor"),
        ([[BundleItem("whole")], []], {}, InvalidArgumentError, "at least one tensor"),
        ([[BundleItem("whole"), BundleItem("whole")]], {}, InvalidArgumentError, "'whole' is there twice"),
        ([[BundleItem("whole")], [BundleItem("whole")]], {}, InvalidArgumentError, "in more than one"),
        ([[BundleItem("whole", "10 3 0,5:-")]], {}, InvalidArgumentError, "'whole': slices do not cover"),
        (
            [[BundleItem("whole", "10 3 0,5:-")], [BundleItem("whole", "10 3 4,6:-")]],
            {},
            InvalidArgumentError,
            "slices overlap: 0,5:- and 4,6:-",
        ),
        ([[BundleItem("whole", "11 3 0,5:-")]], {}, MismatchError, r"shape of tensor 'whole': got \(10, 3\), want"),
        ([[BundleItem("whole", "10 3 0,5")]], {}, InvalidArgumentError, "got 1 dimensions, want 2"),
        ([[BundleItem("whole")]], {"whole": 1}, InvalidArgumentError, "extra tensor 'whole' is in the checkpoint"),
        ([[BundleItem("whole")]], {"new": 1}, InvalidArgumentError, "extra tensor 'new' is not listed"),
    ],
)
def test_shards_that_are_refused_leave_nothing(source, tmp_path, shards, extra, error, message):
    with pytest.raises(error, match=message):
        copy_to_shards(source, tmp_path / "out", shards, extra=extra)
    assert os.listdir(tmp_path) == ["in"]


def test_shards_cut_and_put_together(source, tmp_path):
    shards = [
        [BundleItem("parts"), BundleItem("whole", "10 3 -:0,1"), BundleItem("names", "4 0,3")],
        [BundleItem("whole", "10 3 -:1,2"), BundleItem("new", "2 2 0,1:-"), BundleItem("scalar")],
        [BundleItem("names", "4 3,1"), BundleItem("dense/bias", "3 0,3"), BundleItem("new", "2 2 1,1:-")],
    ]
    extra = {"new": [[1, 2], [3, 4]], "scalar": np.float32(7)}
    report = copy_to_shards(source, tmp_path / "out", shards, extra=extra)
    assert report.names == ("parts", "whole", "names", "new", "scalar", "dense/bias")
    reader = BundleReader(tmp_path / "out")
    assert reader.num_shards == 3
    assert reader.slices("parts") == reader.slices("dense/bias") == []
    assert reader.slices("whole") == ["-:0,1", "-:1,2"]
    assert reader.slices("names") == ["0,3", "3,1"]
    got = read_all(tmp_path / "out")
    np.testing.assert_equal(got.pop("new"), np.array(extra["new"]))
    assert got.pop("scalar") == 7
    np.testing.assert_equal(got, read_all(source))


def test_parts_written_otherwise_but_the_same_are_copied_as_bytes(source, tmp_path, monkeypatch):
    monkeypatch.setattr(BundleReader, "read_slice", None)
    copy_to_shards(
        source, tmp_path / "out", [[BundleItem("parts", "10 3 0,5:0,3"), BundleItem("parts", "10 3 5,5:0,3")]]
    )
    np.testing.assert_array_equal(BundleReader(tmp_path / "out").read("parts"), MATRIX)


COPY = """if True:
    import sys
    from mexport_pb.bundle import *
    from tests.support.memory import peak_rss
    source, target, how, size = *sys.argv[1:4], int(sys.argv[4])
    rows = size // 4096
    halves = [[BundleItem("v", f"{rows} 1024 {i * rows // 64},{rows // 64}:0,1024")] for i in range(64)]
    columns = [[BundleItem("v", f"{rows} 1024 0,{rows}:{i * 16},16")] for i in range(64)]
    if how == "copy":
        copy_bundle(source, target)
    elif how == "verify":
        BundleReader(source).verify()
    else:
        copy_to_shards(source, target, {"rows": halves, "columns": columns}[how])
    print(peak_rss())
"""


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")
@pytest.mark.parametrize("how", ["copy", "verify", "rows", "columns"])
def test_memory_stays_flat(tmp_path, how):
    """A tensor of 512 MiB (a quarter of it where each byte is read 64 times), well under 150 MB."""
    size = 512 * MIB if how in ("copy", "verify") else 128 * MIB
    with BundleWriter(tmp_path / "source") as writer:
        writer.add("v", np.zeros((size // 4096, 1024), np.float32))
    done = subprocess.run(
        [sys.executable, "-c", COPY, str(tmp_path / "source"), str(tmp_path / "target"), how, str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    for path in tmp_path.glob("*.data-*"):
        path.unlink()
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150_000_000
