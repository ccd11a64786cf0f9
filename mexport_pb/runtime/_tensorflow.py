"""The one place where TensorFlow is imported."""

from __future__ import annotations

from typing import Any

from mexport_pb.errors import MexportError


def tensorflow() -> Any:
    """Import TensorFlow and return the module; raises :class:`MexportError` where it is not installed."""
    try:
        import tensorflow as tf
    except ImportError as error:
        reason = "not installed" if getattr(error, "name", None) == "tensorflow" else f"not usable ({error})"
        raise MexportError(
            f"mexport_pb.runtime: tensorflow is {reason}; pip install 'mexport-pb[tensorflow]' brings it"
        ) from error
    return tf
