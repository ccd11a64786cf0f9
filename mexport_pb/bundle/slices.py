"""Parts of partitioned tensors: the saver's text, the messages, the keys, and whether parts make up a whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from mexport_pb import _core
from mexport_pb._proto import bundle_pb2
from mexport_pb.errors import InvalidArgumentError

__all__ = [
    "SliceLike",
    "TensorSlice",
    "format_shape_and_slice",
    "name_bytes",
    "name_text",
    "parse_shape_and_slice",
]

Shape: TypeAlias = tuple[int, ...]

WHOLE_DIMENSION: Final = -1
_MAX_INT64: Final = 2**63 - 1
# Above this many parts that are cut in more than one dimension, comparing each with each takes too long.
_MAX_BOXES: Final = 10_000


def name_bytes(name: str) -> bytes:
    """The bytes of a tensor's name; names that are not UTF-8 come and go as surrogate escapes."""
    return name.encode("utf-8", "surrogateescape")


def name_text(name: bytes) -> str:
    """The reverse of :func:`name_bytes`."""
    return name.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class TensorSlice:
    """A part of a tensor: (start, length) a dimension; length -1 (with start 0) takes all of it, ``-`` in text."""

    extents: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        for start, length in self.extents:
            whole = start == 0 and length == WHOLE_DIMENSION
            if not whole and not (0 <= start <= _MAX_INT64 and 0 < length <= _MAX_INT64 - start):
                raise InvalidArgumentError(
                    f"slice wants starts of 0 or more and lengths of 1 or more: got start {start}, length {length}"
                )

    @classmethod
    def parse(cls, text: str) -> TensorSlice:
        """Read the saver's text, ``"0,3:-"``."""
        return cls(tuple(_parse_extent(part, text) for part in text.split(":")) if text else ())

    @classmethod
    def from_proto(cls, message: bundle_pb2.TensorSliceProto) -> TensorSlice:
        """Read the message of a bundle's index."""
        return cls(
            tuple((e.start, e.length if e.HasField("length") else WHOLE_DIMENSION) for e in message.extent),
        )

    @classmethod
    def of(cls, slice_: SliceLike, full_shape: Shape) -> TensorSlice:
        """Read any of the forms that the public functions take, and check it against the shape."""
        if isinstance(slice_, TensorSlice):
            part = slice_
        elif isinstance(slice_, str):
            text_shape, part = parse_shape_and_slice(slice_) if " " in slice_ else (full_shape, cls.parse(slice_))
            if text_shape != full_shape:
                raise InvalidArgumentError(f"shape in {slice_!r}: got {text_shape}, want {full_shape}")
        else:
            part = cls(tuple((int(start), int(length)) for start, length in slice_))
        part.check_within(full_shape)
        return part

    def to_proto(self) -> bundle_pb2.TensorSliceProto:
        """Make the message of a bundle's index."""
        message = bundle_pb2.TensorSliceProto()
        for start, length in self.extents:
            extent = message.extent.add()
            if length != WHOLE_DIMENSION:
                extent.start = start
                extent.length = length
        return message

    def __str__(self) -> str:
        return ":".join("-" if length == WHOLE_DIMENSION else f"{start},{length}" for start, length in self.extents)

    def key(self, name: str) -> bytes:
        """The key of this part of the tensor ``name`` in a bundle's index."""
        return _core.encode_slice_key(name_bytes(name), list(self.extents))

    def check_within(self, full_shape: Shape) -> None:
        """Raise InvalidArgumentError unless the part lies within the shape."""
        if len(self.extents) != len(full_shape):
            raise InvalidArgumentError(f"slice {self}: got {len(self.extents)} dimensions, want {len(full_shape)}")
        for (start, length), size in zip(self.extents, full_shape, strict=True):
            if length != WHOLE_DIMENSION and start + length > size:
                raise InvalidArgumentError(f"slice {self} leaves the shape {full_shape}")

    def box(self, full_shape: Shape) -> tuple[tuple[int, int], ...]:
        """(start, length) a dimension with the lengths of whole dimensions filled in."""
        return tuple(
            (0, size) if length == WHOLE_DIMENSION else (start, length)
            for (start, length), size in zip(self.extents, full_shape, strict=True)
        )

    def shape(self, full_shape: Shape) -> Shape:
        """The shape of the part."""
        return tuple(length for _, length in self.box(full_shape))

    def is_full(self, full_shape: Shape) -> bool:
        """True for a part that is the whole tensor, which is stored as an ordinary tensor."""
        return self.shape(full_shape) == full_shape


