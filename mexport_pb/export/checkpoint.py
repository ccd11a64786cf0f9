"""Finding checkpoints: the text file ``checkpoint`` of a model folder, and the step that a checkpoint is of."""

from __future__ import annotations

import os
import re
from pathlib import Path

from google.protobuf import text_format

from mexport_pb._proto.saver_pb2 import CheckpointState
from mexport_pb._proto.tensor_pb2 import DataType
from mexport_pb.bundle import BundleReader
from mexport_pb.dtypes import name_of
from mexport_pb.errors import DataError, MismatchError

__all__ = ["GLOBAL_STEP", "checkpoint_step", "latest_checkpoint", "read_checkpoint_state"]

GLOBAL_STEP = "global_step"
"""The variable that counts training steps: int64, a scalar."""

_STEP_DTYPES = (DataType.DT_INT64, DataType.DT_INT32)
_STEP_IN_NAME = re.compile(r"^.*-(\d+)$")


def read_checkpoint_state(model_dir: str | os.PathLike[str]) -> CheckpointState | None:
    """The file ``checkpoint`` of a model folder, its paths made absolute; None if there is no such file.

    Raises:
        DataError: The file is not a CheckpointState in protobuf text format.
    """
    path = Path(model_dir) / "checkpoint"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        state = text_format.Parse(text.decode("utf-8"), CheckpointState())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(f"not a checkpoint state: {error}", path=path) from error
    state.model_checkpoint_path = _absolute(model_dir, state.model_checkpoint_path)
    paths = [_absolute(model_dir, p) for p in state.all_model_checkpoint_paths]
    del state.all_model_checkpoint_paths[:]
    state.all_model_checkpoint_paths.extend(paths)
    return state


def latest_checkpoint(model_dir: str | os.PathLike[str]) -> str | None:
    """The prefix of the newest checkpoint of a model folder, None if there is none.

    Raises:
        DataError: The file ``checkpoint`` is damaged, or names a checkpoint that is gone.
    """
    state = read_checkpoint_state(model_dir)
    if state is None or not state.model_checkpoint_path:
        return None
    index = state.model_checkpoint_path + ".index"
    if not os.path.exists(index):
        raise DataError(f"the newest checkpoint is gone: no file {index}", path=Path(model_dir) / "checkpoint")
    return state.model_checkpoint_path


def checkpoint_step(checkpoint: str | os.PathLike[str]) -> int:
    """The global step of a checkpoint: its variable ``global_step``, else the number that its name ends with.

    Raises:
        MismatchError: It has neither, or the variable is not one integer.
    """
    prefix = os.fspath(checkpoint)
    with BundleReader(prefix) as reader:
        if GLOBAL_STEP in reader:
            if reader.dtype(GLOBAL_STEP) not in _STEP_DTYPES or reader.shape(GLOBAL_STEP) != ():
                got = f"{name_of(reader.dtype(GLOBAL_STEP))}{list(reader.shape(GLOBAL_STEP))}"
                raise MismatchError(f"{prefix}: variable {GLOBAL_STEP!r}: got {got}, want int64[]")
            return int(reader.read(GLOBAL_STEP))
    match = _STEP_IN_NAME.match(prefix)
    if match is None:
        raise MismatchError(f"{prefix}: no variable {GLOBAL_STEP!r} and no step in the name, want model.ckpt-<step>")
    return int(match.group(1))


def _absolute(model_dir: str | os.PathLike[str], path: str) -> str:
    return os.path.join(model_dir, path) if path else path
