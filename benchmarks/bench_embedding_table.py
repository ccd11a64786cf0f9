"""Embedding tables in memory, beside TensorFlow's MutableHashTable in the same run.

Ids are random, lookups go to ids that are there, uniformly. Every way runs in a process of its own, because the memory
that it takes is measured too. Both tables are used from one thread, and TensorFlow is told to use one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sizes import Sizes, command_line_parser, sizes_of

BATCH = 1 << 16


def resident() -> int:
    """The resident memory of this process in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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

    def best(work) -> float:
        return sizes.embedding_lookups / min(seconds(work) for _ in range(max(sizes.repeats, 2)))

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

        result["threads"] = best(together)
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


def work_tensorflow(sizes: Sizes) -> dict[str, float]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, default_value=tf.zeros([sizes.embedding_dim]))
    return measure(sizes, table.insert, table.lookup)


def run(way: str, quick: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", way, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = command_line_parser(__doc__)
    parser.add_argument("--worker", help="for this script itself")
    arguments = parser.parse_args()
    sizes = sizes_of(arguments)
    if arguments.worker:
        print(json.dumps(globals()[f"work_{arguments.worker}"](sizes)))
        return
    ours, rival = run("ours", arguments.quick), run("tensorflow", arguments.quick)
    print(f"{sizes.embedding_rows} ids x {sizes.embedding_dim} floats, batches of {BATCH}, M ids/s, one thread")
    print(f"  {'':<28}{'EmbeddingTable':>16}{'MutableHashTable':>18}{'ratio':>8}")
    for key, name in (
        ("insert", "insert, growing from empty"),
        ("overwrite", "assign to ids that are there"),
        ("lookup", "look up ids that are there"),
        ("absent", "look up ids that are not"),
    ):
        print(f"  {name:<28}{ours[key] / 1e6:>16.2f}{rival[key] / 1e6:>18.2f}{ours[key] / rival[key]:>7.1f}x")
    print(f"  {'look up, two threads':<28}{ours['threads'] / 1e6:>16.2f}")
    payload = 8 + 4 * sizes.embedding_dim
    for name, result in (("EmbeddingTable", ours), ("MutableHashTable", rival)):
        ratio = result["bytes"] / payload
        print(f"  bytes for each id, {name}: {result['bytes']:.1f}, {ratio:.3f} x key and payload ({payload})")


if __name__ == "__main__":
    main()
