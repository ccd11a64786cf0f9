"""The checker's verdicts and words, on graphs made here."""

from __future__ import annotations

import time

import pytest

from mexport_pb import check, messages as mm
from mexport_pb._proto.graph_pb2 import AttrValue, GraphDef, NodeDef, OpDef, OpList
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from mexport_pb.errors import InvalidArgumentError

STRING = mm.make_attr_value("string", "type")
FLOAT = mm.make_attr_value("float32", "type")

OPS = OpList(
    op=[
        OpDef(name="NoOp"),
        OpDef(
            name="Placeholder",
            output_arg=[OpDef.ArgDef(name="output", type_attr="dtype")],
            attr=[OpDef.AttrDef(name="dtype", type="type")],
        ),
        OpDef(
            name="Identity",
            input_arg=[OpDef.ArgDef(name="input", type_attr="T")],
            output_arg=[OpDef.ArgDef(name="output", type_attr="T")],
            attr=[OpDef.AttrDef(name="T", type="type")],
        ),
        OpDef(
            name="Pack",
            input_arg=[OpDef.ArgDef(name="values", type_attr="T", number_attr="N")],
            output_arg=[OpDef.ArgDef(name="output", type_attr="T")],
            attr=[OpDef.AttrDef(name="N", type="int"), OpDef.AttrDef(name="T", type="type")],
        ),
        OpDef(
            name="Many",
            output_arg=[
                OpDef.ArgDef(name="first", type=9),
                OpDef.ArgDef(name="rest", type_list_attr="types"),
                OpDef.ArgDef(name="last", type_attr="T", number_attr="N"),
            ],
            attr=[
                OpDef.AttrDef(name="types", type="list(type)"),
                OpDef.AttrDef(name="T", type="type", default_value=mm.make_attr_value("bool", "type")),
                OpDef.AttrDef(name="N", type="int", default_value=mm.make_attr_value(2, "int")),
            ],
        ),
    ]
)


ILLEGAL_NAME = "illegal name: want letters, digits and any of '_.-/>', a letter or digit first"
CLEAR_DEVICES = "clear the devices of a model that is to be served alone"


def make_call(op, *inputs, **attrs):
    """A node "a" that calls functions without arguments and results."""
    nothing = mm.make_attr_value([], "list(type)")
    return mm.make_node_def(op, "a", inputs, attrs={"Tin": nothing, "Tout": nothing, **attrs})


def make_graph(*nodes, **fields):
    """x (float32) -> y, s (string), and what is given."""
    graph = GraphDef(
        node=[
            mm.make_node_def("Placeholder", "x", attrs={"dtype": FLOAT}),
            mm.make_node_def("Identity", "y", ["x"], attrs={"T": FLOAT}),
            mm.make_node_def("Placeholder", "s", attrs={"dtype": STRING}),
            *nodes,
        ]
    )
    return mm.make_meta_graph_def(graph, tags=["serve"], op_list=OPS, **fields)


def problems_of(meta_graph):
    """What is found, save for the warnings of ops that are not in OPS."""
    found = [str(problem) for problem in check.find_problems(meta_graph)]
    return [problem for problem in found if not problem.startswith("warning: custom op ")]


def signature(**outputs):
    return mm.make_signature_def({"x": mm.make_tensor_info("x:0", "float32", [None])}, outputs)


def test_a_good_graph_has_no_problem():
    meta_graph = make_graph(signatures={"serving_default": signature(y=mm.make_tensor_info("y:0", "float32", None))})
    assert problems_of(meta_graph) == []
    check.check_meta_graph(meta_graph)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([NodeDef(name="x", op="NoOp")], "error: node 'x': the name is taken"),
        ([NodeDef(name="a b", op="NoOp")], "error: node 'a b': " + ILLEGAL_NAME),
        ([NodeDef(name="", op="NoOp")], "error: node '': " + ILLEGAL_NAME),
        ([NodeDef(name="a>", op="NoOp")], "error: node 'a>': " + ILLEGAL_NAME),
        ([NodeDef(name=">a", op="NoOp")], "error: node '>a': " + ILLEGAL_NAME),
        ([NodeDef(name="a>_b", op="NoOp")], "error: node 'a>_b': " + ILLEGAL_NAME),
        ([NodeDef(name="a\n", op="NoOp")], "error: node 'a\\n': " + ILLEGAL_NAME),
        ([NodeDef(name="a")], "error: node 'a': no op"),
        ([NodeDef(name="a", op="Mine", input=["b"])], "error: node 'a': input 'b': there is no node 'b'"),
        (
            [NodeDef(name="a", op="Mine", input=["x:1"])],
            "error: node 'a': input 'x:1': there is no such output, it has 1",
        ),
        ([NodeDef(name="a", op="Mine", input=["x:"])], "error: node 'a': input 'x:': not the name of a tensor"),
        ([NodeDef(name="a", op="Mine", input=["x:0:0"])], "error: node 'a': input 'x:0:0': not the name of a tensor"),
        ([NodeDef(name="a", op="Mine", input=["x:-1"])], "error: node 'a': input 'x:-1': not the name of a tensor"),
        ([NodeDef(name="a", op="Mine", input=["x:²"])], "error: node 'a': input 'x:²': not the name of a tensor"),
        ([NodeDef(name="a", op="Mine", input=[""])], "error: node 'a': input '': there is no node ''"),
        ([NodeDef(name="a", op="NoOp", input=["^b"])], "error: node 'a': control input '^b': there is no such node"),
        (
            [NodeDef(name="a", op="Mine", input=["^x", "y"])],
            "error: node 'a': data input 'y' comes after a control input",
        ),
        ([NodeDef(name="a", op="NoOp", input=["x"])], "error: node 'a': number of inputs of 'NoOp': got 1, want 0"),
        (
            [NodeDef(name="a", op="NoOp", device="/gpu")],
            "error: node 'a': not a device: got '/gpu', want e.g. '/device:CPU:0', or none",
        ),
        (
            [NodeDef(name="a", op="NoOp", device="/job:ps/task:1")],
            "warning: node 'a': a server has no job 'ps': got device '/job:ps/task:1'; " + CLEAR_DEVICES,
        ),
        (
            [NodeDef(name="a", op="NoOp", device="/replica:0/task:7")],
            "warning: node 'a': a server has no other task or replica than 0: got device '/replica:0/task:7'; "
            + CLEAR_DEVICES,
        ),
        (
            [NodeDef(name="a", op="NoOp", device="/device:CPU:9")],
            "warning: node 'a': a server has one CPU device: got device '/device:CPU:9'; " + CLEAR_DEVICES,
        ),
        (
            [mm.make_node_def("Const", "a", attrs={"dtype": FLOAT})],
            "error: node 'a': a Const without a value",
        ),
        (
            [mm.make_node_def("NoOp", "a", attrs={"T": mm.make_attr_value("T", "placeholder")})],
            "error: node 'a': attribute 'T' is a placeholder outside of a function",
        ),
        (
            [make_call("StatefulPartitionedCall", f=mm.make_attr_value("f", "func"))],
            "error: node 'a': attribute 'f': there is no function 'f'",
        ),
        (
            [
                mm.make_node_def("Placeholder", "index", attrs={"dtype": mm.make_attr_value("int32", "type")}),
                make_call("Case", "index", branches=mm.make_attr_value(["f"], "list(func)")),
            ],
            "error: node 'a': attribute 'branches': there is no function 'f'",
        ),
        (
            [NodeDef(name="a", op="NoOp", input=["^a"])],
            "error: node 'a': on a cycle or behind one, as 0 other nodes are",
        ),
    ],
)
def test_nodes(nodes, found):
    assert problems_of(make_graph(*nodes)) == [found]


