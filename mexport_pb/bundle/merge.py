"""Several bundles into one, as MergeV2Checkpoints does."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mexport_pb._proto import bundle_pb2
from mexport_pb.bundle.files import PathLike, data_path, index_path
from mexport_pb.bundle.index import load_index, shape_of, write_index
from mexport_pb.bundle.slices import name_text
from mexport_pb.bundle.staging import Staging
from mexport_pb.errors import InvalidArgumentError

__all__ = ["merge_bundles"]


@dataclass
class Merged:
    """The entries of the merged bundle, and the data files (input, its shard) in the order of their new numbers."""

    entries: dict[bytes, bundle_pb2.BundleEntryProto]
    data_files: list[tuple[int, int]]


def merge_entries(inputs: Iterable[Iterable[tuple[bytes, bundle_pb2.BundleEntryProto]]]) -> Merged:
    """Merge entries, those of each input in the order of keys. See docs/formats/bundle.md.

    Raises:
        InvalidArgumentError: a tensor or a part is in two inputs.
    """
    merged = Merged({}, [])
    numbers: dict[tuple[int, int], int] = {}
    for i, entries in enumerate(inputs):
        for key, entry in entries:
            known = merged.entries.get(key)
            if known is None:
                number = numbers.setdefault((i, entry.shard_id), len(numbers))
                taken = merged.entries[key] = bundle_pb2.BundleEntryProto()
                taken.CopyFrom(entry)
                taken.shard_id = number
                continue
            if not known.slices or not entry.slices:
                raise InvalidArgumentError(f"tensor {name_text(key)!r} is in more than one of the bundles to merge")
            if known.dtype != entry.dtype or shape_of(known) != shape_of(entry):
                raise InvalidArgumentError(f"tensor {name_text(key)!r}: parts differ in dtype or full shape")
            known.slices.extend(entry.slices)
    merged.data_files = list(numbers)
    return merged


def merge_bundles(
    prefixes: Sequence[PathLike], dst_prefix: PathLike, *, move: bool = False, durable: bool = True
) -> None:
    """Merge bundles into one: the bytes of TensorFlow's MergeV2Checkpoints.

    Partitioned tensors whose parts are spread over the inputs come together; every other name must be in one input
    only. The data is not read, so checksums are not compared: :meth:`BundleReader.verify` does that.

    Args:
        prefixes: The bundles, in the order that decides the numbers of the data files.
        dst_prefix: The new bundle; its folder is created with its parents. It may be one of the inputs; another bundle
            that is there is replaced.
        move: Rename the data files instead of copying them, then remove the input's index files, and their folders
            where nothing is left in them.
        durable: Return only when the bundle survives a loss of power.

    Raises:
        InvalidArgumentError: no inputs, a tensor in two of them, or an input data file without a tensor, for which the
            format has no number.
        OSError: a file cannot be read or written. All files are then as they were.
        BundleError: an index is damaged.
    """
    if not prefixes:
        raise InvalidArgumentError("no bundles to merge")
    indexes = [load_index(prefix, partial=True) for prefix in prefixes]
    merged = merge_entries(index.entries() for index in indexes)
    num_shards = sum(index.num_shards for index in indexes)
    if num_shards != len(merged.data_files):
        raise InvalidArgumentError(
            f"data files without tensors: got {num_shards} data files, {len(merged.data_files)} of them with tensors"
        )
    sources = [data_path(prefixes[i], shard, indexes[i].num_shards) for i, shard in merged.data_files]
    with Staging(dst_prefix, durable=durable) as staging:
        if not move:
            copies = [staging.new() for _ in sources]
            for source, copy in zip(sources, copies, strict=True):
                shutil.copyfile(source, copy)
            sources = copies
        staging.commit(sources, write_index(merged.entries, num_shards))
    if move:
        _remove_rest(prefixes, dst_prefix)


def _remove_rest(prefixes: Sequence[PathLike], dst_prefix: PathLike) -> None:
    kept = os.path.realpath(index_path(dst_prefix))
    for prefix in prefixes:
        if os.path.realpath(index_path(prefix)) != kept:
            os.unlink(index_path(prefix))
    for folder in {os.path.dirname(os.fspath(prefix)) for prefix in prefixes} - {""}:
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(folder)
