"""The same inputs give the same bytes: in every process, folder and environment, and nothing of these is in a file."""

from __future__ import annotations

import getpass
import hashlib
import os
import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx

ROOT = Path(mx.__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / ".".join(mx.__version__.split(".")[:2])
USER = "a-user-who-exports"

# Arguments: checkpoint, asset, the folder to export into, a seed for the order in which dictionaries are filled.
PROTOBUF = """
import os, random, sys
from pathlib import Path
import mexport_pb as mx

checkpoint, asset, target, seed = sys.argv[1:]
order = random.Random(int(seed))
def shuffled(pairs):
    pairs = list(pairs)
    order.shuffle(pairs)
    return dict(pairs)

g = mx.GraphBuilder()
x = g.placeholder("float32", [None, 4], name="x")
with g.device("/job:ps/task:1"):
    w = g.variable("w", [4, 3])
p = g.partitioned_variable("p", [9, 2], num_shards=3)
y = g.matmul(x, w, name="y")
for name in ("words", "more"):
    g.const("a path", name=name)
for key, values in shuffled([("b", ["x", "y"]), ("a", [1, 2]), ("aa", [1.5]), ("tensors", [x, y])]).items():
    for value in values:
        g.add_to_collection(key, value)
g.add_to_collection("saved_model_assets", mx.messages.pack_asset_file_def(mx.make_asset_file_def("words:0", "w.txt")))
g.add_to_collection("saved_model_assets", mx.messages.pack_asset_file_def(mx.make_asset_file_def("more:0", "v.txt")))
keys = ["serving_default", "serving", "s", "raw/assign", "z", "a"]
def signature(i):
    return mx.make_signature_def(shuffled((k, x) for k in "dcba"[: i % 4 + 1]), shuffled((k, y) for k in keys))
signatures = shuffled((key, signature(i)) for i, key in enumerate(keys))
mx.write_saved_model(
    mx.add_main_op(g.to_meta_graph(["serve"], signatures)),
    os.path.join(target, "built"),
    checkpoint,
    assets=shuffled([("w.txt", asset), ("v.txt", asset)]),
    assets_extra=shuffled([("more/b", asset), ("more/a", asset), ("c", asset)]),
    strip_default_attrs=True,
    clear_devices=True,
)

def receiver_fn():
    g = mx.get_default_graph()
    x, s = g.placeholder("float32", [None, 4], name="x"), g.placeholder("float32", [None, 4], name="s")
    alternatives = shuffled((name, shuffled([("x", x), ("s", s)])) for name in "vu")
    return mx.ServingInputReceiver(shuffled([("x", x), ("s", s)]), shuffled([("x", x), ("s", s)]), alternatives)

def model_fn(features, mode):
    g = mx.get_default_graph()
    y = g.add(g.matmul(features["x"], g.variable("w", [4, 3])), g.matmul(features["s"], g.variable("w2", [4, 3])))
    names = ("s", "serving_default", "serving", "a")
    outputs = shuffled((name, mx.PredictOutput(shuffled((k, y) for k in "xyz"))) for name in names)
    return mx.EstimatorSpec(mode, export_outputs=outputs)

mx.StandaloneExporter(
    model_fn, os.path.dirname(checkpoint), os.path.join(target, "exported"), global_step_as_timestamp=True
).export_saved_model(receiver_fn, checkpoint)

# Graphs that TensorFlow made, with branches, strings and partitions.
for case in ("cond_version_2", "string_variables", "parts_from_whole"):
    inputs = GOLDEN / case / "input"
    meta_graph = mx.read_meta_graph(inputs / "graph-0.pb")
    for maps in (meta_graph.collection_def, meta_graph.signature_def, *(n.attr for n in meta_graph.graph_def.node)):
        copies = {key: type(value).FromString(value.SerializeToString()) for key, value in maps.items()}
        maps.clear()
        for key, value in shuffled(copies.items()).items():
            maps[key].CopyFrom(value)
    meta_graph.ClearField("saver_def")
    del meta_graph.meta_info_def.tags[:]
    mx.write_saved_model(meta_graph, os.path.join(target, case), inputs / "model.ckpt", strip_default_attrs=True)
    mx.export_meta_graph(meta_graph, inputs / "model.ckpt", os.path.join(target, f"{case}_frozen"), freeze=True)
print(target)
""".replace("GOLDEN", f"Path({str(GOLDEN)!r})")

# The same arguments; exports into a version below the target.
TENSORFLOW = """
import os, random, sys
import tensorflow as tf
import mexport_pb as mx
from mexport_pb.runtime import TensorFlowSource

checkpoint, asset, target, seed = sys.argv[1:]
order = random.Random(int(seed))
def shuffled(pairs):
    pairs = list(pairs)
    order.shuffle(pairs)
    return dict(pairs)

v1 = tf.compat.v1
def receiver_fn():
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    return mx.ServingInputReceiver({"x": x}, shuffled((key, x) for key in "abc"))

@tf.function
def squared(v):
    return tf.cond(tf.reduce_sum(v) > 0, lambda: tf.square(v), lambda: v)

def model_fn(features, mode):
    w = v1.get_variable("w", [4, 3])
    p = v1.get_variable("p", [9, 2], partitioner=v1.fixed_size_partitioner(3))
    for key, value in shuffled([("b", "x"), ("a", 1), ("aa", 1.5), ("tensors", features["x"])]).items():
        v1.add_to_collection(key, value)
    v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, tf.constant(asset))
    y = squared(tf.matmul(features["x"], w))
    keys = ("s", "serving_default", "a")
    outputs = shuffled((key, mx.PredictOutput(shuffled((k, y) for k in "xyz"))) for key in keys)
    return mx.EstimatorSpec(mode, export_outputs=outputs)

exporter = mx.StandaloneExporter(model_fn, os.path.dirname(checkpoint), target, source=TensorFlowSource())
print(os.fsdecode(exporter.export_saved_model(receiver_fn, checkpoint)))
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A checkpoint and an asset, whose bytes hold nothing that the search below looks for."""
    folder = tmp_path_factory.mktemp("inputs")
    with mx.BundleWriter(folder / "model.ckpt-3") as bundle:
        bundle.add("global_step", np.array(3, np.int64))
        bundle.add("p", np.arange(18, dtype=np.float32).reshape(9, 2))
        bundle.add("w", np.ones((4, 3), np.float32))
        bundle.add("w2", np.zeros((4, 3), np.float32))
    (folder / "words.txt").write_text("a\nb\n")
    return folder


def _export(script: str, inputs: Path, folder: Path, number: int) -> Path:
    """Exports in a process with a folder, a hash seed, numbers of threads and an environment of its own."""
    cwd = folder / f"cwd-{number}"
    cwd.mkdir()
    threads = str(1 + number % 4)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": str(number * 7919),
        "HOME": str(cwd),
        "USER": USER,
        "LOGNAME": USER,
        "TZ": ("UTC", "Asia/Tokyo", "America/Lima")[number % 3],
        "LC_ALL": ("C", "C.UTF-8")[number % 2],
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    arguments = [str(inputs / "model.ckpt-3"), str(inputs / "words.txt"), str(folder / f"export-{number}"), str(number)]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def _run(script: str, inputs: Path, folder: Path, count: int) -> list[Path]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda number: _export(script, inputs, folder, number), range(count)))


