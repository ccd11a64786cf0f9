"""Savers of graphs that are unusual, and plans of graphs that are hostile; parity has the usual ones."""

from __future__ import annotations

import time

import pytest

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError, SavedModelError, UnsupportedError
from mexport_pb.graph import GraphBuilder, SaveItem, SavePlan, add_saver, has_variables, save_plan


def small() -> MetaGraphDef:
    g = GraphBuilder()
    with g.device("/job:ps/task:1"):
        g.variable("w", [2, 3])
    g.variable("r", [4], use_resource=False)
    g.partitioned_variable("p", [5, 2], num_shards=2)
    return g.to_meta_graph()


def node(meta: MetaGraphDef, name: str):
    return next(node for node in meta.graph_def.node if node.name == name)


SMALL_PLAN = SavePlan(
    (
        (
            SaveItem("p", "5 2 0,3:0,2", 1, (5, 2)),
            SaveItem("p", "5 2 3,2:0,2", 1, (5, 2)),
            SaveItem("r", "", 1, (4,)),
        ),
        (SaveItem("w", "", 1, (2, 3)),),
    )
)


def test_plan_of_our_saver():
    assert save_plan(add_saver(small())) == SMALL_PLAN
    assert len(SMALL_PLAN.items) == 4
    assert save_plan(small()) == SavePlan(())


@pytest.mark.parametrize("bad", ["save", b"save", [b"save"], [3], [None]])
def test_names_in_use_that_are_none(bad):
    graph = GraphBuilder()
    graph.variable("w", [2])
    with pytest.raises(InvalidArgumentError, match=r"names_in_use: got .*, want"):
        add_saver(graph.to_meta_graph(), names_in_use=bad)
    with pytest.raises(InvalidArgumentError, match=r"names_in_use: got .*, want"):
        GraphBuilder(names_in_use=bad)


def test_names_in_use():
    def scope(meta, names_in_use=None):
        return add_saver(meta, names_in_use=names_in_use).saver_def.restore_op_name

    meta = small()
    assert scope(meta) == scope(meta, []) == "save/restore_all"
    # A scope without nodes is in nobody's names.
    assert scope(meta, ["save"]) == "save_1/restore_all"
    assert scope(meta, ["save", "save_1"]) == "save_2/restore_all"
    # The scope of a node is held, unless the caller knows that the node was imported; nodes always are.
    meta.graph_def.node.add(name="save/x", op="NoOp")
    assert scope(meta) == "save_1/restore_all"
    assert scope(meta, []) == "save/restore_all"
    meta.graph_def.node.add(name="save", op="NoOp")
    assert scope(meta, []) == "save_1/restore_all"


def test_plan_of_a_saver_that_only_restores():
    meta = add_saver(small())
    reads = [n for n in meta.graph_def.node if n.op in ("SaveV2", "MergeV2Checkpoints", "ReadVariableOp")]
    for one in reads:
        meta.graph_def.node.remove(one)
    meta.graph_def.node.remove(node(meta, meta.saver_def.save_tensor_name.partition(":")[0]))
    assert save_plan(meta) == SMALL_PLAN


def test_the_order_of_shards_is_that_of_their_numbers():
    meta = add_saver(small())
    nodes = [type(n).FromString(n.SerializeToString()) for n in meta.graph_def.node]
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(reversed(nodes))
    assert save_plan(meta) == SMALL_PLAN


def test_some_of_the_variables():
    got = add_saver(small(), variables=["w", "p/part_0", "p/part_1"])
    assert [item.key for item in save_plan(got).items] == ["p", "p", "w"]
    assert not add_saver(small(), variables=[]).HasField("saver_def")


def test_without_a_collection_the_nodes_say_what_the_variables_are():
    meta = small()
    del meta.collection_def["variables"]
    assert has_variables(meta)
    keys = [item.key for item in save_plan(add_saver(meta)).items]
    assert keys == ["p/part_0", "p/part_1", "r", "w"]
    g = GraphBuilder()
    g.variable("local", [], collections=["local_variables"], trainable=False)
    assert not has_variables(g.to_meta_graph())
    g.variable("w", [])
    twin = g.op("VarHandleOp", attrs={"dtype": "float32", "shape": [], "shared_name": "w"}, name="twin")
    assert twin.name == "twin"
    meta = g.to_meta_graph()
    del meta.collection_def["variables"]
    assert [item.key for item in save_plan(add_saver(meta)).items] == ["w"]


def test_a_variable_without_a_read_is_read_by_the_saver():
    meta = small()
    meta.graph_def.node.remove(node(meta, "w/Read/ReadVariableOp"))
    got = add_saver(meta)
    assert node(got, "save/Read_2/ReadVariableOp").device == "/job:ps/task:1/device:CPU:0"
    assert save_plan(got) == SMALL_PLAN


def test_no_variables_no_saver():
    g = GraphBuilder()
    g.const(1.0)
    meta = g.to_meta_graph()
    meta.saver_def.restore_op_name = "old"
    got = add_saver(meta)
    assert not got.HasField("saver_def")
    assert got.graph_def == meta.graph_def


def test_input_is_untouched_and_output_repeatable():
    meta = small()
    before = meta.SerializeToString(deterministic=True)
    first, second = add_saver(meta), add_saver(meta)
    assert meta.SerializeToString(deterministic=True) == before
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    saved = first.SerializeToString(deterministic=True)
    save_plan(first)
    has_variables(first)
    assert first.SerializeToString(deterministic=True) == saved


