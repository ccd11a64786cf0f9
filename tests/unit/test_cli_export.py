"""``mexport export`` without TensorFlow: exit status, messages, and what is said when nobody listens."""

import json
import subprocess
import sys

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.cli import main

LISTENERS = {"gone": "| true", "full": "> /dev/full", "closed": ">&-"}
SIGNATURE = "serving_default:x=x:0->y=y:0"


@pytest.fixture
def job(tmp_path):
    """A training job's folder: model.ckpt-12 with its .meta file."""
    prefix = tmp_path / "job" / "model.ckpt-12"
    with mx.BundleWriter(prefix) as writer:
        writer.add("global_step", np.array(12, np.int64))
        writer.add("w", np.ones((2, 2), np.float32))
    graph = mx.GraphBuilder()
    with graph.as_default():
        graph.matmul(graph.placeholder("float32", [None, 2], name="x"), graph.variable("w", [2, 2]), name="y")
        graph.global_step()
    (tmp_path / "job" / "model.ckpt-12.meta").write_bytes(graph.to_meta_graph().SerializeToString())
    return prefix


def arguments(job, *more):
    return [
        "export",
        "--meta-graph",
        f"{job}.meta",
        "--checkpoint",
        str(job),
        "--signature",
        SIGNATURE,
        *map(str, more),
    ]


def test_the_path_is_printed(job, tmp_path, capsys):
    assert main(arguments(job, "--output", tmp_path / "out")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert mx.check_saved_model(tmp_path / "out").ok


def test_versions(job, tmp_path, capsys):
    assert main(arguments(job, "--base", tmp_path / "m", "--version", "global-step", "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "path": str(tmp_path / "m" / "12"),
        "signatures": ["serving_default"],
        "variables": 1,
        "variable_bytes": 16,
        "tables": [],
    }
    assert main(arguments(job, "--base", tmp_path / "m", "--version", "77")) == 0
    assert main(arguments(job, "--base", tmp_path / "m")) == 0
    names = sorted(int(p.name) for p in (tmp_path / "m").iterdir())
    assert names[:2] == [12, 77]
    assert len(names) == 3


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--output", "{tmp}/job"], 1, "the export target is there already"),
        (["--output", "{tmp}/o", "--version", "7"], 2, "--version goes with --base"),
        (["--base", ""], 2, "--base: got an empty path"),
        (["--output", ""], 2, "--output: got an empty path"),
        (["--base", "{tmp}/m", "--version", "x"], 2, "--version: got 'x'"),
        (["--base", "{tmp}/m", "--version", "99999999999999999999"], 2, "want an integer from 0 to"),
        (["--output", "{tmp}/o", "--signature", "bad"], 2, "want name:key=tensor"),
        (["--output", "{tmp}/o", "--signature", "s:x=x->y=yy"], 2, "near it: y"),
        (["--output", "{tmp}/o", "--asset-extra", "a"], 2, "want NAME=FILE"),
        (["--output", "{tmp}/o", "--asset-extra", "a=b", "--asset-extra", "a=c"], 2, "'a' comes twice"),
        (["--output", "{tmp}/o", "--asset", "a={tmp}/job/model.ckpt-12.index"], 1, "which the graph does not have"),
        (["--output", "{tmp}/o", "--checkpoint", "{tmp}/gone"], 1, "No such file or directory: '{tmp}/gone.index'"),
        (["--output", "{tmp}/o", "--meta-graph", "{tmp}/gone"], 1, "No such file or directory: '{tmp}/gone'"),
    ],
)
def test_wrong_use_and_bad_data(job, tmp_path, capsys, more, status, message):
    more = [text.replace("{tmp}", str(tmp_path)) for text in more]
    assert main(arguments(job, *more)) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mexport: ")
    assert message.replace("{tmp}", str(tmp_path)) in captured.err
    assert [p.name for p in tmp_path.iterdir()] == ["job"]


def test_damaged_files_are_named(job, tmp_path, capsys):
    meta = tmp_path / "damaged.meta"
    meta.write_bytes(b"\xff" * 40)
    assert main(arguments(job, "--output", tmp_path / "o", "--meta-graph", meta)) == 1
    assert f"mexport: {meta}: " in capsys.readouterr().err
    data = tmp_path / "job" / "model.ckpt-12.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    assert main(arguments(job, "--output", tmp_path / "o")) == 1
    error = capsys.readouterr().err
    assert f"mexport: {data}: offset 8: " in error
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("listener", LISTENERS)
def test_an_export_that_cannot_be_announced_is_said_to_be_done(job, tmp_path, listener):
    command = f'exec "$0" -m mexport_pb "$@" {LISTENERS[listener]}'
    if listener == "gone":
        command = command.removeprefix("exec ") + '; exit "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, *arguments(job, "--output", tmp_path / "o")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert mx.check_saved_model(tmp_path / "o").ok
    # A pipe's reader may be gone too late to be missed.
    if listener != "gone" or done.returncode:
        assert done.returncode == 1
        assert done.stderr.startswith("mexport: done, but the result cannot be printed: ")
        assert done.stderr.strip().endswith(str(tmp_path / "o"))


def test_help_and_version(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"mexport_pb {mx.__version__}\n"
    with pytest.raises(SystemExit) as left:
        main(["export", "--help"])
    assert left.value.code == 0
    assert "``" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
