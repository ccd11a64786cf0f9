"""Reading TFRecord files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from mexport_pb import _core

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RecordBatch", "RecordReader", "read_records"]

_MAX_RECORD_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch(Sequence[bytes]):
    """Some records in a row: a sequence of bytes objects, and the columns beneath for those who want none.

    Attributes:
        data: uint8 [total bytes], the records back to back.
        offsets: int64 [n + 1]; record i is ``data[offsets[i]:offsets[i + 1]]``.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return self.data[self.offsets[position] : self.offsets[position + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        data = self.data.tobytes()
        for start, stop in pairwise(self.offsets.tolist()):
            yield data[start:stop]


class RecordReader:
    """Reads a TFRecord file: an iterator of bytes, or columns by :meth:`read_batch`.

    Both go on where the other stopped. Every checksum is checked. Memory stays bounded by the largest record, whatever
    a damaged length asks for. After an error the reader raises the same one again. From a pipe, what is there is
    delivered without waiting for more.

    Threads may share a reader; each record or batch goes to one of them. A forked process may not use it: it shares
    the position with its parent.

    Args:
        path: The file.
        compression: What the file was written with: None or ``""``, ``"zlib"``, ``"gzip"`` or ``"snappy"``, in any
            case.
        max_record_bytes: Refuse records with more bytes of data than this.

    Raises:
        InvalidArgumentError: for an unknown compression or a path with a null byte. Methods raise it on a closed
            reader, in a forked process, when a signal handler or finalizer calls the reader within one of its own
            calls, and after an exception that was none of these errors.
        OSError: when the file cannot be opened. Methods raise it when it cannot be read.
        RecordLengthCrcError, RecordDataCrcError, RecordTruncatedError, RecordTooLargeError, RecordCompressionError: by
            the methods, with the file's path and the record's offset; ``docs/formats/tfrecord.md`` says which when.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        compression: str | None = None,
        max_record_bytes: int = _MAX_RECORD_BYTES,
    ) -> None:
        self._core = _core.RecordReader(os.fsencode(path), compression, max_record_bytes)

    @property
    def offset(self) -> int:
        """Where the next record begins, in bytes of the uncompressed stream."""
        return self._core.offset

    def __iter__(self) -> Iterator[bytes]:
        # The compiled iterator shares the position with this object.
        return iter(self._core)

    def __next__(self) -> bytes:
        return next(self._core)

    def read_batch(self, max_records: int = 65536, max_bytes: int = 1 << 20) -> RecordBatch:
        """Return the next records as columns; an empty batch at the end of the file.

        When a damaged record follows good ones, these are returned and the next call raises; so with any exception.

        Args:
            max_records: No more records than this.
            max_bytes: No more bytes of data than this, unless a single record is larger.
        """
        return RecordBatch(*self._core.read_batch(max_records, max_bytes))

    def close(self) -> None:
        """Close the file. Does nothing on a closed reader."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: str | os.PathLike[str], compression: str | None = None) -> Iterator[bytes]:
    """Yield each record of a TFRecord file; the arguments and errors are those of :class:`RecordReader`.

    The file is opened by the first step of the iterator and closed when the iterator ends.
    """
    with RecordReader(path, compression) as reader:
        yield from reader
