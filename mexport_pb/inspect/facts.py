"""What is known of a model, a bundle or tables: plain values, gathered once and rendered in several ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mexport_pb.table.info import TableInfo

__all__ = [
    "AssetFacts",
    "Damage",
    "FunctionFacts",
    "GraphFacts",
    "GraphTableFacts",
    "Histogram",
    "ModelFacts",
    "ObjectFacts",
    "SignatureFacts",
    "SizePart",
    "TableFacts",
    "TensorFacts",
    "VariableFacts",
    "WarmupFacts",
]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor of a signature.

    Attributes:
        key: Its name in the signature.
        name: In the graph; of a sparse or composite tensor those of its parts.
        dtype: As :func:`mexport_pb.dtypes.name_of` has it.
        shape: None for an unknown size; None in all for an unknown rank.
    """

    key: str
    name: str
    dtype: str
    shape: list[int | None] | None


@dataclass(frozen=True, slots=True)
class SignatureFacts:
    """A signature; inputs and outputs by their keys."""

    name: str
    method: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function of the graph's library.

    Attributes:
        name: Its name.
        nodes: How many it has.
        inputs: How many arguments.
        outputs: How many results.
    """

    name: str
    nodes: int
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The objects of a model that TensorFlow 2 or Keras wrote.

    Attributes:
        nodes: How many.
        kinds: How many of each kind: ``variable``, ``function``, …
        identifiers: How many of each class of user objects.
    """

    nodes: int
    kinds: dict[str, int]
    identifiers: dict[str, int]


@dataclass(frozen=True, slots=True)
class GraphTableFacts:
    """Tables as the graph has them.

    Attributes:
        name: The shared name.
        dims: The floats of a vector, by table.
        prefixes: What its files begin with, the present name first.
        serving: Whether it is configured for serving; None where the graph does not say.
    """

    name: str
    dims: dict[str, int]
    prefixes: tuple[str, ...]
    serving: bool | None


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """A meta graph.

    Attributes:
        tags: In the order of the file.
        tensorflow_version: Of the program that wrote it; empty where the file does not say.
        nodes: How many nodes, those of functions not counted.
        ops: How many nodes have each op, those of functions counted.
        devices: How many nodes ask for each device, those of functions counted.
        functions: The library.
        custom_ops: The ops that TensorFlow has only with a library loaded, with how many nodes have them.
        constants: How many constants there are.
        constant_bytes: What they take in the file; None for the text form.
        signatures: By name.
        collections: How many entries each has.
        main_op: The operation that loaders run after the restore; None without.
        saver: The operation that restores the variables; None without.
        objects: Of TensorFlow 2; None without.
        tables: Embedding tables.
    """

    tags: tuple[str, ...]
    tensorflow_version: str
    nodes: int
    ops: dict[str, int]
    devices: dict[str, int]
    functions: tuple[FunctionFacts, ...]
    custom_ops: dict[str, int]
    constants: int
    constant_bytes: int | None
    signatures: tuple[SignatureFacts, ...]
    collections: dict[str, int]
    main_op: str | None
    saver: str | None
    objects: ObjectFacts | None
    tables: tuple[GraphTableFacts, ...]


