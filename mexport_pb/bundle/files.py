"""Names of a bundle's files, and how they get their final names: all at the end, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeAlias

__all__ = ["PathLike", "data_path", "index_path"]

PathLike: TypeAlias = str | os.PathLike[str]


def index_path(prefix: PathLike) -> str:
    """``<prefix>.index``."""
    return f"{os.fspath(prefix)}.index"


def data_path(prefix: PathLike, shard: int, num_shards: int) -> str:
    """``<prefix>.data-00000-of-00001``."""
    return f"{os.fspath(prefix)}.data-{shard:05d}-of-{num_shards:05d}"


class Staging:
    """Files under temporary names beside their final ones. On leaving, those that were not committed are removed."""

    def __init__(self, prefix: PathLike) -> None:
        """Create the folder of ``prefix``, with its parents."""
        self._prefix = os.fspath(prefix)
        self._temporary: list[str] = []
        os.makedirs(os.path.dirname(self._prefix) or ".", exist_ok=True)

    def new(self) -> str:
        """Make up a name that nobody else has, for a file that the caller will create."""
        path = f"{self._prefix}.temp-{os.getpid()}-{secrets.token_hex(8)}"
        self._temporary.append(path)
        return path

    def commit(self, data: Sequence[str], index: bytes) -> None:
        """Write the index and rename the files, the index last: who sees a new index sees its data.

        Args:
            data: The data files in the order of their shards, each a name from :meth:`new` or a file to be moved.
            index: The contents of the index file.
        """
        index_temporary = self.new()
        with open(index_temporary, "xb") as file:
            file.write(index)
        moves = [(path, data_path(self._prefix, i, len(data))) for i, path in enumerate(data)]
        moves.append((index_temporary, index_path(self._prefix)))
        done: list[tuple[str, str]] = []
        try:
            for source, target in moves:
                os.rename(source, target)
                done.append((source, target))
        except BaseException:
            for source, target in reversed(done):
                with contextlib.suppress(OSError):
                    os.rename(target, source)
            raise
        self._temporary.clear()

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
