"""The index of a bundle as messages: read with every check, written as TensorFlow would."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from mexport_pb import _core, dtypes
from mexport_pb._proto import bundle_pb2, tensor_pb2
from mexport_pb.bundle.files import PathLike, index_path
from mexport_pb.bundle.slices import TensorSlice, find_fault, name_text
from mexport_pb.errors import BundleError, DataError, InvalidArgumentError, UnsupportedError

_Message = TypeVar("_Message", bundle_pb2.BundleHeaderProto, bundle_pb2.BundleEntryProto)

HEADER_KEY: Final = b""
PART_KEY_START: Final = 0
_VERSION: Final = 1
_MAX_INDEX_BYTES: Final = 1 << 30  # the table reader's own limit
_MAX_INT64: Final = 2**63 - 1
_MAX_RANK: Final = 254  # TensorFlow's

# Smallest number of stored bytes: (an element, a tensor).
_STRING_BYTES: Final = (1, 4)
_VARIANT_BYTES: Final = (5, 0)


def parse_entry(raw: bytes) -> bundle_pb2.BundleEntryProto:
    """Parse an entry that :func:`load_index` has checked."""
    return bundle_pb2.BundleEntryProto.FromString(raw)


def shape_of(entry: bundle_pb2.BundleEntryProto) -> tuple[int, ...]:
    """The shape of an entry's tensor."""
    return tuple(dim.size for dim in entry.shape.dim)


def layout_of(entry: bundle_pb2.BundleEntryProto, name: str) -> _core.TensorLayout:
    """How the tensor is stored. UnsupportedError for resources and for types that TensorFlow may have added since."""
    if entry.dtype == tensor_pb2.DT_STRING:
        return _core.TensorLayout.STRINGS
    if entry.dtype == tensor_pb2.DT_VARIANT:
        return _core.TensorLayout.VARIANTS
    if entry.dtype == tensor_pb2.DT_RESOURCE:
        raise UnsupportedError(f"tensor {name!r}: a resource is a handle of a process and has no stored form")
    if _element_size(entry.dtype) is None:
        raise UnsupportedError(f"tensor {name!r}: unknown dtype number {entry.dtype}")
    return _core.TensorLayout.FIXED


def place_of(entry: bundle_pb2.BundleEntryProto, name: str) -> _core.TensorPlace:
    """Where the tensor lies in its data file."""
    return _core.TensorPlace(
        layout_of(entry, name),
        entry.offset,
        entry.size,
        math.prod(shape_of(entry)),
        name.encode("utf-8", "backslashreplace"),
    )


@dataclass
class Index:
    """The checked contents of one index file. Values stay serialised: most callers touch few of them."""

    path: str
    num_shards: int
    tensors: dict[str, bytes] = field(default_factory=dict)  # by name, in the order of keys
    parts: dict[bytes, bytes] = field(default_factory=dict)  # by slice key, in the order of keys

    def entries(self) -> Iterator[tuple[bytes, bundle_pb2.BundleEntryProto]]:
        """All entries but the header, in the order of keys: those of parts sort first."""
        for key, raw in self.parts.items():
            yield key, parse_entry(raw)
        for name, raw in self.tensors.items():
            yield name.encode("utf-8", "surrogateescape"), parse_entry(raw)


def write_index(entries: Mapping[bytes, bundle_pb2.BundleEntryProto], num_shards: int) -> bytes:
    """The contents of an index file."""
    header = bundle_pb2.BundleHeaderProto(num_shards=num_shards)
    header.version.producer = _VERSION
    table = [(HEADER_KEY, header.SerializeToString())]
    table += [(key, entries[key].SerializeToString()) for key in sorted(entries)]
    return _core.write_sstable(table)


def load_index(prefix: PathLike, *, partial: bool = False) -> Index:
    """Read and check ``<prefix>.index``; see docs/formats/bundle.md for what is refused.

    Args:
        prefix: The bundle.
        partial: Accept partitioned tensors with parts missing, as in a bundle that waits to be merged.

    Raises:
        OSError: the file cannot be read.
        BundleError: it is damaged.
        UnsupportedError: it is of another endianness or version.
    """
    path = index_path(prefix)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_INDEX_BYTES:
            raise BundleError(f"index too large: got {size} bytes, want at most {_MAX_INDEX_BYTES}", path=path)
        table = _core.read_sstable(file.read(), os.fsencode(path))
    if not table or table[0][0] != HEADER_KEY:
        raise BundleError("no header: the first key is not empty", path=path)
    index = Index(path, _check_header(table[0][1], path))
    ranges: list[tuple[int, int, int, bytes]] = []
    for key, raw in table[1:]:
        entry = _decode(bundle_pb2.BundleEntryProto(), raw, path, key)
        fault = _find_entry_fault(entry, index.num_shards)
        if fault is not None:
            raise BundleError(f"entry {key!r}: {fault}", path=path)
        if key[0] == PART_KEY_START:
            index.parts[key] = raw
        else:
            index.tensors[name_text(key)] = raw
        if entry.size:
            ranges.append((entry.shard_id, entry.offset, entry.size, key))
    _check_parts(index, partial=partial)
    ranges.sort()
    for (shard, offset, size, key), (next_shard, next_offset, _, next_key) in itertools.pairwise(ranges):
        if shard == next_shard and offset + size > next_offset:
            raise BundleError(f"entries {key!r} and {next_key!r} overlap in data file {shard}", path=path)
    return index