def test_inputs_and_outputs_of_variable_number():
    two = mm.make_attr_value(2, "int")
    types = mm.make_attr_value(["float32", "string"], "list(type)")
    many = mm.make_node_def("Many", "many", attrs={"types": types})
    for name, dtype in {
        "many": "int64",
        "many:1": "float32",
        "many:2": "string",
        "many:3": "bool",
        "many:4": "bool",
    }.items():
        signatures = {"s": mm.make_signature_def(outputs={"o": mm.make_tensor_info(name, dtype, None)})}
        assert problems_of(make_graph(many, signatures=signatures)) == []
    wrong = {"s": mm.make_signature_def(outputs={"o": mm.make_tensor_info("many:5", "bool", None)})}
    assert problems_of(make_graph(many, signatures=wrong)) == [
        "error: signature 's' output 'o': tensor 'many:5': there is no such output, it has 5"
    ]
    pack = mm.make_node_def("Pack", "p", ["x"], attrs={"N": two, "T": FLOAT})
    assert problems_of(make_graph(pack)) == ["error: node 'p': number of inputs of 'Pack': got 1, want 2"]
    missing = "is missing: 'Pack' needs it and has no default for it"
    silent = mm.make_node_def("Pack", "p", ["x"])
    assert problems_of(make_graph(silent)) == [f"error: node 'p': attribute '{name}' {missing}" for name in "NT"]
    unknown = mm.make_node_def("Many", "many")
    assert problems_of(make_graph(unknown, NodeDef(name="a", op="Mine", input=["many:77"]))) == [
        "error: node 'many': attribute 'types' is missing: 'Many' needs it and has no default for it"
    ]


def test_loops_of_graph_mode_are_lawful():
    nodes = [
        mm.make_node_def(
            "Enter", "enter", ["x"], attrs={"T": FLOAT, "frame_name": mm.make_attr_value("loop", "string")}
        ),
        mm.make_node_def("Merge", "merge", ["enter", "next"], attrs={"T": FLOAT, "N": mm.make_attr_value(2, "int")}),
        mm.make_node_def("NextIteration", "next", ["merge"], attrs={"T": FLOAT}),
    ]
    assert problems_of(make_graph(*nodes)) == []
    nodes[1].op = "AddN"
    assert problems_of(make_graph(*nodes)) == ["error: node 'merge': on a cycle or behind one, as 1 other nodes are"]


def make_const(**changes):
    tensor = mm.make_tensor_proto([1.0, 2.0])
    for field, value in changes.items():
        setattr(tensor, field, value)
    return mm.make_node_def("Const", "c", attrs={"dtype": FLOAT, "value": mm.make_attr_value(tensor, "tensor")})


def test_constants():
    assert problems_of(make_graph(make_const())) == []
    assert problems_of(make_graph(make_const(dtype=9))) == [
        "error: node 'c': dtype of the value: got int64, but attribute 'dtype' is float32"
    ]
    assert problems_of(make_graph(make_const(tensor_content=b"123"))) == [
        "error: node 'c': bytes of the value: got 3, want 8"
    ]
    unknown = make_const()
    unknown.attr["value"].tensor.tensor_shape.unknown_rank = True
    assert problems_of(make_graph(unknown)) == [
        "error: node 'c': shape of the value: got an unknown rank, want a fully known shape"
    ]
    huge = make_const(tensor_content=b"")
    for _ in range(2):
        huge.attr["value"].tensor.tensor_shape.dim.add(size=2**62)
    assert problems_of(make_graph(huge)) == [
        "error: node 'c': shape of the value: got shape [2, 4611686018427387904, 4611686018427387904], want fewer than "
        "2**63 elements"
    ]
    strange = make_const(dtype=77)
    strange.attr["dtype"].type = 77
    assert problems_of(make_graph(strange)) == [
        "error: node 'c': attribute 'dtype': got number 77, want a dtype that is no reference",
        "error: node 'c': dtype of the value: got number 77, want a dtype that is no reference",
    ]


