"""Drop from a meta graph's collections and assets what names nodes that are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from mexport_pb._proto.saved_model_pb2 import AssetFileDef, CollectionDef, MetaGraphDef
from mexport_pb._proto.variable_pb2 import VariableDef
from mexport_pb.graph.graph_variables import variable_defs
from mexport_pb.graph.index import node_of
from mexport_pb.messages import unpack_asset_file_def
from mexport_pb.messages.constants import (
    ASSETS_COLLECTION,
    GLOBAL_STEP_COLLECTION,
    LOCAL_VARIABLES_COLLECTION,
    TRAINABLE_VARIABLES_COLLECTION,
    VARIABLES_COLLECTION,
)

__all__ = ["VARIABLE_COLLECTIONS", "assets_of", "keep_assets", "keep_collections"]

VARIABLE_COLLECTIONS: Final = frozenset(
    {
        VARIABLES_COLLECTION,
        TRAINABLE_VARIABLES_COLLECTION,
        LOCAL_VARIABLES_COLLECTION,
        GLOBAL_STEP_COLLECTION,
        "model_variables",
        "metric_variables",
        "moving_average_variables",
    }
)
"""Collections of VariableDefs."""

# Descriptions of a graph to those who extend it. A loader fails on one that names a missing node.
_FOR_BUILDERS: Final = frozenset({"cond_context", "while_context", "queue_runners", "savers"})


def assets_of(meta_graph: MetaGraphDef) -> list[AssetFileDef]:
    """Return the assets of a meta graph, of the field and of the collection.

    Raises:
        SavedModelError: the collection is damaged.
    """
    packed = meta_graph.collection_def[ASSETS_COLLECTION].any_list.value if _has_assets(meta_graph) else []
    return [*meta_graph.asset_file_def, *(unpack_asset_file_def(one) for one in packed)]


def _has_assets(meta_graph: MetaGraphDef) -> bool:
    return ASSETS_COLLECTION in meta_graph.collection_def


def keep_assets(meta_graph: MetaGraphDef, present: Collection[str]) -> None:
    """Drop the assets of which the tensor is gone. Changes the message that is given.

    Raises:
        SavedModelError: the collection is damaged.
    """
    kept = [asset for asset in meta_graph.asset_file_def if node_of(asset.tensor_info.name) in present]
    del meta_graph.asset_file_def[:]
    meta_graph.asset_file_def.extend(kept)
    if not _has_assets(meta_graph):
        return
    collection = meta_graph.collection_def[ASSETS_COLLECTION]
    left = [one for one in collection.any_list.value if node_of(unpack_asset_file_def(one).tensor_info.name) in present]
    rebuilt = CollectionDef(any_list=CollectionDef.AnyList(value=left))
    if left:
        collection.CopyFrom(rebuilt)
    else:
        del meta_graph.collection_def[ASSETS_COLLECTION]


def keep_collections(meta_graph: MetaGraphDef, present: Collection[str], renamed: Mapping[str, str]) -> None:
    """Drop the entries that name a missing node, and collections that are empty then. Changes the given message.

    Args:
        meta_graph: To be changed.
        present: The nodes that are left.
        renamed: New names of tensors.

    Raises:
        SavedModelError: a collection of variables is damaged.
    """
    for key in sorted(meta_graph.collection_def):
        if key in _FOR_BUILDERS:
            del meta_graph.collection_def[key]
        elif key in VARIABLE_COLLECTIONS:
            _keep_variables(meta_graph, key, present)
        elif meta_graph.collection_def[key].HasField("node_list"):
            _keep_nodes(meta_graph, key, present, renamed)


def _keep_variables(meta_graph: MetaGraphDef, key: str, present: Collection[str]) -> None:
    definitions = variable_defs(meta_graph, key)
    if definitions is None:
        return
    entries = meta_graph.collection_def[key].bytes_list.value
    left = [
        data
        for data, definition in zip(entries, definitions, strict=True)
        if all(name in present for name in _all_nodes(definition))
    ]
    if left:
        del entries[:]
        entries.extend(left)
    else:
        del meta_graph.collection_def[key]


def _all_nodes(definition: VariableDef) -> set[str]:
    names = {
        definition.variable_name,
        definition.initializer_name,
        definition.snapshot_name,
        definition.initial_value_name,
    }
    return {node_of(name) for name in names if name}


def _keep_nodes(meta_graph: MetaGraphDef, key: str, present: Collection[str], renamed: Mapping[str, str]) -> None:
    values = meta_graph.collection_def[key].node_list.value
    left = [f"{renamed[name]}:0" if name in renamed else name for name in values]
    left = [name for name in left if node_of(name) in present]
    if left:
        del values[:]
        values.extend(left)
    else:
        del meta_graph.collection_def[key]
