"""How a version directory gets its number: unix seconds, the global step, or one that the caller chose."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mexport_pb.errors import InvalidArgumentError

__all__ = ["timestamped_directory", "versioned_directory"]


def timestamped_directory(base: str | os.PathLike[str]) -> Path:
    """The directory of ``base`` named by the first free unix second from now on. Nothing is made or reserved."""
    second = int(time.time())
    while os.path.lexists(Path(base) / str(second)):
        second += 1
    return Path(base) / str(second)


def versioned_directory(base: str | os.PathLike[str], version: int) -> Path:
    """The directory of ``base`` for a version number that the caller knows, such as a global step.

    Raises:
        InvalidArgumentError: The number is negative: no server would load it.
    """
    if version < 0:
        raise InvalidArgumentError(f"got version {version}, want a number of at least 0")
    return Path(base) / str(version)