SliceLike: TypeAlias = str | TensorSlice | Sequence[tuple[int, int]]
"""A part: the saver's text ("0,3:-", or "5 2 0,3:-" with the full shape), or (start, length) a dimension."""


def parse_shape_and_slice(text: str) -> tuple[Shape, TensorSlice]:
    """Read the text that SaveV2 and RestoreV2 take for a part, ``"5 2 0,3:0,2"``: full shape, then the part.

    Raises:
        InvalidArgumentError: other text, or a part outside the shape.
    """
    *dims, spec = text.split(" ")
    if not dims or not all(_is_number(dim) for dim in dims):
        raise InvalidArgumentError(f"malformed shape and slice: got {text!r}, want such as '5 2 0,3:0,2'")
    shape = tuple(int(dim) for dim in dims)
    part = TensorSlice.parse(spec)
    part.check_within(shape)
    return shape, part


def format_shape_and_slice(full_shape: Shape, part: TensorSlice | str) -> str:
    """The reverse of :func:`parse_shape_and_slice`."""
    return f"{' '.join(str(size) for size in full_shape)} {part}"


def _parse_extent(text: str, whole_text: str) -> tuple[int, int]:
    if text == "-":
        return 0, WHOLE_DIMENSION
    start, comma, length = text.partition(",")
    if not comma or not _is_number(start) or not _is_number(length):
        raise InvalidArgumentError(f"malformed slice: got {whole_text!r}, want such as '0,3:-'")
    return int(start), int(length)


def _is_number(text: str) -> bool:
    # No more digits than 2^63 has: Python refuses to convert very long ones, by a ValueError of its own.
    return text.isascii() and text.isdigit() and len(text) <= 19


def find_overlap(boxes: Sequence[tuple[tuple[int, int], ...]]) -> tuple[int, int] | None:
    """Indices of two boxes that share an element, or None.

    Raises:
        InvalidArgumentError: more than 10,000 boxes that are cut in several dimensions.
    """
    if len(boxes) < 2:
        return None
    if not boxes[0]:
        return 0, 1  # scalars
    rank = len(boxes[0])
    cut = [d for d in range(rank) if any(box[d] != boxes[0][d] for box in boxes)]
    if len(cut) <= 1:
        d = cut[0] if cut else 0
        order = sorted(range(len(boxes)), key=lambda i: boxes[i][d])
        for before, after in itertools.pairwise(order):
            if boxes[before][d][0] + boxes[before][d][1] > boxes[after][d][0]:
                return before, after
        return None
    if len(boxes) > _MAX_BOXES:
        raise InvalidArgumentError(f"too many parts: got {len(boxes)}, want at most {_MAX_BOXES}")
    starts = np.array([[box[d][0] for d in cut] for box in boxes], np.int64)
    ends = starts + np.array([[box[d][1] for d in cut] for box in boxes], np.int64)
    for i in range(len(boxes) - 1):
        shared = np.all((starts[i] < ends[i + 1 :]) & (starts[i + 1 :] < ends[i]), axis=1)
        if shared.any():
            return i, i + 1 + int(np.argmax(shared))
    return None


def find_fault(slices: Sequence[TensorSlice], full_shape: Shape, *, partial: bool = False) -> str | None:
    """Say what keeps the parts from making up the tensor, or None. With ``partial``, gaps are no fault."""
    try:
        for part in slices:
            part.check_within(full_shape)
        boxes = [part.box(full_shape) for part in slices]
        overlap = find_overlap(boxes)
    except InvalidArgumentError as error:
        return str(error)
    if overlap is not None:
        return f"slices overlap: {slices[overlap[0]]} and {slices[overlap[1]]}"
    covered = sum(math.prod(length for _, length in box) for box in boxes)
    if not partial and covered != math.prod(full_shape):
        return f"slices do not cover the tensor: got {covered} elements, want {math.prod(full_shape)}"
    return None
