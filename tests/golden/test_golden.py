"""What we write is what this release has always written; older releases' exports are still read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf.internal import api_implementation

import mexport_pb as mx
from tests.golden import regen

EXPORTS = sorted(regen.GOLDEN.glob("*/*/export"))


def test_the_runtime_is_the_one_that_the_goldens_are_of():
    assert api_implementation.Type() == "upb"


@pytest.mark.parametrize("name", regen.case_names())
def test_bytes_are_the_goldens(name):
    assert regen.check(name) == []


def test_no_golden_is_forgotten():
    folder = regen.GOLDEN / regen.VERSION
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(regen.case_names())
    assert regen.check_inputs() == []
    assert regen.find_strays() == []
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 1_000_000


@pytest.mark.parametrize("export", EXPORTS, ids=lambda p: "/".join(p.parts[-3:-1]))
def test_goldens_of_all_releases_are_legal(export, tmp_path):
    copy = tmp_path / "export"
    shutil.copytree(export, copy)
    (copy / "variables").mkdir(exist_ok=True)  # git keeps no empty folder
    report = mx.check_saved_model(copy)
    assert report.ok, report.problems


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """A copy of the goldens that a test may change; returns its release's folder."""
    shutil.copytree(regen.GOLDEN / regen.VERSION, tmp_path / regen.VERSION)
    monkeypatch.setattr(regen, "GOLDEN", tmp_path)
    return tmp_path / regen.VERSION


def _swap(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: _swap(f / "export/saved_model.pb", b"serving_default", b"serving_defaulT"), "serving_defaulT"),
        (lambda f: _swap(f / "export/variables/variables.index", b"ref_words", b"ref_wordS"), "from offset"),
        (lambda f: (f / "export/more").write_text("x"), "export/more: is not written any more".replace("export/", "")),
        (lambda f: (f / "export/saved_model.pb").unlink(), "saved_model.pb: is new"),
        (lambda f: _swap(f / "saved_model.pbtxt", b"serving", b"servinG"), "is not the text of"),
    ],
)
def test_check_finds_every_change(changed, change, expected, capsys):
    change(changed / "string_variables")
    assert regen.main(["--check"]) == 1
    captured = capsys.readouterr()
    assert "string_variables/" in captured.err
    assert expected in captured.err
    assert "many_signatures" not in captured.err


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # The export stays the same, for nothing reads the last line end, or the file.
        (
            lambda f: _grow(f / "string_variables/input/options.json"),
            "string_variables/input/options.json: is another file than its checksum in inputs.sha256 is of",
        ),
        (
            lambda f: (f / "string_variables/input/notes").write_text("x"),
            "string_variables/input/notes: has no checksum in inputs.sha256",
        ),
        (lambda f: (f / "inputs.sha256").unlink(), "many_signatures/input/graph-0.pb: has no checksum"),
        (
            lambda f: (f / "string_variables/export/variables/old").mkdir(),
            "string_variables/export/variables/old: is empty",
        ),
        (lambda f: (f / "built_dense/notes").write_text("x"), "built_dense/notes: does not belong here"),
        (lambda f: (f / "built_dense/input").mkdir(), "built_dense/input: does not belong here"),
        (lambda f: (f / "old_case").mkdir(), "old_case: is no case"),
        (lambda f: (f / "notes").write_text("x"), "notes: is no case"),
        (lambda f: (f.parent / "next").mkdir(), "next: is no release"),
    ],
)
def test_finds_what_does_not_belong_here(changed, change, expected):
    assert regen.check_inputs() + regen.find_strays() == []
    change(changed)
    assert any(problem.startswith(expected) for problem in regen.check_inputs() + regen.find_strays())


@pytest.mark.parametrize("option", ["--check", "--update"])
@pytest.mark.parametrize("stray", ["notes", "many_signatures/input/notes"])
def test_no_option_overlooks_or_removes_a_stray_file(changed, option, stray, capsys):
    (changed / stray).write_text("x")
    assert regen.main([option]) == 1
    assert stray in capsys.readouterr().err
    assert (changed / stray).exists()


def test_update_repairs_exports(changed, capsys):
    shutil.rmtree(changed / "built_dense")
    (changed / "built_recommender" / "export" / "old").mkdir()
    assert regen.main(["--update"]) == 0
    assert regen.main(["--check"]) == 0
    assert regen.read_files(changed / "built_dense") == regen.read_files(
        Path(regen.__file__).parent / regen.VERSION / "built_dense"
    )
