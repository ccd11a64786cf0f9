"""Tries an export out before servers get it: loads all models of a version, asks them, and reports every failure.

A check, not a server to deploy: the models run in this process, on the CPU, behind the loopback interface.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message

from mexport_pb.check import Problem
from mexport_pb.check.sub_models import ENTRY, find_export
from mexport_pb.errors import InvalidArgumentError, ServingError, UnsupportedError
from mexport_pb.messages import to_message
from mexport_pb.messages.constants import ASSETS_EXTRA_DIRECTORY, WARMUP_FILENAME
from mexport_pb.runtime.serve_facts import (
    address,
    batch_of,
    forget_version,
    kind_of,
    outputs_of,
    request_class,
    signature_of,
)
from mexport_pb.runtime.serve_report import RequestReport, ServeReport, TensorReport
from mexport_pb.runtime.served_export import ServedExport
from mexport_pb.runtime.serving import ServedModel
from mexport_pb.runtime.serving_rpc import ModelServer, PredictionClient, ServedCall
from mexport_pb.warmup import random_predict_request, random_signatures
from mexport_pb.warmup.read_requests import read_requests, read_warmup

__all__ = ["replay_warmup", "serve_check", "warmup_file_of"]

Path_ = str | os.PathLike[str]
Handle = Callable[..., Message]

# Clocks and deadlines overflow far beyond; a month.
_MAX_TIMEOUT = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to be sent, or a record that is none, or the error that stands in its place."""

    number: int
    source: str
    request: Message | ServingError | None


class _Session:
    """Asks the models of an export while they are loaded, and writes down what becomes of it."""

    def __init__(
        self, report: ServeReport, served: ServedExport, timeout: float | None, keep_values: bool = False
    ) -> None:
        self.report = report
        self.served = served
        self._timeout = timeout
        self._keep_values = keep_values

    def __enter__(self) -> Self:
        self.served.__enter__()
        self.report.models += self.served.reports
        self.report.problems += self.served.problems
        self.report.calls.update(dict.fromkeys(self.served.called, (0, 0)))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.served.__exit__(exc_type, exc, traceback)
        self._take_calls()

    def ask(self, asked: _Asked, model: str, handle: Handle) -> None:
        """Sends one request, and adds what became of it to the report."""
        self._take_calls()
        request, failure = asked.request, None
        outputs: dict[str, TensorReport] = {}
        start = time.perf_counter()
        seconds = 0.0
        if isinstance(request, ServingError):
            request, failure = None, request
        elif request is not None:
            try:
                response = handle(request, timeout=self._timeout)
                seconds = time.perf_counter() - start
                outputs = outputs_of(response, self._keep_values)
            except ServingError as error:
                seconds = time.perf_counter() - start
                failure = error
        calls = self._take_calls()
        self.report.requests.append(
            RequestReport(
                number=asked.number,
                source=asked.source,
                model=model,
                kind="" if request is None else kind_of(request),
                signature="" if request is None else signature_of(request),
                batch=0 if request is None else batch_of(request),
                seconds=seconds,
                code="OK" if failure is None else failure.code,
                error="" if failure is None else failure.reason,
                outputs=outputs,
                failed_calls=[call for call in calls if call.code != "OK"],
            )
        )

    def _take_calls(self) -> list[ServedCall]:
        """Counts the calls of sub-models that have ended. One may end after the request that it was for has failed."""
        calls = self.served.take_calls()
        for call in calls:
            name = self.served.sub_model_of(call.model)
            total, failed = self.report.calls.get(name, (0, 0))
            self.report.calls[name] = (total + 1, failed + (call.code != "OK"))
        return calls


