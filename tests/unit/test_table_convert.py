"""Dumps to .npz and Parquet and back; what such files may not be."""

import io
import json
import os
import shutil
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import mexport_pb as mx
from mexport_pb.table import iter_entries, sorting
from tests.support.tables import STATES, assert_equal, files_of, make_table, random_ids

SUFFIXES = [".npz", ".parquet"]

pytestmark = pytest.mark.skipif(
    os.environ.get("MEXPORT_SANITIZED") == "tsan", reason="ThreadSanitizer does not know pyarrow's locks"
)


def round_trip(dump, folder, suffix, shards=3):
    """Dump, file of columns, dump: the bytes of both dumps."""
    mx.write_table(folder / "a" / "t", dump, shards)
    assert mx.convert_table(folder / "a" / "t", folder / f"t{suffix}") == len(dump)
    assert mx.convert_table(folder / f"t{suffix}", folder / "b" / "t", num_shards=shards) == len(dump)
    return files_of(folder / "a"), files_of(folder / "b")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("n", "dim", "kinds"),
    [
        (5000, 4, ("ftrl", "sgd", "adam")),
        (100, 8, tuple(STATES)),
        (100, 3, ()),
        (10, 3, ("sgd",)),
        (10, 0, ("batch_softmax",)),
        (1, 1, ("sgd", "group_adagrad", "sgd")),
        (0, 3, ()),
    ],
)
def test_nothing_is_lost(suffix, n, dim, kinds, tmp_path):
    before, after = round_trip(make_table(random_ids(n), dim, kinds), tmp_path, suffix)
    assert before == after
    assert len(before) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=20),
    dim=st.integers(6, 9),
    kinds=st.lists(st.sampled_from(sorted(STATES)), max_size=3),
    shards=st.integers(1, 4),
)
def test_any_table_comes_back(suffix, ids, dim, kinds, shards, tmp_path):
    folder = tmp_path / "x"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, after = round_trip(make_table(ids, dim, kinds), folder, suffix, shards)
    assert before == after


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_pieces(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "_MAX_CHUNK_ROWS", 100)
    before, after = round_trip(make_table(random_ids(1050)), tmp_path, suffix)
    assert before == after


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_table_gives_the_same_file(suffix, tmp_path):
    mx.write_table(tmp_path / "t", make_table(random_ids(500)), 2)
    for name in ("a", "b"):
        mx.convert_table(tmp_path / "t", tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_numpy_reads_the_npz(tmp_path):
    dump = make_table(random_ids(50))
    mx.write_table(tmp_path / "t", dump, 1)
    mx.convert_table(tmp_path / "t", tmp_path / "t.npz")
    want = mx.read_table(tmp_path / "t")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        state = {f"opt_2_adam_{field}" for field in ("m", "v", "beta1_power", "beta2_power")}
        names = {"ids", "values", "timestamps", "kinds", "opt_0_ftrl_zero", "opt_0_ftrl_norm", *state}
        assert set(arrays) == names
        np.testing.assert_array_equal(arrays["ids"], want.ids)
        assert arrays["values"].tobytes() == want.values.tobytes()
        assert arrays["opt_2_adam_beta1_power"].tobytes() == want.opt[2].columns["beta1_power"].tobytes()
        assert arrays["kinds"].tolist() == ["ftrl", "sgd", "adam"]


def test_pyarrow_reads_the_parquet(tmp_path):
    dump = make_table(random_ids(50))
    mx.write_table(tmp_path / "t", dump, 1)
    mx.convert_table(tmp_path / "t", tmp_path / "t.parquet")
    want = mx.read_table(tmp_path / "t")
    table = pq.read_table(tmp_path / "t.parquet")
    lists = pa.list_(pa.field("element", pa.float32(), nullable=False), 4)
    assert table.schema.field("id").type == pa.int64()
    assert table.schema.field("values").type == lists
    assert table.schema.field("opt_2_adam_beta1_power").type == pa.float32()
    assert not any(field.nullable for field in table.schema)
    assert table.column("id").to_pylist() == want.ids.tolist()
    values = table.column("values").combine_chunks().flatten().to_numpy()
    assert values.tobytes() == want.values.tobytes()


def test_numpys_own_npz_becomes_a_dump(tmp_path):
    dump = make_table(random_ids(50), kinds=("adagrad",))
    arrays = {"ids": dump.ids.view(np.uint64), "values": dump.values, "timestamps": dump.timestamps}
    for name, save in (("a", np.savez), ("b", np.savez_compressed)):
        save(tmp_path / f"{name}.npz", opt_0_adagrad_norm=dump.opt[0].columns["norm"], **arrays)
        mx.convert_table(tmp_path / f"{name}.npz", tmp_path / name)
        assert_equal(mx.read_table(tmp_path / name), dump)


def test_parquet_of_other_writers_becomes_a_dump(tmp_path):
    dump = make_table(random_ids(50), kinds=("adagrad", "group_adagrad"))
    columns = {
        "values": pa.array(dump.values.view(np.float32).tolist(), pa.list_(pa.float32())),
        "opt_1_group_adagrad_grad_square_sum": dump.opt[1].columns["grad_square_sum"],
        "id": dump.ids.view(np.uint64),
        "opt_0_adagrad_norm": pa.array(dump.opt[0].columns["norm"].tolist(), pa.large_list(pa.float32())),
        "timestamp": dump.timestamps,
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=7)
    mx.convert_table(tmp_path / "t.parquet", tmp_path / "t")
    got = mx.read_table(tmp_path / "t")
    order = np.argsort(dump.ids.view(np.uint64))
    np.testing.assert_array_equal(got.values, dump.values[order])
    np.testing.assert_array_equal(got.opt[0].columns["norm"], dump.opt[0].columns["norm"][order])
    np.testing.assert_array_equal(got.ids, dump.ids[order])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_entries_of_files_of_columns(suffix, tmp_path):
    dump = make_table(random_ids(50))
    mx.write_table(tmp_path / "t", dump, 1)
    mx.convert_table(tmp_path / "t", tmp_path / f"t{suffix}")
    chunks = list(iter_entries(tmp_path / f"t{suffix}", rows_per_chunk=20))
    assert [len(chunk) for chunk in chunks] == [20, 20, 10]
    assert np.concatenate([chunk.ids for chunk in chunks]).tolist() == mx.read_table(tmp_path / "t").ids.tolist()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_replaced_without_force(suffix, tmp_path):
    mx.write_table(tmp_path / "t", make_table([1, 2]), 1)
    target = tmp_path / f"t{suffix}"
    target.write_bytes(b"mine")
    with pytest.raises(mx.InvalidArgumentError, match="is there already"):
        mx.convert_table(tmp_path / "t", target)
    assert target.read_bytes() == b"mine"
    mx.convert_table(tmp_path / "t", target, force=True)
    before = files_of(tmp_path)
    with pytest.raises(mx.InvalidArgumentError, match="is there already"):
        mx.convert_table(target, tmp_path / "t")
    assert files_of(tmp_path) == before
    assert mx.convert_table(target, tmp_path / "t", num_shards=2, force=True) == 2
    assert sorted(files_of(tmp_path)) == ["t-00000-of-00002", "t-00001-of-00002", target.name]


@pytest.mark.parametrize("target", ["u.npz", "u.parquet", "u"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_nothing_half_written_is_left(target, stop, tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make_table(random_ids(500)), 1)
    monkeypatch.setattr(sorting, "_MAX_CHUNK_ROWS", 100)
    before = files_of(tmp_path)
    count = iter(range(100))
    of = mx.table.layout.TableLayout.of

    def stopping(dump):
        if next(count) == 3:
            raise stop
        return of(dump)

    monkeypatch.setattr("mexport_pb.table.layout.TableLayout.of", stopping)
    with pytest.raises(stop):
        mx.convert_table(tmp_path / "t", tmp_path / target)
    assert files_of(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(before)


def damage(path, offset=40):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("target", ["u.npz", "u.parquet", "u"])
def test_damaged_dump(target, tmp_path):
    mx.write_table(tmp_path / "t", make_table(random_ids(500)), 2)
    damage(tmp_path / "t-00001-of-00002", offset=-100)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(mx.RecordError, match=r"t-00001-of-00002: offset \d+"):
        mx.convert_table(tmp_path / "t", tmp_path / target)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


GOOD = {
    "ids": np.arange(3),
    "values": np.zeros((3, 4), np.float32),
    "timestamps": np.arange(3),
    "opt_0_adagrad_norm": np.zeros((3, 4), np.float32),
    "opt_1_sgd_x": None,
}
del GOOD["opt_1_sgd_x"]

NPZ = [
    ({"ids": None}, "array 'ids' is missing"),
    ({"values": None}, "array 'values' is missing"),
    ({"timestamps": None}, "array 'timestamps' is missing"),
    ({"ids": np.arange(3.0)}, "'ids': got float64 values, want int64"),
    ({"ids": np.array([1, None, 2], object)}, "'ids': got Python objects"),
    ({"values": np.array([[1], [None], [{}]], object)}, "'values': got Python objects"),
    ({"kinds": np.array(["adagrad"], object)}, "'kinds': got Python objects"),
    ({"values": np.zeros((3, 4))}, "'values': got float64 values, want float32"),
    ({"values": np.zeros(3, np.float32)}, r"'values': got shape \(3,\), want 2 dimensions"),
    ({"values": np.zeros((4, 3), np.float32).T}, "Fortran order"),
    ({"values": np.zeros((2, 4), np.float32)}, "'values': got 2 rows, want 3 as ids"),
    ({"timestamps": np.arange(3, dtype=np.int32)}, "'timestamps': got int32 values, want int64"),
    ({"ids": np.arange(3, dtype=">i8")}, "'ids': got >i8 values, want int64"),
    ({"ids": np.zeros((3, 1), np.int64)}, "want 1 dimensions"),
    ({"opt_0_adagrad_norm": np.zeros((3, 5), np.float32)}, "with an optimizer state: got 5, want at most 4"),
    ({"opt_0_adagrad_norm": np.zeros(3, np.float32)}, "got one value an entry"),
    ({"opt_0_adagrad_norm": np.zeros((3, 4), np.int64)}, "got int64 values, want float32"),
    ({"opt_0_ftrl_zero": np.zeros((3, 4), np.float32)}, "segment 0 is adagrad"),
    ({"opt_2_adagrad_norm": np.zeros((3, 4), np.float32)}, "no column of segment 1"),
    ({"opt_1_ftrl_zero": np.zeros((3, 1), np.float32)}, "'opt_1_ftrl_norm' is missing"),
    ({"opt_0_nobody_norm": np.zeros((3, 4), np.float32)}, "no column of a table"),
    ({"extra": np.zeros(3)}, "'extra': no column of a table"),
    ({"kinds": np.array(["adagrad", "nobody"])}, "optimizer of segment 1: got 'nobody'"),
    ({"kinds": np.array(["sgd"])}, "segment 0: got columns of adagrad, want those of sgd"),
    ({"kinds": np.arange(3)}, "want names of optimizers"),
    ({"ids": np.zeros(3, np.int64)}, "id 0 comes twice"),
]


@pytest.mark.parametrize(("change", "message"), NPZ, ids=[message for _, message in NPZ])
def test_npz_that_is_no_table(change, message, tmp_path):
    arrays = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(mx.TableError, match=message) as caught:
        mx.convert_table(tmp_path / "t.npz", tmp_path / "u")
    assert str(tmp_path / "t.npz") in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-loaded",)


def test_pickles_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", **{**GOOD, "kinds": np.array([Bomb()], object)})
    with pytest.raises(mx.TableError, match="Python objects"):
        mx.convert_table("t.npz", "u")
    assert os.listdir(".") == ["t.npz"]


def npy(array, shape=None, descr=None):
    header = {
        "descr": descr or np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape if shape is None else shape,
    }
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("ids", npy(GOOD["ids"], (2**62,)), "rows, want"),
        ("ids", npy(GOOD["ids"], (-1,)), "got shape"),
        ("ids", npy(GOOD["ids"], (2,)), "rows, want 2"),
        ("values", npy(GOOD["values"], (3, 2**40)), "bytes an entry"),
        ("values", npy(GOOD["values"], (3, 5)), "the data ends 12 bytes early"),
        ("values", npy(GOOD["values"]) + b"more", "more data than its shape says"),
        ("values", b"", "array 'values'"),
        ("values", b"\x93NUMPY\x09\x00", "version"),
        ("values", b"\x93NUMPY\x01\x00\xff\xff{", "array 'values'"),
        ("values", npy(GOOD["values"]).replace(b"(3, 4)", b"(f())"), "array 'values'"),
        ("kinds", npy(np.array(["sgd"]), (2**50,)), "want names of optimizers"),
    ],
)
def test_npz_that_lies(member, content, message, tmp_path):
    members = {name: npy(array) for name, array in GOOD.items()}
    members[member] = content
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(mx.TableError, match=message):
        mx.convert_table(tmp_path / "t.npz", tmp_path / "u")


def test_npz_with_a_member_that_is_no_array(tmp_path):
    np.savez(tmp_path / "t.npz", **GOOD)
    with zipfile.ZipFile(tmp_path / "t.npz", "a") as archive:
        archive.writestr("readme", "a table")
    with pytest.raises(mx.TableError, match=r"t.npz: member 'readme': is no array"):
        mx.convert_table(tmp_path / "t.npz", tmp_path / "u")


def test_npz_with_damaged_bytes(tmp_path):
    """Whatever byte is hit: an error of ours, or one that does not matter."""
    np.savez(tmp_path / "t.npz", **GOOD)
    data = (tmp_path / "t.npz").read_bytes()
    refused = 0
    for offset in range(0, len(data), 7):
        changed = bytearray(data)
        changed[offset] ^= 0x41
        (tmp_path / "x.npz").write_bytes(changed)
        try:
            mx.convert_table(tmp_path / "x.npz", tmp_path / "u", force=True)
        except mx.TableError:
            refused += 1
    assert refused > len(data) // 7 // 3
    for size in (0, 1, 100, len(data) - 1):
        (tmp_path / "x.npz").write_bytes(data[:size])
        with pytest.raises(mx.TableError):
            mx.convert_table(tmp_path / "x.npz", tmp_path / "v")


def lists(rows, kind=None):
    return pa.array(rows, kind or pa.list_(pa.float32()))


PARQUET = [
    ({"id": None}, "column 'id' is missing"),
    ({"timestamp": None}, "column 'timestamp' is missing"),
    ({"values": None}, "column 'values' is missing"),
    ({"id": pa.array([1, None, 2])}, "column 'id': got nulls"),
    ({"timestamp": pa.array([None, 1, 2])}, "column 'timestamp': got nulls"),
    ({"id": pa.array(["a", "b", "c"])}, "column 'id': got string, want int64"),
    ({"id": pa.array([1.0, 2.0, 3.0])}, "column 'id': got double, want int64"),
    ({"timestamp": pa.array([1, 2, 3], pa.int32())}, "column 'timestamp': got int32, want int64"),
    ({"values": pa.array([1.0, 2.0, 3.0], pa.float32())}, "column 'values': got float, want lists of float"),
    ({"values": lists([[1.0]] * 3, pa.list_(pa.float64()))}, "got lists of double, want float"),
    ({"values": lists([[1.0], [1.0, 2.0], [1.0]])}, "got 2 values an entry, want 1"),
    ({"values": lists([[1.0], None, [1.0]])}, "column 'values': got nulls"),
    ({"values": lists([[1.0], [None], [1.0]])}, "column 'values': got nulls in a list"),
    ({"values": lists([None, [1.0], [1.0]])}, "column 'values': got nulls"),
    ({"opt_0_adagrad_norm": pa.array([1.0, 2, 3], pa.float32())}, "got one value an entry"),
    ({"opt_0_group_adagrad_grad_square_sum": pa.array([1.0, 2, 3])}, "got double, want float"),
    ({"opt_0_batch_softmax_global_step": pa.array([1.0, 2, 3])}, "got double, want int64"),
    ({"opt_1_sgd_norm": pa.array([1.0, 2, 3])}, "no column of a table"),
    ({"extra": pa.array([1, 2, 3])}, "'extra': no column of a table"),
    ({"id": pa.array([1, 2, 1])}, "id 1 comes twice"),
]


@pytest.mark.parametrize(("change", "message"), PARQUET, ids=[message for _, message in PARQUET])
def test_parquet_that_is_no_table(change, message, tmp_path):
    columns = {"id": pa.array([1, 2, 3]), "values": lists([[1.0]] * 3), "timestamp": pa.array([1, 2, 3])}
    columns = {name: column for name, column in {**columns, **change}.items() if column is not None}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(mx.TableError, match=message) as caught:
        mx.convert_table(tmp_path / "t.parquet", tmp_path / "u")
    assert str(tmp_path / "t.parquet") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"version": 1, "dim": -1, "kinds": [], "empty": []}).encode(),
        json.dumps({"version": 1, "dim": 2**40, "kinds": [], "empty": []}).encode(),
        json.dumps({"version": 2, "dim": 1, "kinds": [], "empty": []}).encode(),
        json.dumps({"version": 1, "dim": 1, "kinds": [1], "empty": []}).encode(),
        json.dumps({"version": 1, "dim": 2, "kinds": [], "empty": []}).encode(),
    ],
)
def test_parquet_with_other_metadata(said, tmp_path):
    columns = {"id": pa.array([1]), "values": lists([[1.0]]), "timestamp": pa.array([1])}
    table = pa.table(columns).replace_schema_metadata({b"mexport_pb.table": said})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(mx.TableError, match=r"metadata"):
        mx.convert_table(tmp_path / "t.parquet", tmp_path / "u")


