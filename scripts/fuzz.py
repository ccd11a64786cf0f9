"""Builds the fuzzers with clang and runs each for a while, from its committed corpus and what earlier runs found.

Usage: python scripts/fuzz.py [--seconds N] [--keep] [TARGET ...]

Exit status 1 on a find; the input that makes it is then in build/fuzz/finds/. clang++ is the one on PATH, or else the
one that `make fuzz` unpacks into build/tools/clang.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
CORPUS = ROOT / "cpp" / "fuzz" / "corpus"
UNPACKED_CLANG = ROOT / "build" / "tools" / "clang" / "usr"
MAX_LENGTH = 4096


def build() -> None:
    """Configures and builds the preset `fuzz`."""
    compiler = shutil.which("clang++")
    environment = dict(os.environ)
    if compiler is None:
        compiler = str(UNPACKED_CLANG / "bin" / "clang++")
        # Its libraries came along where the machine lacks them.
        libraries = [str(path) for path in UNPACKED_CLANG.glob("lib/*-linux-gnu")]
        environment["LD_LIBRARY_PATH"] = ":".join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    bin_dir = Path(sys.executable).parent
    configure = [
        *(bin_dir / "cmake", "--preset", "fuzz", f"-DCMAKE_CXX_COMPILER={compiler}"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MAKE_PROGRAM={bin_dir / 'ninja'}"),
    ]
    subprocess.run(configure, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    command = [bin_dir / "cmake", "--build", "--preset", "fuzz", f"-j{os.cpu_count()}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def run(target: str, arguments: list[str]) -> tuple[int, str]:
    """Runs a target; returns its exit status and what it said."""
    command = [str(BUILD / "cpp" / "fuzz" / target), f"-max_len={MAX_LENGTH}", *arguments]
    done = subprocess.run(
        command,
        # A small quarantine: fresh pages for each of the readers' buffers take half of the time.
        env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout


def fuzz(target: str, seconds: int) -> bool:
    """Fuzzes for `seconds`; returns whether nothing was found."""
    committed, grown, finds = CORPUS / target, BUILD / "corpus" / target, BUILD / "finds"
    for folder in (grown, finds):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=1024", "-malloc_limit_mb=256"]
    status, log = run(
        target, [*limits, "-print_final_stats=1", f"-artifact_prefix={finds}/{target}-", str(grown), str(committed)]
    )
    executions = re.search(r"stat::number_of_executed_units: +([0-9]+)", log)
    print(f"{target}: {executions[1] if executions else '?'} executions in {seconds} s, exit status {status}")
    if status != 0:
        print(log[-6000:])
    return status == 0


def keep(target: str) -> None:
    """Takes into the committed corpus, minimised, whatever of the grown one reaches new code."""
    committed, grown = CORPUS / target, BUILD / "corpus" / target
    before = len(list(committed.iterdir()))
    status, log = run(target, ["-merge=1", "-use_counters=0", str(committed), str(grown)])
    if status != 0:
        raise SystemExit(log)
    print(f"{target}: corpus of {before} inputs, now {len(list(committed.iterdir()))}")


def main() -> int:
    """Builds, fuzzes, keeps; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--keep", action="store_true", help="add to the committed corpus what reaches new code")
    parser.add_argument("targets", nargs="*", help="all, unless told")
    arguments = parser.parse_args()
    targets = arguments.targets or sorted(path.stem for path in (ROOT / "cpp" / "fuzz").glob("fuzz_*.cc"))
    build()
    good = [fuzz(target, arguments.seconds) for target in targets]
    if arguments.keep and all(good):
        for target in targets:
            keep(target)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
