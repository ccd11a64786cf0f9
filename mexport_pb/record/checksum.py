"""CRC-32C and the masked form in which record and bundle files store it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mexport_pb import _core
from mexport_pb._core import mask_crc, unmask_crc

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["crc32c", "mask_crc", "masked_crc32c", "unmask_crc"]


def crc32c(data: Buffer, crc: int = 0) -> int:
    """Return the CRC-32C of contiguous bytes.

    Args:
        data: Anything that lends a contiguous buffer: bytes, a memoryview, an array.
        crc: The checksum of the bytes before ``data``, to go on from there.

    Raises:
        InvalidArgumentError: for a buffer of references to Python objects.
    """
    return _core.crc32c(data, crc)


def masked_crc32c(data: Buffer) -> int:
    """Return ``mask_crc(crc32c(data))``, which is what files hold."""
    return mask_crc(_core.crc32c(data))
