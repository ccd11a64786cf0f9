"""The process environment while an export runs."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["without_training_cluster"]

_TF_CONFIG = "TF_CONFIG"
_lock = threading.Lock()
_depth = 0
_hidden: str | None = None


@contextlib.contextmanager
def without_training_cluster() -> Iterator[None]:
    """Hides the environment variable ``TF_CONFIG``, so that code written for a cluster builds for one machine.

    Exports in several threads share the environment: it is put back when the last of them is done.
    """
    global _depth, _hidden  # noqa: PLW0603
    with _lock:
        if _depth == 0:
            _hidden = os.environ.pop(_TF_CONFIG, None)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _hidden is not None:
                os.environ[_TF_CONFIG] = _hidden
