"""Which entries are too old for a dump."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from mexport_pb._proto.hash_table_pb2 import SlotExpireTimeConfig
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.wire import to_message

__all__ = ["NUM_SLOTS", "expire_days"]

NUM_SLOTS = 1 << 15
"""Slots are bits 48 to 62 of an id."""


def expire_days(config: Message) -> npt.NDArray[np.uint32]:
    """Return the days after which entries of each slot expire, uint32 [NUM_SLOTS].

    Args:
        config: A SlotExpireTimeConfig, ours or Monolith's.

    Raises:
        InvalidArgumentError: for another message, and for a slot that no id has.
    """
    message = to_message(config, SlotExpireTimeConfig)
    days = np.full(NUM_SLOTS, message.default_expire_time, np.uint32)
    for slot in message.slot_expire_times:
        if slot.slot >= NUM_SLOTS:
            raise InvalidArgumentError(f"slot: got {slot.slot}, want less than {NUM_SLOTS}")
        days[slot.slot] = slot.expire_time
    return days
