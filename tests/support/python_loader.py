"""TensorFlow's own loader in Python: ``tf.compat.v1.saved_model.load`` into a fresh graph and session."""

from __future__ import annotations

import os
from collections.abc import Mapping, Set

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from .loading import Call, LoadError, Session, plan_call

__all__ = ["load"]

_CODES = {code: name for name, code in vars(tf.errors).items() if name.isupper() and isinstance(code, int)}


def load(export_dir: str | os.PathLike[str], tags: Set[str] = frozenset({"serve"})) -> PythonModel:
    """Load the graph with these tags, restore its variables and run its main op; raises :class:`LoadError`.

    The codes are TensorFlow's statuses, and the class's name for an exception that has none, such as ``OSError`` for a
    missing or damaged saved_model.pb, ``RuntimeError`` for unknown tags or ``ValueError`` for a missing index.
    """
    session = tf.compat.v1.Session(graph=tf.Graph())
    try:
        with session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, list(tags), os.fspath(export_dir))
    except Exception as error:
        session.close()
        raise _translate(error) from error
    return PythonModel(session, meta_graph.SerializeToString())


class PythonModel(Session):
    """A graph in a session. ``session`` may be used directly."""

    def __init__(self, session: tf.compat.v1.Session, meta_graph: bytes) -> None:
        self.session = session
        self._meta_graph = meta_graph

    def run(self, call: Call, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds, fetches = plan_call(self._meta_graph, call, inputs)
        try:
            answers = self.session.run(fetches, {feeds[key]: inputs[key] for key in feeds})
        except Exception as error:
            raise _translate(error) from error
        return {key: np.asarray(value) for key, value in answers.items() if value is not None}

    def close(self) -> None:
        self.session.close()


def _translate(error: Exception) -> LoadError:
    if isinstance(error, tf.errors.OpError):
        return LoadError(_CODES[error.error_code], error.message)
    if isinstance(error, (OSError, RuntimeError, ValueError, KeyError, TypeError, DecodeError)):
        return LoadError("OSError" if isinstance(error, OSError) else type(error).__name__, str(error))
    raise error
