"""Which dumps and files of columns a user's words mean."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mexport_pb.errors import TableError
from mexport_pb.table.shards import PathLike, find_shards, list_shards

__all__ = ["COLUMN_SUFFIXES", "TableFiles", "find_tables"]

COLUMN_SUFFIXES = (".npz", ".parquet")
"""Files of columns, by what their names end in."""

_SHARD = re.compile(r"(.+?)(\.meta)?-[0-9]{5}-of-[0-9]{5}", re.DOTALL)
_SHOWN_NAMES = 10


@dataclass(frozen=True, slots=True)
class TableFiles:
    """One dump, of one table or several, or one file of columns.

    Attributes:
        name: The basename of the dump, or the path of the file of columns.
        paths: The files with the entries, in the order of their numbers.
        metas: The ``.meta`` files of a dump of several tables, one for each of ``paths``; else empty.
    """

    name: str
    paths: tuple[str, ...]
    metas: tuple[str, ...] = ()

    @property
    def is_columns(self) -> bool:
        """Is this a ``.npz`` or Parquet file?"""
        return self.name.endswith(COLUMN_SUFFIXES)


def find_tables(names: Iterable[PathLike], *, folders: bool = True) -> list[TableFiles]:
    """Find what is meant by names, each dump once, in the order of the names.

    Args:
        names: Each a basename, one of a dump's files, a pattern with ``*``, ``?`` or ``[``, a folder, or a ``.npz``
            or ``.parquet`` file.
        folders: May a folder stand for several dumps? If not, it must hold one.

    Raises:
        TableError: Nothing has such a name; what there is instead is in the message. Or a set of files is incomplete,
            mixed, or its ``.meta`` files do not belong to it.
    """
    found: dict[str, TableFiles] = {}
    for name in names:
        for base in _bases(os.fspath(name), folders):
            found.setdefault(os.path.normpath(base), _files(base))
    return list(found.values())


def _bases(name: str, folders: bool) -> list[str]:
    if os.path.isdir(name):
        bases = _dumps_in(name)
        if not bases:
            raise TableError("no table dump in this folder", path=name)
        if len(bases) > 1 and not folders:
            raise TableError(f"several table dumps in this folder, name one: {_shown(bases)}", path=name)
        return bases
    base = _base(name)
    if base is not None:
        return [base]
    if glob.has_magic(name):
        bases = _matching(name)
        if bases:
            return bases
        raise TableError(f"no table dump matches; {_there_is(os.path.dirname(name) or '.', name)}", path=name)
    raise TableError(f"no table dump of this name; {_there_is(os.path.dirname(name) or '.', name)}", path=name)


def _matching(pattern: str) -> list[str]:
    """The dumps whose basename, or one of whose files, the pattern fits."""
    folder, tail = os.path.split(pattern)
    found = []
    for parent in sorted(glob.glob(folder)) if folder else [""]:
        with contextlib.suppress(NotADirectoryError):
            found += _dumps_in(parent, tail)
    return found


def _base(name: str) -> str | None:
    """The basename, or file of columns, that `name` belongs to."""
    if name.endswith(COLUMN_SUFFIXES) and os.path.isfile(name):
        return name
    if "\0" not in name and list_shards(name):
        is_meta = name.endswith(".meta") and list_shards(name.removesuffix(".meta"))
        return name.removesuffix(".meta") if is_meta else name
    match = _SHARD.fullmatch(name)
    if match is not None and os.path.isfile(name):
        plain = match[1]
        return plain if match[2] is None or list_shards(plain) else plain + match[2]
    return None


def _files(base: str) -> TableFiles:
    if base.endswith(COLUMN_SUFFIXES) and not list_shards(base):
        return TableFiles(base, (base,))
    paths = find_shards(base)
    if not list_shards(f"{base}.meta"):
        return TableFiles(base, tuple(paths))
    metas = find_shards(f"{base}.meta")
    if len(metas) != len(paths):
        raise TableError(f"doesn't match nshards: got {len(metas)}, want {len(paths)}", path=metas[0])
    return TableFiles(base, tuple(paths), tuple(metas))


def _dumps_in(folder: str, pattern: str = "*") -> list[str]:
    names = sorted(os.listdir(folder or "."))
    matches = [match for name in names if (match := _SHARD.fullmatch(name)) is not None]
    plain = {match[1] for match in matches if match[2] is None}
    bases = {match[0]: match[1] if match[1] in plain else match[1] + (match[2] or "") for match in matches}
    bases.update({name: name for name in names if name.endswith(COLUMN_SUFFIXES)})
    found = {base for name, base in bases.items() if any(fnmatch.fnmatchcase(x, pattern) for x in (name, base))}
    return [path for base in sorted(found) if not os.path.isdir(path := os.path.join(folder, base))]


def _there_is(folder: str, name: str) -> str:
    try:
        bases = [os.path.basename(base) for base in _dumps_in(folder)]
    except OSError:
        return f"there is no folder {folder}"
    if not bases:
        return f"there are none in {folder}"
    near = difflib.get_close_matches(os.path.basename(name), bases, n=_SHOWN_NAMES, cutoff=0.3)
    return f"there are in {folder}: {_shown(list(dict.fromkeys([*near, *bases])))}"


def _shown(names: list[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
