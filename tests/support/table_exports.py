"""A model with one embedding table and two behind one handle, its checkpoint, and exports of it."""

import dataclasses
import os

import numpy as np

import mexport_pb as mx
from mexport_pb._proto.hash_table_pb2 import EmbeddingHashTableConfig, MultiEmbeddingHashTableConfig

DIMS = {"a": 2, "b": 3}
SINGLE = "MonolithHashTable_slot"
MULTI = "MonolithMultiHashTable_"


def segment(dim, compressor=None):
    return mx.CombineAsSegment(dim, mx.ZerosInitializer(), mx.AdagradOptimizer(), compressor or mx.Fp32Compressor())


def config(dim, compressor=None):
    proto = mx.CuckooHashTableConfig(mx.entry_config(segment(dim, compressor))).as_proto()
    return mx.HashTableConfigInstance(proto, [0.1])


def dump(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, dim)).astype(np.float32)
    if n > 1:
        values[1] = 0
    state = mx.OptimizerState("adagrad", {"norm": np.ones((n, dim), np.float32)})
    return mx.TableDump(rng.permutation(np.arange(1, n + 1)), values, np.full(n, 1_700_000_000), (state,))


DUMPS = {"slot": dump(50, 4), "a": dump(30, 2, seed=1), "b": dump(20, 3, seed=2)}


def make_checkpoint(folder):
    """A checkpoint of step 7 with the tables, and beside them files that are not theirs."""
    prefix = folder / "train" / "model.ckpt-7"
    with mx.BundleWriter(prefix) as bundle:
        bundle.add("global_step", np.array(7, np.int64))
    (folder / "train" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
    assets = folder / "train" / "model.ckpt-7.assets"
    mx.write_table(assets / SINGLE, DUMPS["slot"], 2)
    mx.write_multi_table(assets / MULTI, {name: DUMPS[name] for name in DIMS}, 2)
    # Files of others: a table whose name goes on, and what a writer left.
    mx.write_table(assets / f"{SINGLE}1", dump(3, 4))
    (assets / f"{SINGLE}-00000-of-00002-tmp-123").write_bytes(b"left")
    return prefix


def assets_of(checkpoint):
    """The folder of its tables."""
    return checkpoint.parent / f"{checkpoint.name}.assets"


def model_fn(features, mode, config_=None, *, compressor=None, extra=(), share=None, tables=("single", "multi")):
    ids = features["ids"]
    outputs = {}
    if "single" in tables:
        instance = dataclasses.replace(config(4, compressor), extra_restore_names=extra)
        table = mx.hash_table_from_config(instance, name_suffix="slot")
        table.export_share_embedding = share
        outputs["slot"] = table.lookup(ids)
    if "multi" in tables:
        multi = mx.MultiHashTable.from_configs({name: config(dim) for name, dim in DIMS.items()})
        outputs.update(multi.lookup(dict.fromkeys(DIMS, ids)))
    return mx.EstimatorSpec(mode, outputs)


def receiver_fn():
    ids = mx.get_default_graph().placeholder("int64", [None], name="ids")
    return mx.ServingInputReceiver({"ids": ids}, {"ids": ids})


def export(tmp_path, checkpoint, *, build=None, name="models", **options):
    def built(features, mode):
        return model_fn(features, mode, **(build or {}))

    exporter = mx.StandaloneExporter(built, tmp_path / "train", tmp_path / name, **options)
    path = os.fsdecode(exporter.export_saved_model(receiver_fn, checkpoint))
    return path, exporter


def graph_of(path):
    (graph,) = mx.read_saved_model(path).meta_graphs
    return graph, {node.name: node for node in graph.graph_def.node}


def looked_up(path, basename, ids):
    """What the exported files give a table that is configured as the exported graph says."""
    _, nodes = graph_of(path)
    if basename == SINGLE:
        table = mx.EmbeddingTable(EmbeddingHashTableConfig.FromString(nodes[SINGLE].attr["config"].s))
        table.restore(mx.read_table(os.path.join(path, "assets", basename)))
        return {SINGLE: table.lookup(ids)}
    (created,) = [node for node in nodes.values() if node.op == "CreateMonolithMultiHashTable"]
    multi = MultiEmbeddingHashTableConfig.FromString(nodes[created.input[0]].attr["value"].tensor.string_val[0])
    tables = mx.MultiTable(dict(zip(multi.names, multi.configs, strict=True)))
    tables.restore(mx.read_multi_table(os.path.join(path, "assets", basename)))
    return {name: tables[name].lookup(ids) for name in tables}


def training_graph(**build):
    """The graph of a job that trains the model, with a table that serving does not need."""
    graph = mx.GraphBuilder()
    with graph.as_default():
        ids = graph.placeholder("int64", [None], name="ids")
        outputs = model_fn({"ids": ids}, "train", **build).predictions
        named = {key: graph.identity(value, name=f"out_{key}") for key, value in outputs.items()}
        graph.global_step()
        mx.test_hash_table(5, name_suffix="unused")
        table = graph.get_collection("monolith_hash_tables")[0]
        table.apply_gradients(ids, named["slot"], global_step=1)
    return graph.to_meta_graph()


SPEC = mx.SignatureSpec("serving_default", {"ids": "ids:0"}, {"slot": "out_slot:0", "b": "out_b:0"})
