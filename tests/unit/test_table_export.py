"""Exports of graphs with embedding tables: what is added to the graph, and which files go along. No TensorFlow."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import mexport_pb as mx
from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto, MultiHashTableProto
from mexport_pb._proto.hash_table_pb2 import EmbeddingHashTableConfig, EntryConfig
from mexport_pb.cli import main
from mexport_pb.export import (
    add_ckpt_to_assets,
    add_multi_hashtable_assign_signatures,
    build_hashtable_assign_inputs_outputs,
    create_asset_base,
    create_hashtable_restore_ops,
    create_multi_hashtable_restore_ops,
)
from mexport_pb.messages import unpack_asset_file_def
from mexport_pb.table import create_hash_filter
from mexport_pb.table.graph_tables import graph_tables
from tests.support.table_exports import (
    DUMPS,
    MULTI,
    SINGLE,
    SPEC,
    assets_of,
    config,
    dump,
    export,
    graph_of,
    looked_up,
    make_checkpoint,
    model_fn,
    receiver_fn,
    training_graph,
)


@pytest.fixture
def checkpoint(tmp_path):
    return make_checkpoint(tmp_path)


def test_a_copy_has_the_tables_own_files_and_no_others(tmp_path, checkpoint):
    path, exporter = export(tmp_path, checkpoint)
    assert sorted(os.listdir(os.path.join(path, "assets"))) == sorted(
        [f"{base}-0000{shard}-of-00002" for base in (SINGLE, MULTI, f"{MULTI}.meta") for shard in (0, 1)]
    )
    for name in os.listdir(os.path.join(path, "assets")):
        copied = Path(path) / "assets" / name
        assert copied.read_bytes() == (assets_of(checkpoint) / name).read_bytes()
        assert not copied.samefile(assets_of(checkpoint) / name)
    assert exporter.table_ledgers == {}
    assert mx.check_saved_model(path).problems == []


def test_the_main_op_restores_many_tables_and_then_single_ones(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    graph, nodes = graph_of(path)
    (main_op,) = graph.collection_def["saved_model_main_op"].node_list.value
    assert main_op == "group_deps"
    running = reachable(nodes, [main_op])
    restores = [node for node in running if "Restore" in nodes[node].op]
    assert sorted(restores) == ["MonolithHashTableRestore", "MonolithMultiHashTableRestore"]
    multi = nodes["MonolithMultiHashTableRestore"]
    assert list(multi.input) == ["ReadMonolithMultiHashTable", "StringJoin", "^CreateMonolithMultiHashTable"]
    single = nodes["MonolithHashTableRestore"]
    assert list(single.input) == [SINGLE, "StringJoin_1"]
    for name, prefix in (("StringJoin", MULTI), ("StringJoin_1", SINGLE)):
        base, rest = nodes[name].input
        assert base == "ASSET_BASE"
        assert nodes[rest].attr["value"].tensor.string_val == [prefix.encode()]


def reachable(nodes, names):
    found = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name not in found:
            found.add(name)
            waiting += nodes[name].input
    return found


def test_assets_are_in_the_collection_once_and_carry_no_path(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    graph, nodes = graph_of(path)
    assert nodes["ASSET_BASE"].attr["value"].tensor.string_val == [b"./"]
    assert str(tmp_path).encode() not in graph.SerializeToString()
    assets = [unpack_asset_file_def(one) for one in graph.collection_def["saved_model_assets"].any_list.value]
    assert not graph.asset_file_def
    files = {one.filename: one.tensor_info.name for one in assets}
    assert files.pop("./") == "ASSET_BASE:0"
    assert sorted(files) == sorted(os.listdir(os.path.join(path, "assets")))
    assert len(assets) == 7
    assert sorted(graph.collection_def["asset_filepaths"].node_list.value) == sorted(files.values())
    for name, tensor in files.items():
        assert nodes[tensor.removesuffix(":0")].attr["value"].tensor.string_val == [name.encode()]


def test_signatures_push_values(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    graph, nodes = graph_of(path)
    assert sorted(graph.signature_def) == [f"{MULTI}/raw_assign", "hashtable_assign", "serving_default"]
    single = graph.signature_def["hashtable_assign"]
    shapes = {key: [dim.size for dim in info.tensor_shape.dim] for key, info in single.inputs.items()}
    assert shapes == {f"{SINGLE}_id": [-1], f"{SINGLE}_value": [-1, 4]}
    (result,) = single.outputs.values()
    assert list(single.outputs) == [f"{SINGLE}_result"]
    assert (result.dtype, list(result.tensor_shape.dim)) == (3, [])
    size = nodes[result.name.removesuffix(":0")]
    ids = single.inputs[f"{SINGLE}_id"].name.removesuffix(":0")
    assert list(size.input) == [ids, "^MonolithHashTableAssign"]
    assign = nodes["MonolithHashTableAssign"]
    assert list(assign.input)[:3] == [SINGLE, ids, single.inputs[f"{SINGLE}_value"].name.removesuffix(":0")]
    raw = graph.signature_def[f"{MULTI}/raw_assign"]
    assert {key: info.dtype for key, info in raw.inputs.items()} == {"id": 9, "id_split": 9, "flat_value": 1}
    assert list(raw.outputs) == ["result"]
    needed = reachable(nodes, [raw.outputs["result"].name])
    assert "MonolithMultiHashTableAssign" in needed
    assert sum(nodes[name].op == "Assert" for name in needed) == 4


def test_the_collections_tell_of_the_tables(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    graph, nodes = graph_of(path)
    (single,) = graph.collection_def["monolith_hash_tables"].bytes_list.value
    assert HashTableProto.FromString(single).table_tensor == f"{SINGLE}:0"
    (multi,) = graph.collection_def["monolith_multi_hash_tables"].bytes_list.value
    assert list(MultiHashTableProto.FromString(multi).table_names) == ["a", "b"]
    served = EmbeddingHashTableConfig.FromString(nodes[SINGLE].attr["config"].s)
    assert served.entry_config.entry_type == EntryConfig.SERVING


def test_the_same_export_twice_is_the_same_bytes(tmp_path, checkpoint):
    first, _ = export(tmp_path, checkpoint, tables="serving")
    second, _ = export(tmp_path, checkpoint, name="again", tables="serving")
    for folder, _, files in os.walk(first):
        for name in files:
            other = Path(second, os.path.relpath(folder, first), name)
            assert Path(folder, name).read_bytes() == other.read_bytes()


def test_hard_links_are_second_names(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint, tables="hardlink")
    name = f"{SINGLE}-00000-of-00002"
    assert os.path.samefile(os.path.join(path, "assets", name), assets_of(checkpoint) / name)
    shutil.rmtree(assets_of(checkpoint))
    ids = np.arange(60)
    assert looked_up(path, SINGLE, ids)[SINGLE].any()


def test_a_shared_embedding_names_the_checkpoint_and_takes_no_files(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint, shared_embedding=True)
    assert not os.path.exists(os.path.join(path, "assets"))
    graph, nodes = graph_of(path)
    assert "ASSET_BASE" not in nodes
    assert "saved_model_assets" not in graph.collection_def
    for join, prefix in (("StringJoin", MULTI), ("StringJoin_1", SINGLE)):
        parts = [nodes[name].attr["value"].tensor.string_val[0] for name in nodes[join].input]
        assert parts == [f"{assets_of(checkpoint)}/".encode(), prefix.encode()]
    shutil.rmtree(assets_of(checkpoint))
    report = mx.check_saved_model(path)
    assert report.ok, "the files may be there where it is served"
    assert [one.severity for one in report.problems] == ["warning", "warning"]


@pytest.mark.parametrize("of_exporter", [False, True])
def test_a_tables_own_word_on_sharing_goes_first(tmp_path, checkpoint, of_exporter):
    path, _ = export(tmp_path, checkpoint, build={"share": not of_exporter}, shared_embedding=of_exporter)
    of_table = [name for name in os.listdir(os.path.join(path, "assets")) if name.startswith(SINGLE)]
    of_many = [name for name in os.listdir(os.path.join(path, "assets")) if name.startswith(MULTI)]
    assert (len(of_table), len(of_many)) == ((2, 0) if of_exporter else (0, 4))


def test_slim_tables_look_up_the_same_bits_and_every_row_is_accounted_for(tmp_path, checkpoint):
    full, _ = export(tmp_path, checkpoint)
    slim, exporter = export(tmp_path, checkpoint, name="slim", tables=mx.ServingTables(num_shards=3, pack_floats=True))
    assert sorted(os.listdir(os.path.join(slim, "assets"))) == sorted(
        [f"{base}-0000{shard}-of-00003" for base in (SINGLE, MULTI, f"{MULTI}.meta") for shard in range(3)]
    )
    ids = np.arange(60)
    for basename in (SINGLE, MULTI):
        want, got = (looked_up(path, basename, ids) for path in (full, slim))
        assert want.keys() == got.keys()
        for name, vectors in want.items():
            np.testing.assert_array_equal(vectors.view(np.uint32), got[name].view(np.uint32))
    single, multi = exporter.table_ledgers[slim]
    assert (single.files, multi.files) == (SINGLE, MULTI)
    assert single.tables == (mx.TableLedger(SINGLE, 50, 49, {"zero": 1, "expired": 0}),)
    assert [(one.table, one.rows_read, one.rows_kept) for one in multi.tables] == [("a", 30, 29), ("b", 20, 19)]
    assert sum(path.stat().st_size for path in Path(slim, "assets").iterdir()) == (
        multi.bytes_written + single.bytes_written
    )
    assert mx.check_saved_model(slim).problems == []
    assert sorted(os.listdir(slim)) == ["assets", "saved_model.pb", "variables"]


def test_rows_of_zeros_stay_where_zeros_are_read_as_something_else(tmp_path, checkpoint):
    build = {"compressor": mx.OneBitCompressor(), "tables": ("single",)}
    full, _ = export(tmp_path, checkpoint, build=build)
    slim, exporter = export(tmp_path, checkpoint, build=build, name="slim", tables="serving")
    (ledger,) = exporter.table_ledgers[slim]
    assert ledger.tables[0].rows_kept == 50
    ids = np.arange(60)
    want, got = (looked_up(path, SINGLE, ids)[SINGLE] for path in (full, slim))
    np.testing.assert_array_equal(want.view(np.uint32), got.view(np.uint32))


def test_a_renamed_table_is_found_under_its_old_name(tmp_path, checkpoint):
    for path in list(assets_of(checkpoint).glob(f"{SINGLE}-*-of-00002")):
        path.rename(path.with_name(path.name.replace(SINGLE, "MonolithHashTable_old-name")))
    extra = ["MonolithHashTable_older", "MonolithHashTable_old:name"]
    with pytest.raises(mx.MismatchError, match=f"table '{SINGLE}': no files in .*, want {SINGLE}-SSSSS-of-NNNNN"):
        export(tmp_path, checkpoint)
    path, _ = export(tmp_path, checkpoint, build={"extra": extra})
    _, nodes = graph_of(path)
    prefix = nodes[nodes["StringJoin_1"].input[1]].attr["value"].tensor.string_val[0]
    assert prefix == b"MonolithHashTable_old-name"
    assert os.path.exists(os.path.join(path, "assets", "MonolithHashTable_old-name-00001-of-00002"))


def broken(kind, assets):
    first = assets / f"{SINGLE}-00000-of-00002"
    match kind:
        case "missing":
            shutil.rmtree(assets)
            return mx.MismatchError, "the checkpoint has none"
        case "no file":
            for path in assets.glob(f"{SINGLE}-*-of-00002"):
                path.unlink()
            return mx.MismatchError, f"table '{SINGLE}': no files in .*; near it: {SINGLE}1"
        case "incomplete":
            first.unlink()
            return mx.TableError, "shard 0 doesn't show up"
        case "mixed":
            first.rename(assets / f"{SINGLE}-00000-of-00003")
            return mx.TableError, "doesn't match nshards"
        case "dimension":
            mx.write_table(assets / SINGLE, dump(5, 3), 2)
            return mx.MismatchError, f"table '{SINGLE}': .* got entries of 3 floats, but the graph's have 4"
        case "dimension of one file":
            mx.write_table(assets / "other", dump(5, 3), 2)
            (assets / "other-00001-of-00002").rename(assets / f"{SINGLE}-00001-of-00002")
            return mx.MismatchError, f"{SINGLE}-00001-of-00002: got entries of 3 floats, but the graph's have 4"
        case "dimension of many":
            mx.write_multi_table(assets / MULTI, {"a": DUMPS["a"], "b": dump(9, 5)}, 2)
            return mx.MismatchError, "table 'b': .* got entries of 5 floats, but the graph's have 3"
        case "no meta":
            (assets / f"{MULTI}.meta-00001-of-00002").unlink()
            return mx.TableError, "shard 1 doesn't show up"
        case "link":
            first.rename(assets / "elsewhere")
            first.symlink_to(assets / "elsewhere")
            return mx.MismatchError, "got a link or no file, want a regular file"
        case "folder":
            first.unlink()
            first.mkdir()
            return mx.MismatchError, "got a link or no file, want a regular file"
        case "cut":
            last = assets / f"{SINGLE}-00001-of-00002"
            last.write_bytes(last.read_bytes()[:-5])
            return mx.MexportError, "ends within a record|truncated|offset"
        case "damaged":
            first.write_bytes(b"\0" * 100)
            return mx.RecordError, "length"


@pytest.mark.parametrize("tables", ["copy", "hardlink", "serving"])
@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "no file",
        "incomplete",
        "mixed",
        "dimension",
        "dimension of one file",
        "dimension of many",
        "no meta",
        "link",
        "folder",
        "cut",
        "damaged",
    ],
)
def test_a_table_whose_files_do_not_fit_is_an_error_and_nothing_is_left(tmp_path, checkpoint, kind, tables):
    error, message = broken(kind, assets_of(checkpoint))
    with pytest.raises(error, match=message):
        export(tmp_path, checkpoint, tables=tables)
    assert not (tmp_path / "models").exists()


def test_damage_that_only_reading_finds_leaves_nothing(tmp_path, checkpoint):
    path = assets_of(checkpoint) / f"{SINGLE}-00001-of-00002"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(mx.RecordError):
        export(tmp_path, checkpoint, tables="serving")
    assert not (tmp_path / "models").exists()


def test_an_empty_table_is_no_error(tmp_path, checkpoint):
    mx.write_table(assets_of(checkpoint) / SINGLE, dump(0, 4), 1)
    mx.write_multi_table(assets_of(checkpoint) / MULTI, {"a": dump(0, 2)}, 1)
    for tables in ("copy", "serving"):
        path, _ = export(tmp_path, checkpoint, name=tables, tables=tables)
        assert mx.check_saved_model(path).ok


def test_the_meta_file_of_a_training_job(tmp_path, checkpoint):
    ledgers = []
    path = mx.export_meta_graph(
        training_graph(), checkpoint, tmp_path / "1", [SPEC], tables="serving", table_ledgers=ledgers
    )
    graph, _ = graph_of(path)
    assert {one.files for one in ledgers} == {SINGLE, MULTI}
    ops = {node.op for node in graph.graph_def.node}
    assert "MonolithHashTableOptimize" not in ops
    (single,) = graph.collection_def["monolith_hash_tables"].bytes_list.value
    assert HashTableProto.FromString(single).shared_name == SINGLE, "the table that is not asked is gone"
    assert {f"{MULTI}/raw_assign", "hashtable_assign"} < set(graph.signature_def)
    ids = np.arange(60)
    got = looked_up(path, SINGLE, ids)[SINGLE]
    want = mx.EmbeddingTable(config(4).as_proto())
    want.restore(DUMPS["slot"])
    np.testing.assert_array_equal(got.view(np.uint32), want.lookup(ids).view(np.uint32))
    assert mx.check_saved_model(path).problems == []


def test_filters_and_clients_of_training_have_stand_ins(tmp_path, checkpoint):
    graph = mx.GraphBuilder()
    with graph.as_default():
        admitting = create_hash_filter(1000, 7, b"\x10\x05")
        client = graph.op("MonolithParameterSyncClient", attrs={"config": b"x", "shared_name": "c"}).output
        table = mx.hash_table_from_config(config(4), admitting, "slot", client)
        ids = graph.placeholder("int64", [None], name="ids")
        graph.identity(table.lookup(ids), name="out_slot")
    spec = mx.SignatureSpec("serving_default", {"ids": "ids:0"}, {"slot": "out_slot:0"})
    path = mx.export_meta_graph(graph.to_meta_graph(), checkpoint, tmp_path / "1", [spec])
    _, nodes = graph_of(path)
    assert nodes["MonolithHashFilter"].op == "MonolithDummyHashFilter"
    assert set(nodes["MonolithHashFilter"].attr) <= {"shared_name", "_output_shapes"}
    assert nodes["MonolithParameterSyncClient"].op == "MonolithDummySyncClient"


def test_the_whole_graph_of_a_training_job_wants_all_of_its_tables(tmp_path, checkpoint):
    with pytest.raises(mx.MismatchError, match="table 'MonolithHashTable_unused': no files"):
        mx.export_meta_graph(training_graph(), checkpoint, tmp_path / "1", [SPEC], prune=False)


def test_tables_without_a_checkpoint(tmp_path):
    with pytest.raises(mx.InvalidArgumentError, match="want a checkpoint"):
        mx.export_meta_graph(training_graph(), None, tmp_path / "1", [SPEC])


def test_a_table_for_training_needs_its_optimizer_state(tmp_path, checkpoint):
    graph = training_graph()
    for node in graph.graph_def.node:
        if node.name == SINGLE:
            bare = EmbeddingHashTableConfig.FromString(node.attr["config"].s)
            bare.entry_config.segments[0].ClearField("comp_config")
            node.attr["config"].s = bare.SerializeToString()
    with pytest.raises(mx.InvalidArgumentError, match="is for training: without optimizer state"):
        mx.export_meta_graph(graph, checkpoint, tmp_path / "1", [SPEC], tables="serving")
    assert mx.export_meta_graph(graph, checkpoint, tmp_path / "1", [SPEC]).exists()


def test_shared_tables_are_not_made_smaller(tmp_path, checkpoint):
    with pytest.raises(mx.InvalidArgumentError, match="shared with the checkpoint cannot be made smaller"):
        export(tmp_path, checkpoint, shared_embedding=True, tables="serving")


def test_modes_that_do_not_exist(tmp_path, checkpoint):
    with pytest.raises(mx.InvalidArgumentError, match="tables: got 'move'"):
        export(tmp_path, checkpoint, tables="move")
    with pytest.raises(mx.InvalidArgumentError, match="tables: got 'move'"):
        mx.export_meta_graph(training_graph(), checkpoint, tmp_path / "1", [SPEC], tables="move")


# The plain writer.


def exported_again(path, folder, target, drop=()):
    graph, _ = graph_of(path)
    files = {name: os.path.join(path, "assets", name) for name in os.listdir(os.path.join(path, "assets"))}
    for name in drop:
        del files[name]
    return mx.write_saved_model(graph, target, os.path.join(path, "variables/variables"), assets=files)


def test_the_plain_writer_passes_whole_tables_through(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    again = exported_again(path, tmp_path, tmp_path / "again" / "1")
    assert sorted(os.listdir(again / "assets")) == sorted(os.listdir(os.path.join(path, "assets")))
    assert mx.check_saved_model(again).problems == []


def test_the_plain_writer_refuses_tables_without_values(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    with pytest.raises(mx.MismatchError, match="no file was given for it"):
        exported_again(path, tmp_path, tmp_path / "x", drop=[f"{SINGLE}-00000-of-00002"])
    graph, _ = graph_of(path)
    variables = os.path.join(path, "variables/variables")
    files = {name: os.path.join(path, "assets", name) for name in os.listdir(os.path.join(path, "assets"))}
    without = type(graph).FromString(graph.SerializeToString())
    packed = without.collection_def["saved_model_assets"].any_list.value
    names = [unpack_asset_file_def(one).filename for one in packed]
    gone = names.index(f"{SINGLE}-00001-of-00002")
    tensor = unpack_asset_file_def(packed[gone]).tensor_info.name
    del packed[gone]
    without.collection_def["asset_filepaths"].node_list.value.remove(tensor)
    del files[f"{SINGLE}-00001-of-00002"]
    with pytest.raises(mx.MismatchError, match=f"embedding table '{SINGLE}': its files are not there: .* shard 1"):
        mx.write_saved_model(without, tmp_path / "x", variables, assets=files)
    unrestored = training_graph()
    mx.add_main_op(unrestored)
    for name in ("slot", "b"):
        unrestored.signature_def["serving_default"].outputs[name].name = f"out_{name}:0"
        unrestored.signature_def["serving_default"].outputs[name].dtype = 1
    unrestored.signature_def["serving_default"].inputs["ids"].name = "ids:0"
    unrestored.signature_def["serving_default"].inputs["ids"].dtype = 9
    unrestored.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    with pytest.raises(mx.MismatchError, match="the main op does not restore it"):
        mx.write_saved_model(mx.add_main_op(unrestored), tmp_path / "x", checkpoint)
    assert not (tmp_path / "x").exists()


def test_a_model_that_lost_a_file_is_not_fit(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    os.unlink(os.path.join(path, "assets", f"{MULTI}.meta-00000-of-00002"))
    assert not mx.check_saved_model(path).ok


# The functions.


def test_the_asset_base_is_one(checkpoint):
    first, name = create_asset_base(training_graph())
    second, again = create_asset_base(first)
    assert name == again == "ASSET_BASE:0"
    assert first == second
    taken = training_graph()
    taken.graph_def.node.add(name="ASSET_BASE", op="NoOp")
    with pytest.raises(mx.InvalidArgumentError, match="a node 'ASSET_BASE' that is not fed"):
        create_asset_base(taken)


def test_functions_leave_their_argument_alone_and_add_what_they_say(checkpoint):
    given = training_graph(tables=("single",))
    before = given.SerializeToString(deterministic=True)
    with_assets = add_ckpt_to_assets(given, ["x", "y"])
    assert list(with_assets.collection_def["asset_filepaths"].node_list.value) == ["Const:0", "Const_1:0"]
    _, inputs, outputs = build_hashtable_assign_inputs_outputs(given)
    assert sorted(inputs) == [
        "MonolithHashTable_slot_id", "MonolithHashTable_slot_value",
        "MonolithHashTable_unused_id", "MonolithHashTable_unused_value",
    ]  # fmt: skip
    assert sorted(outputs) == ["MonolithHashTable_slot_result", "MonolithHashTable_unused_result"]
    assert add_multi_hashtable_assign_signatures(given).signature_def == given.signature_def
    mx.write_table(assets_of(checkpoint) / "MonolithHashTable_unused", dump(1, 5))
    restoring, names = create_hashtable_restore_ops(given, checkpoint)
    assert names == ["MonolithHashTableRestore", "MonolithHashTableRestore_1"]
    assert create_multi_hashtable_restore_ops(given, checkpoint)[1] == []
    mx.check_meta_graph(restoring)
    assert given.SerializeToString(deterministic=True) == before


def test_a_raw_assign_that_is_there_already():
    given = add_multi_hashtable_assign_signatures(training_graph())
    with pytest.raises(mx.InvalidArgumentError, match="has a signature 'MonolithMultiHashTable_/raw_assign' already"):
        add_multi_hashtable_assign_signatures(given)


# Hostile collections.


def changed(key, cls, change):
    graph = training_graph()
    values = graph.collection_def[key].bytes_list.value
    proto = cls.FromString(values[0])
    change(proto)
    values[0] = proto.SerializeToString()
    return graph


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: setattr(p, "shared_name", ""), "shared_name: got '', want a name"),
        (lambda p: setattr(p, "shared_name", "a\0b"), "want a name"),
        (lambda p: setattr(p, "shared_name", "a\nb"), "want a name"),
        (lambda p: setattr(p, "shared_name", "x" * 300), "a name of files of 300 bytes"),
        (lambda p: setattr(p, "shared_name", "../../etc/passwd"), "no files in .*, want ..-..-etc-passwd-SSSSS"),
        (lambda p: setattr(p, "shared_name", ".."), r"no files in .*, want \.\.-SSSSS-of-NNNNN"),
        (lambda p: p.extra_restore_names.append("a\0b"), "extra_restore_names: got"),
        (lambda p: setattr(p, "dim_size", 0), "got 0 dimensions, want at least 1"),
        (lambda p: setattr(p, "dim_size", -4), "got -4 dimensions"),
        (lambda p: setattr(p, "dim_size", 5), "got 5 dimensions, but its configuration has 4"),
        (lambda p: setattr(p, "table_tensor", "nothing:0"), "table_tensor 'nothing:0': got nothing in the graph"),
        (lambda p: setattr(p, "table_tensor", "ids:0"), "got output 0 of a Placeholder"),
        (lambda p: setattr(p, "table_tensor", f"{SINGLE}:1"), "got output 1 of a MonolithHashTable"),
        (lambda p: setattr(p, "table_tensor", "^x"), "table_tensor: name of a tensor"),
        (lambda p: setattr(p, "slot_expire_time_config", b"\xff"), "slot_expire_time_config: not a"),
        (lambda p: setattr(p, "shared_name", "MonolithHashTable_unused"), "'MonolithHashTable_unused' comes twice"),
    ],
)
def test_damaged_entries_of_single_tables(tmp_path, checkpoint, change, message):
    graph = changed("monolith_hash_tables", HashTableProto, change)
    with pytest.raises((mx.SavedModelError, mx.MismatchError), match=message):
        create_hashtable_restore_ops(graph, checkpoint)


def test_two_tables_that_were_saved_over_each_other(checkpoint):
    graph = changed("monolith_hash_tables", HashTableProto, lambda p: setattr(p, "shared_name", "x/y"))
    second = HashTableProto.FromString(graph.collection_def["monolith_hash_tables"].bytes_list.value[1])
    second.shared_name = "x-y"
    graph.collection_def["monolith_hash_tables"].bytes_list.value[1] = second.SerializeToString()
    with pytest.raises(mx.SavedModelError, match="the shared_names 'x/y' and 'x-y' have the same files"):
        create_hashtable_restore_ops(graph, checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: setattr(p, "shared_name", "../x"), "want one component without '/'"),
        (lambda p: p.table_names.append("c"), "got 3 table_names, 2 dims"),
        (lambda p: p.__setattr__("initializer_op", "ids"), "initializer_op 'ids': want an operation that makes it"),
        (lambda p: p.dims.__setitem__(0, 7), "table 'a': got 7 dimensions, but its configuration has 2"),
        (lambda p: p.table_names.__setitem__(0, "b"), "2 table_names, 2 dims, want as many, each once"),
        (lambda p: p.table_names.__setitem__(0, "aa"), r"got tables \['aa', 'b'\], but the graph makes \['a', 'b'\]"),
        (lambda p: setattr(p, "handle_tensor", f"{SINGLE}:0"), "got output 0 of a MonolithHashTable"),
    ],
)
def test_damaged_entries_of_many_tables(tmp_path, checkpoint, change, message):
    graph = changed("monolith_multi_hash_tables", MultiHashTableProto, change)
    with pytest.raises((mx.SavedModelError, mx.MismatchError), match=message):
        create_multi_hashtable_restore_ops(graph, checkpoint)


TRAINING = training_graph()


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_bytes_in_a_collection_are_a_table_or_an_error(data):
    key = data.draw(st.sampled_from(["monolith_hash_tables", "monolith_multi_hash_tables"]))
    graph = type(TRAINING).FromString(TRAINING.SerializeToString())
    values = graph.collection_def[key].bytes_list.value
    good = bytearray(values[0])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(good) - 1))
        good[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    values[0] = bytes(good)
    with contextlib.suppress(mx.SavedModelError, mx.MismatchError):
        for table in graph_tables(graph):
            assert all("/" not in prefix and prefix.isprintable() for prefix in table.prefixes)
            assert all(dim > 0 for dim in table.dims.values())
    with contextlib.suppress(mx.MexportError):
        mx.export_meta_graph(graph, "/nonexistent/model.ckpt-1", "/nonexistent/1", [SPEC])


def test_collections_that_are_no_messages(checkpoint):
    for key in ("monolith_hash_tables", "monolith_multi_hash_tables"):
        graph = training_graph()
        graph.collection_def[key].bytes_list.value.append(b"\xff\xff")
        with pytest.raises(mx.SavedModelError, match="element"):
            mx.export_meta_graph(graph, checkpoint, "/nonexistent/1", [SPEC])
        graph = training_graph()
        graph.collection_def[key].node_list.value.append("ids")
        with pytest.raises(mx.SavedModelError, match="want a bytes_list"):
            mx.write_saved_model(graph, "/nonexistent/1", checkpoint)


def test_a_users_asset_may_not_have_the_name_of_a_tables_file(tmp_path, checkpoint):
    (tmp_path / "other").mkdir()
    clash = tmp_path / "other" / f"{SINGLE}-00000-of-00002"
    clash.write_bytes(b"vocabulary")

    def with_asset(features, mode):
        graph = mx.get_default_graph()
        graph.add_to_collection("asset_filepaths", graph.const(str(clash)))
        return model_fn(features, mode)

    exporter = mx.StandaloneExporter(with_asset, tmp_path / "train", tmp_path / "models")
    with pytest.raises(mx.InvalidArgumentError, match="is the name of a table's file"):
        exporter.export_saved_model(receiver_fn, checkpoint)


# The command.


def test_the_command(tmp_path, checkpoint, capsys):
    meta = tmp_path / "model.meta"
    meta.write_bytes(training_graph().SerializeToString())
    common = ["export", "--meta-graph", str(meta), "--checkpoint", str(checkpoint), "--json"]
    common += ["--signature", "serving_default:ids=ids:0->slot=out_slot:0,b=out_b:0"]
    serving = ["--tables", "serving", "--table-shards", "1", "--table-pack", "--table-keep", "zero"]
    assert main([*common, "--output", str(tmp_path / "1"), *serving]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {one["files"]: one["files_written"] for one in printed["tables"]} == {SINGLE: 1, MULTI: 2}
    assert sum(table["rows_kept"] for one in printed["tables"] for table in one["tables"]) == 100
    assert main([*common, "--output", str(tmp_path / "2"), "--shared-embedding"]) == 0
    assert not (tmp_path / "2" / "assets").exists()
    capsys.readouterr()
    assert main([*common, "--output", str(tmp_path / "3"), "--table-pack"]) == 2
    assert "--tables serving" in capsys.readouterr().err
    shutil.rmtree(assets_of(checkpoint))
    assert main([*common, "--output", str(tmp_path / "3")]) == 1
    assert "the checkpoint has none" in capsys.readouterr().err
