"""Merged tables, and tables over parameter servers, in graphs that GraphBuilder makes."""

import copy
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.check.problems import Report
from mexport_pb.check.remote_calls import check_remote_calls
from mexport_pb.messages import tensor_proto_to_array
from mexport_pb.table import merge_slots, merged_name
from tests.support.table_exports import assets_of, config as one_segment, dump, make_checkpoint, receiver_fn

PAGE = Path(__file__).parents[2] / "docs" / "placement.md"
CONFIGS = {"a": one_segment(2), "b": one_segment(2), "c": one_segment(3)}
AB, C = merged_name("ab"), merged_name("c")
IDS = {"a": [1, -1], "b": [2, 3, 4], "c": [5]}


def types(graph):
    return [op.type for op in graph.operations]


def lookup(num_ps, native=False, ids=None, configs=CONFIGS, **options):
    tables = mx.create_hash_tables(configs, num_ps, use_native_multi_hash_table=native, **options)
    graph = mx.get_default_graph()
    return tables.lookup({slot: graph.const(one, "int64") for slot, one in (ids or IDS).items()})


def exported(mode, num_ps, native=False, **options):
    """The context, the graph, and what was looked up."""
    graph = mx.GraphBuilder()
    with mx.enter_export_mode(mode) as context, graph.as_default():
        return context, graph, lookup(num_ps, native, **options)


class TestMerging:
    def test_the_names_of_the_page(self):
        rows = re.findall(r"^\| `([\w,]+)` \| `(\w{32})` \| `?(\w*)`? *\|$", PAGE.read_text(), re.MULTILINE)
        assert len(rows) >= 3
        for slots, name, earlier in rows:
            names = slots.split(",")
            configs, table_of = merge_slots(dict.fromkeys(names, one_segment(1)))
            assert list(configs) == [name] == [hashlib.md5(slots.encode()).hexdigest()]
            assert table_of == dict.fromkeys(names, name)
            assert configs[name].extra_restore_names == ([f"MonolithHashTable_{earlier}"] if earlier else [])

    def test_slots_that_are_configured_alike_share_a_table(self):
        configs, table_of = merge_slots(CONFIGS)
        assert table_of == {"a": AB, "b": AB, "c": C}
        assert {name: str(one) for name, one in configs.items()} == {AB: str(CONFIGS["a"]), C: str(CONFIGS["c"])}

    def test_other_learning_rates_are_other_tables(self):
        other = mx.HashTableConfigInstance(CONFIGS["a"].table_config, [0.2])
        assert len(set(merge_slots({"a": CONFIGS["a"], "b": other})[1].values())) == 2

    def test_earlier_names_of_all_slots_and_nothing_of_the_callers_is_changed(self):
        given = {
            f"fc_slot_{i}": mx.HashTableConfigInstance(CONFIGS["a"].table_config, [0.1], names)
            for i, names in enumerate((["x"], ["y", "x"]))
        }
        before = copy.deepcopy({name: one.extra_restore_names for name, one in given.items()})
        (config,) = merge_slots(given)[0].values()
        old = merged_name(["slot_0", "slot_1"])
        assert config.extra_restore_names == ["x", "y", f"MonolithHashTable_{old}"]
        assert {name: one.extra_restore_names for name, one in given.items()} == before

    def test_the_name_before_renaming_is_of_names_sorted_then(self):
        # "fc_slot_1" < "m" < "slot_1".
        (config,) = merge_slots({"fc_slot_1": one_segment(1), "m": one_segment(1)})[0].values()
        assert config.extra_restore_names == [f"MonolithHashTable_{hashlib.md5(b'm,slot_1').hexdigest()}"]

    @pytest.mark.parametrize("slots", [{}, {"a,b": one_segment(1)}, {"": one_segment(1)}])
    def test_no_slots(self, slots):
        with pytest.raises(mx.InvalidArgumentError, match="slot"):
            mx.create_hash_tables(slots)

    def test_unknown_slots(self):
        with mx.GraphBuilder().as_default(), pytest.raises(mx.InvalidArgumentError, match="no table 'x': got"):
            mx.create_hash_tables(CONFIGS, 2).lookup({"x": [1]})

    @pytest.mark.parametrize(
        ("ids", "message"), [(([1.5], "float32"), "a: got ids of float32"), (([[1]], "int64"), r"shape \[1, 1\]")]
    )
    def test_no_ids(self, ids, message):
        graph = mx.GraphBuilder()
        with graph.as_default(), pytest.raises(mx.InvalidArgumentError, match=message):
            mx.create_hash_tables(CONFIGS, 2).lookup({"a": graph.const(*ids)})


