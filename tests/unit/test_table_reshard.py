"""Tables of N parameter servers to those of M and back; no TensorFlow."""

import multiprocessing
import os
import pickle
import shutil
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.record import RecordReader, write_records
from mexport_pb.table import reshard_tasks, sorting
from mexport_pb.table.layout import concatenate, take
from mexport_pb.table.partition import ps_of
from mexport_pb.table.reshard_find import find_ps_tables
from mexport_pb.table.reshard_kernel import JoinTask, ShardTask, join_parts, split_shard
from tests.support.tables import assert_equal, files_of, make_table, random_ids
from tests.unit.test_table_tools import write_unsorted

MD5 = "0b9721ec6fc5396c38499b5be394b722"
MULTI = "MonolithMultiHashTable"


def of_ps(dump, ps, num_ps):
    return take(dump, np.flatnonzero(ps_of(dump.ids, num_ps) == ps))


def write_ps_tables(folder, num_ps, shards=2, ids=None, multi=True):
    """A single table and a set of tables, one of which is empty, each in canonical order."""
    dump = make_table(random_ids(300) if ids is None else ids)
    other = make_table(dump.ids[::2] ^ 5, dim=2, kinds=("adagrad",))
    for ps in range(num_ps):
        mx.write_table(folder / f"{MD5}_{ps}", of_ps(dump, ps, num_ps), shards)
        if multi:
            tables = {"slot_1": of_ps(dump, ps, num_ps), "slot_2": make_table([]), "slot_3": of_ps(other, ps, num_ps)}
            mx.write_multi_table(folder / f"{MULTI}_{ps}", tables, shards)
    return dump


def small(*arguments, **options):
    return mx.reshard_tables(*arguments, workers=1, **options)


