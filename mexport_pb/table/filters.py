"""Nodes of hash filters, which admit an id to a table only once it came often enough, and of sync clients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph import get_default_graph
from mexport_pb.graph.export_mode import is_exporting_standalone
from mexport_pb.table.collections import (
    DUMMY_FILTER_PREFIX,
    DUMMY_SYNC_CLIENT,
    FILTER_PREFIX,
    PROBABILISTIC_FILTER_PREFIX,
)
from mexport_pb.table.emitter import Emitter

__all__ = [
    "FilterType",
    "create_dummy_hash_filter",
    "create_dummy_sync_client",
    "create_hash_filter",
    "create_hash_filters",
    "create_probabilistic_filter",
]

FilterType: TypeAlias = Literal["sliding_hash_filter", "probabilistic_filter", "no_filter"]


def create_dummy_hash_filter(name_suffix: str = "0", *, graph: Emitter | None = None) -> Any:
    """Add a filter that admits every id; returns its handle."""
    return _handle(graph, "MonolithDummyHashFilter", {"shared_name": f"{DUMMY_FILTER_PREFIX}{name_suffix}"})


def create_hash_filter(
    capacity: int = 300_000_000,
    split_num: int = 7,
    config: bytes = b"",
    name_suffix: str = "",
    *,
    graph: Emitter | None = None,
) -> Any:
    """Add a filter that counts occurrences of ids; returns its handle.

    Args:
        capacity: Of so many ids it knows the counts.
        split_num: Of so many pieces it is made, of which the oldest makes room.
        config: A serialised SlotOccurrenceThresholdConfig.
        name_suffix: What tells its shared name from those of others.
        graph: The graph; the default graph if None.
    """
    attrs = {
        "capacity": capacity,
        "split_num": split_num,
        "config": config,
        "shared_name": f"{FILTER_PREFIX}{name_suffix}",
    }
    return _handle(graph, "MonolithHashFilter", attrs)


def create_probabilistic_filter(
    equal_probability: bool = False, config: bytes = b"", name_suffix: str = "", *, graph: Emitter | None = None
) -> Any:
    """Add a filter that admits ids at random; returns its handle."""
    attrs = {
        "equal_probability": equal_probability,
        "config": config,
        "shared_name": f"{PROBABILISTIC_FILTER_PREFIX}{name_suffix}",
    }
    return _handle(graph, "MonolithProbabilisticFilter", attrs)


def create_hash_filters(
    ps_num: int,
    enable_hash_filter: bool,
    config: bytes = b"",
    filter_type: FilterType = "sliding_hash_filter",
    *,
    capacity: int = 300_000_000,
    split_num: int = 7,
    equal_probability: bool = False,
    graph: Emitter | None = None,
) -> list[Any]:
    """Add a filter for each parameter server, on its device, or one if there are none.

    A standalone export has no devices. With ``enable_hash_filter=False`` they admit every id.

    Raises:
        InvalidArgumentError: no such filter type.
    """

    def make(suffix: str) -> Any:
        if not enable_hash_filter or filter_type == "no_filter":
            return create_dummy_hash_filter(suffix, graph=graph)
        if filter_type == "sliding_hash_filter":
            return create_hash_filter(capacity, split_num, config, suffix, graph=graph)
        if filter_type == "probabilistic_filter":
            return create_probabilistic_filter(equal_probability, config, suffix, graph=graph)
        raise InvalidArgumentError(f"filter_type: got {filter_type!r}")

    if ps_num == 0:
        return [make("")]
    builder = graph or get_default_graph()
    filters = []
    for i in range(ps_num):
        on_server = nullcontext() if is_exporting_standalone() else builder.device(f"/job:ps/task:{i}/device:CPU:0")
        with on_server:
            filters.append(make(f"_{i}"))
    return filters


def create_dummy_sync_client(*, graph: Emitter | None = None) -> Any:
    """Add a client that pushes no updates to servers; returns its handle."""
    return _handle(graph, "MonolithDummySyncClient", {"shared_name": DUMMY_SYNC_CLIENT})


def _handle(graph: Emitter | None, op_type: str, attrs: Mapping[str, Any]) -> Any:
    return (graph or get_default_graph()).op(op_type, attrs=attrs).outputs[0]
