"""The files of a checkpoint's tables: found, complete, and of the dimensions that the graph wants."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from mexport_pb import _core
from mexport_pb.errors import InvalidArgumentError, MismatchError, TableError
from mexport_pb.table.graph_tables import GraphTable
from mexport_pb.table.multi import meta_basename, multi_file_parts
from mexport_pb.table.shards import complete_shards, group_shards

__all__ = ["TableFiles", "assets_folder", "find_table_files"]

_CHECKED_DIM_ROWS = 1
# Of a record: its length, that one's checksum, the data, whose checksum.
_LENGTH_BYTES = 8
_FRAME_BYTES = 16
_SHORTEST_ENTRY = 9
# How far from its end a file's last record begins at most, unless the first one is larger than a quarter of it.
_LAST_RECORD_WITHIN = 1 << 16

# The files of a folder that are named like shards, by what is in front.
_Groups: TypeAlias = dict[str, list[tuple[str, int, int]]]


@dataclass(frozen=True)
class TableFiles:
    """A table of a graph and its files.

    Attributes:
        table: The table.
        folder: Where the files are.
        prefix: What their names begin with.
        names: Of the files with entries, in the order of the shards.
        meta_names: Of the files that say which entries are of which table, for many tables; else empty.
        shared: Whether the model reads them where they are.
        asset_names: The files of it below ``assets/`` of the export; those of a copy unless its writer says otherwise.
    """

    table: GraphTable
    folder: str
    prefix: str
    names: tuple[str, ...]
    meta_names: tuple[str, ...]
    shared: bool
    asset_names: tuple[str, ...] = ()

    @property
    def basename(self) -> str:
        """Folder and prefix."""
        return os.path.join(self.folder, self.prefix)


def assets_folder(checkpoint: str | os.PathLike[str]) -> str:
    """The folder of a checkpoint's tables, ``<checkpoint>.assets``, absolute."""
    return os.path.abspath(f"{os.fsdecode(checkpoint)}.assets")


def find_table_files(
    tables: Iterable[GraphTable], checkpoint: str | os.PathLike[str], *, shared_embedding: bool = False
) -> list[TableFiles]:
    """Find the files of each table of a graph, under its name or one that it had before.

    Only files that are named ``<prefix>-SSSSS-of-NNNNN`` are a table's (``<prefix>.meta-…`` too for many tables): not
    those of a table whose name goes on, nor what a writer left unfinished.

    Args:
        tables: Of the graph.
        checkpoint: Prefix of the checkpoint.
        shared_embedding: Whether tables that do not say otherwise are read where they are.

    Raises:
        MismatchError: A table has no files, or entries of another dimension, or its files are no regular ones.
        TableError: A table's files are incomplete, mixed, or damaged where this looked.
    """
    folder = assets_folder(checkpoint)
    tables = list(tables)
    groups = _groups(folder) if tables else {}
    found = []
    for table in tables:
        shared = shared_embedding if table.share_embedding is None else table.share_embedding
        prefix = _present_prefix(table, folder, groups)
        basename = os.path.join(folder, prefix)
        paths = _complete(folder, prefix, groups)
        metas = _complete(folder, meta_basename(prefix), groups) if table.is_multi else []
        if table.is_multi and len(metas) != len(paths):
            raise MismatchError(f"{basename}: got {len(metas)} meta files and {len(paths)} files, want as many")
        for path in (*paths, *metas):
            _check_regular(table, path)
        _check_dims(table, basename, paths, metas)
        names = tuple(os.path.basename(path) for path in paths)
        meta_names = tuple(os.path.basename(path) for path in metas)
        assets = () if shared else (*names, *meta_names)
        found.append(TableFiles(table, folder, prefix, names, meta_names, shared, assets))
    _check_apart(found)
    return found


def _groups(folder: str) -> _Groups:
    try:
        return group_shards(os.listdir(folder))
    except OSError as error:
        raise MismatchError(f"the graph has tables, and the checkpoint has none: {error}") from None


def _complete(folder: str, prefix: str, groups: _Groups) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in complete_shards(prefix, groups)]
    except TableError as error:
        raise TableError(f"{folder}: {error}") from None


def _present_prefix(table: GraphTable, folder: str, groups: _Groups) -> str:
    for prefix in table.prefixes:
        if prefix in groups:
            return prefix
    near = difflib.get_close_matches(table.prefixes[0], groups, n=3)
    hint = f"; near it: {', '.join(near)}" if near else ""
    wanted = " or ".join(f"{prefix}-SSSSS-of-NNNNN" for prefix in table.prefixes)
    raise MismatchError(f"table {table.name!r}: no files in {folder}, want {wanted}{hint}")


def _check_regular(table: GraphTable, path: str) -> None:
    # A link could lead anywhere, and the export would carry that away.
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise MismatchError(f"table {table.name!r}: {path}: got a link or no file, want a regular file")


def _check_dims(table: GraphTable, basename: str, paths: list[str], metas: list[str]) -> None:
    if not table.is_multi:
        (want,) = table.dims.values()
        for path in paths:
            ids, values, *_ = _core.TableIterator([os.fsencode(path)], None).next(_CHECKED_DIM_ROWS)
            if len(ids):
                _check_dim(table.name, path, values.shape[1], want)
                _check_end(path)
        return
    unseen = dict(table.dims)
    for path, meta in zip(paths, metas, strict=True):
        parts = multi_file_parts(meta)
        wanted = [name for name, entries in parts if entries and name in unseen]
        if not wanted:
            continue
        numbered = [(number, entries) for number, (_, entries) in enumerate(parts)]
        iterator = _core.MultiTableIterator([(os.fsencode(path), numbered)], len(parts))
        while wanted:
            number, (ids, values, *_) = iterator.next(_CHECKED_DIM_ROWS)
            if not len(ids):
                break
            name = parts[number][0]
            if name in wanted:
                wanted.remove(name)
                _check_dim(name, basename, values.shape[1], unseen.pop(name))
            if wanted:
                iterator.skip_part()
        if not unseen:
            return


def _check_end(path: str) -> None:
    """Whether the file ends where a record does: one that was not copied to its end hardly ever does."""
    with open(path, "rb") as file:
        first = int.from_bytes(file.read(_LENGTH_BYTES), "little") + _FRAME_BYTES
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - max(_LAST_RECORD_WITHIN, 4 * first)))
        data = file.read()
    for length in range(_SHORTEST_ENTRY, len(data) - _FRAME_BYTES + 1):
        begin = len(data) - _FRAME_BYTES - length
        if int.from_bytes(data[begin : begin + _LENGTH_BYTES], "little") == length:
            return
    raise TableError(f"the file ends within a record, at {size} bytes: want all of it", path=path)


def _check_dim(name: str, where: str, got: int, want: int) -> None:
    if got != want:
        raise MismatchError(f"table {name!r}: {where}: got entries of {got} floats, but the graph's have {want}")


def _check_apart(found: list[TableFiles]) -> None:
    """Two tables may read the same files; a single table and many may not: their contents differ."""
    kinds: dict[str, GraphTable] = {}
    for files in found:
        for name in (*files.names, *files.meta_names):
            other = kinds.setdefault(name, files.table)
            if other.is_multi != files.table.is_multi:
                raise InvalidArgumentError(f"tables {other.name!r} and {files.table.name!r} both have the file {name}")