def test_two_variables_of_one_key():
    meta = small()
    entries = meta.collection_def["variables"].bytes_list.value
    entries.append(entries[0])
    with pytest.raises(InvalidArgumentError, match="two variables have the key 'w'"):
        add_saver(meta)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.graph_def.node.remove(node(m, "w")), InvalidArgumentError, "the graph has no node 'w'"),
        (lambda m: m.graph_def.node.append(node(m, "w")), InvalidArgumentError, "two nodes have the name 'w'"),
        (lambda m: node(m, "w").attr.pop("dtype"), InvalidArgumentError, "has no attribute 'dtype'"),
        (lambda m: setattr(node(m, "w").attr["dtype"], "type", 99), InvalidArgumentError, "node 'w': unknown dtype"),
        (lambda m: setattr(node(m, "w"), "op", "VariableV2"), InvalidArgumentError, "got a VariableV2"),
        (lambda m: setattr(node(m, "w/Read/ReadVariableOp"), "device", "/x:y:z"), InvalidArgumentError, "unknown part"),
        (
            lambda m: m.collection_def["variables"].bytes_list.value.append(b"\xff"),
            SavedModelError,
            "not a VariableDef",
        ),
    ],
)
def test_broken_variables(change, error, message):
    meta = small()
    change(meta)
    with pytest.raises(error, match=message):
        add_saver(meta)


def names_of(meta: MetaGraphDef):
    return node(meta, "save/SaveV2/tensor_names").attr["value"].tensor


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.saver_def.Clear(), InvalidArgumentError, "the graph has no node ''"),
        (lambda m: names_of(m).string_val.append(b"x"), InvalidArgumentError, "tensor_names"),
        (
            lambda m: setattr(names_of(m).tensor_shape.dim[0], "size", 2**60),
            InvalidArgumentError,
            "want a constant list of 3 strings",
        ),
        (
            lambda m: names_of(m).string_val.__setitem__(0, b"\xff"),
            InvalidArgumentError,
            "want a constant list of strings",
        ),
        (
            lambda m: node(m, "save/SaveV2/shape_and_slices").attr["value"].tensor.string_val.__setitem__(0, b"9 9"),
            InvalidArgumentError,
            "malformed slice: got '9'",
        ),
        (lambda m: node(m, "save/SaveV2/tensor_names").attr.clear(), InvalidArgumentError, "want a constant list"),
        (lambda m: setattr(node(m, "save/SaveV2/tensor_names"), "op", "Mine"), InvalidArgumentError, "got Mine"),
        (lambda m: node(m, "save/SaveV2").input.pop(), InvalidArgumentError, "got 2 tensors, want 3"),
        (lambda m: node(m, "save/SaveV2").ClearField("input"), InvalidArgumentError, "has no inputs"),
        (lambda m: node(m, "save/SaveV2").attr["dtypes"].list.type.__setitem__(0, 77), InvalidArgumentError, "dtype"),
        (lambda m: setattr(node(m, "save/SaveV2"), "op", "SaveSlices"), UnsupportedError, "format V1"),
        (lambda m: node(m, "save/SaveV2").input.__setitem__(0, "gone"), InvalidArgumentError, "'gone' is not in the"),
    ],
)
def test_hostile_savers(change, error, message):
    meta = add_saver(small())
    change(meta)
    with pytest.raises(error, match=message):
        save_plan(meta)


def test_loops_and_long_chains_end():
    meta = add_saver(small())
    names = node(meta, "save/SaveV2/tensor_names")
    names.op = "Identity"
    names.input.append(names.name)
    with pytest.raises(InvalidArgumentError, match="Identity nodes in a row"):
        save_plan(meta)
    meta = add_saver(small())
    node(meta, "save/SaveV2").input.append("^save/MergeV2Checkpoints")
    assert save_plan(meta) == SMALL_PLAN


def test_functions_of_a_saver_are_read():
    """As in models of TensorFlow 2, where save and restore are functions."""
    meta = add_saver(small())
    inner = [n for n in meta.graph_def.node if n.name.startswith("save/")]
    function = meta.graph_def.library.function.add()
    function.signature.name = "save_all"
    function.node_def.extend(n for n in inner if n.op in ("Const", "SaveV2", "ShardedFilename"))
    call = meta.graph_def.node.add(name="call", op="StatefulPartitionedCall")
    call.attr["f"].func.name = "save_all"
    again = function.node_def.add(name="recursive", op="save_all")
    assert again.op == "save_all"
    meta.saver_def.save_tensor_name = "call:0"
    got = save_plan(meta)
    assert [(item.key, item.dtype) for item in got.items] == [(item.key, item.dtype) for item in SMALL_PLAN.items]


def test_a_hundred_thousand_nodes_take_seconds():
    meta = small()
    for i in range(100_000):
        meta.graph_def.node.add(name=f"scope_{i % 100}/n{i}", op="NoOp", input=["^r"])
    start = time.perf_counter()
    got = add_saver(meta)
    assert save_plan(got) == SMALL_PLAN
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("names", "message"),
    [(["w", "rr"], "got 'rr', want names of the graph's variables; near: r"), (["w:0"], "got 'w:0'"), ("w", "a list")],
)
def test_unknown_names_of_variables_are_refused(names, message):
    with pytest.raises(InvalidArgumentError, match=message):
        add_saver(small(), variables=names)
