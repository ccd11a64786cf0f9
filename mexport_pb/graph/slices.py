"""Parts of partitioned variables, as graphs describe them. :mod:`mexport_pb.bundle` reads and writes their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mexport_pb._proto.variable_pb2 import SaveSliceInfoDef
from mexport_pb.bundle import TensorSlice, format_shape_and_slice, parse_shape_and_slice
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.tensor import Shape

__all__ = ["SaveSlice", "full_shape_of", "part_shape_of"]


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

    def shape_and_slice(self, shape: Sequence[int | None]) -> str:
        """Return the part in the form that SaveV2 and RestoreV2 take, "5 2 0,3:0,2".

        Args:
            shape: Of the part.

        Raises:
            InvalidArgumentError: the shape is not fully known, or the part is empty or not within the whole.
        """
        full = tuple(self.full_shape)
        known = tuple(size for size in shape if size is not None)
        if len(known) != len(shape):
            raise InvalidArgumentError(f"part of {self.full_name!r}: got shape {list(shape)}, want a known one")
        if not len(full) == len(self.offset) == len(known):
            raise InvalidArgumentError(
                f"slice of {self.full_name!r}: got full shape {list(full)}, offset {list(self.offset)} and shape "
                f"{list(known)}, want equal ranks"
            )
        if min(known, default=1) < 1:
            raise InvalidArgumentError(f"slice of {self.full_name!r}: got shape {list(known)}, want sizes of 1 or more")
        part = TensorSlice(tuple(zip(self.offset, known, strict=True)))
        part.check_within(full)
        return format_shape_and_slice(full, part)

    @classmethod
    def from_message(cls, message: SaveSliceInfoDef) -> SaveSlice:
        """Read the part that a VariableDef describes; its shape is ``message.var_shape``."""
        return cls(message.full_name, tuple(message.full_shape), tuple(message.var_offset))

    def to_message(self, shape: Sequence[int | None]) -> SaveSliceInfoDef:
        """Return the description that a VariableDef carries.

        Args:
            shape: Of the part.

        Raises:
            InvalidArgumentError: as :meth:`shape_and_slice`.
        """
        self.shape_and_slice(shape)
        return SaveSliceInfoDef(
            full_name=self.full_name,
            full_shape=self.full_shape,
            var_offset=self.offset,
            var_shape=[size for size in shape if size is not None],
        )


def full_shape_of(shape_and_slice: str, otherwise: Shape) -> Shape:
    """Return the shape of the whole tensor that a saver's text speaks of; ``otherwise`` for the empty text.

    Raises:
        InvalidArgumentError: other text.
    """
    return parse_shape_and_slice(shape_and_slice)[0] if shape_and_slice else otherwise


def part_shape_of(shape_and_slice: str) -> tuple[int, ...]:
    """Return the shape of the part that a saver's text speaks of.

    Raises:
        InvalidArgumentError: other text, or none.
    """
    full_shape, part = parse_shape_and_slice(shape_and_slice)
    return part.shape(full_shape)
