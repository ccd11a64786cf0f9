"""Telling how a record file is compressed: it does not say, but its first bytes do."""

from __future__ import annotations

from typing import Final

from mexport_pb.record.checksum import masked_crc32c

__all__ = ["HEAD_BYTES", "detect_compression"]

HEAD_BYTES: Final = 12
"""So many of the first bytes tell all."""

_SNAPPY_BLOCK: Final = 262144


def detect_compression(head: bytes) -> str | None:
    """How a file is compressed that begins with `head`: None, "zlib", "gzip" or "snappy".

    The rules are in ``docs/formats/warmup.md``. What is none of these is taken for a plain file, whose reader says what
    is wrong with it.
    """
    if len(head) >= HEAD_BYTES and masked_crc32c(head[:8]) == int.from_bytes(head[8:12], "little"):
        return None
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    looks_plain = head[4:8] == bytes(4)
    if len(head) >= 2 and head[0] & 0x8F == 8 and int.from_bytes(head[:2], "big") % 31 == 0 and not looks_plain:
        return "zlib"
    return "snappy" if _begins_snappy(head) else None


def _begins_snappy(head: bytes) -> bool:
    size = int.from_bytes(head[:4], "big")
    uncompressed = 0
    for position, byte in enumerate(head[4:7]):
        uncompressed |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            break
    else:
        return False
    if not (0 < size <= 2 * _SNAPPY_BLOCK and 0 < uncompressed <= _SNAPPY_BLOCK):
        return False
    return size <= 6 * uncompressed + 16 and uncompressed <= 64 * size
