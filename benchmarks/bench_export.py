"""Export of dense variables against TensorFlow's Builder, each in a process of its own.

Usage: python benchmarks/bench_export.py [--mib 1024] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

VARIABLES = 64
COLUMNS = 256


def write_checkpoint(prefix: str, mib: int) -> None:
    """Writes the variables, MiB in all."""
    import numpy as np

    import mexport_pb as mx

    rows = mib * 2**20 // (VARIABLES * COLUMNS * 4)
    block = np.random.default_rng(1).normal(size=(rows, COLUMNS)).astype(np.float32)
    with mx.BundleWriter(prefix) as bundle:
        for index in range(VARIABLES):
            bundle.add(f"v{index:03}", block)


def export_ours(prefix: str, target: str) -> None:
    """A GraphBuilder graph that reads every variable."""
    import mexport_pb as mx

    with mx.BundleReader(prefix) as bundle:
        shapes = {key: bundle.shape(key) for key in bundle.keys()}  # noqa: SIM118
    graph = mx.GraphBuilder()
    with graph.as_default():
        x = graph.placeholder("int64", [None], name="x")
        parts = [graph.gather(graph.variable(key, shape), x) for key, shape in shapes.items()]
        y = graph.concat(parts, 1, name="y")
    signature = mx.make_signature_def({"x": x}, {"y": y})
    mx.write_saved_model(graph.to_meta_graph(signatures={"serving_default": signature}), target, prefix)


def export_tensorflow(prefix: str, target: str) -> None:
    """The same through a session, Saver.restore and Builder."""
    import tensorflow as tf

    v1 = tf.compat.v1
    shapes = dict(tf.train.list_variables(prefix))
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.int64, [None], name="x")
        variables = [
            v1.get_variable(key, shape, tf.float32, v1.zeros_initializer(), use_resource=True)
            for key, shape in shapes.items()
        ]
        y = tf.concat([v1.nn.embedding_lookup(variable, x) for variable in variables], 1, name="y")
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        saver = v1.train.Saver(sharded=True)
        with v1.Session(graph=graph) as session:
            saver.restore(session, prefix)
            builder = v1.saved_model.Builder(target)
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, saver=saver)
            builder.save()


def main() -> None:
    """Runs both and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="size of all variables (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="64 MiB")
    parser.add_argument("--role", choices=("checkpoint", "ours", "tensorflow"), help=argparse.SUPPRESS)
    parser.add_argument("--paths", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    mib = 64 if options.quick else options.mib
    if options.role == "checkpoint":
        write_checkpoint(options.paths[0], mib)
        return
    if options.role is not None:
        {"ours": export_ours, "tensorflow": export_tensorflow}[options.role](*options.paths)
        return

    from demo.measure import measure

    with tempfile.TemporaryDirectory(prefix="mexport_bench_") as folder:
        prefix = str(Path(folder, "train", "model.ckpt-1"))

        def run(role: str) -> tuple[float, float, float]:
            command = [
                sys.executable,
                __file__,
                "--mib",
                str(mib),
                "--role",
                role,
                "--paths",
                prefix,
                f"{folder}/{role}/1",
            ]
            cost, _ = measure(command)
            if cost.exit_code != 0:
                sys.exit(f"{role} failed")
            return cost.wall_seconds, cost.cpu_seconds, cost.peak_rss_mib

        run("checkpoint")
        costs = {role: run(role) for role in ("ours", "tensorflow")}
    print(f"export of {mib} MiB in {VARIABLES} variables, whole process")
    print(f"{'':12} {'wall s':>8} {'cpu s':>8} {'peak MiB':>10}")
    for role, cost in costs.items():
        print(f"{role:12} {cost[0]:8.2f} {cost[1]:8.2f} {cost[2]:10.1f}")
    ratios = [theirs / ours for ours, theirs in zip(costs["ours"], costs["tensorflow"], strict=True)]
    print(f"{'ratio':12} {ratios[0]:8.1f} {ratios[1]:8.1f} {ratios[2]:10.1f}")


if __name__ == "__main__":
    main()
