"""freeze on graphs that GraphBuilder makes; no TensorFlow."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from google.protobuf.message import DecodeError

import mexport_pb as mx
from mexport_pb._proto.graph_pb2 import AttrValue, FunctionDef, NameAttrList, NodeDef, OpDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb._proto.tensor_pb2 import DT_FLOAT, DT_RESOURCE
from mexport_pb.cli import main
from mexport_pb.errors import (
    InvalidArgumentError,
    MexportError,
    MismatchError,
    MissingVariableError,
    UnsupportedError,
)
from mexport_pb.graph import freeze_graph

W = np.array([[1.5, 2, 3], [4, 5, 6]], np.float32)
R = np.array([7, 8, 9], np.float32)
P = np.arange(10, dtype=np.float64).reshape(5, 2)
STRINGS = np.array([b"a", b"\0b"], object)


@pytest.fixture
def checkpoint(tmp_path):
    prefix = tmp_path / "model.ckpt-3"
    with mx.BundleWriter(prefix) as bundle:
        bundle.add("global_step", np.array(3, np.int64))
        bundle.add_slice("p", (5, 2), [(0, 3), (0, 2)], P[:3])
        bundle.add_slice("p", (5, 2), [(3, 2), (0, 2)], P[3:])
        bundle.add("r", R)
        bundle.add("strings", STRINGS)
        bundle.add("w", W)
    return prefix


def model(build=None) -> MetaGraphDef:
    """x[?, 2] in, y[?, 3] out: a resource variable w, a ref variable r, and an optimizer's slot beside them."""
    g = mx.GraphBuilder()
    x = g.placeholder("float32", [None, 2], name="x")
    with g.device("/job:ps/task:0"):
        w = g.variable("w", [2, 3])
    r = g.variable("r", [3], use_resource=False)
    g.variable("w/Adam", [2, 3], trainable=False)
    y = g.bias_add(g.matmul(x, w), r, name="y")
    outputs = {"y": y}
    if build is not None:
        outputs |= build(g, x)
    return g.to_meta_graph(["serve"], {"s": mx.make_signature_def({"x": x}, outputs)})


def nodes(meta):
    return {node.name: node for node in meta.graph_def.node}


def value(meta, name):
    return mx.tensor_proto_to_array(nodes(meta)[name].attr["value"].tensor)


def test_variables_become_constants_where_they_were(checkpoint):
    meta = mx.add_main_op(mx.add_saver(model()))
    before = meta.SerializeToString(deterministic=True)
    got = mx.freeze(meta, checkpoint)
    assert meta.SerializeToString(deterministic=True) == before
    assert [(node.name, node.op) for node in got.graph_def.node] == [
        ("x", "Placeholder"),
        ("w", "Const"),
        ("r", "Const"),
        ("r/read", "Identity"),
        ("MatMul/ReadVariableOp", "Identity"),
        ("MatMul", "MatMul"),
        ("y", "BiasAdd"),
    ]
    np.testing.assert_array_equal(value(got, "w"), W)
    np.testing.assert_array_equal(value(got, "r"), R)
    w = nodes(got)["w"]
    assert sorted(w.attr) == ["dtype", "value"]
    assert w.device == "/job:ps/task:0"
    read = nodes(got)["MatMul/ReadVariableOp"]
    assert (list(read.input), sorted(read.attr), read.attr["T"].type) == (["w"], ["T"], DT_FLOAT)
    assert "_output_shapes" not in nodes(got)["r/read"].attr
    assert "_output_shapes" in nodes(got)["y"].attr
    assert got.signature_def == meta.signature_def
    assert list(got.meta_info_def.tags) == ["serve"]
    assert not got.collection_def
    assert not got.HasField("saver_def")
    assert got.graph_def.HasField("library")
    ops = [op.name for op in got.meta_info_def.stripped_op_list.op]
    assert ops == ["BiasAdd", "Const", "Identity", "MatMul", "Placeholder"]
    assert not mx.check_meta_graph(got)


def test_a_frozen_graph_is_written_without_variables(tmp_path, checkpoint):
    path = mx.write_saved_model(mx.freeze(model(), checkpoint), tmp_path / "model")
    assert sorted(one.name for one in path.iterdir()) == ["saved_model.pb", "variables"]
    assert list((path / "variables").iterdir()) == []
    assert mx.check_saved_model(path).ok
    again = mx.write_saved_model(mx.freeze(model(), checkpoint), tmp_path / "again")
    assert (path / "saved_model.pb").read_bytes() == (again / "saved_model.pb").read_bytes()


