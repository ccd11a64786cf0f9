#!/usr/bin/env python3
"""Golden exports: ``--check`` compares them with what we write now, ``--update`` rewrites them.

A release has a folder, a case a folder in it:

    <version>/<case>/export/            the export, as it must be
    <version>/<case>/saved_model.pbtxt  its message as text, for people and for diffs
    <version>/<case>/input/             MetaGraphDefs, checkpoint and options of a graph that TensorFlow made

Cases without ``input/`` are built by graphs.py. Where there is one, ``export/`` is what TensorFlow's Builder wrote;
``--update`` leaves that alone, and ``--update --inputs`` makes both anew from tests/corpus, which needs TensorFlow. A
change of bytes within a release is a mistake, unless the changelog says otherwise. Exits 1 if ``--check`` finds a
difference.
"""

from __future__ import annotations

import argparse
import difflib
import json
import shutil
import sys
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent
sys.path.insert(0, str(GOLDEN.parents[1]))

from google.protobuf.message import DecodeError  # noqa: E402

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto.saved_model_pb2 import SavedModel  # noqa: E402
from mexport_pb.errors import MexportError  # noqa: E402
from mexport_pb.messages import read_meta_graph, serialize, to_text  # noqa: E402
from tests.golden.graphs import GRAPHS, Case  # noqa: E402

__all__ = ["FROM_TENSORFLOW", "VERSION", "case_names", "check", "read_files", "write_export"]

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


def _cases() -> list[Path]:
    return sorted(path for path in (GOLDEN / VERSION).iterdir() if path.is_dir())


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
        shutil.copytree(export, folder / "export")
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
        shutil.copytree(Path(work) / "builder", folder / "export")


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
    problems = [f"{path.name}: is no case" for path in _cases() if path.name not in case_names()]
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
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{VERSION}: {len(case_names())} goldens, {len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