def _files(export: Path) -> dict[str, bytes]:
    return {p.relative_to(export).as_posix(): p.read_bytes() for p in sorted(export.rglob("*")) if p.is_file()}


def _digest(export: Path) -> str:
    digest = hashlib.sha256()
    for name, data in _files(export).items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def _traces(export: Path, inputs: Path, allowed: bytes = b"") -> list[str]:
    """What an export tells of the process that wrote it: time, host, user, folders."""
    words = {
        USER,
        socket.gethostname(),
        str(export.parent),
        str(inputs),
        str(ROOT),
        str(Path.cwd()),
        "/tmp/",
        sys.prefix,
        # The second at which it was written, and its neighbours of the same quarter of an hour.
        *(str(int(time.time()) - 1000 * back)[:7] for back in (0, 1)),
    }
    # A user named as a word that TensorFlow's messages have would be found in any export.
    if len(getpass.getuser()) > 5:
        words.add(getpass.getuser())
    found = []
    for name, data in _files(export).items():
        left = data.replace(allowed, b"") if allowed else data
        found += [f"{name}: {word}" for word in sorted(words) if word.encode() in left or word in name]
    return found


def test_twenty_processes_write_one_export(inputs, tmp_path):
    exports = _run(PROTOBUF, inputs, tmp_path, 20)
    assert len({_digest(export) for export in exports}) == 1
    assert {name.partition("/")[0] for name in _files(exports[0])} == set(os.listdir(exports[0]))
    assert len(os.listdir(exports[0])) == 8
    assert set(_files(exports[0])) >= {"built/assets/w.txt", "exported/3/variables/variables.index"}
    assert _traces(exports[0], inputs) == []


@pytest.mark.tensorflow
def test_six_processes_with_tensorflow_write_one_export(inputs, tmp_path):
    # Each imports TensorFlow, which takes seconds.
    exports = _run(TENSORFLOW, inputs, tmp_path, 6)
    assert len({_digest(export) for export in exports}) == 1
    # The caller's own Const has the path of its file, and keeps it.
    asset = str(inputs / "words.txt").encode()
    assert _files(exports[0])["saved_model.pb"].count(asset) == 1
    assert _traces(exports[0], inputs, allowed=asset) == []


def test_traces_are_found(inputs, tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    assert _traces(export, inputs) == []
    samples = [USER, socket.gethostname(), str(tmp_path), str(int(time.time())), str(inputs / "words.txt")]
    for i, text in enumerate(samples):
        (export / f"file{i}").write_bytes(b"\0" + text.encode() + b"\n")
        assert any(trace.startswith(f"file{i}: ") for trace in _traces(export, inputs)), text


def test_the_digest_depends_on_names_and_bytes(tmp_path):
    digests = set()
    for i, (name, data) in enumerate((("a", b"1"), ("b", b"1"), ("a", b"2"), ("a", b""))):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / name).write_bytes(data)
        digests.add(_digest(tmp_path / str(i)))
    assert len(digests) == 4


def test_orders_really_differ():
    shuffles = {tuple(random.Random(seed).sample(range(4), 4)) for seed in range(20)}
    assert len(shuffles) > 5
