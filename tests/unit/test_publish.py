import errno
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from mexport_pb.errors import InvalidArgumentError, VersionExistsError
from mexport_pb.export import publish, version
from mexport_pb.export.publish import StagedDirectory, remove_dead_stagings, staged_directory


def tree(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_commit_publishes_all_files(tmp_path):
    with staged_directory(tmp_path / "base" / "7") as staged:
        (staged.path / "sub").mkdir()
        (staged.path / "sub" / "file").write_bytes(b"x")
        assert not staged.target.exists()
        assert staged.path.parent == staged.target.parent
        assert not staged.path.name.isdecimal()
        assert staged.commit() == tmp_path / "base" / "7"
    assert tree(tmp_path) == ["base", "base/7", "base/7/sub", "base/7/sub/file"]


def test_leaving_without_commit_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), staged_directory(tmp_path / "7") as staged:
        (staged.path / "file").write_bytes(b"x")
        raise KeyError
    assert tree(tmp_path) == []


@pytest.mark.parametrize("kind", ["empty directory", "full directory", "file", "dangling link"])
def test_existing_target_is_refused_and_not_touched(tmp_path, kind):
    target = tmp_path / "7"
    if kind == "file":
        target.write_text("mine")
    elif kind == "dangling link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        if kind == "full directory":
            (target / "mine").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(VersionExistsError, match="7: the export target is there already"):
        StagedDirectory(target)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("rename", ["renameat2", "plain rename"])
@pytest.mark.parametrize("kind", ["empty directory", "full directory", "file"])
def test_target_that_appears_meanwhile_is_not_touched(tmp_path, kind, rename, monkeypatch):
    if rename == "plain rename":
        monkeypatch.setattr(publish, "_renameat2", lambda source, target: errno.EINVAL)
    with staged_directory(tmp_path / "7") as staged:
        (staged.path / "ours").write_text("ours")
        if kind == "file":
            staged.target.write_text("mine")
        else:
            staged.target.mkdir()
            if kind == "full directory":
                (staged.target / "mine").write_text("mine")
        before = tree(staged.target)
        with pytest.raises(VersionExistsError):
            staged.commit()
        assert staged.path.exists()
    assert tree(staged.target) == before
    assert [p.name for p in tmp_path.iterdir()] == ["7"]


def test_plain_rename_publishes_where_noreplace_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "_renameat2", lambda source, target: errno.EINVAL)
    with staged_directory(tmp_path / "7") as staged:
        (staged.path / "ours").write_text("ours")
        staged.commit()
    assert tree(tmp_path) == ["7", "7/ours"]


def test_other_rename_errors_are_raised_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "_renameat2", lambda source, target: errno.ENOSPC)
    with pytest.raises(OSError, match="No space left") as raised, staged_directory(tmp_path / "7") as staged:
        staged.commit()
    assert raised.value.errno == errno.ENOSPC
    assert tree(tmp_path) == []


def test_files_are_synced_before_the_rename_and_the_parent_after(tmp_path, monkeypatch):
    events = []
    real_rename = publish._renameat2
    monkeypatch.setattr(publish, "sync", lambda path: events.append(os.path.basename(path)))
    monkeypatch.setattr(publish, "_renameat2", lambda s, t: events.append("rename") or real_rename(s, t))
    with staged_directory(tmp_path / "7") as staged:
        (staged.path / "sub").mkdir()
        (staged.path / "sub" / "inner").touch()
        (staged.path / "outer").touch()
        name = staged.path.name
        staged.commit()
    assert events == ["inner", "sub", "outer", name, "rename", tmp_path.name]


def test_a_taken_target_gives_way_to_the_next(tmp_path):
    (tmp_path / "7").mkdir()
    with staged_directory(tmp_path / "7", next_target=lambda: tmp_path / "8") as staged:
        assert staged.commit() == tmp_path / "8"
    assert tree(tmp_path) == ["7", "8"]


CHILD = textwrap.dedent("""
    import sys, time
    from mexport_pb.export.publish import StagedDirectory
    staged = StagedDirectory(sys.argv[1])
    (staged.path / "big").write_bytes(b"x" * 1000)
    print(staged.path, flush=True)
    time.sleep(600)
""")


def start_exporter(target):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(target)], stdout=subprocess.PIPE, text=True)
    return child, child.stdout.readline().strip()


def test_a_dead_exporters_leavings_are_removed_and_a_living_ones_kept(tmp_path):
    living, living_path = start_exporter(tmp_path / "1")
    dead, dead_path = start_exporter(tmp_path / "2")
    try:
        assert os.path.isdir(dead_path)
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        with staged_directory(tmp_path / "3") as staged:
            staged.commit()
        assert not os.path.exists(dead_path)
        assert os.path.isfile(os.path.join(living_path, "big"))
    finally:
        for child in (living, dead):
            child.kill()
            child.wait()
            child.stdout.close()
    assert [str(p) for p in remove_dead_stagings(tmp_path)] == [living_path]
    assert tree(tmp_path) == ["3"]


@pytest.mark.parametrize(
    "name", ["temp-5", "temp-notes", "temp-5-12-xyz", "temp-5-12-0123456789ABCDEF", "5", "temporary"]
)
def test_folders_of_other_makers_are_kept(tmp_path, name):
    (tmp_path / name).mkdir()
    assert remove_dead_stagings(tmp_path) == []
    assert tree(tmp_path) == [name]


def test_links_that_look_like_stagings_are_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "temp-5-12-0123456789abcdef").symlink_to(tmp_path / "precious")
    assert remove_dead_stagings(tmp_path) == []
    assert (tmp_path / "precious" / "file").exists()


def test_parallel_exports_get_versions_of_their_own(tmp_path):
    def export(number):
        next_target = partial(version.timestamped_directory, tmp_path)
        with staged_directory(next_target(), next_target=next_target) as staged:
            (staged.path / "who").write_text(str(number))
            return staged.commit()

    with ThreadPoolExecutor(5) as pool:
        paths = list(pool.map(export, range(5)))
    assert len(set(paths)) == 5
    assert {(p / "who").read_text() for p in paths} == {str(n) for n in range(5)}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    assert all(p.name.isdecimal() for p in paths)


def test_a_negative_version_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="got version -1"):
        version.versioned_directory(tmp_path, -1)
