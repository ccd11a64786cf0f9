"""Several embedding tables by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from mexport_pb import _core
from mexport_pb._proto import hash_table_pb2
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.wire import serialize
from mexport_pb.table.dump import TableDump
from mexport_pb.table.embedding_table import EmbeddingTable, TableConfig, _columns, _dump, config_bytes

__all__ = ["MultiTable"]

V = TypeVar("V")


class MultiTable(Mapping[str, EmbeddingTable]):
    """Embedding tables by name, in the order of the names' bytes.

    Args:
        configs: The configuration of each table, as :class:`EmbeddingTable` takes it.

    Raises:
        InvalidArgumentError: A configuration makes no table; the message names it. A name is no text.
    """

    def __init__(self, configs: Mapping[str, TableConfig]) -> None:
        multi = hash_table_pb2.MultiEmbeddingHashTableConfig()
        for name in sorted(_by_name("configs", configs), key=_name_bytes):
            try:
                data = config_bytes(configs[name])
                _core.EmbeddingTable(data)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"table {name!r}: {error}") from None
            multi.names.append(name)
            multi.configs.append(hash_table_pb2.EmbeddingHashTableConfig.FromString(data))
        self._core = _core.MultiTable(serialize(multi))
        self._tables = {name.decode(): EmbeddingTable._wrap(table) for name, table in self._core.tables}

    def __getitem__(self, name: str) -> EmbeddingTable:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def save(self) -> dict[str, TableDump]:
        """Copy out all entries of all tables as they were at one moment; writers wait, readers do not.

        Raises:
            InvalidArgumentError: One of them is a serving table.
        """
        columns = self._core.save()
        return {name: _dump(table._core, of) for (name, table), of in zip(self._tables.items(), columns, strict=True)}

    def restore(self, dumps: Mapping[str, TableDump]) -> None:
        """Add the entries of dumps to those there. Tables without a dump stay as they are.

        Dumps of names that are no table's are ignored: they may come from a larger model.

        Raises:
            InvalidArgumentError: A dump does not fit its table; all tables are as they were.
        """
        columns = []
        _by_name("dumps", dumps)
        for index, (name, table) in enumerate(self._tables.items()):
            if name not in dumps:
                continue
            try:
                columns.append((index, *_columns(table._core, dumps[name])))
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"table {name!r}: {error}") from None
        self._core.restore(columns)


def _by_name(what: str, mapping: Mapping[str, V]) -> Mapping[str, V]:
    if not isinstance(mapping, Mapping):
        raise InvalidArgumentError(f"{what}: got {type(mapping).__name__}, want a mapping by the names of tables")
    return mapping


def _name_bytes(name: str) -> bytes:
    try:
        if isinstance(name, str):
            return name.encode()
    except UnicodeEncodeError:
        pass
    raise InvalidArgumentError(f"table name: got {name!r}, want text that UTF-8 can hold")
