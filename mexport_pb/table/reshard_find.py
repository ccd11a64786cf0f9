"""Which tables of a folder are divided among parameter servers."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mexport_pb.errors import InvalidArgumentError, TableError
from mexport_pb.table.locate import TableFiles
from mexport_pb.table.multi import meta_basename
from mexport_pb.table.shards import PathLike, complete_shards, group_shards

__all__ = ["PsTables", "find_ps_tables", "is_unfinished", "other_files"]

_PS_TABLE = re.compile(r"(.+)_(0|[1-9][0-9]{0,8})", re.DOTALL)
_FILTER = re.compile(r"hash_filter_[0-9]+")
_UNFINISHED = re.compile(r".*-tmp-[0-9a-f]+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PsTables:
    """A table that is divided among servers.

    Attributes:
        name: What the names of the dumps have in front of ``_<server>``.
        dumps: Of server 0, 1, ….
    """

    name: str
    dumps: tuple[TableFiles, ...]

    @property
    def is_multi(self) -> bool:
        """Are these dumps of several tables?"""
        return bool(self.dumps[0].metas)


def find_ps_tables(
    folder: PathLike, *, tables: Sequence[str] | None = None, num_ps: int | None = None
) -> list[PsTables]:
    """Find the tables of a folder that are divided among servers: ``<name>_0``, ``<name>_1``, …; by name.

    Dumps of filters (``hash_filter_<number>``) are none.

    Args:
        folder: A checkpoint's ``.assets``.
        tables: The names that are wanted; all when None.
        num_ps: The number of servers; as the largest number at the end of a name says when None.

    Raises:
        InvalidArgumentError: There is no table of such a name.
        TableError: The table of a server is missing, or set of files is incomplete or mixed.
        OSError: The folder cannot be read.
    """
    base = os.fspath(folder)
    if not os.path.isdir(base):
        raise InvalidArgumentError(f"{base}: is no folder of tables")
    groups = group_shards(os.listdir(base))
    names: dict[str, dict[int, str]] = {}
    for name in groups:
        match = _PS_TABLE.fullmatch(name)
        if match is not None and not _FILTER.fullmatch(name):
            names.setdefault(match[1], {})[int(match[2])] = name
    for name in tables or ():
        if name not in names:
            raise InvalidArgumentError(
                f"{base}: no table {name!r} of parameter servers, {name}_0 and so on; "
                f"there are: {', '.join(sorted(names)) or 'none'}"
            )
    wanted = {name: names[name] for name in (names if tables is None else tables)}
    # Others may be incomplete, as while they are written.
    found = {name: {ps: _dump(base, dump, groups) for ps, dump in of_ps.items()} for name, of_ps in wanted.items()}
    servers = max((max(of_ps) + 1 for of_ps in found.values()), default=0) if num_ps is None else num_ps
    return [PsTables(name, _complete(base, name, found[name], servers)) for name in sorted(found)]


def _dump(folder: str, name: str, groups: Mapping[str, list[tuple[str, int, int]]]) -> TableFiles:
    """A dump by one look at its folder, which may have thousands of them."""
    try:
        paths = complete_shards(name, groups)
        metas = complete_shards(meta_basename(name), groups) if meta_basename(name) in groups else []
    except TableError as error:
        raise TableError(str(error), path=folder) from None
    if metas and len(metas) != len(paths):
        raise TableError(f"{name}: got {len(metas)} meta files, want {len(paths)}", path=folder)
    files, notes = (tuple(os.path.join(folder, entry) for entry in entries) for entries in (paths, metas))
    for path in (*files, *notes):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise TableError("not a regular file", path=path)
    return TableFiles(os.path.join(folder, name), files, notes)


def _complete(folder: str, name: str, of_ps: Mapping[int, TableFiles], servers: int) -> tuple[TableFiles, ...]:
    for ps in range(min(servers, len(of_ps) + 1)):
        if ps not in of_ps:
            raise TableError(f"table {name!r}: there is none of ps {ps} of {servers}", path=folder)
    if len(of_ps) > servers:
        raise TableError(f"table {name!r}: got one of ps {max(of_ps)}, want those of {servers}", path=folder)
    dumps = tuple(of_ps[ps] for ps in range(servers))
    for dump in dumps:
        if bool(dump.metas) != bool(dumps[0].metas):
            raise TableError(f"is of one table, or of several, and {dumps[0].name} is not", path=dump.name)
    return dumps


def other_files(folder: str, tables: Sequence[PsTables]) -> list[str]:
    """The regular files of a folder that are none of the tables', nor what a writer left unfinished."""
    own = {path for table in tables for dump in table.dumps for path in (*dump.paths, *dump.metas)}
    with os.scandir(folder) as entries:
        files = [entry for entry in entries if entry.is_file() and not is_unfinished(entry.name)]
        return sorted(entry.path for entry in files if entry.path not in own)


def is_unfinished(name: str) -> bool:
    """Is this the name of what a writer has not finished?"""
    return _UNFINISHED.fullmatch(name) is not None