def stored_num_shards(path: str) -> int | None:
    """Return how many data files an index file counts; None if it is not there or cannot be read as one."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > _MAX_INDEX_BYTES:
                return None
            table = _core.read_sstable(file.read(), os.fsencode(path))
        return _check_header(table[0][1], path) if table and table[0][0] == HEADER_KEY else None
    except (OSError, DataError, UnsupportedError):
        return None


def _decode(message: _Message, raw: bytes, path: str, key: bytes) -> _Message:
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise BundleError(f"entry {key!r} is not a protobuf message of its kind", path=path) from None
    return message


@functools.cache
def _element_size(datatype: int) -> int | None:
    """None for what is of no fixed width, or not known."""
    try:
        return dtypes.element_size(datatype)
    except InvalidArgumentError:
        return None


def _check_header(raw: bytes, path: str) -> int:
    header = _decode(bundle_pb2.BundleHeaderProto(), raw, path, HEADER_KEY)
    if header.endianness != bundle_pb2.BundleHeaderProto.LITTLE:
        raise UnsupportedError(f"{path}: big-endian bundle: only little-endian ones are read")
    version = header.version
    if version.min_consumer > _VERSION or _VERSION in version.bad_consumers:
        raise UnsupportedError(
            f"{path}: bundle refuses readers of version {_VERSION}: got min_consumer {version.min_consumer}"
        )
    if version.producer < 0:
        raise BundleError(f"version of the header: got producer {version.producer}, want 0 or more", path=path)
    if header.num_shards < 1:
        raise BundleError(f"number of data files: got {header.num_shards}, want 1 or more", path=path)
    return header.num_shards


def _find_entry_fault(entry: bundle_pb2.BundleEntryProto, num_shards: int) -> str | None:
    dtype, size = entry.dtype, entry.size
    shape = entry.shape
    dims = [dim.size for dim in shape.dim]
    if dtype <= 0 or 100 < dtype <= 200:
        return f"dtype that no tensor has: got {dtype}"
    if shape.unknown_rank or len(dims) > _MAX_RANK or min(dims, default=0) < 0:
        return f"shape that no tensor has: got {'unknown' if shape.unknown_rank else dims}"
    elements = math.prod(dims)
    if elements > _MAX_INT64:
        return f"more than 2^63 - 1 elements: got shape {dims}"
    if not 0 <= entry.shard_id < num_shards:
        return f"number of the data file: got {entry.shard_id}, want 0 to {num_shards - 1}"
    if entry.slices:
        if entry.offset or size or entry.crc32c:
            return "a partitioned tensor with data of its own"
        return None
    offset = entry.offset
    if offset < 0 or size < 0 or offset > _MAX_INT64 - size:
        return f"place in the data file: got offset {offset}, size {size}"
    element_size = _element_size(dtype)
    if element_size is not None:
        if size != elements * element_size:
            return f"size: got {size}, want {elements * element_size} for {dtypes.name_of(dtype)} of shape {dims}"
    elif dtype in (tensor_pb2.DT_STRING, tensor_pb2.DT_VARIANT):
        per_element, per_tensor = _STRING_BYTES if dtype == tensor_pb2.DT_STRING else _VARIANT_BYTES
        if size < elements * per_element + per_tensor:
            return f"size: got {size}, want at least {elements * per_element + per_tensor} for shape {dims}"
    return None


def _check_parts(index: Index, *, partial: bool) -> None:
    """Each partitioned tensor has its parts and each part its tensor; parts do not overlap and leave no gap."""
    unclaimed = set(index.parts)
    for name, raw in index.tensors.items():
        # Field 7, length-delimited: most entries have no slices and need not be parsed again.
        if b"\x3a" not in raw:
            continue
        entry = parse_entry(raw)
        if not entry.slices:
            continue
        shape = shape_of(entry)
        slices = []
        for message in entry.slices:
            try:
                slices.append(TensorSlice.from_proto(message))
            except InvalidArgumentError as error:
                raise BundleError(f"entry {name!r}: {error}", path=index.path) from None
        fault = find_fault(slices, shape, partial=partial)
        if fault is not None:
            raise BundleError(f"entry {name!r}: {fault}", path=index.path)
        for part in slices:
            key = part.key(name)
            if key not in unclaimed:
                raise BundleError(f"entry {name!r}: no entry for its slice {part}", path=index.path)
            unclaimed.remove(key)
            stored = parse_entry(index.parts[key])
            if stored.dtype != entry.dtype or shape_of(stored) != part.shape(shape) or stored.slices:
                raise BundleError(f"entry {name!r}: its slice {part} differs in dtype or shape", path=index.path)
    if unclaimed:
        raise BundleError(f"slice without its tensor: key {min(unclaimed)!r}", path=index.path)
