"""The facts of a bundle."""

from __future__ import annotations

import os
import stat
from collections import defaultdict

from mexport_pb._proto.bundle_pb2 import BundleEntryProto
from mexport_pb.bundle import BundleReader, data_path
from mexport_pb.bundle.index import shape_of
from mexport_pb.errors import BundleError, MexportError
from mexport_pb.inspect.facts import Damage, SizePart, VariableFacts
from mexport_pb.inspect.graph_facts import dtype_name

__all__ = ["bundle_facts"]

_UNUSED = "not used"


def bundle_facts(
    prefix: str, damages: list[Damage], *, read_values: bool
) -> tuple[list[VariableFacts], dict[str, SizePart]]:
    """Gather what is in a bundle.

    Args:
        prefix: The path without ``.index``.
        damages: Gets what is wrong.
        read_values: Also read all values, in little memory, and compare their checksums.

    Returns:
        The tensors, and the sizes of the index and of the data files by path.
    """
    sizes: dict[str, SizePart] = {}
    index = f"{prefix}.index"
    variables = []
    try:
        sizes[index] = SizePart(os.path.basename(index), _file_size(index))
        reader = BundleReader(prefix)
    except (MexportError, OSError) as error:
        damages.append(Damage(index, str(error)))
        return [], sizes
    with reader:
        stored: dict[int, list[tuple[int, str, BundleEntryProto]]] = defaultdict(list)
        for name in reader.keys():  # noqa: SIM118 - a reader is no mapping
            entry = reader.entry(name)
            parts = [part for _, part in reader.stored(name, entry)] if entry.slices else [entry]
            for part in parts:
                stored[part.shard_id].append((part.offset, name, part))
            variables.append(
                VariableFacts(
                    name,
                    dtype_name(entry.dtype),
                    shape_of(entry),
                    sum(part.size for part in parts),
                    None if entry.slices else entry.crc32c,
                    len(parts),
                    tuple(sorted({part.shard_id for part in parts})),
                )
            )
        for shard in range(reader.num_shards):
            path = data_path(prefix, shard, reader.num_shards)
            own = sorted(stored[shard], key=lambda item: item[:2])
            size = _data_file(path, own, damages)
            if size is not None:
                sizes[path] = size
                if read_values:
                    _check(reader, own, path, damages)
    return variables, sizes


def _data_file(path: str, own: list[tuple[int, str, BundleEntryProto]], damages: list[Damage]) -> SizePart | None:
    """A file as its tensors; what is in it besides, and of a file that is too short what is there."""
    try:
        left = size = _file_size(path)
    except (BundleError, OSError) as error:
        damages.append(Damage(path, str(error)))
        return None
    sizes: dict[str, int] = {}
    for offset, name, entry in own:
        there = max(0, min(entry.size, size - offset))
        sizes[name] = sizes.get(name, 0) + there
        left -= there
    parts = [SizePart(name, of_it) for name, of_it in sizes.items() if of_it]
    if left:
        parts.append(SizePart(_UNUSED, left))
    return SizePart.of(os.path.basename(path), parts)


def _file_size(path: str) -> int:
    """Raises BundleError for what is no regular file: a pipe would be waited for."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BundleError("not a regular file", path=path)
    return status.st_size


def _check(
    reader: BundleReader, own: list[tuple[int, str, BundleEntryProto]], path: str, damages: list[Damage]
) -> None:
    for _, name, entry in own:
        try:
            reader.files.check(entry, name)
        except (MexportError, OSError) as error:
            damages.append(Damage(path, str(error)))