def test_parquet_with_another_float(tmp_path):
    dump = make_table([1, 2, 3])
    mx.write_table(tmp_path / "t", dump, 1)
    mx.convert_table(tmp_path / "t", tmp_path / "t.parquet")
    damage(tmp_path / "t.parquet", (tmp_path / "t.parquet").read_bytes().index(dump.values[1].tobytes()))
    with pytest.raises(mx.TableError, match=r"t.parquet: damaged Parquet"):
        mx.convert_table(tmp_path / "t.parquet", tmp_path / "u")


def test_parquet_with_damaged_bytes(tmp_path):
    mx.write_table(tmp_path / "t", make_table([1, 2, 3], kinds=("adagrad",)), 1)
    mx.convert_table(tmp_path / "t", tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    messages = []
    for offset in range(0, len(data), 5):
        changed = bytearray(data)
        changed[offset] ^= 0x41
        (tmp_path / "x.parquet").write_bytes(changed)
        try:
            mx.convert_table(tmp_path / "x.parquet", tmp_path / "u", force=True)
        except mx.TableError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not [message for message in messages if "\n" in message]
    for size in (0, 4, 100, len(data) - 1):
        (tmp_path / "x.parquet").write_bytes(data[:size])
        with pytest.raises(mx.TableError):
            mx.convert_table(tmp_path / "x.parquet", tmp_path / "v")


def test_without_pyarrow(tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make_table([1]), 1)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(mx.UnsupportedError, match=r"pip install 'mexport-pb\[parquet\]'"):
        mx.convert_table(tmp_path / "t", tmp_path / "t.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["t-00000-of-00001"]
