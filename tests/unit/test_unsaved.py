"""Which variables a served model would read without a value."""

from __future__ import annotations

import time

import pytest
from google.protobuf import text_format

from mexport_pb._proto.graph_pb2 import FunctionDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import GraphBuilder, add_main_op, add_saver, unsaved_variables
from mexport_pb.messages import make_node_list, make_signature_def


def chain(use_resource=True, collections=("variables",)):
    """y = x a b, and a variable c beside it."""
    g = GraphBuilder()
    x = g.placeholder("float32", [None, 2], name="x")
    a = g.variable("a", [2, 2], use_resource=use_resource)
    b = g.variable("b", [2, 2], use_resource=use_resource, trainable=False, collections=collections)
    middle = g.matmul(x, a, name="middle")
    y = g.matmul(middle, b, name="y")
    g.variable("c", [2])
    return g, x, middle, y


def meta_of(g, x, y, **more):
    return g.to_meta_graph(signatures={"serving_default": make_signature_def({"x": x}, {"y": y}), **more})


@pytest.mark.parametrize("use_resource", [True, False])
def test_what_the_saver_restores_is_set(use_resource):
    g, x, _, y = chain(use_resource)
    meta = meta_of(g, x, y)
    assert unsaved_variables(meta) == ["a", "b"]
    assert unsaved_variables(add_saver(meta)) == []
    assert unsaved_variables(add_saver(meta, variables=["a"])) == ["b"]
    assert unsaved_variables(add_saver(meta, variables=["a", "b"])) == []


@pytest.mark.parametrize("kept", [0, 1])
def test_an_incomplete_collection(kept):
    g, x, _, y = chain()
    meta = meta_of(g, x, y)
    del meta.collection_def["variables"].bytes_list.value[kept:]
    assert unsaved_variables(add_saver(meta)) == ["a", "b"][kept:]


def test_local_variables_are_set_by_the_main_op():
    g, x, _, y = chain(collections=("local_variables",))
    meta = add_saver(meta_of(g, x, y))
    assert unsaved_variables(meta) == ["b"]
    assert unsaved_variables(add_main_op(meta)) == []


def test_an_initialisation_that_nobody_runs_does_not_count():
    g, x, _, y = chain(collections=())
    assert unsaved_variables(add_saver(meta_of(g, x, y))) == ["b"]


@pytest.mark.parametrize("collection", ["legacy_init_op", "signature"])
def test_other_forms_of_the_main_op(collection):
    g, x, _, y = chain(collections=())
    initializer = g.get_operation("b/Assign")
    meta = add_saver(meta_of(g, x, y))
    if collection == "signature":
        meta.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = initializer.name
    else:
        meta.collection_def[collection].CopyFrom(make_node_list([initializer.name]))
    assert unsaved_variables(meta) == []


def test_what_only_a_fed_tensor_needs_is_not_read():
    g, _, middle, y = chain()
    signature = make_signature_def({"middle": middle}, {"y": y})
    meta = g.to_meta_graph(signatures={"from_the_middle": signature})
    assert unsaved_variables(meta) == ["b"]
    both = meta_of(g, g.get_tensor("x:0"), y, from_the_middle=signature)
    assert unsaved_variables(both) == ["a", "b"]


def test_nodes_of_one_shared_name_are_one_variable():
    g, x, _, y = chain()
    handle = g.op("VarHandleOp", attrs={"dtype": "float32", "shape": [2, 2], "shared_name": "a"}, name="again").output
    more = g.op("ReadVariableOp", [handle], attrs={"dtype": "float32"}).output
    meta = meta_of(g, x, g.matmul(y, more))
    assert unsaved_variables(add_saver(meta)) == []
    assert unsaved_variables(meta) == ["a", "b", "again"]


