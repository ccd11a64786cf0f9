"""What every loader of saved models offers to the tests, and how it says no."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from mexport_pb._proto import saved_model_pb2

__all__ = ["Call", "LoadError", "LoadedModel", "Session", "plan_call", "read_meta_graph"]

Call = str | tuple[Mapping[str, str], Mapping[str, str]]
"""A signature's key, or the names of the tensors to feed and to fetch under keys of the caller's choice."""


class LoadError(Exception):
    """A model that could not be loaded or run.

    Attributes:
        code: The status, such as ``DATA_LOSS``; the exception's class where the loader has no statuses.
        message: All that the loader said.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class LoadedModel(Protocol):
    """A model that answers requests until it is closed."""

    def run(self, call: Call, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Feed ``inputs`` and return the outputs by key; raises :class:`LoadError`."""
        ...

    def close(self) -> None:
        """Free what the model holds; a second call does nothing."""
        ...


class Session:
    """Makes a loaded model a context manager that closes itself."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def plan_call(meta_graph: bytes, call: Call, inputs: Mapping[str, object]) -> tuple[dict[str, str], dict[str, str]]:
    """Names of the tensors to feed and to fetch, by key, for a call of the graph in a serialised ``MetaGraphDef``."""
    if isinstance(call, str):
        signatures = saved_model_pb2.MetaGraphDef.FromString(meta_graph).signature_def
        if call not in signatures:
            raise LoadError("NOT_FOUND", f"no signature {call!r} among {sorted(signatures)}")
        signature = signatures[call]
        feeds = {key: info.name for key, info in signature.inputs.items()}
        fetches = {key: info.name for key, info in signature.outputs.items()}
    else:
        feeds, fetches = dict(call[0]), dict(call[1])
    if feeds.keys() != inputs.keys():
        raise LoadError("INVALID_ARGUMENT", f"inputs: got {sorted(inputs)}, want {sorted(feeds)}")
    return feeds, fetches


def read_meta_graph(export_dir: str | os.PathLike[str], tags: frozenset[str] | set[str]) -> bytes:
    """The serialised ``MetaGraphDef`` of ``saved_model.pb`` with exactly these tags, read without TensorFlow."""
    path = os.path.join(export_dir, "saved_model.pb")
    with open(path, "rb") as file:
        model = saved_model_pb2.SavedModel.FromString(file.read())
    for meta_graph in model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph.SerializeToString()
    raise LoadError("NOT_FOUND", f"{path}: no graph with tags {sorted(tags)}")
