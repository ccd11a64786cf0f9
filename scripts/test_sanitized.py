"""Runs the C++ tests, built with a sanitizer, and the tests of the compiled rooms against a ``_core`` that is built so.

Usage: python scripts/test_sanitized.py asan|tsan [--cpp-only]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {"asan": ("libasan.so", "libubsan.so"), "tsan": ("libtsan.so",)}
# The tests of the rooms that are compiled; not those that start a process for each case (slow under a sanitizer, and
# what a process does is tested elsewhere), that measure memory, or that never enter the compiled module.
ROOMS = ("crc32c", "record", "bundle", "table", "embedding_table")
LEFT_OUT = ("test_record_process.py", "test_record_memory.py", "test_table_schemas.py")
TESTS = sorted(
    str(path) for room in ROOMS for path in ROOT.glob(f"tests/unit/test_{room}*.py") if path.name not in LEFT_OUT
)


def main() -> int:
    """Builds, then tests; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=LIBRARIES)
    parser.add_argument("--cpp-only", action="store_true", help="leave the Python tests out")
    arguments = parser.parse_args()
    preset = arguments.preset
    bin_dir = Path(sys.executable).parent
    build = ROOT / "build" / preset
    flags = [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MAKE_PROGRAM={bin_dir / 'ninja'}"]
    subprocess.run([bin_dir / "cmake", "--preset", preset, *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    jobs = f"-j{os.cpu_count()}"
    subprocess.run(
        [bin_dir / "cmake", "--build", "--preset", preset, "--target", "mexport_tests", jobs], cwd=ROOT, check=True
    )
    ctest = [bin_dir / "ctest", "--preset", preset, jobs]
    cpp_status = subprocess.run(ctest, cwd=ROOT, check=False).returncode
    if cpp_status != 0 or arguments.cpp_only:
        return cpp_status
    subprocess.run([bin_dir / "cmake", "--build", "--preset", preset, jobs], cwd=ROOT, check=True)

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
    parallel = ["-n", str(os.cpu_count()), "--dist", "loadfile"]
    options = ["-q", "-p", "no:cacheprovider", "-o", f"pythonpath={tree}"]
    command = [sys.executable, "-m", "pytest", *parallel, *options, *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
