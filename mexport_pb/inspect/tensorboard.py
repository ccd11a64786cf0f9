"""The graph of a model for TensorBoard; the format is in ``docs/formats/events.md``."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError, SavedModelError, UnsupportedError
from mexport_pb.inspect.model_facts import model_file
from mexport_pb.inspect.targets import find_targets
from mexport_pb.messages.outline import read_outline
from mexport_pb.messages.pieces import field_header
from mexport_pb.messages.saved_model_file import read_saved_model
from mexport_pb.messages.wire import serialize
from mexport_pb.record import RecordWriter
from mexport_pb.table.shards import PathLike

__all__ = ["import_to_tensorboard"]

# Fields of TensorFlow's Event, and of its SourceMetadata.
_WALL_TIME: Final = b"\x09"  # number 1, 8 bytes
_FILE_VERSION: Final = 3
_GRAPH_DEF: Final = 4
_SOURCE_METADATA: Final = 10
_WRITER: Final = 1


def import_to_tensorboard(
    model_dir: PathLike, log_dir: PathLike, tag_set: Iterable[str] | None = None, *, version: int | None = None
) -> list[str]:
    """Write a model's graph, with its functions, into an events file for TensorBoard. TensorFlow is not needed.

    Nodes have the names that they have in the model. Values of large constants are left out: TensorBoard shows none.

    Args:
        model_dir: The directory of a SavedModel, or its ``.pb`` or ``.pbtxt`` file; a folder of versions, of which the
            newest counts; the base of a distributed export, whose sub-models become runs.
        log_dir: Where the file is written; each sub-model has a folder there, of its name. It is made if it is not
            there, and what it has stays: TensorBoard shows the graph of a run that was written last.
        tag_set: The tags of the meta graph, exactly, in any order. Only a model with several needs it.
        version: Which version, for folders of versions.

    Returns:
        The files, in the order of the sub-models. Each appears whole, and none before all are written.

    Raises:
        FileNotFoundError: There is nothing of that name.
        InvalidArgumentError: No meta graph has these tags; ``model_dir`` is no model; there is no such version.
        OSError: The files cannot be read or written.
        SavedModelError: The model is damaged.
        UnsupportedError: There are several meta graphs and no tags; the message lists those that there are. Or a
            chunked ``saved_model.cpb``.
    """
    if isinstance(tag_set, str):
        raise InvalidArgumentError(f"tags: got {tag_set!r}, want a list of strings")
    tags = None if tag_set is None else frozenset(tag_set)
    seconds = int(time.time())
    staged: list[str] = []
    try:
        for target in find_targets(os.fspath(model_dir), version):
            if target.kind != "SavedModel":
                raise InvalidArgumentError(f"{target.path}: got {target.kind}, want a SavedModel")
            graph = _read_graph(target.path, tags)
            folder = os.path.join(os.fspath(log_dir), target.name)
            os.makedirs(folder, exist_ok=True)
            # TensorBoard reads whatever has "tfevents" in its name.
            staged.append(os.path.join(folder, f".mexport-tmp-{secrets.token_hex(8)}"))
            _write_events(staged[-1], graph, seconds)
        return [_publish(file, seconds) for file in staged]
    finally:
        for file in staged:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)


def _read_graph(path: str, tags: frozenset[str] | None) -> bytes:
    file = model_file(path)
    meta_graphs: list[MetaGraphDef]
    if file.endswith(".pbtxt"):
        meta_graphs = list(read_saved_model(file).meta_graphs)
    else:
        outline = read_outline(Path(file))
        if outline.problems:
            raise outline.problems[0]
        meta_graphs = [graph.meta_graph for graph in outline.graphs]
    if not meta_graphs:
        raise SavedModelError("no meta graph in it", path=file)
    return serialize(_choose(meta_graphs, tags, file).graph_def)


def _choose(meta_graphs: list[MetaGraphDef], tags: frozenset[str] | None, file: str) -> MetaGraphDef:
    there = [sorted(meta_graph.meta_info_def.tags) for meta_graph in meta_graphs]
    if tags is None and len(meta_graphs) > 1:
        raise UnsupportedError(f"{file}: got {len(there)} meta graphs, want the tags of one of them: {there}")
    for meta_graph in meta_graphs:
        if tags is None or tags == set(meta_graph.meta_info_def.tags):
            if not meta_graph.HasField("graph_def"):
                raise SavedModelError("no graph in the meta graph", path=file)
            return meta_graph
    raise InvalidArgumentError(f"{file}: no meta graph with these tags: got {sorted(tags or ())}, want one of {there}")


def _write_events(path: str, graph: bytes, seconds: int) -> None:
    wall_time = _WALL_TIME + struct.pack("<d", seconds)
    source = _field(_WRITER, b"mexport_pb")
    with RecordWriter(path) as writer:
        writer.write(wall_time + _field(_FILE_VERSION, b"brain.Event:2") + _field(_SOURCE_METADATA, source))
        writer.write(wall_time + _field(_GRAPH_DEF, graph))
        writer.sync()


def _field(number: int, payload: bytes) -> bytes:
    return field_header(number, len(payload)) + payload


def _publish(staged: str, seconds: int) -> str:
    """Give a file its name. TensorBoard reads the files of a run by their names, so a later one needs a later time."""
    folder = os.path.dirname(staged)
    host = re.sub("[^A-Za-z0-9.-]", "_", socket.gethostname()) or "localhost"
    while True:
        path = os.path.join(folder, f"events.out.tfevents.{seconds:010d}.{host}")
        try:
            os.link(staged, path)  # refuses what is there
        except FileExistsError:
            seconds += 1
        else:
            return path
