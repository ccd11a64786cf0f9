"""Reading saved_model.pb, saved_model.pbtxt and the .meta file of a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel
from mexport_pb.errors import InvalidArgumentError, SavedModelError, UnsupportedError
from mexport_pb.messages.constants import SAVED_MODEL_CPB, SAVED_MODEL_PB, SAVED_MODEL_PBTXT
from mexport_pb.messages.text import from_text
from mexport_pb.messages.wire import MAX_MESSAGE_BYTES, parse

__all__ = ["read_meta_graph", "read_saved_model", "select_meta_graph"]

M = TypeVar("M", bound=Message)


def read_saved_model(path: str | os.PathLike[str]) -> SavedModel:
    """The SavedModel of an export.

    Args:
        path: An export directory, in which saved_model.pb is preferred to saved_model.pbtxt as by TensorFlow's loaders;
            or one file, which is text if its name ends in ".pbtxt".

    Raises:
        FileNotFoundError: there is no such file, or neither file in the directory.
        SavedModelError: the file is no SavedModel, or one without a graph.
        UnsupportedError: a chunked saved_model.cpb.
    """
    file = Path(path)
    if file.is_dir():
        file = _file_in(file)
    if file.suffix == ".cpb":
        raise UnsupportedError(
            f"{file}: chunked SavedModels (.cpb) are not read, nor does TensorFlow's loader read them"
        )
    saved_model = _read(file, SavedModel)
    if not saved_model.meta_graphs:
        raise SavedModelError("no meta graph in it", path=file)
    return saved_model


def read_meta_graph(path: str | os.PathLike[str]) -> MetaGraphDef:
    """The MetaGraphDef of a checkpoint's ".meta" file; text if the name ends in ".pbtxt".

    Raises:
        FileNotFoundError: there is no such file.
        SavedModelError: the file is no MetaGraphDef, or one without a graph.
    """
    file = Path(path)
    meta_graph = _read(file, MetaGraphDef)
    if not meta_graph.HasField("graph_def"):
        raise SavedModelError("no graph in it", path=file)
    return meta_graph


def select_meta_graph(saved_model: SavedModel, tags: Iterable[str]) -> MetaGraphDef:
    """The first meta graph with exactly these tags, in any order; not a copy.

    Raises:
        InvalidArgumentError: no meta graph has them; the message lists those that there are.
    """
    if isinstance(tags, str):
        raise InvalidArgumentError(f"tags: got {tags!r}, want a list of strings")
    wanted = set(tags)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    available = [sorted(meta_graph.meta_info_def.tags) for meta_graph in saved_model.meta_graphs]
    raise InvalidArgumentError(f"no meta graph with these tags: got {sorted(wanted)}, want one of {available}")


def _file_in(directory: Path) -> Path:
    for name in (SAVED_MODEL_PB, SAVED_MODEL_PBTXT, SAVED_MODEL_CPB):
        if (directory / name).exists():
            return directory / name
    raise FileNotFoundError(f"no {SAVED_MODEL_PB} or {SAVED_MODEL_PBTXT} in {directory}")


def _read(file: Path, cls: type[M]) -> M:
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise SavedModelError("not a regular file", path=file)
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_MESSAGE_BYTES:
            raise SavedModelError(f"too large: got {size} bytes, want <= {MAX_MESSAGE_BYTES}", path=file)
        data = stream.read()
    return from_text(data, cls, file) if file.suffix == ".pbtxt" else parse(cls, data, file)
