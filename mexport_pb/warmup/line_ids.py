"""Random line ids: who saw what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from mexport_pb._proto.line_id_pb2 import LineId
from mexport_pb.warmup.features import FeatureMeta

__all__ = ["random_fid", "random_line_id"]

_VALUE_BITS = {1: 54, 2: 48}
_USER_SLOT = 1
_ITEM_SLOT = 200
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def random_fid(random: np.random.Generator, slot: int, version: int) -> int:
    """An id of a slot; its value is not 0."""
    bits = _VALUE_BITS[version]
    return (slot << bits) | int(random.integers(1, 1 << bits))


def random_line_id(
    random: np.random.Generator, features: Sequence[FeatureMeta], *, fid_version: int, req_time: int
) -> LineId:
    """A line id with these fields; without any, with user, item, time, sample rate and an action.

    Args:
        random: Where values come from.
        features: Fields of a line id.
        fid_version: Of the ids of user (slot 1) and item (slot 200).
        req_time: Seconds.
    """
    line_id = LineId()
    names = [feature.name for feature in features] or ["uid", "item_id", "req_time", "actions"]
    counts = {feature.name: feature.count for feature in features}
    for name in names:
        if name == "uid":
            line_id.uid = random_fid(random, _USER_SLOT, fid_version)
        elif name == "item_id":
            line_id.item_id = random_fid(random, _ITEM_SLOT, fid_version)
        elif name == "req_time":
            line_id.req_time = req_time
            line_id.sample_rate = 1.0
        else:
            field = LineId.DESCRIPTOR.fields_by_name[name]
            old = getattr(line_id, name)
            if hasattr(old, "extend"):  # repeated; the spelling on descriptors changes with protobuf's versions
                old.extend(_value(random, field.cpp_type) for _ in range(counts.get(name, 1)))
            else:
                setattr(line_id, name, _value(random, field.cpp_type))
    return line_id


def _value(random: np.random.Generator, cpp_type: int) -> int | float | str | bool:
    if cpp_type in _FLOATS:
        return float(random.random())
    if cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "hello world"
    if cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return False
    return int(random.integers(0, 11))