def make_function_graph(*nodes, ret, more=()):
    meta_graph = make_graph()
    function = meta_graph.graph_def.library.function.add(node_def=nodes, ret=ret)
    function.signature.CopyFrom(
        OpDef(
            name="f",
            input_arg=[OpDef.ArgDef(name="a", type=1), *more],
            output_arg=[OpDef.ArgDef(name="o", type=1)],
        )
    )
    return meta_graph


def test_functions():
    identity = mm.make_node_def("Identity", "i", ["a"], attrs={"T": mm.make_attr_value("T", "placeholder")})
    last = mm.make_node_def("Mine", "_m", ["i:output:0", "list:5", "a:0", "i:output", "^i", "^a"])
    refused = "error: function 'f': argument 'list': its dtype depends on the call: the Python loader refuses it"
    more = [OpDef.ArgDef(name="list", type_list_attr="types")]
    assert problems_of(make_function_graph(identity, last, ret={"o": "i:output:0"}, more=more)) == [refused]
    called = make_function_graph(identity, ret={"o": "i:output:0"}, more=more)
    called.graph_def.node.append(
        mm.make_node_def("f", "call", ["x"], attrs={"types": mm.make_attr_value([], "list(type)")})
    )
    called.graph_def.node.append(mm.make_node_def("Identity", "after", ["call:1"], attrs={"T": FLOAT}))
    assert problems_of(called) == [
        "error: node 'after': input 'call:1': there is no such output, it has 1",
        refused,
    ]


@pytest.mark.parametrize(
    ("node", "ret", "found"),
    [
        (None, {}, "function 'f': output 'o': nothing is returned"),
        (None, {"o": "a", "p": "a"}, "function 'f': output 'p': not declared, but returned"),
        (None, {"o": "b"}, "function 'f': output 'o' returns 'b': there is no node 'b'"),
        (None, {"o": "a:1"}, "function 'f': output 'o' returns 'a:1': there is no such output, it has 1"),
        (NodeDef(name="a", op="NoOp"), {"o": "a"}, "function 'f' node 'a': the name is taken"),
        (
            NodeDef(name="n", op="Mine", input=["n2:o:0"]),
            {"o": "a"},
            "function 'f' node 'n': input 'n2:o:0': there is no node 'n2'",
        ),
        (
            mm.make_node_def("Identity", "n", ["a"], attrs={"T": FLOAT}),
            {"o": "n"},
            "function 'f': output 'o' returns 'n': a tensor of a function's node goes by the name of an output",
        ),
        (
            mm.make_node_def("Identity", "n", ["a"], attrs={"T": FLOAT}),
            {"o": "n:out:0"},
            "function 'f': output 'o' returns 'n:out:0': the node has no output 'out'",
        ),
        (
            mm.make_node_def("Identity", "n", ["a"], attrs={"T": FLOAT}),
            {"o": "n:output:1"},
            "function 'f': output 'o' returns 'n:output:1': there is no such output, it has 1",
        ),
    ],
)
def test_function_bodies(node, ret, found):
    assert problems_of(make_function_graph(*([node] if node else []), ret=ret)) == [f"error: {found}"]


def test_function_library():
    meta_graph = make_function_graph(ret={"o": "a"})
    meta_graph.graph_def.library.function.add().signature.name = "f"
    meta_graph.graph_def.library.function.add()
    assert problems_of(meta_graph) == ["error: function 'f': the name is taken", "error: function '': no name"]
    meta_graph = make_function_graph(ret={"o": "a"})
    function = meta_graph.graph_def.library.function[0]
    function.control_ret["c"] = "nowhere"
    function.signature.input_arg.add(name="a", type=1)
    assert problems_of(meta_graph) == [
        "error: function 'f': two arguments of the same name",
        "error: function 'f': control output 'c': there is no operation 'nowhere'",
    ]


@pytest.mark.parametrize(
    ("info", "found"),
    [
        (TensorInfo(dtype=1), ["it names no tensor"]),
        (TensorInfo(name="y:0"), ["no dtype"]),
        (TensorInfo(name="z:0", dtype=1), ["tensor 'z:0': there is no node 'z'"]),
        (TensorInfo(name="y:1", dtype=1), ["tensor 'y:1': there is no such output, it has 1"]),
        (TensorInfo(name="y:0", dtype=9), ["dtype: got int64, but tensor 'y:0' is float32"]),
        (TensorInfo(name="s:0", dtype=1), ["dtype: got float32, but tensor 's:0' is string"]),
        (TensorInfo(name="y:0", dtype=77), ["dtype: got number 77, but tensor 'y:0' is float32"]),
        (TensorInfo(name="y:0", dtype=101), []),
        (
            TensorInfo(dtype=1, coo_sparse=TensorInfo.CooSparse(values_tensor_name="y:0", indices_tensor_name="z:0")),
            ["tensor 'z:0': there is no node 'z'", "tensor '': there is no node ''"],
        ),
        (
            TensorInfo(composite_tensor=TensorInfo.CompositeTensor(components=[TensorInfo(name="z:0", dtype=1)])),
            ["tensor 'z:0': there is no node 'z'"],
        ),
    ],
)
def test_signatures(info, found):
    meta_graph = make_graph(signatures={"serving_default": signature(o=info)})
    assert problems_of(meta_graph) == [f"error: signature 'serving_default' output 'o': {reason}" for reason in found]


def test_placeholders_are_known_without_an_op_list():
    meta_graph = make_graph(signatures={"s": signature(o=TensorInfo(name="s:0", dtype=1))})
    meta_graph.meta_info_def.ClearField("stripped_op_list")
    assert problems_of(meta_graph) == [
        "error: signature 's' output 'o': dtype: got float32, but tensor 's:0' is string"
    ]


