"""Embedding tables in memory, beside TensorFlow's MutableHashTable in the same run.

Ids are random, lookups go to ids that are there, uniformly. Every way runs in a process of its own, because the memory
that it takes is measured too. Both tables are used from one thread, and TensorFlow is told to use one; rates are ids a
second of processor time, so that other work on the machine does not count. At full size TensorFlow's table needs some
13 GB; ``--ours`` leaves it out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sizes import Sizes, command_line_parser, sizes_of

BATCH = 1 << 16


def resident() -> int:
    """The resident memory of this process in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024


def seconds(work, clock=time.process_time) -> float:
    start = clock()
    work()
    return clock() - start


def batches(ids):
    return [ids[begin : begin + BATCH] for begin in range(0, len(ids), BATCH)]


def measure(sizes: Sizes, insert, lookup, threads: int = 1) -> dict[str, float]:
    """Fill a table, look up in it; rates in ids a second, bytes for each id."""
    rng = np.random.default_rng(0)
    # A permutation of 64 bits, so that ids differ and look random.
    ids = (np.arange(sizes.embedding_rows, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.int64)
    values = rng.random((BATCH, sizes.embedding_dim), np.float32)
    queries = batches(ids[rng.integers(0, len(ids), sizes.embedding_lookups)])
    absent = batches(rng.integers(-(2**63), 2**63 - 1, sizes.embedding_lookups))
    insert(ids[:1], values[:1])
    before = resident()
    filling = seconds(lambda: [insert(batch, values[: len(batch)]) for batch in batches(ids)])
    bytes_per_row = (resident() - before) / len(ids)

    def best(work, clock=time.process_time) -> float:
        return sizes.embedding_lookups / min(seconds(work, clock) for _ in range(max(sizes.repeats, 2)))

    result = {
        "insert": len(ids) / filling,
        "lookup": best(lambda: [lookup(batch) for batch in queries]),
        "absent": best(lambda: [lookup(batch) for batch in absent]),
        "overwrite": best(lambda: [insert(batch, values[: len(batch)]) for batch in queries]),
        "bytes": bytes_per_row,
    }
    if threads > 1:

        def part(i):
            for batch in queries[i::threads]:
                lookup(batch)

        def together():
            workers = [threading.Thread(target=part, args=(i,)) for i in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

        result["threads"] = best(together, time.perf_counter)
    return result


def work_ours(sizes: Sizes) -> dict[str, float]:
    import mexport_pb as mx

    segment = mx.CombineAsSegment(sizes.embedding_dim, mx.ZerosInitializer(), mx.SgdOptimizer(), mx.Fp32Compressor())
    table = mx.EmbeddingTable(mx.CuckooHashTableConfig(mx.entry_config(segment, serving=True)))
    outs = threading.local()

    def lookup(ids):
        if not hasattr(outs, "array"):
            outs.array = np.zeros((BATCH, sizes.embedding_dim), np.float32)
        table.lookup(ids, out=outs.array[: len(ids)])

    return measure(sizes, table.assign, lookup, threads=2)


def work_growing(sizes: Sizes) -> dict[str, list[float]]:
    """Small lookups while another thread makes the table grow from empty, and when nothing else happens.

    A reader that waits for a writer burns processor time; time on the wall also has what the system gave to others.
    """
    import mexport_pb as mx

    segment = mx.CombineAsSegment(sizes.embedding_dim, mx.ZerosInitializer(), mx.SgdOptimizer(), mx.Fp32Compressor())
    table = mx.EmbeddingTable(mx.CuckooHashTableConfig(mx.entry_config(segment, serving=True)))
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, sizes.embedding_grown_rows)
    values = np.ones((BATCH, sizes.embedding_dim), np.float32)
    asked = ids[:256]
    out = np.zeros((256, sizes.embedding_dim), np.float32)
    table.assign(asked, values[:256])

    def latencies(go_on):
        taken = []
        while go_on():
            start = time.perf_counter(), time.thread_time()
            table.lookup(asked, out=out)
            taken.append((time.perf_counter() - start[0], time.thread_time() - start[1]))
        return np.array(taken)

    alone = iter(range(200_000 if len(ids) > 1_000_000 else 1000))
    quiet = latencies(lambda: next(alone, None) is not None)
    writer = threading.Thread(target=lambda: [table.assign(batch, values[: len(batch)]) for batch in batches(ids)])
    writer.start()
    growing = latencies(writer.is_alive)
    return {
        f"{name}_{quantile}": np.quantile(taken, q, axis=0).tolist()
        for name, taken in (("quiet", quiet), ("growing", growing))
        for quantile, q in (("median", 0.5), ("99.9%", 0.999), ("longest", 1.0))
    }


def work_training(sizes: Sizes) -> dict[str, float]:
    """Training steps, then the whole table out and in, through files and without."""
    import mexport_pb as mx

    dim, n = 16, sizes.embedding_saved_rows
    segment = mx.CombineAsSegment(dim, mx.RandomUniformInitializer(), mx.AdagradOptimizer(), mx.Fp32Compressor())
    table = mx.EmbeddingTable(mx.CuckooHashTableConfig(mx.entry_config(segment)))
    rng = np.random.default_rng(0)
    ids = (np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.int64)
    gradients = rng.random((BATCH, dim), np.float32)
    steps = batches(ids[rng.integers(0, n, sizes.embedding_lookups)])

    def optimize(batch):
        table.optimize(batch, gradients[: len(batch)], [0.01], 1)

    result = {"optimize_new": n / seconds(lambda: [optimize(batch) for batch in batches(ids)])}
    result["optimize"] = sizes.embedding_lookups / seconds(lambda: [optimize(batch) for batch in steps])
    kept = []
    result["save"] = n / seconds(lambda: kept.append(table.save()))
    table.clear()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "table"
        result["write"] = n / seconds(lambda: mx.write_table(path, kept.pop(), num_shards=4))
        result["read"] = n / seconds(lambda: kept.append(mx.read_table(path)))
    restored = mx.EmbeddingTable(mx.CuckooHashTableConfig(mx.entry_config(segment)))
    result["restore"] = n / seconds(lambda: restored.restore(kept[0]))
    return result


def work_tensorflow(sizes: Sizes) -> dict[str, float]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, default_value=tf.zeros([sizes.embedding_dim]))
    return measure(sizes, table.insert, table.lookup)


