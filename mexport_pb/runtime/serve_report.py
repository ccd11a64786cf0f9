"""What a check or a replay found: models, problems, and each request with its answer and its time."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mexport_pb.check import Problem
from mexport_pb.errors import ValidationError
from mexport_pb.runtime.serving_rpc import ServedCall

__all__ = ["Latency", "ModelReport", "RequestReport", "ServeReport", "TensorReport"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model that was loaded, or could not be.

    Attributes:
        name: "entry", "ps_0", …, or the folder's name of a standalone export.
        path: Its directory.
        seconds: How long TensorFlow took to load it.
        resident_bytes: How much the process grew meanwhile; 0 where the system does not tell.
        signatures: Its signatures' keys.
        error: Why it could not be loaded; empty if it was.
    """

    name: str
    path: str
    seconds: float
    resident_bytes: int
    signatures: list[str]
    error: str = ""


@dataclass(frozen=True, slots=True)
class TensorReport:
    """An output.

    Attributes:
        dtype: Its name.
        shape: Its sizes.
        values: The values, nested; None unless they were asked for. Bytes are text where they are UTF-8.
    """

    dtype: str
    shape: list[int]
    values: Any = None


@dataclass(frozen=True, slots=True)
class RequestReport:
    """A request and its answer.

    Attributes:
        number: Its place among those of its source, from 0.
        source: "random", "given", or a file.
        model: Which model was asked.
        kind: "predict", "classify", "regress", "multi_inference" or "session_run"; empty for a record that is none.
        signature: The signature's key, or several with commas.
        batch: The size of the first dimension of the inputs; 0 if there is none.
        seconds: From request to answer.
        code: "OK", or the status of the failure.
        error: What was wrong; empty if nothing was.
        outputs: What came back, by key.
        failed_calls: Requests to sub-models that failed meanwhile, as their servers tell.
    """

    number: int
    source: str
    model: str
    kind: str
    signature: str
    batch: int
    seconds: float
    code: str
    error: str
    outputs: dict[str, TensorReport]
    failed_calls: list[ServedCall]

    @property
    def ok(self) -> bool:
        """Whether it was answered, and so were all requests to sub-models that it led to."""
        return self.code == "OK" and not self.failed_calls

    def __str__(self) -> str:
        text = f"{self.source} #{self.number} {self.kind or 'record'}"
        text += f" {self.signature!r}" if self.signature else ""
        text += f" batch {self.batch}" if self.batch else ""
        if self.code == "OK":
            outputs = ", ".join(f"{key} {tensor.dtype}{tensor.shape}" for key, tensor in self.outputs.items())
            text = f"{text}: ok in {self.seconds * 1e3:.2f} ms: {outputs or 'no outputs'}"
        else:
            text = f"{text}: {self.code}: {self.error}"
        for call in self.failed_calls:
            text += f"; {call.model} {call.signature or 'serving_default'!r} said {call.code}: {call.error}"
        return text


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of the requests that were answered, in seconds; zeros where none was."""

    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """The nearest measured value at or above each share."""
        if not seconds:
            return cls(0.0, 0.0, 0.0)
        ordered = sorted(seconds)
        p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
        return cls(statistics.median_high(ordered), p95, ordered[-1])


@dataclass
class ServeReport:
    """The result of :func:`~mexport_pb.runtime.serve_check` and :func:`~mexport_pb.runtime.replay_warmup`.

    Attributes:
        path: The export.
        version: Its version; None for a directory that is not named by one.
        models: What was loaded.
        problems: What does not fit together, as far as it is found without running anything.
        requests: Every request, in order.
        calls: How many requests each sub-model answered, and how many of them failed.
    """

    path: str
    version: int | None = None
    models: list[ModelReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    requests: list[RequestReport] = field(default_factory=list)
    calls: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all models were loaded, no problem is an error, and every request was answered."""
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """Everything that makes the export unfit, a line each."""
        return [
            *(str(problem) for problem in self.problems if problem.severity == "error"),
            *(f"{model.name}: {model.error}" for model in self.models if model.error),
            *(str(request) for request in self.requests if not request.ok),
        ]

    @property
    def latency(self) -> Latency:
        """Times of the requests that were answered."""
        return Latency.of([request.seconds for request in self.requests if request.ok])

    def raise_if_bad(self) -> None:
        """Raises ValidationError with the first failures, unless the export is fit."""
        failures = self.failures
        if failures:
            more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
            raise ValidationError(f"{self.path}: " + "; ".join(failures[:3]) + more)

    def to_text(self, *, show: bool = False) -> Iterator[str]:
        """Lines for people; with ``show`` the first values of each output that the report has."""
        for model in self.models:
            if model.error:
                yield f"model {model.name}: FAILED: {model.error}"
            else:
                grown = f", {model.resident_bytes / 2**20:.0f} MiB" if model.resident_bytes else ""
                yield f"model {model.name}: {model.path}: loaded in {model.seconds:.2f} s{grown}"
        for problem in self.problems:
            yield str(problem)
        for request in self.requests:
            yield f"request {request}" if request.ok else f"request FAILED {request}"
            if show:
                for key, tensor in request.outputs.items():
                    if tensor.values is None:
                        continue
                    yield f"  {key}: {_text(tensor.values)}"
        for name, (calls, failed) in self.calls.items():
            yield f"calls of {name}: {calls}, failed: {failed}"
        failed = sum(not request.ok for request in self.requests)
        times = self.latency
        yield (
            f"{'ok' if self.ok else 'FAILED'}: {len(self.requests)} requests, {failed} failed; "
            f"latency p50 {times.p50 * 1e3:.2f} ms, p95 {times.p95 * 1e3:.2f} ms, max {times.max * 1e3:.2f} ms"
        )

    def to_json(self) -> Iterator[str]:
        """A JSON object a line: ``{"model": …}``, ``{"problem": …}``, ``{"request": …}``, and ``{"summary": …}``."""
        for model in self.models:
            yield _json("model", dataclasses.asdict(model))
        for problem in self.problems:
            yield _json("problem", dataclasses.asdict(problem))
        for request in self.requests:
            yield _json("request", dataclasses.asdict(request))
        summary = {
            "path": self.path,
            "version": self.version,
            "ok": self.ok,
            "requests": len(self.requests),
            "failed": sum(not request.ok for request in self.requests),
            "latency": dataclasses.asdict(self.latency),
            "calls": {name: {"requests": n, "failed": failed} for name, (n, failed) in self.calls.items()},
        }
        yield _json("summary", summary)


def _json(kind: str, value: dict[str, Any]) -> str:
    return json.dumps({kind: value}, sort_keys=True)


def _text(values: Any) -> str:
    array = np.asarray(values, object if isinstance(values, list) else None)
    flat = [str(value) for value in array.ravel()[:_SHOWN].tolist()]
    return " ".join(flat) + (" …" if array.size > _SHOWN else "")
