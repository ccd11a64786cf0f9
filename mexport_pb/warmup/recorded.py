"""Warmup files out of what was recorded: requests, prediction logs, or training data."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from mexport_pb._proto.serving_pb2 import PredictionLog, PredictRequest
from mexport_pb.errors import InvalidArgumentError, RecordError, WarmupError
from mexport_pb.messages import make_model_spec, make_predict_request, make_prediction_log, serialize
from mexport_pb.messages.constants import DEFAULT_SIGNATURE, SERVING_TAG
from mexport_pb.record.stream import RecordStream, open_bytes
from mexport_pb.warmup.framed import INPUT_KEYS, FrameFormat, iter_bodies
from mexport_pb.warmup.logs import LOG_KINDS, requests_of
from mexport_pb.warmup.model import ModelLike
from mexport_pb.warmup.read_requests import MAX_WARMUP_RECORDS
from mexport_pb.warmup.writer import write_warmup

__all__ = ["iter_recorded", "warmup_from_requests"]

_MAX_REQUEST: Final = 2**31 - 1


def warmup_from_requests(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    model: ModelLike | None = None,
    *,
    source_format: str = "auto",
    frames: FrameFormat | None = None,
    batch_size: int = 256,
    signatures: Sequence[str] = (),
    model_name: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    max_records: int | None = None,
    unique: bool = False,
    tags: Iterable[str] = (SERVING_TAG,),
    force: bool = False,
) -> int:
    """Write a warmup file of recorded requests; return the number of records. All or nothing.

    The same source and arguments are the same bytes. Responses are left out. Memory holds one record, or with `sample`
    the requests that were drawn; with `unique` also 16 bytes and their overhead for each different request.

    Args:
        source: A folder of serialised PredictRequests, one a file, taken in the order of their names; a TFRecord file
            of PredictRequests or PredictionLogs, or a framed stream (a path, ``"-"``, or a URL with the extra
            "remote").
        path: The warmup file.
        model: What answers the requests, see :class:`~mexport_pb.warmup.WarmupWriter`.
        source_format: "requests", "records" or "framed"; "auto" takes a folder for requests and else records.
        frames: The layout of a framed stream.
        batch_size: Bodies of a framed stream in a request. The last request takes what is left.
        signatures: What requests ask, one after the other in turn; by default what they were recorded with, and
            "serving_default" in requests that are made of a framed stream. Not for multi-inference logs.
        model_name: Put into every model spec, in place of what was recorded; for framed streams "default" if None.
        sample: Draw so many of all requests, each as likely as any other, and keep their order.
        seed: Of the sample.
        max_records: Stop after so many requests.
        unique: Take requests that are equal only once, the first time.
        tags: Which graph of a SavedModel.
        force: Replace a file that is there.

    Raises:
        WarmupError: A record that is no request, one that the model would refuse, more than 1000 of them, or none.
        RecordError: A damaged TFRecord file.
        InvalidArgumentError: Arguments that do not go together.
        OSError: A file cannot be read or written.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("sample", sample, 1), ("max_records", max_records, 1)):
        if value is not None and value < least:
            raise InvalidArgumentError(f"{name}: got {value}, want {least} or more")
    if sample is not None and sample > MAX_WARMUP_RECORDS:
        raise InvalidArgumentError(f"sample: got {sample}, want at most {MAX_WARMUP_RECORDS}, as a server takes")
    logs = iter_recorded(source, source_format, frames=frames, batch_size=batch_size, model_name=model_name)
    with closing(logs):
        chosen: Iterator[PredictionLog] = (_respelled(log, i, signatures, model_name) for i, log in enumerate(logs))
        if unique:
            chosen = _unique(chosen)
        if max_records is not None:
            chosen = itertools.islice(chosen, max_records)
        if sample is not None:
            chosen = iter(_reservoir(chosen, sample, seed))
        return write_warmup(path, _some(chosen, source), model, model_name=model_name, tags=tags, force=force)


def iter_recorded(
    source: str | os.PathLike[str],
    source_format: str = "auto",
    *,
    frames: FrameFormat | None = None,
    batch_size: int = 256,
    model_name: str | None = None,
) -> Generator[PredictionLog, None, None]:
    """The requests of a source as PredictionLogs without responses, see :func:`warmup_from_requests`."""
    is_folder = source != "-" and os.path.isdir(source)
    if source_format == "auto":
        source_format = "requests" if is_folder else "records"
    if (frames is not None) != (source_format == "framed"):
        raise InvalidArgumentError("a framed stream, and nothing else, wants a frame format")
    if source_format == "requests":
        if not is_folder:
            raise InvalidArgumentError(f"{os.fspath(source)}: is no folder of requests")
        return _from_folder(os.fspath(source))
    if source_format == "records":
        return _from_records(source)
    if source_format != "framed" or frames is None:
        raise InvalidArgumentError(f"source format: got {source_format!r}, want auto, requests, records or framed")
    return _from_frames(source, frames, batch_size, model_name or "default")