def test_parts_strings_and_gathers(checkpoint):
    def build(g, x):
        first, second = g.partitioned_variable("p", [5, 2], "float64", num_shards=2)
        ids = g.const(np.array([1, 0], np.int32))
        strings = g.variable("strings", initial_value=STRINGS)
        return {"p": g.gather(first, ids, name="rows"), "q": g.identity(second), "t": g.identity(strings)}

    for meta in (model(build), mx.prune_to_signatures(model(build))):
        got = mx.freeze(meta, checkpoint)
        np.testing.assert_array_equal(value(got, "p/part_0"), P[:3])
        np.testing.assert_array_equal(value(got, "p/part_1"), P[3:])
        np.testing.assert_array_equal(value(got, "strings"), STRINGS)
        rows, axis = nodes(got)["rows"], got.graph_def.node[-1]
        assert (rows.op, list(rows.input)[0::2]) == ("GatherV2", ["p/part_0", "rows/axis"])
        assert (axis.name, axis.op, value(got, "rows/axis").item()) == ("rows/axis", "Const", 0)


def test_a_taken_name_is_left_alone(checkpoint):
    def build(g, x):
        taken = g.const(5.0, name="rows/axis")
        ids = g.const(np.array([1, 0]))
        w = next(v for v in g.get_collection("variables") if v.name.startswith("w"))
        return {"taken": taken, "rows": g.gather(w, ids, name="rows")}

    got = mx.freeze(model(build), checkpoint)
    assert value(got, "rows/axis").item() == 5
    assert nodes(got)["rows"].input[2] == "rows/axis_1"


def test_keys_without_collections_or_by_shared_name(checkpoint):
    meta = model()
    del meta.collection_def["variables"]
    np.testing.assert_array_equal(value(mx.freeze(meta, checkpoint), "w"), W)
    meta = model()
    other = meta.graph_def.node.add()
    other.CopyFrom(nodes(meta)["w"])
    other.name = "w_1"
    nodes(meta)["MatMul/ReadVariableOp"].input[0] = "w_1"
    np.testing.assert_array_equal(value(mx.freeze(meta, checkpoint), "w_1"), W)


def test_missing_variables_are_named(checkpoint):
    def build(g, x):
        return {"t": g.identity(g.variable("wx", [2, 3]))}

    with pytest.raises(MissingVariableError, match=r"model.ckpt-3: .* lacks variable .*'wx' \(near it: 'w'\)"):
        mx.freeze(model(build), checkpoint)
    with pytest.raises(InvalidArgumentError, match="variables, such as 'w': got no checkpoint"):
        mx.freeze(model(), None)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [([2, 4], "float32", r"got shape \[2, 3\] in the checkpoint, want \[2, 4\]"), ([2, 3], "float64", "got float32")],
)
def test_mismatches(checkpoint, shape, dtype, message):
    g = mx.GraphBuilder()
    w = g.variable("w", shape, dtype)
    meta = g.to_meta_graph(signatures={"s": mx.make_signature_def({}, {"y": g.identity(w)})})
    with pytest.raises(MismatchError, match=rf"model.ckpt-3: variable 'w': {message}"):
        mx.freeze(meta, checkpoint)


def test_too_large_is_refused_before_data_is_read(checkpoint, monkeypatch):
    (data,) = checkpoint.parent.glob("*.data*")
    data.unlink()
    monkeypatch.setattr(freeze_graph, "MAX_MESSAGE_BYTES", 500)
    with pytest.raises(InvalidArgumentError, match=r"too large for a protobuf message: got \d{3} bytes, want <= 500"):
        mx.freeze(model(), checkpoint)
    monkeypatch.setattr(freeze_graph, "MAX_MESSAGE_BYTES", 5000)
    with pytest.raises(OSError, match="data-00000"):
        mx.freeze(model(), checkpoint)


def test_signatures_that_cannot_be_kept(checkpoint):
    meta = model()
    meta.signature_def["s"].outputs["y"].name = "gone:0"
    with pytest.raises(InvalidArgumentError, match="signature 's' names 'gone:0', which is not in the graph"):
        mx.freeze(meta, checkpoint)
    meta.signature_def.clear()
    with pytest.raises(InvalidArgumentError, match="no signature to freeze it for"):
        mx.freeze(meta, checkpoint)
    meta = model()
    nodes(meta)["y"].input[0] = "gone"
    with pytest.raises(InvalidArgumentError, match="node 'y': its input 'gone' is not in the graph"):
        mx.freeze(meta, checkpoint)


