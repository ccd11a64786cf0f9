"""The faces of hash tables in a GraphBuilder, and the signatures of their ops."""

import pytest

import mexport_pb as mx
from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto, MultiHashTableProto
from mexport_pb._proto.hash_table_pb2 import EmbeddingHashTableConfig, EntryConfig, MultiEmbeddingHashTableConfig
from mexport_pb._proto.tensor_pb2 import DT_FLOAT, DT_INT32, DT_RESOURCE, DT_STRING
from mexport_pb.graph.table_shapes import TABLE_SHAPES
from mexport_pb.messages.op_defs import OpDefs, op_def
from mexport_pb.messages.table_ops import table_op_defs
from mexport_pb.table import create_hash_filters, extract_slot_from_entry, fused_lookup


def segment(dim):
    return mx.CombineAsSegment(dim, mx.ZerosInitializer(), mx.SgdOptimizer(), mx.Fp32Compressor())


def config(*dims, rates=None, expire=None):
    proto = mx.CuckooHashTableConfig(mx.entry_config(*map(segment, dims))).as_proto()
    if expire is not None:
        proto.slot_expire_time_config.default_expire_time = expire
    return mx.HashTableConfigInstance(proto, rates or [0.1] * len(dims))


def nodes_of(graph):
    return {node.name: node for node in graph.to_graph_def().node}


def collection(graph, key, cls):
    return [cls.FromString(value) for value in graph.to_meta_graph().collection_def[key].bytes_list.value]


def test_every_table_op_has_a_signature_and_a_shape():
    assert len(table_op_defs()) == 42
    assert table_op_defs().keys() == TABLE_SHAPES.keys()


def test_signatures_are_read_as_they_are_written():
    optimize = op_def("MonolithHashTableFusedOptimize")
    assert [arg.name for arg in optimize.input_arg] == [
        "table_handles", "ids", "indices", "fused_slot_size", "id_grads", "id_offsets", "grad_offsets",
        "learning_rate_tensors", "req_time", "global_step",
    ]  # fmt: skip
    assert optimize.input_arg[0].number_attr == "N"
    assert optimize.output_arg[0].number_attr == "N"
    assert {attr.name: attr.HasField("default_value") for attr in optimize.attr} == {
        "N": False,
        "num_of_shards": False,
        "enable_grad_accumulation": True,
    }
    save = {attr.name: attr.default_value for attr in op_def("MonolithHashTableSave").attr}
    assert (save["nshards"].i, save["random_sleep_ms"].i, save["slot_expire_time_config"].s) == (-1, 0, b"")
    assert op_def("MonolithHashFilter").attr[0].default_value.i == 300_000_000
    assert op_def("MonolithHashTableLookup").is_stateful
    assert not op_def("MonolithExtractSlotFromEntry").is_stateful


def test_lists_of_types_are_read():
    predict = op_def("TfServingRemotePredict")
    assert [arg.type_list_attr for arg in predict.input_arg] == ["", "T", ""]
    assert predict.output_arg[2].type_list_attr == "output_types"
    assert {attr.name: attr.type for attr in predict.attr if not attr.HasField("default_value")} == {
        "T": "list(type)",
        "output_types": "list(type)",
    }


def test_shapes_of_a_remote_prediction():
    graph = mx.GraphBuilder()
    attrs = {"model_name": "m", "output_types": [DT_FLOAT, DT_STRING]}
    op = graph.op("TfServingRemotePredict", [["a"], [graph.const([1, 2])], ["x", "y"]], attrs=attrs)
    assert [one.shape for one in op.outputs] == [[], [], None, None]
    assert [one.dtype for one in op.outputs] == [DT_INT32, DT_STRING, DT_FLOAT, DT_STRING]
    assert list(nodes_of(graph)[op.name].attr["T"].list.type) == [DT_INT32]
    for given, wanted in ((["a", "b"], ["x", "y"]), (["a"], ["x"])):
        with pytest.raises(mx.InvalidArgumentError, match=r"_aliases: got \d aliases, want"):
            graph.op("TfServingRemotePredict", [given, [graph.const([1, 2])], wanted], attrs=attrs)


def test_table_ops_are_known_beside_those_of_tensorflow():
    known = OpDefs()
    assert "MonolithHashTable" in known
    assert "MatMul" in known
    assert len(list(known)) == len(known)
    assert "MonolithNothing" not in known


