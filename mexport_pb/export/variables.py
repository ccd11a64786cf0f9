"""Which values of a checkpoint an export needs, checked against the graph before a byte is copied."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.bundle import BundleItem, BundleReader
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import SaveItem, check_match, save_plan

__all__ = ["VariablePlan", "plan_variables"]


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
        InvalidArgumentError: A value was given for what is no variable.
    """
    shards: list[list[SaveItem]] = []
    seen: set[str] = set()
    for meta_graph in meta_graphs:
        if not meta_graph.HasField("saver_def"):
            continue
        plan = save_plan(meta_graph).shards
        if not shards:
            shards = [list(shard) for shard in plan]
        else:
            # A tensor that an earlier graph has, in whatever parts, is there: restoring cuts out and joins parts.
            rest = [item for shard in plan for item in shard if item.key not in seen]
            if rest:
                shards.append(rest)
        seen.update(item.key for shard in plan for item in shard)

    values = dict(extra or {})
    with BundleReader(checkpoint) as reader:
        items = [item for shard in shards for item in shard]
        check_match(items, reader, values)
        used = {item.key for item in items}
        for key in values:
            if key not in used:
                raise InvalidArgumentError(f"a value was given for {key!r}, which is no variable of the graph")
        extra_used = {key: value for key, value in values.items() if key not in reader}
    return VariablePlan([[BundleItem(i.key, i.shape_and_slice) for i in shard] for shard in shards], extra_used)
