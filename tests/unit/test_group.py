"""Commits of several directories as one; tests/unit/test_distributed_kills.py kills them."""

import contextlib
import errno
import json
import os
import threading
import time

import pytest

from mexport_pb.errors import PublishError, VersionExistsError
from mexport_pb.export import group as group_module, journal, publish
from mexport_pb.export.group import GroupMember, StagedGroup, recovered_base, staged_group
from mexport_pb.export.journal import JOURNAL_NAME, JournalMember, locked_base

MEMBERS = [GroupMember("dense_0"), GroupMember("ps_0"), GroupMember("ps_1", "_b"), GroupMember("entry")]


def fill(group):
    for path in group.paths:
        (path / "sub").mkdir()
        (path / "sub" / "file").write_bytes(b"x")


def commit(base, version=7, members=MEMBERS, **options):
    with staged_group(base, members, version, **options) as group:
        fill(group)
        return group.commit()


def tree(base):
    return sorted(str(p.relative_to(base)) for p in base.glob("*/*"))


ALL = ["dense_0/7", "entry/7", "ps_0/7", "ps_1/7_b"]


class Died(BaseException):
    """Stands for the end of the process."""


@contextlib.contextmanager
def dying(monkeypatch, at):
    """The renames and syncs of the commit fail from number ``at`` on, with what no handler can do something about."""
    count = [0]

    def wrap(function):
        def call(*args):
            count[0] += 1
            if count[0] >= at:
                raise Died
            return function(*args)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((publish, "_renameat2"), (os, "rename"), (os, "unlink")):
            patch.setattr(module, name, wrap(getattr(module, name)))
        yield


def leave_dead(base, monkeypatch, renames, members=MEMBERS, version=7):
    """What an exporter leaves that died after some renames."""
    group = StagedGroup(base, members, version)
    fill(group)
    with dying(monkeypatch, renames + 1), pytest.raises(Died):
        group.commit()
    for staged in group._staged:
        staged.release()


def test_all_are_published_and_nothing_is_left(tmp_path):
    base = tmp_path / "models"
    paths = commit(base)
    assert paths == [base / "dense_0" / "7", base / "ps_0" / "7", base / "ps_1" / "7_b", base / "entry" / "7"]
    assert tree(base) == ALL
    assert sorted(os.listdir(base)) == ["dense_0", "entry", "ps_0", "ps_1"]
    assert all((path / "sub" / "file").read_bytes() == b"x" for path in paths)


