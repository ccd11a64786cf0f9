"""Runs the tests of the compiled rooms against a ``_core`` that is built with a sanitizer.

Usage: python scripts/test_sanitized.py asan|tsan
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {"asan": ("libasan.so", "libubsan.so"), "tsan": ("libtsan.so",)}
TESTS = sorted(
    str(path)
    for room in ("crc32c", "record", "bundle", "table", "embedding_table")
    for path in ROOT.glob(f"tests/unit/test_{room}*.py")
)


def main() -> int:
    """Builds, then tests; returns the exit status."""
    if len(sys.argv) != 2 or sys.argv[1] not in LIBRARIES:
        print(__doc__, file=sys.stderr)
        return 2
    preset = sys.argv[1]
    bin_dir = Path(sys.executable).parent
    build = ROOT / "build" / preset
    flags = [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MAKE_PROGRAM={bin_dir / 'ninja'}"]
    subprocess.run([bin_dir / "cmake", "--preset", preset, *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([bin_dir / "cmake", "--build", "--preset", preset], cwd=ROOT, check=True)

    # A package of its own: the Python sources with the sanitized module in place of the plain one.
    tree = build / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(
        ROOT / "mexport_pb", tree / "mexport_pb", ignore=shutil.ignore_patterns("_core.*.so", "__pycache__")
    )
    subprocess.run([bin_dir / "cmake", "--install", build, "--prefix", tree], check=True, stdout=subprocess.DEVNULL)

    preload = [
        subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip() for name in LIBRARIES[preset]
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join(preload),
        # Python itself leaks by design, and the tests of resident memory mean nothing under a sanitizer.
        "ASAN_OPTIONS": "detect_leaks=0",
        "MEXPORT_SANITIZED": preset,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={tree}", *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
