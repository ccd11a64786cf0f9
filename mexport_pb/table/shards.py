"""The set of files that a table dump is: their names, which of them belong together, and how a set is replaced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeAlias

from mexport_pb.errors import InvalidArgumentError, TableError

__all__ = [
    "PathLike",
    "auto_shard_count",
    "complete_shards",
    "find_shards",
    "group_shards",
    "locked_folder",
    "shard_path",
]

PathLike: TypeAlias = str | os.PathLike[str]

_SUFFIX = re.compile(r"-([0-9]{5})-of-([0-9]{5})")
_SUFFIX_LENGTH = len("-00000-of-00000")
_MAX_SHARDS = 99_999
_AUTO_SHARD_ENTRIES = 1_000_000
_MAX_AUTO_SHARDS = 4
_LOCK_SECONDS = 60
_LOCK_RETRY_SECONDS = 0.01


def shard_path(basename: PathLike, shard: int, num_shards: int) -> str:
    """``<basename>-00000-of-00004``."""
    return f"{os.fspath(basename)}-{shard:05d}-of-{num_shards:05d}"


def auto_shard_count(entries: int) -> int:
    """How many files a table of so many entries gets when nobody says: one a million, at least 1, at most 4."""
    return min(_MAX_AUTO_SHARDS, max(1, entries // _AUTO_SHARD_ENTRIES))


def check_shard_count(num_shards: int | None, entries: int) -> int:
    """Return the number of files to write.

    Raises:
        InvalidArgumentError: for less than 1 or more than five digits can name.
    """
    if num_shards is None:
        return auto_shard_count(entries)
    if not 1 <= num_shards <= _MAX_SHARDS:
        raise InvalidArgumentError(f"num_shards: got {num_shards}, want 1 to {_MAX_SHARDS}")
    return num_shards


def list_shards(basename: PathLike) -> list[tuple[str, int, int]]:
    """Return path, shard and number of shards of each file that is named like a shard of ``basename``, sorted.

    Other files are none of ours: what a writer left unfinished, other tables whose names begin like this one's.
    """
    folder, name = os.path.split(_checked(os.fspath(basename)))
    try:
        names = os.listdir(folder or ".")
    except FileNotFoundError:
        return []
    own = group_shards(entry for entry in names if entry.startswith(name)).get(name, [])
    return [(os.path.join(folder, entry), shard, shards) for entry, shard, shards in own]


def find_shards(basename: PathLike) -> list[str]:
    """Return the files of a dump in the order of their numbers.

    Raises:
        TableError: when the basename has no name in it, when there are none, some are missing, they do not belong to
            one set, or one is no regular file: a device would pass for an empty shard, and a pipe for one that is not
            written yet.
    """
    base = os.fspath(basename)
    if _is_folder_name(base):
        raise TableError(f"basename: got {base!r}, want the name of a dump", path=base)
    paths = _complete(base, list_shards(base))
    for path in paths:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise TableError("not a regular file", path=path)
    return paths


def group_shards(names: Iterable[str]) -> dict[str, list[tuple[str, int, int]]]:
    """Return name, shard and number of shards of the files that are named like a shard, by what is in front of that.

    One look at a folder for all of its dumps.
    """
    groups: dict[str, list[tuple[str, int, int]]] = {}
    for entry in sorted(names):
        match = _SUFFIX.fullmatch(entry, max(0, len(entry) - _SUFFIX_LENGTH))
        if match:
            groups.setdefault(entry[: match.start()], []).append((entry, int(match[1]), int(match[2])))
    return groups


def complete_shards(basename: str, groups: Mapping[str, list[tuple[str, int, int]]]) -> list[str]:
    """Return a dump's files of :func:`group_shards` in the order of their numbers; errors of :func:`find_shards`."""
    return _complete(basename, groups.get(basename, []))


def _complete(base: str, shards: list[tuple[str, int, int]]) -> list[str]:
    if not shards:
        raise TableError("There is no valid sharded files", path=base)
    num_shards = shards[0][2]
    for path, shard, count in shards:
        if count != num_shards:
            raise TableError(f"doesn't match nshards: got {count}, want {num_shards}", path=path)
        if shard >= count:
            raise TableError(f"shard exceeds nshards: got {shard}, want less than {count}", path=path)
    present = {shard for _, shard, _ in shards}
    for shard in range(num_shards):
        if shard not in present:
            raise TableError(f"shard {shard} doesn't show up: got {len(present)} of {num_shards} files", path=base)
    return [path for path, _, _ in shards]


