"""Resident memory of this process.

``getrusage`` will not do: a child's ``ru_maxrss`` begins with what its parent held when it started the child.
"""

__all__ = ["peak_rss"]


def peak_rss() -> int:
    """The largest resident set since the process's program was started, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
