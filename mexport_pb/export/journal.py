"""The lock and the journal of commits of several directories: docs/distributed.md has the protocol.

Whoever holds the lock of a base and finds a journal there knows that its writer is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mexport_pb.check import check_asset_filename
from mexport_pb.errors import DataError, InvalidArgumentError, PublishError
from mexport_pb.export.publish import is_same_directory, staging_name, sync

__all__ = ["JOURNAL_NAME", "Journal", "JournalMember", "locked_base", "recover", "remove_journal", "write_journal"]

JOURNAL_NAME: Final = ".mexport-commit"
_FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 20
_LOCK_TRY_SECONDS: Final = 0.02
_LOCK_SECONDS = 600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JournalMember:
    """A directory that gets its name.

    Attributes:
        path: ``<name>/<version>`` below the base.
        inode: Its inode number.
        mtime_ns: When its list of names last changed: renames of the directory itself keep that.
    """

    path: str
    inode: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str, directory: Path) -> JournalMember:
        """The entry for a staged directory."""
        status = os.lstat(directory)
        return cls(path, status.st_ino, status.st_mtime_ns)

    def is_at(self, base: Path) -> bool:
        """Whether the directory, and no other, has the name."""
        try:
            status = os.lstat(base / self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISDIR(status.st_mode) and (status.st_ino, status.st_mtime_ns) == (self.inode, self.mtime_ns)


@dataclass(frozen=True)
class Journal:
    """What a commit is about to do.

    Attributes:
        guard: The path that, once it is there, may make readers use the members.
        members: In the order of renaming; with the last one the commit is done.
    """

    guard: str
    members: tuple[JournalMember, ...]


@contextlib.contextmanager
def locked_base(base: Path) -> Iterator[None]:
    """Holds the lock of a base folder, which is there, for the length of the block; waits for other holders.

    Raises:
        PublishError: Another process has held it for ten minutes.
        OSError: The folder cannot be opened or locked.
    """
    lock = _lock(base)
    try:
        yield
    finally:
        # Not by closing alone: a process that was forked meanwhile would keep the lock.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def write_journal(base: Path, journal: Journal) -> None:
    """Makes the journal, and makes it durable together with all names in the base.

    REQUIRES: the lock of the base, and no journal.
    """
    members = [{"path": m.path, "inode": m.inode, "mtime_ns": m.mtime_ns} for m in journal.members]
    text = json.dumps({"format": _FORMAT, "guard": journal.guard, "members": members})
    with open(base / JOURNAL_NAME, "x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync(base)


def remove_journal(base: Path) -> None:
    """Removes the journal, durably. REQUIRES: the lock of the base."""
    os.unlink(base / JOURNAL_NAME)
    sync(base)


def recover(base: Path) -> bool:
    """Finishes or undoes what an exporter that died has begun.

    REQUIRES: the lock of the base. What is undone has the name of a dead staging then, and is removed with those.

    Returns:
        Whether there was something.

    Raises:
        OSError: A rename or sync failed; the journal is still there.
    """
    try:
        journal = _read_journal(base / JOURNAL_NAME)
    except FileNotFoundError:
        return False
    except DataError as error:
        _log.warning("removed an incomplete journal, of an export that died before it renamed anything: %s", error)
        remove_journal(base)
        return True
    present = [member for member in journal.members if member.is_at(base)]
    if journal.members[-1] in present:
        _log.info("%s: finished a version that an export which died had published: %s", base, _names(journal.members))
    elif os.path.lexists(base / journal.guard):
        _log.warning("%s: left %s alone, for %s is there from elsewhere", base, _names(present), journal.guard)
    else:
        for member in reversed(present):
            os.rename(base / member.path, (base / member.path).parent / staging_name(base / member.path))
        _log.info("%s: took back %s, of an export that died", base, _names(present) or "nothing")
    for folder in dict.fromkeys((base / member.path).parent for member in present):
        sync(folder)
    remove_journal(base)
    return True


def _names(members: list[JournalMember] | tuple[JournalMember, ...]) -> str:
    return ", ".join(member.path for member in members)


def _lock(base: Path) -> int:
    deadline = time.monotonic() + _LOCK_SECONDS
    waiting = False
    while True:
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_same_directory(base, fd):
                return fd
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if time.monotonic() > deadline:
            raise PublishError(f"{base}: another export, or a process that it started, has held its lock for too long")
        if not waiting:
            _log.info("%s: waiting for another export that publishes there", base)
            waiting = True
        time.sleep(_LOCK_TRY_SECONDS)


def _read_journal(path: Path) -> Journal:
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError("it is too long")
        return _parse(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"not a journal: {error}", path=path) from error


def _parse(value: Any) -> Journal:
    if value["format"] != _FORMAT or not isinstance(value["members"], list) or not value["members"]:
        raise ValueError(f"got format {value['format']!r}, want {_FORMAT} with members")
    members = tuple(
        JournalMember(_path(member["path"]), _number(member["inode"]), _number(member["mtime_ns"]))
        for member in value["members"]
    )
    return Journal(_path(value["guard"]), members)


def _path(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"path: got {type(value).__name__}")
    parts = value.split("/")
    if len(parts) != 2:
        raise ValueError(f"path: got {value!r}, want <name>/<version>")
    for part in parts:
        try:
            check_asset_filename(part)
        except InvalidArgumentError as error:
            raise ValueError(str(error)) from error
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"number: got {type(value).__name__}")
    return value
