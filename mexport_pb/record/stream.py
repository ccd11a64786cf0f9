"""Records from anywhere: a file, standard input, or a URL; compressed or not."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from mexport_pb.errors import InvalidArgumentError, RecordError
from mexport_pb.record.checksum import masked_crc32c
from mexport_pb.record.compression import HEAD_BYTES, detect_compression
from mexport_pb.record.reader import RecordReader

__all__ = ["RecordStream", "open_bytes"]

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_PIECE: Final = 1 << 18
_HEADER_BYTES: Final = 12
_FOOTER_BYTES: Final = 4


class RecordStream:
    """Reads a TFRecord file from wherever it is: an iterator of bytes.

    What :class:`~mexport_pb.record.RecordReader` says of memory, errors and their order holds here too. Offsets are
    those of the uncompressed stream.

    Args:
        where: A path; ``"-"`` for standard input; or a URL such as ``s3://bucket/key``, which takes fsspec (the extra
            "remote") and the package for its protocol.
        compression: "auto" tells it by the first bytes; else as for RecordReader.

    Raises:
        InvalidArgumentError: an unknown compression or protocol, or fsspec or the protocol's package is not installed.
        OSError: the file cannot be opened or, from the methods, read.
        RecordError: by the methods, as RecordReader, with the place in it that was given here.
    """

    def __init__(self, where: str | os.PathLike[str], compression: str | None = "auto") -> None:
        self.name = "standard input" if where == "-" else os.fspath(where)
        self.compression: str | None = None
        """What the file is compressed with."""
        self._pump: _Pump | None = None
        self._base = 0
        self._local = where != "-" and not _URL.match(self.name) and stat.S_ISREG(os.stat(self.name).st_mode)
        if self._local:
            with open(self.name, "rb") as file:
                self._choose(compression, file.read(HEAD_BYTES))
            self._reader = RecordReader(self.name, self.compression)
        else:
            source = open_bytes(where)
            head = b""
            try:
                while compression == "auto" and len(head) < HEAD_BYTES and (piece := source.read(HEAD_BYTES)):
                    head += piece
                self._choose(compression, head)
            except BaseException:
                source.close()
                raise
            self._read_from(_Pump(source, head))

    def _choose(self, compression: str | None, head: bytes) -> None:
        self.compression = detect_compression(head) if compression == "auto" else compression or None

    def _read_from(self, pump: _Pump) -> None:
        self._pump = pump
        try:
            self._reader = RecordReader(pump.path, self.compression)
        except BaseException:
            pump.start()
            raise
        finally:
            pump.close_reading_end()
        pump.start()

    @property
    def offset(self) -> int:
        """Where the next record begins, in bytes of the uncompressed stream."""
        return self._base + self._reader.offset

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._reader)
        except (RecordError, StopIteration) as error:
            if self._pump is not None and self._pump.error is not None:
                raise _as_os_error(self._pump.error, self.name) from self._pump.error
            if isinstance(error, RecordError) and self._pump is not None:
                raise self._relocated(error) from None
            raise

    def skip(self, count: int) -> int:
        """Pass over records; return how many there were, fewer than `count` at the end of the file.

        In a plain file, only their headers are read: damage of their data is not noticed. Call it before all else.
        """
        if not self._local or self.compression is not None:
            skipped = 0
            while skipped < count and next(self, None) is not None:
                skipped += 1
            return skipped
        skipped, position = _skip_headers(self.name, count)
        if position:
            self._reader.close()
            file = open(self.name, "rb", buffering=0)  # noqa: SIM115 - the pump closes it
            file.seek(position)
            self._base = position
            self._read_from(_Pump(file, b""))
        return skipped

    def close(self) -> None:
        """Close the file. Does nothing on a closed stream."""
        self._reader.close()
        if self._pump is not None:
            self._pump.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _relocated(self, error: RecordError) -> RecordError:
        """The error of a reader of the pump's pipe, with the place that the user knows."""
        message = str(error).removeprefix(f"{error.path}: ").removeprefix(f"offset {error.offset}: ")
        offset = None if error.offset is None else error.offset + self._base
        return type(error)(message, path=self.name, offset=offset)


def open_bytes(where: str | os.PathLike[str]) -> Any:
    """A binary file object of a path, ``"-"`` or a URL; reads give what is there, and nothing at the end.

    Raises:
        InvalidArgumentError, OSError: as for :class:`RecordStream`.
    """
    name = os.fspath(where)
    if where == "-":
        if sys.stdin is None:
            raise OSError("standard input is closed")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    if not _URL.match(name):
        return open(name, "rb", buffering=0)
    try:
        import fsspec

        return fsspec.open(name, "rb").open()
    except (ImportError, ValueError) as error:
        hint = "; pip install 'mexport-pb[remote]'" if isinstance(error, ImportError) else ""
        raise InvalidArgumentError(f"{name}: cannot be opened: {error}{hint}") from None
    except Exception as error:  # every store has errors of its own
        raise _as_os_error(error, name) from error


def _as_os_error(error: BaseException, name: str) -> OSError:
    for kind, number in ((FileNotFoundError, errno.ENOENT), (PermissionError, errno.EACCES)):
        if isinstance(error, kind):
            return kind(number, os.strerror(number), name)
    if isinstance(error, OSError) and error.errno is not None:
        return type(error)(error.errno, error.strerror or str(error), name)
    return OSError(f"{name}: {error}")


def _skip_headers(path: str, count: int) -> tuple[int, int]:
    """How many of `count` records have good headers and lie within the file, and where the next one begins."""
    position = skipped = 0
    with open(path, "rb", buffering=1 << 16) as file:
        size = os.fstat(file.fileno()).st_size
        while skipped < count:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES or masked_crc32c(header[:8]) != int.from_bytes(header[8:], "little"):
                break
            end = position + _HEADER_BYTES + int.from_bytes(header[:8], "little") + _FOOTER_BYTES
            if end > size:
                break
            position = end
            file.seek(position)
            skipped += 1
    return skipped, position


class _Pump:
    """A thread that moves what a file object gives into a pipe, for the compiled reader reads paths only."""

    def __init__(self, source: Any, head: bytes) -> None:
        self.error: BaseException | None = None
        self._source = source
        self._head = head
        self._reading, self._writing = os.pipe()
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._remote = not hasattr(source, "fileno")

    @property
    def path(self) -> str:
        """The pipe's reading end, as long as it is open here."""
        return f"/dev/fd/{self._reading}"

    def close_reading_end(self) -> None:
        os.close(self._reading)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wait for the end, unless it waits for somebody who has nothing to say."""
        self._thread.join(5 if self._remote else 0.2)

    def _run(self) -> None:
        try:
            with contextlib.closing(self._source):
                self._write(self._head)
                read: Callable[[int], bytes] = self._source.read
                while piece := read(_PIECE):
                    self._write(piece)
        except BrokenPipeError:
            pass  # nobody reads on
        except BaseException as error:  # it is the reader's to raise
            self.error = error
        finally:
            os.close(self._writing)

    def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[os.write(self._writing, view) :]