class TestThereAndBack:
    @pytest.mark.parametrize(("n", "m", "shards"), [(5, 3, 2), (1, 4, 1), (3, 1, 3), (2, 7, 1), (4, 4, 1), (2, 64, 1)])
    def test_canonical_files_come_back_byte_for_byte(self, tmp_path, n, m, shards):
        dump = write_ps_tables(tmp_path / "n", n, shards, multi=m < 64)
        assert (dump.ids < 0).any()
        small(tmp_path / "n", m, tmp_path / "m")
        write_ps_tables(tmp_path / "want", m, shards, multi=m < 64)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")
        small(tmp_path / "m", n, tmp_path / "back")
        assert files_of(tmp_path / "back") == files_of(tmp_path / "n")
        assert sorted(os.listdir(tmp_path)) == ["back", "m", "n", "want"]

    @pytest.mark.parametrize("ids", [[], [0], [6, 12, -6], [2**63 - 1, -(2**63), -1, 0]])
    def test_servers_without_rows(self, tmp_path, ids):
        write_ps_tables(tmp_path / "n", 3, ids=np.array(ids, np.int64))
        report = small(tmp_path / "n", 2, tmp_path / "m")
        assert sum(report.rows.values()) == len(ids) + len(ids) + len(ids[::2])
        small(tmp_path / "m", 3, tmp_path / "back")
        assert files_of(tmp_path / "back") == files_of(tmp_path / "n")

    @pytest.mark.parametrize("small_pieces", [False, True])
    def test_other_orders_and_encodings_become_canonical(self, tmp_path, monkeypatch, small_pieces):
        if small_pieces:
            monkeypatch.setattr(sorting, "_MAX_CHUNK_ROWS", 20)
            monkeypatch.setattr(sorting, "MEMORY", 5_000)
            monkeypatch.setattr(sorting, "_FAN_IN", 3)
        dump = make_table(random_ids(200))
        for ps in range(3):
            (tmp_path / "n").mkdir(exist_ok=True)
            write_unsorted(tmp_path / "n" / f"t_{ps}", of_ps(dump, ps, 3), shards=1 + ps)
        small(tmp_path / "n", 2, tmp_path / "m")
        for ps in range(2):
            mx.write_table(tmp_path / "want" / f"t_{ps}", of_ps(dump, ps, 2), 3)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")

    def test_number_of_files(self, tmp_path):
        dump = write_ps_tables(tmp_path / "n", 2, multi=False)
        small(tmp_path / "n", 3, tmp_path / "m", num_shards=5)
        assert len(os.listdir(tmp_path / "m")) == 15
        assert_equal(concatenate([mx.read_table(tmp_path / "m" / f"{MD5}_{ps}") for ps in range(3)]), dump)

    def test_one_table_among_others(self, tmp_path):
        dump = write_ps_tables(tmp_path, 2)
        before = files_of(tmp_path)
        report = small(tmp_path / MD5, 3, tmp_path / "new")
        assert report.rows == {str(tmp_path / f"new_{ps}"): len(of_ps(dump, ps, 3)) for ps in range(3)}
        assert before.items() < files_of(tmp_path).items()
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]
        small(tmp_path / MULTI, 3, tmp_path / "elsewhere" / MULTI)
        assert len(os.listdir(tmp_path / "elsewhere")) == 12
        with pytest.raises(mx.InvalidArgumentError, match="new_0-00000-of-00002: is there already"):
            small(tmp_path / MD5, 3, tmp_path / "new")

    def test_one_table_beside_one_that_is_being_written(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)
        (tmp_path / "n" / f"{MULTI}_1.meta-00001-of-00002").unlink()
        small(tmp_path / "n" / MD5, 3, tmp_path / "t")
        with pytest.raises(mx.TableError, match="shard 1 doesn't show up"):
            small(tmp_path / "n", 3, tmp_path / "m")

    def test_relative_paths(self, tmp_path, monkeypatch):
        write_ps_tables(tmp_path / "n", 2)
        monkeypatch.chdir(tmp_path)
        report = small("n", 3, "m/")
        assert all(os.path.dirname(path) == str(tmp_path / "m") for path in report.rows)

    def test_what_is_of_no_server_is_copied(self, tmp_path):
        folder = tmp_path / "n"
        write_ps_tables(folder, 2, multi=False)
        mx.write_table(folder / "alone", make_table([1]), 1)
        mx.write_multi_table(folder / f"{MULTI}_", {"a": make_table([1])}, 1)
        for ps in range(3):
            write_records(folder / f"hash_filter_{ps}-00000-of-00001", [b"x"])
        (folder / "notes.txt").write_text("mine")
        kept = {name: data for name, data in files_of(folder).items() if not name.startswith(MD5)}
        (folder / f"{MD5}_0-00000-of-00002-tmp-123").write_text("unfinished")
        report = small(folder, 3, tmp_path / "m")
        assert list(report.copied) == sorted(kept)
        got = files_of(tmp_path / "m")
        assert {name: data for name, data in got.items() if not name.startswith(MD5)} == kept
        assert len(got) == len(kept) + 6

    def test_only_some_tables(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)
        mx.write_table(tmp_path / "n" / "slot_7", make_table([1]), 1)
        small(tmp_path / "n", 3, tmp_path / "m", tables=[MD5])
        names = {name.rsplit("-", 3)[0].removesuffix(".meta") for name in os.listdir(tmp_path / "m")}
        assert names == {f"{MD5}_0", f"{MD5}_1", f"{MD5}_2", f"{MULTI}_0", f"{MULTI}_1", "slot_7"}


