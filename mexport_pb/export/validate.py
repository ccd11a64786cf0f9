"""Is this SavedModel directory whole? Asked of a staged export before it is published, and of any model by users."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb.bundle import BundleReader, data_path
from mexport_pb.check import Problem, check_asset_filename, find_saved_model_problems
from mexport_pb.check.sub_models import find_distribution_problems
from mexport_pb.errors import BundleError, InvalidArgumentError, MexportError, ValidationError
from mexport_pb.export.table_check import find_table_problems
from mexport_pb.graph import save_plan
from mexport_pb.graph.checkpoint_match import find_mismatch
from mexport_pb.graph.save_plan import restored_items
from mexport_pb.messages import SERVING_TAG, read_saved_model, select_meta_graph, unpack_asset_file_def
from mexport_pb.messages.constants import ASSET_BASE_FILENAME, ASSETS_COLLECTION, ASSETS_DIRECTORY, VARIABLES_PREFIX
from mexport_pb.table.graph_tables import graph_tables

__all__ = ["CheckReport", "check_fit", "check_saved_model", "check_validation", "replay_staged", "validate_staged"]

VALIDATIONS = ("structure", "restore", "warmup")


@dataclass
class CheckReport:
    """What :func:`check_saved_model` found.

    Attributes:
        path: The directory.
        tag_sets: The tags of each graph.
        signatures: Signature names of all graphs.
        variables: How many tensors the variable index has.
        variable_bytes: The size of the data files, in bytes.
        assets: Files under ``assets/`` that the graphs name.
        problems: All findings; the model is fit to serve when none is an error.
    """

    path: Path
    tag_sets: list[list[str]] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    variables: int = 0
    variable_bytes: int = 0
    assets: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The findings that make the model unfit."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not self.errors

    def raise_if_bad(self) -> None:
        """Raises ValidationError, with every error in its message, unless the model is fit."""
        if self.errors:
            raise ValidationError(f"{self.path}: " + "; ".join(f"{p.where}: {p.message}" for p in self.errors))


def check_saved_model(path: str | os.PathLike[str], *, read_variables: bool = True) -> CheckReport:
    """Checks a SavedModel directory without TensorFlow: messages, signatures, variables and assets.

    Args:
        path: The directory.
        read_variables: Also read every variable and verify its checksum; else only the index and the file sizes.

    Returns:
        The findings; a damaged model is a report with errors, not an exception.

    Raises:
        FileNotFoundError: There is no SavedModel.
        SavedModelError: ``saved_model.pb`` does not parse.
        UnsupportedError: The model is of a kind that cannot be read.
    """
    path = Path(path)
    saved_model = read_saved_model(path)
    report = CheckReport(path)
    report.tag_sets = [list(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
    report.signatures = sorted({name for graph in saved_model.meta_graphs for name in graph.signature_def})
    report.problems += find_saved_model_problems(saved_model)
    _check_variables(path, list(saved_model.meta_graphs), report, read_variables)
    for graph in saved_model.meta_graphs:
        _check_assets(path, graph, report)
        if not report.errors:
            _check_tables(path, graph, report)
    return report


def check_validation(validation: str) -> None:
    """Raises InvalidArgumentError unless there is such a validation."""
    if validation not in VALIDATIONS:
        raise InvalidArgumentError(f"validate: got {validation!r}, want one of {', '.join(VALIDATIONS)}")


def validate_staged(path: Path, validation: str) -> None:
    """Checks a staged model as the exporter was told to.

    Args:
        path: Its directory.
        validation: "structure", "restore" or "warmup"; each does what those before it do.

    Raises:
        ValidationError: The export is not fit to be published.
    """
    # Checksums of the values were verified while they were copied; reading them again would double the cost.
    try:
        report = check_saved_model(path, read_variables=False)
    except MexportError as error:
        raise ValidationError(f"the staged export cannot be read back: {error}") from error
    report.raise_if_bad()
    if validation == "warmup":
        replay_staged({"model": path})
    if validation != "structure":
        from mexport_pb.runtime import execute_restore

        for tags in report.tag_sets:
            # A replay has restored the graph that is served.
            if validation == "restore" or set(tags) != {SERVING_TAG}:
                execute_restore(path, tags=tags)


def check_fit(models: Mapping[str, Path]) -> None:
    """Checks, without TensorFlow, that the models of one version fit one another: docs/serve_check.md.

    Args:
        models: The directory of each model by its name. Calls of models that are not among them are let pass.

    Raises:
        ValidationError: A call asks for a signature, an input, an output or a dtype that the called model has not.
    """
    graphs = {}
    for name, path in models.items():
        try:
            graphs[name] = select_meta_graph(read_saved_model(path), [SERVING_TAG])
        except InvalidArgumentError:  # no graph for servers in it
            continue
    problems = find_distribution_problems(graphs, strangers=True)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ValidationError("the models do not fit together: " + "; ".join(f"{p.where}: {p.message}" for p in errors))


def replay_staged(models: Mapping[str, Path]) -> None:
    """Lets TensorFlow load the models of one version together, and replays their warmup files.

    Args:
        models: The directory of each model by its name: the entry under "entry", and all that it calls; or one model
            under any name. The entry must have a warmup file, the others may.

    Raises:
        ValidationError: A model cannot be loaded, the models do not fit together, or a record fails, the first of which
            is named; or there is no record.
    """
    from mexport_pb.runtime import replay_warmup

    try:
        report = replay_warmup(models, stop_at_failure=True)
    except InvalidArgumentError as error:
        raise ValidationError(f"validate='warmup': {error}") from error
    report.raise_if_bad()


def _check_variables(path: Path, graphs: list[MetaGraphDef], report: CheckReport, read: bool) -> None:
    prefix = path / VARIABLES_PREFIX
    savers = [graph for graph in graphs if graph.HasField("saver_def")]
    if not Path(f"{prefix}.index").exists():
        if any(graph.saver_def.version == SaverDef.V2 for graph in savers):
            report.problems.append(Problem("error", f"{prefix}.index", "is missing, but the graph has a saver"))
        elif savers:
            message = "is missing; the graph's saver may be of checkpoint format V1, which is not read here"
            report.problems.append(Problem("warning", f"{prefix}.index", message))
        return
    report.variable_bytes = sum(file.stat().st_size for file in path.glob(f"{VARIABLES_PREFIX}.data-*"))
    try:
        with BundleReader(prefix) as reader:
            keys = reader.keys()
            report.variables = len(keys)
            _check_data_files(reader, prefix)
            if read:
                reader.verify()
            for graph in savers:
                _check_saver(graph, reader, prefix, report)
    except (MexportError, OSError) as error:
        report.problems.append(Problem("error", str(prefix), str(error)))


def _check_data_files(reader: BundleReader, prefix: Path) -> None:
    """Every data file is there and long enough for what the index says of it.

    Raises:
        BundleError: A file is too short.
        OSError: A file is missing.
    """
    ends = [0] * reader.num_shards
    for key in reader.keys():  # noqa: SIM118 - a reader is no mapping
        entry = reader.entry(key)
        for stored in [part for _, part in reader.stored(key, entry)] if entry.slices else [entry]:
            ends[stored.shard_id] = max(ends[stored.shard_id], stored.offset + stored.size)
    for shard, end in enumerate(ends):
        path = data_path(prefix, shard, reader.num_shards)
        size = os.path.getsize(path)
        if size < end:
            raise BundleError(f"the data file is too short: got {size} bytes, want {end}", path=path, offset=size)


def _check_saver(graph: MetaGraphDef, reader: BundleReader, prefix: Path, report: CheckReport) -> None:
    def add(message: str) -> None:
        report.problems.append(Problem("error", str(prefix), message))

    # Both halves of the saver: loaders run the one that restores.
    for item in dict.fromkeys([*save_plan(graph).items, *restored_items(graph)]):
        if item.key not in reader:
            add(f"variable {item.key!r} of the graph is missing")
        elif mismatch := find_mismatch(item, reader):
            add(f"variable {item.key!r}: {mismatch}")


def _check_tables(path: Path, graph: MetaGraphDef, report: CheckReport) -> None:
    folder = path / ASSETS_DIRECTORY
    files = [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
    try:
        graph_tables(graph)
    except MexportError as error:
        report.problems.append(Problem("error", "embedding tables", str(error)))
        return
    for problem in find_table_problems(graph, files):
        where = f"embedding table {problem.node!r}"
        report.problems.append(Problem("warning" if problem.outside else "error", where, problem.message))


def _check_assets(path: Path, graph: MetaGraphDef, report: CheckReport) -> None:
    assets: list[Any] = list(graph.asset_file_def)
    if not assets and ASSETS_COLLECTION in graph.collection_def:
        packed = graph.collection_def[ASSETS_COLLECTION].any_list.value
        try:
            assets = [unpack_asset_file_def(value) for value in packed]
        except MexportError as error:
            report.problems.append(Problem("error", ASSETS_COLLECTION, str(error)))
            return
    for asset in assets:
        if asset.filename == ASSET_BASE_FILENAME:
            continue
        try:
            check_asset_filename(asset.filename)
        except MexportError as error:
            report.problems.append(Problem("error", ASSETS_DIRECTORY, str(error)))
            continue
        if not (path / ASSETS_DIRECTORY / asset.filename).is_file():
            report.problems.append(Problem("error", f"{ASSETS_DIRECTORY}/{asset.filename}", "is missing"))
        elif asset.filename not in report.assets:
            report.assets.append(asset.filename)
