"""Names of a bundle's files."""

from __future__ import annotations

import os
from typing import TypeAlias

__all__ = ["PathLike", "data_path", "index_path"]

PathLike: TypeAlias = str | os.PathLike[str]


def index_path(prefix: PathLike) -> str:
    """``<prefix>.index``."""
    return f"{os.fspath(prefix)}.index"


def data_path(prefix: PathLike, shard: int, num_shards: int) -> str:
    """``<prefix>.data-00000-of-00001``."""
    return f"{os.fspath(prefix)}.data-{shard:05d}-of-{num_shards:05d}"
