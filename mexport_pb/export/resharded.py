"""A checkpoint's tables divided among another number of parameter servers, for the length of an export."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mexport_pb.export.publish import staged_directory
from mexport_pb.export.table_files import assets_folder
from mexport_pb.table.reshard import reshard_tables
from mexport_pb.table.reshard_find import find_ps_tables

__all__ = ["resharded_checkpoint"]

_FOLDER: Final = ".reshard"


@contextlib.contextmanager
def resharded_checkpoint(checkpoint: str | os.PathLike[str], num_ps: int, base: Path, threads: int) -> Iterator[str]:
    """Divides the tables of a checkpoint among ``num_ps`` servers, in scratch space that goes with the block.

    Scratch space that an export which was killed left behind is removed as its staged directories are.

    Args:
        checkpoint: Prefix of the checkpoint.
        num_ps: The number of servers that are wanted.
        base: The folder of sub-models, on whose file system there must be space for the tables.
        threads: How many files are worked on at a time.

    Yields:
        The prefix before ``.assets`` of the folder that has the tables; ``checkpoint`` if its tables are of so many
        servers, or if it has none.

    Raises:
        MexportError, OSError: as :func:`mexport_pb.reshard_tables`.
    """
    prefix = os.fsdecode(checkpoint)
    folder = assets_folder(prefix)
    tables = find_ps_tables(folder) if os.path.isdir(folder) else []
    if not tables or len(tables[0].dumps) == num_ps:
        yield prefix
        return
    # Threads, not processes: a spawned one would run the script of a training job once more.
    with staged_directory(base / _FOLDER / "tables") as scratch, ThreadPoolExecutor(threads) as pool:
        found = str(scratch.path / os.path.basename(prefix))
        reshard_tables(folder, num_ps, f"{found}.assets", executor=pool, copy_rest=False)
        yield found