class TestWrongInput:
    def fails(self, folder, match, error=mx.TableError, **options):
        with pytest.raises(error, match=match):
            small(folder, 3, folder.parent / "m", **options)
        assert sorted(os.listdir(folder.parent)) == [folder.name]

    def test_a_row_with_the_wrong_server(self, tmp_path):
        write_ps_tables(tmp_path / "n", 5, multi=False)
        moved = make_table([7, -6, 12])
        mx.write_table(tmp_path / "n" / f"{MD5}_2", moved, 1)
        match = rf"n/{MD5}_2-00000-of-00001: id -6: got it in the table of ps 2 of 5, want it in that of ps 0"
        self.fails(tmp_path / "n", match)
        small(tmp_path / "n", 5, tmp_path / "m", any_placement=True)
        for ps in range(5):
            ids = mx.read_table(tmp_path / "m" / f"{MD5}_{ps}").ids
            assert (ps_of(ids, 5) == ps).all()
        assert -6 in mx.read_table(tmp_path / "m" / f"{MD5}_0").ids

    def test_a_row_of_a_set_with_the_wrong_server(self, tmp_path):
        for ps in range(2):
            mx.write_multi_table(tmp_path / "n" / f"{MULTI}_{ps}", {"a": make_table([]), "b": make_table([1])}, 1)
        self.fails(tmp_path / "n", rf"{MULTI}_0-00000-of-00001: b: id 1: got it in the table of ps 0 of 2")
        self.fails(tmp_path / "n", r"id 1 comes here and in .*MultiHashTable_0-00000-of-00001: b", any_placement=True)

    def test_an_id_in_two_files(self, tmp_path):
        mx.write_table(tmp_path / "n" / "t_0", make_table([2, 4]), 1)
        os.rename(tmp_path / "n" / "t_0-00000-of-00001", tmp_path / "n" / "t_0-00000-of-00002")
        shutil.copy(tmp_path / "n" / "t_0-00000-of-00002", tmp_path / "n" / "t_0-00001-of-00002")
        self.fails(tmp_path / "n", "t_0-00001-of-00002: id [24] comes here and in .*t_0-00000-of-00002")

    def test_an_id_twice_in_a_file(self, tmp_path):
        mx.write_table(tmp_path / "n" / "t_0", make_table([2]), 1)
        with RecordReader(tmp_path / "n" / "t_0-00000-of-00001") as reader:
            (record,) = reader
        write_records(tmp_path / "n" / "t_0-00000-of-00001", [record, record])
        self.fails(tmp_path / "n", "t_0-00000-of-00001: id 2 comes twice")

    def test_a_server_without_a_table(self, tmp_path):
        write_ps_tables(tmp_path / "n", 4)
        for path in (tmp_path / "n").glob(f"{MD5}_2-*"):
            path.unlink()
        self.fails(tmp_path / "n", f"n: table '{MD5}': there is none of ps 2 of 4")

    def test_a_last_server_without_a_table(self, tmp_path):
        write_ps_tables(tmp_path / "n", 4)
        for path in (tmp_path / "n").glob(f"{MD5}_3-*"):
            path.unlink()
        self.fails(tmp_path / "n", f"n: table '{MD5}': there is none of ps 3 of 4")
        write_ps_tables(tmp_path / "n", 3)
        self.fails(tmp_path / "n", "got one of ps 3, want those of 3", old_num_ps=3)
        self.fails(tmp_path / "n", "there is none of ps 4 of 5", old_num_ps=5, tables=[MULTI])

    def test_a_number_that_nobody_has(self, tmp_path):
        mx.write_table(tmp_path / "n" / "t_999999999", make_table([]), 1)
        self.fails(tmp_path / "n", "there is none of ps 0 of 1000000000")

    def test_one_table_and_several(self, tmp_path):
        mx.write_table(tmp_path / "n" / "t_0", make_table([2]), 1)
        mx.write_multi_table(tmp_path / "n" / "t_1", {"a": make_table([1])}, 1)
        self.fails(tmp_path / "n", "t_1: is of one table, or of several, and .*t_0 is not")

    def test_layouts_that_differ(self, tmp_path):
        mx.write_table(tmp_path / "n" / "t_0", make_table([2, 6]), 1)
        mx.write_table(tmp_path / "n" / "t_1", make_table([9], dim=5), 1)
        self.fails(tmp_path / "n", "t_1-00000-of-00001: layout of the entries: got dim 5")

    @pytest.mark.parametrize("name", [f"{MD5}_1-00001-of-00002", f"{MULTI}_1-00001-of-00002"])
    @pytest.mark.parametrize("damage", ["cut", "flip", "gone", "folder"])
    def test_damaged_files(self, tmp_path, name, damage):
        write_ps_tables(tmp_path / "n", 2)
        path = tmp_path / "n" / name
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 4
        path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage != "gone":
            path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
        self.fails(tmp_path / "n", "n/|shard 1 doesn't show up", error=mx.DataError)

    @pytest.mark.parametrize("damage", ["cut", "count", "foreign"])
    def test_damaged_meta_files(self, tmp_path, damage):
        write_ps_tables(tmp_path / "n", 2)
        path = tmp_path / "n" / f"{MULTI}_1.meta-00001-of-00002"
        with RecordReader(path) as reader:
            records = list(reader)
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-3])
        elif damage == "count":
            write_records(path, records[1:])
        else:
            write_records(path, [b"\xff\xff"])
        self.fails(tmp_path / "n", f"{MULTI}_1", error=mx.DataError)

    @pytest.mark.parametrize(
        ("num_ps", "options", "match"),
        [
            (0, {}, "num_ps: got 0"),
            (513, {}, "num_ps: got 513, want at most 512"),
            (2, {"num_shards": 0}, "num_shards: got 0"),
            (2, {"workers": 0}, "threads: got 0"),
            (2, {"tables": ["x"]}, f"no table 'x' of parameter servers, x_0 and so on; there are: {MD5}"),
            (2, {"tables": []}, "no tables of parameter servers"),
        ],
    )
    def test_wrong_arguments(self, tmp_path, num_ps, options, match):
        write_ps_tables(tmp_path / "n", 1, multi=False)
        with pytest.raises(mx.InvalidArgumentError, match=match):
            mx.reshard_tables(tmp_path / "n", num_ps, tmp_path / "m", **options)
        assert os.listdir(tmp_path) == ["n"]

    def test_folders_without_tables(self, tmp_path):
        (tmp_path / "n").mkdir()
        with pytest.raises(mx.InvalidArgumentError, match="no tables of parameter servers"):
            small(tmp_path / "n", 2, tmp_path / "m")
        mx.write_table(tmp_path / "n" / "alone", make_table([1]), 1)
        assert find_ps_tables(tmp_path / "n") == []
        with pytest.raises(mx.InvalidArgumentError, match="no tables of parameter servers"):
            small(tmp_path / "n", 2, tmp_path / "m")
        with pytest.raises(mx.InvalidArgumentError, match="no table 't' of parameter servers"):
            small(tmp_path / "n" / "t", 2, tmp_path / "m")
        with pytest.raises(mx.InvalidArgumentError, match="is one table, which needs no names"):
            small(tmp_path / "n" / "t", 2, tmp_path / "m", tables=["t"])

    def test_an_output_that_is_there(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2, multi=False)
        (tmp_path / "m").mkdir()
        with pytest.raises(mx.InvalidArgumentError, match="m: is there already and was not touched"):
            small(tmp_path / "n", 3, tmp_path / "m")
        (tmp_path / "o.reshard").mkdir()
        with pytest.raises(mx.InvalidArgumentError, match=r"o\.reshard: is in the way, and is not ours"):
            small(tmp_path / "n", 3, tmp_path / "o")
        assert sorted(os.listdir(tmp_path)) == ["m", "n", "o.reshard"]


