"""Tensors of a bundle's data files: opened when needed, every checksum compared."""

from __future__ import annotations

import collections
import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mexport_pb import _core, dtypes
from mexport_pb._proto import bundle_pb2, tensor_pb2
from mexport_pb.bundle.files import PathLike, data_path
from mexport_pb.bundle.index import place_of, shape_of
from mexport_pb.errors import BundleCrcError, BundleError, UnsupportedError

# Descriptors are scarcer than the data files of a large job.
_MAX_OPEN_FILES: Final = 64
_MAX_NUMPY_RANK: Final = 64

Box = tuple[tuple[int, int], ...]


class DataFiles:
    """The data files of one bundle. Threads may share an object."""

    def __init__(self, prefix: PathLike, num_shards: int) -> None:
        self._prefix = os.fspath(prefix)
        self._num_shards = num_shards
        self._open: collections.OrderedDict[int, _core.BundleDataReader] = collections.OrderedDict()

    def path(self, shard: int) -> str:
        """The name of a data file."""
        return data_path(self._prefix, shard, self._num_shards)

    def file(self, shard: int) -> _core.BundleDataReader:
        """The opened data file; OSError if it cannot be opened."""
        file = self._open.get(shard)
        if file is None:
            file = self._open[shard] = _core.BundleDataReader(os.fsencode(self.path(shard)))
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)
        return file

    def close(self) -> None:
        """Let go of the files; reads that are under way end well."""
        self._open.clear()

    def check(self, entry: bundle_pb2.BundleEntryProto, name: str) -> None:
        """Compare the checksums of a stored tensor, in little memory."""
        got = self.file(entry.shard_id).check(place_of(entry, name))
        self.compare(entry, name, got)

    def check_place(self, entry: bundle_pb2.BundleEntryProto, name: str) -> None:
        """Raise BundleError unless the tensor lies within its file: to be called before memory is asked for."""
        size = self.file(entry.shard_id).size
        if entry.offset + entry.size > size:
            raise BundleError(
                f"tensor {name!r} ends beyond the file: got offset {entry.offset} and size {entry.size}, "
                f"want at most {size} bytes",
                path=self.path(entry.shard_id),
                offset=entry.offset,
            )

    def compare(self, entry: bundle_pb2.BundleEntryProto, name: str, got: int) -> None:
        """Raise BundleCrcError if the checksum ``got`` is not the entry's."""
        if got != entry.crc32c:
            raise BundleCrcError(
                f"tensor {name!r}: checksum: got 0x{got:08x}, want 0x{entry.crc32c:08x}",
                path=self.path(entry.shard_id),
                offset=entry.offset,
            )

    def read(self, entry: bundle_pb2.BundleEntryProto, name: str, box: Box | None = None) -> npt.NDArray[Any]:
        """Read a stored tensor, or a box of it: (start, length) a dimension.

        All of the tensor's bytes are read and checked; no more than the box is kept, except for strings.
        """
        place = place_of(entry, name)
        shape = shape_of(entry)
        if entry.dtype == tensor_pb2.DT_VARIANT:
            raise UnsupportedError(f"tensor {name!r}: a variant has no numpy form; it can be copied, not read")
        if len(shape) > _MAX_NUMPY_RANK:
            raise UnsupportedError(f"tensor {name!r}: numpy takes {_MAX_NUMPY_RANK} dimensions: got {len(shape)}")
        file = self.file(entry.shard_id)
        if entry.dtype == tensor_pb2.DT_STRING:
            strings, got = file.read_strings(place)
            self.compare(entry, name, got)
            array = np.empty(len(strings), object)
            array[:] = strings
            array = array.reshape(shape)
            return array if box is None else array[box_index(box)].copy()
        dtype = dtypes.numpy_dtype(entry.dtype)
        self.check_place(entry, name)
        out = np.empty(shape if box is None else tuple(length for _, length in box), dtype)
        # numpy's own buffers do not know the types of ml_dtypes.
        raw = out.reshape(-1).view(np.uint8)
        if box is None:
            got = file.read_into(place, raw)
        else:
            starts, lengths = [start for start, _ in box], [length for _, length in box]
            got = file.read_box(place, dtype.itemsize, list(shape), starts, lengths, raw)
        self.compare(entry, name, got)
        if entry.dtype == tensor_pb2.DT_BOOL and raw.size and raw.max() > 1:
            raise BundleError(
                f"tensor {name!r}: bool: got {raw.max()}, want 0 or 1",
                path=self.path(entry.shard_id),
                offset=entry.offset,
            )
        return out


def box_index(box: Box) -> tuple[slice, ...]:
    """The numpy index of a box."""
    return tuple(slice(start, start + length) for start, length in box)
