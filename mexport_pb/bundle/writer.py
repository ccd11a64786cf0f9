"""Writing a bundle, tensor by tensor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, SupportsIndex

import numpy.typing as npt

from mexport_pb.bundle.files import PathLike
from mexport_pb.bundle.index import write_index
from mexport_pb.bundle.shard import ShardWriter
from mexport_pb.bundle.slices import SliceLike, TensorSlice
from mexport_pb.bundle.staging import Staging
from mexport_pb.errors import InvalidArgumentError

__all__ = ["BundleWriter"]


class BundleWriter:
    """Writes ``<prefix>.index`` and ``<prefix>.data-00000-of-00001``: TensorFlow's bytes for the same order of tensors.

    Nothing is there under the final names until :meth:`close` has succeeded; leaving a ``with`` block by an exception,
    or an exception while data is written, removes all that was written.

    ::

        with BundleWriter("export/variables/variables") as writer:
            writer.add("dense/kernel", kernel)
            writer.add_slice("embedding", (1000, 8), [(0, 500), (0, 8)], first_half)
            writer.add_slice("embedding", (1000, 8), "500,500:-", second_half)
    """

    def __init__(self, prefix: PathLike, *, partial: bool = False, durable: bool = True) -> None:
        """Begin a bundle; the folder of ``prefix`` is created with its parents.

        Args:
            prefix: The path without ``.index``.
            partial: Accept partitioned tensors of which parts are missing: for a bundle that is to be merged.
            durable: :meth:`close` returns only when the bundle survives a loss of power.

        Raises:
            OSError: the folder or the first file cannot be created.
        """
        self.prefix = os.fspath(prefix)
        self._partial = partial
        self._published = False
        self._shard: ShardWriter | None = None
        self._staging = Staging(prefix, durable=durable)
        self._path = self._staging.new()
        self._shard = ShardWriter(self._path)

    def add(self, name: str, array: npt.ArrayLike) -> None:
        """Append a whole tensor.

        Args:
            name: The checkpoint key: any name that is not empty and does not begin with NUL.
            array: Anything that numpy takes. Strings come as str (stored as UTF-8), bytes, or arrays of them; numpy's
                fixed-width byte strings have lost their trailing NULs, arrays of objects have not.

        Raises:
            InvalidArgumentError: the name is taken or not allowed, or the values are of no known dtype.
            OSError: the data cannot be written; the writer is of no further use.
        """
        shard = self._open_shard()
        with self._giving_up_on_failure():
            shard.add(name, array)

    def add_slice(self, name: str, full_shape: Sequence[SupportsIndex], slice: SliceLike, array: npt.ArrayLike) -> None:
        """Append a part of a partitioned tensor. The parts must cover the tensor by the time of :meth:`close`.

        Args:
            name: The checkpoint key of the tensor, as for :meth:`add`.
            full_shape: The shape of the whole tensor.
            slice: Which part: (start, length) a dimension, or the saver's text: "0,3:-", "5 2 0,3:0,2".
            array: The values of the part.

        Raises:
            InvalidArgumentError: as for :meth:`add`; or the part is not within the shape, is there already, or differs
                from the array or from earlier parts in shape or dtype.
            OSError: as for :meth:`add`.
        """
        shape = tuple(int(dim) for dim in full_shape)
        part = TensorSlice.of(slice, shape)
        shard = self._open_shard()
        with self._giving_up_on_failure():
            shard.add_slice(name, shape, part, array)

    def close(self) -> None:
        """Publish the bundle under its final names. A second call does nothing.

        A bundle that is there is replaced; a failure leaves it as it was.

        Raises:
            InvalidArgumentError: parts overlap or do not cover their tensor; nothing is left behind.
            OSError: the files cannot be written; nothing is left behind.
        """
        if self._published:
            return
        shard = self._open_shard()
        try:
            shard.close(partial=self._partial)
            self._staging.commit([self._path], write_index(shard.entries, 1))
            self._published = True
        finally:
            self.abort()

    def abort(self) -> None:
        """Give up: remove what was written. Does nothing after :meth:`close`."""
        self._shard = None
        self._staging.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_shard", None) is not None:
            self.abort()

    def _open_shard(self) -> ShardWriter:
        if self._shard is None:
            raise InvalidArgumentError(f"bundle {self.prefix!r} is {'closed' if self._published else 'given up'}")
        return self._shard

    @contextlib.contextmanager
    def _giving_up_on_failure(self) -> Iterator[None]:
        # A mistake of the caller is found before anything is written; what else comes leaves a broken data file.
        try:
            yield
        except InvalidArgumentError:
            raise
        except BaseException:
            self.abort()
            raise
