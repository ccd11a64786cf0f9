"""prune_to_signatures on graphs that GraphBuilder makes."""

from __future__ import annotations

import time

import pytest

from mexport_pb._proto.graph_pb2 import AttrValue, FunctionDef, NameAttrList, OpDef
from mexport_pb._proto.saved_model_pb2 import AssetFileDef, MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import (
    GraphBuilder,
    SaveSlice,
    add_main_op,
    add_saver,
    has_variables,
    prune_to_signatures,
    save_plan,
    set_main_op,
)
from mexport_pb.messages import make_init_op_signature, make_signature_def, pack_asset_file_def, shape_to_list


def names(meta: MetaGraphDef) -> list[str]:
    return [node.name for node in meta.graph_def.node]


def node(meta: MetaGraphDef, name: str):
    return next(node for node in meta.graph_def.node if node.name == name)


def training_graph() -> tuple[GraphBuilder, dict]:
    """A model with a slot, a loss, and inputs that come from a queue of two outputs."""
    g = GraphBuilder()
    raw = g.placeholder("string", [None], name="raw")
    batch = g.op(
        "ParseTwo",
        [raw],
        dtypes=["float32", "int64"],
        shapes=[[None, 2], [None]],
        name="batch",
    ).outputs
    x = g.identity(batch[0], name="x")
    w = g.variable("w", [2, 3])
    table = g.variable("table/part_0", [4, 2], save_slice=SaveSlice("table", [10, 2], [0, 0]))
    g.variable("w/Adam", [2, 3], trainable=False)
    rows = g.gather(table, batch[1])
    y = g.matmul(g.add(x, rows), w, name="y")
    label = g.placeholder("float32", [None, 3], name="label")
    loss = g.reduce_mean(g.square(y - label), name="loss")
    g.add_to_collection("losses", loss)
    g.add_to_collection("kept", y)
    g.add_to_collection("numbers", 3)
    return g, {"raw": raw, "x": x, "dense": batch[0], "ids": batch[1], "y": y, "loss": loss}


def build(inputs: dict[str, str], outputs: dict[str, str], **more) -> MetaGraphDef:
    g, tensors = training_graph()
    signature = make_signature_def(
        {key: tensors[t] for key, t in inputs.items()}, {key: tensors[t] for key, t in outputs.items()}
    )
    return g.to_meta_graph(["serve"], {"serving_default": signature, **more})


def test_training_part_goes_and_a_saver_for_the_rest_comes():
    meta = build({"raw": "raw"}, {"y": "y"})
    before = meta.SerializeToString(deterministic=True)
    got = prune_to_signatures(meta)
    assert meta.SerializeToString(deterministic=True) == before
    left = [name for name in names(got) if not name.startswith("save/")]
    assert left == [
        "raw",
        "batch",
        "x",
        "w",
        "w/Read/ReadVariableOp",
        "table/part_0",
        "Gather",
        "Add",
        "y/ReadVariableOp",
        "y",
    ]
    assert [(item.key, item.shape_and_slice) for item in save_plan(got).items] == [("table", "10 2 0,4:0,2"), ("w", "")]
    assert set(got.collection_def) == {"kept", "numbers"}
    ops = [op.name for op in got.meta_info_def.stripped_op_list.op]
    assert "Mean" not in ops
    assert "MatMul" in ops
    assert ops == sorted(ops)
    assert got.signature_def == meta.signature_def


def test_a_fed_tensor_becomes_a_placeholder_of_its_name():
    got = prune_to_signatures(build({"x": "x", "ids": "ids"}, {"y": "y"}))
    left = names(got)
    assert "raw" not in left
    assert "batch" not in left
    x = node(got, "x")
    assert (x.op, list(x.input), x.attr["dtype"].type) == ("Placeholder", [], 1)
    assert shape_to_list(x.attr["shape"].shape) == [None, 2]
    assert shape_to_list(x.attr["_output_shapes"].list.shape[0]) == [None, 2]
    ids = got.signature_def["serving_default"].inputs["ids"]
    assert ids.name == "batch/output_1:0"
    assert node(got, "batch/output_1").attr["dtype"].type == 9
    assert list(node(got, "Gather").input) == ["table/part_0", "batch/output_1"]


