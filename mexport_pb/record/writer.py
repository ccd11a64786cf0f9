"""Writing TFRecord files."""

from __future__ import annotations

import contextlib
import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mexport_pb import _core
from mexport_pb.errors import MexportError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from typing_extensions import Buffer

__all__ = ["RecordWriter", "write_records"]


class RecordWriter:
    """Writes records to a new TFRecord file, in TensorFlow's bytes for no compression, zlib and gzip (with stock zlib).

    The file is created, or emptied when it is there. It is complete once :meth:`close` has returned; use the writer as
    a context manager to have that done. When the block ends in an exception the file is closed as well, with the
    records so far in it: removing it is the caller's business.

    A failed write damages the file. From then on every method raises the failure again, and so does the first
    :meth:`close`.

    Threads may share a writer: records stay whole, and those of one :meth:`write_batch` stay together. A forked process
    may not use it and drops what is buffered, which is its parent's to write; :meth:`close` does nothing there.

    Args:
        path: The file.
        compression: None or ``""``, ``"zlib"``, ``"gzip"`` or ``"snappy"``, in any case. The file does not say which.

    Raises:
        InvalidArgumentError: for an unknown compression or a path with a null byte. Methods raise it on a closed
            writer, in a forked process, when a signal handler or finalizer calls the writer within one of its own
            calls, after an exception that was no OSError, and for buffers of references to Python objects.
        OSError: when the file cannot be created. Methods raise it when it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], compression: str | None = None) -> None:
        self._path = os.fspath(path)
        self._core = _core.RecordWriter(os.fsencode(path), compression)

    def write(self, record: Buffer) -> None:
        """Write one record: the bytes of any object that lends a contiguous buffer."""
        self._core.write(record)

    def write_many(self, records: Iterable[Buffer]) -> int:
        """Write each record of an iterable and return how many there were."""
        return self._core.write_many(records)

    def write_batch(self, data: Buffer, offsets: npt.ArrayLike) -> None:
        """Write many records that lie in one buffer, without a Python object for each.

        Args:
            data: The records' bytes, contiguous.
            offsets: Integers [n + 1], ascending; record i is ``data[offsets[i]:offsets[i + 1]]``, in bytes. int64 is
                not copied.

        Raises:
            InvalidArgumentError: when the offsets are not integers, descend or leave the data. Nothing was written
                then, unless another thread changed the offsets meanwhile.
        """
        self._core.write_batch(data, offsets)

    def flush(self) -> None:
        """Hand what was written so far to the operating system.

        A compressed stream is flushed too, so that a reader finds the records; this makes the file larger and its bytes
        depend on the calls.
        """
        self._core.flush()

    def sync(self) -> None:
        """Flush, and return when the storage device has the bytes. The directory entry is not synced.

        A pipe or a character device has no storage: there this is :meth:`flush`.
        """
        self._core.sync()

    def close(self) -> None:
        """End the stream and close the file. Does nothing on a closed writer."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            # The exception that is on its way says more than a failure to close.
            with contextlib.suppress(OSError, MexportError):
                self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and not core.closed:
            warnings.warn(f"unclosed record writer: {self._path}", ResourceWarning, stacklevel=2, source=self)
            core.close()


def write_records(path: str | os.PathLike[str], records: Iterable[Buffer], compression: str | None = None) -> int:
    """Write a TFRecord file and return the number of records.

    When the iterable raises, the file is left behind with the records so far.

    Args:
        path: The file, which is created or emptied.
        records: Bytes-like objects.
        compression: As for :class:`RecordWriter`, which also says what is raised.
    """
    with RecordWriter(path, compression) as writer:
        return writer.write_many(records)
