"""PredictionLogs out of records. Light: it loads neither numpy nor a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from mexport_pb._proto.serving_pb2 import PredictionLog, PredictRequest
from mexport_pb._proto.tensor_pb2 import DT_INVALID
from mexport_pb.errors import RecordError, WarmupError
from mexport_pb.record.stream import RecordStream

__all__ = ["LOG_KINDS", "WarmupRecord", "iter_records", "parse_log", "read_warmup", "requests_of"]

LOG_KINDS: Final = (
    "predict_log",
    "classify_log",
    "regress_log",
    "multi_inference_log",
    "session_run_log",
)
"""Those that are written."""


@dataclass(frozen=True, slots=True)
class WarmupRecord:
    """A record of a warmup file.

    Attributes:
        number: From 0.
        offset: Where it begins in the uncompressed stream, in bytes.
        size: Bytes of data.
        log: The PredictionLog.
    """

    number: int
    offset: int
    size: int
    log: PredictionLog

    @property
    def kind(self) -> str | None:
        """One of :data:`LOG_KINDS`, "predict_streamed_log", or None for a log of no kind."""
        kind: str | None = self.log.WhichOneof("log_type")
        return kind


def read_warmup(path: str | os.PathLike[str], compression: str | None = "auto") -> Iterator[PredictionLog]:
    """Yield each PredictionLog of a warmup file, one at a time.

    Args:
        path: The file, ``"-"`` for standard input, or a URL (extra "remote").
        compression: None, "zlib", "gzip", "snappy", or "auto" to tell it by the first bytes. Servers read plain files
            only.

    Raises:
        WarmupError: a record that is no PredictionLog.
        RecordError: a damaged file. Both come after the records before, and name the record and its offset.
        InvalidArgumentError, OSError: as for :class:`~mexport_pb.record.RecordStream`.
    """
    with RecordStream(path, compression) as stream:
        for record in iter_records(stream):
            yield record.log


def iter_records(stream: RecordStream, first: int = 0) -> Iterator[WarmupRecord]:
    """The records of a stream that is at record `first`; raises as :func:`read_warmup` does."""
    number = first
    with closing(stream):
        while True:
            offset = stream.offset
            try:
                data = next(stream, None)
            except RecordError as error:
                message = str(error).removeprefix(f"{error.path}: ").removeprefix(f"offset {error.offset}: ")
                raise type(error)(f"record {number}: {message}", path=error.path, offset=error.offset) from None
            if data is None:
                return
            try:
                log = parse_log(data)
            except WarmupError as error:
                raise WarmupError(f"record {number}: {error}", path=stream.name, offset=offset, record=number) from None
            yield WarmupRecord(number, offset, len(data), log)
            number += 1


def parse_log(data: bytes) -> PredictionLog:
    """The PredictionLog in some bytes.

    Raises:
        WarmupError: they are none; the message says so if they are a bare PredictRequest.
    """
    log = PredictionLog()
    reason = None
    try:
        log.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        reason = f"not a PredictionLog in {len(data)} bytes: {error}"
    # What a request calls its inputs may by chance be read as a classify log.
    if (reason or log.WhichOneof("log_type") in (None, "classify_log")) and _is_bare_request(data):
        reason = "got a bare PredictRequest, want a PredictionLog (mexport warmup from-requests makes these of those)"
    if reason is not None:
        raise WarmupError(" ".join(reason.split()))
    return log


def requests_of(log: PredictionLog) -> list[Any]:
    """The request of a log; of a streamed one all, of one without a kind none. They are not copied."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        return []
    request: Any = getattr(log, kind).request
    return [request] if isinstance(request, Message) else list(request)


def _is_bare_request(data: bytes) -> bool:
    request = PredictRequest()
    try:
        request.ParseFromString(data)
    except (DecodeError, RecursionError):
        return False
    return bool(request.inputs) and all(tensor.dtype != DT_INVALID for tensor in request.inputs.values())