class TestNamesAndDevices:
    @pytest.mark.parametrize(
        ("num_ps", "native", "want"),
        [
            (0, False, {f"MonolithHashTable_{AB}", f"MonolithHashTable_{C}"}),
            (2, False, {f"MonolithHashTable_{name}_{i}" for name in (AB, C) for i in (0, 1)}),
            (0, True, {"MonolithMultiHashTable_"}),
            (2, True, {"MonolithMultiHashTable_0", "MonolithMultiHashTable_1"}),
        ],
    )
    def test_shared_names(self, num_ps, native, want):
        graph = mx.GraphBuilder()
        with graph.as_default():
            tables = mx.create_hash_tables(CONFIGS, num_ps, use_native_multi_hash_table=native)
        key = "monolith_multi_hash_tables" if native else "monolith_hash_tables"
        assert {one.to_proto().shared_name for one in graph.get_collection(key)} == want
        assert tables.table_names == ("a", "b", "c")
        assert tables.dims == (2, 2, 3)

    def test_training_puts_table_i_on_server_i(self):
        graph = mx.GraphBuilder()
        with graph.as_default():
            lookup(2)
        of_tables = [op for op in graph.operations if op.type in ("MonolithHashTable", "MonolithHashTableLookup")]
        assert len(of_tables) == 8
        assert {op.device for op in of_tables} == {f"/job:ps/task:{i}/device:CPU:0" for i in (0, 1)}
        for op in of_tables:
            if op.type == "MonolithHashTableLookup":
                assert op.device == op.inputs[0].op.device
        assert {op.device for op in graph.operations if op.type in ("FloorMod", "DynamicPartition")} == {""}

    @pytest.mark.parametrize("native", [False, True])
    def test_a_standalone_export_has_no_devices_of_servers(self, native):
        context, graph, _ = exported(mx.ExportMode.STANDALONE, 2, native)
        assert context.sub_graph_num == 0
        assert {op.device for op in graph.operations} <= {"", "/device:CPU:0"}
        assert "TfServingRemotePredict" not in types(graph)
        assert "Unique" not in types(graph)

    def test_earlier_names_are_those_of_the_servers_files(self):
        graph = mx.GraphBuilder()
        configs = {"fc_slot_1": one_segment(1)}
        with graph.as_default():
            mx.create_hash_tables(configs, 2)
        old = merged_name(["slot_1"])
        names = [one.extra_restore_names for one in graph.get_collection("monolith_hash_tables")]
        assert names == [[f"MonolithHashTable_{old}_{i}"] for i in (0, 1)]

    def test_files_of_earlier_names_are_exported(self, tmp_path):
        """A checkpoint of a job whose slots were called otherwise."""
        checkpoint = make_checkpoint(tmp_path)
        old = merged_name(["slot_1", "slot_2"])
        for i in range(2):
            mx.write_table(assets_of(checkpoint) / f"MonolithHashTable_{old}_{i}", dump(5 + i, 2))

        def model_fn(features, mode):
            tables = mx.create_hash_tables({f"fc_slot_{i}": one_segment(2) for i in (1, 2)}, 2)
            return mx.EstimatorSpec(mode, tables.lookup({"fc_slot_1": features["ids"]}))

        options = {"model_dir": tmp_path / "train", "global_step_as_timestamp": True}
        standalone = mx.StandaloneExporter(model_fn, export_dir_base=tmp_path / "one", **options)
        path = Path(standalone.export_saved_model(receiver_fn).decode())
        names = {f"MonolithHashTable_{old}_{i}-00000-of-00001" for i in range(2)}
        assert {file.name for file in (path / "assets").iterdir()} == names
        distributed = mx.DistributedExporter(model_fn, export_dir_base=tmp_path / "parts", **options)
        paths = distributed.export_saved_model(receiver_fn)
        for i in range(2):
            (file,) = (Path(paths[f"ps_{i}"].decode()) / "assets").iterdir()
            assert file.name == f"MonolithHashTable_{old}_{i}-00000-of-00001"
            assert len(mx.read_table(file.parent / f"MonolithHashTable_{old}_{i}").ids) == 5 + i

    def test_rates_are_computed_once(self):
        graph, calls = mx.GraphBuilder(), []

        def rate():
            calls.append(1)
            return graph.const(0.5, "float32")

        with graph.as_default():
            mx.create_hash_tables({"a": mx.HashTableConfigInstance(CONFIGS["a"].table_config, [rate])}, 3)
        assert len(calls) == 1

    def test_filters_of_servers(self):
        graph = mx.GraphBuilder()
        with graph.as_default():
            filters = mx.table.create_hash_filters(2, True)
            with pytest.raises(mx.InvalidArgumentError, match="hash_filters: got 2, want 3"):
                mx.create_hash_tables(CONFIGS, 3, hash_filters=filters)
            mx.create_hash_tables(CONFIGS, 2, hash_filters=filters)
        made = [op for op in graph.operations if op.type == "MonolithHashTable"]
        assert sorted(op.inputs[0].name for op in made) == sorted(one.name for one in filters * 2)
        for mode in (mx.ExportMode.STANDALONE, mx.ExportMode.DISTRIBUTED):
            context, exported_graph, _ = exported(mode, 2, hash_filters=filters)
            for one in (exported_graph, *context.sub_graphs.values()):
                assert "MonolithHashFilter" not in types(one)


