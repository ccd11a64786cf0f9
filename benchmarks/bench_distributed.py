"""A distributed export with its parameter servers written at the same time, against one after the other.

Usage: python benchmarks/bench_distributed.py [--mib 128] [--servers 5] [--rounds 3] [--quick]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

DIM = 16


def write_checkpoint(prefix: Path, servers: int, mib: int) -> int:
    """Writes a table for each server, MiB each; returns the bytes of all."""
    import numpy as np

    import mexport_pb as mx

    with mx.BundleWriter(prefix) as bundle:
        bundle.add("global_step", np.array(1, np.int64))
    assets = prefix.parent / f"{prefix.name}.assets"
    # About what an entry takes with the state of its optimizer.
    rows = mib * 2**20 // (24 + DIM * 9 + DIM * 5)
    rng = np.random.default_rng(1)
    for server in range(servers):
        values = rng.standard_normal((rows, DIM)).astype(np.float32)
        state = mx.OptimizerState("adagrad", {"norm": np.ones((rows, DIM), np.float32)})
        table = mx.TableDump(rng.permutation(rows), values, np.full(rows, 1_700_000_000), (state,))
        mx.write_table(assets / f"MonolithHashTable_{server}", table, 4)
    return sum(file.stat().st_size for file in assets.iterdir())


def make_exporter(folder: Path, servers: int, **options):
    """Exports an entry that answers with a constant, and the servers."""
    import mexport_pb as mx

    def model_fn(features, mode):
        segment = mx.CombineAsSegment(DIM, mx.ZerosInitializer(), mx.AdagradOptimizer(), mx.Fp32Compressor())
        proto = mx.CuckooHashTableConfig(mx.entry_config(segment)).as_proto()
        ctx = mx.get_current_export_ctx()
        for server in range(servers):
            graph = ctx.sub_graph(f"ps_{server}")
            with graph.as_default():
                ids = graph.placeholder("int64", [None], name="ids")
                table = mx.hash_table_from_config(mx.HashTableConfigInstance(proto, [0.1]), name_suffix=str(server))
                ctx.add_signature(graph, "lookup", {"ids": ids}, {"vectors": table.lookup(ids)})
        return mx.EstimatorSpec(mode, {"y": mx.get_default_graph().identity(features["x"], name="y")})

    return mx.DistributedExporter(
        model_fn, folder / "train", folder / "models", global_step_as_timestamp=True, **options
    )


def receiver_fn():
    """One input."""
    import mexport_pb as mx

    x = mx.get_default_graph().placeholder("float32", [None], name="x")
    return mx.ServingInputReceiver({"x": x}, {"x": x})


def main() -> None:
    """Runs both in turns and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=128, help="size of each server's table (default: %(default)s)")
    parser.add_argument("--servers", type=int, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="8 MiB, one round")
    options = parser.parse_args()
    mib, rounds = (8, 1) if options.quick else (options.mib, options.rounds)
    with tempfile.TemporaryDirectory(prefix="mexport_bench_") as name:
        folder = Path(name)
        prefix = folder / "train" / "model.ckpt-1"
        size = write_checkpoint(prefix, options.servers, mib)
        # One after the other, one for each processor, and all at once (the default, unless there are very many).
        counts = list(dict.fromkeys([1, min(options.servers + 1, os.cpu_count() or 1), options.servers + 1]))
        seconds: dict[tuple[str, int], list[float]] = {}
        # The first round warms up the page cache and imports.
        for turn in range(rounds + 1):
            for tables in ("copy", "serving"):
                for threads in counts:
                    exporter = make_exporter(folder, options.servers, tables=tables, threads=threads)
                    os.sync()
                    begin = time.perf_counter()
                    exporter.export_saved_model(receiver_fn, prefix)
                    taken = time.perf_counter() - begin
                    if turn > 0:
                        seconds.setdefault((tables, threads), []).append(taken)
                    shutil.rmtree(folder / "models")
    print(f"{options.servers} servers, {size / 2**20:.0f} MiB of tables, {os.cpu_count()} processors")
    print(f"{'':10}" + "".join(f"{f'{threads} threads':>12}" for threads in counts))
    for tables in ("copy", "serving"):
        print(f"{tables:10}" + "".join(f"{statistics.median(seconds[tables, n]):10.2f} s" for n in counts))


if __name__ == "__main__":
    main()
