"""TensorFlow's command line for saved models, ``saved_model_cli``, run as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np

from .loading import LoadError

__all__ = ["run", "show"]


def show(export_dir: str | os.PathLike[str]) -> str:
    """The text of ``saved_model_cli show --all``; raises :class:`LoadError` with the code ``EXIT_<status>``."""
    return _call("show", "--dir", os.fspath(export_dir), "--all")


def run(
    export_dir: str | os.PathLike[str],
    signature: str,
    inputs: Mapping[str, np.ndarray],
    tags: Set[str] = frozenset({"serve"}),
) -> tuple[str, dict[str, np.ndarray]]:
    """Run a signature with ``saved_model_cli run``.

    The inputs go in and the outputs come back through .npy files, so strings are not for it.

    Returns:
        What the command printed, and the outputs by key.

    Raises:
        LoadError: With the code ``EXIT_<status>`` and what the command wrote to stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        given: list[str] = []
        for i, (key, value) in enumerate(inputs.items()):
            path = Path(folder, f"input_{i}.npy")
            np.save(path, value)
            given.append(f"{key}={path}")
        answers = Path(folder, "answers")
        answers.mkdir()
        text = _call(
            *("run", "--dir", os.fspath(export_dir), "--tag_set", ",".join(sorted(tags)), "--signature_def", signature),
            *("--inputs", ";".join(given), "--outdir", str(answers)),
        )
        return text, {path.stem: np.load(path) for path in sorted(answers.iterdir())}


def _call(*arguments: str) -> str:
    child = subprocess.run(
        [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if child.returncode:
        raise LoadError(f"EXIT_{child.returncode}", child.stderr)
    return child.stdout
