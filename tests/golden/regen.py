#!/usr/bin/env python3
"""Golden exports: ``--check`` compares them with what we write now, ``--update`` rewrites them.

A release has a folder, a case a folder in it:

    <version>/<case>/export/            the export, as it must be
    <version>/<case>/saved_model.pbtxt  its message as text, for people and for diffs
    <version>/<case>/input/             MetaGraphDefs, checkpoint and options of a graph that TensorFlow made
    <version>/inputs.sha256             checksums of these, for ``sha256sum --check``

Cases without ``input/`` are built by graphs.py. Where there is one, ``export/`` is what TensorFlow's Builder wrote;
``--update`` leaves that alone, and ``--update --inputs`` makes both anew from tests/corpus, which needs TensorFlow. A
change of bytes within a release is a mistake, unless the changelog says otherwise. Exits 1 if ``--check`` finds a
difference, or anything that does not belong here.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent
sys.path.insert(0, str(GOLDEN.parents[1]))

from google.protobuf.message import DecodeError  # noqa: E402

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto.saved_model_pb2 import SavedModel  # noqa: E402
from mexport_pb.errors import MexportError  # noqa: E402
from mexport_pb.messages import read_meta_graph, serialize, to_text  # noqa: E402
from tests.golden.graphs import GRAPHS, Case  # noqa: E402

__all__ = [
    "FROM_TENSORFLOW",
    "VERSION",
    "case_names",
    "check",
    "check_inputs",
    "find_strays",
    "read_files",
    "write_export",
]

VERSION = ".".join(mx.__version__.split(".")[:2])
FROM_TENSORFLOW = (
    "string_variables",
    "options_clear_strip",
    "parts_from_whole",
    "cond_version_2",
    "many_signatures",
    "collections_of_nodes",
    "two_meta_graphs_of_two_graphs",
)
_CHECKSUMS = "inputs.sha256"
_MAX_LINES = 60


def case_names() -> list[str]:
    """The cases of this release."""
    return [*FROM_TENSORFLOW, *GRAPHS]


def read_files(export: Path) -> dict[str, bytes]:
    """Contents by relative path."""
    return {p.relative_to(export).as_posix(): p.read_bytes() for p in sorted(export.rglob("*")) if p.is_file()}


def write_export(name: str, work: Path) -> Path:
    """Writes the export of a case from its committed input; returns its folder, below ``work``."""
    case = GRAPHS[name](work) if name in GRAPHS else _read_input(GOLDEN / VERSION / name / "input")
    return mx.write_saved_model(case.meta_graphs, work / "export", case.checkpoint, **case.options)


def _read_input(folder: Path) -> Case:
    options = json.loads((folder / "options.json").read_text())
    graphs = [read_meta_graph(path) for path in sorted(folder.glob("graph-*.pb"))]
    checkpoint = folder / "model.ckpt"
    return Case(graphs, checkpoint if (folder / "model.ckpt.index").exists() else None, options)


def check(name: str) -> list[str]:
    """What differs between a golden export and what we write now; empty if nothing does."""
    folder = GOLDEN / VERSION / name
    with tempfile.TemporaryDirectory() as work:
        try:
            got = read_files(write_export(name, Path(work)))
        except (MexportError, OSError) as error:
            return [f"{name}: cannot be written any more: {error}"]
    want = read_files(folder / "export")
    problems = [f"{name}/{path}: is not written any more" for path in sorted(want.keys() - got.keys())]
    problems += [f"{name}/{path}: is new" for path in sorted(got.keys() - want.keys())]
    for path in sorted(want.keys() & got.keys()):
        if want[path] != got[path]:
            problems.append(f"{name}/{path}: {_describe(path, want[path], got[path])}")
    text = folder / "saved_model.pbtxt"
    if not text.exists() or text.read_text() != _text(want.get("saved_model.pb", b"")):
        problems.append(f"{name}/saved_model.pbtxt: is not the text of export/saved_model.pb")
    return problems


def check_inputs() -> list[str]:
    """Which inputs are not those of the checksums."""
    want = _read_checksums()
    got = _checksums(case_names())
    problems = [f"{path}: is missing" for path in sorted(want.keys() - got.keys())]
    problems += [f"{path}: has no checksum in {_CHECKSUMS}" for path in sorted(got.keys() - want.keys())]
    changed = [path for path in sorted(want.keys() & got.keys()) if want[path] != got[path]]
    return problems + [f"{path}: is another file than its checksum in {_CHECKSUMS} is of" for path in changed]


def find_strays() -> list[str]:
    """Files and folders of no golden. Exports and inputs are compared file by file elsewhere."""
    folders = [path.name for path in sorted(GOLDEN.iterdir()) if path.is_dir() and path.name != "__pycache__"]
    problems = [f"{name}: is no release" for name in folders if not re.fullmatch(r"\d+\.\d+", name)]
    release = GOLDEN / VERSION
    known = {True: case_names(), False: [_CHECKSUMS]}
    problems += [f"{p.name}: is no case" for p in sorted(release.iterdir()) if p.name not in known[p.is_dir()]]
    for name in case_names():
        parts = {"export", "saved_model.pbtxt"} | ({"input"} if name in FROM_TENSORFLOW else set())
        found = {path.name for path in (release / name).iterdir()} if (release / name).is_dir() else set()
        problems += [f"{name}/{path}: does not belong here" for path in sorted(found - parts)]
    return problems + [f"{path.relative_to(release).as_posix()}: is empty" for path in _empty_folders(release)]


def _empty_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir()))


def _checksums(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        files = read_files(GOLDEN / VERSION / name / "input")
        found.update({f"{name}/input/{path}": hashlib.sha256(data).hexdigest() for path, data in files.items()})
    return found


def _read_checksums() -> dict[str, str]:
    path = GOLDEN / VERSION / _CHECKSUMS
    lines = path.read_text().splitlines() if path.exists() else []
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}


def _text(data: bytes) -> str:
    try:
        return to_text(SavedModel.FromString(data))
    except DecodeError as error:
        return f"damaged: {error}"


def _describe(path: str, want: bytes, got: bytes) -> str:
    if path.endswith(".pb"):
        lines = list(
            difflib.unified_diff(_text(want).splitlines(), _text(got).splitlines(), "want", "got", lineterm="", n=8)
        )
        if lines:
            more = [f"… {len(lines) - _MAX_LINES} more lines"] if len(lines) > _MAX_LINES else []
            return "\n".join(["the message differs", *lines[:_MAX_LINES], *more])
    at = next((i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), min(len(want), len(got)))
    return f"got {len(got)} bytes, want {len(want)}, which differ from offset {at} on"


def _update(name: str) -> None:
    folder = GOLDEN / VERSION / name
    with tempfile.TemporaryDirectory() as work:
        export = write_export(name, Path(work))
        shutil.rmtree(folder / "export", ignore_errors=True)
        _copy_export(export, folder / "export")
    (folder / "saved_model.pbtxt").write_text(_text((folder / "export" / "saved_model.pb").read_bytes()))


def _make_input(name: str) -> None:
    from tests.corpus import ENTRIES, save_with_builder

    folder = GOLDEN / VERSION / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "input").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        inputs = save_with_builder(ENTRIES[name], Path(work))
        for i, meta_graph in enumerate(inputs.meta_graphs):
            (folder / "input" / f"graph-{i}.pb").write_bytes(serialize(meta_graph))
        if inputs.checkpoint is not None:
            for path in inputs.checkpoint.parent.glob(f"{inputs.checkpoint.name}.*"):
                if not path.name.endswith(".meta"):
                    shutil.copy(path, folder / "input")
        (folder / "input" / "options.json").write_text(json.dumps(inputs.options) + "\n")
        _copy_export(Path(work) / "builder", folder / "export")


def _copy_export(export: Path, target: Path) -> None:
    shutil.copytree(export, target)
    for path in _empty_folders(target):  # git keeps none
        path.rmdir()


def main(argv: list[str] | None = None) -> int:
    """Check or rewrite the goldens; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="write nothing; exit 1 if a golden differs")
    what.add_argument("--update", action="store_true", help="write the exports of this release that we built ourselves")
    parser.add_argument("--inputs", action="store_true", help="with --update: make inputs anew with TensorFlow")
    args = parser.parse_args(argv)
    if args.inputs and not args.update:
        parser.error("--inputs goes with --update")
    problems: list[str] = []
    for name in case_names():
        if args.inputs and name in FROM_TENSORFLOW:
            _make_input(name)
            pbtxt = _text((GOLDEN / VERSION / name / "export" / "saved_model.pb").read_bytes())
            (GOLDEN / VERSION / name / "saved_model.pbtxt").write_text(pbtxt)
            problems += check(name)
        elif args.update and name not in FROM_TENSORFLOW:
            _update(name)
        else:
            # What TensorFlow wrote is never replaced by what we write.
            problems += check(name)
    if args.inputs:
        lines = [f"{checksum}  {path}\n" for path, checksum in sorted(_checksums(FROM_TENSORFLOW).items())]
        (GOLDEN / VERSION / _CHECKSUMS).write_text("".join(lines))
    problems += check_inputs() + find_strays()
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{VERSION}: {len(case_names())} goldens, {len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
