"""One data file of a bundle in the making, with its entries."""

from __future__ import annotations

import os
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mexport_pb import _core, dtypes
from mexport_pb._proto import bundle_pb2, tensor_pb2
from mexport_pb.bundle.data import DataFiles
from mexport_pb.bundle.index import PART_KEY_START, place_of, shape_of
from mexport_pb.bundle.slices import TensorSlice, find_fault, name_bytes
from mexport_pb.errors import InvalidArgumentError


class ShardWriter:
    """One data file and the entries of what is in it, as SaveV2 makes them."""

    def __init__(self, path: str, expected_size: int = 0) -> None:
        self.entries: dict[bytes, bundle_pb2.BundleEntryProto] = {}
        self.bytes_written = 0
        self._slices: dict[str, list[TensorSlice]] = {}
        self._file = _core.BundleDataWriter(os.fsencode(path), expected_size)

    def add(self, name: str, array: npt.ArrayLike) -> None:
        """Append a whole tensor."""
        key = self._new_key(name)
        self._store(key, *_to_stored(array, name))

    def add_slice(self, name: str, full_shape: tuple[int, ...], part: TensorSlice, array: npt.ArrayLike) -> None:
        """Append a part; one that is all of the tensor becomes an ordinary tensor."""
        datatype, shape, data = _to_stored(array, name)
        if shape != part.shape(full_shape):
            raise InvalidArgumentError(
                f"tensor {name!r}: shape of slice {part}: got {shape}, want {part.shape(full_shape)}"
            )
        self._store(self._part_key(name, datatype, full_shape, part), datatype, shape, data)

    def copy(
        self,
        name: str,
        files: DataFiles,
        entry: bundle_pb2.BundleEntryProto,
        full_shape: tuple[int, ...],
        part: TensorSlice | None,
    ) -> None:
        """Append a stored tensor's bytes, as a whole tensor or as a part, and compare its checksum."""
        place = place_of(entry, name)
        key = self._new_key(name) if part is None else self._part_key(name, entry.dtype, full_shape, part)
        appended = self._file.append_from(files.file(entry.shard_id), place)
        files.compare(entry, name, appended[-1])
        self._record(key, _new_entry(entry.dtype, shape_of(entry)), appended)

    def close(self, *, partial: bool) -> None:
        """Finish the data file; InvalidArgumentError if parts overlap or, unless ``partial``, leave a gap."""
        for name, slices in self._slices.items():
            fault = find_fault(slices, shape_of(self.entries[name_bytes(name)]), partial=partial)
            if fault is not None:
                raise InvalidArgumentError(f"tensor {name!r}: {fault}")
        self._file.close()

    def _new_key(self, name: str) -> bytes:
        key = name_bytes(name)
        if not key or key[0] == PART_KEY_START:
            raise InvalidArgumentError(f"name of a tensor: got {name!r}, want one that does not begin with NUL")
        if key in self.entries:
            raise InvalidArgumentError(f"tensor {name!r} is there twice")
        return key

    def _part_key(self, name: str, datatype: int, full_shape: tuple[int, ...], part: TensorSlice) -> bytes:
        if part.is_full(full_shape):
            return self._new_key(name)
        slices = self._slices.get(name)
        if slices is None:
            full = self.entries[self._new_key(name)] = _new_entry(datatype, full_shape)
            slices = self._slices[name] = []
        else:
            full = self.entries[name_bytes(name)]
            if full.dtype != datatype or shape_of(full) != full_shape:
                raise InvalidArgumentError(
                    f"tensor {name!r}: slices differ in dtype or full shape: got {dtypes.name_of(datatype)} "
                    f"{full_shape}, want {dtypes.name_of(full.dtype)} {shape_of(full)}"
                )
        key = part.key(name)
        if key in self.entries:
            raise InvalidArgumentError(f"tensor {name!r}: slice {part} is there twice")
        slices.append(part)
        full.slices.append(part.to_proto())
        return key

    def _store(
        self, key: bytes, datatype: int, shape: tuple[int, ...], data: npt.NDArray[np.uint8] | list[bytes]
    ) -> None:
        stored = self._file.append_strings(data) if isinstance(data, list) else self._file.append(data)
        self._record(key, _new_entry(datatype, shape), stored)

    def _record(self, key: bytes, entry: bundle_pb2.BundleEntryProto, appended: tuple[int, int, int]) -> None:
        entry.offset, entry.size, entry.crc32c = appended
        self.entries[key] = entry
        self.bytes_written += entry.size


def _new_entry(datatype: int, shape: tuple[int, ...]) -> bundle_pb2.BundleEntryProto:
    entry = bundle_pb2.BundleEntryProto()
    entry.dtype = cast("tensor_pb2.DataType", datatype)
    # Present even for a scalar.
    entry.shape.SetInParent()
    for size in shape:
        entry.shape.dim.add(size=size)
    return entry


def _to_stored(array: npt.ArrayLike, name: str) -> tuple[int, tuple[int, ...], npt.NDArray[np.uint8] | list[bytes]]:
    """The dtype, the shape, and the bytes as they are stored; for strings the list of them."""
    try:
        values: npt.NDArray[Any] = np.asarray(array)
    except ValueError as error:
        raise InvalidArgumentError(f"tensor {name!r}: {error}") from None
    try:
        datatype = dtypes.datatype_of(values.dtype)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"tensor {name!r}: {error}") from None
    if datatype == tensor_pb2.DT_STRING:
        return datatype, values.shape, [_to_bytes(value, name) for value in values.ravel().tolist()]
    stored = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return datatype, values.shape, stored.reshape(-1).view(np.uint8)


def _to_bytes(value: object, name: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return bytes(value)
    raise InvalidArgumentError(
        f"tensor {name!r}: element of a string tensor: got {type(value).__name__}, want str or bytes"
    )
