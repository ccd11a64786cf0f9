"""Framed streams of recorded training data; ``docs/formats/warmup.md`` has their layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from google.protobuf.message import DecodeError, Message

from mexport_pb._proto.instance_pb2 import Instance
from mexport_pb._proto.monolith_example_pb2 import Example, ExampleBatch
from mexport_pb.errors import InvalidArgumentError, WarmupError

__all__ = ["INPUT_KEYS", "Body", "FrameFormat", "iter_bodies"]

Body = Literal["instance", "example", "example_batch"]

INPUT_KEYS: Final[dict[str, str]] = {
    "instance": "instances",
    "example": "examples",
    "example_batch": "example_batch",
}
"""The input that takes bodies of a kind."""

_CLASSES: Final[dict[str, type[Message]]] = {"instance": Instance, "example": Example, "example_batch": ExampleBatch}
_PIECE: Final = 1 << 20
_MAX_BODY: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What stands in a frame; the stream does not say.

    Attributes:
        body: The message.
        has_sort_id: A length and so many bytes come first.
        kafka_dump: 8 bytes follow the sort id.
        kafka_dump_prefix: A u64 comes before the sort id, which is its length unless it is 0; then 8 bytes and the
            length follow.
        lagrangex_header: 8 bytes come first, and none of the others.
    """

    body: Body
    has_sort_id: bool = False
    kafka_dump: bool = False
    kafka_dump_prefix: bool = False
    lagrangex_header: bool = False

    def __post_init__(self) -> None:
        if self.body not in INPUT_KEYS:
            raise InvalidArgumentError(f"body: got {self.body!r}, want one of {', '.join(INPUT_KEYS)}")
        if self.kafka_dump_prefix and not self.has_sort_id:
            raise InvalidArgumentError("kafka_dump_prefix goes with has_sort_id")
        if self.lagrangex_header and (self.has_sort_id or self.kafka_dump):
            raise InvalidArgumentError("lagrangex_header goes without has_sort_id, kafka_dump and kafka_dump_prefix")


def iter_bodies(source: Any, form: FrameFormat, name: str) -> Iterator[bytes]:
    """The serialised message of each frame, which does parse.

    Args:
        source: A binary file object; a read may give less than it was asked for.
        form: How frames look.
        name: Of the source, for errors.

    Raises:
        WarmupError: The stream ends within a frame, a size is above 2 GiB, or a body is no such message; with the
            offset of the frame.
    """
    frames = _Frames(source, name)
    cls = _CLASSES[form.body]
    while frames.begin():
        if form.lagrangex_header:
            frames.skip(8)
        else:
            length = None
            if form.kafka_dump_prefix:
                length = frames.number() or None
                if length is None:
                    frames.skip(8)
            if form.has_sort_id:
                frames.skip(frames.number() if length is None else length)
            if form.kafka_dump:
                frames.skip(8)
        body = frames.take(frames.number())
        try:
            cls.FromString(body)
        except (DecodeError, RecursionError) as error:
            raise frames.error(f"not a Monolith {cls.DESCRIPTOR.name} in {len(body)} bytes: {error}") from None
        yield body


class _Frames:
    def __init__(self, source: Any, name: str) -> None:
        self._source = source
        self._name = name
        self._number = -1
        self._start = 0
        self._position = 0
        self._first = b""

    def begin(self) -> bool:
        """True if there is another frame."""
        self._start = self._position
        self._number += 1
        self._first = self._source.read(1)
        return bool(self._first)

    def number(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def skip(self, size: int) -> None:
        left = size
        while left:
            left -= len(self.take(min(left, _PIECE)))

    def take(self, size: int) -> bytes:
        """So many bytes; memory grows with those that come, not with what a size asks for."""
        if size > _MAX_BODY:
            raise self.error(f"size: got {size}, want at most {_MAX_BODY}; are the headers as was said?")
        data = bytearray(self._first[:size])
        self._first = self._first[size:]
        while len(data) < size:
            piece = self._source.read(min(size - len(data), _PIECE))
            if not piece:
                raise self.error(f"the stream ends within a frame: got {len(data)} bytes, want {size}")
            data += piece
        self._position += size
        return bytes(data)

    def error(self, message: str) -> WarmupError:
        return WarmupError(f"frame {self._number}: {message}", path=self._name, offset=self._start)
