"""Copies of files that the kernel makes: the bytes do not pass through this process."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mexport_pb.errors import MismatchError

__all__ = ["copy_file", "link_file"]

# What copy_file_range says where the file systems or the kernel do not do it.
_NOT_HERE: Final = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
_MOST_AT_ONCE: Final = 1 << 28

_log = logging.getLogger(__name__)


def copy_file(
    source: str | os.PathLike[str],
    target: Path,
    *,
    follow_links: bool = True,
    check: Callable[[], None] | None = None,
) -> None:
    """Copies a file to a new one.

    Args:
        source: A regular file.
        target: Must not be there.
        follow_links: Whether the source may be a symbolic link.
        check: Called now and then; may raise to give the copy up.

    Raises:
        MismatchError: The source is no regular file, or changed meanwhile.
        OSError: Reading or writing failed, or the target is there.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    with open(os.open(source, flags), "rb", buffering=0) as reader, open(target, "xb", buffering=0) as writer:
        status = os.fstat(reader.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise MismatchError(f"{os.fspath(source)}: got no regular file")
        copied = _copy_range(reader.fileno(), writer.fileno(), status.st_size, check)
        if copied is None:
            shutil.copyfileobj(reader, writer, 1 << 20)
            copied = writer.tell()
        if copied != status.st_size or os.fstat(reader.fileno()).st_size != status.st_size:
            raise MismatchError(f"{os.fspath(source)}: it changed while it was copied")


def link_file(source: str | os.PathLike[str], target: Path) -> None:
    """Gives a file a second name; copies it where the file system cannot do that.

    Raises:
        MismatchError: The source is no regular file.
        OSError: Reading or writing failed, or the target is there.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        _log.warning("%s: copied, for it cannot be linked to %s: %s", os.fspath(source), target, error)
        copy_file(source, target, follow_links=False)
        return
    if not stat.S_ISREG(os.lstat(target).st_mode):
        target.unlink()
        raise MismatchError(f"{os.fspath(source)}: got no regular file")


def _copy_range(source: int, target: int, size: int, check: Callable[[], None] | None) -> int | None:
    """How many bytes were copied; None where the kernel does not do it."""
    done = 0
    while done < size:
        if check is not None:
            check()
        try:
            copied = os.copy_file_range(source, target, min(size - done, _MOST_AT_ONCE))
        except OSError as error:
            if done == 0 and error.errno in _NOT_HERE:
                return None
            raise
        if copied == 0:
            break
        done += copied
    return done
