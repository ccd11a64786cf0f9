"""Tensors in lists, tuples and dictionaries: taken out, and put in again in other places."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mexport_pb.errors import InvalidArgumentError

__all__ = ["NestedTensors"]

_CONSTANTS: Final = (bool, int, float, str, bytes, type(None))

_Build: TypeAlias = Callable[[Sequence[Any]], Any]


class NestedTensors:
    """A structure of tensors of a GraphBuilder or a ``tf.Graph``; what the caller gave is never changed.

    Lists, tuples, named tuples and dictionaries nest in any way. Their leaves are tensors; ragged tensors with rows of
    one rank, which are two tensors, and sparse ones, which are three; and constants (bool, int, float, str, bytes,
    None) and variables, which are kept as they are. An object that comes several times is one tensor.

    Args:
        nested: The structure.

    Raises:
        InvalidArgumentError: something else is in it, or it is in itself.
    """

    def __init__(self, nested: Any) -> None:
        self._plain = _Slots()
        self._parts = _Slots()
        # Objects by id while they are looked into, so that a list in itself is no endless walk.
        self._open: set[int] = set()
        self._build = self._walk(nested, "tensors")

    def get_tensors(self) -> list[Any]:
        """All tensors: the plain ones in the order of the structure, then the parts of ragged and sparse ones."""
        return [*self._plain.values, *self._parts.values]

    def get_nested_result(self, tensors: Sequence[Any]) -> Any:
        """The same structure, in new containers, with other tensors.

        Args:
            tensors: One for each of :meth:`get_tensors`.

        Raises:
            InvalidArgumentError: there are more or fewer.
        """
        want = len(self._plain.values) + len(self._parts.values)
        if len(tensors) != want:
            raise InvalidArgumentError(f"tensors: got {len(tensors)}, want {want}")
        return self._build(list(tensors))

    def _walk(self, value: Any, path: str) -> _Build:
        if isinstance(value, _CONSTANTS) or _is_variable(value):
            return lambda _: value
        if isinstance(value, Mapping | list | tuple):
            return self._walk_container(value, path)
        if _has(value, "indices", "values", "dense_shape"):
            return self._composite([value.indices, value.values, value.dense_shape], type(value), path)
        if _has(value, "values", "row_splits"):
            make = getattr(type(value), "from_row_splits", None)
            unchecked = (lambda values, splits: make(values, splits, validate=False)) if make else type(value)
            return self._composite([value.values, value.row_splits], unchecked, path)
        return self._plain_tensor(value, path)

    def _walk_container(self, value: Any, path: str) -> _Build:
        if id(value) in self._open:
            raise InvalidArgumentError(f"{path}: is in itself")
        self._open.add(id(value))
        try:
            if isinstance(value, Mapping):
                items = {key: self._walk(one, f"{path}[{key!r}]") for key, one in value.items()}
                return lambda tensors: _like(value, {key: build(tensors) for key, build in items.items()})
            builds = [self._walk(one, f"{path}[{i}]") for i, one in enumerate(value)]
            if hasattr(value, "_fields"):
                return lambda tensors: type(value)(*(build(tensors) for build in builds))
            make = list if isinstance(value, list) else tuple
            return lambda tensors: make(build(tensors) for build in builds)
        finally:
            self._open.discard(id(value))

    def _plain_tensor(self, value: Any, path: str) -> _Build:
        _check_tensor(value, path)
        at = self._plain.place(value)
        return lambda tensors: tensors[at]

    def _composite(self, parts: Sequence[Any], make: Callable[..., Any], path: str) -> _Build:
        for part in parts:
            if _has(part, "values", "row_splits"):
                raise InvalidArgumentError(f"{path}: got a ragged tensor of more than one rank of rows")
            _check_tensor(part, path)
        places = [self._parts.place(part) for part in parts]
        # Those of all plain tensors come first, and how many there are is known at the end.
        return lambda tensors: make(*(tensors[len(self._plain.values) + at] for at in places))


class _Slots:
    """Objects, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[int, int] = {}

    def place(self, value: Any) -> int:
        if id(value) not in self._places:
            self._places[id(value)] = len(self.values)
            self.values.append(value)
        return self._places[id(value)]


def _has(value: Any, *names: str) -> bool:
    return all(hasattr(value, name) for name in names)


def _is_variable(value: Any) -> bool:
    return _has(value, "dtype", "assign")


def _check_tensor(value: Any, path: str) -> None:
    if not _has(value, "dtype", "op", "name", "shape"):
        raise InvalidArgumentError(
            f"{path}: got {type(value).__name__}, want tensors, containers of them, numbers, strings or None"
        )


def _like(mapping: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """A mapping of the caller's type with new values: an OrderedDict stays one, a defaultdict keeps its default."""
    if type(mapping) is dict or not isinstance(mapping, dict):
        return items
    made = copy.copy(mapping)
    made.update(items)
    return made