def test_a_table_has_its_name_everywhere():
    graph = mx.GraphBuilder()
    with graph.as_default():
        table = mx.hash_table_from_config(config(2, 3), name_suffix="slot/1")
    node = nodes_of(graph)["MonolithHashTable_slot/1"]
    assert node.op == "MonolithHashTable"
    assert node.device == "/device:CPU:0"
    assert node.attr["shared_name"].s == b"MonolithHashTable_slot/1"
    assert table.name == "MonolithHashTable_slot/1"
    assert table.file_prefixes == ["MonolithHashTable_slot-1"]
    assert table.dim_size == 5
    filters = [one for one in nodes_of(graph).values() if one.op == "MonolithDummyHashFilter"]
    assert [one.attr["shared_name"].s for one in filters] == [b"DummyHashFilterslot/1"]
    clients = [one for one in nodes_of(graph).values() if one.op == "MonolithDummySyncClient"]
    assert [one.attr["shared_name"].s for one in clients] == [b"MonolithDummySyncClient"]


def test_extra_names_are_prefixes_too():
    graph = mx.GraphBuilder()
    with graph.as_default():
        table = mx.test_hash_table(1, extra_restore_names=["MonolithHashTable_a:b/c"])
    assert table.name == "MonolithHashTable_test"
    assert table.file_prefixes == ["MonolithHashTable_test", "MonolithHashTable_a-b-c"]


def test_tables_for_tests_get_names_of_their_own():
    graph = mx.GraphBuilder()
    with graph.as_default():
        assert [mx.test_hash_table(1).name for _ in range(3)] == [
            "MonolithHashTable_test",
            "MonolithHashTable_test_1",
            "MonolithHashTable_test_2",
        ]


def test_a_name_is_taken_once():
    graph = mx.GraphBuilder()
    with graph.as_default():
        mx.test_hash_table(1, name_suffix="x")
        with pytest.raises(ValueError, match="shared_name MonolithHashTable_x has already been used"):
            mx.test_hash_table(1, name_suffix="x")
        mx.MultiHashTable.from_configs({"a": config(1)})
        with pytest.raises(ValueError, match="shared_name MonolithMultiHashTable_ has already been used"):
            mx.MultiHashTable.from_configs({"a": config(1)})
    with mx.GraphBuilder().as_default():
        mx.test_hash_table(1, name_suffix="x")


def test_two_tables_may_not_be_saved_over_each_other():
    with mx.GraphBuilder().as_default():
        mx.test_hash_table(1, name_suffix="a/b")
        with pytest.raises(ValueError, match="its files MonolithHashTable_a-b would be those of MonolithHashTable_a/b"):
            mx.test_hash_table(1, name_suffix="a-b")


@pytest.mark.parametrize(
    ("names", "suffix", "message"),
    [
        (["t"], "a/b", "MonolithMultiHashTable_a/b: want the name of a file, without '/'"),
        (["t", ""], "", "got the table '', want a name that can be printed"),
        (["a\n"], "", r"got the table 'a\\n', want a name"),
    ],
)
def test_names_that_no_export_would_take_are_refused_at_once(names, suffix, message):
    with mx.GraphBuilder().as_default(), pytest.raises(mx.InvalidArgumentError, match=message):
        mx.MultiHashTable.from_configs({name: config(1) for name in names}, name_suffix=suffix)


def test_the_collection_tells_of_the_table():
    graph = mx.GraphBuilder()
    with graph.as_default():
        first = mx.hash_table_from_config(config(2, expire=7), name_suffix="a", saver_parallel=3)
        changed = first.assign([1], [[1.0, 2.0]])
        mx.test_hash_table(1, name_suffix="b", extra_restore_names=["old"])
        first.export_share_embedding = False
    assert changed.table.name == "MonolithHashTableAssign:0"
    a, b = collection(graph, "monolith_hash_tables", HashTableProto)
    assert a.table_tensor == "MonolithHashTable_a:0"
    assert (a.dim_size, a.shared_name, a.saver_parallel) == (2, "MonolithHashTable_a", 3)
    assert a.slot_expire_time_config.hex() == "1007"
    assert a.learning_rate_tensor == "learning_rate/stack:0"
    assert a.export_share_embedding == HashTableProto.kFalse
    assert list(b.extra_restore_names) == ["old"]
    assert b.export_share_embedding == HashTableProto.kBoolNone
    mx.check_meta_graph(graph.to_meta_graph())


def test_a_table_comes_back_from_its_proto():
    graph = mx.GraphBuilder()
    with graph.as_default():
        with graph.name_scope("model"):
            table = mx.test_hash_table(3, name_suffix="x", extra_restore_names=["old"])
            table.export_share_embedding = True
        proto = table.to_proto("model")
        assert proto.table_tensor == "MonolithHashTable_x:0"
        assert table.to_proto("other") is None
        again = mx.HashTable.from_proto(proto, "model")
    assert again.table is table.table
    assert again.to_proto() == table.to_proto()
    assert again.extra_restore_names == ["old"]
    assert len(graph.get_collection("monolith_hash_tables")) == 1


