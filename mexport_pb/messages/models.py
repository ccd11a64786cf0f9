"""MetaGraphDef and SavedModel: a graph with all that is needed to load it, and the file's content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import OpList
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.constants import SCHEMA_VERSION
from mexport_pb.messages.wire import to_message

__all__ = ["make_meta_graph_def", "make_saved_model"]

M = TypeVar("M", bound=Message)


def make_meta_graph_def(
    graph_def: Message,
    *,
    tags: Iterable[str],
    signatures: Mapping[str, Message] | None = None,
    collections: Mapping[str, Message] | None = None,
    op_list: Message | None = None,
    saver_def: Message | None = None,
    tensorflow_version: str = "",
    git_version: str = "",
    stripped_default_attrs: bool = False,
) -> MetaGraphDef:
    """A MetaGraphDef. Messages may be ours or TensorFlow's; all are copied.

    Args:
        graph_def: A GraphDef.
        tags: By which a loader chooses this graph; kept in order.
        signatures: SignatureDef by key.
        collections: CollectionDef by key.
        op_list: The OpDefs that the graph needs (OpList); sorted by name here.
        saver_def: How variables are restored (SaverDef); without one, loaders restore nothing.
        tensorflow_version: Of the TensorFlow that the graph was made for, e.g. "2.21.0".
        git_version: The same as a commit.
        stripped_default_attrs: Attributes that equal their default were taken out of graph_def.

    Raises:
        InvalidArgumentError: an argument is a message of another kind.
    """
    if isinstance(tags, str):
        raise InvalidArgumentError(f"tags: got {tags!r}, want a list of strings")
    meta_graph = MetaGraphDef()
    info = meta_graph.meta_info_def
    info.tags.extend(tags)
    info.tensorflow_version = tensorflow_version
    info.tensorflow_git_version = git_version
    info.stripped_default_attrs = stripped_default_attrs
    if op_list is not None:
        ops = to_message(op_list, OpList).op
        info.stripped_op_list.op.extend(sorted(ops, key=lambda op: op.name))
        info.stripped_op_list.SetInParent()
    _copy(graph_def, meta_graph.graph_def)
    if saver_def is not None:
        _copy(saver_def, meta_graph.saver_def)
    for key, collection in sorted((collections or {}).items()):
        _copy(collection, meta_graph.collection_def[key])
    for key, signature in sorted((signatures or {}).items()):
        _copy(signature, meta_graph.signature_def[key])
    return meta_graph


def make_saved_model(meta_graphs: Iterable[Message]) -> SavedModel:
    """The content of a saved_model.pb: one or several MetaGraphDefs, which are copied in their order."""
    saved_model = SavedModel(saved_model_schema_version=SCHEMA_VERSION)
    for meta_graph in meta_graphs:
        _copy(meta_graph, saved_model.meta_graphs.add())
    return saved_model


def _copy(source: Message, target: M) -> None:
    target.CopyFrom(source if isinstance(source, type(target)) else to_message(source, type(target)))
