"""What entries have in common, and how many are alike."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mexport_pb.table.dump import TableDump
from mexport_pb.table.expiry import NUM_SLOTS
from mexport_pb.table.layout import TableLayout
from mexport_pb.table.sorting import same_layout

__all__ = ["Survey", "count_duplicates"]

_SLOT_SHIFT_V1 = np.uint64(54)
_SLOT_SHIFT_V2 = np.uint64(48)
_SLOT_MASK_V2 = np.uint64(NUM_SLOTS - 1)
_BUCKET_BITS = 8


@dataclass
class Survey:
    """What all entries so far are.

    Attributes:
        layout: Of the first entry.
        rows: How many.
        is_sorted: Do the ids ascend, as unsigned numbers?
        last: The last id, unsigned.
        range_signed: The smallest and the largest id.
        range_unsigned: The same of unsigned ids.
        times: The oldest and the newest timestamp.
        slots: How many entries each slot has, by the newer rule.
        slots_v1: The same by the older rule.
    """

    layout: TableLayout | None = None
    rows: int = 0
    is_sorted: bool = True
    last: int = -1
    range_signed: tuple[int, int] | None = None
    range_unsigned: tuple[int, int] | None = None
    times: tuple[int, int] | None = None
    slots: Counter[int] = field(default_factory=Counter)
    slots_v1: Counter[int] = field(default_factory=Counter)

    def add(self, chunk: TableDump, name: str) -> None:
        """Look at more entries.

        Raises:
            TableError: ``name`` has entries of another layout than the first one.
        """
        layout = TableLayout.of(chunk)
        self.layout = self.layout or layout
        same_layout(layout, name, self.layout, "the first entry")
        ids = chunk.ids.view(np.uint64)
        self.is_sorted = self.is_sorted and int(ids[0]) > self.last and bool((ids[1:] > ids[:-1]).all())
        self.last = int(ids[-1])
        self.rows += len(chunk)
        self.range_signed = _widened(self.range_signed, chunk.ids)
        self.range_unsigned = _widened(self.range_unsigned, ids)
        self.times = _widened(self.times, chunk.timestamps)
        self.slots.update(_histogram(ids >> _SLOT_SHIFT_V2 & _SLOT_MASK_V2))
        self.slots_v1.update(_histogram(ids >> _SLOT_SHIFT_V1))


def _widened(span: tuple[int, int] | None, array: npt.NDArray[Any]) -> tuple[int, int]:
    low, high = int(array.min()), int(array.max())
    return (low, high) if span is None else (min(low, span[0]), max(high, span[1]))


def _histogram(slots: npt.NDArray[np.uint64]) -> dict[int, int]:
    counts = np.bincount(slots.astype(np.int64))
    return {int(slot): int(counts[slot]) for slot in np.flatnonzero(counts)}


def count_duplicates(pieces: Iterable[npt.NDArray[np.int64]], work: str) -> int:
    """Count by way of files, which hold so few ids each that they fit into memory."""
    folder = tempfile.mkdtemp(dir=work)
    paths = [os.path.join(folder, str(i)) for i in range(1 << _BUCKET_BITS)]
    for piece in pieces:
        ids = piece.view(np.uint64)
        # The high bits of the product depend on all bits of the id.
        buckets = ids * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - _BUCKET_BITS)
        order = np.argsort(buckets, kind="stable")
        counts = np.bincount(buckets.astype(np.int64), minlength=1 << _BUCKET_BITS)
        for path, own in zip(paths, np.split(ids[order], np.cumsum(counts)[:-1]), strict=True):
            if len(own):
                with open(path, "ab") as file:
                    own.tofile(file)
    duplicates = 0
    for path in paths:
        if os.path.exists(path):
            ids = np.fromfile(path, np.uint64)
            duplicates += len(ids) - len(np.unique(ids))
    shutil.rmtree(folder)
    return duplicates