@pytest.mark.parametrize("exporting", [False, True])
def test_tables_are_serving_tables_while_an_export_runs(exporting):
    graph = mx.GraphBuilder()
    given = config(2)

    def build():
        with graph.as_default():
            mx.hash_table_from_config(given, name_suffix="x")
            return mx.MultiHashTable.from_configs({"a": given})

    if exporting:
        with mx.enter_export_mode(mx.ExportMode.STANDALONE):
            multi = build()
    else:
        multi = build()
    want = EntryConfig.SERVING if exporting else EntryConfig.TRAINING
    nodes = nodes_of(graph)
    single = EmbeddingHashTableConfig.FromString(nodes["MonolithHashTable_x"].attr["config"].s)
    assert single.entry_config.entry_type == want
    const = nodes[nodes[multi.initializer.name].input[0]]
    several = MultiEmbeddingHashTableConfig.FromString(const.attr["value"].tensor.string_val[0])
    assert [one.entry_config.entry_type for one in several.configs] == [want]
    assert given.table_config.entry_config.entry_type == EntryConfig.TRAINING
    mx.EmbeddingTable(single)


def test_shapes_of_a_tables_tensors():
    graph = mx.GraphBuilder()
    with graph.as_default():
        table = mx.test_hash_table(4)
        ids = graph.placeholder("int64", [None])
        assert table.lookup(ids).shape == [None, 4]
        assert table.lookup([1, 2]).shape == [2, 4]
        assert table.lookup_entry([1, 2, 3]).shape == [3]
        assert table.size().shape == []
        offset, entries = table.save_as_tensor(0, 1, 10, 0)
        assert (offset.shape, entries.shape) == ([], [None])
        assert extract_slot_from_entry(entries).shape == [None]
        assert table.restore("x").save("y").table.dtype == DT_RESOURCE
        fused = fused_lookup([table.table, table.table], [1, 2], [1, 1, 0, 0], 2)
        assert [one.shape for one in fused] == [[None], [2], [5], [5], [2]]


def test_a_change_comes_before_what_its_copy_is_asked():
    graph = mx.GraphBuilder()
    with graph.as_default():
        table = mx.test_hash_table(1)
        after = table.apply_gradients([1], [[1.0]], global_step=3)
    found = after.lookup([1])
    nodes = nodes_of(graph)
    identity = nodes[nodes[found.op.name].input[0]]
    assert identity.op == "Identity"
    assert list(identity.input) == ["MonolithHashTable_test", "^MonolithHashTableOptimize"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (config(1, rates=[1.0, 2.0]), "Size of learning_rate_fns and size of segments must be equal: got 2, want 1"),
        (mx.HashTableConfigInstance(EmbeddingHashTableConfig(), []), "its configuration has no type"),
    ],
)
def test_configurations_that_make_no_table(given, message):
    with mx.GraphBuilder().as_default():
        with pytest.raises(mx.InvalidArgumentError, match=message):
            mx.hash_table_from_config(given)
        with pytest.raises(mx.InvalidArgumentError, match=message):
            mx.MultiHashTable.from_configs({"a": given})


def test_rates_may_be_tensors_of_any_float():
    graph = mx.GraphBuilder()
    with graph.as_default():
        rate = graph.const(0.5, "float64")
        mx.hash_table_from_config(config(1, 1, rates=[lambda: rate, 0.25]))
    nodes = nodes_of(graph)
    assert list(nodes["learning_rate/stack"].input) == ["learning_rate/Cast", "learning_rate/Const"]


def test_many_tables_are_in_the_order_of_their_names_and_so_are_their_rates():
    graph = mx.GraphBuilder()
    with graph.as_default():
        configs = {"b": config(3, rates=[3.0], expire=9), "a": config(1, 2, rates=[1.0, 2.0])}
        table = mx.MultiHashTable.from_configs(configs, name_suffix="0", saver_parallel=2)
    (proto,) = collection(graph, "monolith_multi_hash_tables", MultiHashTableProto)
    assert list(proto.table_names) == ["a", "b"]
    assert list(proto.dims) == [3, 3]
    assert proto.shared_name == "MonolithMultiHashTable_0"
    assert proto.slot_expire_time_config.hex() == "1009"
    assert proto.initializer_op == "CreateMonolithMultiHashTable"
    assert proto.handle_tensor == "ReadMonolithMultiHashTable:0"
    nodes = nodes_of(graph)
    rates = [nodes[name].attr["value"].tensor.float_val[0] for name in nodes["stack"].input]
    assert rates == [1.0, 2.0, 3.0]
    shared = [nodes[name].attr["shared_name"].s for name in (proto.initializer_op, "ReadMonolithMultiHashTable")]
    assert shared == [b"MonolithMultiHashTable_0"] * 2
    with graph.as_default():
        assert mx.MultiHashTable.from_proto(proto).to_proto() == table.to_proto()


