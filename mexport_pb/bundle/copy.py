"""Tensors from one bundle to another as bytes: no session, and no more memory than a buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mexport_pb._proto import bundle_pb2
from mexport_pb.bundle.data import box_index
from mexport_pb.bundle.files import PathLike
from mexport_pb.bundle.index import shape_of, write_index
from mexport_pb.bundle.merge import merge_entries
from mexport_pb.bundle.reader import BundleReader, check_shape, missing_variable
from mexport_pb.bundle.shard import ShardWriter
from mexport_pb.bundle.slices import (
    TensorSlice,
    find_fault,
    format_shape_and_slice,
    name_bytes,
    name_text,
    parse_shape_and_slice,
)
from mexport_pb.bundle.staging import Staging
from mexport_pb.errors import InvalidArgumentError

__all__ = ["BundleItem", "CopyReport", "copy_bundle", "copy_to_shards"]


@dataclass(frozen=True)
class BundleItem:
    """What a saver writes in one place: a tensor, or a part of one.

    Attributes:
        key: The checkpoint key.
        shape_and_slice: The full shape and the part, as SaveV2 takes them ("5 2 0,3:0,2"); "" for the whole tensor.
    """

    key: str
    shape_and_slice: str = ""


@dataclass(frozen=True)
class CopyReport:
    """What a copy has written.

    Attributes:
        names: The tensors, each once, in the order of writing.
        bytes: The size of the data files together.
    """

    names: tuple[str, ...]
    bytes: int


def copy_bundle(
    src_prefix: PathLike, dst_prefix: PathLike, keys: Iterable[str] | None = None, *, durable: bool = True
) -> CopyReport:
    """Copy tensors to a bundle with one data file: the bytes that a Saver of these variables would write.

    Tensors are written in the order of their keys, parts of one tensor in the order in which the source has them. Each
    checksum is compared on the way. Memory use does not depend on the tensors' sizes. Variants are copied too.

    Args:
        src_prefix: The bundle to read.
        dst_prefix: The bundle to write; its folder is created with its parents. Nothing is there before all is done,
            and a bundle that is there is replaced then.
        keys: The tensors; all of them when None.
        durable: Return only when the bundle survives a loss of power.

    Raises:
        MissingVariableError: a key is not in the source.
        InvalidArgumentError: a key is given twice.
        OSError: a file cannot be read or written.
        BundleError: the source is damaged; BundleCrcError if a checksum is wrong.
        UnsupportedError: a dtype that is not known.
    """
    with BundleReader(src_prefix) as reader:
        items = []
        for key in sorted(reader.keys() if keys is None else keys, key=name_bytes):
            entry = reader.entry(key)
            shape = shape_of(entry)
            parts = [BundleItem(key, format_shape_and_slice(shape, part)) for part in reader.slices(key)]
            items += parts or [BundleItem(key)]
        return _copy(reader, dst_prefix, [items], {}, durable)


def copy_to_shards(
    src_prefix: PathLike,
    dst_prefix: PathLike,
    shards: Sequence[Sequence[BundleItem]],
    *,
    extra: Mapping[str, npt.ArrayLike] | None = None,
    durable: bool = True,
    check: Callable[[], None] | None = None,
) -> CopyReport:
    """Write what a sharded Saver leaves: SaveV2 for each shard, then MergeV2Checkpoints.

    A tensor or part that the source holds just so is copied as bytes, in little memory. One that the source holds
    whole, or in other parts, is put together first; that takes the memory of this item (twice if it is cut from several
    parts), never of the whole checkpoint. Every byte read is under a checksum that is compared.

    Args:
        src_prefix: The checkpoint to read.
        dst_prefix: The bundle to write, as for :func:`copy_bundle`.
        shards: For each data file, what goes into it, in that order.
        extra: Values of tensors that are not in the checkpoint; a part is cut out of its tensor's value.
        durable: As for :func:`copy_bundle`. False suits a caller that brings the whole folder to the disk later.
        check: Called before each item; may raise to give the copy up.

    Raises:
        MissingVariableError: a key is neither in the source nor in ``extra``.
        MismatchError: an item's full shape is not that of the tensor.
        InvalidArgumentError: no shards or an empty one (savers write neither: SaveV2 takes at least one tensor), a
            tensor or part twice, parts that overlap or leave a gap, malformed text, or a key of ``extra`` that is in
            the source or not among the items.
        OSError, BundleError, UnsupportedError: as for :func:`copy_bundle`.
    """
    if not shards or not all(shards):
        raise InvalidArgumentError("shards: got one without items, want at least one tensor in each data file")
    values = dict(extra or {})
    with BundleReader(src_prefix) as reader:
        listed = {item.key for shard in shards for item in shard}
        for key in values:
            if key in reader:
                raise InvalidArgumentError(f"extra tensor {key!r} is in the checkpoint {reader.prefix} already")
            if key not in listed:
                raise InvalidArgumentError(f"extra tensor {key!r} is not listed in any shard")
        return _copy(reader, dst_prefix, shards, values, durable, check)


@dataclass(frozen=True)
class _Planned:
    """An item, and how to get it: from a stored tensor as it is, or else by reading."""

    item: BundleItem
    full_shape: tuple[int, ...]
    part: TensorSlice | None
    stored: bundle_pb2.BundleEntryProto | None


def _copy(
    reader: BundleReader,
    dst_prefix: PathLike,
    shards: Sequence[Sequence[BundleItem]],
    extra: Mapping[str, npt.ArrayLike],
    durable: bool,
    check: Callable[[], None] | None = None,
) -> CopyReport:
    plans = [[_plan(reader, item, extra) for item in shard] for shard in shards]
    with Staging(dst_prefix, durable=durable) as staging:
        paths = [staging.new() for _ in shards]
        writers = []
        for path, plan in zip(paths, plans, strict=True):
            writer = ShardWriter(path, sum(_size_to_copy(reader, planned) for planned in plan))
            for planned in plan:
                if check is not None:
                    check()
                _write(reader, writer, planned, extra)
            writer.close(partial=True)
            writers.append(writer)
        # One data file or several: entries keep their order of keys, and every shard has at least one of its own.
        entries = merge_entries(sorted(writer.entries.items()) for writer in writers).entries
        for key, entry in entries.items():
            fault = entry.slices and find_fault([TensorSlice.from_proto(s) for s in entry.slices], shape_of(entry))
            if fault:
                raise InvalidArgumentError(f"tensor {name_text(key)!r}: {fault}")
        staging.commit(paths, write_index(entries, len(paths)))
    names = tuple(dict.fromkeys(planned.item.key for plan in plans for planned in plan))
    return CopyReport(names, sum(writer.bytes_written for writer in writers))


def _plan(reader: BundleReader, item: BundleItem, extra: Mapping[str, npt.ArrayLike]) -> _Planned:
    wanted = parse_shape_and_slice(item.shape_and_slice) if item.shape_and_slice else None
    if item.key in extra:
        full_shape = np.shape(extra[item.key])
        entry = None
    elif item.key in reader:
        entry = reader.entry(item.key)
        full_shape = shape_of(entry)
    else:
        raise missing_variable(item.key, reader.prefix, reader.keys())
    if wanted is None:
        part = None
    else:
        check_shape(item.key, reader.prefix, wanted[0], full_shape)
        part = None if wanted[1].is_full(full_shape) else wanted[1]
    stored = None
    if entry is not None and not entry.slices:
        stored = entry if part is None else None
    elif entry is not None and part is not None:
        box = part.box(full_shape)
        stored = next((e for p, e in reader.stored(item.key, entry) if p.box(full_shape) == box), None)
    return _Planned(item, full_shape, part, stored)


def _size_to_copy(reader: BundleReader, planned: _Planned) -> int:
    """The bytes that are sure to be written, for reserving disk: none on the mere word of an index."""
    entry = planned.stored
    if entry is None or entry.offset + entry.size > reader.files.file(entry.shard_id).size:
        return 0
    return entry.size


def _write(reader: BundleReader, writer: ShardWriter, planned: _Planned, extra: Mapping[str, npt.ArrayLike]) -> None:
    key, part = planned.item.key, planned.part
    if planned.stored is not None:
        writer.copy(key, reader.files, planned.stored, planned.full_shape, part)
        return
    if key in extra:
        values = np.asarray(extra[key])
        values = values if part is None else values[box_index(part.box(planned.full_shape))]
    else:
        values = reader.read_slice(key, planned.item.shape_and_slice)
    if part is None:
        writer.add(key, values)
    else:
        writer.add_slice(key, planned.full_shape, part, values)
