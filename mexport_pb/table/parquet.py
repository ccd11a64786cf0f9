"""Tables in Parquet files. The spec of the columns is in ``docs/formats/hash_table.md``. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mexport_pb.errors import TableError, UnsupportedError
from mexport_pb.table.dump import TableDump
from mexport_pb.table.layout import TableLayout, layout_of_columns
from mexport_pb.table.sorting import chunk_rows, same_layout
from mexport_pb.table.source import Source

__all__ = ["ParquetSource", "require_pyarrow", "write_parquet"]

_METADATA_KEY = b"mexport_pb.table"
_METADATA_VERSION = 1
_READ_BYTES = 1 << 20
_BATCH_BYTES = 4 << 20  # pyarrow needs several times as much to decode lists
_MAX_DIM = 1 << 28


def require_pyarrow() -> Any:
    """Return the module ``pyarrow``.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UnsupportedError(f"Parquet files need pyarrow: pip install 'mexport-pb[parquet]' ({error})") from None
    return pyarrow


def write_parquet(path: str, source: Source) -> int:
    """Write a table, in the order of the source, and return the number of entries.

    A piece of the source is a row group, so memory is that of a piece.

    Raises:
        TableError: from the source.
        UnsupportedError: pyarrow is not installed.
        OSError: The file cannot be written.
    """
    pa = require_pyarrow()
    layout = source.layout or TableLayout(0)
    schema = _schema(pa, layout)
    rows = 0
    # Floats of embeddings do not repeat, so dictionaries would only cost time.
    with pa.parquet.ParquetWriter(
        path, schema, compression="snappy", use_dictionary=False, write_page_checksum=True
    ) as writer:
        for chunk in source.chunks(chunk_rows(layout)):
            same_layout(TableLayout.of(chunk), source.name, layout, "the first entry")
            arrays = [pa.array(chunk.ids)]
            if layout.dim:
                arrays.append(_lists(pa, chunk.values, schema.field("values").type))
            arrays.append(pa.array(chunk.timestamps))
            for column, array in zip(layout.columns, layout.states(chunk), strict=True):
                if column.width is None:
                    arrays.append(pa.array(array))
                elif column.width:
                    arrays.append(_lists(pa, array, schema.field(column.name).type))
            writer.write_batch(pa.record_batch(arrays, schema=schema), row_group_size=len(chunk))
            rows += len(chunk)
    return rows


def _schema(pa: Any, layout: TableLayout) -> Any:
    def field(name: str, kind: Any) -> Any:
        return pa.field(name, kind, nullable=False)

    def lists(width: int) -> Any:
        return pa.list_(field("element", pa.float32()), width)

    fields = [field("id", pa.int64())]
    if layout.dim:
        fields.append(field("values", lists(layout.dim)))
    fields.append(field("timestamp", pa.int64()))
    for column in layout.columns:
        if column.width is None:
            fields.append(field(column.name, pa.int64() if column.is_integer else pa.float32()))
        elif column.width:
            fields.append(field(column.name, lists(column.width)))
    empty = [column.name for column in layout.columns if column.width == 0]
    said = {"version": _METADATA_VERSION, "dim": layout.dim, "kinds": layout.kinds, "empty": empty}
    return pa.schema(fields, metadata={_METADATA_KEY: json.dumps(said, sort_keys=True).encode()})


def _lists(pa: Any, array: npt.NDArray[Any], kind: Any) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).reshape(-1)), type=kind)