def test_look_up_in_some_of_many_tables():
    graph = mx.GraphBuilder()
    with graph.as_default():
        table = mx.MultiHashTable.from_configs({"a": config(1), "b": config(2), "c": config(3)})
        found = table.lookup({"c": [1, 2], "a": graph.placeholder("int64", [None])})
        assert {name: one.shape for name, one in found.items()} == {"c": [None, 3], "a": [None, 1]}
        assert list(table.lookup_entry({"b": [1]})) == ["b"]
        table.assign({"b": ([1], [[1.0, 2.0]])}).assign_add({"c": ([1], [[1.0, 2.0, 3.0]])}, req_time=5)
        table.apply_gradients({"a": ([1], [[1.0]])}, global_step=1)
        _, status = table.reinitialize("a", [1, 2])
        assert status.shape == [2]
        for wrong in ({"d": [1]}, {"A": [1]}):
            with pytest.raises(mx.InvalidArgumentError, match="no table"):
                table.lookup(wrong)
    mx.check_meta_graph(graph.to_meta_graph())


def test_filters_of_parameter_servers_are_on_their_devices_but_for_a_standalone_export():
    graph = mx.GraphBuilder()
    with graph.as_default():
        filters = create_hash_filters(2, True, b"c", capacity=500, split_num=5)
        assert [one.op.device for one in filters] == ["/job:ps/task:0/device:CPU:0", "/job:ps/task:1/device:CPU:0"]
        attrs = filters[1].op.node_def.attr
        assert (attrs["shared_name"].s, attrs["capacity"].i, attrs["config"].s) == (b"MonolithHashFilter_1", 500, b"c")
        (one,) = create_hash_filters(0, True, filter_type="probabilistic_filter")
        assert one.op.node_def.attr["shared_name"].s == b"MonolithProbabilisticFilter"
        with mx.enter_export_mode(mx.ExportMode.STANDALONE):
            assert [one.op.device for one in create_hash_filters(2, False)] == ["", ""]
        with pytest.raises(mx.InvalidArgumentError, match="filter_type: got 'none'"):
            create_hash_filters(0, True, filter_type="none")


def test_default_attributes_of_table_ops_are_stripped():
    graph = mx.GraphBuilder()
    with graph.as_default():
        mx.test_hash_table(2).lookup([1])
    nodes = {node.name: node for node in mx.strip_default_attrs(graph.to_meta_graph()).graph_def.node}
    assert set(nodes["MonolithHashTable_test"].attr) == {"config", "shared_name", "_output_shapes"}
    assert set(nodes["MonolithHashTableLookup"].attr) == {"dim_size", "_output_shapes"}


def test_checks_know_what_table_ops_take():
    graph = mx.GraphBuilder()
    with graph.as_default():
        mx.test_hash_table(2).lookup(graph.placeholder("int64", [None], name="ids"))
        graph.placeholder("float32", [None], name="floats")
    meta_graph = graph.to_meta_graph()
    mx.check_meta_graph(meta_graph)
    (lookup,) = [node for node in meta_graph.graph_def.node if node.op == "MonolithHashTableLookup"]
    lookup.input[1] = "floats"
    with pytest.raises(mx.InvalidArgumentError, match=r"MonolithHashTableLookup.*int64"):
        mx.check_meta_graph(meta_graph)
    lookup.input[1] = "ids"
    del lookup.attr["dim_size"]
    with pytest.raises(mx.InvalidArgumentError, match="dim_size"):
        mx.check_meta_graph(meta_graph)


def test_graphs_of_the_other_side_keep_their_own_signatures():
    graph = mx.GraphBuilder()
    with graph.as_default():
        mx.test_hash_table(2).lookup([1])
    meta_graph = graph.to_meta_graph()
    listed = {op.name: op for op in meta_graph.meta_info_def.stripped_op_list.op}
    listed["MonolithHashTableLookup"].is_stateful = False
    stripped = mx.strip_default_attrs(meta_graph)
    again = {op.name: op for op in stripped.meta_info_def.stripped_op_list.op}
    assert not again["MonolithHashTableLookup"].is_stateful
    mx.check_meta_graph(stripped)
