"""Do the variables of a graph fit a checkpoint? Asked before a byte of data is read."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence

from mexport_pb.bundle import BundleReader
from mexport_pb.dtypes import name_of
from mexport_pb.errors import MismatchError, MissingVariableError
from mexport_pb.graph.save_plan import SaveItem

__all__ = ["check_match", "find_mismatch"]

_MAX_LISTED = 20
_USUAL_CAUSES = (
    "A variable that exists only while exporting, or a checkpoint of another model or of another mode of the model, "
    "are the usual causes"
)
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_OBJECT_BASED = (
    "The checkpoint is object-based (tf.train.Checkpoint, Keras): its keys are paths of attributes, not names of "
    "variables. Save one with tf.compat.v1.train.Saver"
)


def check_match(items: Sequence[SaveItem], reader: BundleReader, extra: Container[str] = ()) -> None:
    """See that a checkpoint has what a graph restores, with its dtypes and shapes.

    Args:
        items: What the graph restores.
        reader: The checkpoint, of which only the index is read.
        extra: Keys that the checkpoint may lack.

    Raises:
        MissingVariableError: variables are not in the checkpoint; all of them are listed, with what is near.
        MismatchError: a variable has another dtype or shape there.
    """
    _check_present(items, reader, extra)
    for item in items:
        if item.key in reader and (mismatch := find_mismatch(item, reader)):
            raise MismatchError(f"{reader.prefix}: variable {item.key!r}: {mismatch}")


def find_mismatch(item: SaveItem, reader: BundleReader) -> str | None:
    """Say how a stored tensor differs from what the graph restores, or None."""
    dtype, shape, want = reader.dtype(item.key), reader.shape(item.key), item.full_shape
    if dtype != item.dtype:
        return f"got {name_of(dtype)} in the checkpoint, want {name_of(item.dtype)}"
    if want is None or (len(want) == len(shape) and all(w is None or w == g for w, g in zip(want, shape, strict=True))):
        return None
    return f"got shape {list(shape)} in the checkpoint, want {list(want)}"


def _check_present(items: Sequence[SaveItem], reader: BundleReader, extra: Container[str]) -> None:
    missing = list(dict.fromkeys(item.key for item in items if item.key not in reader and item.key not in extra))
    if not missing:
        return
    keys = reader.keys()
    lines = []
    for key in missing[:_MAX_LISTED]:
        near = difflib.get_close_matches(key, keys, n=3, cutoff=0.6)
        lines.append(f"{key!r}" + (f" (near it: {', '.join(map(repr, near))})" if near else ""))
    if len(missing) > _MAX_LISTED:
        lines.append(f"and {len(missing) - _MAX_LISTED} more")
    what = "variable" if len(missing) == 1 else f"{len(missing)} variables"
    cause = _OBJECT_BASED if _OBJECT_GRAPH in reader else _USUAL_CAUSES
    raise MissingVariableError(
        f"{reader.prefix}: the checkpoint, which has {len(keys)} variables, lacks {what} of the graph: "
        f"{'; '.join(lines)}. {cause}"
    )