class ParquetSource:
    """The entries in a Parquet file; see :class:`mexport_pb.table.source.Source`."""

    def __init__(self, path: str) -> None:
        """Look at the columns.

        Raises:
            TableError: for a file that is no Parquet, and columns that are missing, unknown or of a wrong type.
            UnsupportedError: pyarrow is not installed.
            OSError: It cannot be read.
        """
        self.name = path
        self._pa = require_pyarrow()
        with self._open() as file:
            self._rows = file.metadata.num_rows
            self._layout = self._look(file)

    @property
    def layout(self) -> TableLayout | None:
        """None without entries."""
        return self._layout if self._rows else None

    def chunks(self, rows: int) -> Iterator[TableDump]:
        """Yield the entries in pieces."""
        widths = {"values": self._layout.dim, **{column.name: column.width for column in self._layout.columns}}
        dtypes = {column.name: column.dtype for column in self._layout.columns}
        with self._open() as file:
            size = chunk_rows(self._layout, _BATCH_BYTES)
            batches = iter(file.iter_batches(batch_size=min(rows, size), use_threads=False))
            while (batch := self._next(batches)) is not None:
                columns = {name: batch.column(name) for name in batch.schema.names}
                for name, column in columns.items():
                    if column.null_count:
                        raise self._fail(f"column {name!r}: got nulls")

                def array(
                    name: str,
                    dtype: Any = np.float32,
                    columns: dict[str, Any] = columns,
                    n: int = len(batch),
                ) -> npt.NDArray[Any]:
                    width = widths.get(name)
                    if width == 0 and name not in columns:
                        return np.empty((n, 0), np.float32)
                    return self._array(name, columns[name], width, dtype)

                yield self._layout.dump(
                    array("id", np.int64),
                    array("values"),
                    array("timestamp", np.int64),
                    [array(column.name, dtypes[column.name]) for column in self._layout.columns],
                )

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next((batch for batch in batches if len(batch)), None)
        except (self._pa.ArrowException, OSError, ValueError) as error:
            raise self._fail(f"damaged Parquet: {_one_line(error)}") from None

    def _open(self) -> Any:
        with open(self.name, "rb"):  # a missing file is no damaged one
            pass
        try:
            # Pages are read as they are needed, however large the row groups of the file are.
            return self._pa.parquet.ParquetFile(
                self.name, pre_buffer=False, buffer_size=_READ_BYTES, page_checksum_verification=True
            )
        except (self._pa.ArrowException, OSError, ValueError) as error:
            raise self._fail(f"no Parquet file: {_one_line(error)}") from None

    def _fail(self, message: str) -> TableError:
        return TableError(message, path=self.name)

    def _look(self, file: Any) -> TableLayout:
        types = self._pa.types
        schema = file.schema_arrow
        if len(set(schema.names)) != len(schema.names):
            raise self._fail("two columns of one name")
        for name, fits, want in (
            ("id", lambda t: types.is_int64(t) or types.is_uint64(t), "int64"),
            ("timestamp", types.is_int64, "int64"),
        ):
            if name not in schema.names:
                raise self._fail(f"column {name!r} is missing; there are: {', '.join(schema.names) or 'none'}")
            if not fits(schema.field(name).type):
                raise self._fail(f"column {name!r}: got {schema.field(name).type}, want {want}")
        dim, kinds, empty = self._said(schema.metadata or {})
        widths: dict[str, int | None] = dict.fromkeys(empty, 0)
        for field in schema:
            if field.name not in ("id", "timestamp"):
                widths[field.name] = self._width(file, field)
        if "values" in widths:
            got = widths.pop("values")
            if got is None:
                raise self._fail(f"column 'values': got {schema.field('values').type}, want lists of float")
            if dim not in (None, got):
                raise self._fail(f"column 'values': got {got} values an entry, want {dim} by the file's metadata")
            dim = got
        elif dim != 0:
            raise self._fail(f"column 'values' is missing; there are: {', '.join(schema.names)}")
        layout = layout_of_columns(dim, widths, kinds, self._fail)
        for column in layout.columns:
            if column.width is None:
                got_type, want_type = schema.field(column.name).type, str(column.dtype).replace("float32", "float")
                if str(got_type) != want_type:
                    raise self._fail(f"column {column.name!r}: got {got_type}, want {want_type}")
        return layout

    def _said(self, metadata: dict[bytes, bytes]) -> tuple[int | None, list[str] | None, list[str]]:
        """Dimension, kinds and empty columns by the file's metadata, which other writers do not have."""
        text = metadata.get(_METADATA_KEY)
        if text is None:
            return None, None, []
        try:
            said = json.loads(text)
            dim, kinds, empty = said["dim"], said["kinds"], said["empty"]
            good = type(dim) is int and 0 <= dim <= _MAX_DIM and said["version"] == _METADATA_VERSION
            good = good and all(isinstance(x, list) and all(isinstance(s, str) for s in x) for x in (kinds, empty))
        except (ValueError, KeyError, TypeError, RecursionError):
            good = False
        if not good:
            raise self._fail(f"metadata {_METADATA_KEY.decode()!r}: got {text[:80]!r}")
        return dim, kinds, empty

    def _width(self, file: Any, field: Any) -> int | None:
        """The floats of an entry in a column of lists; None for a column of numbers."""
        types = self._pa.types
        kind = field.type
        if types.is_fixed_size_list(kind):
            width = kind.list_size
        elif types.is_list(kind) or types.is_large_list(kind):
            # Other writers do not say how long the lists are: the first entry does.
            batch = self._next(iter(file.iter_batches(batch_size=1, columns=[field.name], use_threads=False)))
            width = 0 if batch is None or batch.column(0).null_count else len(batch.column(0)[0])
        else:
            return None
        if not types.is_float32(kind.value_type):
            raise self._fail(f"column {field.name!r}: got lists of {kind.value_type}, want float")
        if not 0 <= width <= _MAX_DIM:
            raise self._fail(f"column {field.name!r}: got {width} values an entry, want at most {_MAX_DIM}")
        return int(width)

    def _array(self, name: str, column: Any, width: int | None, dtype: Any) -> npt.NDArray[Any]:
        if width is None:
            array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
            return array.view(np.int64) if array.dtype == np.uint64 else array.astype(dtype, copy=False)
        if not self._pa.types.is_fixed_size_list(column.type):
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if (lengths != width).any():
                got = int(lengths[np.argmax(lengths != width)])
                raise self._fail(f"column {name!r}: got {got} values an entry, want {width} as the first has")
        flat = column.flatten()
        if flat.null_count:
            raise self._fail(f"column {name!r}: got nulls in a list")
        floats: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), width)
        return floats


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
