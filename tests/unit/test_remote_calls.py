"""Which models a graph calls, whether what is called fits, and which directories make up an export."""

import pytest

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.check.remote_calls import REMOTE_PREDICT_OP, remote_calls
from mexport_pb.check.sub_models import find_distribution_problems, find_export
from mexport_pb.errors import SavedModelError
from mexport_pb.messages import make_node_def, make_signature_def, make_tensor_info, make_tensor_proto

FLOAT, STRING, INT64 = 1, 7, 9


def const(name, values):
    node = make_node_def("Const", name)
    node.attr["dtype"].type = STRING
    node.attr["value"].tensor.CopyFrom(make_tensor_proto(values, "string"))
    return node


def call(name, *, sends=(("ids", INT64),), wants=(("emb", FLOAT),), signature="lookup", **attrs):
    """The nodes of a call: its aliases and itself."""
    node = make_node_def(REMOTE_PREDICT_OP, name)
    node.input.extend([f"{name}/in", *(f"{name}/x{i}" for i, _ in enumerate(sends)), f"{name}/out", "^somewhere"])
    node.attr["T"].list.type.extend([dtype for _, dtype in sends])
    node.attr["output_types"].list.type.extend([dtype for _, dtype in wants])
    node.attr["signature_name"].s = signature.encode()
    for key, value in attrs.items():
        if isinstance(value, bool):
            node.attr[key].b = value
        elif isinstance(value, int):
            node.attr[key].i = value
        else:
            node.attr[key].s = value.encode()
    return [const(f"{name}/in", [k for k, _ in sends]), const(f"{name}/out", [k for k, _ in wants]), node]


def entry(*nodes):
    graph = MetaGraphDef()
    graph.graph_def.node.extend(nodes)
    return graph


def ps(**outputs):
    graph = MetaGraphDef()
    inputs = {"ids": make_tensor_info("ids:0", "int64", [None])}
    infos = {k: make_tensor_info(f"{k}:0", v, [None, 2]) for k, v in (outputs or {"emb": "float32"}).items()}
    graph.signature_def["lookup"].CopyFrom(make_signature_def(inputs, infos))
    return graph


def problems(entry_graph, models, **options):
    return [str(p) for p in find_distribution_problems({"entry": entry_graph, **models}, **options)]


def test_a_call_is_read():
    nodes = call("c", model_name="ctr:ps_3", old_model_name="ps_3", task=3, max_rpc_deadline_millis=70)
    (found,) = remote_calls(entry(*nodes))
    assert (found.sub_model, found.prefix, found.signature) == ("ps_3", "ctr", "lookup")
    assert (found.inputs, found.outputs) == (("ids",), ("emb",))
    assert (found.input_types, found.output_types) == ((INT64,), (FLOAT,))
    assert (found.version, found.deadline_millis, found.fails) == (-1, 70, True)


def test_attributes_that_a_stripped_graph_leaves_out():
    nodes = call("c")
    del nodes[-1].attr["signature_name"]
    (found,) = remote_calls(entry(*nodes))
    assert (found.sub_model, found.signature, found.deadline_millis) == ("", "serving_default", 30)


@pytest.mark.parametrize(
    ("attrs", "want"),
    [
        ({"model_name": ":ps_0"}, "ps_0"),
        ({"model_name": "a:b:ps_0"}, "ps_0"),
        ({"old_model_name": "ps_1", "task": 2}, "ps_1"),
        ({"task": 2}, "ps_2"),
    ],
)
def test_whom_a_call_is_for(attrs, want):
    assert remote_calls(entry(*call("c", **attrs)))[0].sub_model == want


def test_calls_within_functions_are_found():
    graph = MetaGraphDef()
    function = graph.graph_def.library.function.add()
    function.signature.name = "f"
    nodes = call("c", model_name="m:ps_0")
    nodes[-1].input[0] = "c/in:output:0"
    function.node_def.extend(nodes)
    (found,) = remote_calls(graph)
    assert (found.node, found.inputs) == ("f/c", ("ids",))


def test_aliases_behind_identities():
    nodes = call("c", model_name="m:ps_0")
    nodes[-1].input[0] = "same"
    same = make_node_def("Identity", "same", ["c/in"])
    assert remote_calls(entry(*nodes, same))[0].inputs == ("ids",)


def test_aliases_that_are_no_constants():
    nodes = call("c", model_name="m:ps_0")
    for loop in (make_node_def("Identity", "c/in", ["c/in"]), make_node_def("Placeholder", "c/in"), None):
        given = [*nodes[1:], *([loop] if loop else [])]
        assert remote_calls(entry(*given))[0].inputs is None
        (problem,) = problems(entry(*given), {"ps_0": ps()})
        assert problem.startswith("warning: ")
        assert "are no constants" in problem


def test_a_constant_that_promises_billions_of_aliases_costs_nothing():
    nodes = call("c", model_name="m:ps_0")
    nodes[0].attr["value"].tensor.tensor_shape.dim[0].size = 2**40
    assert remote_calls(entry(*nodes))[0].inputs is None


