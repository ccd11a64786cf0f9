"""TFRecord files and crc32c, beside TensorFlow's Python writer, iterator and dataset in the same run."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sizes import Sizes, from_command_line
from mexport_pb import _core
from mexport_pb.record import RecordReader, RecordWriter, write_records


def best(work: Callable[[], object], repeats: int, prepare: Callable[[], object] = lambda: None) -> float:
    """Return the shortest time of `work` in seconds; `prepare` runs before each repeat and is not timed."""
    times = []
    for _ in range(repeats):
        prepare()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def table(title: str, rows: list[tuple[str, float]]) -> None:
    """Print rates in millions a second, and how many times the first row's each is."""
    print(f"\n{title}")
    for name, rate in rows:
        print(f"  {name:<44}{rate / 1e6:>9.2f} M/s{rate / rows[0][1]:>9.1f} x")


def bench_write(sizes: Sizes, directory: Path) -> None:
    size = sizes.record_bytes
    data = np.random.default_rng(0).integers(0, 256, sizes.records * size, dtype=np.uint8)
    offsets = np.arange(sizes.records + 1, dtype=np.int64) * size
    records = [data[i * size : (i + 1) * size].tobytes() for i in range(sizes.python_records)]
    path = directory / "written"

    def tensorflow() -> None:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)

    def single() -> None:
        with RecordWriter(path) as writer:
            for record in records:
                writer.write(record)

    def batch() -> None:
        with RecordWriter(path) as writer:
            writer.write_batch(data, offsets)

    def measure(work: Callable[[], object], count: int) -> float:
        # Emptying an old file costs as much as writing it.
        return count / best(work, sizes.repeats, lambda: path.unlink(missing_ok=True))

    table(
        f"write records of {size} bytes",
        [
            ("tf.io.TFRecordWriter.write", measure(tensorflow, len(records))),
            ("RecordWriter.write", measure(single, len(records))),
            ("write_records", measure(lambda: write_records(path, records), len(records))),
            ("RecordWriter.write_batch", measure(batch, sizes.records)),
        ],
    )
    with RecordWriter(directory / "records") as writer:
        writer.write_batch(data, offsets)
    with RecordWriter(directory / "few") as writer:
        writer.write_batch(data, offsets[: sizes.python_records + 1])


def bench_read(sizes: Sizes, directory: Path) -> None:
    few = str(directory / "few")

    def tensorflow() -> None:
        for _ in tf.compat.v1.io.tf_record_iterator(few):
            pass

    def dataset() -> None:
        for _ in tf.data.TFRecordDataset(few, buffer_size=1 << 20).as_numpy_iterator():
            pass

    def batched_dataset() -> None:
        for _ in tf.data.TFRecordDataset(few, buffer_size=1 << 20).batch(1024).prefetch(2):
            pass

    def single() -> None:
        with RecordReader(few) as reader:
            for _ in reader:
                pass

    def batch() -> None:
        with RecordReader(directory / "records") as reader:
            while reader.read_batch():
                pass

    def measure(work: Callable[[], object], count: int = sizes.python_records) -> float:
        return count / best(work, sizes.repeats)

    tf.get_logger().setLevel("ERROR")  # the iterator is deprecated
    table(
        f"read records of {sizes.record_bytes} bytes",
        [
            ("tf_record_iterator", measure(tensorflow)),
            ("TFRecordDataset, each record", measure(dataset)),
            ("TFRecordDataset, batches of 1024", measure(batched_dataset)),
            ("RecordReader, each record", measure(single)),
            ("RecordReader.read_batch", measure(batch, sizes.records)),
        ],
    )


def bench_crc32c(sizes: Sizes) -> None:
    print("\ncrc32c, GB/s, the call from Python included")
    print(f"  {'bytes':<12}" + "".join(f"{n:>12}" for n in sizes.checksum_bytes))
    for name in _core.crc32c_implementations():
        rates = []
        for size in sizes.checksum_bytes:
            data = np.random.default_rng(size).bytes(size)
            calls = max(1, min(sizes.checksum_total // size, 300_000))

            def work(data: bytes = data, calls: int = calls, name: str = name) -> None:
                for _ in range(calls):
                    _core.crc32c(data, 0, name)

            rates.append(size * calls / best(work, sizes.repeats) / 1e9)
        print(f"  {name:<12}" + "".join(f"{rate:>12.1f}" for rate in rates))


def main() -> None:
    sizes = from_command_line(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        bench_write(sizes, Path(directory))
        bench_read(sizes, Path(directory))
    bench_crc32c(sizes)


if __name__ == "__main__":
    main()