FUNCTIONS = """
signature {
  name: "set_second"
  input_arg { name: "value" type: DT_FLOAT }
  input_arg { name: "handle" type: DT_RESOURCE }
}
node_def { name: "same" op: "Identity" input: "handle" }
node_def { name: "assign" op: "AssignVariableOp" input: "same:output:0" input: "value" }
---
signature {
  name: "outer"
  input_arg { name: "h" type: DT_RESOURCE }
  input_arg { name: "v" type: DT_FLOAT }
}
node_def {
  name: "call" op: "StatefulPartitionedCall" input: "v" input: "h"
  attr { key: "f" value { func { name: "set_second" } } }
}
---
signature { name: "reads" input_arg { name: "h" type: DT_RESOURCE } output_arg { name: "o" type: DT_FLOAT } }
node_def {
  name: "read" op: "ReadVariableOp" input: "h" attr { key: "dtype" value { type: DT_FLOAT } }
}
node_def {
  name: "own" op: "VarHandleOp" attr { key: "shared_name" value { s: "inside" } }
}
ret { key: "o" value: "read:value:0" }
"""


def with_functions(op="StatefulPartitionedCall"):
    """y = the value of w as a function reads it; "set" assigns w through two functions."""
    g = GraphBuilder()
    for text in FUNCTIONS.split("---"):
        g.add_function(text_format.Parse(text, FunctionDef()))
    w = g.variable("w", [2], collections=(), trainable=False)
    attrs = {"f": "reads", "Tin": ["resource"], "Tout": ["float32"]}
    y = g.op("StatefulPartitionedCall", [[w.handle]], attrs=attrs, name="y").output
    attrs = {"Tin": ["resource", "float32"], "Tout": []}
    inputs = [[w.handle, [1.0, 2.0]]]
    if op == "If":
        attrs = {**attrs, "then_branch": "outer", "else_branch": "outer"}
        inputs = [True, *inputs]
    else:
        attrs["f"] = "outer"
    assign = g.op(op, inputs, attrs=attrs, name="set")
    return g, y, assign


@pytest.mark.parametrize("op", ["StatefulPartitionedCall", "If"])
def test_functions_are_followed(op):
    g, y, assign = with_functions(op)
    meta = g.to_meta_graph(signatures={"serving_default": make_signature_def({}, {"y": y})})
    assert unsaved_variables(meta) == ["w", "reads:own"]
    assert unsaved_variables(add_main_op(meta, [assign.name])) == ["reads:own"]


def test_unknown_ops_are_taken_to_set_their_variables():
    g, x, _, y = chain(collections=())
    b = g.get_tensor("b:0")
    restore = g.op("RestoreFromElsewhere", [b], dtypes=[], name="elsewhere")
    meta = add_saver(meta_of(g, x, y))
    assert unsaved_variables(meta) == ["b"]
    assert unsaved_variables(add_main_op(meta, [restore.name])) == []


def test_training_signatures_do_not_count():
    g, x, _, y = chain()
    signature = make_signature_def({}, {"train": y})
    assert unsaved_variables(g.to_meta_graph(signatures={"__saved_model_train_op": signature})) == []
    with pytest.raises(InvalidArgumentError, match="no node 'gone'"):
        bad = meta_of(g, x, y)
        bad.signature_def["serving_default"].outputs["y"].name = "gone:0"
        unsaved_variables(bad)


def test_loops_end():
    g, x, _, y = chain()
    meta = add_saver(meta_of(g, x, y))
    handle = next(
        node for node in meta.graph_def.node if node.op == "AssignVariableOp" and node.name.startswith("save/")
    )
    for name, source in (("p", "q"), ("q", "p")):
        meta.graph_def.node.add(name=name, op="Identity", input=[source])
    handle.input[0] = "p"
    assert len(unsaved_variables(meta)) == 1


def test_time_is_linear():
    g = GraphBuilder()
    total = g.const([1.0])
    for i in range(10_000):
        total = g.op("AddV2", [total, g.variable(f"v{i}", [1])]).output
    signatures = {f"s{i}": make_signature_def({}, {"y": total}) for i in range(50)}
    meta = add_saver(g.to_meta_graph(signatures=signatures))
    start = time.perf_counter()
    assert unsaved_variables(meta) == []
    assert time.perf_counter() - start < 10