def test_an_export_that_fits_has_no_problems():
    nodes = [n for i in range(2) for n in call(f"c{i}", model_name=f"m:ps_{i}")]
    assert problems(entry(*nodes), {"ps_0": ps(), "ps_1": ps()}, version=7, model_name="m") == []


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        (call("c", model_name="m:ps_9"), "nothing serves the model 'm:ps_9': got ['entry', 'ps_0'], want ps_9"),
        (call("c", model_name="m:ps_0", signature="other"), "ps_0 has no signature 'other': want one of ['lookup']"),
        (call("c", model_name="m:ps_0", model_version=5), "asks for a version: got 5, want 7"),
        (call("c", model_name="n:ps_0"), "got the model 'n:ps_0', want 'm:ps_0'"),
        (call("c", model_name="m:ps_0", sends=(("ids", FLOAT),)), "input 'ids': got float32, want int64"),
        (call("c", model_name="m:ps_0", wants=(("emb", INT64),)), "output 'emb': got int64, want float32"),
        (call("c", model_name="m:ps_0", wants=(("vec", FLOAT),)), "output 'vec': the signature has ['emb']"),
        (call("c", model_name="m:ps_0", sends=(("id", INT64),)), "input 'ids': is not sent"),
        (call("c", model_name="m:ps_0", wants=(("emb", FLOAT),) * 2), "output 'emb': is there twice"),
    ],
)
def test_what_does_not_fit(nodes, want):
    found = problems(entry(*nodes), {"ps_0": ps()}, version=7, model_name="m")
    assert any(p.startswith("error: entry: remote call 'c'") and want in p for p in found), found


def test_aliases_and_tensors_of_different_number():
    nodes = call("c", model_name="m:ps_0")
    nodes[0].CopyFrom(const("c/in", ["ids", "more"]))
    assert "got 2 names, want one for each of 1 tensors" in problems(entry(*nodes), {"ps_0": ps()})[0]


def test_an_input_with_a_default_need_not_be_sent():
    model = ps()
    model.signature_def["lookup"].inputs["extra"].CopyFrom(make_tensor_info("e:0", "int64", []))
    nodes = call("c", model_name="m:ps_0")
    assert "input 'extra': is not sent" in problems(entry(*nodes), {"ps_0": model})[0]
    model.signature_def["lookup"].defaults["extra"].CopyFrom(make_tensor_proto(1, "int64"))
    assert problems(entry(*nodes), {"ps_0": model}) == []


def test_models_that_nothing_calls_and_models_that_nothing_is_known_of():
    nodes = call("c", model_name="m:ps_0", signature="any")
    found = problems(entry(*nodes), {"ps_0": None, "ps_1": ps()})
    assert found == ["warning: ps_1: nothing calls it"]


class TestFindExport:
    @pytest.fixture
    def base(self, tmp_path):
        for name in ("entry/1", "entry/12", "ps_0/1", "ps_0/12", "ps_10/12", "ps_2/12", "dense_0/12_gpu", "notes/x"):
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "saved_model.pb").write_bytes(b"")
        (tmp_path / "entry" / "temp-13").mkdir()
        (tmp_path / "entry" / "13").mkdir()  # no model in it
        return tmp_path

    def test_distributed(self, base):
        layout = find_export(base)
        assert (layout.version, layout.entry, layout.distributed, layout.problems) == (12, "entry", True, [])
        assert list(layout.models) == ["entry", "dense_0", "ps_0", "ps_2", "ps_10"]
        assert layout.models["dense_0"] == base / "dense_0" / "12_gpu"

    def test_a_version_that_some_lack(self, base):
        layout = find_export(base, 1)
        assert list(layout.models) == ["entry", "ps_0"]
        assert [str(p) for p in layout.problems] == [
            "error: dense_0: got versions ['12_gpu'], want 1",
            "error: ps_2: got versions ['12'], want 1",
            "error: ps_10: got versions ['12'], want 1",
        ]

    def test_two_directories_of_one_version(self, base):
        (base / "dense_0" / "12_cpu").mkdir()
        assert "several are version 12: ['12_cpu', '12_gpu']" in str(find_export(base).problems[0])
        (base / "dense_0" / "12").mkdir()
        assert find_export(base).models["dense_0"].name == "12"

    def test_standalone(self, base):
        folder = base / "ps_0"
        assert find_export(folder).models == {"ps_0": folder / "12"}
        assert find_export(folder, 1).models == {"ps_0": folder / "1"}
        assert find_export(folder / "1").models == {"ps_0": folder / "1"}
        layout = find_export(base / "entry" / "12")
        assert (layout.entry, layout.models) == ("model", {"model": base / "entry" / "12"})
        assert find_export(base / "dense_0" / "12_gpu").version is None

    def test_nothing_there(self, base):
        for path, version in ((base / "absent", None), (base, 99), (base / "ps_0", 99), (base / "ps_0" / "1", 2)):
            with pytest.raises(FileNotFoundError, match=r"absent|99|version 2"):
                find_export(path, version)
        with pytest.raises(SavedModelError, match="no version of a model"):
            find_export(base / "notes")
