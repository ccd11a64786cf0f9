"""Builds the wheel, installs it alone into a fresh environment, and uses it there.

Shows that the package needs no TensorFlow, and that messages compiled for protobuf 6 work on the newest protobuf.

Usage: python scripts/test_wheel.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SMOKE = """
import importlib.metadata, sys, tempfile, os
import numpy as np
import mexport_pb as mx
from google.protobuf.internal import api_implementation

assert importlib.metadata.version("mexport-pb") == mx.__version__
graph = mx.GraphBuilder()
with graph.as_default():
    x = graph.placeholder("float32", [None, 2], name="x")
    w = graph.variable("w", [2, 1], "float32")
    y = graph.identity(graph.matmul(x, w), name="y")
meta_graph = graph.to_meta_graph(signatures={"serving_default": mx.make_signature_def({"x": x}, {"y": y})})
with tempfile.TemporaryDirectory() as folder:
    checkpoint = os.path.join(folder, "model.ckpt-1")
    with mx.BundleWriter(checkpoint) as writer:
        writer.add("w", np.array([[1.0], [2.0]], np.float32))
    path = mx.write_saved_model(meta_graph, os.path.join(folder, "base", "1"), checkpoint)
    report = mx.check_saved_model(path)
    assert report.ok and report.variables == 1, report
    mx.write_records(os.path.join(folder, "r"), [b"a", b"bc"], compression="snappy")
    assert list(mx.read_records(os.path.join(folder, "r"), compression="snappy")) == [b"a", b"bc"]
assert "tensorflow" not in sys.modules
# What `mexport build-ops` compiles comes along.
from mexport_pb.runtime import ops_build
sources = ops_build._translation_units(ops_build._SOURCES[0])
assert {path.parent.name for path in sources} == {"kernels", "tf_ops", "core"}, sources
print("wheel", mx.__version__, "on protobuf", importlib.metadata.version("protobuf"), api_implementation.Type())
"""


def main() -> int:
    """Returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder) / "wheels"
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT], check=True
        )
        (wheel,) = wheels.glob("*.whl")
        fresh = Path(folder) / "venv"
        venv.create(fresh, with_pip=True)
        python = fresh / "bin" / "python"
        # Only what the wheel itself asks for.
        subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
        installed = subprocess.check_output([python, "-m", "pip", "list", "--format=freeze"], text=True)
        if "tensorflow" in installed:
            print("the wheel installed TensorFlow", file=sys.stderr)
            return 1
        subprocess.run([python, "-W", "error", "-c", SMOKE], check=True, cwd=folder)
        subprocess.run([fresh / "bin" / "mexport", "--version"], check=True, cwd=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