def _from_folder(folder: str) -> Generator[PredictionLog, None, None]:
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            continue
        size = os.path.getsize(path)
        if size > _MAX_REQUEST:
            raise WarmupError(f"got {size} bytes, want at most {_MAX_REQUEST}", path=path)
        with open(path, "rb") as file:
            data = file.read(_MAX_REQUEST + 1)
        try:
            yield make_prediction_log(PredictRequest.FromString(data))
        except (DecodeError, RecursionError) as error:
            raise WarmupError(f"not a PredictRequest in {len(data)} bytes: {error}", path=path) from None


def _from_records(source: str | os.PathLike[str]) -> Generator[PredictionLog, None, None]:
    with RecordStream(source) as stream:
        number = 0
        while True:
            offset = stream.offset
            try:
                data = next(stream, None)
            except RecordError as error:
                message = str(error).removeprefix(f"{error.path}: ").removeprefix(f"offset {error.offset}: ")
                raise type(error)(f"record {number}: {message}", path=error.path, offset=error.offset) from None
            if data is None:
                return
            log = _request_in(data)
            if log is None:
                message = f"record {number}: neither a PredictionLog nor a PredictRequest in {len(data)} bytes"
                raise WarmupError(message, path=stream.name, offset=offset, record=number)
            yield log
            number += 1


def _request_in(data: bytes) -> PredictionLog | None:
    """The log in a record, or around the PredictRequest that it is; fields that are unknown speak against either."""
    for cls in (PredictionLog, PredictRequest):
        message: Any = cls()
        try:
            message.ParseFromString(data)
        except (DecodeError, RecursionError):
            continue
        size = message.ByteSize()
        message.DiscardUnknownFields()
        if size != message.ByteSize() or not size:
            continue
        if isinstance(message, PredictRequest):
            return make_prediction_log(message)
        kind = message.WhichOneof("log_type")
        if kind in LOG_KINDS:
            (request,) = requests_of(message)
            return make_prediction_log(request)
    return None


def _from_frames(
    source: str | os.PathLike[str], frames: FrameFormat, batch_size: int, model_name: str
) -> Generator[PredictionLog, None, None]:
    key = INPUT_KEYS[frames.body]
    size = 1 if frames.body == "example_batch" else batch_size
    name = "standard input" if source == "-" else os.fspath(source)
    raw = open_bytes(source)
    with closing(io.BufferedReader(raw, 1 << 20) if isinstance(raw, io.RawIOBase) else raw) as file:
        bodies = iter_bodies(file, frames, name)
        while batch := list(itertools.islice(bodies, size)):
            spec = make_model_spec(model_name, signature_name=DEFAULT_SIGNATURE)
            yield make_prediction_log(make_predict_request(spec, {key: np.array(batch, object)}))


def _respelled(log: PredictionLog, number: int, signatures: Sequence[str], model_name: str | None) -> PredictionLog:
    (request,) = requests_of(log)
    tasks = list(request.tasks) if hasattr(request, "tasks") else None
    for spec in [request.model_spec] if tasks is None else [task.model_spec for task in tasks]:
        if model_name is not None:
            spec.name = model_name
        if signatures and tasks is None:
            spec.signature_name = signatures[number % len(signatures)]
    return log


def _unique(logs: Iterator[PredictionLog]) -> Iterator[PredictionLog]:
    seen: set[bytes] = set()
    for log in logs:
        digest = hashlib.blake2b(serialize(log), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield log


def _reservoir(logs: Iterator[PredictionLog], count: int, seed: int) -> list[PredictionLog]:
    """So many of the logs, each with the same probability (algorithm R), in their order."""
    generator = random.Random(seed)
    kept: list[tuple[int, PredictionLog]] = []
    for number, log in enumerate(logs):
        if number < count:
            kept.append((number, log))
        elif (place := generator.randrange(number + 1)) < count:
            kept[place] = (number, log)
    return [log for _, log in sorted(kept, key=lambda pair: pair[0])]


def _some(logs: Iterator[PredictionLog], source: str | os.PathLike[str]) -> Iterator[PredictionLog]:
    first = next(logs, None)
    if first is None:
        raise WarmupError("no request in it", path=source)
    yield first
    yield from logs
