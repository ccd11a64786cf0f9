"""The requests of a warmup file as text or JSON, one at a time. It loads no numpy, so it starts at once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from google.protobuf import json_format, text_format

from mexport_pb._proto.tensor_pb2 import TensorProto
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.record.stream import RecordStream
from mexport_pb.warmup.logs import WarmupRecord, iter_records, requests_of

__all__ = ["decode_warmup"]

_STRING: Final = re.compile("string_val:.*")
_HIDDEN: Final = "..."


def decode_warmup(
    path: str | os.PathLike[str],
    *,
    compression: str | None = "auto",
    as_json: bool = False,
    limit: int | None = None,
    index: int | None = None,
    raw: bool = False,
) -> Iterator[str]:
    """The requests of a file of PredictionLogs.

    A record is the line ``<i>th model_spec:``, i from 0, and the protobuf text of its request, in which string elements
    of tensors are ``string_val: ...``. After the colon stands the kind of a log that is no predict log.

    As JSON, a record is a line with "record" (the number), "offset", "bytes", "kind" and, in the JSON form of
    protobuf, its "requests"; string elements are "...", or base64 if `raw`.

    Memory follows the largest record.

    Args:
        path: The file, ``"-"`` for standard input, or a URL (extra "remote").
        compression: None, "zlib", "gzip", "snappy", or "auto" to tell it by the first bytes.
        as_json: JSON, one object a line.
        limit: Only so many records.
        index: Only from this record on, and without a limit only this one. Those before are skipped, in a plain file
            without reading their data.
        raw: Show string elements.

    Raises:
        WarmupError: A record that is no PredictionLog, or no record of that index.
        RecordError: A damaged file. Both come after the records before, and name the record and its offset.
        InvalidArgumentError: A limit or index below 0, or as :class:`~mexport_pb.record.RecordStream`.
        OSError: The file cannot be opened or read.
    """
    for name, value in (("limit", limit), ("index", index)):
        if value is not None and value < 0:
            raise InvalidArgumentError(f"{name}: got {value}, want 0 or more")
    if limit is None and index is not None:
        limit = 1
    form = _json if as_json else _text
    with RecordStream(path, compression) as stream:
        first = stream.skip(index) if index else 0
        found = False
        for record in islice(iter_records(stream, first), limit):
            found = True
            if not raw:
                for request in requests_of(record.log):
                    _hide_strings(request)
            yield form(record, raw)
        if index is not None and limit and not found:
            raise InvalidArgumentError(f"{stream.name}: index: got {index}, but the file has {first} records")


def _text(record: WarmupRecord, raw: bool) -> str:
    kind = "" if record.kind == "predict_log" else f" {record.kind or 'no log'}"
    parts = [f"{record.number}th model_spec:{kind}"]
    for request in requests_of(record.log):
        text = text_format.MessageToString(request).rstrip("\n")
        if text:
            parts.append(text if raw else _STRING.sub(f"string_val: {_HIDDEN}", text))
    return "\n".join(parts)


def _json(record: WarmupRecord, raw: bool) -> str:
    requests = []
    for request in requests_of(record.log):
        value = json_format.MessageToDict(request, preserving_proto_field_name=True)
        if not raw:
            tensors = [*value.get("inputs", {}).values(), *(feed.get("tensor", {}) for feed in value.get("feed", []))]
            for tensor in tensors:
                if "string_val" in tensor:
                    tensor["string_val"] = [_HIDDEN] * len(tensor["string_val"])
        requests.append(value)
    return json.dumps(
        {
            "record": record.number,
            "offset": record.offset,
            "bytes": record.size,
            "kind": record.kind,
            "requests": requests,
        }
    )


def _hide_strings(request: Any) -> None:
    """Empty the string elements, of which nothing is shown: they would be escaped first."""
    tensors: list[TensorProto] = []
    if hasattr(request, "inputs"):
        tensors.extend(request.inputs.values())
    if hasattr(request, "feed"):
        tensors.extend(feed.tensor for feed in request.feed)
    for tensor in tensors:
        count = len(tensor.string_val)
        if count:
            del tensor.string_val[:]
            tensor.string_val.extend([b""] * count)
