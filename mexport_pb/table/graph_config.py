"""Configurations of tables as graphs hold them: serialised, for serving while an export runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mexport_pb._proto.hash_table_pb2 import EmbeddingHashTableConfig, EntryConfig, MultiEmbeddingHashTableConfig
from mexport_pb._proto.tensor_pb2 import DT_FLOAT
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.export_mode import is_exporting
from mexport_pb.messages.wire import serialize
from mexport_pb.table.config import HashTableConfigInstance
from mexport_pb.table.emitter import Emitter

__all__ = ["GraphTableConfig", "MultiGraphTableConfig", "dim_of", "learning_rates", "stacked_learning_rates"]


def dim_of(config: EmbeddingHashTableConfig) -> int:
    """The floats of a vector: those of all segments."""
    return sum(segment.dim_size for segment in config.entry_config.segments)


@dataclass(frozen=True)
class GraphTableConfig:
    """One table's configuration.

    Attributes:
        config: For the node's attribute; SERVING while an export runs.
        dim: The floats of a vector.
        slot_expire_time_config: Serialised; empty where the configuration has none.
    """

    config: EmbeddingHashTableConfig
    dim: int
    slot_expire_time_config: bytes

    @classmethod
    def of(cls, instance: HashTableConfigInstance, what: str) -> GraphTableConfig:
        """Checks and serialises what a user configured.

        Args:
            instance: The configuration.
            what: The table, for errors.

        Raises:
            InvalidArgumentError: it is none, has no type, or not one learning rate for each segment.
        """
        if not isinstance(instance, HashTableConfigInstance):
            raise InvalidArgumentError(f"{what}: got {type(instance).__name__}, want a HashTableConfigInstance")
        config = instance.as_proto()
        if config.WhichOneof("type") is None:
            raise InvalidArgumentError(f"{what}: its configuration has no type, want cuckoo")
        segments = len(config.entry_config.segments)
        if len(instance.learning_rate_fns) != segments:
            raise InvalidArgumentError(
                f"{what}: Size of learning_rate_fns and size of segments must be equal: "
                f"got {len(instance.learning_rate_fns)}, want {segments}"
            )
        expire = serialize(config.slot_expire_time_config)
        if is_exporting():
            config.entry_config.entry_type = EntryConfig.SERVING
        return cls(config, dim_of(config), expire)


@dataclass(frozen=True)
class MultiGraphTableConfig:
    """The configuration of several tables under one handle, in the order of their names.

    Attributes:
        names: Of the tables.
        instances: What each was configured with.
        config: The serialised MultiEmbeddingHashTableConfig.
        dims: The floats of each table's vectors.
        slot_expire_time_config: The first that is not empty; it holds for all tables.
    """

    names: tuple[str, ...]
    instances: tuple[HashTableConfigInstance, ...]
    config: bytes
    dims: tuple[int, ...]
    slot_expire_time_config: bytes

    @classmethod
    def of(cls, configs: Mapping[str, HashTableConfigInstance], what: str) -> MultiGraphTableConfig:
        """Checks and serialises what a user configured.

        Raises:
            InvalidArgumentError: there is no table, one without a name, or as :meth:`GraphTableConfig.of`.
        """
        if not configs:
            raise InvalidArgumentError(f"{what}: got no table, want at least one")
        names = tuple(sorted(configs))
        for name in names:
            if not name or not name.isprintable():
                raise InvalidArgumentError(f"{what}: got the table {name!r}, want a name that can be printed")
        tables = [GraphTableConfig.of(configs[name], f"{what}, table {name!r}") for name in names]
        multi = MultiEmbeddingHashTableConfig(names=names, configs=[table.config for table in tables])
        return cls(
            names,
            tuple(configs[name] for name in names),
            serialize(multi),
            tuple(table.dim for table in tables),
            next((table.slot_expire_time_config for table in tables if table.slot_expire_time_config), b""),
        )


def learning_rates(graph: Emitter, instance: HashTableConfigInstance) -> list[Any]:
    """The present rate of each segment as a float32 tensor; functions of the configuration may return tensors."""
    rates = []
    for fn in instance.learning_rate_fns:
        rate: Any = fn() if callable(fn) else fn
        if hasattr(rate, "dtype") and not isinstance(rate, float):
            rates.append(graph.op("Cast", [rate], attrs={"DstT": DT_FLOAT}).outputs[0])
        else:
            rates.append(graph.const(float(rate), DT_FLOAT))
    return rates


def stacked_learning_rates(graph: Emitter, rates: list[Any]) -> Any:
    """A float32 vector of rates.

    Raises:
        InvalidArgumentError: there are none.
    """
    if not rates:
        raise InvalidArgumentError("learning_rate_fns: got none, want one for each segment")
    return graph.op("Pack", [rates], name="stack").outputs[0]
