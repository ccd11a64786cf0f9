"""Bundles: copying a checkpoint's tensors and opening a large index, beside TensorFlow's ways in the same run.

Every figure comes from a process of its own, so that each peak of resident memory is that way's. ``--gib 4`` copies a
checkpoint of that size as well, without the rivals, for which it would have to fit into memory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sizes import command_line_parser, sizes_of
from mexport_pb.bundle import BundleReader, BundleWriter, copy_bundle

GIB = 1 << 30


def make_bundle(prefix: Path, size: int, tensors: int) -> None:
    """Write a bundle of `size` bytes in `tensors` tensors."""
    rows = size // tensors // 256
    block = np.random.default_rng(0).standard_normal((rows, 64), dtype=np.float32)
    with BundleWriter(prefix) as writer:
        for i in range(tensors):
            writer.add(f"layer_{i}/kernel", block)


def make_index(prefix: Path, tensors: int) -> None:
    """Write a bundle of many scalars."""
    with BundleWriter(prefix) as writer:
        for i in range(tensors):
            writer.add(f"model/layer_{i // 8}/part_{i % 8}/kernel", np.float32(i))


def work_file_copy(source: str, target: str) -> None:
    """Copy the files, the least that any copy must do; checks no checksum."""
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copyfile(source + suffix, target + suffix)


def work_copy_bundle(source: str, target: str) -> None:
    """Copy the tensors with mexport_pb."""
    copy_bundle(source, target)


def work_raw_ops(source: str, target: str) -> None:
    """Restore and save eagerly with TensorFlow's two ops."""
    import tensorflow as tf

    shapes = tf.train.load_checkpoint(source).get_variable_to_shape_map()
    names = sorted(shapes)
    values = tf.raw_ops.RestoreV2(
        prefix=source, tensor_names=names, shape_and_slices=[""] * len(names), dtypes=[tf.float32] * len(names)
    )
    tf.raw_ops.SaveV2(prefix=target, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)


def work_saver(source: str, target: str) -> None:
    """Restore and save with a session and a Saver, the way of a TensorFlow export."""
    import tensorflow as tf

    shapes = tf.train.load_checkpoint(source).get_variable_to_shape_map()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, shape in shapes.items():
            tf.compat.v1.get_variable(name, shape, tf.float32)
        saver = tf.compat.v1.train.Saver(sharded=True)
        saver.restore(session, source)
        saver.save(session, target, write_meta_graph=False)


def work_open(source: str, target: str) -> None:
    """Open an index and list it with mexport_pb."""
    del target
    with BundleReader(source) as reader:
        {name: reader.shape(name) for name in reader.keys()}  # noqa: SIM118


def work_load_checkpoint(source: str, target: str) -> None:
    """Open an index and list it with TensorFlow."""
    import tensorflow as tf

    del target
    tf.train.load_checkpoint(source).get_variable_to_shape_map()


def measure(way: str, source: Path, target: Path) -> tuple[float, float, float]:
    """Run one way in a process: seconds of the whole process, of the work without imports, and its peak in MiB."""
    os.sync()  # what was written before must not be paid for now
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--worker", way, str(source), str(target)],
        check=False,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    for path in target.parent.glob(f"{target.name}*"):
        path.unlink()
    result = json.loads(done.stdout.splitlines()[-1])
    return wall, result["seconds"], result["peak"]


def worker(way: str, source: str, target: str) -> None:
    """Do one way's work and print its figures."""
    if way in ("raw_ops", "saver", "load_checkpoint"):
        import tensorflow  # noqa: F401  its import is not part of the work
    start = time.perf_counter()
    globals()[f"work_{way}"](source, target)
    seconds = time.perf_counter() - start
    # Not getrusage: after vfork, that counts the memory of the parent as well.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def table(title: str, ways: dict[str, str], source: Path, target: Path, repeats: int) -> None:
    """Measure each way and print its best time with the peak of its memory."""
    print(f"\n{title}\n  {'':<44}{'process':>10}{'work':>10}{'peak':>12}")
    for way, name in ways.items():
        runs = [measure(way, source, target) for _ in range(repeats)]
        wall, seconds, peak = (min(column) for column in zip(*runs, strict=True))
        print(f"  {name:<44}{wall:>8.2f} s{seconds:>8.2f} s{peak:>8.0f} MiB")


def main() -> None:
    parser = command_line_parser(__doc__)
    parser.add_argument("--gib", type=float, default=0, help="also copy a checkpoint of so many GiB")
    parser.add_argument("--worker", nargs=3, help="for this script itself")
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker)
        return
    sizes = sizes_of(arguments)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        copies = {
            "file_copy": "shutil.copyfile, unchecked",
            "copy_bundle": "copy_bundle",
            "raw_ops": "tf.raw_ops.RestoreV2 + SaveV2",
            "saver": "tf Session: Saver.restore + save",
        }
        source = directory / "source"
        make_bundle(source, sizes.bundle_bytes, sizes.bundle_tensors)
        title = f"copy {sizes.bundle_bytes / (1 << 20):.0f} MiB in {sizes.bundle_tensors} tensors"
        table(title, copies, source, directory / "target", sizes.repeats)

        make_index(source, sizes.index_tensors)
        opens = {"open": "BundleReader", "load_checkpoint": "tf.train.load_checkpoint"}
        title = f"open and list an index of {sizes.index_tensors} tensors"
        table(title, opens, source, directory / "target", sizes.repeats)

        if arguments.gib:
            make_bundle(source, int(arguments.gib * GIB), sizes.bundle_tensors)
            ways = {"copy_bundle": "copy_bundle", "file_copy": "shutil.copyfile, unchecked"}
            table(f"copy {arguments.gib:g} GiB", ways, source, directory / "target", 3)


if __name__ == "__main__":
    main()
