"""The table ops in a TensorFlow session: steps of training, lookups, saving and restoring.

Needs TensorFlow and the ops' library. Beside the restore: what TensorFlow's own dataset of records takes for the same
files, without a look at any record.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sizes import Sizes, from_command_line
from mexport_pb.runtime import ops
from mexport_pb.table import (
    AdagradOptimizer,
    CombineAsSegment,
    CuckooHashTableConfig,
    Fp16Compressor,
    RandomUniformInitializer,
    entry_config,
)

BATCH = 1 << 16
# Floats of an id; with adagrad's state an entry takes 190 bytes in a file.
DIM = 16


def config(dim: int, *, serving: bool = False) -> bytes:
    segment = CombineAsSegment(
        dim, RandomUniformInitializer(-0.1, 0.1), AdagradOptimizer(initial_accumulator_value=0.1), Fp16Compressor()
    )
    return CuckooHashTableConfig(entry_config(segment, serving=serving)).as_proto().SerializeToString()


def seconds(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def show(what: str, count: int, took: float, unit: str = "M/s") -> None:
    print(f"{what:58} {count / took / 1e6:8.2f} {unit}   ({took:.2f} s)")


def measure(sizes: Sizes, folder: Path) -> None:
    import tensorflow as tf

    rows, dim = sizes.embedding_saved_rows, DIM
    keys = np.random.default_rng(0).permutation(rows).astype(np.int64) * 2654435761
    step = np.int64(0)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        nothing, client = ops.dummy_hash_filter(shared_name="f"), ops.dummy_sync_client(shared_name="c")
        table = ops.hash_table(nothing, client, config=config(dim), shared_name="table")
        served = ops.hash_table(nothing, client, config=config(dim, serving=True), shared_name="served")
        fed = tf.compat.v1.placeholder(tf.int64, [None])
        gradients = tf.compat.v1.placeholder(tf.float32, [None, dim])
        train = ops.hash_table_optimize(table, fed, gradients, [0.01], step, step, use_multi_threads=True).op
        look_up = ops.hash_table_lookup(table, fed, dim_size=dim, use_multi_threads=True).op
        some = np.ones((BATCH, dim), np.float32)
        batches = [keys[i : i + BATCH] for i in range(0, rows, BATCH)]

        def run_all(op: object, *, with_gradients: bool) -> None:
            for batch in batches:
                session.run(op, {fed: batch, gradients: some[: len(batch)]} if with_gradients else {fed: batch})

        show(
            f"first steps, {dim} floats, {BATCH} ids each",
            rows,
            seconds(lambda: run_all(train, with_gradients=True), 1),
        )
        show("later steps", rows, seconds(lambda: run_all(train, with_gradients=True), 1))
        show("lookups", rows, seconds(lambda: run_all(look_up, with_gradients=False), sizes.repeats))
        base = str(folder / "table")
        save = ops.hash_table_save(table, base, nshards=4).op
        show("save, 4 files, synced", rows, seconds(lambda: session.run(save), sizes.repeats))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{'files':58} {size / 2**20:8.0f} MiB")
        for name, handle in (("training", table), ("serving, fp16", served)):
            restore = ops.hash_table_restore(handle, base).op
            show(f"restore, {name} table", rows, seconds(lambda r=restore: session.run(r), sizes.repeats))
        many = ops.create_multi_hash_table(multi(dim), nothing, client, shared_name="many")
        session.run(many.op)
        assign = ops.multi_hash_table_assign(
            many, fed, [0, tf.size(fed, tf.int64)], tf.reshape(gradients, [-1]), step
        ).op
        run_all(assign, with_gradients=True)
        snappy = str(folder / "many")
        save = ops.multi_hash_table_save(many, snappy, nshards=4).op
        show("save of several tables, snappy", rows, seconds(lambda: session.run(save), 1))
        empty = ops.create_multi_hash_table(multi(dim), nothing, client, shared_name="empty")
        session.run(empty.op)
        restore = ops.multi_hash_table_restore(empty, snappy).op
        show("restore of several tables, into empty ones", rows, seconds(lambda: session.run(restore), 1))
        show("the same, merged: files are read twice", rows, seconds(lambda: session.run(restore), 1))
    # One of the files will do: it is slow.
    file = str(sorted(folder.glob("table-*"))[0])
    read = []

    def read_with_tensorflow() -> None:
        dataset = tf.data.TFRecordDataset(file, buffer_size=1 << 20).batch(4096)
        read.append(sum(int(tf.shape(batch)[0]) for batch in dataset))

    took = seconds(read_with_tensorflow, 1)
    show("TFRecordDataset over a file of the first, nothing parsed", read[0], took)


def multi(dim: int) -> bytes:
    from mexport_pb._proto.hash_table_pb2 import MultiEmbeddingHashTableConfig

    message = MultiEmbeddingHashTableConfig(names=["a"])
    message.configs.add().ParseFromString(config(dim))
    return message.SerializeToString()


def main() -> None:
    sizes = from_command_line(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        measure(sizes, Path(folder))


if __name__ == "__main__":
    main()
