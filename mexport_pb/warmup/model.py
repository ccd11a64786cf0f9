"""The model that warmup requests are held against: its signatures and, if it is there, its graph."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SavedModel, SignatureDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages import read_saved_model, select_meta_graph, to_message
from mexport_pb.messages.constants import DEFAULT_SIGNATURE, INIT_OP_SIGNATURE, SERVING_TAG, TRAIN_OP_SIGNATURE

__all__ = ["ModelLike", "WarmupModel"]

ModelLike: TypeAlias = Any
"""A :class:`WarmupModel`, the directory or file of a SavedModel, a SavedModel or MetaGraphDef message, or SignatureDefs
by their keys."""

_RESERVED: Final = (INIT_OP_SIGNATURE, TRAIN_OP_SIGNATURE)


class WarmupModel:
    """What of a model says which requests it takes.

    Attributes:
        signatures: By key, those that a server answers.
        nodes: Of the graph, by name; None if only signatures were given.
    """

    def __init__(self, signatures: Mapping[str, SignatureDef], nodes: Mapping[str, NodeDef] | None = None) -> None:
        self.signatures = {key: signatures[key] for key in sorted(signatures) if key not in _RESERVED}
        self.nodes = nodes

    @classmethod
    def of(cls, model: ModelLike, tags: Iterable[str] = (SERVING_TAG,)) -> WarmupModel:
        """The model of whatever stands for one.

        Args:
            model: See :data:`ModelLike`.
            tags: Which graph of a SavedModel.

        Raises:
            InvalidArgumentError: not a model, or no graph with these tags.
            SavedModelError, FileNotFoundError, UnsupportedError: as ``read_saved_model``.
        """
        if isinstance(model, WarmupModel):
            return model
        if isinstance(model, str | os.PathLike):
            model = read_saved_model(model)
        if isinstance(model, Mapping):
            return cls({key: to_message(signature, SignatureDef) for key, signature in model.items()})
        if isinstance(model, Message) and model.DESCRIPTOR.name == SavedModel.DESCRIPTOR.name:
            saved_model = model if isinstance(model, SavedModel) else to_message(model, SavedModel)
            model = select_meta_graph(saved_model, tags)
        if isinstance(model, Message) and model.DESCRIPTOR.name == MetaGraphDef.DESCRIPTOR.name:
            graph = model if isinstance(model, MetaGraphDef) else to_message(model, MetaGraphDef)
            return cls(dict(graph.signature_def), {node.name: node for node in graph.graph_def.node})
        raise InvalidArgumentError(f"model: got {type(model).__name__}, want a SavedModel or its signatures")

    def signature_key(self, name: str) -> str:
        """The key that a model spec's signature_name means."""
        return name or DEFAULT_SIGNATURE