def test_reserved_signatures():
    for key in ("__saved_model_init_op", "__saved_model_train_op"):
        good = SignatureDef(outputs={key: TensorInfo(name="y")})
        assert problems_of(make_graph(signatures={key: good})) == []
        assert problems_of(make_graph(signatures={key: SignatureDef(outputs={key: TensorInfo(name="z")})})) == [
            f"error: signature {key!r}: there is no operation 'z'"
        ]
        for bad in (signature(), SignatureDef(), SignatureDef(outputs={"o": TensorInfo(name="y")})):
            assert problems_of(make_graph(signatures={key: bad})) == [
                f"error: signature {key!r}: a reserved key: want no input, and one output of the same key"
            ]


def test_signature_details():
    default = signature(y=mm.make_tensor_info("y:0", "float32", None))
    default.method_name = ""
    default.defaults["z"].CopyFrom(mm.make_tensor_proto(1.0))
    assert problems_of(make_graph(signatures={"serving_default": default, "other": SignatureDef()})) == [
        "error: signature 'serving_default' default 'z': there is no such input",
        "warning: signature 'serving_default': no method name: a server answers no request with it",
    ]


def test_saver():
    meta_graph = make_graph()
    meta_graph.saver_def.filename_tensor_name = "s:0"
    meta_graph.saver_def.save_tensor_name = "gone:0"
    meta_graph.saver_def.restore_op_name = "y"
    assert problems_of(meta_graph) == ["warning: saver save_tensor_name 'gone:0': there is no node 'gone'"]
    check.check_meta_graph(meta_graph)
    meta_graph.saver_def.ClearField("save_tensor_name")
    meta_graph.saver_def.filename_tensor_name = "x:0"
    meta_graph.saver_def.restore_op_name = "y:0"
    assert problems_of(meta_graph) == [
        "error: saver save_tensor_name '': there is no node ''",
        "error: saver restore_op_name 'y:0': there is no operation 'y:0'",
        "error: saver filename_tensor_name 'x:0': it is no string tensor",
    ]


@pytest.mark.parametrize("key", ["saved_model_main_op", "legacy_init_op"])
def test_main_op(key):
    assert problems_of(make_graph(collections={key: mm.make_node_list(["y"])})) == []
    assert problems_of(make_graph(collections={key: mm.make_node_list([])})) == [
        f"error: collection {key!r}: number of operations: got 0, want 1"
    ]
    assert problems_of(make_graph(collections={key: mm.make_node_list(["y", "z"])})) == [
        f"error: collection {key!r}: number of operations: got 2, want 1",
        f"error: collection {key!r} element 'z': there is no operation 'z'",
    ]


def test_variable_collections():
    good = mm.make_variable_def("x:0", initializer_name="y", snapshot_name="y:0")
    bad = mm.make_variable_def("x:1", initializer_name="y:0", snapshot_name="", initial_value_name="z:0")
    for key in ("variables", "trainable_variables", "local_variables", "global_step"):
        found = problems_of(make_graph(collections={key: mm.make_bytes_list([good, bad, b"\xff"])}))
        assert found[:4] == [
            f"error: collection {key!r} element 1: variable_name 'x:1': there is no such output, it has 1",
            f"error: collection {key!r} element 1: initializer_name 'y:0': there is no operation 'y:0'",
            f"error: collection {key!r} element 1: snapshot_name '': there is no node ''",
            f"error: collection {key!r} element 1: initial_value_name 'z:0': there is no node 'z'",
        ]
        assert found[4].startswith(f"error: collection {key!r} element 2: not a VariableDef in 1 bytes")
    assert problems_of(make_graph(collections={"mine": mm.make_bytes_list([b"\xff"])})) == []


def assets(*pairs):
    return mm.make_any_list([mm.pack_asset_file_def(mm.make_asset_file_def(*pair)) for pair in pairs])


def test_assets():
    nodes = [mm.make_node_def("Placeholder", "t", attrs={"dtype": STRING})]
    good = {"saved_model_assets": assets(("s:0", "a.txt"), ("t:0", "./"))}
    assert problems_of(make_graph(*nodes, collections=good)) == []
    bad = {
        "saved_model_assets": assets(("s:0", "a"), ("s", "a"), ("z:0", "b"), ("x:0", "../b"), ("y:0", "")),
    }
    bad["saved_model_assets"].any_list.value.add(type_url="x/tensorflow.GraphDef")
    where = "error: collection 'saved_model_assets' element"
    assert problems_of(make_graph(*nodes, collections=bad)) == [
        f"{where} 1: got the name of an operation, 's', want the tensor's, 's:0'",
        f"{where} 1: tensor 's' is fed twice: want one asset for each tensor",
        f"{where} 2: tensor 'z:0': there is no node 'z'",
        f"{where} 3: tensor 'x:0' is no string tensor",
        f"{where} 3: asset filename: got '../b', want one component or './'",
        f"{where} 4: tensor 'y:0' is no string tensor",
        f"{where} 4: asset filename: got '', want one component or './'",
        f"{where} 5: not an asset: got type 'x/tensorflow.GraphDef', want "
        "'type.googleapis.com/tensorflow.AssetFileDef'",
    ]
    field = make_graph()
    field.asset_file_def.append(mm.make_asset_file_def("z:0", "b"))
    assert problems_of(field) == ["error: asset_file_def element 0: tensor 'z:0': there is no node 'z'"]


