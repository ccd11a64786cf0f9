"""Tables in ``.npz`` files: the columns as arrays, for numpy.load. The spec is in ``docs/formats/hash_table.md``."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mexport_pb.errors import TableError
from mexport_pb.table.dump import TableDump
from mexport_pb.table.layout import TableLayout, layout_of_columns
from mexport_pb.table.sorting import chunk_rows, same_layout
from mexport_pb.table.source import Source

__all__ = ["NpzSource", "write_npz"]

_KINDS = "kinds"
_SUFFIX = ".npy"
_COPY_BYTES = 1 << 20
_MAX_KINDS_BYTES = 1 << 20
_MAX_ROW_BYTES = 1 << 31
# What damaged archives make the libraries raise.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, RuntimeError, struct.error)


def write_npz(path: str, source: Source) -> int:
    """Write a table, in the order of the source, and return the number of entries.

    Memory is that of a piece; the columns wait in unnamed files in the folder of ``path``.

    Raises:
        TableError: from the source.
        OSError: A file cannot be written.
    """
    layout = source.layout or TableLayout(0)
    columns = _columns(layout)
    rows = 0
    with contextlib.ExitStack() as stack:
        folder = os.path.dirname(path) or "."
        spools = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in columns]
        for chunk in source.chunks(chunk_rows(layout)):
            same_layout(TableLayout.of(chunk), source.name, layout, "the first entry")
            arrays: list[npt.NDArray[Any]] = [chunk.ids, chunk.values, chunk.timestamps, *layout.states(chunk)]
            for spool, array in zip(spools, arrays, strict=True):
                if array.size:
                    spool.write(np.ascontiguousarray(array).data.cast("B"))
            rows += len(chunk)
        archive = stack.enter_context(zipfile.ZipFile(path, "x"))
        for (name, dtype, shape), spool in zip(columns, spools, strict=True):
            spool.seek(0)
            # The date of a ZipInfo is that of 1980: the same table gives the same bytes.
            with archive.open(zipfile.ZipInfo(name + _SUFFIX), "w", force_zip64=True) as member:
                _write_header(member, dtype, (rows, *shape))
                shutil.copyfileobj(spool, member, _COPY_BYTES)
        with archive.open(zipfile.ZipInfo(_KINDS + _SUFFIX), "w") as member:
            kinds = np.array(layout.kinds, np.str_)
            np.lib.format.write_array(member, kinds, allow_pickle=False)
    return rows


def _columns(layout: TableLayout) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """Name, type and shape, less the rows, of each array but the kinds."""
    return [
        ("ids", np.dtype(np.int64), ()),
        ("values", np.dtype(np.float32), (layout.dim,)),
        ("timestamps", np.dtype(np.int64), ()),
        *((c.name, c.dtype, () if c.width is None else (c.width,)) for c in layout.columns),
    ]


def _write_header(member: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        member, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class NpzSource:
    """The entries in a ``.npz`` file; see :class:`mexport_pb.table.source.Source`."""

    def __init__(self, path: str) -> None:
        """Look at the arrays.

        Raises:
            TableError: for a file that is no such archive; arrays that are missing, unknown, of a wrong type or shape.
            OSError: It cannot be read.
        """
        self.name = path
        with self._open() as archive:
            self._rows, self._layout = self._look(archive)

    @property
    def layout(self) -> TableLayout | None:
        """None without entries."""
        return self._layout if self._rows else None

    def chunks(self, rows: int) -> Iterator[TableDump]:
        """Yield the entries in pieces."""
        columns = _columns(self._layout)
        with self._open() as archive, contextlib.ExitStack() as stack:
            members = []
            for name, _, _ in columns:
                member = stack.enter_context(archive.open(name + _SUFFIX))
                self._header(name, member)
                members.append(member)
            for begin in range(0, self._rows, rows):
                n = min(rows, self._rows - begin)
                ids, values, timestamps, *states = (
                    self._read(member, name, dtype, (n, *shape))
                    for member, (name, dtype, shape) in zip(members, columns, strict=True)
                )
                yield self._layout.dump(ids, values, timestamps, states)
            for member, (name, _, _) in zip(members, columns, strict=True):
                if member.read(1):  # at the end the checksum is compared as well
                    raise self._fail(f"array {name!r}: got more data than its shape says")

    @contextlib.contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.name) as archive:
                yield archive
        except _DAMAGE as error:
            raise self._fail(f"not a .npz file: {error}") from None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise self._fail("not a .npz file: a member begins before the file") from None

    def _fail(self, message: str) -> TableError:
        return TableError(message, path=self.name)

    def _look(self, archive: zipfile.ZipFile) -> tuple[int, TableLayout]:
        names = [info.filename.removesuffix(_SUFFIX) for info in archive.infolist()]
        for info in archive.infolist():
            if not info.filename.endswith(_SUFFIX):
                raise self._fail(f"member {info.filename!r}: is no array")
        for name in ("ids", "values", "timestamps"):
            if name not in names:
                raise self._fail(f"array {name!r} is missing; there are: {', '.join(sorted(names)) or 'none'}")
        if len(set(names)) != len(names):
            raise self._fail("two arrays of one name")
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._fail(f"{info.filename}: got compression {info.compress_type}, want none or deflate")
        headers = {}
        for name in names:
            if name != _KINDS:
                with archive.open(name + _SUFFIX) as file:
                    headers[name] = self._header(name, file)
        ids, values, timestamps = (headers.pop(name) for name in ("ids", "values", "timestamps"))
        self._expect(ids, np.int64, 1, np.uint64)
        rows = ids.shape[0]
        self._expect(values, np.float32, 2)
        self._expect(timestamps, np.int64, 1)
        kinds = self._kinds(archive) if _KINDS in names else None
        widths = {name: member.shape[1] if len(member.shape) > 1 else None for name, member in headers.items()}
        layout = layout_of_columns(values.shape[1], widths, kinds, self._fail)
        for column in layout.columns:
            self._expect(headers[column.name], column.dtype.type, 1 if column.width is None else 2)
        for member in (values, timestamps, *headers.values()):
            if member.shape[0] != rows:
                raise self._fail(f"array {member.name!r}: got {member.shape[0]} rows, want {rows} as ids")
        if layout.row_bytes > _MAX_ROW_BYTES:
            raise self._fail(f"got {layout.row_bytes} bytes an entry, want at most {_MAX_ROW_BYTES}")
        return rows, layout

    def _expect(
        self, member: _Member, dtype: type[np.generic], ndim: int, other: type[np.generic] | None = None
    ) -> None:
        if member.dtype != np.dtype(dtype) and (other is None or member.dtype != np.dtype(other)):
            raise self._fail(f"array {member.name!r}: got {member.dtype} values, want {np.dtype(dtype)}")
        if len(member.shape) != ndim:
            raise self._fail(f"array {member.name!r}: got shape {member.shape}, want {ndim} dimensions")

    def _header(self, name: str, member: IO[bytes]) -> _Member:
        try:
            version = np.lib.format.read_magic(member)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
            else:
                raise ValueError(f"got version {version} of the format, want (1, 0)")
        except _DAMAGE as error:
            raise self._fail(f"array {name!r}: {error}") from None
        if dtype.hasobject:
            raise self._fail(f"array {name!r}: got Python objects, which are not loaded")
        if any(n < 0 for n in shape):
            raise self._fail(f"array {name!r}: got shape {shape}")
        if fortran and len(shape) > 1:
            raise self._fail(f"array {name!r}: got Fortran order, want C order")
        return _Member(name, shape, dtype)

    def _kinds(self, archive: zipfile.ZipFile) -> list[str]:
        with archive.open(_KINDS + _SUFFIX) as member:
            header = self._header(_KINDS, member)
            count = header.shape[0] if len(header.shape) == 1 else -1
            if header.dtype.kind != "U" or not 0 <= count * header.dtype.itemsize <= _MAX_KINDS_BYTES:
                raise self._fail(f"array {_KINDS!r}: got {header.dtype} {header.shape}, want names of optimizers")
            return [str(kind) for kind in self._read(member, _KINDS, header.dtype, (count,))]

    def _read(self, member: IO[bytes], name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        want = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        data = member.read(want)
        if len(data) != want:
            raise self._fail(f"array {name!r}: the data ends {want - len(data)} bytes early")
        return np.frombuffer(data, dtype).reshape(shape)
