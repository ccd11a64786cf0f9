"""The models of one version, loaded in this process and wired to one another over the loopback interface."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mexport_pb.check import Problem
from mexport_pb.check.remote_calls import RemoteCall, remote_calls
from mexport_pb.check.sub_models import find_distribution_problems
from mexport_pb.dtypes import numpy_dtype
from mexport_pb.errors import InvalidArgumentError, MexportError, ServingError
from mexport_pb.messages import make_model_spec, make_predict_request, make_tensor_proto
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.remote_predict import set_predict_servers
from mexport_pb.runtime.serve_report import ModelReport
from mexport_pb.runtime.serving import ServedModel
from mexport_pb.runtime.serving_rpc import ModelServer, ServedCall

__all__ = ["ServedExport"]

# A call without elements is made only where the shapes allow so few.
_MAX_ELEMENTS = 1 << 20


class ServedExport:
    """Loads all models of an export; sub-models get a server each, to which the calls in the graphs go.

    A context manager: the models are loaded when the block is entered, and gone when it is left. Only one export with
    calls can be served in a process at a time, because the addresses of remote calls are the process's: other threads
    wait, and what ``set_predict_servers`` said before is replaced, and forgotten afterwards.

    Args:
        models: The directory of each model by its name.
        entry: The name of the model that clients ask.
        version: What answers say of the version; None where it is not known.
        tags: The tags of the graphs.
        model_name: What the calls put before the names of sub-models; not checked when None.

    Attributes:
        loaded: The models that could be loaded, by name.
        reports: About each model.
        problems: What does not fit together.
    """

    def __init__(
        self,
        models: Mapping[str, str | os.PathLike[str]],
        entry: str,
        *,
        version: int | None = None,
        tags: Iterable[str] = ("serve",),
        model_name: str | None = None,
    ) -> None:
        self._paths = {name: Path(path) for name, path in models.items()}
        self._entry = entry
        self._version = version
        self._tags = list(tags)
        self._model_name = model_name
        self._exits = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._calls: list[ServedCall] = []
        self._sub_models: dict[str, str] = {}  # by the name in requests
        self.loaded: dict[str, ServedModel] = {}
        self.reports: list[ModelReport] = []
        self.problems: list[Problem] = []

    @property
    def entry(self) -> ServedModel | None:
        """The model that clients ask, if it could be loaded."""
        return self.loaded.get(self._entry)

    def __enter__(self) -> Self:
        tensorflow()  # that it is not there is no failure of a model
        with contextlib.ExitStack() as exits:
            for name, path in self._paths.items():
                self._load(name, path, exits)
            self._check()
            self._wire(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()

    def take_calls(self) -> list[ServedCall]:
        """The requests that sub-models answered since the last time, in the order in which they ended."""
        with self._lock:
            calls, self._calls = self._calls, []
        return calls

    @property
    def called(self) -> list[str]:
        """The sub-models that calls go to."""
        return list(dict.fromkeys(self._sub_models.values()))

    def sub_model_of(self, name: str) -> str:
        """The sub-model that a request's model spec names so."""
        return self._sub_models.get(name, name)

    def _load(self, name: str, path: Path, exits: contextlib.ExitStack) -> None:
        before = _resident_bytes()
        try:
            model = exits.enter_context(ServedModel(path, tags=self._tags, version=self._version))
        except MexportError as error:
            self.reports.append(ModelReport(name, str(path), 0.0, 0, [], str(error)))
            return
        self.loaded[name] = model
        grown = max(0, _resident_bytes() - before)
        keys = sorted(model.meta_graph.signature_def)
        self.reports.append(ModelReport(name, str(path), model.load_seconds, grown, keys))

    def _check(self) -> None:
        # A model that could not be loaded is told of by its report, and nothing of its signatures is known.
        graphs = {name: self.loaded[name].meta_graph if name in self.loaded else None for name in self._paths}
        self.problems += find_distribution_problems(
            graphs, self._entry, version=self._version, model_name=self._model_name
        )

    def _wire(self, exits: contextlib.ExitStack) -> None:
        calls = [call for model in self.loaded.values() for call in remote_calls(model.meta_graph)]
        if not calls:
            return
        exits.enter_context(_addresses())
        asked: dict[str, dict[str, str]] = {}
        for call in calls:
            key, name = _route(call)
            asked.setdefault(call.sub_model, {})[key] = name
            self._sub_models[name] = call.sub_model
        addresses: dict[str, list[str]] = {}
        for sub_model, routes in asked.items():
            model = self.loaded.get(sub_model)
            if model is None:
                continue
            server = exits.enter_context(ModelServer(dict.fromkeys(routes.values(), model), on_call=self._record))
            addresses.update({key: [server.address] for key in routes})
        for call in calls:
            if call.sub_model in self.loaded:
                _prime(self.loaded[call.sub_model], call)
        set_predict_servers(addresses)
        exits.callback(set_predict_servers, None)

    def _record(self, call: ServedCall) -> None:
        with self._lock:
            self._calls.append(call)


@contextlib.contextmanager
def _addresses() -> Iterator[None]:
    """Holds the process's map of addresses.

    Raises:
        InvalidArgumentError: This thread holds it already.
    """
    if _holder.owner == threading.get_ident():
        raise InvalidArgumentError("this thread serves another export with remote calls, want one at a time")
    with _holder.lock:
        _holder.owner = threading.get_ident()
        try:
            yield
        finally:
            _holder.owner = None


class _Holder:
    """Who holds the process's map of addresses."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner: int | None = None


_holder = _Holder()


def _route(call: RemoteCall) -> tuple[str, str]:
    """The key in the op's map of addresses, and the name of the model in its requests."""
    if call.model_name:
        return call.model_name, call.model_name
    if call.old_model_name:
        return call.old_model_name.replace("_", ":", 1), call.old_model_name
    return f"ps:{call.task}", ""


def _prime(model: ServedModel, call: RemoteCall) -> None:
    """Lets a session prepare the part of the graph that a call runs, which may take longer than the call waits.

    The request has no elements, so it changes nothing; whether the model likes it does not matter.
    """
    signature = model.meta_graph.signature_def.get(call.signature)
    if signature is None or any(alias not in signature.inputs for alias in call.inputs or ()):
        return
    inputs = {}
    for alias in call.inputs or ():
        info = signature.inputs[alias]
        shape = [max(dim.size, 0) for dim in info.tensor_shape.dim] or [0]
        if math.prod(shape) > _MAX_ELEMENTS:
            return
        with contextlib.suppress(InvalidArgumentError):
            inputs[alias] = make_tensor_proto(np.zeros(shape, numpy_dtype(info.dtype)), info.dtype)
    spec = make_model_spec(call.sub_model, signature_name=call.signature)
    with contextlib.suppress(ServingError):
        model.handle(make_predict_request(spec, inputs, call.outputs or ()))


def _resident_bytes() -> int:
    """Memory of this process, as Linux tells it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