@pytest.mark.parametrize("name", ["a", "a.txt", "a..b", "...", "ü", "a b", "./", ".hidden", "a:b", "~", "a\\b"])
def test_asset_filenames_that_pass(name):
    check.check_asset_filename(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", "../a", "./a", "a\0", "/", "\0", ".//"])
def test_asset_filenames_that_are_refused(name):
    with pytest.raises(InvalidArgumentError, match="asset filename: got"):
        check.check_asset_filename(name)


def test_saved_model_message():
    graph = make_graph()
    twin = make_graph()
    twin.meta_info_def.tags[:] = ["serve", "serve"]
    untagged = make_graph(NodeDef(name="x", op="NoOp"))
    untagged.meta_info_def.ClearField("tags")
    saved_model = mm.make_saved_model([graph, twin, untagged])
    saved_model.saved_model_schema_version = 2
    assert [str(problem) for problem in check.find_saved_model_problems(saved_model)] == [
        "warning: schema version: got 2, want 1",
        "warning: meta graph 1: a tag is there twice",
        "error: meta graph 1: no loader reaches it, for an earlier one has the same tags",
        "error: meta graph 2: no tag, or an empty one",
        "error: meta graph 2: node 'x': the name is taken",
    ]
    with pytest.raises(InvalidArgumentError, match=r"^illegal saved model:\n  meta graph 1: no loader"):
        check.check_saved_model_message(saved_model)
    check.check_saved_model_message(mm.make_saved_model([graph]))
    with pytest.raises(InvalidArgumentError, match="saved model: no meta graph"):
        check.check_saved_model_message(mm.make_saved_model([]))


def test_the_message_lists_all_errors_up_to_a_limit():
    bad = make_graph(*[NodeDef(name=f"n{i}") for i in range(30)])
    with pytest.raises(InvalidArgumentError) as failure:
        check.check_meta_graph(bad)
    lines = str(failure.value).split("\n")
    assert lines[0] == "illegal meta graph:"
    assert lines[1] == "  node 'n0': no op"
    assert lines[-1] == "  and 10 more"
    assert len(lines) == 22


def test_problems_are_limited_and_short():
    long = "x" * 10_000
    bad = make_graph(*[NodeDef(name=f"n{i}", op="Mine", input=[long]) for i in range(2 * check.MAX_PROBLEMS)])
    problems = check.find_problems(bad)
    assert len(problems) == check.MAX_PROBLEMS
    assert all(len(str(problem)) < 600 for problem in problems)


def test_bytes_and_other_messages_at_the_border():
    assert check.find_problems(make_graph()) == []
    with pytest.raises(InvalidArgumentError, match="wrong kind of message"):
        check.find_problems(GraphDef())


@pytest.mark.parametrize("shape", ["chain", "cycle", "fan"])
def test_time_is_linear(shape):
    """Ten times the nodes take about ten times as long: no recursion, no search for each node."""

    def seconds(count):
        graph = GraphDef()
        for index in range(count):
            before = {"chain": index - 1, "cycle": (index - 1) % count, "fan": 0}[shape]
            inputs = [f"n{before}"] if before >= 0 and index != before else []
            graph.node.add(name=f"n{index}", op="Mine", input=inputs)
        meta_graph = MetaGraphDef(graph_def=graph)
        start = time.process_time()
        found = check.find_problems(meta_graph)
        assert [problem.severity for problem in found] == ["error"] * (shape == "cycle") + ["warning"]
        return time.process_time() - start

    seconds(2000)
    assert seconds(40_000) < 40 * seconds(4000)


def test_wide_definitions_are_not_walked_for_every_node():
    """An op of very many arguments, used by very many nodes."""
    one = mm.make_attr_value(1, "int")
    wide = OpDef(name="Wide", attr=[OpDef.AttrDef(name=f"a{i}", type="int", default_value=one) for i in range(2000)])
    for index in range(2000):
        wide.input_arg.add(name=f"i{index}", number_attr=f"a{index}")
        wide.output_arg.add(name=f"o{index}", number_attr=f"a{index}")
    graph = GraphDef(node=[NodeDef(name="n0", op="Wide")])
    graph.node.extend([NodeDef(name=f"n{i}", op="Wide", input=[f"n{i - 1}:7"]) for i in range(1, 5000)])
    meta_graph = mm.make_meta_graph_def(graph, tags=["serve"], op_list=OpList(op=[wide]))
    start = time.process_time()
    assert check.find_problems(meta_graph) == []
    assert time.process_time() - start < 2


# --- attributes and types of edges ---

CALL_ATTRS = [
    OpDef.AttrDef(name="Tin", type="list(type)"),
    OpDef.AttrDef(name="Tout", type="list(type)"),
    OpDef.AttrDef(name="f", type="func"),
]
MORE_OPS = [
    OpDef(
        name="Rules",
        attr=[
            OpDef.AttrDef(name="n", type="int", has_minimum=True, minimum=2),
            OpDef.AttrDef(name="s", type="string", allowed_values=mm.make_attr_value(["a", "b"], "list(string)")),
            OpDef.AttrDef(name="T", type="type", allowed_values=mm.make_attr_value(["int32", "int64"], "list(type)")),
            OpDef.AttrDef(name="l", type="list(int)", has_minimum=True, minimum=1),
            OpDef.AttrDef(name="shape", type="shape"),
            OpDef.AttrDef(name="flag", type="bool", default_value=mm.make_attr_value(False, "bool")),
            OpDef.AttrDef(name="odd", type="no_such_type"),
        ],
    ),
    OpDef(name="Ref", output_arg=[OpDef.ArgDef(name="ref", type=1, is_ref=True)]),
    OpDef(name="TakesRef", input_arg=[OpDef.ArgDef(name="ref", type=1, is_ref=True)]),
    OpDef(
        name="PartitionedCall",
        input_arg=[OpDef.ArgDef(name="args", type_list_attr="Tin")],
        output_arg=[OpDef.ArgDef(name="output", type_list_attr="Tout")],
        attr=CALL_ATTRS,
    ),
    OpDef(
        name="While",
        input_arg=[OpDef.ArgDef(name="input", type_list_attr="T")],
        output_arg=[OpDef.ArgDef(name="output", type_list_attr="T")],
        attr=[
            OpDef.AttrDef(name="T", type="list(type)"),
            *(OpDef.AttrDef(name=n, type="func") for n in ("cond", "body")),
        ],
    ),
]
RULES = {
    "n": mm.make_attr_value(2, "int"),
    "s": mm.make_attr_value("a", "string"),
    "T": mm.make_attr_value("int64", "type"),
    "l": mm.make_attr_value([5], "list(int)"),
    "shape": mm.make_attr_value([None, 3], "shape"),
    "odd": mm.make_attr_value(1, "int"),
}


def make_rich_graph(*nodes):
    meta_graph = make_graph(*nodes)
    meta_graph.meta_info_def.stripped_op_list.op.extend(MORE_OPS)
    return meta_graph


def shape_of(*sizes):
    attr = mm.make_attr_value([], "shape")
    for size in sizes:
        attr.shape.dim.add(size=size)
    return attr


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("n", mm.make_attr_value(1, "int"), "got 1, want 2 or more"),
        ("n", mm.make_attr_value(True, "bool"), "got a bool, want an int"),
        ("n", AttrValue(), "got no value, want an int"),
        ("s", mm.make_attr_value("c", "string"), "got 'c', which is not among those that the op allows: 'a', 'b'"),
        ("T", STRING, "got string, which is not among those that the op allows: int32, int64"),
        ("T", mm.make_attr_value("int32_ref", "type"), "got int32_ref, want a dtype that is no reference"),
        ("T", AttrValue(type=0), "got number 0, want a dtype that is no reference"),
        ("T", AttrValue(type=77), "got number 77, want a dtype that is no reference"),
        ("l", mm.make_attr_value([], "list(int)"), "got 0 elements, want 1 or more"),
        ("l", mm.make_attr_value(1, "int"), "got an int, want a list(int)"),
        ("l", mm.make_attr_value(["a"], "list(string)"), "got a list(string), want a list(int)"),
        ("shape", shape_of(3, -5), "got a shape with size -5, want -1 (unknown) or more"),
        ("shape", mm.make_attr_value([3], "list(int)"), "got a list, want a shape"),
        ("flag", mm.make_attr_value(1.0, "float"), "got a float, want a bool"),
    ],
)
def test_attributes_against_their_definition(key, value, found):
    assert problems_of(make_rich_graph(mm.make_node_def("Rules", "r", attrs=RULES))) == []
    bad = mm.make_node_def("Rules", "r", attrs=RULES | {key: value})
    assert problems_of(make_rich_graph(bad)) == [f"error: node 'r': attribute {key!r}: {found}"]


