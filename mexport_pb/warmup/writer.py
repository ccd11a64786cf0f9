"""Writing warmup files that the model's server takes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from google.protobuf.message import Message

from mexport_pb._proto.serving_pb2 import PredictionLog
from mexport_pb.errors import InvalidArgumentError, SavedModelError, WarmupError
from mexport_pb.messages import make_prediction_log, serialize, to_message
from mexport_pb.messages.constants import SERVING_TAG
from mexport_pb.record import RecordWriter
from mexport_pb.table.staged_file import staged_file
from mexport_pb.warmup.check import RecordChecker
from mexport_pb.warmup.logs import LOG_KINDS
from mexport_pb.warmup.model import ModelLike
from mexport_pb.warmup.problems import WarmupProblem

__all__ = ["WarmupWriter", "write_warmup"]


class WarmupWriter:
    """Writes a warmup file, record by record, each checked against the model.

    The file appears, synced to the device, when :meth:`close` returns; use the writer as a context manager to have that
    done. When the block ends in an exception nothing is left. The same records are the same bytes.

    Args:
        path: The file; a server wants ``assets.extra/tf_serving_warmup_requests`` in the model. Its folder is made.
        model: What answers the requests: the directory or file of a SavedModel, a SavedModel or MetaGraphDef message,
            or SignatureDefs by their keys. None: requests are not held against a model.
        model_name: What model specs must say; by default what the first of them says.
        tags: Which graph of a SavedModel.
        force: Replace a file that is there.

    Raises:
        InvalidArgumentError: The file is there already, not a model, or no graph with these tags.
        SavedModelError, UnsupportedError: The model cannot be read.
        OSError: The file cannot be written, or the model not be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: ModelLike | None = None,
        *,
        model_name: str | None = None,
        tags: Iterable[str] = (SERVING_TAG,),
        force: bool = False,
    ) -> None:
        self._path = os.fspath(path)
        self._checker = RecordChecker(model, model_name=model_name, tags=tags)
        self._count = 0
        with ExitStack() as stack:
            self._records = stack.enter_context(RecordWriter(stack.enter_context(staged_file(path, force=force))))
            self._stack: ExitStack | None = stack.pop_all()

    @property
    def count(self) -> int:
        """Records that were written."""
        return self._count

    def write(self, log: Message | bytes) -> None:
        """Check and write a record.

        Args:
            log: A PredictionLog, or a request of any kind, ours or tensorflow-serving's; or the bytes of a
                PredictionLog.

        Raises:
            WarmupError: The model would refuse it, or it is the 1001st: names the record, the signature and the field.
                It is not written; further records may be.
            InvalidArgumentError: Not such a message, or the writer is closed.
            OSError: The file cannot be written.
        """
        if self._stack is None:
            raise InvalidArgumentError(f"{self._path}: the warmup writer is closed")
        own = self._to_log(log)
        if own.WhichOneof("log_type") not in LOG_KINDS:
            got = own.WhichOneof("log_type") or "no kind"
            raise self._error(WarmupProblem(f"log: got {got}, want one of {', '.join(LOG_KINDS)}", record=self._count))
        for problem in self._checker.find(own, self._count):
            if problem.severity == "error":
                raise self._error(problem)
        self._records.write(serialize(own))
        self._count += 1

    def close(self) -> None:
        """Complete the file and put it in its place. Does nothing on a closed writer."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(kind, error, traceback)

    def _to_log(self, log: Message | bytes) -> PredictionLog:
        if isinstance(log, PredictionLog):
            return log
        try:
            if isinstance(log, Message) and log.DESCRIPTOR.name != PredictionLog.DESCRIPTOR.name:
                return make_prediction_log(log)
            return to_message(log, PredictionLog)
        except SavedModelError as error:
            raise self._error(WarmupProblem(str(error), record=self._count)) from None

    def _error(self, problem: WarmupProblem) -> WarmupError:
        return problem.to_error(self._path)


def write_warmup(
    path: str | os.PathLike[str],
    logs: Iterable[Message | bytes],
    model: ModelLike | None = None,
    *,
    model_name: str | None = None,
    tags: Iterable[str] = (SERVING_TAG,),
    force: bool = False,
) -> int:
    """Write a warmup file and return the number of records; all or nothing.

    Args:
        path: The file.
        logs: As for :meth:`WarmupWriter.write`, which also says what is raised.
        model: What answers the requests, see :class:`WarmupWriter`, as the rest.
        model_name: What model specs must say.
        tags: Which graph of a SavedModel.
        force: Replace a file that is there.
    """
    with WarmupWriter(path, model, model_name=model_name, tags=tags, force=force) as writer:
        for log in logs:
            writer.write(log)
        return writer.count
