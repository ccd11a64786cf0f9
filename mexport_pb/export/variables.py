"""Which values of a checkpoint an export needs, checked against the graph before a byte is copied."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.bundle import BundleItem, BundleReader
from mexport_pb.dtypes import name_of
from mexport_pb.errors import MismatchError, MissingVariableError
from mexport_pb.graph import SaveItem, save_plan

__all__ = ["VariablePlan", "plan_variables"]

_MAX_LISTED = 20


@dataclass(frozen=True)
class VariablePlan:
    """What goes into ``variables/``.

    Attributes:
        shards: The items of each data file, in their order.
        extra: Values that the checkpoint does not have, by key.
    """

    shards: list[list[BundleItem]]
    extra: dict[str, np.ndarray[Any, Any]]

    @property
    def count(self) -> int:
        """How many tensors that is, every part of a partitioned variable counted."""
        return sum(len(shard) for shard in self.shards)


def plan_variables(
    meta_graphs: Sequence[MetaGraphDef],
    checkpoint: str | os.PathLike[str],
    *,
    extra: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> VariablePlan:
    """Plans the variables of a SavedModel: what its savers will restore, shard by shard.

    The first graph that has a saver decides the layout; items that only later graphs need form one more shard.

    Args:
        meta_graphs: The graphs, savers included.
        checkpoint: Prefix of the checkpoint that has the values.
        extra: Values by key that take the place of a variable that the checkpoint lacks.

    Raises:
        MissingVariableError: A variable is not in the checkpoint; all of them are listed, with what is near.
        MismatchError: A variable has another dtype or shape there.
    """
    shards: list[list[SaveItem]] = []
    seen: set[tuple[str, str]] = set()
    for meta_graph in meta_graphs:
        if not meta_graph.HasField("saver_def"):
            continue
        plan = save_plan(meta_graph).shards
        if not shards:
            shards = [list(shard) for shard in plan]
        else:
            rest = [item for shard in plan for item in shard if (item.key, item.shape_and_slice) not in seen]
            if rest:
                shards.append(rest)
        seen.update((item.key, item.shape_and_slice) for shard in plan for item in shard)

    values = dict(extra or {})
    with BundleReader(checkpoint) as reader:
        items = [item for shard in shards for item in shard]
        _check_present(items, reader, values, checkpoint)
        _check_alike(items, reader, values, checkpoint)
        used = {item.key for item in items}
        extra_used = {key: value for key, value in values.items() if key in used and key not in reader}
    return VariablePlan([[BundleItem(i.key, i.shape_and_slice) for i in shard] for shard in shards], extra_used)


def _check_present(
    items: Iterable[SaveItem],
    reader: BundleReader,
    extra: Mapping[str, np.ndarray[Any, Any]],
    checkpoint: str | os.PathLike[str],
) -> None:
    missing = list(dict.fromkeys(item.key for item in items if item.key not in reader and item.key not in extra))
    if not missing:
        return
    keys = reader.keys()
    lines = []
    for key in missing[:_MAX_LISTED]:
        near = difflib.get_close_matches(key, keys, n=3, cutoff=0.6)
        lines.append(f"{key!r}" + (f" (near it: {', '.join(map(repr, near))})" if near else ""))
    if len(missing) > _MAX_LISTED:
        lines.append(f"and {len(missing) - _MAX_LISTED} more")
    what = "variable" if len(missing) == 1 else f"{len(missing)} variables"
    raise MissingVariableError(
        f"{os.fspath(checkpoint)}: the checkpoint, which has {len(keys)} variables, lacks {what} of the graph: "
        f"{'; '.join(lines)}. A variable that exists only while exporting, or a checkpoint of another model or of "
        f"another mode of the model, are the usual causes"
    )


def _check_alike(
    items: Iterable[SaveItem],
    reader: BundleReader,
    extra: Mapping[str, np.ndarray[Any, Any]],
    checkpoint: str | os.PathLike[str],
) -> None:
    for item in items:
        if item.key not in reader:
            continue
        where = f"{os.fspath(checkpoint)}: variable {item.key!r}"
        dtype, shape = reader.dtype(item.key), tuple(reader.shape(item.key))
        if dtype != item.dtype:
            raise MismatchError(f"{where}: got {name_of(dtype)} in the checkpoint, want {name_of(item.dtype)}")
        want = item.full_shape
        if want is None:
            continue
        if len(want) != len(shape) or any(w is not None and w != g for w, g in zip(want, shape, strict=True)):
            raise MismatchError(f"{where}: got shape {list(shape)} in the checkpoint, want {list(want)}")
