"""How a bundle's files get their final names: all at the end, or not at all.

docs/formats/bundle.md, "Replacing", says in which order.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from mexport_pb.bundle.files import PathLike, data_path, index_path
from mexport_pb.bundle.index import stored_num_shards

__all__ = ["Staging"]


class Staging:
    """Files under temporary names beside their final ones. On leaving, those that were not committed are removed."""

    def __init__(self, prefix: PathLike, *, durable: bool = True) -> None:
        """Create the folder of ``prefix``, with its parents.

        Args:
            prefix: Of the bundle.
            durable: Whether :meth:`commit` returns only when the bundle survives a loss of power.
        """
        self._prefix = os.fspath(prefix)
        self._folder = os.path.dirname(self._prefix) or "."
        self._durable = durable
        self._temporary: list[str] = []
        os.makedirs(self._folder, exist_ok=True)

    def new(self) -> str:
        """Make up a name that nobody else has, for a file that the caller will create."""
        path = f"{self._prefix}.temp-{os.getpid()}-{secrets.token_hex(8)}"
        self._temporary.append(path)
        return path

    def commit(self, data: Sequence[str], index: bytes) -> None:
        """Write the index and rename the files, replacing a bundle that is there, whatever its number of data files.

        The old index goes first and the new one comes last: who sees an index sees its own data. On a failure all
        files get back the names that they had.

        Args:
            data: The data files in the order of their shards, each a name from :meth:`new` or a file to be moved; this
                may be one of the bundle that is replaced.
            index: The contents of the index file.
        """
        index_temporary = self.new()
        with open(index_temporary, "xb") as file:
            file.write(index)
        if self._durable:
            for path in (*data, index_temporary):
                _sync(path)
        targets = [data_path(self._prefix, i, len(data)) for i in range(len(data))]
        replaced = self._replaced(targets)
        aside = f"{self._prefix}.old-{secrets.token_hex(8)}"
        kept = {path: aside + path.removeprefix(self._prefix) for path in replaced}
        # A file to be moved may be among those that are out of the way by then.
        by_place = {_place(path): moved for path, moved in kept.items()}
        sources = [by_place.get(_place(path), path) for path in data]
        with _Renames() as renames:
            for path, moved in kept.items():
                renames.rename(path, moved)
            for source, target in zip(sources, targets, strict=True):
                renames.rename(source, target)
            if self._durable:
                _sync(self._folder)
            renames.rename(index_temporary, index_path(self._prefix))
            if self._durable:
                _sync(self._folder)
        self._temporary.clear()
        for moved in kept.values():
            if moved not in sources:
                with contextlib.suppress(OSError):
                    os.unlink(moved)

    def _replaced(self, targets: Sequence[str]) -> list[str]:
        """Return the files that must go: the old index, the data files that it counts, and what has a target's name."""
        index = index_path(self._prefix)
        num_shards = stored_num_shards(index)
        base = re.escape(os.path.basename(self._prefix))
        counted = re.compile(rf"{base}\.data-[0-9]{{5,}}-of-{num_shards or 0:05d}")
        names = sorted(name for name in os.listdir(self._folder) if counted.fullmatch(name)) if num_shards else []
        old = [f"{self._prefix}{name.removeprefix(os.path.basename(self._prefix))}" for name in names]
        paths = dict.fromkeys([index, *old, *targets])
        # A folder in the way stays there, and the rename onto it fails.
        return [path for path in paths if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path))]

    def abort(self) -> None:
        """Remove what was not committed."""
        while self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()


class _Renames:
    """Renames that are taken back, the last one first, when the block ends by an exception."""

    def __init__(self) -> None:
        self._done: list[tuple[str, str]] = []

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)
        self._done.append((source, target))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for source, target in reversed(self._done):
                with contextlib.suppress(OSError):
                    os.rename(target, source)


def _place(path: str) -> tuple[str, str]:
    """Return what two names of one folder entry have in common."""
    folder, name = os.path.split(path)
    return os.path.realpath(folder or "."), name


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)