@dataclass(frozen=True, slots=True)
class VariableFacts:
    """A tensor of a bundle.

    Attributes:
        name: Its key.
        dtype: As :func:`mexport_pb.dtypes.name_of` has it.
        shape: Of all of it.
        bytes: What it takes in the data files.
        crc32c: The masked checksum in the index; None for a tensor that lies there in parts.
        parts: In how many parts.
        shards: The numbers of the data files that have it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    crc32c: int | None
    parts: int
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AssetFacts:
    """A file below ``assets/``. Those of tables are here only where a graph names them.

    Attributes:
        name: The file's name.
        bytes: Its size; None if it is missing.
        tensors: Those of the graphs that are fed with its path.
    """

    name: str
    bytes: int | None
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie in each interval.

    Attributes:
        edges: One more than there are counts, ascending.
        counts: Of values from an edge up to the next.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """An embedding table.

    Attributes:
        info: What :func:`mexport_pb.table_infos` tells.
        parts: What its records take, uncompressed: keys, values, optimizer, timestamps, record headers, protobuf tags.
            None for files that are compressed as a whole.
        norms: Of the Euclidean norms of the vectors that are neither zero nor infinite, intervals of a quarter octave.
        zero_rows: Vectors of zeros.
        bad_rows: Vectors with an infinity or a value that is no number.
        min_norm: The smallest norm other than 0; None without such vectors.
        max_norm: The largest finite norm.
        mean_norm: Of all finite norms, those of zeros counted.
        times: Of the timestamps other than 0.
        undated: Entries whose timestamp is 0.
    """

    info: TableInfo
    parts: dict[str, int] | None
    norms: Histogram
    zero_rows: int
    bad_rows: int
    min_norm: float | None
    max_norm: float | None
    mean_norm: float | None
    times: Histogram
    undated: int

    @property
    def title(self) -> str:
        """The last part of the basename; for one of several tables with its own name."""
        name = self.info.name.rpartition("/")[2]
        return name if self.info.table is None else f"{name}: {self.info.table}"

    @property
    def bytes(self) -> int:
        """Of the files; of one of several tables what its records take uncompressed."""
        return sum(shard.bytes for shard in self.info.shards)


@dataclass(frozen=True, slots=True)
class WarmupFacts:
    """The requests that a server replays before it serves.

    Attributes:
        path: The file.
        records: How many.
        kinds: How many of each kind: ``predict``, ``classify``, …
        signatures: How many ask for each signature; those that name none ask for the default one.
        models: How many name each model.
        largest: The bytes of the largest record.
    """

    path: str
    records: int
    kinds: dict[str, int]
    signatures: dict[str, int]
    models: dict[str, int]
    largest: int


@dataclass(frozen=True, slots=True)
class SizePart:
    """What takes the space.

    Attributes:
        name: What it is.
        bytes: What it takes; where there are parts, their sum.
        parts: What it is made of; may be empty.
    """

    name: str
    bytes: int
    parts: tuple[SizePart, ...] = ()

    @classmethod
    def of(cls, name: str, parts: Iterator[SizePart] | list[SizePart] | tuple[SizePart, ...]) -> SizePart:
        """A part that is made of others."""
        own = tuple(parts)
        return cls(name, sum(part.bytes for part in own), own)

    def leaves(self, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
        """Names from the top and bytes of what has no parts."""
        path = (*prefix, self.name)
        if not self.parts:
            yield path, self.bytes
        for part in self.parts:
            yield from part.leaves(path)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a file, and where; the rest of the facts is of what is whole."""

    where: str
    message: str


@dataclass(slots=True)
class ModelFacts:
    """A SavedModel, a bundle, or tables.

    Attributes:
        name: ``""``, or the sub-model of a distributed export: ``entry``, ``ps_0``, …
        path: The directory, file or basename.
        kind: What is there.
        graphs: The meta graphs, of a SavedModel.
        variables: The tensors of the bundle.
        variables_checked: Whether the checksums of their values were compared.
        assets: Files below ``assets/``, and those that should be there.
        tables: Embedding tables, by files.
        warmup: Of a SavedModel with warmup requests.
        sizes: All of the bytes on disk.
        damages: What could not be read.
    """

    name: str
    path: str
    kind: Literal["SavedModel", "bundle", "tables"]
    graphs: list[GraphFacts] = field(default_factory=list)
    variables: list[VariableFacts] = field(default_factory=list)
    variables_checked: bool = False
    assets: list[AssetFacts] = field(default_factory=list)
    tables: list[TableFacts] = field(default_factory=list)
    warmup: WarmupFacts | None = None
    sizes: SizePart = field(default_factory=lambda: SizePart("", 0))
    damages: list[Damage] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all could be read."""
        return not self.damages

    def to_json(self) -> dict[str, Any]:
        """As values that json can write."""
        return asdict(self)
