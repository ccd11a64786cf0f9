"""The meta graph of a frozen export: constants for variables, and the global step for the saver's sake."""

from __future__ import annotations

from collections.abc import Mapping

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef, SignatureDef
from mexport_pb.export.checkpoint import GLOBAL_STEP
from mexport_pb.export.writer import Path_
from mexport_pb.graph import GraphBuilder, add_main_op, add_saver, freeze
from mexport_pb.graph.freeze_import import rewrite_as_imported
from mexport_pb.graph.names import names_and_scopes

__all__ = ["frozen_meta_graph"]


def frozen_meta_graph(
    meta_graph: MetaGraphDef, signatures: Mapping[str, SignatureDef], checkpoint: Path_ | None
) -> MetaGraphDef:
    """Freezes a graph, and adds the variable ``global_step`` with its saver, and a main op.

    A graph of which a signature needs the global step has it as a constant of that name, and no variable.

    Args:
        meta_graph: The whole graph; it gets the signatures.
        signatures: SignatureDef by key.
        checkpoint: Prefix of the checkpoint with the values.

    Raises:
        MexportError: As :func:`mexport_pb.freeze`.
    """
    for name, signature in signatures.items():
        meta_graph.signature_def[name].CopyFrom(signature)
    frozen = freeze(meta_graph, checkpoint)
    rewrite_as_imported(frozen.graph_def, meta_graph.graph_def)
    names = {node.name for node in frozen.graph_def.node}
    if GLOBAL_STEP not in names:
        builder = GraphBuilder(names_in_use=names_and_scopes(names))
        builder.global_step()
        built = builder.to_meta_graph()
        frozen.graph_def.node.extend(built.graph_def.node)
        for key, collection in built.collection_def.items():
            frozen.collection_def[key].CopyFrom(collection)
        frozen = add_saver(frozen)
    return add_main_op(frozen, name="NoOp")