def serve_check(
    export: Path_,
    *,
    version: int | None = None,
    requests: Iterable[Message | Path_] = (),
    random: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
    integers: tuple[int, int] = (0, 30),
    signatures: Sequence[str] = (),
    timeout: float | None = 30.0,
    model_name: str | None = None,
    keep_values: bool = False,
    tags: Iterable[str] = ("serve",),
) -> ServeReport:
    """Load a version of an export in TensorFlow, send requests to its entry, and tell of the answers.

    Of a distributed export the entry, the dense parts and all parameter servers are loaded, and the entry's calls go
    to them. Without requests and ``random``, the entry's own warmup file is sent; where it has none, one random
    request a signature.

    Args:
        export: The base folder of a distributed export, that of a standalone one, or one version's directory.
        version: The version; by default the newest of the entry.
        requests: Requests of the serving API, of this package or of tensorflow-serving's; or TFRecord files of
            PredictionLogs or of PredictRequests. Their model's name and version are replaced.
        random: So many random requests a signature, see :func:`mexport_pb.warmup.random_predict_request`.
        batch_size: Of random requests.
        seed: Of random requests.
        integers: The range of integers in random requests: the first, and the one behind the last.
        signatures: Which signatures get random requests; by default each that takes such.
        timeout: Seconds that the entry may take to answer; None for as long as it does. Calls between the models have
            the deadlines that the graph gives them.
        model_name: What calls must put before the names of sub-models (``ctr`` for ``ctr:ps_0``); not checked if None.
        keep_values: Keep the values of the outputs in the report.
        tags: The tags of the graphs.

    Returns:
        The report; an export that does not work is a report with failures, not an exception.

    Raises:
        InvalidArgumentError: A wrong argument, or no such signature.
        FileNotFoundError: No such export, version, or file of requests.
        SavedModelError: The folder has no export.
        MexportError: TensorFlow or grpcio is not installed.
    """
    if random is not None and random < 0:
        raise InvalidArgumentError(f"random: got {random}, want >= 0")
    if batch_size < 1:
        raise InvalidArgumentError(f"batch size: got {batch_size}, want >= 1")
    if seed < 0:
        raise InvalidArgumentError(f"seed: got {seed}, want >= 0")
    if integers[0] >= integers[1]:
        raise InvalidArgumentError(f"integers: got {integers}, want a range that is not empty")
    _check_timeout(timeout)
    layout = find_export(export, version)
    given = list(requests)
    _check_given(given)
    report = ServeReport(str(layout.path), layout.version, problems=list(layout.problems))
    served = ServedExport(layout.models, layout.entry, version=layout.version, tags=tags, model_name=model_name)
    session = _Session(report, served, timeout, keep_values)
    with session:
        entry = served.entry
        if entry is None:
            return report
        if not given and random is None:
            warmup = warmup_file_of(layout.models[layout.entry])
            given, random = ([warmup], 0) if warmup.is_file() else ([], 1)
        make = partial(random_predict_request, batch_size=batch_size, integers=integers)
        seeds = [(seed, number) for number in range(random or 0)]
        asked = chain(_given(given), _random(entry, report, signatures, make, seeds))
        with ModelServer({layout.entry: entry}) as server, PredictionClient(server.address) as client:
            for one in asked:
                if isinstance(one.request, Message):
                    address(one.request, layout.entry)
                session.ask(one, layout.entry, client.handle)
    if not report.requests:
        report.problems.append(Problem("error", layout.entry, "there is no request to send"))
    return report


def replay_warmup(
    export: Path_ | Mapping[str, Path_],
    warmup_files: Path_ | Iterable[Path_] | None = None,
    *,
    version: int | None = None,
    timeout: float | None = None,
    stop_at_failure: bool = False,
    tags: Iterable[str] = ("serve",),
) -> ServeReport:
    """Do what a model server does with a warmup file when it loads the model, and tell of each record.

    Names and versions of models in the records are not looked at, and neither are logged responses. Servers also
    refuse more than 1000 records, records that are no PredictionLog, and logs of session runs; so does this.

    Args:
        export: As for :func:`serve_check`; or the directories of an export's models by their names, the entry under
            "entry", or one model under any name.
        warmup_files: Files to replay against the entry; by default ``assets.extra/tf_serving_warmup_requests`` of the
            entry, which must be there, and those of other models that have one.
        version: The version; by default the newest of the entry.
        timeout: Seconds that a record may take; None for as long as it does.
        stop_at_failure: Send nothing after the first failure.
        tags: The tags of the graphs.

    Returns:
        The report; a record that fails is a failure in it, not an exception.

    Raises:
        InvalidArgumentError: There is no warmup file, none of the models is the entry, or a wrong argument.
        FileNotFoundError: No such export, version or file.
        SavedModelError: The folder has no export.
        MexportError: TensorFlow is not installed, or grpcio, which only a distributed export needs.
    """
    _check_timeout(timeout)
    if isinstance(export, Mapping):
        models = {name: Path(path) for name, path in export.items()}
        entry = _entry_of(models)
        report = ServeReport(str(models[entry]), version)
    else:
        layout = find_export(export, version)
        models, entry = layout.models, layout.entry
        report = ServeReport(str(layout.path), layout.version, problems=list(layout.problems))
    plan = _warmup_plan(models, entry, warmup_files)
    served = ServedExport(models, entry, version=report.version, tags=tags)
    with _Session(report, served, timeout) as session:
        if not (stop_at_failure and report.failures):
            _replay(plan, session, stop_at_failure)
    return report


