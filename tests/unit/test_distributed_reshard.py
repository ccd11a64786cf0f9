"""Distributed exports for another number of parameter servers than the checkpoint has; no TensorFlow."""

import os

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.table.layout import take
from mexport_pb.table.partition import ps_of
from tests.support.distributed_model import add_server, make_checkpoint, receiver_fn
from tests.support.table_exports import DIMS, dump
from tests.support.tables import files_of

OLD = 5
IDS = np.concatenate([np.arange(40), -np.arange(1, 20), [2**63 - 1, -(2**63)]])


def of_ps(table, ps, num_ps):
    return take(table, np.flatnonzero(ps_of(table.ids, num_ps) == ps))


def with_ids(dim):
    table = dump(len(IDS), dim)
    return mx.TableDump(IDS, table.values, table.timestamps, table.opt)


def write_tables(folder, num_ps, shards=2):
    for ps in range(num_ps):
        mx.write_table(folder / f"MonolithHashTable_{ps}", of_ps(with_ids(4), ps, num_ps), shards)
        tables = {name: of_ps(with_ids(dim), ps, num_ps) for name, dim in DIMS.items()}
        mx.write_multi_table(folder / f"MonolithMultiHashTable_{ps}", tables, shards)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    prefix = make_checkpoint(folder, servers=0)
    write_tables(prefix.parent / f"{prefix.name}.assets", OLD)
    return folder / "train"


def model_fn(features, mode):
    ctx = mx.get_current_export_ctx()
    for i in range(ctx.num_ps or OLD):
        add_server(ctx.sub_graph(f"ps_{i}"), i)
    return mx.EstimatorSpec(mode, {"y": mx.get_default_graph().identity(features["x"], name="y")})


def export(train, base, function=model_fn, **options):
    exporter = mx.DistributedExporter(function, train, base, global_step_as_timestamp=True, **options)
    return {name: os.fsdecode(path) for name, path in exporter.export_saved_model(receiver_fn).items()}


@pytest.mark.parametrize("num_ps", [1, 3, 7])
def test_rows_are_with_the_servers_that_the_model_asks(train, tmp_path, num_ps):
    found = export(train, tmp_path / "models", num_ps=num_ps)
    assert sorted(found) == ["entry", *(f"ps_{i}" for i in range(num_ps))]
    write_tables(tmp_path / "want", num_ps)
    want = files_of(tmp_path / "want")
    got = {}
    for ps in range(num_ps):
        own = files_of(tmp_path / "models" / f"ps_{ps}" / "7" / "assets")
        assert all(f"Table_{ps}-" in name or f"Table_{ps}.meta-" in name for name in own)
        got |= own
        assert mx.check_saved_model(found[f"ps_{ps}"]).ok
    assert got == want
    assert sorted(os.listdir(tmp_path / "models")) == sorted(found)
    assert all(os.stat(path).st_nlink == 1 for path in (tmp_path / "models").rglob("*-of-*"))


@pytest.mark.parametrize("num_ps", [None, OLD])
def test_as_many_servers_as_the_checkpoint_has(train, tmp_path, num_ps):
    export(train, tmp_path / "models", num_ps=num_ps)
    for ps in range(OLD):
        for name, data in files_of(tmp_path / "models" / f"ps_{ps}" / "7" / "assets").items():
            assert (train / "model.ckpt-7.assets" / name).read_bytes() == data


def test_made_smaller_for_serving(train, tmp_path):
    export(train, tmp_path / "models", num_ps=2, tables=mx.ServingTables(drop_zero_rows=False, drop_expired=False))
    for ps in range(2):
        table = mx.read_table(tmp_path / "models" / f"ps_{ps}" / "7" / "assets" / f"MonolithHashTable_{ps}")
        assert sorted(table.ids) == sorted(of_ps(with_ids(4), ps, 2).ids)
        assert table.opt == ()


def test_another_number_of_sub_graphs(train, tmp_path):
    def five(features, mode):
        ctx = mx.get_current_export_ctx()
        for i in range(OLD):
            add_server(ctx.sub_graph(f"ps_{i}"), i)
        return mx.EstimatorSpec(mode, {"y": mx.get_default_graph().identity(features["x"], name="y")})

    with pytest.raises(mx.InvalidArgumentError, match="num_ps is 3: want sub-graphs ps_0 and so on, so many; got ps_0"):
        export(train, tmp_path / "models", five, num_ps=3)
    with pytest.raises(mx.InvalidArgumentError, match="num_ps is 2147483647: want sub-graphs"):
        export(train, tmp_path / "models", five, num_ps=2**31 - 1)  # does not count so far
    with pytest.raises(mx.InvalidArgumentError, match="num_ps: got 0"):
        export(train, tmp_path / "models", num_ps=0)
    assert not (tmp_path / "models").exists()


def test_shared_tables_are_refused(train, tmp_path):
    with pytest.raises(mx.InvalidArgumentError, match="HashTable_0': is shared with the checkpoint"):
        export(train, tmp_path / "models", num_ps=3, shared_embedding=True)
    assert not (tmp_path / "models").exists()


def test_scratch_space_of_a_killed_export_goes(train, tmp_path):
    left = tmp_path / "models" / ".reshard" / "temp-tables-1-0123456789abcdef"
    left.mkdir(parents=True)
    export(train, tmp_path / "models", num_ps=3)
    assert sorted(os.listdir(tmp_path / "models")) == [".reshard", "entry", "ps_0", "ps_1", "ps_2"]
    assert not os.listdir(tmp_path / "models" / ".reshard")