class TestShapes:
    @pytest.mark.parametrize("mode", [mx.ExportMode.NONE, mx.ExportMode.STANDALONE, mx.ExportMode.DISTRIBUTED])
    @pytest.mark.parametrize("native", [False, True])
    @pytest.mark.parametrize("num_ps", [0, 1, 2])
    def test_as_many_vectors_as_ids(self, mode, native, num_ps):
        graph = mx.GraphBuilder()
        if mode is mx.ExportMode.NONE:
            with graph.as_default():
                found = lookup(num_ps, native)
        else:
            found = exported(mode, num_ps, native)[2]
        assert {slot: one.shape for slot, one in found.items()} == {"a": [2, 2], "b": [3, 2], "c": [1, 3]}
        assert list(found) == ["a", "b", "c"]

    @pytest.mark.parametrize("native", [False, True])
    def test_of_unknown_many_ids(self, native):
        graph = mx.GraphBuilder()
        with graph.as_default():
            tables = mx.create_hash_tables(CONFIGS, 2, use_native_multi_hash_table=native)
            ids = {"a": graph.placeholder("int64", [None]), "c": graph.placeholder("int64")}
            assert [one.shape for one in tables.lookup(ids).values()] == [[None, 2], [None, 3]]
            assert tables.lookup({}) == {}


class TestDistributedExport:
    @pytest.mark.parametrize("native", [False, True])
    @pytest.mark.parametrize("num_ps", [1, 2, 5])
    def test_sub_graphs_with_their_signatures(self, num_ps, native):
        context, graph, _ = exported(mx.ExportMode.DISTRIBUTED, num_ps, native)
        assert context.sub_graph_num == num_ps
        assert list(context.sub_graphs) == [f"ps_{i}" for i in range(num_ps)]
        assert not any(kind.startswith("Monolith") for kind in types(graph))
        for i, sub_graph in enumerate(context.sub_graphs.values()):
            signatures = {one.name: one for one in context.signatures(sub_graph)}
            assert list(signatures) == (["lookup", "raw_lookup"] if native else ["lookup"])
            found = signatures["lookup"]
            assert {key: one.shape for key, one in found.inputs.items()} == {AB: [None], C: [None]}
            assert {key: one.shape for key, one in found.outputs.items()} == {AB: [None, 2], C: [None, 3]}
            if native:
                raw = signatures["raw_lookup"]
                assert {key: one.shape for key, one in raw.inputs.items()} == {"id": [None], "id_split": [None]}
                assert {key: one.shape for key, one in raw.outputs.items()} == {"flat_emb": [None]}
            key = "monolith_multi_hash_tables" if native else "monolith_hash_tables"
            suffixes = {one.to_proto().shared_name.rpartition("_")[2] for one in sub_graph.get_collection(key)}
            assert suffixes == {str(i)}

    @pytest.mark.parametrize("native", [False, True])
    def test_the_calls_fit_the_signatures(self, native):
        context, graph, _ = exported(mx.ExportMode.DISTRIBUTED, 3, native, model_name="ctr", max_rpc_deadline_millis=50)
        signature = "raw_lookup" if native else "lookup"
        nodes = [op.node_def for op in graph.operations if op.type == "TfServingRemotePredict"]
        for i, node in enumerate(nodes):
            assert node.attr["model_name"].s.decode() == f"ctr:ps_{i}"
            assert node.attr["old_model_name"].s.decode() == f"ps_{i}"
            assert (node.attr["task"].i, node.attr["model_version"].i) == (i, -1)
            assert node.attr["signature_name"].s.decode() == signature
            assert node.attr["max_rpc_deadline_millis"].i == 50
        assert len(nodes) == 3
        assert_fits(context, graph)

    def test_no_model_name(self):
        _, graph, _ = exported(mx.ExportMode.DISTRIBUTED, 1)
        (node,) = [op.node_def for op in graph.operations if op.type == "TfServingRemotePredict"]
        assert node.attr["model_name"].s == b":ps_0"

    def test_all_inputs_of_a_signature_are_sent_and_only_what_is_wanted_comes_back(self):
        context, graph, found = exported(mx.ExportMode.DISTRIBUTED, 2, ids={"c": [1, 2]})
        assert list(found) == ["c"]
        assert_fits(context, graph)
        (_, *sent, wanted) = next(op for op in graph.operations if op.type == "TfServingRemotePredict").inputs
        assert len(sent) == 2
        assert tensor_proto_to_array(wanted.op.node_def.attr["value"].tensor).tolist() == [C.encode()]

    def test_two_sets_of_tables_in_one_model(self):
        graph = mx.GraphBuilder()
        with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED) as context, graph.as_default():
            lookup(2)
            lookup(2, configs={"x": one_segment(4)}, ids={"x": [1]})
        for sub_graph in context.sub_graphs.values():
            assert [one.name for one in context.signatures(sub_graph)] == ["lookup", "lookup_1"]
        assert_fits(context, graph)

    def test_another_number_of_servers_than_the_checkpoint_has(self):
        graph = mx.GraphBuilder()
        context = mx.ExportContext(num_ps=3)
        with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED, context), graph.as_default():
            lookup(5)
        assert list(context.sub_graphs) == ["ps_0", "ps_1", "ps_2"]
        counts = [op.node_def.attr["num_partitions"].i for op in graph.operations if op.type == "DynamicPartition"]
        assert set(counts) == {3}

    def test_tables_in_other_models_do_not_change(self):
        graph = mx.GraphBuilder()
        with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED), graph.as_default():
            tables = mx.create_hash_tables(CONFIGS, 2)
            pair = {"a": ([1], [[1.0, 2.0]])}
            for change in (
                lambda: tables.assign(pair),
                lambda: tables.assign_add(pair),
                lambda: tables.apply_gradients(pair, 0),
                tables.as_op,
            ):
                with pytest.raises(mx.InvalidArgumentError, match="a distributed export only looks up"):
                    change()

    def test_the_same_graphs_each_time(self):
        def graphs():
            context, graph, _ = exported(mx.ExportMode.DISTRIBUTED, 2, True)
            return [one.to_meta_graph() for one in (graph, *context.sub_graphs.values())]

        assert graphs() == graphs()


