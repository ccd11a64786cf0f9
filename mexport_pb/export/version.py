"""How a version directory gets its number: unix seconds, the global step, or one that the caller chose."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from mexport_pb.errors import InvalidArgumentError

__all__ = ["check_version", "timestamped_directory", "timestamped_version", "versioned_directory"]

_MAX_VERSION = 2**63 - 1


def timestamped_directory(base: str | os.PathLike[str]) -> Path:
    """The directory of ``base`` named by :func:`timestamped_version`."""
    return Path(base) / str(timestamped_version([(base, "")]))


def timestamped_version(places: Iterable[tuple[str | os.PathLike[str], str]]) -> int:
    """The current unix second; waits for the next one while it is taken.

    A version never runs ahead of the clock: one that did would hide later versions of other exporters, for servers
    load the largest number. Nothing is made or reserved.

    Args:
        places: Folders, each with what a name there has behind the number, in all of which the name must be free.
    """
    known = [(Path(folder), suffix) for folder, suffix in places]
    while True:
        now = time.time()
        if not any(os.path.lexists(folder / f"{int(now)}{suffix}") for folder, suffix in known):
            return int(now)
        time.sleep(int(now) + 1 - now)


def check_version(version: int) -> int:
    """A version number that the caller knows, such as a global step.

    Raises:
        InvalidArgumentError: The number is not an integer from 0 to 2^63 - 1: no server would load it.
    """
    if isinstance(version, bool) or not hasattr(version, "__index__") or not 0 <= int(version) <= _MAX_VERSION:
        raise InvalidArgumentError(f"got version {version}, want an integer from 0 to {_MAX_VERSION}")
    return int(version)


def versioned_directory(base: str | os.PathLike[str], version: int) -> Path:
    """The directory of ``base`` for a version number; raises as :func:`check_version`."""
    return Path(base) / str(check_version(version))
