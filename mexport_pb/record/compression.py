"""How a record file's compression is named."""

from __future__ import annotations

import os

from mexport_pb.errors import InvalidArgumentError

NAMES = ("zlib", "gzip", "snappy")


def normalise(compression: str | None) -> str:
    """Return one of :data:`NAMES`, or ``""`` for none, whatever the case; TensorFlow's names are in upper case.

    Raises:
        InvalidArgumentError: for any other name.
    """
    name = (compression or "").lower()
    if name and name not in NAMES:
        raise InvalidArgumentError(f"compression: got {compression!r}, want None, 'zlib', 'gzip' or 'snappy'")
    return name


def encode_path(path: str | os.PathLike[str]) -> bytes:
    """Return the path as the operating system takes it.

    Raises:
        InvalidArgumentError: for a path with a null byte in it.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise InvalidArgumentError(f"path: got {path!r}, want no null byte in it")
    return encoded