def assert_fits(context, graph):
    models = {}
    for name, sub_graph in context.sub_graphs.items():
        models[name] = sub_graph.to_meta_graph()
        for one in context.signatures(sub_graph):
            models[name].signature_def[one.name].CopyFrom(
                mx.make_signature_def(
                    {key: mx.make_tensor_info(tensor) for key, tensor in one.inputs.items()},
                    {key: mx.make_tensor_info(tensor) for key, tensor in one.outputs.items()},
                )
            )
        mx.check_meta_graph(models[name])
    entry = graph.to_meta_graph()
    mx.check_meta_graph(entry)
    report = Report()
    check_remote_calls(entry, models, report)
    assert report.problems == []


class TestRemotePredict:
    def test_only_the_outputs_with_their_shapes(self):
        graph = mx.GraphBuilder()
        x = graph.placeholder("float32", [None, 2])
        with graph.as_default():
            found = mx.remote_predict(
                ["x"], [x], ["y", "z"], "m", output_types=["float32", "int64"], output_shapes=[(None, 3), None]
            )
        assert [one.shape for one in found] == [[None, 3], None]
        assert found[1].op.type == "TfServingRemotePredict"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([], [], ["y"], None, ["float32"]), "model_name: got None"),
            ((["x"], [], ["y"], "m", ["float32"]), "input_tensor_alias: got 1 keys for 0 tensors"),
            (([], [], ["y"], "m", []), "output_tensor_alias: got 1 keys for 0 types"),
            (([], [], ["y", "y"], "m", ["float32"] * 2), "output_tensor_alias: got 'y' twice"),
        ],
    )
    def test_refused(self, arguments, message):
        *first, output_types = arguments
        with mx.GraphBuilder().as_default(), pytest.raises(mx.InvalidArgumentError, match=message):
            mx.remote_predict(*first, output_types=output_types)

    def test_nothing_is_known_of_what_a_call_gives_that_may_fail(self):
        with mx.GraphBuilder().as_default() as graph, pytest.raises(mx.InvalidArgumentError, match="output_shapes"):
            mx.remote_predict(
                ["x"],
                [graph.const(1.0)],
                ["y"],
                "m",
                output_types=["float32"],
                output_shapes=[(None, 1)],
                fail_op_on_rpc_error=False,
            )


def test_ids_are_parted_as_numpy_says():
    # The nodes are those that numpy's rule is held against in TensorFlow elsewhere; here, that they are the ones used.
    graph = mx.GraphBuilder()
    with graph.as_default():
        lookup(5)
    for op in graph.operations:
        if op.type == "DynamicPartition":
            cast = op.inputs[1].op
            assert [cast.type, cast.inputs[0].op.type, cast.inputs[0].op.inputs[0].op.type] == [
                "Cast",
                "FloorMod",
                "Bitcast",
            ]
            number = tensor_proto_to_array(cast.inputs[0].op.inputs[1].op.node_def.attr["value"].tensor)
            assert (number, number.dtype) == (5, np.uint64)
