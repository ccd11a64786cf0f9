"""Which parameter server holds an id."""

import re
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.table.partition import ps_of, ps_of_tensor

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "partition.md"
EDGES = [0, 1, 7, 2**54, 511 << 54, 2**63 - 1, -(2**63), -(2**63) + 1, -(1 << 54), -6, -1]


def rows_of_the_page():
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"-?\d+", cells[0]):
            yield [int(cell) for cell in cells]


def test_the_worked_examples():
    rows = list(rows_of_the_page())
    assert len(rows) == 6
    for signed, unsigned, *by_count, other_rule in rows:
        assert signed % 2**64 == unsigned
        for num_ps, want in zip((2, 3, 5, 7), by_count, strict=True):
            assert ps_of([signed], num_ps).tolist() == [want]
            assert ps_of(np.array([unsigned], np.uint64), num_ps).tolist() == [want]
        wrapped = 2**64 % 5 if signed < 0 else 0
        assert signed % 5 == other_rule == (by_count[2] - wrapped) % 5


@pytest.mark.parametrize("num_ps", [1, 2, 3, 5, 8, 1000, 2**31 - 1])
def test_signed_and_unsigned_ids_agree(num_ps):
    rng = np.random.default_rng(num_ps)
    ids = np.concatenate([np.array(EDGES, np.int64), rng.integers(-(2**63), 2**63, 1000)])
    want = [int(one) % 2**64 % num_ps for one in ids]
    assert ps_of(ids, num_ps).tolist() == want == ps_of(ids.view(np.uint64), num_ps).tolist()
    assert ps_of(ids.astype(">i8"), num_ps).tolist() == want
    assert ps_of(np.repeat(ids, 2)[::2], num_ps).tolist() == want


def test_shape_and_type_of_the_result():
    assert ps_of(np.zeros((2, 3), np.int64), 5).shape == (2, 3)
    assert ps_of([], 5).shape == (0,)
    assert ps_of([1], 5).dtype == np.int32


@pytest.mark.parametrize("num_ps", [0, -1, 2**31, 2.0, True, "5"])
def test_no_number_of_servers(num_ps):
    with pytest.raises(mx.InvalidArgumentError, match=r"num_ps: got .*, want 1 to 2147483647"):
        ps_of([1], num_ps)
    with pytest.raises(mx.InvalidArgumentError, match="num_ps"):
        ps_of_tensor(mx.GraphBuilder(), None, num_ps)


@pytest.mark.parametrize("ids", [[1.5], [True], [2**63, -1], np.array([1], np.int32), ["a"]])
def test_no_ids(ids):
    with pytest.raises(mx.InvalidArgumentError, match=r"ids: got .*, want int64 or uint64"):
        ps_of(ids, 2)


def test_tables_are_parted_by_the_same_rule(tmp_path):
    ids = np.array(EDGES, np.int64)
    n = len(ids)
    mx.write_table(tmp_path / "t", mx.TableDump(ids, np.ones((n, 1), np.float32), np.zeros(n, np.int64)))
    counts = mx.partition_table(tmp_path / "t", tmp_path / "parts", 5)
    for i, count in enumerate(counts):
        part = mx.read_table(tmp_path / f"parts_{i}").ids
        assert set(part.tolist()) == set(ids[ps_of(ids, 5) == i].tolist())
        assert len(part) == count


def test_the_nodes_of_a_graph():
    graph = mx.GraphBuilder()
    ids = graph.placeholder("int64", [None, 2], name="ids")
    ps = ps_of_tensor(graph, ids, 5)
    assert [op.type for op in graph.operations] == ["Placeholder", "Bitcast", "Const", "FloorMod", "Cast"]
    assert ps.dtype == mx.GraphBuilder().const(1, "int32").dtype
    assert ps.shape == [None, 2]
