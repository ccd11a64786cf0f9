"""How the files of tables get into an export: copied, linked, or made smaller."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.file_copy import copy_file, link_file
from mexport_pb.export.table_files import TableFiles, find_table_files
from mexport_pb.export.table_graph import add_table_restores
from mexport_pb.graph.main_op import main_op_keys
from mexport_pb.messages import to_message
from mexport_pb.table import ServingTables, TableSetLedger, slim_multi_table, slim_table
from mexport_pb.table.graph_tables import graph_tables, has_tables
from mexport_pb.table.multi import meta_basename
from mexport_pb.table.shards import shard_path

__all__ = ["TableMode", "TableOutput", "check_table_mode", "plan_tables"]

TableMode: TypeAlias = Literal["copy", "hardlink", "serving"] | ServingTables
"""How tables get into an export: ``"copy"``; ``"hardlink"``, a second name of the same file; ``"serving"``, made
smaller, or with options of how."""


def check_table_mode(mode: TableMode) -> ServingTables | str:
    """The mode, ``"serving"`` as its options.

    Raises:
        InvalidArgumentError: There is no such mode.
    """
    if isinstance(mode, ServingTables) or mode in ("copy", "hardlink"):
        return mode
    if mode == "serving":
        return ServingTables()
    raise InvalidArgumentError(f"tables: got {mode!r}, want 'copy', 'hardlink', 'serving' or a ServingTables")


class TableOutput:
    """The tables of one export.

    Args:
        tables: The tables with their files.
        mode: How these get into the export.

    Attributes:
        tables: As given, ``asset_names`` for the mode.
        ledgers: After :meth:`write`, what became of each row where tables were made smaller.

    Raises:
        InvalidArgumentError: A table cannot be made smaller as was asked.
    """

    def __init__(self, tables: Sequence[TableFiles], mode: TableMode) -> None:
        self._mode = check_table_mode(mode)
        self.tables = [self._named(files) for files in tables]
        self.ledgers: list[TableSetLedger] = []

    @property
    def asset_names(self) -> frozenset[str]:
        """The files below assets/ that :meth:`write` makes."""
        return frozenset(name for files in self.tables for name in files.asset_names)

    def write(self, folder: Path, scratch: Path, check: Callable[[], None] | None = None) -> None:
        """Makes the files.

        Args:
            folder: The export's ``assets/``; made if there are files.
            scratch: A folder for rows that do not fit into memory.
            check: Called now and then; may raise to give the rest up.

        Raises:
            MismatchError: A file is no longer what it was.
            TableError: A dump is damaged; found only where tables are made smaller.
            OSError: A file cannot be read or written.
        """
        sets: dict[str, list[TableFiles]] = {}
        for files in self.tables:
            if not files.shared:
                sets.setdefault(files.prefix, []).append(files)
        if sets:
            folder.mkdir(exist_ok=True)
        for prefix, of_set in sorted(sets.items()):
            if isinstance(self._mode, ServingTables):
                self.ledgers.append(_slim(of_set, folder / prefix, self._mode, scratch, check))
                continue
            for name in of_set[0].asset_names:
                source = os.path.join(of_set[0].folder, name)
                if self._mode == "hardlink":
                    link_file(source, folder / name)
                else:
                    copy_file(source, folder / name, follow_links=False, check=check)

    def _named(self, files: TableFiles) -> TableFiles:
        if files.shared or not isinstance(self._mode, ServingTables):
            return files
        table = files.table
        if self._mode.drop_optimizer_state and not table.serving:
            got = "is for training" if table.serving is False else "does not say what it is for"
            raise InvalidArgumentError(
                f"table {table.name!r}: its configuration {got}: without optimizer state it cannot be restored"
            )
        shards = self._mode.num_shards or len(files.names)
        basenames = [files.prefix, meta_basename(files.prefix)] if table.is_multi else [files.prefix]
        names = tuple(shard_path(base, shard, shards) for base in basenames for shard in range(shards))
        return dataclasses.replace(files, asset_names=names)


def plan_tables(
    meta_graph: Message,
    checkpoint: str | os.PathLike[str] | None,
    *,
    shared_embedding: bool = False,
    mode: TableMode = "copy",
    names_in_use: set[str] | None = None,
) -> tuple[MetaGraphDef, list[str], TableOutput | None]:
    """Adds the restores of all tables of a graph, and plans their files.

    Args:
        meta_graph: A MetaGraphDef without a main op.
        checkpoint: Prefix of the checkpoint.
        shared_embedding: Whether tables that do not say otherwise are read where the checkpoint is.
        mode: How the others get into the export.
        names_in_use: Names that new nodes may not take.

    Returns:
        The graph, the operations for its main op, and the files; None for a graph without tables.

    Raises:
        InvalidArgumentError: There is no checkpoint, the graph has a main op, or shared tables are to be made smaller.
        MexportError: As :func:`~mexport_pb.export.table_files.find_table_files`.
    """
    serving = isinstance(check_table_mode(mode), ServingTables)
    message = meta_graph if isinstance(meta_graph, MetaGraphDef) else to_message(meta_graph, MetaGraphDef)
    if not has_tables(message) or not (tables := graph_tables(message)):
        return message, [], None
    if checkpoint is None:
        raise InvalidArgumentError(f"the graph has embedding tables ({tables[0].name!r}): want a checkpoint with them")
    if present := main_op_keys(message):
        raise InvalidArgumentError(f"the graph has tables to restore, and a main op already ({present[0]!r})")
    if serving and shared_embedding:
        raise InvalidArgumentError("tables that are shared with the checkpoint cannot be made smaller")
    output = TableOutput(find_table_files(tables, checkpoint, shared_embedding=shared_embedding), mode)
    copy, operations = add_table_restores(message, output.tables, names_in_use=names_in_use)
    return copy, operations, output


def _slim(
    of_set: list[TableFiles],
    target: Path,
    options: ServingTables,
    scratch: Path,
    check: Callable[[], None] | None,
) -> TableSetLedger:
    first = of_set[0].table
    if any(files.table.expire != first.expire for files in of_set) and options.drop_expired:
        names = [files.table.name for files in of_set]
        raise InvalidArgumentError(f"tables {names} have the same files, and do not agree on when entries expire")
    if first.is_multi:
        return slim_multi_table(
            of_set[0].basename,
            target,
            options,
            expire=first.expire,
            keep_zero_rows=first.one_bit,
            scratch=scratch,
            check=check,
        )
    keep = any(files.table.one_bit for files in of_set)
    return slim_table(
        of_set[0].basename, target, options, expire=first.expire, keep_zero_rows=keep, scratch=scratch, check=check
    )