def test_assignments_and_saved_tables_are_refused(checkpoint):
    def assign(g, x):
        w = next(v for v in g.get_collection("variables") if v.name.startswith("w"))
        with g.control_dependencies([g.op("AssignAddVariableOp", [w.handle, g.const(W)], name="more")]):
            return {"z": g.identity(x)}

    with pytest.raises(UnsupportedError, match=r"'more' \(AssignAddVariableOp\).* the handle of variable 'w'"):
        mx.freeze(model(assign), checkpoint)

    def lookup(g, x):
        attrs = {"key_dtype": "float32", "value_dtype": "int64"}
        table = g.op("MutableHashTableV2", attrs=attrs, name="table").output
        return {"z": g.op("LookupTableFindV2", [table, x, g.const(np.array(0))], name="find").output}

    with pytest.raises(UnsupportedError, match="'table': a table"):
        mx.freeze(model(lookup), checkpoint)


def test_lookup_tables_keep_their_initializers(checkpoint):
    def lookup(g, x):
        for name in ("table", "unused"):
            attrs = {"key_dtype": "float32", "value_dtype": "int64"}
            table = g.op("HashTableV2", attrs=attrs, name=name).output
            keys = g.const(np.array([1.0], np.float32), name=f"{name}_keys")
            values = g.const(np.array([1]), name=f"{name}_values")
            g.add_to_collection(
                "table_initializer", g.op("LookupTableImportV2", [table, keys, values], name=f"{name}_init")
            )
            if name == "table":
                found = g.op("LookupTableFindV2", [table, x, g.const(np.array(0))], name="find").output
        return {"z": found}

    got = mx.freeze(model(lookup), checkpoint)
    assert list(got.collection_def["table_initializer"].node_list.value) == ["table_init"]
    assert list(got.collection_def["saved_model_main_op"].node_list.value) == ["group_deps"]
    assert list(got.graph_def.node[-1].input) == ["^table_init"]
    assert "unused" not in nodes(got)
    np.testing.assert_array_equal(value(got, "w"), W)


# Functions.


def function_def(name, node_defs, ret, input_types=(DT_RESOURCE,), output_type=DT_FLOAT):
    function = FunctionDef()
    function.signature.name = name
    for i, dtype in enumerate(input_types):
        function.signature.input_arg.add(name=f"a{i}", type=dtype)
    function.signature.output_arg.add(name="out", type=output_type)
    function.node_def.extend(node_defs)
    function.ret["out"] = ret
    return function


def read_node(name="read", source="a0"):
    return NodeDef(name=name, op="ReadVariableOp", input=[source], attr={"dtype": AttrValue(type=DT_FLOAT)})


def call_node(name, called, source):
    types = AttrValue(list=AttrValue.ListValue(type=[DT_RESOURCE]))
    return NodeDef(
        name=name,
        op="StatefulPartitionedCall",
        input=[source],
        attr={
            "f": AttrValue(func=NameAttrList(name=called)),
            "Tin": types,
            "Tout": AttrValue(list=AttrValue.ListValue(type=[DT_FLOAT])),
        },
    )


def calling(*functions, called="f_2") -> MetaGraphDef:
    meta = model()
    meta.graph_def.library.function.extend(functions)
    meta.graph_def.node.append(call_node("call", called, "w"))
    meta.signature_def["s"].outputs["called"].CopyFrom(mx.make_tensor_info("call:0", DT_FLOAT, [2, 3]))
    return meta


def test_functions_take_values_under_new_names(checkpoint):
    inner = function_def("g_7", [read_node()], "read:value:0")
    outer = function_def("f_2", [call_node("inner", "g_7", "a0")], "inner:output:0")
    unused = function_def("h_frozen_4", [call_node("inner", "g_7", "a0")], "inner:output:0")
    got = mx.freeze(calling(inner, outer, unused), checkpoint)
    # Numbers follow the one that is there; the one in use keeps the function that it calls.
    assert [f.signature.name for f in got.graph_def.library.function] == [
        "g_frozen_7",
        "f_frozen_5",
        "h_frozen_4",
        "g_7",
    ]
    assert nodes(got)["call"].attr["f"].func.name == "f_frozen_5"
    assert list(nodes(got)["call"].attr["Tin"].list.type) == [DT_FLOAT]
    frozen, first, _, original = got.graph_def.library.function
    assert frozen.signature.input_arg[0].type == DT_FLOAT
    assert (frozen.node_def[0].op, frozen.ret["out"]) == ("Identity", "read:output:0")
    assert first.node_def[0].attr["f"].func.name == "g_frozen_7"
    assert original == inner
    assert not mx.check_meta_graph(got)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (function_def("f_2", [], "a0", output_type=DT_RESOURCE), "'f_2' returns the handle of variable 'w'"),
        (
            function_def("f_2", [NodeDef(name="n", op="AssignVariableOp", input=["a0", "a0"])], "a0"),
            r"'n of function f_2' \(AssignVariableOp\)",
        ),
        (function_def("other", [], "a0"), "calls 'f_2', which is not in the graph's library"),
        (function_def("f_2", [], "a0", input_types=()), "function 'f_2' has no argument 0"),
    ],
)
def test_functions_that_cannot_be_frozen(function, message, checkpoint):
    with pytest.raises((UnsupportedError, InvalidArgumentError), match=message):
        mx.freeze(calling(function), checkpoint)