def _replay(plan: list[tuple[str, Path]], session: _Session, stop_at_failure: bool) -> None:
    for name, path in plan:
        model = session.served.loaded.get(name)
        if model is None:
            continue
        count = 0
        for number, record in enumerate(read_warmup(path)):
            count += 1
            if isinstance(record, Message):
                forget_version(record)
            session.ask(_Asked(number, str(path), record), name, model.handle)
            if stop_at_failure and not session.report.requests[-1].ok:
                return
        if not count:
            session.report.problems.append(Problem("error", str(path), "has no record: nothing was tried"))


def warmup_file_of(model: Path_) -> Path:
    """Where a server looks for a model's warmup file."""
    return Path(model, ASSETS_EXTRA_DIRECTORY, WARMUP_FILENAME)


def _entry_of(models: Mapping[str, Path]) -> str:
    if ENTRY in models:
        return ENTRY
    if len(models) != 1:
        raise InvalidArgumentError(f"models: got {sorted(models)}, want {ENTRY!r} among them, or one")
    return next(iter(models))


def _warmup_plan(
    models: Mapping[str, Path], entry: str, given: Path_ | Iterable[Path_] | None
) -> list[tuple[str, Path]]:
    """Which file is replayed against which model: those of the sub-models first, as they are loaded first."""
    if given is not None:
        files = [given] if isinstance(given, str | os.PathLike) else list(given)
        _check_given(files)
        return [(entry, Path(file)) for file in files]
    own = {name: warmup_file_of(path) for name, path in models.items()}
    if not own[entry].is_file():
        raise InvalidArgumentError(f"{own[entry]}: is missing: there is no warmup file to replay")
    return [*((name, file) for name, file in own.items() if name != entry and file.is_file()), (entry, own[entry])]


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and not 0 < timeout <= _MAX_TIMEOUT:
        raise InvalidArgumentError(f"timeout: got {timeout}, want seconds > 0 and <= {_MAX_TIMEOUT}")


def _check_given(given: Iterable[Any]) -> None:
    for one in given:
        if isinstance(one, Message):
            request_class(one)
        elif not os.path.isfile(one):
            raise FileNotFoundError(f"no such file: {os.fspath(one)}")


def _given(given: Iterable[Message | Path_]) -> Iterator[_Asked]:
    number = 0
    for one in given:
        if isinstance(one, Message):
            yield _Asked(number, "given", to_message(one, request_class(one)))
            number += 1
        else:
            for index, request in enumerate(read_requests(one)):
                yield _Asked(index, os.fspath(one), request)


def _random(
    entry: ServedModel,
    report: ServeReport,
    signatures: Sequence[str],
    make: Callable[..., Message],
    seeds: Sequence[tuple[int, int]],
) -> Iterator[_Asked]:
    known = entry.meta_graph.signature_def
    for key in signatures:
        if key not in known:
            raise InvalidArgumentError(f"signature: got {key!r}, want one of {sorted(known)}")
    for key in signatures or random_signatures(known):
        for seed, number in seeds:
            try:
                request = make(known[key], key, seed=(seed, number))
            except (InvalidArgumentError, UnsupportedError) as error:
                report.problems.append(Problem("warning", report.models[0].name, f"no random request: {error}"))
                break
            yield _Asked(number, "random", request)
