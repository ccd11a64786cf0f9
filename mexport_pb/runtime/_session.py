"""What all sessions that load an export have in common: the table ops, the configuration, short messages."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from mexport_pb.errors import DataError, UnsupportedError
from mexport_pb.messages import read_saved_model
from mexport_pb.messages.table_ops import table_op_defs
from mexport_pb.runtime.ops import load_op_library

__all__ = ["load_ops_of", "session_config", "shorten", "to_array"]

_LONGEST_MESSAGE = 600
# Lines that TensorFlow wraps around the one that says what was wrong.
_BOILERPLATE = ("Graph execution error:", "Detected at node", "Node:", "Restoring from checkpoint failed.", "[[{{node")


def load_ops_of(path: str | os.PathLike[str]) -> None:
    """Loads the library of table ops for a model that has such; what is wrong with others the loader tells."""
    try:
        saved_model = read_saved_model(path)
    except (OSError, DataError, UnsupportedError):
        return
    known = table_op_defs()
    if any(node.op in known for graph in saved_model.meta_graphs for node in graph.graph_def.node):
        load_op_library()


def session_config(tf: Any) -> Any:
    """Two threads of the session's own, and the process's pool for the kernels, whose size the first session fixes."""
    return tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=2,
        use_per_session_threads=True,
        allow_soft_placement=True,
        device_count={"GPU": 0},
    )


def shorten(error: Exception) -> str:
    """Keep what an exception says was wrong, and at which node, of a message that may be pages long."""
    text = str(getattr(error, "message", "") or error or type(error).__name__)
    text = text.partition("Original stack trace for")[0]
    node = re.search(r"\{\{node (\S+?)\}\}\]\]", text)
    said = [line.strip() for line in text.splitlines()]
    short = " ".join(line for line in said if line and not line.startswith(_BOILERPLATE)) or " ".join(text.split())
    if len(short) > _LONGEST_MESSAGE:
        short = f"{short[: _LONGEST_MESSAGE - 1]}…"
    return f"{short} (node {node[1]})" if node else short


def to_array(value: Any) -> np.ndarray:
    """What a session gave for a tensor. A scalar string comes as bytes, of which numpy would drop zeros at the end."""
    if isinstance(value, bytes):
        result = np.empty((), object)
        result[()] = value
        return result
    return np.asarray(value)
