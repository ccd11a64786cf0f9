"""The facts of a file of warmup requests."""

from __future__ import annotations

from collections import Counter
from typing import Any

from google.protobuf.message import DecodeError

from mexport_pb._proto.serving_pb2 import PredictionLog
from mexport_pb.errors import MexportError, RecordError
from mexport_pb.inspect.facts import Damage, SizePart, WarmupFacts
from mexport_pb.record import RecordReader

__all__ = ["warmup_facts"]

_RECORD_BYTES = 16


def warmup_facts(path: str, damages: list[Damage]) -> tuple[WarmupFacts, list[SizePart]]:
    """Read the requests, one at a time.

    Returns:
        The facts of those before any damage, and what they take by kind.
    """
    kinds: Counter[str] = Counter()
    signatures: Counter[str] = Counter()
    models: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    records = largest = 0
    try:
        with RecordReader(path) as reader:
            while True:
                offset = reader.offset
                record = next(reader, None)
                if record is None:
                    break
                try:
                    log = PredictionLog.FromString(record)
                except DecodeError as error:
                    raise RecordError(f"not a PredictionLog: {error}", path=path, offset=offset) from None
                kind = log.WhichOneof("log_type") or "none"
                records += 1
                largest = max(largest, len(record))
                kinds[kind.removesuffix("_log")] += 1
                sizes[kind.removesuffix("_log")] += len(record)
                for spec in _model_specs(log, kind):
                    models[spec.name] += 1
                    signatures[spec.signature_name] += 1
    except (MexportError, OSError) as error:
        damages.append(Damage(path, str(error)))
    parts = [SizePart(f"{kind} requests", size) for kind, size in sorted(sizes.items())]
    if records:
        parts.append(SizePart("record headers and checksums", _RECORD_BYTES * records))
    by_kind, by_signature, by_model = (dict(sorted(one.items())) for one in (kinds, signatures, models))
    return WarmupFacts(path, records, by_kind, by_signature, by_model, largest), parts


def _model_specs(log: PredictionLog, kind: str) -> list[Any]:
    if kind == "none":
        return []
    request = getattr(log, kind).request
    if kind == "multi_inference_log":
        return [task.model_spec for task in request.tasks]
    # Of a stream there are several.
    requests = [request] if hasattr(request, "model_spec") else list(request)
    return [one.model_spec for one in requests]
