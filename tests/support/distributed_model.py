"""A model with an entry, parameter servers with tables, and dense parts; its checkpoint, and exports of it."""

import os
from pathlib import Path

import numpy as np

import mexport_pb as mx
from tests.support.table_exports import DIMS, assets_of, config, dump

SERVERS = 5
STEP = 7
NAMES = ["entry", "dense_side", *(f"ps_{i}" for i in range(SERVERS)), "dense_0"]
W = np.array([[2], [3]], np.float32)
DENSE_W = np.array([[5], [7]], np.float32)


def table_dump(server):
    return dump(20 + server, 4, seed=server)


def make_checkpoint(folder, servers=SERVERS, step=STEP):
    prefix = folder / "train" / f"model.ckpt-{step}"
    with mx.BundleWriter(prefix) as bundle:
        bundle.add("dense_w", DENSE_W)
        bundle.add("global_step", np.array(step, np.int64))
        bundle.add("w", W)
    (folder / "train" / "checkpoint").write_text(f'model_checkpoint_path: "{prefix.name}"')
    assets = assets_of(prefix)
    for i in range(servers):
        mx.write_table(assets / f"MonolithHashTable_{i}", table_dump(i), 2)
        mx.write_multi_table(
            assets / f"MonolithMultiHashTable_{i}", {name: dump(9, dim, seed=i) for name, dim in DIMS.items()}
        )
    return prefix


def receiver_fn():
    x = mx.get_default_graph().placeholder("float32", [None, 2], name="x")
    return mx.ServingInputReceiver({"x": x}, {"x": x})


def add_dense(graph, name):
    with graph.as_default():
        x = graph.placeholder("float32", [None, 2], name="x")
        y = graph.matmul(x, graph.variable("dense_w", [2, 1]), name="y")
    mx.get_current_export_ctx().add_signature(graph, name, {"x": x}, {"y": y})


def add_server(graph, i, multi=True):
    with graph.as_default():
        ids = graph.placeholder("int64", [None], name="ids")
        outputs = {"slot": mx.hash_table_from_config(config(4), name_suffix=str(i)).lookup(ids)}
        if multi:
            many = mx.MultiHashTable.from_configs({n: config(dim) for n, dim in DIMS.items()}, name_suffix=str(i))
            outputs.update(many.lookup(dict.fromkeys(DIMS, ids)))
    mx.get_current_export_ctx().add_signature(graph, "lookup", {"ids": ids}, outputs)


def make_model_fn(servers=SERVERS, dense=("dense_0",), dense_sub=("dense_side",), multi=True, change=None):
    """``change(ctx)`` may alter the sub-graphs."""

    def model_fn(features, mode):
        ctx = mx.get_current_export_ctx()
        # Not in the order of publishing.
        for name in dense:
            add_dense(ctx.sub_graph(name), name)
        for i in range(servers):
            add_server(ctx.sub_graph(f"ps_{i}"), i, multi)
        for name in dense_sub:
            add_dense(ctx.dense_sub_graph(name), name)
        if change is not None:
            change(ctx)
        graph = mx.get_default_graph()
        with graph.device("/gpu:0"):
            y = graph.matmul(features["x"], graph.variable("w", [2, 1]), name="y")
        graph.const(b"text", name="text")
        return mx.EstimatorSpec(mode, {"y": y})

    return model_fn


def make_exporter(tmp_path, model_fn=None, name="models", **options):
    options.setdefault("global_step_as_timestamp", True)
    return mx.DistributedExporter(model_fn or make_model_fn(), tmp_path / "train", tmp_path / name, **options)


def export(tmp_path, model_fn=None, name="models", **options):
    found = make_exporter(tmp_path, model_fn, name, **options).export_saved_model(receiver_fn)
    return {key: Path(os.fsdecode(path)) for key, path in found.items()}


def tree_bytes(path):
    """Content by relative path."""
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
