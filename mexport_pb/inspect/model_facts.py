"""Gathering the facts of whatever a path names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.check import check_asset_filename
from mexport_pb.errors import MexportError
from mexport_pb.inspect.bundle_facts import bundle_facts
from mexport_pb.inspect.facts import AssetFacts, Damage, ModelFacts, SizePart, TableFacts
from mexport_pb.inspect.graph_facts import asset_defs, graph_facts
from mexport_pb.inspect.table_facts import table_facts
from mexport_pb.inspect.targets import Target, find_targets
from mexport_pb.inspect.warmup_facts import warmup_facts
from mexport_pb.messages.constants import (
    ASSET_BASE_FILENAME,
    ASSETS_DIRECTORY,
    ASSETS_EXTRA_DIRECTORY,
    SAVED_MODEL_CPB,
    SAVED_MODEL_PB,
    SAVED_MODEL_PBTXT,
    VARIABLES_PREFIX,
    WARMUP_FILENAME,
)
from mexport_pb.messages.outline import FRAMING, SavedModelOutline, read_outline
from mexport_pb.messages.saved_model_file import read_saved_model
from mexport_pb.table.multi import meta_basename
from mexport_pb.table.shards import PathLike, group_shards

__all__ = ["describe", "describe_target", "model_file"]

_MAX_DEPTH = 50  # of folders that are told of one by one


def describe(path: PathLike, *, version: int | None = None, read_values: bool = True) -> list[ModelFacts]:
    """Tell what is in a SavedModel, a bundle, or embedding tables, without TensorFlow and in flat memory.

    Damage does not end it: what is whole is told, and what is not stands in ``damages``.

    Args:
        path: The directory of a SavedModel (of TensorFlow 1 or 2), or its ``.pb`` or ``.pbtxt`` file; a folder of
            versions, of which the newest counts; the base of a distributed export; the prefix or the index of a bundle;
            a basename or a file of a dump of tables.
        version: Which version, for folders of versions.
        read_values: Read all values of variables and all entries of tables. Without it checksums are not compared,
            and tables are told of only by their files.

    Returns:
        The facts; of a distributed export those of each sub-model, the entry first.

    Raises:
        FileNotFoundError: There is nothing of that name.
        InvalidArgumentError: There is no such version.
        SavedModelError, TableError: There is nothing in the folder that can be shown.
        UnsupportedError: A chunked ``saved_model.cpb``.
    """
    targets = find_targets(os.fspath(path), version)
    return [describe_target(target, read_values=read_values) for target in targets]


def describe_target(target: Target, *, read_values: bool = True) -> ModelFacts:
    """Tell what is in one of the things that a path means; see :func:`describe`."""
    facts = ModelFacts(target.name, target.path, target.kind)
    if target.kind == "bundle":
        facts.variables, sizes = bundle_facts(target.path, facts.damages, read_values=read_values)
        facts.variables_checked = read_values
        facts.sizes = SizePart.of(os.path.basename(target.path), list(sizes.values()))
    elif target.kind == "tables":
        part = _table_set(target.path, facts, read_values=read_values)
        facts.sizes = part if part is not None else SizePart(os.path.basename(target.path), 0)
    else:
        _describe_model(facts, read_values=read_values)
    return facts


def model_file(path: str) -> str:
    """The file of a SavedModel: of a directory saved_model.pb before saved_model.pbtxt, as loaders have it.

    Raises:
        UnsupportedError: A chunked SavedModel.
    """
    names = (SAVED_MODEL_PB, SAVED_MODEL_PBTXT, SAVED_MODEL_CPB)
    file = path
    if os.path.isdir(path):
        file = next(full for name in names if os.path.lexists(full := os.path.join(path, name)))
    if file.endswith(".cpb"):
        read_saved_model(file)  # says why it is refused
    return file


def _describe_model(facts: ModelFacts, *, read_values: bool) -> None:
    file = model_file(facts.path)
    sizes: dict[str, SizePart] = {}
    graphs: list[MetaGraphDef] = []
    try:
        sizes[file] = _read_graphs(file, facts, graphs)
    except (MexportError, OSError) as error:
        facts.damages.append(Damage(file, str(error)))
    if not os.path.isdir(facts.path):
        _add_assets(facts, graphs, file, [], None)
        facts.sizes = sizes.get(file) or _file_part(file)
        return
    prefix = os.path.join(facts.path, VARIABLES_PREFIX)
    if os.path.lexists(f"{prefix}.index"):
        facts.variables, of_bundle = bundle_facts(prefix, facts.damages, read_values=read_values)
        facts.variables_checked = read_values
        sizes.update(of_bundle)
    elif any(graph.saver for graph in facts.graphs):
        facts.damages.append(Damage(f"{prefix}.index", "is missing, but the graph has a saver"))
    assets = os.path.join(facts.path, ASSETS_DIRECTORY)
    groups, others = _asset_groups(assets, facts, graphs, file, read_values=read_values)
    _add_assets(facts, graphs, file, others, assets)
    warmup = os.path.join(facts.path, ASSETS_EXTRA_DIRECTORY, WARMUP_FILENAME)
    if os.path.isfile(warmup):
        facts.warmup, parts = warmup_facts(warmup, facts.damages)
        sizes[warmup] = _explained(_file_part(warmup), parts, "not read")
    facts.sizes = _folder(facts.path, os.path.basename(os.path.abspath(facts.path)), sizes, {assets: groups})


def _read_graphs(file: str, facts: ModelFacts, graphs: list[MetaGraphDef]) -> SizePart:
    if file.endswith(".pbtxt"):
        for meta_graph in read_saved_model(file).meta_graphs:
            graphs.append(meta_graph)
            facts.graphs.append(graph_facts(meta_graph, None, file, facts.damages))
        return _file_part(file)
    outline = read_outline(Path(file))
    facts.damages += [Damage(file, str(problem)) for problem in outline.problems]
    for one in outline.graphs:
        graphs.append(one.meta_graph)
        facts.graphs.append(graph_facts(one.meta_graph, one.sizes, file, facts.damages))
    if not graphs:
        facts.damages.append(Damage(file, f"{file}: no meta graph in it"))
    return _outline_part(outline, os.path.basename(file))


def _outline_part(outline: SavedModelOutline, name: str) -> SizePart:
    graphs = []
    for number, one in enumerate(outline.graphs):
        parts = [
            SizePart.of(key, [SizePart(*item) for item in one.collections.items()])
            if key == "collections"
            else SizePart(key, size)
            for key, size in one.sizes.items()
        ]
        graphs.append(SizePart.of(f"meta graph {number}", parts))
    rest = [SizePart(FRAMING if graphs else "not a SavedModel", outline.rest)] if outline.rest else []
    if len(graphs) == 1:
        return SizePart.of(name, _merged([*graphs[0].parts, *rest]))
    return SizePart.of(name, [*graphs, *rest])


def _merged(parts: Iterable[SizePart]) -> list[SizePart]:
    """With one part of each name; those that are made of others have names of their own."""
    found: dict[str, SizePart] = {}
    for part in parts:
        other = found.get(part.name)
        found[part.name] = part if other is None else SizePart(part.name, part.bytes + other.bytes)
    return list(found.values())


def _asset_groups(
    folder: str, facts: ModelFacts, graphs: list[MetaGraphDef], file: str, *, read_values: bool
) -> tuple[dict[str, SizePart], list[str]]:
    """Sizes of sets of files of tables by what their names begin with, and the files that are of none."""
    names = [entry.name for entry in os.scandir(folder)] if os.path.isdir(folder) else []
    sets = group_shards(names)
    wanted = {prefix for graph in facts.graphs for table in graph.tables for prefix in table.prefixes}
    asset_names = {asset.filename for graph in graphs for asset in asset_defs(graph, file, [])}
    groups: dict[str, SizePart] = {}
    others = set(names)
    for base in sorted(sets):
        if base.endswith(".meta") and base.removesuffix(".meta") in sets:
            continue
        own = {name for name, _, _ in (*sets[base], *sets.get(meta_basename(base), []))}
        # A set of files that no table of the graph has may be anything.
        doubtful = base not in wanted and bool(own & asset_names or not wanted)
        part = _table_set(os.path.join(folder, base), facts, read_values=read_values, doubtful=doubtful)
        if part is not None:
            groups[base] = part
            others -= own
    return groups, sorted(others)


def _table_set(base: str, facts: ModelFacts, *, read_values: bool, doubtful: bool = False) -> SizePart | None:
    """The sizes of a set of files; None for a doubtful one that is none of tables."""
    found: list[TableFacts] = []
    try:
        if read_values:
            found.extend(table_facts(base))
    except (MexportError, OSError) as error:
        if doubtful and not found:
            return None
        facts.damages.append(Damage(base, str(error)))
    facts.tables += found
    files = [_file_part(path) for path in _set_files(base)]
    whole = SizePart.of(os.path.basename(base), files)
    if len(found) == 1 and found[0].parts is not None and found[0].info.table is None:
        return _explained(whole, [SizePart(*item) for item in found[0].parts.items()], "not read")
    return whole


def _set_files(base: str) -> list[str]:
    folder, name = os.path.split(base)
    groups = group_shards(os.listdir(folder or "."))
    names = [*groups.get(name, []), *groups.get(meta_basename(name), [])]
    # A file of columns, or one of a set by its name.
    return [os.path.join(folder, file) for file, _, _ in names] or [base]


def _add_assets(
    facts: ModelFacts, graphs: list[MetaGraphDef], file: str, others: list[str], folder: str | None
) -> None:
    """The files of `others`, and those that the graphs name; `folder` is None where there is only the graph."""
    tensors: dict[str, list[str]] = {name: [] for name in others}
    for graph in graphs:
        for asset in asset_defs(graph, file, facts.damages):
            if asset.filename != ASSET_BASE_FILENAME:
                tensors.setdefault(asset.filename, []).append(asset.tensor_info.name)
    for name, of_it in sorted(tensors.items()):
        size = None
        try:
            check_asset_filename(name)
            if folder is not None:
                size = os.lstat(os.path.join(folder, name)).st_size
        except MexportError as error:
            facts.damages.append(Damage(file, str(error)))
        except OSError:
            facts.damages.append(Damage(f"{folder}/{name}", "is missing, and a graph names it"))
        facts.assets.append(AssetFacts(name, size, tuple(sorted(set(of_it)))))


def _explained(whole: SizePart, parts: list[SizePart], rest: str) -> SizePart:
    """A part by what it is made of, as far as that is known."""
    left = whole.bytes - sum(part.bytes for part in parts)
    if left < 0:
        return whole  # the file grew or shrank meanwhile
    return SizePart(whole.name, whole.bytes, (*parts, SizePart(rest, left)) if left else tuple(parts))


def _file_part(path: str) -> SizePart:
    try:
        return SizePart(os.path.basename(path), os.lstat(path).st_size)
    except OSError:
        return SizePart(os.path.basename(path), 0)


def _folder(
    path: str, name: str, known: Mapping[str, SizePart], groups: Mapping[str, Mapping[str, SizePart]], depth: int = 0
) -> SizePart:
    """All files below a folder; links count with their own size."""
    if depth > _MAX_DEPTH:
        files = (os.path.join(folder, file) for folder, _, names in os.walk(path) for file in names)
        return SizePart(name, sum(_file_part(file).bytes for file in files))
    parts: list[SizePart] = []
    own = dict(groups.get(path, {}))
    grouped = {os.path.basename(file) for base in own for file in _set_files(os.path.join(path, base))}
    for entry in sorted(os.listdir(path)):
        full = os.path.join(path, entry)
        if entry in grouped:
            continue
        mode = os.lstat(full).st_mode
        if stat.S_ISDIR(mode):
            parts.append(_folder(full, f"{entry}/", known, groups, depth + 1))
        else:
            # A link takes little, whatever it leads to.
            parts.append(known[full] if full in known and not stat.S_ISLNK(mode) else _file_part(full))
    return SizePart.of(name, [*parts, *own.values()])