def test_missing_attributes_are_named_up_to_three():
    found = problems_of(make_rich_graph(NodeDef(name="r", op="Rules")))
    assert found == [
        f"error: node 'r': attribute {name!r} is missing: 'Rules' needs it and has no default for it" for name in "nsT"
    ]


def test_types_of_inputs():
    many = mm.make_node_def("Many", "many", attrs={"types": mm.make_attr_value(["float32"], "list(type)")})
    fits = [
        many,
        mm.make_node_def("Identity", "a", ["many:0"], attrs={"T": mm.make_attr_value("int64", "type")}),
        mm.make_node_def("Pack", "p", ["x", "many:1"], attrs={"N": mm.make_attr_value(2, "int"), "T": FLOAT}),
        NodeDef(name="ref", op="Ref"),
        NodeDef(name="t", op="TakesRef", input=["ref"]),
        mm.make_node_def("Identity", "value", ["ref"], attrs={"T": FLOAT}),
        mm.make_node_def("Identity", "anything", ["mine:3"], attrs={"T": FLOAT}),
        NodeDef(name="mine", op="Mine"),
    ]
    assert problems_of(make_rich_graph(*fits)) == []
    wrong = [
        many,
        mm.make_node_def("Identity", "a", ["many:1"], attrs={"T": mm.make_attr_value("int64", "type")}),
        mm.make_node_def("Pack", "p", ["x", "s", "^y"], attrs={"N": mm.make_attr_value(2, "int"), "T": FLOAT}),
        NodeDef(name="t", op="TakesRef", input=["x"]),
    ]
    assert problems_of(make_rich_graph(*wrong)) == [
        "error: node 'a': input 'many:1': got float32, want int64, as the attributes of this 'Identity' say",
        "error: node 'p': input 's': got string, want float32, as the attributes of this 'Pack' say",
        "error: node 't': input 'x': got float32, want float32_ref, as the attributes of this 'TakesRef' say",
    ]


def test_a_number_of_outputs_from_outside_takes_no_memory():
    attrs = {"types": mm.make_attr_value([], "list(type)"), "N": mm.make_attr_value(2**62, "int")}
    nodes = [
        mm.make_node_def("Many", "many", attrs=attrs),
        mm.make_node_def("Identity", "a", ["many:999999999"], attrs={"T": mm.make_attr_value("bool", "type")}),
        mm.make_node_def("Identity", "b", ["many:0"], attrs={"T": mm.make_attr_value("bool", "type")}),
        mm.make_node_def("Pack", "p", ["x"], attrs={"N": mm.make_attr_value(2**62, "int"), "T": FLOAT}),
    ]
    assert problems_of(make_graph(*nodes)) == [
        "error: node 'b': input 'many:0': got int64, want bool, as the attributes of this 'Identity' say",
        f"error: node 'p': number of inputs of 'Pack': got 1, want {2**62}",
    ]