def test_both_outputs_of_a_node_can_be_fed():
    got = prune_to_signatures(build({"d": "dense", "ids": "ids"}, {"y": "y"}))
    assert node(got, "batch").op == "Placeholder"
    assert list(node(got, "x").input) == ["batch"]
    assert node(got, "batch/output_1").op == "Placeholder"
    assert "raw" not in names(got)


def test_a_node_that_another_signature_computes_stays():
    g, t = training_graph()
    meta = g.to_meta_graph(
        ["serve"],
        {
            "fed": make_signature_def({"x": t["x"], "ids": t["ids"]}, {"y": t["y"]}),
            "raw": make_signature_def({"raw": t["raw"]}, {"y": t["y"]}),
        },
    )
    got = prune_to_signatures(meta)
    assert node(got, "x").op == "Identity"
    assert node(got, "batch").op == "ParseTwo"
    assert got.signature_def["fed"].inputs["ids"].name == "batch:1"


def test_an_unfed_placeholder_is_named():
    with pytest.raises(InvalidArgumentError, match="signature 'serving_default' needs the placeholder 'label'"):
        prune_to_signatures(build({"raw": "raw"}, {"loss": "loss"}))
    with pytest.raises(InvalidArgumentError, match="placeholder 'raw'"):
        prune_to_signatures(build({"x": "x"}, {"y": "y"}))


def test_unused_inputs_stay():
    g, t = training_graph()
    unused = g.identity(g.const(1.0), name="unused")
    meta = g.to_meta_graph(signatures={"s": make_signature_def({"raw": t["raw"], "u": unused}, {"x": t["x"]})})
    got = prune_to_signatures(meta)
    assert names(got) == ["raw", "batch", "x", "unused"]
    assert node(got, "unused").op == "Placeholder"
    assert not got.HasField("saver_def")
    assert not has_variables(got)


def test_no_signature_or_unknown_tensors():
    g, _ = training_graph()
    with pytest.raises(InvalidArgumentError, match="no signature"):
        prune_to_signatures(g.to_meta_graph())
    meta = build({"raw": "raw"}, {"y": "y"})
    meta.signature_def["serving_default"].outputs["y"].name = "gone:0"
    with pytest.raises(InvalidArgumentError, match="'gone', which is not in the graph"):
        prune_to_signatures(meta)
    meta = build({"raw": "raw"}, {"y": "y"})
    meta.signature_def["serving_default"].inputs["raw"].name = "gone:0"
    with pytest.raises(InvalidArgumentError, match="its input 'gone' is not in the graph"):
        prune_to_signatures(meta)
    meta = build({"raw": "raw"}, {"y": "y"})
    node(meta, "y").input[0] = "gone"
    with pytest.raises(InvalidArgumentError, match="node 'y': its input 'gone' is not in the graph"):
        prune_to_signatures(meta)


def test_a_saver_that_is_there_stays_whole():
    got = prune_to_signatures(add_saver(build({"raw": "raw"}, {"y": "y"})))
    assert [item.key for item in save_plan(got).items] == ["table", "w", "w/Adam"]
    assert "w/Adam" in names(got)
    assert "w/Assign" not in names(got)


def test_control_inputs_cycles_and_colocation():
    g = GraphBuilder()
    x = g.placeholder("float32", [], name="x")
    gone = g.const(1.0, name="gone")
    before = g.no_op(name="before")
    with g.control_dependencies([before]), g.colocate_with(gone), g.colocate_with(before):
        enter = g.op("Enter", [x], attrs={"frame_name": "f"}, name="enter").output
    merge = g.op("Merge", [[enter, enter]], name="merge").outputs[0]
    again = g.op("NextIteration", [merge], name="next").output
    with g.colocate_with(gone):
        y = g.op("Exit", [merge], name="y").output
    meta = g.to_meta_graph(signatures={"s": make_signature_def({"x": x}, {"y": y})})
    node(meta, "merge").input[1] = again.input_name
    got = prune_to_signatures(meta)
    assert names(got) == ["x", "before", "enter", "merge", "next", "y"]
    assert list(node(got, "enter").attr["_class"].list.s) == [b"loc:@before"]
    assert "_class" not in node(got, "y").attr