class Counting(Executor):
    """Does it at once; ends after some tasks."""

    def __init__(self, limit=10**9):
        self.limit = limit
        self.names = []

    def submit(self, function, /, *arguments):
        if len(self.names) == self.limit:
            raise OSError(28, "no space left")
        self.names.append(function.__name__)
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class TestGoingOn:
    def inodes(self, scratch):
        return {path.relative_to(scratch): path.stat().st_ino for path in scratch.glob("parts/*/done")}

    @pytest.mark.parametrize("limit", [0, 3, 8, 12])
    def test_what_is_done_is_not_done_again(self, tmp_path, limit):
        write_ps_tables(tmp_path / "n", 2)
        scratch = tmp_path / "m.reshard"
        with pytest.raises(OSError, match="no space left"):
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=Counting(limit))
        before = self.inodes(scratch)
        assert len(before) == min(limit, 8)
        assert len(os.listdir(scratch / "joined")) == max(0, limit - 8)

        class Looking(Counting):
            def submit(self, function, /, *arguments):
                future = super().submit(function, *arguments)
                if function is split_shard:
                    seen.update(test.inodes(scratch))
                return future

        test, seen = self, {}
        executor = Looking()
        mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=executor)
        assert executor.names == ["split_shard"] * 8 + ["join_parts"] * 6
        assert before.items() <= seen.items()
        write_ps_tables(tmp_path / "want", 3)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")
        assert not scratch.exists()

    def test_another_job_begins_anew(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)
        with pytest.raises(OSError, match="no space left"):
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=Counting(11))
        small(tmp_path / "n", 4, tmp_path / "m")
        write_ps_tables(tmp_path / "want", 4)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")
        assert not (tmp_path / "m.reshard").exists()

    def test_new_tables_begin_anew(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)
        with pytest.raises(OSError, match="no space left"):
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=Counting(11))
        ids = random_ids(100, seed=4)
        write_ps_tables(tmp_path / "n", 2, ids=ids)
        small(tmp_path / "n", 3, tmp_path / "m")
        write_ps_tables(tmp_path / "want", 3, ids=ids)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")

    def test_tables_that_are_replaced_meanwhile(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2, multi=False)

        class Replacing(Counting):
            def submit(self, function, /, *arguments):
                future = super().submit(function, *arguments)
                write_ps_tables(tmp_path / "n", 2, ids=random_ids(40, seed=5), multi=False)
                return future

        with pytest.raises(mx.TableError, match="the tables were replaced while they were read"):
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=Replacing())
        assert os.listdir(tmp_path) == ["n"]

    @pytest.mark.parametrize("form", ["folder", "one table", "checkpoint"])
    def test_killed_anywhere(self, tmp_path, form):
        def work(output):
            if form == "checkpoint":
                mx.reshard_checkpoint(tmp_path / "model.ckpt-7", 3, output / "model.ckpt-7", workers=1)
            elif form == "folder":
                small(assets, 3, output / "model.ckpt-7.assets")
            else:
                small(assets / MD5, 3, output / "model.ckpt-7.assets" / MD5)

        assets = tmp_path / "model.ckpt-7.assets"
        write_ps_tables(assets, 2, shards=1, multi=form == "checkpoint")
        with mx.BundleWriter(tmp_path / "model.ckpt-7") as bundle:
            bundle.add("global_step", np.array(7, np.int64))
        work(tmp_path / "want")
        step = {"folder": 9, "one table": 11, "checkpoint": 23}[form]
        number = kills = 0
        while True:
            output = tmp_path / str(number)
            died = self.die_at(lambda output=output: work(output), number)
            if not died:
                break
            index = output / "model.ckpt-7.index"
            if index.exists():
                assert self.tree(output, done=True) | {"checkpoint": b""} == self.tree(tmp_path / "want") | {
                    "checkpoint": b""
                }
            elif form != "one table":
                done = output / "model.ckpt-7.assets"
                assert not done.exists() or files_of(done) == files_of(tmp_path / "want" / "model.ckpt-7.assets")
            if not self.is_done(output, form):
                work(output)
                assert self.tree(output) == self.tree(tmp_path / "want")
            kills += 1
            number += step
        assert kills > 15

    def is_done(self, output, form):
        """Killed behind the last rename, while the scratch folder was removed."""
        if list(output.rglob("*.reshard")):
            return False
        return (output / "model.ckpt-7.assets" / f"{MD5}_2-00000-of-00001").exists()

    def tree(self, folder, done=False):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not (done and ".reshard" in str(path)) and "-tmp-" not in str(path)
        }

    def die_at(self, action, number):
        """Run in a child that ends at once at its look at files `number`; tell whether it got there."""
        child = os.fork()
        if child == 0:
            left = [number]

            def hook(event, arguments):
                if event.startswith(("os.", "open", "shutil.", "fcntl.")):
                    left[0] -= 1
                    if left[0] < 0:
                        os._exit(9)

            sys.addaudithook(hook)
            try:
                action()
            except BaseException:
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9)
        return status == 9