def test_calls():
    def call(op, **attrs):
        kinds = {"Tin": "list(type)", "Tout": "list(type)", "T": "list(type)"}
        made = {key: mm.make_attr_value(value, kinds.get(key, "func")) for key, value in attrs.items()}
        return mm.make_node_def(op, "call", ["x"], attrs=made)

    def found(node):
        meta_graph = make_rich_graph(node)
        meta_graph.graph_def.library.CopyFrom(make_function_graph(ret={"o": "a"}).graph_def.library)
        for name, returned in (("two", ["a", "a"]), ("none", [])):
            function = meta_graph.graph_def.library.function.add()
            function.signature.name = name
            function.signature.input_arg.add(name="a", type=1)
            for index, tensor in enumerate(returned):
                function.signature.output_arg.add(name=f"o{index}", type=1)
                function.ret[f"o{index}"] = tensor
        return [one.removeprefix("error: node 'call': attribute ") for one in problems_of(meta_graph)]

    float32, int32 = ["float32"], ["int32"]
    assert found(call("PartitionedCall", f="f", Tin=float32, Tout=float32)) == []
    assert found(call("While", cond="f", body="f", T=float32)) == []
    assert found(call("PartitionedCall", f="f", Tin=float32, Tout=int32)) == [
        "'f': function 'f' returns float32 at position 0, but attribute 'Tout' says int32"
    ]
    assert found(call("PartitionedCall", f="two", Tin=float32, Tout=float32)) == [
        "'f': function 'two' returns 2 tensors, but attribute 'Tout' lists 1"
    ]
    assert found(call("While", cond="two", body="none", T=float32)) == [
        "'cond': function 'two' returns 2 tensors, want 1",
        "'body': function 'none' returns 0 tensors, but attribute 'T' lists 1",
    ]


def test_colocation():
    def with_class(value):
        return problems_of(make_graph(mm.make_node_def("NoOp", "a", attrs={"_class": value})))

    assert with_class(mm.make_attr_value(["loc:@x", "other"], "list(string)")) == []
    assert with_class(mm.make_attr_value([], "list(string)")) == []
    assert with_class(mm.make_attr_value(["loc:@z"], "list(string)")) == [
        "error: node 'a': attribute '_class': there is no node 'z'; drop the colocation with it"
    ]
    for bad in (mm.make_attr_value(2, "int"), mm.make_attr_value([2], "list(int)")):
        assert with_class(bad) == ["error: node 'a': attribute '_class': want a list(string)"]


def test_unlisted_and_contradictory_ops_are_warned_of():
    meta_graph = make_graph(NodeDef(name="a", op="Mine"), NodeDef(name="b", op="Mine"), NodeDef(name="c", op="Odd"))
    meta_graph.meta_info_def.stripped_op_list.op.extend([OpDef(name="Odd"), OpDef(name="Odd", is_stateful=True)])
    assert [str(problem) for problem in check.find_problems(meta_graph)] == [
        "warning: op 'Odd': it is listed with two signatures, so its nodes are not checked",
        "warning: custom op 'Mine': its signature is not listed; the server needs the library that has it",
    ]
    meta_graph.meta_info_def.ClearField("stripped_op_list")
    assert [problem.where for problem in check.find_problems(meta_graph)] == ["custom op 'Mine'", "custom op 'Odd'"]


def test_custom_ops_of_bodies_are_warned_of():
    def warnings(op):
        meta_graph = make_graph(NodeDef(name="a", op="f"))
        meta_graph.graph_def.library.function.add(signature=OpDef(name="f"), node_def=[NodeDef(name="a", op=op)])
        return [str(problem) for problem in check.find_problems(meta_graph)]

    assert warnings("Mine") == [
        "warning: custom op 'Mine': its signature is not listed; the server needs the library that has it"
    ]
    for known in ("NoOp", "f"):
        assert warnings(known) == []


def test_a_given_signature_comes_before_the_table():
    node = mm.make_node_def("MatMul", "a", ["s"])
    assert "error: node 'a': number of inputs of 'MatMul': got 1, want 2" in problems_of(make_graph(node))
    meta_graph = make_graph(node)
    meta_graph.meta_info_def.stripped_op_list.op.add(name="MatMul", input_arg=[OpDef.ArgDef(name="a", type=7)])
    assert problems_of(meta_graph) == []


def test_versions():
    meta_graph = make_graph()
    meta_graph.graph_def.versions.producer = 5
    meta_graph.graph_def.versions.min_consumer = 6
    meta_graph.graph_def.versions.bad_consumers.append(5)
    assert problems_of(meta_graph) == [
        "error: versions: min_consumer 6 is newer than the producer, 5",
        "error: versions: bad_consumers has the producer itself, 5",
    ]


def test_deep_composite_tensors_take_no_stack():
    info = outermost = TensorInfo()
    for _ in range(2000):
        info = info.composite_tensor.components.add()
    assert problems_of(make_graph(signatures={"s": SignatureDef(inputs={"x": outermost})})) == [
        "error: signature 's' input 'x': it names no tensor",
        "error: signature 's' input 'x': no dtype",
    ]


def test_large_graphs_take_seconds():
    """A hundred thousand nodes with the attributes of real ones; a million take ten times as long."""
    many = 100_000
    shapes = mm.make_attr_value([[3]], "list(shape)")
    attrs = {"T": FLOAT, "_output_shapes": shapes, "_class": mm.make_attr_value(["loc:@x"], "list(string)")}
    template = mm.make_node_def("Identity", "n", ["x"], attrs=attrs)
    meta_graph = make_graph()
    for index in range(many):
        node = meta_graph.graph_def.node.add()
        node.CopyFrom(template)
        node.name = f"n{index}"
        if index:
            node.input[0] = f"n{index - 1}"
    start = time.process_time()
    assert check.find_problems(meta_graph) == []
    assert time.process_time() - start < 5  # about 0.8 s on an idle core


# --- what is run before the first request ---


