"""Wall time and peak memory of a command: ``python -m demo.measure -- COMMAND ...`` prints one JSON line to stderr.

The kernel counts into a child's peak what its parent held when it started the child. So measure from a small process,
such as this one run by itself, and not from one that has a model in memory: :func:`measure` takes care of that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO

__all__ = ["Measurement", "measure", "peak_rss_mib", "process_age"]


@dataclass(frozen=True)
class Measurement:
    """What a command cost, from its start to its end.

    Attributes:
        wall_seconds: Elapsed time.
        cpu_seconds: User and system time of all its threads and children that it waited for.
        peak_rss_mib: Largest resident set, in MiB.
        exit_code: The exit status; negative for a signal.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_rss_mib: float
    exit_code: int


def measure(command: Sequence[str], *, stderr: IO[str] | None = None) -> tuple[Measurement, str]:
    """Run a command through a small process of its own; returns what it cost and its stdout."""
    with tempfile.NamedTemporaryFile(mode="r") as report:
        arguments = [sys.executable, "-S", os.path.abspath(__file__), "--report", report.name, "--", *command]
        child = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
        return Measurement(**json.load(report)), child.stdout


def peak_rss_mib() -> float:
    """Largest resident set of this process since it was started, in MiB, without what its parent held."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def process_age() -> float:
    """Seconds since this process was started, to a hundredth."""
    with open("/proc/self/stat", encoding="utf-8") as stat:
        started = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _run(command: Sequence[str]) -> Measurement:
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], list(command), os.environ)
    _, status, usage = os.wait4(pid, 0)
    return Measurement(
        wall_seconds=round(time.perf_counter() - began, 3),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
        peak_rss_mib=round(usage.ru_maxrss / 1024, 1),
        exit_code=os.waitstatus_to_exitcode(status),
    )


def _main() -> int:
    arguments = sys.argv[1:]
    report = None
    if arguments[:1] == ["--report"]:
        report, arguments = arguments[1], arguments[2:]
    if arguments[:1] != ["--"] or len(arguments) < 2:
        print("usage: python -m demo.measure -- COMMAND ...", file=sys.stderr)
        return 2
    result = _run(arguments[1:])
    line = json.dumps(asdict(result))
    if report is None:
        print(line, file=sys.stderr)
    else:
        with open(report, "w", encoding="ascii") as file:
            file.write(line)
    return result.exit_code if result.exit_code >= 0 else 128 - result.exit_code


if __name__ == "__main__":
    sys.exit(_main())
