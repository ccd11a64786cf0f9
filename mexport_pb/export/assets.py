"""Files that go into an export: assets that the graph names, and extra files beside the model.

The naming rule of :func:`resolve_assets` is the one of ``tf.compat.v1.saved_model.Builder``: see
docs/formats/saved_model.md.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import AssetFileDef, MetaGraphDef
from mexport_pb.check import check_asset_filename
from mexport_pb.errors import InvalidArgumentError, MismatchError
from mexport_pb.export.file_copy import copy_file
from mexport_pb.messages import (
    make_asset_file_def,
    pack_asset_file_def,
    tensor_proto_to_array,
    unpack_asset_file_def,
)
from mexport_pb.messages.constants import ASSET_BASE_FILENAME, ASSET_FILEPATHS_COLLECTION, ASSETS_COLLECTION

__all__ = ["ResolvedAssets", "check_extra_files", "copy_files", "resolve_assets"]


@dataclass(frozen=True)
class ResolvedAssets:
    """What :func:`resolve_assets` found.

    Attributes:
        files: Source by name under ``assets/``.
        used: Which of the given names that took.
    """

    files: dict[str, str]
    used: frozenset[str]


def resolve_assets(
    meta_graph: MetaGraphDef,
    files: Mapping[str, str | os.PathLike[str]] | None = None,
    made: Collection[str] = (),
) -> ResolvedAssets:
    """Gives every asset of a graph a name under ``assets/`` and finds its source.

    Tensors of the collection ``asset_filepaths`` are Consts that hold the path of their source. Each gets an
    AssetFileDef in the collection ``saved_model_assets``, named by the path's last component; where two sources of
    different content clash, the later one becomes ``name_1``, ``name_2``, …

    Args:
        meta_graph: The graph; it gets the AssetFileDefs.
        files: Sources by file name, of the AssetFileDefs that the graph has already. A source under the last component
            of a path in the graph, or under the tensor's name ("asset:0"), takes that path's place, which is often one
            of the training job's machine. Names that the graph does not have are left alone.
        made: Names of files that somebody else makes, who needs them under these very names: assets of these names
            have no source.

    Raises:
        InvalidArgumentError: A tensor of the collection is not a Const with one non-empty string, or a name is illegal.
        MismatchError: A source is missing or no file, or an AssetFileDef has no source.
    """
    given = {name: os.fspath(path) for name, path in (files or {}).items()}
    sources: dict[str, str] = {}
    used: set[str] = set()
    named = _asset_file_defs(meta_graph)
    for name in sorted({asset.filename for asset in named} - {ASSET_BASE_FILENAME, *made}):
        if name not in given:
            raise MismatchError(f"the graph has an asset {name!r}, but no file was given for it")
        check_asset_filename(name)
        sources[name] = _checked_source(name, given[name])
        used.add(name)
    # A tensor that is listed twice, or that has its AssetFileDef already, is one asset: the C++ loader refuses to feed
    # a tensor twice.
    settled = {asset.tensor_info.name for asset in named}
    tensors = [tensor for tensor in dict.fromkeys(_asset_tensors(meta_graph)) if tensor not in settled]
    nodes = {node.name: node for node in meta_graph.graph_def.node} if tensors else {}
    for tensor in tensors:
        path = _path_of(tensor, nodes)
        base = os.path.basename(path)
        if base in made:
            if path != base or base in given or tensor in given:
                raise InvalidArgumentError(f"asset {tensor!r}: {base!r} is the name of a table's file")
            check_asset_filename(base)
            asset = pack_asset_file_def(make_asset_file_def(tensor, base))
            meta_graph.collection_def[ASSETS_COLLECTION].any_list.value.append(asset)
            continue
        override = next((name for name in (tensor, base) if name in given), None)
        if override is not None:
            path = given[override]
            used.add(override)
        name = _unique_name(base, _checked_source(tensor, path), sources)
        sources[name] = path
        # An AssetFileDef of this graph names the tensor alone; its dtype and shape stay in the graph.
        asset = pack_asset_file_def(make_asset_file_def(tensor, name))
        meta_graph.collection_def[ASSETS_COLLECTION].any_list.value.append(asset)
    return ResolvedAssets(sources, frozenset(used))


def check_extra_files(files: Mapping[str, str | os.PathLike[str]]) -> dict[str, str]:
    """Checks destinations (paths relative to ``assets.extra/``) and sources of extra files.

    Raises:
        InvalidArgumentError: A destination is absolute, empty, or leaves the folder.
        MismatchError: A source is missing or no file.
    """
    checked: dict[str, str] = {}
    for destination, source in files.items():
        parts = PurePosixPath(destination).parts
        if not parts or str(PurePosixPath(destination)) != destination:
            raise InvalidArgumentError(f"extra asset {destination!r}: want a relative path in its shortest form")
        for part in parts:
            check_asset_filename(part)
        checked[destination] = _checked_source(destination, os.fspath(source))
    for destination in checked:
        for folder in map(str, PurePosixPath(destination).parents):
            if folder in checked:
                raise InvalidArgumentError(f"extra asset {destination!r}: {folder!r} is an extra asset itself")
    return checked


def copy_files(files: Mapping[str, str], folder: Path, check: Callable[[], None] | None = None) -> None:
    """Copies files into a new folder, by destination; the kernel moves the bytes. Does nothing without files.

    Args:
        files: Source by destination.
        folder: The new folder.
        check: Called now and then; may raise to give the rest up.
    """
    for destination in sorted(files):
        target = folder / destination
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(files[destination], target, check=check)


def _asset_tensors(meta_graph: MetaGraphDef) -> list[str]:
    # A look-up in a protobuf map would make the entry.
    if ASSET_FILEPATHS_COLLECTION not in meta_graph.collection_def:
        return []
    return list(meta_graph.collection_def[ASSET_FILEPATHS_COLLECTION].node_list.value)


def _asset_file_defs(meta_graph: MetaGraphDef) -> list[AssetFileDef]:
    assets = list(meta_graph.asset_file_def)
    if ASSETS_COLLECTION in meta_graph.collection_def:
        packed = meta_graph.collection_def[ASSETS_COLLECTION].any_list.value
        assets += [unpack_asset_file_def(value) for value in packed]
    return assets


def _path_of(tensor: str, nodes: Mapping[str, NodeDef]) -> str:
    node = nodes.get(tensor.partition(":")[0])
    if node is None:
        raise InvalidArgumentError(f"asset tensor {tensor!r}: no such node in the graph")
    if node.op != "Const":
        raise InvalidArgumentError(f"asset tensor {tensor!r}: got an operation {node.op}, want a Const with a path")
    values = tensor_proto_to_array(node.attr["value"].tensor)
    # The size comes first: a small proto may stand for a huge array of equal elements.
    path = values.item() if values.size == 1 else None
    if not isinstance(path, bytes) or not path:
        raise InvalidArgumentError(
            f"asset tensor {tensor!r}: want one string that is not empty, got an array of {values.size}"
        )
    return os.fsdecode(path)


def _checked_source(name: str, path: str) -> str:
    if not os.path.isfile(path):
        reason = "is a directory" if os.path.isdir(path) else "does not exist"
        raise MismatchError(f"asset {name!r}: its source {path} {reason}")
    return path


def _unique_name(base: str, path: str, sources: Mapping[str, str]) -> str:
    check_asset_filename(base)
    if base not in sources:
        return base
    # Only the file that has the plain name is compared: a third file equal to name_1 becomes name_2.
    known = sources[base]
    if known == path or filecmp.cmp(known, path, shallow=False):
        return base
    suffix = 1
    while f"{base}_{suffix}" in sources:
        suffix += 1
    return f"{base}_{suffix}"