def test_leaving_without_commit_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), staged_group(tmp_path / "models", MEMBERS, 7) as group:
        fill(group)
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_the_order_survives_power_loss(tmp_path, monkeypatch):
    """Every sync comes before the step that relies on it."""
    base = tmp_path / "models"
    events = []

    def log(event):
        events.append(event)

    real_fsync, real_rename, real_unlink = os.fsync, publish._renameat2, os.unlink

    def fsync(fd):
        path = os.readlink(f"/proc/self/fd/{fd}")
        if "temp-" in path:
            log("sync staged")
        else:
            log(f"sync {os.path.relpath(path, tmp_path)}")
        real_fsync(fd)

    def rename(source, target):
        log(f"rename {os.path.relpath(target, base)}")
        return real_rename(source, target)

    def unlink(path, **options):
        log(f"unlink {os.path.basename(path)}")
        real_unlink(path, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(publish, "_renameat2", rename)
    monkeypatch.setattr(os, "unlink", unlink)
    commit(base)
    # Each has a folder, its file, and itself.
    assert events.count("sync staged") == 3 * len(MEMBERS)
    rest = [event for event in events if event != "sync staged"]
    last_staged = len(events) - 1 - events[::-1].index("sync staged")
    assert last_staged < events.index(f"sync models/{JOURNAL_NAME}")
    begin = rest.index(f"sync models/{JOURNAL_NAME}")
    assert set(rest[:begin]) == {"sync models", "sync ."}, "the names of folders that were made"
    assert rest[begin:] == [
        f"sync models/{JOURNAL_NAME}",
        "sync models",
        "rename dense_0/7",
        "rename ps_0/7",
        "rename ps_1/7_b",
        "sync models/dense_0",
        "sync models/ps_0",
        "sync models/ps_1",
        "rename entry/7",
        "sync models/entry",
        f"unlink {JOURNAL_NAME}",
        "sync models",
    ]


@pytest.mark.parametrize("name", ["entry/7", "ps_1/7_b"])
def test_a_target_that_is_there_is_an_error_and_not_touched(tmp_path, name):
    base = tmp_path / "models"
    (base / name).mkdir(parents=True)
    (base / name / "mine").touch()
    with pytest.raises(VersionExistsError, match=name):
        commit(base)
    assert tree(base) == [name]
    assert (base / name / "mine").exists()


@pytest.mark.parametrize("name", ["dense_0/7", "ps_1/7_b", "entry/7"])
@pytest.mark.parametrize("when", ["before the commit", "within the commit"])
def test_a_target_that_appears_meanwhile(tmp_path, monkeypatch, name, when):
    base = tmp_path / "models"

    def appear():
        (base / name).mkdir()
        (base / name / "mine").touch()

    with pytest.raises(VersionExistsError, match=name), staged_group(base, MEMBERS, 7) as group:
        fill(group)
        if when == "before the commit":
            appear()
        else:
            real = group_module.write_journal
            monkeypatch.setattr(group_module, "write_journal", lambda *args: (real(*args), appear()))
        group.commit()
    assert tree(base) == [name]
    assert not (base / JOURNAL_NAME).exists()


@pytest.mark.parametrize("within", [False, True])
def test_all_move_to_the_next_version_together(tmp_path, monkeypatch, within):
    base = tmp_path / "models"
    versions = iter([8, 9])
    with staged_group(base, MEMBERS, 7, next_version=lambda: next(versions)) as group:
        fill(group)
        (base / "ps_0" / "7").mkdir()
        if within:
            real = group_module.write_journal

            def write(*args):
                real(*args)
                (base / "entry" / "8").mkdir(exist_ok=True)

            monkeypatch.setattr(group_module, "write_journal", write)
        found = group.commit()
    version = 9 if within else 8
    assert [path.name for path in found] == [f"{version}{member.suffix}" for member in MEMBERS]
    strangers = ["ps_0/7", "entry/8"] if within else ["ps_0/7"]
    assert tree(base) == sorted([*strangers, *(str(p.relative_to(base)) for p in found)])
    assert sorted(os.listdir(base)) == sorted(member.name for member in MEMBERS)


def failing(function, at, error):
    count = [0]

    def call(*args, **kwargs):
        count[0] += 1
        if count[0] == at:
            raise error
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_rename_that_fails_takes_all_back(tmp_path, monkeypatch, at, error):
    base = tmp_path / "models"
    monkeypatch.setattr(publish, "_renameat2", failing(publish._renameat2, at, error))
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else PublishError
    with pytest.raises(expected) as raised:
        commit(base)
    assert list(tmp_path.iterdir()) == []
    if expected is PublishError:
        names = ", ".join(["dense_0", "ps_0", "ps_1"][: at - 1]) or "nothing"
        assert f"version 7 was not published: [Errno 5] Input/output error; {names} had been renamed and was" in str(
            raised.value
        )


@pytest.mark.parametrize("function", ["fsync", "unlink"])
def test_a_journal_that_cannot_be_written_or_removed(tmp_path, monkeypatch, function):
    base = tmp_path / "models"
    real = getattr(os, function)

    def fail(what, **options):
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fspath(what)
        if os.path.basename(path) == JOURNAL_NAME:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(what, **options)

    published = function == "unlink"
    message = "was published, but is perhaps not" if published else "was not published: .*No space.*nothing had been"
    with monkeypatch.context() as patch, pytest.raises(PublishError, match=message):
        patch.setattr(os, function, fail)
        commit(base)
    if not published:
        assert list(tmp_path.iterdir()) == []
        return
    assert tree(base) == ALL
    with recovered_base(base):
        pass
    assert sorted(os.listdir(base)) == ["dense_0", "entry", "ps_0", "ps_1"]


def test_interrupted_after_the_last_rename_the_version_stays(tmp_path, monkeypatch):
    base = tmp_path / "models"
    real, count = publish._renameat2, [0]

    def rename(source, target):
        count[0] += 1
        found = real(source, target)
        if count[0] == 4:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "_renameat2", rename)
        commit(base)
    assert tree(base) == ALL
    assert (base / JOURNAL_NAME).exists()
    with recovered_base(base):
        assert not (base / JOURNAL_NAME).exists()
    assert tree(base) == ALL


