"""The features that random training data is made of."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from mexport_pb._proto.line_id_pb2 import LineId
from mexport_pb.errors import InvalidArgumentError

__all__ = ["LABEL", "FeatureMeta", "id_features", "read_features"]

LABEL: Final = "label"
"""The dense feature that goes to the labels."""

DENSE_DTYPES: Final = ("float32", "float64", "int64")
_SLOTS: Final = {1: range(0, 1023), 2: range(1, 65535)}
_MAX_VALUES: Final = 1 << 20
_SLOT_NAME: Final = re.compile(r"(?:fc_)?slot_([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class FeatureMeta:
    """A feature of training data.

    Attributes:
        name: Its name; a dense feature ``label`` is the labels, a feature of the line id is one of its fields.
        slot: The slot of the ids of a sparse feature; None for others. Of the first version 0 to 1022, else 1 to 65534.
        shape: How many values; by default 1. Of sparse features -1, as many as chance gives.
        dtype: Of dense features "float32" (the default), "float64" or "int64"; ids are "int64".
        method: How ids are made of raw data; "Combine" and "VectorTopString" make ids that are often absent.
        fid_version: Of ids: 1 has 10 bits of slot above 54 of value, 2 has 16 above 48.
        in_line_id: Whether it is a field of the line id.

    Raises:
        InvalidArgumentError: Such a feature cannot be.
    """

    name: str
    slot: int | None = None
    shape: int | None = None
    dtype: str | None = None
    method: str = ""
    fid_version: int = 2
    in_line_id: bool = False

    def __post_init__(self) -> None:
        where = f"feature {self.name!r}"
        if not self.name:
            raise InvalidArgumentError("feature: the name is empty")
        if self.slot is not None:
            if self.fid_version not in _SLOTS:
                raise InvalidArgumentError(f"{where}: fid version: got {self.fid_version}, want 1 or 2")
            allowed = _SLOTS[self.fid_version]
            if self.slot not in allowed:
                raise InvalidArgumentError(f"{where}: slot: got {self.slot}, want {allowed[0]} to {allowed[-1]}")
            if self.in_line_id:
                raise InvalidArgumentError(f"{where}: has a slot, which fields of a line id have not")
            if self.shape not in (None, -1) or self.dtype not in (None, "int64"):
                raise InvalidArgumentError(f"{where}: has a slot: want shape -1 and dtype int64")
            return
        if self.shape is not None and not 1 <= self.shape <= _MAX_VALUES:
            raise InvalidArgumentError(f"{where}: shape: got {self.shape}, want 1 to {_MAX_VALUES}")
        if self.in_line_id:
            if self.name not in LineId.DESCRIPTOR.fields_by_name:
                raise InvalidArgumentError(f"{where}: is no field of a line id")
        elif self.dtype not in (None, *DENSE_DTYPES):
            raise InvalidArgumentError(f"{where}: dtype: got {self.dtype!r}, want one of {', '.join(DENSE_DTYPES)}")

    @property
    def count(self) -> int:
        """Values of a feature that is not sparse."""
        return self.shape or 1


def id_features(names: Iterable[str], known: Sequence[FeatureMeta] = ()) -> list[FeatureMeta]:
    """Sparse features, with ids of the second version, of names alone.

    A name that is known is taken from there; ``slot_N`` and ``fc_slot_N`` have slot N; others the lowest slots, from 1,
    that nothing else has.
    """
    wanted = list(dict.fromkeys(names))
    by_name = {feature.name: feature for feature in known if feature.slot is not None}
    for name in wanted:
        match = _SLOT_NAME.fullmatch(name)
        if name not in by_name and match is not None:
            by_name[name] = FeatureMeta(name, int(match[1]))
    taken = {feature.slot for feature in by_name.values()}
    slot = 1
    for name in wanted:
        if name not in by_name:
            while slot in taken:
                slot += 1
            by_name[name] = FeatureMeta(name, slot)
            taken.add(slot)
    return [by_name[name] for name in wanted]


def read_features(path: str | os.PathLike[str]) -> list[FeatureMeta]:
    """Features out of a JSON file: a list of objects with the attributes of :class:`FeatureMeta`.

    Raises:
        InvalidArgumentError: Not such a file.
        OSError: It cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{name}: not JSON: {error}") from None
    if not isinstance(entries, list):
        raise InvalidArgumentError(f"{name}: got {type(entries).__name__}, want a list of features")
    try:
        return [_feature(entry, f"entry {i}") for i, entry in enumerate(entries)]
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{name}: {error}") from None


_KINDS: Final[dict[str, type]] = {
    "name": str,
    "slot": int,
    "shape": int,
    "dtype": str,
    "method": str,
    "fid_version": int,
    "in_line_id": bool,
}


def _feature(entry: Any, where: str) -> FeatureMeta:
    if not isinstance(entry, dict) or "name" not in entry:
        raise InvalidArgumentError(f"{where}: want an object with a name")
    known = {field.name for field in fields(FeatureMeta)}
    for key, value in entry.items():
        if key not in known:
            raise InvalidArgumentError(f"{where}: {key!r}: want one of {', '.join(sorted(known))}")
        if type(value) is not _KINDS[key]:
            raise InvalidArgumentError(f"{where}: {key}: got {value!r}, want {_KINDS[key].__name__}")
    return FeatureMeta(**entry)
