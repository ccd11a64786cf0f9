"""Whatever is wrong with a meta graph, a transformation returns or raises one of our errors, and changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import MexportError
from mexport_pb.graph import (
    GraphBuilder,
    add_main_op,
    add_saver,
    clear_devices,
    has_variables,
    op_list,
    prune_to_signatures,
    save_plan,
    strip_default_attrs,
    tensor_info_of,
)
from mexport_pb.messages import make_signature_def

FUNCTIONS: dict[str, Callable] = {
    "add_main_op": add_main_op,
    "add_saver": add_saver,
    "clear_devices": clear_devices,
    "has_variables": has_variables,
    "op_list": op_list,
    "prune": prune_to_signatures,
    "save_plan": save_plan,
    "strip": strip_default_attrs,
    "tensor_info": lambda meta: tensor_info_of(meta, [f"{node.name}:0" for node in meta.graph_def.node[:5]]),
}
INPUTS = ["", "^", "x:99", "a:b", ":0", "x:-1", "^x:1", "gone"]
ROUNDS = 1500


def base() -> MetaGraphDef:
    g = GraphBuilder()
    x = g.placeholder("float32", [None, 2], name="x")
    with g.device("/job:ps/task:0"):
        w = g.variable("w", [2, 3])
    r = g.variable("r", [3], use_resource=False)
    g.partitioned_variable("p", [5, 2], num_shards=2)
    g.variable("local", [], collections=["local_variables"], trainable=False)
    table = g.op("HashTableV2", attrs={"key_dtype": "string", "value_dtype": "int64"}, name="table").output
    g.add_to_collection("table_initializer", g.op("LookupTableImportV2", [table, ["a"], [1]], name="init"))
    batch = g.op("Two", [x], dtypes=["float32", "float32"], shapes=[[None, 2], None], name="batch").outputs
    y = g.bias_add(g.matmul(batch[1], w), r, name="y")
    signatures = {"s": make_signature_def({"x": batch[0], "z": batch[1]}, {"y": y})}
    return add_saver(g.to_meta_graph(["serve"], signatures))


def damage(meta: MetaGraphDef, rng: random.Random) -> None:
    """Change one thing about one node, or the signature's tensors."""
    nodes = meta.graph_def.node
    node, other = rng.choice(nodes), rng.choice(nodes)
    match rng.randrange(10):
        case 0:
            node.op = other.op
        case 1 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice([*INPUTS, other.name, f"^{other.name}"])
        case 2 if node.input:
            del node.input[rng.randrange(len(node.input))]
        case 3 if node.attr:
            del node.attr[rng.choice(sorted(node.attr))]
        case 4 if node.attr and other.attr:
            node.attr[rng.choice(sorted(node.attr))].CopyFrom(other.attr[rng.choice(sorted(other.attr))])
        case 5:
            node.name = rng.choice(["", "a b", other.name])
        case 6:
            node.device = rng.choice(["/nope", "/job:a/task:-1", "é"])
        case 7:
            nodes.remove(node)
        case 8:
            for infos in (meta.signature_def["s"].inputs, meta.signature_def["s"].outputs):
                for info in infos.values():
                    info.name = rng.choice([*INPUTS, other.name, info.name])
        case 9:
            key = rng.choice(sorted(meta.collection_def))
            meta.collection_def[key].bytes_list.value.append(rng.randbytes(5))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_graphs(seed):
    rng = random.Random(seed)
    whole = base().SerializeToString(deterministic=True)
    outcomes = {name: set() for name in FUNCTIONS}
    for _ in range(ROUNDS // 4):
        data = bytearray(whole)
        if rng.random() < 0.3:
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            meta = MetaGraphDef.FromString(bytes(data))
        except DecodeError:
            continue
        if meta.graph_def.node and meta.collection_def and "s" in meta.signature_def:
            for _ in range(rng.randrange(1, 4)):
                damage(meta, rng)
        before = meta.SerializeToString(deterministic=True)
        for name, function in FUNCTIONS.items():
            try:
                function(meta)
                outcomes[name].add("returned")
            except MexportError:
                outcomes[name].add("refused")
        assert meta.SerializeToString(deterministic=True) == before
    assert all("returned" in outcome for outcome in outcomes.values())
    assert "refused" in outcomes["prune"] & outcomes["save_plan"] & outcomes["add_saver"]
