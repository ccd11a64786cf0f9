"""Protobuf messages to bytes and back.

Messages cross the API's border by their bytes, because two generated classes of one message (TensorFlow's and ours)
refuse to be copied into each other.
"""

from __future__ import annotations

import os
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, EncodeError, Message

from mexport_pb.errors import InvalidArgumentError, SavedModelError

__all__ = ["MAX_MESSAGE_BYTES", "parse", "serialize", "to_message"]

MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""No protobuf runtime reads or writes a larger message."""

M = TypeVar("M", bound=Message)


def to_message(value: Message | bytes, cls: type[M]) -> M:
    """A new message of class `cls` with the content of `value`.

    Args:
        value: A message of that class; a message of the same name of another package, such as TensorFlow's own; or
            serialised bytes.
        cls: One of our generated classes.

    Raises:
        InvalidArgumentError: `value` is neither, is a message of another name, or is too large.
        SavedModelError: the bytes are not a `cls`.
    """
    if isinstance(value, cls):
        copy = cls()
        copy.CopyFrom(value)
        return copy
    if isinstance(value, Message):
        if value.DESCRIPTOR.name != cls.DESCRIPTOR.name:
            raise InvalidArgumentError(f"wrong kind of message: got {_name(value)}, want {cls.DESCRIPTOR.full_name}")
        return parse(cls, serialize(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return parse(cls, bytes(value))
    raise InvalidArgumentError(f"not a message: got {type(value).__name__}, want {cls.DESCRIPTOR.full_name}")


def serialize(message: Message) -> bytes:
    """The deterministic bytes of a message: the same for equal messages in every process.

    Raises:
        InvalidArgumentError: the message takes more than :data:`MAX_MESSAGE_BYTES`, or lacks a required field.
    """
    try:
        data = message.SerializeToString(deterministic=True)
    except EncodeError as error:
        # Too large, for which the runtime gives no reason; or a proto2 message of somebody's without a required field.
        size = _size(message)
        if size <= MAX_MESSAGE_BYTES:
            raise InvalidArgumentError(f"{_name(message)} cannot be serialised: {error}") from None
    else:
        size = len(data)
        if size <= MAX_MESSAGE_BYTES:
            return data
    raise InvalidArgumentError(f"{_name(message)} is too large: got {size} bytes or more, want <= {MAX_MESSAGE_BYTES}")


def parse(cls: type[M], data: bytes, path: str | os.PathLike[str] | None = None) -> M:
    """The message of class `cls` in `data`; `path` is only named in errors.

    Raises:
        SavedModelError: the bytes are not a `cls`.
    """
    message = cls()
    try:
        message.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise SavedModelError(f"not a {cls.DESCRIPTOR.name} in {len(data)} bytes: {error}", path=path) from None
    return message


def _name(message: Message) -> str:
    return str(message.DESCRIPTOR.full_name)


def _size(message: Message) -> int:
    """The size without the framing of those sub-messages that are too large themselves."""
    try:
        return message.ByteSize()
    except EncodeError:
        pass
    size = 0
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = list(value.values())
        else:
            values = list(value) if _is_sequence(value) else [value]
        for one in values:
            if isinstance(one, Message):
                size += _size(one)
            elif isinstance(one, str | bytes):
                size += len(one)
    return size


def _is_sequence(value: object) -> bool:
    return not isinstance(value, str | bytes | Message) and hasattr(value, "__len__")
