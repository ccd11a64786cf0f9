"""Requests out of a TFRecord file of PredictionLogs, as servers replay it, or of bare PredictRequests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from mexport_pb._proto.serving_pb2 import PredictionLog, PredictRequest
from mexport_pb.errors import RecordError, ServingError
from mexport_pb.record import RecordReader

__all__ = ["MAX_WARMUP_RECORDS", "read_requests", "read_warmup"]

MAX_WARMUP_RECORDS: Final = 1000
"""A server refuses a model whose warmup file has more."""

# By log kind; a PredictionLog of another kind is refused by a server that warms up.
_REPLAYED: Final = frozenset({"predict_log", "classify_log", "regress_log", "multi_inference_log"})

M = TypeVar("M", bound=Message)


def read_warmup(path: str | os.PathLike[str]) -> Iterator[Message | ServingError | None]:
    """What a server does with each record of a warmup file: the request that it sends itself, or the error.

    A log without any kind is None: servers pass over it. The iterator ends after the first error of the file.

    Raises:
        OSError: The file cannot be read.
    """
    for number, record in enumerate(_records(path)):
        if number == MAX_WARMUP_RECORDS:
            yield ServingError("INVALID_ARGUMENT", f"{os.fspath(path)}: want <= {MAX_WARMUP_RECORDS} records")
            return
        if isinstance(record, ServingError):
            yield record
            return
        log = _parse(PredictionLog, record)
        if log is None:
            yield ServingError("INVALID_ARGUMENT", f"not a PredictionLog in {len(record)} bytes")
            continue
        kind = log.WhichOneof("log_type")
        if kind is None:
            yield None
        elif kind in _REPLAYED:
            yield getattr(log, kind).request
        else:
            yield ServingError("UNIMPLEMENTED", f"servers do not replay a {kind}")


def read_requests(path: str | os.PathLike[str]) -> Iterator[Message | ServingError]:
    """The requests of a file of PredictionLogs, of any kind, or of PredictRequests; or the error of a record.

    Raises:
        OSError: The file cannot be read.
    """
    for record in _records(path):
        if isinstance(record, ServingError):
            yield record
            return
        log = _whole(PredictionLog, record)
        kind = None if log is None else log.WhichOneof("log_type")
        if log is not None and kind is not None and kind != "predict_streamed_log":
            yield getattr(log, kind).request
        elif kind is not None:
            yield ServingError("UNIMPLEMENTED", f"requests of a {kind} are not sent here")
        else:
            request = _whole(PredictRequest, record)
            if request is None or not request.ListFields():
                reason = f"neither a PredictionLog nor a PredictRequest in {len(record)} bytes"
                yield ServingError("INVALID_ARGUMENT", reason)
            else:
                yield request


def _records(path: str | os.PathLike[str]) -> Iterator[bytes | ServingError]:
    with RecordReader(path) as reader:
        try:
            yield from reader
        except RecordError as error:
            yield ServingError("DATA_LOSS", str(error))


def _parse(cls: type[M], data: bytes) -> M | None:
    message = cls()
    try:
        message.ParseFromString(data)
    except (DecodeError, RecursionError):
        return None
    return message


def _whole(cls: type[M], data: bytes) -> M | None:
    """The message, if the data has nothing that it does not know: then they are hardly another message."""
    message = _parse(cls, data)
    if message is None:
        return None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return message if message.ByteSize() == size else None
