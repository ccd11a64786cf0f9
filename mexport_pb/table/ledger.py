"""What became of each row when a dump was made smaller."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

__all__ = ["TableLedger", "TableSetLedger"]


@dataclass(frozen=True)
class TableLedger:
    """One table: every row that was read was kept, or dropped for one reason.

    Attributes:
        table: Its name.
        rows_read: In the dump.
        rows_kept: Written.
        rows_dropped: By reason: ``"zero"`` (all floats are 0), ``"expired"``. A row with both reasons is ``"zero"``.
    """

    table: str
    rows_read: int
    rows_kept: int
    rows_dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows_read != self.rows_kept + sum(self.rows_dropped.values()):
            raise AssertionError(f"the ledger does not add up: {self}")


@dataclass(frozen=True)
class TableSetLedger:
    """The tables of one set of files.

    Attributes:
        files: What the names of the files begin with.
        tables: Of the set.
        optimizer_state: ``"kept"`` or ``"dropped"``.
        files_read: How many.
        bytes_read: Their size.
        files_written: How many.
        bytes_written: Their size.
    """

    files: str
    tables: tuple[TableLedger, ...]
    optimizer_state: str
    files_read: int
    bytes_read: int
    files_written: int
    bytes_written: int

    def to_json(self) -> str:
        """One line of JSON with all attributes, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)
