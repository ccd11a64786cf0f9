"""A directory that is complete or absent: staged beside its target, made durable, then renamed.

The promise: when :meth:`StagedDirectory.commit` returns, the target survives power loss; before, it is absent. A crash
at any point leaves a directory whose name no server takes for a version, and the next export removes it.

Whether the owner of such a leftover is alive is told by a lock that it holds on the directory (``flock``; the kernel
releases it when the process dies, however it dies), not by a process number, which other machines on the same file
system would misread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mexport_pb.errors import PublishError, VersionExistsError

__all__ = [
    "TEMP_PREFIX",
    "StagedDirectory",
    "is_same_directory",
    "make_parents",
    "remove_dead_stagings",
    "remove_empty",
    "rename_noreplace",
    "staged_directory",
    "staging_name",
    "sync",
    "taken",
]

TEMP_PREFIX = "temp-"
"""What the names of staged directories begin with: not a number, so no server takes one for a version."""

_MAX_NAME_TRIES = 100
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100

_log = logging.getLogger(__name__)


class StagedDirectory:
    """A directory in the making. Fill :attr:`path`, then :meth:`commit` it or :meth:`discard` it.

    Args:
        target: Where the finished directory will be. Its parent folders are made.
        next_target: Gives another target in the same parent folder whenever the last one is taken; without it a taken
            target is an error.
        may_move: The caller sets another :attr:`target` in that folder if this one is taken.

    Raises:
        VersionExistsError: The target is there already.
        OSError: The parent cannot be made or written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        next_target: Callable[[], str | os.PathLike[str]] | None = None,
        may_move: bool = False,
    ) -> None:
        self.target = Path(os.path.abspath(target))
        self._next_target = next_target
        if next_target is None and not may_move and os.path.lexists(self.target):
            raise taken(self.target)
        self._made = make_parents(self.target.parent)
        self._lock: int | None
        try:
            remove_dead_stagings(self.target.parent)
            self.path, self._lock = _make_locked_directory(self.target)
        except BaseException:
            remove_empty(self._made)
            raise

    def commit(self) -> Path:
        """Makes the directory durable and gives it its name.

        Returns:
            The final path.

        Raises:
            VersionExistsError: The name is taken. The staged directory is still there, to be discarded.
            OSError: A sync or the rename failed. The target is absent.
            PublishError: The target is there, but it could not be made durable, nor taken back.
        """
        self.sync()
        while True:
            try:
                self.rename()
                break
            except VersionExistsError:
                if self._next_target is None:
                    raise
            self.target = self.target.parent / Path(self._next_target()).name
        try:
            sync(self.target.parent)
        except OSError as error:
            try:
                self.take_back()
            except OSError:
                raise PublishError(f"{self.target}: published, but perhaps not durable: {error}") from error
            raise
        self.release()
        return self.target

    def sync(self) -> None:
        """Brings all that was staged to the disk, and the names of the parent folders that were made."""
        _sync_tree(self.path)
        for folder in self._made:
            sync(folder.parent)

    def rename(self) -> None:
        """Gives the directory its name; not durable before the parent is synced.

        Raises:
            VersionExistsError: The name is taken.
            OSError: The rename failed.
        """
        rename_noreplace(self.path, self.target)

    def take_back(self) -> None:
        """Undoes :meth:`rename`; not durable before the parent is synced."""
        os.rename(self.target, self.path)

    def release(self) -> None:
        """Lets go of a directory that has its name: it is no longer discarded."""
        self._unlock()

    def discard(self) -> None:
        """Removes the staged directory; does nothing after a commit."""
        if self._lock is None:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()
        remove_empty(self._made)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextlib.contextmanager
def staged_directory(
    target: str | os.PathLike[str], *, next_target: Callable[[], str | os.PathLike[str]] | None = None
) -> Iterator[StagedDirectory]:
    """A :class:`StagedDirectory` that is discarded when the block is left without a commit, in whatever way."""
    staged = StagedDirectory(target, next_target=next_target)
    try:
        yield staged
    finally:
        staged.discard()


