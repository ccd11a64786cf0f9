"""What user code can learn of the export that is running, and what it hands to it: signatures and sub-graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.export.source import Graph, GraphSource, ProtobufSource
from mexport_pb.graph.export_mode import (
    ExportMode,
    context_variable,
    get_current_export_mode,
    is_exporting,
    is_exporting_distributed,
    is_exporting_standalone,
    reset_export_mode,
    set_export_mode,
)
from mexport_pb.messages import PREDICT_METHOD

__all__ = [
    "ExportContext",
    "ExportMode",
    "SavedModelSignature",
    "enter_export_mode",
    "get_current_export_ctx",
    "get_current_export_mode",
    "is_exporting",
    "is_exporting_distributed",
    "is_exporting_standalone",
]

SIGNATURE_NAME_COLLECTION = "signature_name"


@dataclass
class SavedModelSignature:
    """A signature in the making.

    Attributes:
        name: Its key in the model.
        inputs: Tensors of the graph's source, or TensorInfo messages, by key.
        outputs: The same for the outputs.
        method_name: The kind of request that it answers.
    """

    name: str
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    method_name: str = PREDICT_METHOD


class ExportContext:
    """Collects, while a model_fn runs, the signatures of each graph and the sub-graphs of a distributed export.

    Args:
        with_remote_gpu: Whether the dense part of the model goes to a model of its own, for GPU servers.
        source: What makes sub-graphs; an exporter sets its own before it runs a model_fn.
        num_ps: How many parameter servers the export is for, whatever the checkpoint has; None leaves that to model_fn.
    """

    def __init__(
        self, with_remote_gpu: bool = False, *, source: GraphSource | None = None, num_ps: int | None = None
    ) -> None:
        self.with_remote_gpu = with_remote_gpu
        self.num_ps = num_ps
        self.source: GraphSource = source or ProtobufSource()
        self._sub_graphs: dict[str, Graph] = {}
        self._dense_sub_graphs: dict[str, Graph] = {}
        # Graphs need not be hashable, and the context keeps each alive, so its id stays its own.
        self._signatures: dict[int, tuple[Graph, dict[str, SavedModelSignature]]] = {}

    @property
    def sub_graphs(self) -> dict[str, Graph]:
        """The sub-graphs by name."""
        return self._sub_graphs

    @property
    def dense_sub_graphs(self) -> dict[str, Graph]:
        """The dense sub-graphs by name."""
        return self._dense_sub_graphs

    @property
    def sub_graph_num(self) -> int:
        """How many sub-graphs there are, dense ones not counted."""
        return len(self._sub_graphs)

    def sub_graph(self, name: str) -> Graph:
        """The sub-graph of that name, made when first asked for, of the kind that the exporter's source makes."""
        return self._get_or_make(self._sub_graphs, name)

    def dense_sub_graph(self, name: str) -> Graph:
        """The dense sub-graph of that name, made when first asked for."""
        return self._get_or_make(self._dense_sub_graphs, name)

    def add_signature(
        self,
        graph: Graph,
        name: str,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        method_name: str = PREDICT_METHOD,
    ) -> None:
        """Gives ``graph`` a signature; one of the same name is replaced.

        The name also goes to the collection ``signature_name`` of the graph that is being built in, from which warmup
        generation takes its defaults.
        """
        signature = SavedModelSignature(name, dict(inputs), dict(outputs), method_name)
        self._of(graph)[name] = signature
        self.source.add_to_collection(self.source.current_graph(), SIGNATURE_NAME_COLLECTION, name)

    def merge_signature(self, graph: Graph, name: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Adds inputs and outputs to a signature of ``graph``, which is made if it is new."""
        signature = self._of(graph).setdefault(name, SavedModelSignature(name))
        signature.inputs.update(inputs)
        signature.outputs.update(outputs)

    def signatures(self, graph: Graph) -> list[SavedModelSignature]:
        """The signatures of ``graph``, in the order in which they came."""
        return list(self._of(graph).values())

    def _of(self, graph: Graph) -> dict[str, SavedModelSignature]:
        return self._signatures.setdefault(id(graph), (graph, {}))[1]

    def _get_or_make(self, graphs: dict[str, Graph], name: str) -> Graph:
        if name not in graphs:
            graphs[name] = self.source.new_graph()
        return graphs[name]


@contextlib.contextmanager
def enter_export_mode(mode: ExportMode, context: ExportContext | None = None) -> Iterator[ExportContext]:
    """Marks the block as an export, for the code of this thread that asks.

    Args:
        mode: Which export.
        context: Its context; a new one if None.

    Yields:
        The context.

    Raises:
        InvalidArgumentError: An export is running already in this thread.
    """
    if is_exporting():
        raise InvalidArgumentError("export mode can't be nested")
    context = context or ExportContext()
    mode_token, context_token = set_export_mode(mode), context_variable.set(context)
    try:
        yield context
    finally:
        reset_export_mode(mode_token)
        context_variable.reset(context_token)


def get_current_export_ctx() -> ExportContext | None:
    """The context of the export that is running, None if there is none."""
    # Nothing else sets it.
    return cast("ExportContext | None", context_variable.get())