@pytest.mark.timeout(60)
def test_functions_that_call_each_other_end(checkpoint):
    """Calls in circles, and calls that double at each of many levels."""
    circle = function_def("f_2", [call_node("again", "f_2", "a0")], "again:output:0")
    assert mx.freeze(calling(circle), checkpoint).graph_def.library.function[0].signature.name == "f_frozen_0"
    levels = [
        function_def(f"f_{i}", [call_node("a", f"f_{i + 1}", "a0"), call_node("b", f"f_{i + 1}", "a0")], "b:output:0")
        for i in range(2, 60)
    ]
    last = function_def("f_60", [read_node()], "read:value:0")
    assert len(mx.freeze(calling(*levels, last), checkpoint).graph_def.library.function) == 59


def test_many_nodes_in_a_row(checkpoint):
    def build(g, x):
        tensor = next(v for v in g.get_collection("variables") if v.name.startswith("w")).handle
        for _ in range(5000):
            tensor = g.op("Identity", [tensor]).output
        return {"z": g.op("ReadVariableOp", [tensor], attrs={"dtype": "float32"}, name="deep").output}

    got = nodes(mx.freeze(model(build), checkpoint))
    assert got["deep"].op == "Identity"
    assert {node.attr["T"].type for node in got.values() if node.op == "Identity"} == {DT_FLOAT}


# Exports.


class Exporter(mx.BaseExporter):
    def export_saved_model(self, serving_input_receiver_fn, checkpoint_path=None, global_step=None):
        context = mx.ExportContext(source=self._source)
        graph = self._source.new_graph()
        self._run_model_fn(graph, context, serving_input_receiver_fn)
        return self._export_frozen_saved_model_from_graph(
            graph, checkpoint_path, export_dir=self._export_dir_base, export_ctx=context
        )


def receiver_fn():
    x = mx.get_default_graph().placeholder("float32", [None, 2], name="x")
    return mx.ServingInputReceiver({"x": x}, {"x": x})


@pytest.mark.parametrize("predicts_step", [False, True])
def test_exporter_keeps_the_global_step(tmp_path, checkpoint, predicts_step):
    def model_fn(features):
        g = mx.get_default_graph()
        y = {"y": g.matmul(features["x"], g.variable("w", [2, 3]), name="y")}
        if predicts_step:
            y["step"] = g.identity(g.global_step())
        return mx.EstimatorSpec(mx.ModeKeys.PREDICT, y)

    Exporter(model_fn, tmp_path, tmp_path / "9").export_saved_model(receiver_fn, checkpoint)
    meta = mx.read_saved_model(tmp_path / "9" / "saved_model.pb").meta_graphs[0]
    assert nodes(meta)["w"].op == "Const"
    assert list(meta.collection_def["saved_model_main_op"].node_list.value) == ["NoOp"]
    assert mx.check_saved_model(tmp_path / "9").ok
    if predicts_step:
        assert value(meta, "global_step") == 3
        assert not meta.HasField("saver_def")
    else:
        with mx.BundleReader(tmp_path / "9" / "variables" / "variables") as bundle:
            assert bundle.keys() == ["global_step"]
            assert bundle.read("global_step") == 3


@pytest.mark.parametrize("prune", [True, False])
def test_export_meta_graph_frozen(tmp_path, checkpoint, prune):
    path = mx.export_meta_graph(model(), checkpoint, tmp_path / "1", freeze=True, prune=prune)
    meta = mx.read_saved_model(path / "saved_model.pb").meta_graphs[0]
    np.testing.assert_array_equal(value(meta, "w"), W)
    assert "w/Adam" not in nodes(meta)