def remove_dead_stagings(parent: str | os.PathLike[str]) -> list[Path]:
    """Removes what exports into ``parent`` that died have left behind, and nothing of exports that are alive.

    Args:
        parent: A folder of versions.

    Returns:
        The directories that were removed. One that cannot be locked or removed is left alone.
    """
    removed: list[Path] = []
    with os.scandir(parent) as entries:
        # Only names of our own making: other tools keep temp-… folders too.
        candidates = [Path(e.path) for e in entries if _is_staging_name(e.name) and e.is_dir(follow_symlinks=False)]
    for candidate in candidates:
        lock = _try_lock(candidate)
        if lock is None:
            continue
        try:
            if is_same_directory(candidate, lock):
                shutil.rmtree(candidate)
                removed.append(candidate)
                _log.info("removed %s, left behind by an export that died", candidate)
        except OSError as error:
            _log.warning("cannot remove %s, left behind by an export that died: %s", candidate, error)
        finally:
            os.close(lock)
    return removed


def staging_name(target: Path) -> str:
    """A new name for a directory that is on its way to ``target``, or from there to its end."""
    return f"{TEMP_PREFIX}{target.name}-{os.getpid()}-{secrets.token_hex(8)}"


def _is_staging_name(name: str) -> bool:
    parts = name.rsplit("-", 2)
    return (
        name.startswith(TEMP_PREFIX)
        and len(parts) == 3
        and parts[1].isdecimal()
        and len(parts[2]) == 16
        and all(c in "0123456789abcdef" for c in parts[2])
    )


def make_parents(folder: Path) -> list[Path]:
    """Makes a folder with its parents; returns those that were not there, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Removes those of the folders that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _make_locked_directory(target: Path) -> tuple[Path, int]:
    for _ in range(_MAX_NAME_TRIES):
        path = target.parent / staging_name(target)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        # Between mkdir and the lock another exporter may take the directory for a dead one: then start again.
        try:
            lock = _try_lock(path)
        except BaseException:
            path.rmdir()
            raise
        if lock is not None:
            if is_same_directory(path, lock):
                return path, lock
            os.close(lock)
        elif path.exists() and not _locks_work(path):
            path.rmdir()
            raise PublishError(f"{target.parent}: this file system cannot lock a directory; export to a local one")
    raise PublishError(f"{target.parent}: cannot make a staging directory: {_MAX_NAME_TRIES} tries were all taken")


def _try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock; None if the directory is gone, or locked, or cannot be locked.

    Raises:
        OSError: There are too many open files.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _locks_work(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def is_same_directory(path: Path, fd: int) -> bool:
    """Whether the path names the directory that is open."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def sync(path: str | os.PathLike[str]) -> None:
    """Brings a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_tree(root: Path) -> None:
    """Files first, then directories from the bottom up: a durable directory never names a file that is not."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            sync(os.path.join(folder, name))
        sync(folder)


def rename_noreplace(source: Path, target: Path) -> None:
    """Renames a directory, unless the target exists: a plain rename would silently replace an empty directory."""
    error = _renameat2(source, target)
    if error == 0:
        return
    if error in (errno.EINVAL, errno.ENOSYS):
        # A file system without RENAME_NOREPLACE, such as NFS. Its plain rename is atomic and fails on a directory with
        # something in it, and no export is empty, so nothing exported can be lost here either.
        if os.path.lexists(target):
            raise taken(target)
        try:
            os.rename(source, target)
        except OSError as rename_error:
            if rename_error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise taken(target) from rename_error
            raise
        return
    if error in (errno.EEXIST, errno.ENOTEMPTY):
        raise taken(target)
    raise OSError(error, os.strerror(error), str(source), None, str(target))


def taken(target: Path) -> VersionExistsError:
    """The error for a target that is there."""
    return VersionExistsError(f"{target}: the export target is there already; it is never overwritten")


def _renameat2(source: Path, target: Path) -> int:
    """Returns 0 or the error number; ENOSYS where the C library does not know the call."""
    if not sys.platform.startswith("linux"):
        return errno.ENOSYS
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return errno.ENOSYS
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    result = function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
    return 0 if result == 0 else ctypes.get_errno()