def die(task):
    os._exit(1)


def loaded_modules():
    return sorted(sys.modules)


class TestExecutors:
    def test_a_pool_of_processes_is_the_default(self, tmp_path, monkeypatch):
        write_ps_tables(tmp_path / "n", 2)
        pools = []

        class Pool(ProcessPoolExecutor):
            def __init__(self, workers, context):
                pools.append((workers, context.get_start_method()))
                super().__init__(workers, context)

        monkeypatch.setattr(reshard_tasks, "ProcessPoolExecutor", Pool)
        mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", workers=2)
        write_ps_tables(tmp_path / "want", 3)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")
        assert pools == [(2, "spawn")]

    def test_a_spawned_worker_loads_no_tensorflow(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=pool)
            modules = pool.submit(loaded_modules).result()
        assert "mexport_pb.table.reshard_kernel" in modules
        assert not [name for name in modules if name.split(".")[0] in ("tensorflow", "keras")]

    def test_errors_come_back_from_processes(self, tmp_path):
        mx.write_table(tmp_path / "n" / "t_0", make_table([1, 2]), 1)
        mx.write_table(tmp_path / "n" / "t_1", make_table([3]), 2)
        with pytest.raises(mx.TableError, match="t_0-00000-of-00001: id 1: got it") as caught:
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", workers=2)
        assert caught.value.path == str(tmp_path / "n" / "t_0-00000-of-00001")
        assert os.listdir(tmp_path) == ["n"]

    def test_a_worker_that_dies(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)

        class Dying(ProcessPoolExecutor):
            def submit(self, function, /, *arguments):
                return super().submit(die if function is join_parts else function, *arguments)

        with (
            Dying(1, multiprocessing.get_context("spawn")) as pool,
            pytest.raises(mx.MexportError, match=r"a worker died: .* The same command goes on where this one was"),
        ):
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=pool)
        small(tmp_path / "n", 3, tmp_path / "m")
        assert sorted(os.listdir(tmp_path)) == ["m", "n"]

    def test_threads(self, tmp_path):
        write_ps_tables(tmp_path / "n", 2)
        with ThreadPoolExecutor(4) as pool:
            mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=pool)
        write_ps_tables(tmp_path / "want", 3)
        assert files_of(tmp_path / "m") == files_of(tmp_path / "want")


