"""The books of exported versions, and the removal of versions whose checkpoint is gone; no TensorFlow."""

import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from mexport_pb._proto.serving_state_pb2 import ServingEntry, ServingModelState
from mexport_pb.errors import DataError, InvalidArgumentError
from mexport_pb.export.publish import is_staging_name, remove_dead_stagings, staged_directory, withdraw_directories
from mexport_pb.export.state import (
    STATE_FILENAME,
    get_global_step,
    prune_exports,
    read_export_state,
    record_export,
    record_exports,
    write_export_state,
)

FILES = ["saved_model.pb", "variables/variables.index"]


def make_version(path):
    for name in FILES:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    return path


def is_whole(path):
    return all((path / name).is_file() for name in FILES)


def versions(folder):
    """What a server sees."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_staging_name(path.name))


def books(folder):
    return {os.path.basename(entry.export_dir): entry.global_step for entry in read_export_state(folder).entries}


def fill(folder, steps):
    for step in steps:
        record_export(make_version(folder / str(1000 + step)), step)
    return folder


def monolith_state():
    """The message that the other side reads and writes, made of nothing of ours."""
    file = descriptor_pb2.FileDescriptorProto(name="state_oracle.proto", package="monolith.model_export")
    types = descriptor_pb2.FieldDescriptorProto
    entry = file.message_type.add(name="ServingEntry")
    entry.field.add(name="export_dir", number=1, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL)
    entry.field.add(name="global_step", number=2, type=types.TYPE_INT64, label=types.LABEL_OPTIONAL)
    state = file.message_type.add(name="ServingModelState")
    state.field.add(
        name="entries",
        number=1,
        type=types.TYPE_MESSAGE,
        type_name=".monolith.model_export.ServingEntry",
        label=types.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("monolith.model_export.ServingModelState"))()


class TestFile:
    def test_equals_what_monolith_writes(self, tmp_path):
        theirs = monolith_state()
        for name, step in (("1", 10), ("1690000000.25", 2**63 - 1), ('ü "quoted" \\ name', 0)):
            record_export(tmp_path / name, step)
            theirs.entries.add(export_dir=str(tmp_path / name), global_step=step)
        assert (tmp_path / STATE_FILENAME).read_text() == text_format.MessageToString(theirs)
        assert text_format.Parse((tmp_path / STATE_FILENAME).read_text(), type(theirs)()) == theirs

    def test_reads_what_monolith_wrote(self, tmp_path):
        text = f'entries {{\n  export_dir: "{tmp_path}/\\303\\274"\n  global_step: 7\n}}\n'
        (tmp_path / STATE_FILENAME).write_text(text)
        assert books(tmp_path) == {"ü": 7}

    def test_round_trip_and_nothing_else_in_the_folder(self, tmp_path):
        state = ServingModelState(entries=[ServingEntry(export_dir="/a/1", global_step=10)])
        write_export_state(tmp_path / "new", state)
        write_export_state(tmp_path / "new", state)
        assert read_export_state(tmp_path / "new") == state
        assert os.listdir(tmp_path / "new") == [STATE_FILENAME]

    def test_none_is_empty(self, tmp_path):
        assert read_export_state(tmp_path) == ServingModelState()
        assert read_export_state(tmp_path / "nowhere") == ServingModelState()

    @pytest.mark.parametrize(
        "data",
        [b"entries {", b"entries { step: 1 }", b"\xff\xfe", b'entries { export_dir: "\\377" }', b"\x0a\x02", b"x" * 99],
    )
    def test_damage_is_told_and_not_overwritten(self, tmp_path, data):
        (tmp_path / STATE_FILENAME).write_bytes(data)
        make_version(tmp_path / "1")
        for action in (read_export_state, lambda folder: prune_exports(folder, {1})):
            with pytest.raises(DataError, match="ExportSaverListenerState: not a ServingModelState in text form"):
                action(tmp_path)
        with pytest.raises(DataError):
            record_export(tmp_path / "1", 1)
        assert (tmp_path / STATE_FILENAME).read_bytes() == data
        assert is_whole(tmp_path / "1")

    def test_a_pipe_is_no_state(self, tmp_path):
        os.mkfifo(tmp_path / STATE_FILENAME)
        with pytest.raises(DataError, match="not a regular file"):
            read_export_state(tmp_path)

    def test_what_an_entry_cannot_hold(self, tmp_path):
        for path, step in ((os.fsdecode(os.fsencode(tmp_path) + b"/\xff"), 1), (tmp_path / "1", 2**63)):
            with pytest.raises(InvalidArgumentError, match="cannot go into the state"):
                record_export(path, step)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "step"), [("/a/model.ckpt-10", 10), (" model.ckpt-0\n", 0), ("/model.ckpt-1/model.ckpt-007", 7)]
)
def test_global_step_of_a_path(path, step):
    assert get_global_step(path) == step


@pytest.mark.parametrize("path", ["", "model.ckpt-", "model.ckpt-x", "model.ckpt", "model.ckpt-1.index", "ckpt-٣"])
def test_paths_without_a_step(path):
    with pytest.raises(InvalidArgumentError, match=r"want one that ends in model\.ckpt-<step>"):
        get_global_step(path)


class TestPrune:
    def test_what_is_not_kept_goes_with_its_entry(self, tmp_path):
        fill(tmp_path, [1, 2, 3, 4])
        assert prune_exports(tmp_path, {2, 4, 9}) == [str(tmp_path / "1001"), str(tmp_path / "1003")]
        assert sorted(os.listdir(tmp_path)) == ["1002", "1004", STATE_FILENAME]
        assert books(tmp_path) == {"1002": 2, "1004": 4}
        before = os.stat(tmp_path / STATE_FILENAME).st_ino
        assert prune_exports(tmp_path, {2, 4}) == []
        assert os.stat(tmp_path / STATE_FILENAME).st_ino == before

    def test_names_may_be_floats_and_a_folder_relative(self, tmp_path, monkeypatch):
        make_version(tmp_path / "base" / "1690000000.25")
        make_version(tmp_path / "base" / "1690000001.5")
        monkeypatch.chdir(tmp_path)
        record_exports(["base/1690000000.25"], 1, lambda folder: set())
        record_exports(["base/1690000001.5"], 2, lambda folder: set())
        assert versions(tmp_path / "base") == ["1690000001.5"]

    def test_what_is_gone_already_is_crossed_out(self, tmp_path, caplog):
        fill(tmp_path, [1, 2])
        os.rename(tmp_path / "1001", tmp_path / "elsewhere")
        assert prune_exports(tmp_path, {2}) == []
        assert books(tmp_path) == {"1002": 2}
        assert is_whole(tmp_path / "elsewhere")
        assert "removed by somebody else" in caplog.text

    def test_a_directory_exported_again_has_one_entry(self, tmp_path):
        fill(tmp_path, [1])
        record_export(tmp_path / "1001", 5)
        assert books(tmp_path) == {"1001": 5}
        assert len(read_export_state(tmp_path).entries) == 1

    def test_a_directory_that_an_entry_keeps_stays(self, tmp_path):
        path = str(make_version(tmp_path / "1"))
        entries = [ServingEntry(export_dir=path, global_step=step) for step in (1, 2)]
        write_export_state(tmp_path, ServingModelState(entries=entries))
        assert prune_exports(tmp_path, {2}) == []
        assert is_whole(tmp_path / "1")
        assert books(tmp_path) == {"1": 2}

    def test_a_folder_known_by_another_path(self, tmp_path):
        fill(tmp_path / "real", [1, 2])
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert prune_exports(tmp_path / "link", {2}) == [str(tmp_path / "link" / "1001")]
        assert versions(tmp_path / "real") == ["1002"]

    @pytest.mark.parametrize(
        "hostile",
        [
            "{outside}",
            "{base}/../outside",
            "{base}/1/../../outside",
            "{base}",
            "{base}/",
            "{base}/.",
            "{base}/..",
            "{base}/sub/5",
            "{base}/link",
            "{base}/file",
            "{base}/temp-5-1-0123456789abcdef",
            "outside",
            "5",
            "/",
            "",
            ".",
            "{base}/\x00",
        ],
    )
    def test_nothing_but_a_version_of_the_folder_is_removed(self, tmp_path, monkeypatch, hostile, caplog):
        base = fill(tmp_path / "base", [1])
        outside = make_version(tmp_path / "outside")
        make_version(base / "sub" / "5")
        make_version(base / "temp-5-1-0123456789abcdef")
        (base / "link").symlink_to(outside)
        (base / "file").write_text("mine")
        monkeypatch.chdir(tmp_path)
        path = hostile.format(base=base, outside=outside)
        state = read_export_state(base)
        state.entries.add(export_dir=path, global_step=9)
        state.entries.add(export_dir=path)
        write_export_state(base, state)
        before = sorted(tmp_path.rglob("*"))
        assert prune_exports(base, {1}) == []
        assert sorted(tmp_path.rglob("*")) == before
        assert read_export_state(base) == state
        assert "which is not removed" in caplog.text

    def test_a_failed_removal_stays_on_the_books(self, tmp_path, monkeypatch):
        fill(tmp_path / "entry", [1])
        fill(tmp_path / "ps_0", [1])
        for name in ("entry", "ps_0"):
            make_version(tmp_path / name / "1002")

        def fail(source, target):
            raise PermissionError(13, "not allowed", str(source))

        monkeypatch.setattr("mexport_pb.export.publish.rename_noreplace", fail)
        with pytest.raises(PermissionError, match="entry/1001"):
            record_exports([str(tmp_path / name / "1002") for name in ("ps_0", "entry")], 2, lambda folder: set())
        for name in ("entry", "ps_0"):
            assert books(tmp_path / name) == {"1001": 1, "1002": 2}
            assert versions(tmp_path / name) == ["1001", "1002"]

    def test_without_steps_to_keep_nothing_goes(self, tmp_path):
        fill(tmp_path, [1])
        assert record_exports([str(make_version(tmp_path / "7"))], 7) == []
        assert books(tmp_path) == {"1001": 1, "7": 7}


class TestCrash:
    """The process ends before each of its looks at files, one after another."""

    def die_at(self, action, number):
        """Run in a child that ends at once at its event `number`; tell whether it got there."""
        child = os.fork()
        if child == 0:
            left = [number]

            def hook(event, arguments):
                if event.startswith(("os.", "open", "shutil.", "ctypes.", "fcntl.")):
                    left[0] -= 1
                    if left[0] < 0:
                        os._exit(9)

            logging.disable()
            sys.addaudithook(hook)
            try:
                action()
            except BaseException:
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9)
        return status == 9

    def test_no_directory_is_lost_from_the_books_and_none_is_half(self, tmp_path):
        number = 0
        seen = set()
        while True:
            base = fill(tmp_path / str(number), [1, 2, 3, 4])
            died = self.die_at(lambda base=base: prune_exports(base, {3, 4}), number)
            there = versions(base)
            assert all(is_whole(base / name) for name in there)
            assert {"1003", "1004"} <= set(there) <= set(books(base))
            seen.add((len(there), len(books(base))))
            remove_dead_stagings(base)
            prune_exports(base, {3, 4})
            assert sorted(os.listdir(base)) == ["1003", "1004", STATE_FILENAME, *self.leftover(base)]
            assert books(base) == {"1003": 3, "1004": 4}
            if not died:
                break
            number += 1
        assert seen == {(4, 4), (3, 4), (2, 4), (2, 2)}

    def leftover(self, base):
        """The temporary file of a state that was not finished."""
        return sorted(name for name in os.listdir(base) if name.startswith(f"{STATE_FILENAME}-tmp-"))

    def test_an_entry_never_outlives_what_it_calls(self, tmp_path):
        number = 0
        while True:
            base = tmp_path / str(number)
            names = ("entry", "dense_0", "ps_0", "ps_1")
            for name in names:
                fill(base / name, [1])
                make_version(base / name / "1002")
            paths = [str(base / name / "1002") for name in reversed(names)]
            died = self.die_at(lambda paths=paths: record_exports(paths, 2, lambda folder: {2}), number)
            for name in names:
                assert set(versions(base / "entry")) <= set(versions(base / name))
                assert all(is_whole(base / name / version) for version in versions(base / name))
            record_exports(paths, 2, lambda folder: {2})
            assert [versions(base / name) for name in names] == [["1002"]] * 4
            assert [books(base / name) for name in names] == [{"1002": 2}] * 4
            if not died:
                break
            number += 1
        assert number > 50


def test_listeners_beside_each_other_lose_no_entry(tmp_path):
    def listen(job):
        for step in range(job, 40, 4):
            record_exports([str(make_version(tmp_path / str(step)))], step, lambda folder: range(0, 40, 2))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(listen, range(4)))
    prune_exports(tmp_path, range(0, 40, 2))
    assert books(tmp_path) == {str(step): step for step in range(0, 40, 2)}
    assert versions(tmp_path) == sorted(str(step) for step in range(0, 40, 2))
    assert len(os.listdir(tmp_path)) == 21


def test_the_next_export_removes_what_a_killed_removal_left(tmp_path):
    left = make_version(tmp_path / "temp-1001-1-0123456789abcdef")
    (withdrawn,) = withdraw_directories([make_version(tmp_path / "1001")])
    with staged_directory(tmp_path / "1002") as staged:
        assert not left.exists()
        assert not withdrawn.exists()
        staged.commit()
    assert os.listdir(tmp_path) == ["1002"]
