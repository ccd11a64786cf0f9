"""``mexport table``: info and head, and every option of the rest."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.cli import main
from mexport_pb.record import RecordReader, write_records
from mexport_pb.table.layout import concatenate, take
from tests.support.tables import assert_equal, files_of, make_table, random_ids


@pytest.fixture
def dump(tmp_path):
    slots = np.arange(300) % 3 + 7
    ids = (slots.astype(np.uint64) << np.uint64(48)) + np.arange(300, dtype=np.uint64)
    ids[-1] = 2**64 - 2
    table = make_table(ids.view(np.int64), timestamps=1_700_000_000 + np.arange(300))
    mx.write_table(tmp_path / "t", table, 2)
    return table


def run(capsys, *arguments, status=0):
    assert main(["table", *map(str, arguments)]) == status
    captured = capsys.readouterr()
    if status == 0:
        assert captured.err == ""
        return captured.out
    assert captured.err.startswith("mexport: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_info(dump, tmp_path, capsys):
    (line,) = run(capsys, "info", tmp_path / "t", "--json").splitlines()
    info = json.loads(line)
    sizes = [(tmp_path / f"t-{i:05d}-of-00002").stat().st_size for i in range(2)]
    assert info == {
        "name": str(tmp_path / "t"),
        "table": None,
        "rows": 300,
        "shards": [{"path": str(tmp_path / f"t-{i:05d}-of-00002"), "rows": 150, "bytes": sizes[i]} for i in range(2)],
        "compression": None,
        "dim": 4,
        "segments": [
            {"optimizer": "ftrl", "fields": {"zero": 1, "norm": 1}},
            {"optimizer": "sgd", "fields": {}},
            {"optimizer": "adam", "fields": {"m": 2, "v": 2, "beta1_power": 1, "beta2_power": 1}},
        ],
        "min_id": -2,
        "max_id": int(dump.ids.max()),
        "min_unsigned_id": 7 << 48,
        "max_unsigned_id": 2**64 - 2,
        "slots": {"7": 100, "8": 100, "9": 99, "32767": 1},
        "slots_v1": {"0": 299, "1023": 1},
        "oldest": 1_700_000_000,
        "newest": 1_700_000_299,
        "bytes_per_row": sum(sizes) / 300,
        "optimizer_share": 32 / (32 + 16 + 16),
        "is_sorted": True,
        "duplicates": 0,
    }
    (of_library,) = mx.table_infos([tmp_path / "t"])
    assert json.loads(json.dumps(of_library.to_json())) == info


def test_info_as_text(dump, tmp_path, capsys):
    text = run(capsys, "info", tmp_path / "t")
    for want in (
        "entries      300",
        "compression  none",
        "segment 0    ftrl: zero 1, norm 1",
        "segment 1    sgd: no state",
        "state        50.0% of an entry",
        "timestamps   1700000000 (2023-11-14 22:13:20 UTC) to 1700000299",
        f"unsigned     {7 << 48} to {2**64 - 2}",
        "slot 32767   1\n",
    ):
        assert want in text
    assert "slot 1023    1\n" in run(capsys, "info", tmp_path / "t", "--fid", "v1")


def test_info_of_many_slots_and_odd_times(tmp_path, capsys):
    mx.write_table(tmp_path / "t", make_table(np.arange(50) << 48, timestamps=[2**62] * 50), 1)
    text = run(capsys, "info", tmp_path / "t")
    assert "and 30 more slots with 30 entries" in text
    assert f"timestamps   {2**62} to {2**62}\n" in text


@pytest.mark.parametrize("compression", ["snappy", "zlib", "gzip", None])
def test_info_knows_the_compression(compression, tmp_path, capsys):
    mx.write_table(tmp_path / "t", make_table(random_ids(100)), 3, compression=compression)
    info = json.loads(run(capsys, "info", tmp_path / "t", "--json"))
    assert (info["compression"], info["rows"]) == (compression, 100)


def test_info_of_several_tables(tmp_path, capsys):
    tables = {"x": make_table(random_ids(100)), "y": make_table([1], 2, ("sgd",)), "z": make_table([])}
    mx.write_multi_table(tmp_path / "m", tables, 3)
    infos = [json.loads(line) for line in run(capsys, "info", tmp_path / "m", "--json").splitlines()]
    assert [(i["table"], i["rows"], i["dim"], i["compression"]) for i in infos] == [
        ("x", 100, 4, "snappy"),
        ("y", 1, 2, "snappy"),
        ("z", 0, 0, "snappy"),
    ]
    assert [[s["rows"] for s in i["shards"]] for i in infos] == [[34, 33, 33], [1, 0, 0], [0, 0, 0]]
    # Bytes are those of the records, as in a dump of the table alone.
    mx.write_table(tmp_path / "x", tables["x"], 3)
    assert [s["bytes"] for s in infos[0]["shards"]] == [p.stat().st_size for p in sorted(tmp_path.glob("x-*"))]
    assert infos[2]["bytes_per_row"] is None
    only = run(capsys, "info", tmp_path / "m", "--json", "--table", "y")
    assert json.loads(only) == infos[1]
    assert "m: table y\n" in run(capsys, "info", tmp_path / "m")
    assert "no table 'q'; there are: x, y, z" in run(capsys, "info", tmp_path / "m", "--table", "q", status=2)


def test_info_of_files_of_columns(dump, tmp_path, capsys):
    want = json.loads(run(capsys, "info", tmp_path / "t", "--json"))
    for suffix in ("npz", "parquet"):
        run(capsys, "convert", tmp_path / "t", tmp_path / f"t.{suffix}")
        got = json.loads(run(capsys, "info", tmp_path / f"t.{suffix}", "--json"))
        assert got["compression"] == suffix
        for key in ("rows", "dim", "segments", "slots", "oldest", "newest", "is_sorted", "min_id"):
            assert got[key] == want[key]


def test_info_of_a_folder(dump, tmp_path, capsys):
    mx.write_table(tmp_path / "u", dump, 1)
    assert run(capsys, "info", tmp_path).count("entries      300") == 2


def test_info_counts_duplicates(tmp_path, capsys):
    """Unsorted, over several shards."""
    mx.write_table(tmp_path / "x", make_table(range(100)), 1)
    with RecordReader(tmp_path / "x-00000-of-00001") as reader:
        records = list(reader)
    write_records(tmp_path / "t-00000-of-00002", records[50:])
    write_records(tmp_path / "t-00001-of-00002", [*records[:53], records[0]])
    info = json.loads(run(capsys, "info", tmp_path / "t", "--json"))
    assert (info["rows"], info["is_sorted"], info["duplicates"]) == (104, False, 4)


def test_head(dump, tmp_path, capsys):
    lines = run(capsys, "head", tmp_path / "t").splitlines()
    assert len(lines) == 10
    assert lines[0].startswith(f"{7 << 48}  slot 7  time 1700000000  [")
    assert "  ftrl zero [" in lines[0]
    assert "  sgd  adam m [" in lines[0]
    assert len(run(capsys, "head", tmp_path / "t", "-n", 1000).splitlines()) == 300
    entries = [json.loads(line) for line in run(capsys, "head", tmp_path / "t", "-n", "3", "--json").splitlines()]
    assert [entry["id"] for entry in entries] == mx.read_table(tmp_path / "t").ids[:3].tolist()
    assert list(entries[0]) == ["id", "values", "timestamp", "opt"]
    assert [opt["kind"] for opt in entries[0]["opt"]] == ["ftrl", "sgd", "adam"]
    assert list(entries[0]["opt"][2]) == ["kind", "m", "v", "beta1_power", "beta2_power"]


def test_head_of_ids(dump, tmp_path, capsys):
    ids = ["-2", str(7 << 48), hex((8 << 48) + 1)]
    lines = run(capsys, "head", tmp_path / "t", "--json", *(x for i in ids for x in ("--id", i))).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [7 << 48, (8 << 48) + 1, -2]
    assert run(capsys, "head", tmp_path / "t", "--id", 2**64 - 2).startswith("-2  slot 32767")
    # Those that are there are shown all the same.
    assert main(["table", "head", str(tmp_path / "t"), "--id", "5", "--id", "-2", "--id", "6"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("-2  ")
    assert err.endswith("t: no entry with id 5, 6\n")


def test_head_of_floats_that_json_lacks(tmp_path, capsys):
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    mx.write_table(tmp_path / "t", mx.TableDump(np.array([1]), values, np.array([0])), 1)
    line = run(capsys, "head", tmp_path / "t", "--json")
    assert json.loads(line, parse_constant=pytest.fail)["values"] == ["NaN", "Infinity", "-Infinity", 0.5]


def test_head_of_several_tables(tmp_path, capsys):
    mx.write_multi_table(tmp_path / "m", {"x": make_table([5]), "y": make_table([6])}, 2)
    assert run(capsys, "head", tmp_path / "m", "--table", "y").startswith("6  ")
    assert "name one: x, y" in run(capsys, "head", tmp_path / "m", status=2)


def test_convert(dump, tmp_path, capsys):
    assert run(capsys, "convert", tmp_path / "t", tmp_path / "c.npz") == f"{tmp_path / 'c.npz'}: 300 entries\n"
    assert "is there already" in run(capsys, "convert", tmp_path / "t", tmp_path / "c.npz", status=2)
    run(capsys, "convert", tmp_path / "t", tmp_path / "c.npz", "--force")
    out = run(capsys, "convert", tmp_path / "c.npz", tmp_path / "d" / "t", "--shards", 2, "--json")
    assert json.loads(out) == {"path": str(tmp_path / "d" / "t"), "rows": 300}
    assert files_of(tmp_path / "d") == {n: data for n, data in files_of(tmp_path).items() if n.startswith("t-")}


def test_convert_one_of_several_tables(tmp_path, capsys):
    tables = {"x": make_table([5]), "y": make_table(random_ids(10))}
    mx.write_multi_table(tmp_path / "m", tables, 2)
    run(capsys, "convert", tmp_path / "m", tmp_path / "y", "--table", "y")
    assert_equal(mx.read_table(tmp_path / "y"), tables["y"])


def test_merge_and_split(dump, tmp_path, capsys):
    out = run(capsys, "split", tmp_path / "t", "-o", tmp_path / "p", "--by", "mod", "-n", 5, "--shards", 1, "--json")
    paths = [json.loads(line)["path"] for line in out.splitlines()]
    assert paths == [str(tmp_path / f"p_{i}") for i in range(5)]
    assert run(capsys, "merge", *paths, "-o", tmp_path / "d" / "t", "--shards", 2).endswith("t: 300 entries\n")
    original = {name: data for name, data in files_of(tmp_path).items() if name.startswith("t-")}
    assert files_of(tmp_path / "d") == original
    run(capsys, "split", tmp_path / "d" / "t", "-o", tmp_path / "d" / "t", "-n", 3, "--force")
    assert len(files_of(tmp_path / "d")) == 3
    run(capsys, "split", tmp_path / "d" / "t", "-o", tmp_path / "d" / "t", "--by", "range", "-n", 2, "--force")
    assert files_of(tmp_path / "d") == original
    message = run(capsys, "split", tmp_path / "t", "-o", tmp_path / "e", "-n", 3, "--shards", 3, status=2)
    assert "--shards goes with --by mod" in message


def test_merge_policies(tmp_path, capsys):
    old, new = make_table([1, 2], timestamps=[5, 5]), make_table([2, 3], seed=1, timestamps=[9, 9])
    mx.write_table(tmp_path / "a", new, 1)
    mx.write_table(tmp_path / "b", old, 1)
    arguments = ["merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "m"]
    assert "id 2 comes here and in" in run(capsys, *arguments, status=1)
    for policy, winner in (("newest", new), ("first", new), ("last", old)):
        run(capsys, *arguments, "--on-conflict", policy, "--force")
        other = new if winner is old else old
        want = concatenate([winner, take(other, other.ids != 2)])
        assert_equal(mx.read_table(tmp_path / "m"), want)


def test_damage(dump, tmp_path, capsys):
    path = tmp_path / "t-00001-of-00002"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for arguments in (
        ["info", tmp_path / "t"],
        ["head", tmp_path / "t", "--id", "5"],
        ["merge", tmp_path / "t", "-o", tmp_path / "x"],
        ["split", tmp_path / "t", "-n", 2, "-o", tmp_path / "x"],
        ["split", tmp_path / "t", "-n", 2, "-o", tmp_path / "x", "--by", "mod"],
        ["convert", tmp_path / "t", tmp_path / "x.npz"],
        ["convert", tmp_path / "t", tmp_path / "x.parquet"],
    ):
        assert f"{path}: offset " in run(capsys, *arguments, status=1)
    assert sorted(os.listdir(tmp_path)) == ["t-00000-of-00002", "t-00001-of-00002"]


def test_record_that_is_no_entry_of_several_tables(tmp_path, capsys):
    """File and offset are those of the dump, not of what it was unpacked to."""
    mx.write_multi_table(tmp_path / "m", {"x": make_table([1, 2]), "y": make_table([3, 4], 5)}, 1)
    with RecordReader(tmp_path / "m-00000-of-00001", "snappy") as reader:
        records = list(reader)
    write_records(tmp_path / "m-00000-of-00001", [*records[:3], b"\xff"], "snappy")
    offset = sum(len(record) + 16 for record in records[:3])
    message = run(capsys, "info", tmp_path / "m", "--table", "y", status=1)
    assert f"m-00000-of-00001: offset {offset}: " in message


@pytest.mark.parametrize(
    ("change", "message"), [(-1, "got more than the 1 of the meta file"), (1, "want 1 more by the meta")]
)
def test_meta_that_lies(change, message, tmp_path, capsys):
    from mexport_pb._proto.hash_table_pb2 import MultiHashTableMetadata

    mx.write_multi_table(tmp_path / "m", {"x": make_table([1, 2])}, 1)
    meta = MultiHashTableMetadata(table_name="x", num_entries=2 + change).SerializeToString()
    write_records(tmp_path / "m.meta-00000-of-00001", [meta])
    assert message in run(capsys, "info", tmp_path / "m", status=1)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["info"],
        ["head"],
        ["head", "t", "-n", "0"],
        ["head", "t", "-n", "x"],
        ["head", "t", "--id", "x"],
        ["head", "t", "--id", str(2**64)],
        ["convert", "t"],
        ["merge", "t"],
        ["merge", "t", "-o", "u", "--on-conflict", "oldest"],
        ["split", "t", "-o", "u"],
        ["split", "t", "-o", "u", "-n", "2", "--by", "hash"],
    ],
)
def test_wrong_use(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["table", *arguments])
    assert caught.value.code == 2


@pytest.mark.parametrize("action", ["info", "head", "convert", "merge", "split"])
def test_help_has_examples(action, capsys):
    with pytest.raises(SystemExit):
        main(["table", action, "--help"])
    assert f"  mexport table {action} " in capsys.readouterr().out


def test_nothing_is_there(tmp_path, capsys):
    mx.write_table(tmp_path / "feed_0", make_table([1]), 1)
    assert "there are in" in run(capsys, "info", tmp_path / "feed_1", status=1)


def mexport(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "mexport_pb", "table", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_process(dump, tmp_path):
    process = mexport("head", tmp_path / "t", "-n", 2)
    out, err = process.communicate()
    assert (process.returncode, err, out.count("\n")) == (0, "", 2)


def test_reader_that_leaves(tmp_path):
    """As `mexport table head … | head -n 1` does."""
    mx.write_table(tmp_path / "t", make_table(random_ids(20_000)), 1)
    process = mexport("head", tmp_path / "t", "-n", 20_000)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_interrupt_leaves_nothing(tmp_path):
    mx.write_table(tmp_path / "t", make_table(random_ids(100_000), kinds=("adagrad",)), 1)
    for i in range(100):
        os.symlink(tmp_path / "t-00000-of-00001", tmp_path / f"u{i}-00000-of-00001")
    before = sorted(os.listdir(tmp_path))
    process = mexport("merge", tmp_path / "*", "-o", tmp_path / "out", "--on-conflict", "newest")
    while sorted(os.listdir(tmp_path)) == before:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "mexport: interrupted\n")
    assert sorted(os.listdir(tmp_path)) == before


def test_help_is_fast():
    """It loads neither numpy nor messages, whose loading is most of the time."""
    code = (
        "import sys\nfrom mexport_pb.cli import main\n"
        "try:\n    main(['table', 'info', '--help'])\n"
        "except SystemExit:\n    print(sorted({'numpy', 'google.protobuf', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


class TestReshard:
    @pytest.fixture
    def folder(self, tmp_path):
        dump = make_table(random_ids(100))
        for ps in range(2):
            mx.write_table(tmp_path / "n" / f"t_{ps}", take(dump, np.flatnonzero(dump.ids % 2 == ps)), 1)
        return tmp_path / "n"

    def test_a_folder(self, folder, tmp_path, capsys):
        lines = run(capsys, "reshard", folder, "--num-ps", 3, "-o", tmp_path / "m", "--json").splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["path"] for row in rows] == [str(tmp_path / "m" / f"t_{ps}") for ps in range(3)]
        assert sum(row["rows"] for row in rows) == 100
        run(capsys, "reshard", tmp_path / "m", "--num-ps", 2, "-o", tmp_path / "back", "--workers", 1)
        assert files_of(tmp_path / "back") == files_of(folder)

    def test_one_table(self, folder, tmp_path, capsys):
        arguments = ["--num-ps", 1, "-o", tmp_path / "u", "--workers", 1, "--shards", 2]
        assert run(capsys, "reshard", folder / "t", *arguments) == f"{tmp_path}/u_0: 100 entries\n"
        assert (tmp_path / "u_0-00001-of-00002").exists()

    def test_a_checkpoint(self, folder, tmp_path, capsys):
        folder.rename(tmp_path / "model.ckpt-1.assets")
        with mx.BundleWriter(tmp_path / "model.ckpt-1") as bundle:
            bundle.add("global_step", np.array(1, np.int64))
        prefix = tmp_path / "new" / "model.ckpt-1"
        run(capsys, "reshard", tmp_path / "model.ckpt-1", "--num-ps", 4, "-o", prefix, "--workers", 1, "--table", "t")
        with mx.BundleReader(prefix) as reader:
            assert reader.read("global_step") == 1
        assert len(list((tmp_path / "new" / "model.ckpt-1.assets").iterdir())) == 4

    def test_errors(self, folder, tmp_path, capsys):
        mx.write_table(folder / "t_1", make_table([4]), 1)
        arguments = ["reshard", folder, "--num-ps", 3, "-o", tmp_path / "m", "--workers", 1]
        assert "t_1-00000-of-00001: id 4: got it in the table of ps 1 of 2" in run(capsys, *arguments, status=1)
        assert "there is none of ps 2 of 3" in run(capsys, *arguments, "--old-num-ps", 3, status=1)
        assert "no table 'x' of parameter servers" in run(capsys, *arguments, "--table", "x", status=2)
        run(capsys, *arguments, "--any-placement")