def test_the_kernel_is_idempotent_and_its_arguments_pickle(tmp_path):
    write_ps_tables(tmp_path / "n", 1, shards=1)
    basename = tmp_path / "n" / f"{MULTI}_0"
    split = ShardTask(
        f"{basename}-00000-of-00001", f"{basename}.meta-00000-of-00001", 0, 1, 3, False, str(tmp_path / "p")
    )
    rows = split_shard(split)[1]
    join = JoinTask(str(tmp_path / "t"), ((f"{tmp_path}/p/1", "origin"),), True, 2, rows, str(tmp_path / "note"))
    shutil.rmtree(tmp_path / "p")
    for function, task in ((split_shard, split), (join_parts, join)):
        with ThreadPoolExecutor(4) as pool:
            several = list(pool.map(function, [pickle.loads(pickle.dumps(task))] * 4))
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
        assert several == [function(task)] * 4
        assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before
    parts = [f"{i}{meta}-00000-of-00001" for i in range(3) for meta in ("", ".meta")]
    assert sorted(os.listdir(tmp_path / "p")) == sorted(["done", *parts])
    assert {name: len(dump) for name, dump in mx.read_multi_table(tmp_path / "t").items()}["slot_2"] == 0


def test_parts_that_a_loss_of_power_took(tmp_path):
    write_ps_tables(tmp_path / "n", 2, multi=False)

    class Losing(Counting):
        def submit(self, function, /, *arguments):
            if function is join_parts:
                os.truncate(tmp_path / "m.reshard" / "parts" / "0" / "1", 0)
            return super().submit(function, *arguments)

    with pytest.raises(mx.TableError, match=rf"{MD5}_1: rows: got \d+ in the parts, want \d+"):
        mx.reshard_tables(tmp_path / "n", 3, tmp_path / "m", executor=Losing())
    assert os.listdir(tmp_path) == ["n"]


