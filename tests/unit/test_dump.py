"""What is told of exports, bundles and tables; all bytes are accounted for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.hash_table_pb2 import MultiHashTableMetadata
from mexport_pb._proto.saved_model_pb2 import SavedModel
from mexport_pb.messages import to_text
from tests.support.dumps import assert_sizes_add_up, bytes_on_disk, describe, flip, make_model, part_of, run
from tests.support.table_exports import MULTI, SINGLE
from tests.support.tables import make_table, random_ids

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*/*/export"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def copy(model, tmp_path):
    return Path(shutil.copytree(model, tmp_path / "model"))


def test_facts_of_an_export(model):
    facts = describe(model)
    assert (facts.kind, facts.name, facts.path, facts.ok) == ("SavedModel", "", str(model), True)
    (graph,) = facts.graphs
    assert graph.tags == ("serve",)
    assert [signature.name for signature in graph.signatures] == [
        "MonolithMultiHashTable_/raw_assign",
        "hashtable_assign",
        "serving_default",
    ]
    serving = graph.signatures[2]
    assert serving.method == mx.PREDICT_METHOD
    assert [(t.key, t.name, t.dtype, t.shape) for t in serving.inputs] == [("ids", "ids:0", "int64", [None])]
    assert [(t.key, t.shape) for t in serving.outputs] == [("a", [None, 2]), ("b", [None, 3]), ("slot", [None, 4])]
    assert graph.custom_ops["MonolithHashTableLookup"] == 1
    assert "Const" not in graph.custom_ops
    assert sum(graph.ops.values()) == graph.nodes == sum(graph.devices.values())
    assert (graph.main_op, graph.saver) == ("group_deps", "save/restore_all")
    assert {table.name: table.dims for table in graph.tables} == {MULTI: {"a": 2, "b": 3}, SINGLE: {SINGLE: 4}}
    (variable,) = facts.variables
    assert (variable.name, variable.dtype, variable.shape, variable.bytes) == ("global_step", "int64", (), 8)
    with mx.BundleReader(model / "variables" / "variables") as reader:
        assert variable.crc32c == reader.entry("global_step").crc32c
    assert [(a.name, a.bytes, a.tensors) for a in facts.assets if a.name == "notes.txt"] == [("notes.txt", 5, ())]
    assert facts.warmup is not None
    assert (facts.warmup.records, facts.warmup.kinds, facts.warmup.models) == (2, {"predict": 2}, {"ctr": 2})
    assert facts.warmup.signatures == {"serving_default": 2}


def test_facts_of_tables(model):
    tables = {(table.info.table or ""): table for table in describe(model).tables}
    assert {name: table.info.rows for name, table in tables.items()} == {"": 50, "a": 30, "b": 20}
    single = tables[""]
    dump = mx.read_table(model / "assets" / SINGLE)
    norms = np.linalg.norm(dump.values.astype(np.float64), axis=1)
    assert single.zero_rows == 1
    assert single.bad_rows == single.undated == 0
    assert single.max_norm == pytest.approx(norms.max())
    assert single.min_norm == pytest.approx(norms[norms > 0].min())
    assert single.mean_norm == pytest.approx(norms.mean())
    counts, _ = np.histogram(norms, single.norms.edges)
    assert counts.tolist() == list(single.norms.counts)
    assert sum(single.norms.counts) + single.zero_rows == 50
    assert sum(single.times.counts) == 50
    assert single.times.edges[0] <= 1_700_000_000 < single.times.edges[-1]
    assert single.parts == {
        "keys": 50 * 8,
        "values": 50 * 16,
        "optimizer": 50 * 16,
        "timestamps": 50 * 5,
        "record headers and checksums": 50 * 16,
        # A tag a key, value and timestamp; for the state 3 messages, and again a tag a float.
        "protobuf tags and lengths": 50 * (1 + 4 + 1 + 3 * 2 + 4),
    }
    # Of several tables in snappy files the records are explained as they are unpacked.
    records = sum(shard.bytes for shard in tables["a"].info.shards)
    assert sum(tables["a"].parts.values()) == records == 30 * 57


def test_sizes_of_an_export(model):
    facts = describe(model)
    assert_sizes_add_up(facts, bytes_on_disk(model))
    assert part_of(facts, "assets/", SINGLE, "values").bytes == 50 * 16
    assert part_of(facts, "variables/", "variables.data-00000-of-00001", "global_step").bytes == 8
    assert part_of(facts, "assets.extra/", "tf_serving_warmup_requests", "record headers and checksums").bytes == 32
    (graph,) = mx.read_saved_model(model).meta_graphs
    signatures = SavedModel().meta_graphs.add()
    for key, signature in graph.signature_def.items():
        signatures.signature_def[key].CopyFrom(signature)
    assert part_of(facts, "saved_model.pb", "signatures").bytes == signatures.ByteSize()
    constants = SavedModel().meta_graphs.add().graph_def
    constants.node.extend(node for node in graph.graph_def.node if node.op == "Const")
    assert part_of(facts, "saved_model.pb", "constants").bytes == constants.ByteSize()
    assert facts.graphs[0].constant_bytes == constants.ByteSize()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_sizes_of_golden_exports(path):
    facts = describe(path)
    # What one of them has for warmup requests are none.
    assert [Path(damage.where).name for damage in facts.damages] in ([], ["tf_serving_warmup_requests"])
    assert_sizes_add_up(facts, bytes_on_disk(path))


def test_without_values(copy):
    """Nothing but headers is read: damage in values is not seen."""
    flip(copy / "variables" / "variables.data-00000-of-00001", 0)
    flip(copy / "assets" / f"{SINGLE}-00000-of-00002", 40)
    facts = describe(copy, read_values=False)
    assert facts.ok
    assert not facts.variables_checked
    assert facts.tables == []
    assert_sizes_add_up(facts, bytes_on_disk(copy))
    assert len(describe(copy).damages) == 2


def test_a_version_base_and_a_version(model, tmp_path, capsys):
    base = tmp_path / "base"
    for version in ("3", "12", "7"):
        shutil.copytree(model, base / version)
    (base / "temp-13").mkdir()
    (base / "99").mkdir()
    assert describe(base).path == str(base / "12")
    assert describe(base, version=7).path == str(base / "7")
    captured = run(capsys, base, "--version", 8, status=2)
    assert "no version 8; there are: 3, 7, 12" in captured.err
    assert "is no folder of versions" in run(capsys, model, "--version", 8, status=2).err


def test_a_distributed_export(model, tmp_path, capsys):
    for name in ("entry/17", "ps_0/17", "ps_2/17_b", "ps_10/17", "dense_0/17", "entry/16", "ps_3/16"):
        shutil.copytree(model, tmp_path / name)
    facts = mx.describe(tmp_path)
    assert [one.name for one in facts] == ["entry", "dense_0", "ps_0", "ps_2", "ps_10"]
    assert facts[3].path == str(tmp_path / "ps_2" / "17_b")
    assert [one.name for one in mx.describe(tmp_path, version=16)] == ["entry", "ps_3"]
    assert f"ps_10: SavedModel {tmp_path / 'ps_10' / '17'}" in run(capsys, tmp_path)
    lines = [json.loads(line) for line in run(capsys, tmp_path, "--json").splitlines()]
    assert {line["model"] for line in lines} == {one.name for one in facts}


def test_a_pb_and_a_pbtxt(model, tmp_path):
    alone = describe(model / "saved_model.pb")
    assert alone.graphs == describe(model).graphs
    assert alone.variables == alone.tables == []
    assert_sizes_add_up(alone, (model / "saved_model.pb").stat().st_size)
    text = tmp_path / "m" / "saved_model.pbtxt"
    text.parent.mkdir()
    text.write_text(to_text(mx.read_saved_model(model)))
    for path in (text, text.parent):
        facts = describe(path)
        assert [g.signatures for g in facts.graphs] == [g.signatures for g in alone.graphs]
        assert facts.graphs[0].constant_bytes is None
        assert facts.sizes.bytes == text.stat().st_size


def test_a_chunked_model_is_refused(tmp_path, capsys):
    (tmp_path / "saved_model.cpb").write_bytes(b"riegeli")
    for path in (tmp_path, tmp_path / "saved_model.cpb"):
        captured = run(capsys, path, status=1)
        assert "chunked SavedModels (.cpb) are not read" in captured.err


def test_a_bundle(model, tmp_path, capsys):
    prefix = tmp_path / "model.ckpt-7"
    with mx.BundleWriter(prefix) as bundle:
        bundle.add("w", np.arange(6, dtype=np.float32).reshape(2, 3))
        bundle.add("words", np.array([b"a", b"bc"], object))
        bundle.add_slice("p", [4, 2], [(0, 1), (0, 2)], np.ones((1, 2), np.int32))
        bundle.add_slice("p", [4, 2], [(1, 3), (0, 2)], np.ones((3, 2), np.int32))
    for path in (prefix, f"{prefix}.index", tmp_path):
        facts = describe(path)
        assert (facts.kind, facts.path) == ("bundle", str(prefix))
        assert [(v.name, v.dtype, v.shape, v.parts) for v in facts.variables] == [
            ("p", "int32", (4, 2), 2),
            ("w", "float32", (2, 3), 1),
            ("words", "string", (2,), 1),
        ]
        assert facts.variables[0].bytes == 32
        assert_sizes_add_up(facts, bytes_on_disk(tmp_path))
    assert "p         int32    [4, 2]     32  -         0 in 2 parts" in run(capsys, prefix)


@pytest.mark.parametrize("compression", [None, "snappy", "zlib"])
def test_tables_alone(compression, tmp_path):
    kinds = ("ftrl", "batch_softmax", "dynamic_wd_adagrad")
    dump = make_table(random_ids(500), 6, kinds, timestamps=[0, 2**40, -1, *range(497)])
    mx.write_table(tmp_path / "t", dump, 3, compression=compression)
    for path in (tmp_path / "t", tmp_path / "t-00001-of-00003", tmp_path):
        facts = describe(path)
        assert facts.kind == "tables"
        assert facts.tables[0].info.rows == 500
        assert facts.tables[0].undated == 2
        assert_sizes_add_up(facts, bytes_on_disk(tmp_path))
    parts = facts.tables[0].parts
    if compression is not None:
        assert parts is None
        return
    # Seen from the other side: the tags are what the records have besides the contents.
    tags = 1 + 6 + 1 + 2 + sum(2 + n for n in (2 + 2, 2 + 1, 2 + 3))
    assert parts["protobuf tags and lengths"] >= 500 * tags
    assert parts["timestamps"] == sum(10 if t < 0 else max(1, -(-int(t).bit_length() // 7)) for t in dump.timestamps)


def test_a_dump_of_several_tables(tmp_path, capsys):
    mx.write_multi_table(tmp_path / "m", {"x": make_table([5]), "y": make_table([6, 7])}, 2)
    facts = describe(tmp_path / "m")
    assert {one.info.table: one.info.rows for one in facts.tables} == {"x": 1, "y": 2}
    assert_sizes_add_up(facts, bytes_on_disk(tmp_path))
    assert "Table m: y  2 rows, dim 4, snappy" in run(capsys, tmp_path / "m")


def test_odd_floats_and_no_rows(tmp_path):
    values = np.array([[np.inf], [np.nan], [0], [3e38], [1e-45]], np.float32)
    dump = mx.TableDump(np.arange(5), values, np.array([0, 5, -(2**63), 2**63 - 1, 2**40]))
    mx.write_table(tmp_path / "t", dump, 1)
    (facts,) = describe(tmp_path / "t").tables
    assert (facts.bad_rows, facts.zero_rows, sum(facts.norms.counts)) == (2, 1, 2)
    assert facts.max_norm == pytest.approx(3e38)
    assert len(facts.times.counts) <= 512
    assert sum(facts.times.counts) == 4
    mx.write_table(tmp_path / "e", make_table([]), 2)
    (facts,) = describe(tmp_path / "e").tables
    assert (facts.mean_norm, facts.norms.counts, facts.info.rows) == (None, (), 0)


def test_nothing_there(tmp_path, capsys):
    assert "no SavedModel, bundle or table dump" in run(capsys, tmp_path / "x" / "y", status=1).err
    assert "no table dump of this name" in run(capsys, tmp_path / "y", status=1).err
    assert "no SavedModel, version, bundle or table dump" in run(capsys, tmp_path, status=1).err


def test_infos_of_several_tables_are_those_of_each(tmp_path):
    """In one pass over compressed files, and of each table unpacked; not sorted, ids twice, files without entries."""
    rng = np.random.default_rng(0)
    tables = {f"t{i}": make_table(random_ids(300 * i, seed=i), 3 + i, ("ftrl", "sgd")[: i % 3], i) for i in range(4)}
    mx.write_multi_table(tmp_path / "m", tables, 3)
    for path in sorted(tmp_path.glob("m-*")):
        meta = path.with_name(path.name.replace("m-", "m.meta-"))
        records = list(mx.read_records(path, compression="snappy"))
        parts = [MultiHashTableMetadata.FromString(one) for one in mx.read_records(meta)]
        shuffled = []
        for part in parts:
            own, records = records[: part.num_entries], records[part.num_entries :]
            shuffled += [own[i] for i in rng.permutation(len(own))] + own[:5]
            part.num_entries += len(own[:5])
        mx.write_records(path, shuffled, compression="snappy")
        mx.write_records(meta, [part.SerializeToString() for part in parts])
    infos = list(mx.table_infos([tmp_path / "m"]))
    assert infos == [info for name in sorted(tables) for info in mx.table_infos([tmp_path / "m"], table=name)]
    assert [info.duplicates for info in infos] == [0, 15, 15, 15]
