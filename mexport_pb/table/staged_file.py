"""One file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.table.shards import PathLike, list_shards

__all__ = ["blaming", "check_target", "staged_file", "sync"]


def check_target(basename: PathLike, *, force: bool, several: bool = False) -> str:
    """Return the name of a dump, of ``several`` tables or one, that is to be written.

    Raises:
        InvalidArgumentError: for an empty name or one of a folder; for one of a dump that is there, unless ``force``,
            which does not make one table of several.
    """
    name = os.fspath(basename)
    if not os.path.basename(name) or "\0" in name or os.path.isdir(name):
        raise InvalidArgumentError(f"target: got {name!r}, want the name of a dump or file")
    there = [path for base in (name, f"{name}.meta") for path, _, _ in list_shards(base)]
    if there and not force:
        raise InvalidArgumentError(f"{there[0]}: is there already and was not touched; force replaces it")
    if not several and list_shards(f"{name}.meta"):
        raise InvalidArgumentError(f"{name}: is a dump of several tables, which one table does not replace")
    return name


@contextlib.contextmanager
def blaming(path: str) -> Iterator[None]:
    """Name a file in errors that name none, as of writes to a descriptor."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


@contextlib.contextmanager
def staged_file(path: PathLike, *, force: bool) -> Iterator[str]:
    """Hand out a temporary name; at the end sync what was written there and rename it to ``path``.

    Raises:
        InvalidArgumentError: ``path`` is there already and ``force`` is not set.
        OSError: The file cannot be written.
    """
    target = os.fspath(path)
    folder = os.path.dirname(target) or "."
    if os.path.isdir(target):
        raise InvalidArgumentError(f"{target}: is a folder")
    if os.path.lexists(target) and not force:
        raise InvalidArgumentError(f"{target}: is there already and was not touched; force replaces it")
    os.makedirs(folder, exist_ok=True)
    temporary = f"{target}-tmp-{secrets.randbits(64)}"
    try:
        with blaming(target):
            yield temporary
        sync(temporary)
        if force:
            os.replace(temporary, target)
        else:
            try:
                os.link(temporary, target)  # refuses what came meanwhile
            except FileExistsError:
                raise InvalidArgumentError(
                    f"{target}: is there already and was not touched; force replaces it"
                ) from None
        sync(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def sync(path: str) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
