"""Which part of a tensor a checkpoint entry is: ``5 2 0,3:0,2`` is rows 0 to 2 and both columns of a [5, 2] tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mexport_pb._proto.variable_pb2 import SaveSliceInfoDef
from mexport_pb.errors import InvalidArgumentError

__all__ = ["SaveSlice", "SliceSpec"]


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """One part of a partitioned variable.

    Attributes:
        full_shape: Of the whole variable.
        offset: Where the part begins, on each axis.
        shape: Of the part.
    """

    full_shape: tuple[int, ...]
    offset: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.full_shape) == len(self.offset) == len(self.shape):
            raise InvalidArgumentError(f"slice: got {self!r}, want equal ranks")
        for full, begin, size in zip(self.full_shape, self.offset, self.shape, strict=True):
            if not 0 <= begin <= begin + size <= full:
                raise InvalidArgumentError(f"slice: got {self}, want a part within the full shape")

    @classmethod
    def parse(cls, text: str) -> SliceSpec:
        """Read the form that SaveV2 and RestoreV2 take; "-" as an axis means all of it.

        Raises:
            InvalidArgumentError: not such a form, or a part outside the whole.
        """
        *sizes, parts = text.split(" ")
        axes = parts.split(":")
        if len(axes) != len(sizes):
            raise InvalidArgumentError(f"slice: got {text!r}, want sizes and as many axes")
        full = tuple(_number(size, text) for size in sizes)
        offset, shape = [], []
        for axis, total in zip(axes, full, strict=True):
            begin, comma, size = axis.partition(",")
            if axis == "-":
                offset.append(0)
                shape.append(total)
            elif comma:
                offset.append(_number(begin, text))
                shape.append(_number(size, text))
            else:
                raise InvalidArgumentError(f"slice: got {text!r}, want begin,size on each axis")
        return cls(full, tuple(offset), tuple(shape))

    @classmethod
    def from_message(cls, message: SaveSliceInfoDef) -> SliceSpec:
        """Read the part that a VariableDef describes.

        Raises:
            InvalidArgumentError: a part outside the whole.
        """
        return cls(tuple(message.full_shape), tuple(message.var_offset), tuple(message.var_shape))

    def to_message(self, full_name: str) -> SaveSliceInfoDef:
        """Return the description that a VariableDef carries.

        Args:
            full_name: Of the whole variable, which is its key in the checkpoint.
        """
        return SaveSliceInfoDef(
            full_name=full_name, full_shape=self.full_shape, var_offset=self.offset, var_shape=self.shape
        )

    def __str__(self) -> str:
        """Return the form that SaveV2 and RestoreV2 take."""
        parts = ":".join(f"{begin},{size}" for begin, size in zip(self.offset, self.shape, strict=True))
        return f"{_joined(self.full_shape)} {parts}"


@dataclass(frozen=True)
class SaveSlice:
    """That a variable holds a part of a larger one, under whose name a checkpoint has it.

    Attributes:
        full_name: Of the larger variable.
        full_shape: Of the larger variable.
        offset: Where the part begins, on each axis.
    """

    full_name: str
    full_shape: Sequence[int]
    offset: Sequence[int]

    def spec(self, shape: Sequence[int | None]) -> SliceSpec:
        """Return the part as a checkpoint describes it.

        Args:
            shape: Of the part.

        Raises:
            InvalidArgumentError: the shape is not fully known, or the part is not within the whole.
        """
        known = tuple(size for size in shape if size is not None)
        if len(known) != len(shape):
            raise InvalidArgumentError(f"part of {self.full_name!r}: got shape {list(shape)}, want a known one")
        return SliceSpec(tuple(self.full_shape), tuple(self.offset), known)


def _joined(sizes: Sequence[int]) -> str:
    return " ".join(str(size) for size in sizes)


def _number(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise InvalidArgumentError(f"slice: got {text!r}, want non-negative numbers")
    return int(digits)
