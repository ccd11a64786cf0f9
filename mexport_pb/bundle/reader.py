"""Reading a bundle: names and shapes from the index, values from the data files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mexport_pb import dtypes
from mexport_pb._proto import bundle_pb2
from mexport_pb.bundle.data import Box, DataFiles, box_index
from mexport_pb.bundle.files import PathLike
from mexport_pb.bundle.index import load_index, parse_entry, shape_of
from mexport_pb.bundle.slices import TensorSlice, parse_shape_and_slice
from mexport_pb.errors import InvalidArgumentError, MismatchError, MissingVariableError

__all__ = ["BundleReader"]


class BundleReader:
    """The tensors of ``<prefix>.index`` and ``<prefix>.data-*``.

    Opening reads and checks the index alone; a data file is opened when a tensor of it is asked for. Names that are
    not UTF-8 appear with surrogate escapes. Threads may share a reader.

    ::

        with BundleReader("model/variables/variables") as reader:
            for name in reader.keys():
                print(name, reader.shape(name), reader.read(name))

    Every method that looks at a tensor raises:
        MissingVariableError: there is none of that name.
    Every method that reads data raises:
        OSError: a data file cannot be opened or read.
        BundleError: a data file is damaged; BundleCrcError if a checksum is wrong.
        UnsupportedError: a variant, a resource, or a dtype that is not known.
    """

    def __init__(self, prefix: PathLike) -> None:
        """Open a bundle.

        Args:
            prefix: The path without ``.index``.

        Raises:
            OSError: the index cannot be read.
            BundleError: the index is damaged.
            UnsupportedError: the bundle is big-endian or of a later version.
        """
        self.prefix = os.fspath(prefix)
        self._index = load_index(prefix)
        self._files: DataFiles | None = DataFiles(prefix, self._index.num_shards)

    @property
    def num_shards(self) -> int:
        """The number of data files."""
        return self._index.num_shards

    def keys(self) -> list[str]:
        """The names of all tensors, in the order of their bytes; partitioned ones appear once."""
        return list(self._index.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._index.tensors

    def __len__(self) -> int:
        return len(self._index.tensors)

    def entry(self, name: str) -> bundle_pb2.BundleEntryProto:
        """The index's entry of a tensor; a partitioned one has ``slices`` and no place of its own."""
        raw = self._index.tensors.get(name)
        if raw is None:
            raise missing_variable(name, self.prefix, self._index.tensors)
        return parse_entry(raw)

    def dtype(self, name: str) -> int:
        """The element type, as a ``DataType`` number (see :mod:`mexport_pb.dtypes`)."""
        return self.entry(name).dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """The full shape."""
        return shape_of(self.entry(name))

    def slices(self, name: str) -> list[str]:
        """The stored parts of a partitioned tensor in the order of writing, as text ("0,3:-"); none for others."""
        return [str(TensorSlice.from_proto(message)) for message in self.entry(name).slices]

    def read(self, name: str) -> npt.NDArray[Any]:
        """The values of a whole tensor, put together from its parts if it is partitioned; strings are bytes."""
        entry = self.entry(name)
        return self._read(name, entry, tuple((0, size) for size in shape_of(entry)))

    def read_slice(self, name: str, shape_and_slice: str) -> npt.NDArray[Any]:
        """The values of a part.

        Args:
            name: The tensor.
            shape_and_slice: The full shape and the part, as RestoreV2 takes them: ``"5 2 0,3:0,2"``; ``""`` for all.

        Raises:
            InvalidArgumentError: malformed text.
            MismatchError: the tensor has another shape.
        """
        if not shape_and_slice:
            return self.read(name)
        entry = self.entry(name)
        shape, part = parse_shape_and_slice(shape_and_slice)
        check_shape(name, self.prefix, shape, shape_of(entry))
        return self._read(name, entry, part.box(shape))

    def verify(self) -> None:
        """Read all data and compare every checksum, in little memory."""
        stored = [
            (entry.shard_id, entry.offset, key, entry) for key, entry in self._index.entries() if not entry.slices
        ]
        stored.sort(key=lambda item: item[:3])
        for _, _, key, entry in stored:
            self.files.check(entry, key.decode("utf-8", "backslashreplace"))

    def stored(
        self, name: str, entry: bundle_pb2.BundleEntryProto
    ) -> list[tuple[TensorSlice, bundle_pb2.BundleEntryProto]]:
        """The parts of a partitioned tensor and their entries, in the order of writing."""
        parts = [TensorSlice.from_proto(message) for message in entry.slices]
        return [(part, parse_entry(self._index.parts[part.key(name)])) for part in parts]

    @property
    def files(self) -> DataFiles:
        """The data files; InvalidArgumentError after :meth:`close`."""
        if self._files is None:
            raise InvalidArgumentError(f"bundle {self.prefix!r} is closed")
        return self._files

    def close(self) -> None:
        """Let go of the data files."""
        if self._files is not None:
            self._files.close()
        self._files = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, name: str, entry: bundle_pb2.BundleEntryProto, box: Box) -> npt.NDArray[Any]:
        shape = shape_of(entry)
        full = tuple((0, size) for size in shape)
        if not entry.slices:
            return self.files.read(entry, name, None if box == full else box)
        touched = []
        for part, stored in self.stored(name, entry):
            part_box = part.box(shape)
            overlap = _intersect(part_box, box)
            if overlap is None:
                continue
            label = f"{name} {part}"
            if part_box == box:
                return self.files.read(stored, label)
            # All of them, before the result takes memory.
            self.files.check_place(stored, label)
            touched.append((stored, label, overlap, None if overlap == part_box else _relative(overlap, part_box)))
        out = np.empty(tuple(length for _, length in box), dtypes.numpy_dtype(entry.dtype))
        for stored, label, overlap, within_part in touched:
            out[box_index(_relative(overlap, box))] = self.files.read(stored, label, within_part)
        return out


def _intersect(a: Box, b: Box) -> Box | None:
    common = []
    for (a_start, a_length), (b_start, b_length) in zip(a, b, strict=True):
        start, end = max(a_start, b_start), min(a_start + a_length, b_start + b_length)
        if start >= end:
            return None
        common.append((start, end - start))
    return tuple(common)


def _relative(inner: Box, outer: Box) -> Box:
    return tuple((start - base, length) for (start, length), (base, _) in zip(inner, outer, strict=True))


def missing_variable(name: str, prefix: str, known: Iterable[str]) -> MissingVariableError:
    """The error for a name that a bundle has not, with the names that look like it."""
    near = difflib.get_close_matches(name, list(known), n=3)
    hint = f"; near names: {', '.join(map(repr, near))}" if near else ""
    return MissingVariableError(f"{prefix}: no tensor {name!r} in the checkpoint{hint}")


def check_shape(name: str, prefix: str, want: tuple[int, ...], got: tuple[int, ...]) -> None:
    """Raise MismatchError unless the shapes are equal."""
    if got != want:
        raise MismatchError(f"{prefix}: shape of tensor {name!r}: got {got}, want {want}")
