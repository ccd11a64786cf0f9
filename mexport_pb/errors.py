"""Every exception that mexport_pb raises on purpose.

::

    MexportError
    ├── InvalidArgumentError (ValueError)     the caller's mistake: a wrong argument, an illegal graph or signature
    ├── DataError                             bytes from outside are not what their format asks for
    │   ├── RecordError                       a TFRecord file
    │   │   ├── RecordLengthCrcError          the checksum of a record's length is wrong
    │   │   ├── RecordDataCrcError            the checksum of a record's data is wrong
    │   │   ├── RecordTruncatedError          the file ends within a record
    │   │   ├── RecordTooLargeError           a valid length that the rest of the file, or a limit, cannot hold
    │   │   └── RecordCompressionError        the compressed stream around the records is damaged
    │   ├── BundleError                       a TensorBundle: variables.index or variables.data-*
    │   │   └── BundleCrcError                a block or a tensor whose checksum is wrong
    │   ├── SavedModelError                   a saved_model.pb, saved_model.pbtxt or .meta file
    │   ├── TableError                        a hash table's dump: its set of files, or an entry in one
    │   └── WarmupError (ValueError)          a warmup record that is none, or that the model would refuse
    ├── MismatchError (ValueError)            graph and checkpoint do not belong together
    │   └── MissingVariableError              a variable of the graph is not in the checkpoint
    ├── UnsupportedError                      well-formed, but a kind that is refused with a reason
    ├── PublishError                          an export could not be published, or perhaps not durably
    │   └── VersionExistsError (FileExistsError)  the target is there already and was not touched
    ├── ServingError                          a request to a loaded model failed; it has a status code
    └── ValidationError                       a staged export failed its check; it was not published

Files that cannot be opened, read or written raise Python's own :class:`OSError` with the path in it.

Messages are lower-case phrases that name the path and offset first and end in ``got …, want …`` where there are two
values to compare.
"""

from __future__ import annotations

import os

__all__ = [
    "BundleCrcError",
    "BundleError",
    "DataError",
    "InvalidArgumentError",
    "MexportError",
    "MismatchError",
    "MissingVariableError",
    "PublishError",
    "RecordCompressionError",
    "RecordDataCrcError",
    "RecordError",
    "RecordLengthCrcError",
    "RecordTooLargeError",
    "RecordTruncatedError",
    "SavedModelError",
    "ServingError",
    "TableError",
    "UnsupportedError",
    "ValidationError",
    "VersionExistsError",
    "WarmupError",
]


class MexportError(Exception):
    """The root of the tree."""


class InvalidArgumentError(MexportError, ValueError):
    """The caller's mistake: a wrong argument, an illegal graph or signature."""


class DataError(MexportError):
    """Bytes from outside are not what their format asks for.

    Attributes:
        path: The file, or None when the bytes came from memory.
        offset: Where in the file the trouble begins, in bytes; None when no single place is at fault.
    """

    def __init__(self, message: str, *, path: str | os.PathLike[str] | None = None, offset: int | None = None) -> None:
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        where = [] if self.path is None else [self.path]
        if offset is not None:
            where.append(f"offset {offset}")
        super().__init__(": ".join([*where, message]))


class RecordError(DataError):
    """A damaged TFRecord file."""


class RecordLengthCrcError(RecordError):
    """The checksum of a record's length is wrong."""


class RecordDataCrcError(RecordError):
    """The checksum of a record's data is wrong."""


class RecordTruncatedError(RecordError):
    """The file ends within a record."""


class RecordTooLargeError(RecordError):
    """A record length with a valid checksum that the rest of the file, or the reader's limit, cannot hold."""


class RecordCompressionError(RecordError):
    """The compressed stream around the records is damaged."""


class BundleError(DataError):
    """A damaged TensorBundle: ``<prefix>.index`` or one of ``<prefix>.data-*``."""


class BundleCrcError(BundleError):
    """A block of the index, or a tensor of a data file, whose checksum is wrong."""


class SavedModelError(DataError):
    """A damaged ``saved_model.pb``, ``saved_model.pbtxt`` or ``.meta`` file."""


class TableError(DataError):
    """A hash table's dump: an incomplete or mixed set of files, or a record that is no entry of the table."""


class WarmupError(DataError, ValueError):
    """A record of a warmup file that is no PredictionLog, or that the model would refuse.

    Attributes:
        record: Its number in the file, from 0; None when the file as a whole is at fault.
        signature: The signature that it asks, if that is known.
        field: The part of the request: ``input 'x'``, ``output_filter 'y'``, ….
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        record: int | None = None,
        signature: str | None = None,
        field: str | None = None,
    ) -> None:
        self.record = record
        self.signature = signature
        self.field = field
        super().__init__(message, path=path, offset=offset)


class MismatchError(MexportError, ValueError):
    """Graph and checkpoint do not belong together: a variable's dtype or shape differs, for instance."""


class MissingVariableError(MismatchError):
    """A variable of the graph is not in the checkpoint."""


class UnsupportedError(MexportError):
    """Well-formed input of a kind that is refused; the message says why."""


class PublishError(MexportError):
    """An export could not be published. Nothing of it was left behind, unless the message says what was."""


class VersionExistsError(PublishError, FileExistsError):
    """The target directory is there already. It was not touched."""


class ServingError(MexportError):
    """A request to a loaded model failed.

    Attributes:
        code: The status that a model server answers: "NOT_FOUND", "INVALID_ARGUMENT", …
        reason: What was wrong.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code}: {reason}")


class ValidationError(MexportError):
    """A staged export failed its check, so it was not published."""