def test_a_version_that_may_not_be_durable_stays_and_is_synced_by_the_next(tmp_path, monkeypatch):
    base = tmp_path / "models"
    with monkeypatch.context() as patch:
        real = group_module.sync

        def sync(path):
            if path == base / "entry":
                raise OSError(errno.EIO, "Input/output error")
            real(path)

        patch.setattr(group_module, "sync", sync)
        with pytest.raises(PublishError, match="version 7 was published, but is perhaps not durable"):
            commit(base)
    assert tree(base) == ALL
    synced = []
    real_sync = journal.sync
    monkeypatch.setattr(journal, "sync", lambda path: (synced.append(path), real_sync(path)))
    with recovered_base(base):
        pass
    assert synced == [*(base / member.name for member in MEMBERS), base]
    assert sorted(os.listdir(base)) == ["dense_0", "entry", "ps_0", "ps_1"]


def test_what_cannot_be_taken_back_is_left_to_the_next_export(tmp_path, monkeypatch):
    base = tmp_path / "models"
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_renameat2", failing(publish._renameat2, 3, OSError(errno.EIO, "Input/output error")))
        patch.setattr(os, "rename", failing(os.rename, 1, OSError(errno.EROFS, "Read-only file system")))
        with pytest.raises(PublishError, match=r"could not be taken back: .*Read-only.*the next export will try again"):
            commit(base)
    assert tree(base) == ["dense_0/7", "ps_0/7"]
    assert (base / JOURNAL_NAME).exists()
    with recovered_base(base):
        pass
    commit(base)
    assert tree(base) == ALL


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_an_unfinished_version_of_a_dead_exporter_is_removed(tmp_path, monkeypatch, renames):
    base = tmp_path / "models"
    leave_dead(base, monkeypatch, renames)
    assert len([name for name in tree(base) if "temp" not in name]) == renames
    assert (base / JOURNAL_NAME).exists()
    with recovered_base(base):
        assert not [name for name in tree(base) if "temp" not in name]
    assert tree(base) == []
    assert not (base / JOURNAL_NAME).exists()


def test_a_finished_version_of_a_dead_exporter_stays(tmp_path, monkeypatch):
    base = tmp_path / "models"
    leave_dead(base, monkeypatch, 4)
    with recovered_base(base):
        pass
    assert tree(base) == ALL
    assert not (base / JOURNAL_NAME).exists()


def test_what_somebody_else_put_there_stays(tmp_path, monkeypatch):
    base = tmp_path / "models"
    leave_dead(base, monkeypatch, 2)
    # An operator moved it away, and put another one there.
    (base / "ps_0" / "7").rename(tmp_path / "away")
    (base / "ps_0" / "7").mkdir()
    (base / "ps_0" / "7" / "mine").touch()
    with recovered_base(base):
        pass
    assert tree(base) == ["ps_0/7"]
    assert (base / "ps_0" / "7" / "mine").exists()
    assert (tmp_path / "away" / "sub" / "file").exists()


def test_members_stay_where_an_entry_may_use_them(tmp_path, monkeypatch, caplog):
    base = tmp_path / "models"
    leave_dead(base, monkeypatch, 2)
    (base / "entry" / "7").mkdir()
    with recovered_base(base):
        pass
    assert tree(base) == ["dense_0/7", "entry/7", "ps_0/7"]
    assert "left dense_0/7, ps_0/7 alone, for entry/7 is there from elsewhere" in caplog.text


def test_without_an_entry_the_last_member_decides(tmp_path, monkeypatch):
    base = tmp_path / "models"
    leave_dead(base, monkeypatch, 1, members=MEMBERS[:2])
    assert [name for name in tree(base) if "temp" not in name] == ["dense_0/7"]
    commit(base, 8, MEMBERS[:2])
    assert tree(base) == ["dense_0/8", "ps_0/8"]


