"""Checking whole warmup files, and the rules that hold across records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from mexport_pb._proto.serving_pb2 import PredictionLog
from mexport_pb.errors import RecordError, WarmupError
from mexport_pb.messages.constants import SERVING_TAG
from mexport_pb.record.stream import RecordStream
from mexport_pb.warmup.logs import iter_records
from mexport_pb.warmup.model import ModelLike, WarmupModel
from mexport_pb.warmup.problems import WarmupProblem
from mexport_pb.warmup.read_requests import MAX_WARMUP_RECORDS
from mexport_pb.warmup.request_check import find_request_problems, model_names

__all__ = ["RecordChecker", "check_warmup", "iter_warmup_problems"]

MAX_PROBLEMS: Final = 1000
"""A check ends at so many."""


class RecordChecker:
    """Checks records one after the other, and what they must have in common.

    Args:
        model: See :data:`~mexport_pb.warmup.model.ModelLike`; None leaves out what needs one.
        model_name: What model specs must say; by default what the first of them says.
        tags: Which graph of a SavedModel.
    """

    def __init__(
        self, model: ModelLike | None, *, model_name: str | None = None, tags: Iterable[str] = (SERVING_TAG,)
    ) -> None:
        self._model = None if model is None else WarmupModel.of(model, tags)
        self._name = model_name

    def find(self, log: PredictionLog, number: int) -> Iterator[WarmupProblem]:
        """What is wrong with a record. Its model's name becomes that of the file once the iterator has ended."""
        if number >= MAX_WARMUP_RECORDS:
            yield WarmupProblem(f"too many records: want at most {MAX_WARMUP_RECORDS}", record=number)
        field = "model_spec.name"
        name = self._name
        for found in dict.fromkeys(model_names(log)):
            if not found:
                message = "is empty: servers replay the record, but nobody else can send it"
                yield WarmupProblem(message, severity="warning", record=number, field=field)
            name = found if name is None else name
            if found != name:
                yield WarmupProblem(f"got {found!r}, want {name!r}", record=number, field=field)
        if self._model is not None:
            for problem in find_request_problems(log, self._model):
                yield problem.at(number)
        self._name = name


def iter_warmup_problems(
    path: str | os.PathLike[str],
    model: ModelLike | None = None,
    *,
    model_name: str | None = None,
    tags: Iterable[str] = (SERVING_TAG,),
) -> Iterator[WarmupProblem]:
    """The problems of :func:`check_warmup` as they are found."""
    checker = RecordChecker(model, model_name=model_name, tags=tags)
    with RecordStream(path) as stream:
        if stream.compression is not None:
            yield WarmupProblem(f"is compressed ({stream.compression}): servers read plain files only")
        found = 0
        number = -1
        offset = 0
        try:
            for record in iter_records(stream):
                number, offset = record.number, record.offset
                for problem in checker.find(record.log, number):
                    yield problem.at(number, offset)
                    found += 1
                    if found == MAX_PROBLEMS:
                        return
                if number >= MAX_WARMUP_RECORDS:
                    return
        except (RecordError, WarmupError) as error:
            message = str(error).removeprefix(f"{error.path}: ").removeprefix(f"offset {error.offset}: ")
            message = message.removeprefix(f"record {number + 1}: ")
            yield WarmupProblem(message, record=number + 1, offset=error.offset)
            return
        if number < 0:
            yield WarmupProblem("no record in it", severity="warning")


def check_warmup(
    path: str | os.PathLike[str],
    model: ModelLike | None = None,
    *,
    model_name: str | None = None,
    tags: Iterable[str] = (SERVING_TAG,),
) -> list[WarmupProblem]:
    """What is wrong with a warmup file; a server takes it when no problem is an error.

    Records are read one at a time: memory follows the largest. The check ends at the first damage, the 1001st record,
    or the 1000th problem.

    Args:
        path: The file, ``"-"`` for standard input, or a URL (extra "remote").
        model: The directory or file of the SavedModel, a SavedModel or MetaGraphDef message, or SignatureDefs by their
            keys. With signatures alone, or a model without its graph's nodes, the names in session-run logs are not
            looked up. None: the file is checked by itself.
        model_name: What model specs must say; by default what the first of them says.
        tags: Which graph of a SavedModel.

    Raises:
        InvalidArgumentError: Not a model, or no graph with these tags.
        SavedModelError, UnsupportedError: The model cannot be read.
        OSError: The file or the model cannot be opened or read.
    """
    return list(iter_warmup_problems(path, model, model_name=model_name, tags=tags))