def test_command_line(tmp_path, checkpoint, capsys):
    (tmp_path / "graph.meta").write_bytes(model().SerializeToString())
    where = ["--meta-graph", str(tmp_path / "graph.meta"), "--checkpoint", str(checkpoint)]
    assert main(["export", *where, "--output", str(tmp_path / "1"), "--freeze", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variables"] == 0


# Damage and size.


def damage(meta, rng):
    everything = [*meta.graph_def.node, *(n for f in meta.graph_def.library.function for n in f.node_def)]
    node, other = rng.choice(everything), rng.choice(everything)
    function = rng.choice(meta.graph_def.library.function)
    match rng.randrange(9):
        case 0:
            node.op = other.op
        case 1 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(["", "^", "x:99", ":0", "a0", "w", other.name])
        case 2 if node.input:
            del node.input[rng.randrange(len(node.input))]
        case 3 if node.attr:
            del node.attr[rng.choice(sorted(node.attr))]
        case 4 if node.attr:
            name = rng.choice(sorted(node.attr))
            node.attr[name].CopyFrom(rng.choice([one for n in everything for one in n.attr.values()]))
        case 5:
            del function.signature.input_arg[:]
        case 6:
            function.ret["out"] = rng.choice(["", "a0", "gone:x:0", "read:value:0"])
        case 7:
            function.signature.name = rng.choice(["f_2", "g_7", "", "_", "x_" + "9" * 5000])
        case 8:
            node.name = other.name


def test_damaged_graphs_raise_our_errors(checkpoint):
    rng = random.Random(7)

    def rows(g, x):
        first, _ = g.partitioned_variable("p", [5, 2], "float64", num_shards=2)
        return {"p": g.gather(first, g.const(np.array([1, 0])), name="rows")}

    base = mx.add_saver(model(rows))
    base.graph_def.library.function.extend(
        [
            function_def("g_7", [read_node()], "read:value:0"),
            function_def("f_2", [call_node("inner", "g_7", "a0")], "inner:output:0"),
        ]
    )
    base.graph_def.node.append(call_node("call", "f_2", "w"))
    base.signature_def["s"].outputs["called"].CopyFrom(mx.make_tensor_info("call:0", DT_FLOAT, [2, 3]))
    mx.freeze(base, checkpoint)
    ends = {True: 0, False: 0}
    for _ in range(1500):
        meta = MetaGraphDef()
        meta.CopyFrom(base)
        for _ in range(rng.randrange(1, 4)):
            damage(meta, rng)
        try:
            mx.freeze(meta, checkpoint)
            ends[True] += 1
        except MexportError:
            ends[False] += 1
    assert min(ends.values()) > 100
    data = base.SerializeToString()
    for _ in range(500):
        broken = bytearray(data)
        broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            mx.freeze(MetaGraphDef.FromString(bytes(broken)), checkpoint)
        except (MexportError, DecodeError):
            continue


def test_memory_is_that_of_the_result(tmp_path):
    """Eight variables of 32 MiB: 256 MiB, and room for one of them in the making."""
    script = """
        import sys
        import numpy as np
        import mexport_pb as mx
        from tests.support.memory import peak_rss

        prefix = sys.argv[1]
        g = mx.GraphBuilder()
        names = [f"v{i}" for i in range(8)]
        with mx.BundleWriter(prefix) as bundle:
            for name in names:
                bundle.add(name, np.zeros([8 << 20], np.float32))
        outputs = {name: g.identity(g.variable(name, [8 << 20])) for name in names}
        meta = g.to_meta_graph(["serve"], {"s": mx.make_signature_def({}, outputs)})
        before = peak_rss()
        frozen = mx.freeze(meta, prefix)
        print((peak_rss() - before) >> 20, frozen.ByteSize() >> 20)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "c")]
    peak, size = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert size == 256
    assert peak <= size + 2 * 32 + 16


def test_op_defs_of_the_graph_say_which_inputs_are_refs(checkpoint):
    g = mx.GraphBuilder()
    r = g.variable("r", [3], use_resource=False)
    z = g.op("Identity", [r.handle], name="z").output
    meta = g.to_meta_graph(["serve"], {"s": mx.make_signature_def({}, {"z": z})})
    nodes(meta)["z"].op = "MyUpdate"
    mx.freeze(meta, checkpoint)
    definition = OpDef(name="MyUpdate")
    definition.input_arg.add(name="ref", type=DT_FLOAT, is_ref=True)
    meta.meta_info_def.stripped_op_list.op.append(definition)
    with pytest.raises(UnsupportedError, match=r"'z' \(MyUpdate\).* the reference of variable 'r'"):
        mx.freeze(meta, checkpoint)