def test_an_exporter_that_dies_while_another_one_stages(tmp_path, monkeypatch):
    base = tmp_path / "models"
    with staged_group(base, MEMBERS, 8) as group:
        fill(group)
        leave_dead(base, monkeypatch, 2)
        group.commit()
    assert tree(base) == [name.replace("7", "8") for name in ALL]
    assert not (base / JOURNAL_NAME).exists()


def test_a_living_exporters_staging_is_left_alone(tmp_path):
    base = tmp_path / "models"
    with staged_group(base, MEMBERS, 7) as living:
        fill(living)
        commit(base, 8)
        with recovered_base(base):
            pass
        assert all((path / "sub" / "file").exists() for path in living.paths)
        living.commit()
    assert tree(base) == sorted([*ALL, *(name.replace("7", "8") for name in ALL)])


def test_commits_wait_for_each_other(tmp_path):
    base = tmp_path / "models"
    with staged_group(base, MEMBERS, 7) as group:
        fill(group)
        with locked_base(base):
            thread = threading.Thread(target=group.commit)
            thread.start()
            time.sleep(0.05)
            assert tree(base) == sorted(str(path.relative_to(base)) for path in group.paths)
        thread.join()
    assert tree(base) == ALL


def test_a_base_that_stays_locked_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_LOCK_SECONDS", 0.01)
    with (
        locked_base(tmp_path),
        pytest.raises(PublishError, match="has held its lock for too long"),
        recovered_base(tmp_path),
    ):
        pass


def text_of(member, **changes):
    value = {"path": member.path, "inode": member.inode, "mtime_ns": member.mtime_ns, **changes}
    last = {"path": "entry/7", "inode": 1, "mtime_ns": 1}
    return json.dumps({"format": 1, "guard": "entry/7", "members": [value, last]})


@pytest.mark.parametrize(
    "damage",
    [
        lambda member: "",
        lambda member: text_of(member)[:-1],
        lambda member: "[1]",
        lambda member: "[" * 100_000,
        lambda member: "\udcff",
        lambda member: json.dumps({"format": 1, "guard": "entry/7", "members": []}),
        lambda member: text_of(member).replace('"format": 1', '"format": 2'),
        lambda member: text_of(member).replace("entry/7", "../7", 1),
        lambda member: text_of(member, path="../victim"),
        lambda member: text_of(member, path="/victim"),
        lambda member: text_of(member, path="victim/../7"),
        lambda member: text_of(member, path="ps/a/7"),
        lambda member: text_of(member, path=7),
        lambda member: text_of(member, inode=True),
        lambda member: text_of(member, mtime_ns="1"),
        lambda member: text_of(member) + " " * (1 << 20),
    ],
)
def test_a_damaged_journal_removes_nothing_but_itself(tmp_path, damage, caplog):
    base = tmp_path / "models"
    (base / "ps" / "7").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    member = JournalMember.of("ps/7", base / "ps" / "7")
    (base / JOURNAL_NAME).write_bytes(damage(member).encode(errors="surrogateescape"))
    with recovered_base(base):
        pass
    assert tree(base) == ["ps/7"]
    assert (tmp_path / "victim").is_dir()
    assert not (base / JOURNAL_NAME).exists()
    assert "removed an incomplete journal" in caplog.text
    # The same text undamaged does remove it.
    (base / JOURNAL_NAME).write_text(text_of(member))
    with recovered_base(base):
        pass
    assert tree(base) == []


def test_a_link_in_place_of_a_member_is_not_followed(tmp_path):
    base = tmp_path / "models"
    (base / "ps").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    member = JournalMember.of("ps/7", tmp_path / "precious")
    (base / "ps" / "7").symlink_to(tmp_path / "precious")
    (base / JOURNAL_NAME).write_text(text_of(member))
    with recovered_base(base):
        pass
    assert (base / "ps" / "7").is_symlink()
    assert (tmp_path / "precious").is_dir()


def test_nothing_is_made_to_clean_up(tmp_path):
    with recovered_base(tmp_path / "models"):
        pass
    assert list(tmp_path.iterdir()) == []