def make_table_graph(initializer_op="InitializeTableV2", main="init", shared_name="", key="saved_model_main_op"):
    """t is looked up by the one signature, and filled by init; twin goes by t's shared name."""
    kinds = {"key_dtype": STRING, "value_dtype": FLOAT, "shared_name": mm.make_attr_value(shared_name, "string")}
    values = {"Tkey": STRING, "Tval": FLOAT}
    types = {"Tin": STRING, "Tout": FLOAT}
    return make_graph(
        mm.make_node_def("HashTableV2", "t", attrs=kinds),
        mm.make_node_def("HashTableV2", "twin", attrs=kinds),
        mm.make_node_def(
            initializer_op, "init", ["t", "s", "x"], attrs=types if "Import" in initializer_op else values
        ),
        mm.make_node_def("InitializeTableV2", "fill_twin", ["twin", "s", "x"], attrs=values),
        mm.make_node_def("LookupTableFindV2", "found", ["t", "s", "x"], attrs=types),
        mm.make_node_def("NoOp", "main", ["^init"]),
        signatures={"serving_default": signature(o=mm.make_tensor_info("found:0", "float32", None))},
        collections={
            "table_initializer": mm.make_node_list(["init"]),
            **({key: mm.make_node_list([main])} if main else {}),
        },
    )


def test_tables_must_be_filled_by_the_main_op():
    left_out = "table initializer 'init': it is not run by the main op"
    assert problems_of(make_table_graph()) == []
    assert problems_of(make_table_graph(main="main")) == []
    assert problems_of(make_table_graph(key="legacy_init_op")) == []
    assert problems_of(make_table_graph(main=None)) == [f"error: {left_out}: requests fail"]
    assert problems_of(make_table_graph(main="y")) == [f"error: {left_out}: requests fail"]
    assert problems_of(make_table_graph("LookupTableImportV2", main="y")) == [f"warning: {left_out}"]
    assert problems_of(make_table_graph(main="fill_twin", shared_name="shared")) == []
    assert problems_of(make_table_graph(main="fill_twin")) == [f"error: {left_out}: requests fail"]
    unused = make_table_graph(main=None)
    unused.ClearField("signature_def")
    assert problems_of(unused) == []
    by_signature = make_table_graph(main="y")
    by_signature.signature_def["__saved_model_init_op"].CopyFrom(mm.make_init_op_signature("main"))
    assert problems_of(by_signature) == []


def make_restore_graph(restore_op):
    """v is read by the one signature; restore is an assignment of what RestoreV2 reads from the file named by s."""
    shape = mm.make_attr_value([], "shape")
    types = mm.make_attr_value(["float32"], "list(type)")
    meta_graph = make_graph(
        mm.make_node_def("VarHandleOp", "v", attrs={"dtype": FLOAT, "shape": shape}),
        mm.make_node_def("ReadVariableOp", "read", ["v"], attrs={"dtype": FLOAT}),
        mm.make_node_def("Placeholder", "other", attrs={"dtype": STRING}),
        mm.make_node_def("RestoreV2", "value", ["s", "other", "other"], attrs={"dtypes": types}),
        mm.make_node_def("AssignVariableOp", "assign", ["v", "value"], attrs={"dtype": FLOAT}),
        mm.make_node_def("NoOp", "restore", ["^assign"]),
        NodeDef(name="custom", op="Mine", input=["v"]),
        signatures={"serving_default": signature(o=mm.make_tensor_info("read:0", "float32", None))},
    )
    meta_graph.saver_def.filename_tensor_name = "s:0"
    meta_graph.saver_def.save_tensor_name = "s:0"
    meta_graph.saver_def.restore_op_name = restore_op
    return meta_graph


def test_the_restore_must_set_variables_from_the_file():
    assert problems_of(make_restore_graph("restore")) == []
    assert problems_of(make_restore_graph("custom")) == []
    assert problems_of(make_restore_graph("read")) == [
        "error: saver restore_op_name 'read': it restores nothing, and requests read variables: they fail"
    ]
    lost = make_restore_graph("restore")
    lost.graph_def.node.add(name="file", op="Placeholder").attr["dtype"].CopyFrom(STRING)
    lost.saver_def.filename_tensor_name = "file:0"
    assert problems_of(lost) == [
        "error: saver filename_tensor_name 'file:0': nothing that 'restore' restores is read from it: "
        "want what feeds 'value'"
    ]
    unread = make_restore_graph("read")
    unread.ClearField("signature_def")
    assert problems_of(unread) == []


@pytest.mark.parametrize(
    ("shape", "said", "message"),
    [
        ([2, 3], [[2, 3]], None),
        ([2, 3], [[None, 3]], None),
        ([2, 3], [None], None),
        ([None, 3], [[2, 3]], None),
        (None, [[2, 3]], None),
        ([], [[2, 3]], None),
        ([2, 3], [[2, 3], [9]], None),
        ([2, 3], [[2, 4]], "got [2, 4], but attribute 'shape' is of shape [2, 3]"),
        ([None, 3], [[3]], "got [3], but attribute 'shape' is of shape [?, 3]"),
        ([1] * 9, [[2] * 9], f"got [{'2, ' * 8}…], but attribute 'shape' is of shape [{'1, ' * 8}…]"),
        ([2, 3], [], "got no shape, want one for each output"),
    ],
)
def test_shapes_of_outputs(shape, said, message):
    attrs = {
        "dtype": FLOAT,
        "shape": mm.make_attr_value(shape, "shape"),
        "_output_shapes": mm.make_attr_value(said, "list(shape)"),
    }
    found = problems_of(make_graph(mm.make_node_def("Placeholder", "p", attrs=attrs)))
    assert found == ([] if message is None else [f"error: node 'p': attribute '_output_shapes': {message}"])