def run(way: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", way, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def report(ours: dict[str, float], rival: dict[str, float] | None, sizes: Sizes) -> None:
    print(f"{sizes.embedding_rows} ids x {sizes.embedding_dim} floats, batches of {BATCH}, M ids/s of processor time")
    print(f"  {'':<28}{'EmbeddingTable':>16}{'MutableHashTable':>18}{'ratio':>8}")
    for key, name in (
        ("insert", "insert, growing from empty"),
        ("overwrite", "assign to ids that are there"),
        ("lookup", "look up ids that are there"),
        ("absent", "look up ids that are not"),
    ):
        beside = f"{rival[key] / 1e6:>18.2f}{ours[key] / rival[key]:>7.1f}x" if rival else ""
        print(f"  {name:<28}{ours[key] / 1e6:>16.2f}{beside}")
    print(f"  {'look up, two threads, wall':<28}{ours['threads'] / 1e6:>16.2f}")
    payload = 8 + 4 * sizes.embedding_dim
    for name, result in (("EmbeddingTable", ours), ("MutableHashTable", rival)):
        if result:
            ratio = result["bytes"] / payload
            print(f"  bytes for each id, {name}: {result['bytes']:.1f}, {ratio:.3f} x key and payload ({payload})")


def main() -> None:
    parser = command_line_parser(__doc__)
    parser.add_argument("--ours", action="store_true", help="without TensorFlow's table")
    parser.add_argument("--worker", help="for this script itself")
    arguments = parser.parse_args()
    sizes = sizes_of(arguments)
    if arguments.worker:
        print(json.dumps(globals()[f"work_{arguments.worker}"](sizes)))
        return
    report(run("ours", arguments.quick), None if arguments.ours else run("tensorflow", arguments.quick), sizes)
    growing = run("growing", arguments.quick)
    print(
        f"256 lookups while a table grows to {sizes.embedding_grown_rows} ids: microseconds of wall and processor time"
    )
    for name in ("quiet", "growing"):
        quantiles = {q: growing[f"{name}_{q}"] for q in ("median", "99.9%", "longest")}
        figures = ", ".join(f"{q} {wall * 1e6:.0f} {cpu * 1e6:.0f}" for q, (wall, cpu) in quantiles.items())
        print(f"  {name:<10}{figures}")
    training = run("training", arguments.quick)
    print(f"{sizes.embedding_saved_rows} ids x 16 floats with adagrad, M ids/s of processor time")
    for key, name in (
        ("optimize_new", "optimize ids that are new"),
        ("optimize", "optimize ids that are there"),
        ("save", "save() to columns"),
        ("write", "write_table, 4 shards"),
        ("read", "read_table"),
        ("restore", "restore() from columns"),
    ):
        print(f"  {name:<28}{training[key] / 1e6:>16.2f}")


if __name__ == "__main__":
    main()
