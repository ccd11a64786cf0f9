"""How a version directory gets its number: unix seconds, the global step, or one that the caller chose."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mexport_pb.errors import InvalidArgumentError

__all__ = ["timestamped_directory", "versioned_directory"]

_MAX_VERSION = 2**63 - 1


def timestamped_directory(base: str | os.PathLike[str]) -> Path:
    """The directory of ``base`` named by the current unix second; waits for the next one while it is taken.

    A version never runs ahead of the clock: one that did would hide later versions of other exporters, for servers
    load the largest number. Nothing is made or reserved.
    """
    while True:
        now = time.time()
        path = Path(base) / str(int(now))
        if not os.path.lexists(path):
            return path
        time.sleep(int(now) + 1 - now)


def versioned_directory(base: str | os.PathLike[str], version: int) -> Path:
    """The directory of ``base`` for a version number that the caller knows, such as a global step.

    Raises:
        InvalidArgumentError: The number is not an integer from 0 to 2^63 - 1: no server would load it.
    """
    if isinstance(version, bool) or not hasattr(version, "__index__") or not 0 <= int(version) <= _MAX_VERSION:
        raise InvalidArgumentError(f"got version {version}, want an integer from 0 to {_MAX_VERSION}")
    return Path(base) / str(int(version))
