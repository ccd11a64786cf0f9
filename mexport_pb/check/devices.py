"""Checks of device names."""

from __future__ import annotations

import re
from typing import Final

from mexport_pb.check.problems import Report, quote

__all__ = ["check_device"]

# As the C++ runtime reads device names; the Python loader puts some more spellings right.
_DEVICE: Final = re.compile(
    r"/\Z|(?:/job:(?P<job>\*|[A-Za-z][A-Za-z0-9_]*)|/replica:(?P<replica>\*|[0-9]+)|/task:(?P<task>\*|[0-9]+)"
    r"|/device:(?P<type>\*|[A-Za-z][A-Za-z0-9_]*)(?::(?P<index>\*|[0-9]+))?"
    r"|/(?P<short>cpu|CPU|gpu|GPU):(?P<number>\*|[0-9]+))*\Z"
)
_LOCAL_JOBS: Final = frozenset({None, "*", "localhost"})
_FIRST: Final = frozenset({None, "*"})


def check_device(where: str, device: str, report: Report) -> None:
    """Report a malformed device name, and one that a server on a single machine does not have."""
    if not device:
        return
    match = _DEVICE.match(device)
    if match is None:
        report.error(where, f"not a device: got {quote(device)}, want e.g. '/device:CPU:0', or none")
        return
    if match["job"] not in _LOCAL_JOBS:
        reason = f"a server has no job {quote(match['job'])}"
    elif not _is_first(match["task"]) or not _is_first(match["replica"]):
        reason = "a server has no other task or replica than 0"
    elif (match["type"] or match["short"] or "").upper() == "CPU" and not (
        _is_first(match["index"]) and _is_first(match["number"])
    ):
        reason = "a server has one CPU device"
    else:
        return
    report.warn(where, f"{reason}: got device {quote(device)}; clear the devices of a model that is to be served alone")


def _is_first(number: str | None) -> bool:
    return number in _FIRST or not str(number).strip("0")
