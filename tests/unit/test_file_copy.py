"""Files that the kernel copies, and their second names."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from mexport_pb.errors import MismatchError
from mexport_pb.export import file_copy
from mexport_pb.export.file_copy import copy_file, link_file


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3_000_001))
    return path


def refusing(number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return refuse


def test_the_bytes_do_not_pass_through_this_process(source, tmp_path, monkeypatch):
    with open(source, "rb") as reader, open(tmp_path / "probe", "wb") as writer:
        if file_copy._copy_range(reader.fileno(), writer.fileno(), 9, None) is None:
            pytest.skip("the file system has no copy_file_range")
    monkeypatch.setattr(shutil, "copyfileobj", None)
    monkeypatch.setattr(file_copy, "_MOST_AT_ONCE", 1 << 20)
    copy_file(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    source.write_bytes(b"")
    copy_file(source, tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_kernel_does_not_copy(number, source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "copy_file_range", refusing(number))
    copy_file(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_a_full_disk_is_an_error(source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "copy_file_range", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        copy_file(source, tmp_path / "copy")


@pytest.mark.parametrize("change", [b"more", None])
def test_a_file_that_changes_meanwhile(change, source, tmp_path, monkeypatch):
    def changing(reader, writer, size, check):
        if change:
            with source.open("ab") as file:
                file.write(change)
        else:
            os.truncate(source, 5)
        return None

    monkeypatch.setattr(file_copy, "_copy_range", changing)
    with pytest.raises(MismatchError, match="it changed while it was copied"):
        copy_file(source, tmp_path / "copy")


def test_what_is_no_file_of_its_own(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    os.mkfifo(tmp_path / "pipe")
    copy_file(tmp_path / "link", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    with pytest.raises(OSError, match="symbolic links"):
        copy_file(tmp_path / "link", tmp_path / "other", follow_links=False)
    for refused in ("link", "pipe"):
        with pytest.raises(MismatchError, match="got no regular file"):
            link_file(tmp_path / refused, tmp_path / "other")
        assert not os.path.lexists(tmp_path / "other")
    with pytest.raises(MismatchError, match="got no regular file"):
        copy_file(tmp_path / "pipe", tmp_path / "other")


@pytest.mark.parametrize("function", [copy_file, link_file])
def test_nothing_is_written_over(function, source, tmp_path):
    (tmp_path / "there").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        function(source, tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"x"


def test_a_second_name(source, tmp_path):
    link_file(source, tmp_path / "link")
    assert os.path.samefile(source, tmp_path / "link")


def test_a_file_system_without_second_names_copies_and_says_so(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    link_file(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert not os.path.samefile(source, tmp_path / "copy")
    assert "copied, for it cannot be linked" in caplog.text
    monkeypatch.setattr(os, "link", refusing(errno.EACCES))
    with pytest.raises(PermissionError):
        link_file(source, tmp_path / "other")