def test_who_waits_for_a_fed_node_waits_for_its_placeholder():
    g = GraphBuilder()
    batch = g.op("Two", dtypes=["float32", "float32"], shapes=[[], []], name="batch")
    with g.control_dependencies([batch]):
        y = g.const(1.0, name="y")
    z = g.add(y, batch.outputs[1], name="z")
    meta = g.to_meta_graph(signatures={"s": make_signature_def({"b": batch.outputs[1]}, {"z": z})})
    got = prune_to_signatures(meta)
    assert list(node(got, "y").input) == ["^batch/output_1"]
    assert list(node(got, "z").input) == ["y", "batch/output_1"]


def table_graph() -> GraphBuilder:
    g = GraphBuilder()
    tables = {}
    for name in ("used", "unused"):
        asset = g.const(f"/x/{name}.txt", name=f"{name}_asset")
        table = g.op("HashTableV2", attrs={"key_dtype": "string", "value_dtype": "int64"}, name=name).output
        attrs = {"key_index": -2, "value_index": -1}
        init = g.op("InitializeTableFromTextFileV2", [table, asset], attrs=attrs, name=f"{name}_init")
        g.add_to_collection("table_initializer", init)
        g.add_to_collection("asset_filepaths", asset)
        g.add_to_collection("saved_model_assets", pack_asset_file_def(_asset(f"{name}_asset:0", f"{name}.txt")))
        tables[name] = table
    keys = g.placeholder("string", [None], name="keys")
    found = g.op("LookupTableFindV2", [tables["used"], keys, -1], name="found").output
    g.signature = make_signature_def({"keys": keys}, {"found": found})
    return g


def _asset(tensor: str, filename: str) -> AssetFileDef:
    asset = AssetFileDef(filename=filename)
    asset.tensor_info.name = tensor
    return asset


def test_tables_that_are_used_keep_initializer_and_asset():
    got = prune_to_signatures(table_graph().to_meta_graph(signatures={"s": table_graph().signature}))
    assert names(got) == ["used_asset", "used", "used_init", "keys", "found/default_value", "found"]
    assert list(got.collection_def["table_initializer"].node_list.value) == ["used_init"]
    assert list(got.collection_def["asset_filepaths"].node_list.value) == ["used_asset:0"]
    assert len(got.collection_def["saved_model_assets"].any_list.value) == 1
    loaded = add_main_op(got)
    assert list(loaded.collection_def["saved_model_main_op"].node_list.value) == ["group_deps"]
    assert list(node(loaded, "group_deps").input) == ["^used_init"]
    assert prune_to_signatures(loaded).graph_def == loaded.graph_def


@pytest.mark.parametrize("kind", ["collection", "legacy", "signature"])
def test_main_op_is_a_root_unless_told_otherwise(kind):
    g = table_graph()
    main = g.group(*g.get_collection("table_initializer"), name="main")
    meta = g.to_meta_graph(signatures={"s": g.signature})
    if kind == "signature":
        meta.signature_def["__saved_model_init_op"].CopyFrom(make_init_op_signature("main"))
    else:
        key = {"collection": "saved_model_main_op", "legacy": "legacy_init_op"}[kind]
        meta.collection_def[key].node_list.value.append(main.name)
    assert add_main_op(meta) == meta
    kept = prune_to_signatures(meta)
    assert {"unused", "unused_asset", "main"} <= set(names(kept))
    dropped = prune_to_signatures(meta, keep_main_op=False)
    assert not {"unused", "unused_asset", "main"} & set(names(dropped))
    assert "saved_model_main_op" not in dropped.collection_def
    assert "__saved_model_init_op" not in dropped.signature_def


def test_local_variables_keep_their_initializer():
    g = GraphBuilder()
    x = g.placeholder("float32", [], name="x")
    local = g.variable("local", [], collections=["local_variables"], trainable=False)
    g.variable("other", [], collections=["local_variables"], trainable=False)
    y = g.add(x, local, name="y")
    meta = g.to_meta_graph(signatures={"s": make_signature_def({"x": x}, {"y": y})})
    got = prune_to_signatures(meta)
    assert not got.HasField("saver_def")
    assert "local/Assign" in names(got)
    assert "other" not in names(got)
    assert list(node(add_main_op(got), "group_deps").input) == ["^local/Assign"]


