"""Device strings: ``/job:<name>/replica:<n>/task:<n>/device:<type>:<n or *>``, every part optional."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final, NamedTuple

from mexport_pb.errors import InvalidArgumentError

__all__ = ["DeviceSpec", "canonical_device", "merge_devices", "on_cpu0"]

# Types that may stand without "device:" before them, in any case.
_SHORT_TYPES: Final = frozenset({"CPU", "GPU", "TPU", "CUSTOM", "EPU"})


class DeviceSpec(NamedTuple):
    """The parts of a device string; None for a part that is not said."""

    job: str | None = None
    replica: int | None = None
    task: int | None = None
    device_type: str | None = None
    device_index: int | None = None

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def parse(cls, device: str) -> DeviceSpec:
        """Read a device string; "/gpu:0" and "/device:GPU:0" mean the same.

        Raises:
            InvalidArgumentError: an unknown part, a number that is none, or two device types.
        """
        job = replica = task = device_type = device_index = None
        for part in device.split("/"):
            fields = part.split(":")
            match fields:
                case [""]:
                    continue
                case ["job", value]:
                    job = value
                case ["replica", value]:
                    replica = _number(value, device)
                case ["task", value]:
                    task = _number(value, device)
                case ["device", kind, index]:
                    device_type, device_index = _device(device_type, kind, index, device)
                case [kind] if kind.upper() in _SHORT_TYPES:
                    device_type, device_index = _device(device_type, kind.upper(), "*", device)
                case [kind, index] if kind.upper() in _SHORT_TYPES:
                    device_type, device_index = _device(device_type, kind.upper(), index, device)
                case _:
                    raise InvalidArgumentError(f"unknown part {part!r} of a device: got {device!r}")
        return cls(job, replica, task, device_type, device_index)

    def merged_into(self, outer: DeviceSpec) -> DeviceSpec:
        """Return a spec with the parts that this one says, and those of ``outer`` for the rest."""
        said = {name: value for name, value in self._asdict().items() if value is not None}
        return outer._replace(**said)

    def __str__(self) -> str:
        """Return the canonical string; "" if nothing is said."""
        parts = []
        if self.job is not None:
            parts.append(f"/job:{self.job}")
        if self.replica is not None:
            parts.append(f"/replica:{self.replica}")
        if self.task is not None:
            parts.append(f"/task:{self.task}")
        if self.device_type is not None:
            parts.append(f"/device:{self.device_type}:{'*' if self.device_index is None else self.device_index}")
        return "".join(parts)


def _number(text: str, device: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgumentError(f"number of a device: got {text!r} in {device!r}")
    return int(text)


def _device(known: str | None, kind: str, index: str, device: str) -> tuple[str, int | None]:
    if known is not None:
        raise InvalidArgumentError(f"two device types in one device: got {device!r}")
    kind = kind.upper() if kind in ("cpu", "gpu") else kind
    return kind, None if index == "*" else _number(index, device)


def canonical_device(device: str) -> str:
    """Return the canonical form of a device string; equal devices have equal canonical forms.

    Raises:
        InvalidArgumentError: not a device string.
    """
    return str(DeviceSpec.parse(device))


def merge_devices(devices: Iterable[str]) -> str:
    """Return the canonical device that nested device scopes give, the innermost one first.

    Raises:
        InvalidArgumentError: not a device string.
    """
    merged = DeviceSpec()
    for device in devices:
        merged = merged.merged_into(DeviceSpec.parse(device))
    return str(merged)


def on_cpu0(device: str) -> str:
    """Return the first CPU of the task that ``device`` is on.

    Raises:
        InvalidArgumentError: not a device string.
    """
    return str(DeviceSpec.parse(device)._replace(device_type="CPU", device_index=0))
