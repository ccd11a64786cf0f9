"""What is wrong with a warmup file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from mexport_pb.errors import WarmupError

__all__ = ["WarmupProblem"]


@dataclass(frozen=True, slots=True)
class WarmupProblem:
    """Something wrong with a warmup file, or with a record of it.

    Attributes:
        message: What is wrong.
        severity: "error": a server would refuse the record, or the file. "warning": it is hardly meant.
        record: The record's number, from 0; None for the file as a whole.
        signature: The signature that it asks, if that is known.
        field: The part of the request: ``input 'x'``, ``output_filter 'y'``, ….
        offset: Where the record begins, in bytes of the uncompressed stream.
    """

    message: str
    severity: Literal["error", "warning"] = "error"
    record: int | None = None
    signature: str | None = None
    field: str | None = None
    offset: int | None = None

    @property
    def where(self) -> str:
        """Record, signature and field, as far as they are known."""
        parts = [] if self.record is None else [f"record {self.record}"]
        if self.signature is not None:
            parts.append(f"signature {self.signature!r}")
        if self.field is not None:
            parts.append(self.field)
        return ": ".join(parts) or "file"

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"

    def at(self, record: int, offset: int | None = None) -> WarmupProblem:
        """The same of a certain record."""
        return replace(self, record=record, offset=offset)

    def to_error(self, path: str | os.PathLike[str] | None = None) -> WarmupError:
        """The exception of this problem."""
        return WarmupError(
            f"{self.where}: {self.message}",
            path=path,
            offset=self.offset,
            record=self.record,
            signature=self.signature,
            field=self.field,
        )