def test_main_op_groups_by_device():
    g = GraphBuilder()
    for i, device in enumerate(("/job:ps/task:1", "", "/job:ps/task:0", "/job:ps/task:1")):
        with g.device(device):
            g.no_op(name=f"op_{i}")
    meta = g.to_meta_graph()
    got = add_main_op(meta, ["op_1"], name="main")
    assert [(n.name, n.device, list(n.input)) for n in got.graph_def.node[4:]] == [("main", "", ["^op_1"])]
    got = add_main_op(meta, ["op_3", "op_1", "op_2", "op_0"])
    assert [(n.name, n.device, list(n.input)) for n in got.graph_def.node[4:]] == [
        ("group_deps/NoOp", "", ["^op_1"]),
        ("group_deps/NoOp_1", "/job:ps/task:0", ["^op_2"]),
        ("group_deps/NoOp_2", "/job:ps/task:1", ["^op_0", "^op_3"]),
        ("group_deps", "", ["^group_deps/NoOp", "^group_deps/NoOp_1", "^group_deps/NoOp_2"]),
    ]
    marked = [n.name for n in got.graph_def.node if "_has_manual_control_dependencies" in n.attr]
    assert marked == [n.name for n in got.graph_def.node if n.name != "group_deps"]


def test_an_operation_of_the_graph_as_main_op():
    g = GraphBuilder()
    g.no_op(name="mine")
    meta = g.to_meta_graph()
    got = set_main_op(meta, "mine")
    assert got.graph_def == meta.graph_def
    assert list(got.collection_def["saved_model_main_op"].node_list.value) == ["mine"]
    with pytest.raises(InvalidArgumentError, match="no node 'other'"):
        set_main_op(meta, "other")
    with pytest.raises(InvalidArgumentError, match="has a main op already"):
        set_main_op(got, "mine")


def function(name: str, *calls: str, attr: str | None = None) -> FunctionDef:
    body = FunctionDef(signature=OpDef(name=name))
    for i, called in enumerate(calls):
        inner = body.node_def.add(name=f"n{i}", op="PartitionedCall" if attr else called)
        if attr:
            inner.attr[attr].func.name = called
    return body


def test_functions_reached_by_op_attr_list_and_gradient_stay():
    g = GraphBuilder()
    x = g.placeholder("float32", [], name="x")
    for body in (
        function("by_op", "inner"),
        function("inner"),
        function("branch", "deep", attr="g"),
        function("deep"),
        function("gradient_of_inner"),
        function("gone", "by_op"),
        function("gradient_of_gone"),
    ):
        g.add_function(body)
    y = g.op("by_op", [x], dtypes=["float32"], name="y").output
    branches = AttrValue(list=AttrValue.ListValue(func=[NameAttrList(name="branch")]))
    z = g.op("Custom", [y], dtypes=["float32"], attrs={"branches": branches}, name="z").output
    g.op("gone", [x], dtypes=["float32"])
    meta = g.to_meta_graph(signatures={"s": make_signature_def({"x": x}, {"z": z})})
    for name, gradient in (("inner", "gradient_of_inner"), ("gone", "gradient_of_gone")):
        meta.graph_def.library.gradient.add(function_name=name, gradient_func=gradient)
    got = prune_to_signatures(meta).graph_def.library
    assert [f.signature.name for f in got.function] == ["by_op", "inner", "branch", "deep", "gradient_of_inner"]
    assert [one.function_name for one in got.gradient] == ["inner"]


def test_pruning_twice_changes_nothing():
    once = prune_to_signatures(build({"x": "x", "ids": "ids"}, {"y": "y"}))
    assert prune_to_signatures(once) == once


def test_large_graphs_take_linear_time():
    def seconds(count: int) -> float:
        g = GraphBuilder()
        x = g.placeholder("float32", [], name="x")
        meta = g.to_meta_graph(signatures={"s": make_signature_def({"x": x}, {"y": x})})
        last = "x"
        for i in range(count):
            one = meta.graph_def.node.add(name=f"n{i}", op="Identity", input=[last])
            one.attr["T"].type = 1
            last = one.name
        meta.signature_def["s"].outputs["y"].name = f"{last}:0"
        start = time.perf_counter()
        assert len(prune_to_signatures(meta).graph_def.node) == count + 1
        return time.perf_counter() - start

    seconds(1000)
    small, large = seconds(10_000), seconds(100_000)
    assert large < 40 * small