class TestCheckpoint:
    @pytest.fixture
    def checkpoint(self, tmp_path):
        prefix = tmp_path / "train" / "model.ckpt-7"
        with mx.BundleWriter(prefix) as bundle:
            bundle.add("global_step", np.array(7, np.int64))
            bundle.add("w", np.arange(6, dtype=np.float32).reshape(2, 3))
        write_ps_tables(tmp_path / "train" / "model.ckpt-7.assets", 5)
        write_records(f"{prefix}.assets/hash_filter_0-00000-of-00001", [b"x"])
        return prefix

    def test_variables_and_tables(self, tmp_path, checkpoint):
        report = mx.reshard_checkpoint(checkpoint, 3, tmp_path / "new" / "model.ckpt-7", workers=1)
        assert (report.old_num_ps, report.num_ps) == (5, 3)
        write_ps_tables(tmp_path / "want", 3)
        write_records(tmp_path / "want" / "hash_filter_0-00000-of-00001", [b"x"])
        assert files_of(tmp_path / "new" / "model.ckpt-7.assets") == files_of(tmp_path / "want")
        for name in ("model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"):
            assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "train" / name).read_bytes()
        assert sorted(os.listdir(tmp_path / "new")) == [
            "checkpoint",
            "model.ckpt-7.assets",
            "model.ckpt-7.data-00000-of-00001",
            "model.ckpt-7.index",
        ]
        from mexport_pb.export import latest_checkpoint

        assert latest_checkpoint(tmp_path / "new") == str(tmp_path / "new" / "model.ckpt-7")

    def test_a_list_of_checkpoints_stays(self, tmp_path, checkpoint):
        (tmp_path / "train" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
        mx.reshard_checkpoint(checkpoint, 2, tmp_path / "train" / "model.ckpt-8", workers=1)
        assert (tmp_path / "train" / "checkpoint").read_text() == 'model_checkpoint_path: "model.ckpt-7"'

    @pytest.mark.parametrize("suffix", [".index", ".assets", ".data-00000-of-00001"])
    def test_nothing_is_replaced(self, tmp_path, checkpoint, suffix):
        (tmp_path / f"new{suffix}").write_text("mine")
        with pytest.raises(mx.InvalidArgumentError, match=f"new{suffix}: is there already"):
            mx.reshard_checkpoint(checkpoint, 2, tmp_path / "new", workers=1)
        assert sorted(os.listdir(tmp_path)) == [f"new{suffix}", "train"]

    def test_damaged_variables(self, tmp_path, checkpoint):
        path = tmp_path / "train" / "model.ckpt-7.data-00000-of-00001"
        path.write_bytes(b"\0" * path.stat().st_size)
        with pytest.raises(mx.BundleCrcError):
            mx.reshard_checkpoint(checkpoint, 2, tmp_path / "new", workers=1)
        assert os.listdir(tmp_path) == ["train"]

    def test_no_tables(self, tmp_path, checkpoint):
        shutil.rmtree(f"{checkpoint}.assets")
        with pytest.raises(mx.InvalidArgumentError, match=r"model.ckpt-7.assets: is no folder of tables"):
            mx.reshard_checkpoint(checkpoint, 2, tmp_path / "new")