class ShardSet:
    """Notices that files were replaced while they were read one after another: nobody wants half of two dumps."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Remember what the files are. REQUIRES: none of them is open yet."""
        self._files = {path: _identity(path) for path in paths}

    def check(self) -> None:
        """Compare. REQUIRES: all of them have been opened.

        Raises:
            TableError: one is not the file that it was.
        """
        if len(self._files) > 1:
            for path, identity in self._files.items():
                if _identity(path) != identity:
                    raise TableError("the dump was replaced while it was read", path=path)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    # Not the inode, which some network file systems make up anew.
    return status.st_size, status.st_mtime_ns


def _is_folder_name(basename: str) -> bool:
    return os.path.basename(basename) in ("", os.curdir, os.pardir)


def _checked(basename: str) -> str:
    if "\0" in basename:
        raise InvalidArgumentError(f"basename: got {basename!r}, want no null byte in it")
    return basename


class ShardStaging:
    """New sets of shard files under temporary names, which replace the old sets at the end or not at all.

    A set is written and durable before anything old is touched. Then the old set is removed, and only then are the new
    files renamed, so that a crash in between leaves a set that readers refuse, never a mixture of two. Of several
    writers, in this or other processes, one at a time does that.
    """

    def __init__(self, basenames: Sequence[str], num_shards: int) -> None:
        """Create the folder, with its parents, and make up names for ``num_shards`` files of each basename.

        Raises:
            InvalidArgumentError: A basename has no name in it, or a null byte.
        """
        for base in basenames:
            if _is_folder_name(base):
                raise InvalidArgumentError(f"basename: got {base!r}, want the name of a dump")
        self._basenames = [_checked(base) for base in basenames]
        self._folders = {os.path.dirname(base) or "." for base in basenames}
        for folder in self._folders:
            os.makedirs(folder, exist_ok=True)
        targets = [[shard_path(base, i, num_shards) for i in range(num_shards)] for base in basenames]
        self.temporary = [[f"{path}-tmp-{secrets.randbits(64)}" for path in paths] for paths in targets]
        self._moves = [
            move
            for temporary, paths in zip(self.temporary, targets, strict=True)
            for move in zip(temporary, paths, strict=True)
        ]
        self._unwanted = [path for paths in self.temporary for path in paths]

    def commit(self) -> None:
        """Replace the old files. REQUIRES: all files are written and synced.

        Raises:
            TimeoutError: Somebody else keeps a folder locked; the old files are there.
        """
        with contextlib.ExitStack() as stack:
            for folder in sorted(self._folders):
                stack.enter_context(locked_folder(folder))
            self._replace()

    def _replace(self) -> None:
        old = [path for base in self._basenames for path, _, _ in list_shards(base)]
        for path in old:
            # Found before the first file is gone.
            if os.path.isdir(path) and not os.path.islink(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        for path in old:
            os.unlink(path)
        self._sync_folders()
        for source, target in self._moves:
            os.rename(source, target)
            self._unwanted.append(target)
        self._sync_folders()
        self._unwanted.clear()

    def _sync_folders(self) -> None:
        for folder in self._folders:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for path in self._unwanted:
            with contextlib.suppress(OSError):
                os.unlink(path)


@contextlib.contextmanager
def locked_folder(folder: str) -> Iterator[None]:
    """Be the only one who replaces files in a folder; does nothing where the file system cannot lock one.

    The writer of the TensorFlow ops (cpp/tf_ops/shard_files.cc) takes the same lock.

    Raises:
        TimeoutError: Somebody else keeps it locked.
        OSError: There is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        # A child of a fork may still have the descriptor.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, folder: str) -> None:
    # Not forever: whoever runs this may be the one who holds the lock.
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = "another writer keeps the folder locked"
                raise TimeoutError(errno.ETIMEDOUT, message, folder) from None
            time.sleep(_LOCK_RETRY_SECONDS)
            continue
        except OSError:
            pass  # network file systems
        return
