"""Hash filters in TensorFlow graphs: they admit an id to a table only once it came often enough."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mexport_pb import table as faces
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.basic_restore_hook import CheckpointRestorerListener
from mexport_pb.runtime.emitter import current_graph
from mexport_pb.runtime.ops import hash_filter_intercept_gradient, hash_filter_restore, hash_filter_save
from mexport_pb.runtime.save_utils import AssetsSaverListener, SaveHelper, basename_placeholder, run_options
from mexport_pb.table.filters import FilterType

__all__ = [
    "HashFilterCheckpointRestorerListener",
    "HashFilterCheckpointSaverListener",
    "create_dummy_hash_filter",
    "create_hash_filter",
    "create_hash_filters",
    "create_probabilistic_filter",
    "intercept_gradient",
    "restore_hash_filter",
    "save_hash_filter",
]

tf = tensorflow()
_TIMEOUT_MINUTES = 30


def create_dummy_hash_filter(name_suffix: str = "0") -> Any:
    """Add a filter that admits every id to the default graph; returns its handle."""
    return faces.create_dummy_hash_filter(name_suffix, graph=current_graph())


def create_hash_filter(
    capacity: int = 300_000_000, split_num: int = 7, config: bytes = b"", name_suffix: str = ""
) -> Any:
    """Add a filter that counts; see :func:`mexport_pb.table.create_hash_filter`."""
    return faces.create_hash_filter(capacity, split_num, config, name_suffix, graph=current_graph())


def create_probabilistic_filter(equal_probability: bool = False, config: bytes = b"", name_suffix: str = "") -> Any:
    """Add a filter that admits ids at random; see :func:`mexport_pb.table.create_probabilistic_filter`."""
    return faces.create_probabilistic_filter(equal_probability, config, name_suffix, graph=current_graph())


def create_hash_filters(
    ps_num: int,
    enable_hash_filter: bool,
    config: bytes = b"",
    filter_type: FilterType = "sliding_hash_filter",
    *,
    capacity: int = 300_000_000,
    split_num: int = 7,
    equal_probability: bool = False,
) -> list[Any]:
    """Add a filter for each parameter server; see :func:`mexport_pb.table.create_hash_filters`."""
    return faces.create_hash_filters(
        ps_num,
        enable_hash_filter,
        config,
        filter_type,
        capacity=capacity,
        split_num=split_num,
        equal_probability=equal_probability,
        graph=current_graph(),
    )


def intercept_gradient(filter_handle: Any, ids: Any, embeddings: Any) -> Any:
    """Return the embeddings; on the way back, the gradients of filtered ids become zeros."""
    return hash_filter_intercept_gradient(filter_handle, ids, embeddings)


def save_hash_filter(hash_filter: Any, basename: Any) -> Any:
    """Write a filter's files; returns the handle behind that. A filter that counts nothing has none."""
    return hash_filter_save(hash_filter, basename)


def restore_hash_filter(hash_filter: Any, basename: Any) -> Any:
    """Read a filter's files; returns the handle behind that."""
    return hash_filter_restore(hash_filter, basename)


class HashFilterCheckpointSaverListener(AssetsSaverListener):
    """Saves filters into ``<checkpoint>.assets/hash_filter_<i>-…``, before the variables.

    Args:
        basename: Of the checkpoints, ``<model_dir>/model.ckpt``.
        hash_filters: Their handles.
        enable_hash_filter: Whether there are real ones; otherwise nothing is saved.
        enable_save_restore: Whether to save them.
    """

    def __init__(
        self,
        basename: str | os.PathLike[str],
        hash_filters: Sequence[Any],
        enable_hash_filter: bool,
        enable_save_restore: bool = True,
    ) -> None:
        super().__init__(basename)
        self._filters = list(hash_filters) if enable_hash_filter and enable_save_restore else []

    def begin(self) -> None:
        """Adds the nodes that save."""
        self._basenames = [basename_placeholder() for _ in self._filters]
        self._ops = [hash_filter_save(*pair) for pair in zip(self._filters, self._basenames, strict=True)]

    def _save(self, session: Any, folder: str, step: int) -> None:
        del step
        session.run(self._ops, _feeds(self._basenames, folder), options=run_options(_TIMEOUT_MINUTES))


class HashFilterCheckpointRestorerListener(CheckpointRestorerListener):
    """Restores filters from the newest checkpoint, if there is one; arguments as for the saver's listener."""

    def __init__(
        self,
        basename: str | os.PathLike[str],
        hash_filters: Sequence[Any],
        enable_hash_filter: bool,
        enable_save_restore: bool = True,
    ) -> None:
        self._helper = SaveHelper(basename)
        self._filters = list(hash_filters) if enable_hash_filter and enable_save_restore else []

    def begin(self) -> None:
        """Adds the nodes that restore."""
        self._basenames = [basename_placeholder() for _ in self._filters]
        self._ops = [hash_filter_restore(*pair) for pair in zip(self._filters, self._basenames, strict=True)]

    def before_restore(self, session: Any) -> None:
        """Restores."""
        checkpoint = tf.train.latest_checkpoint(self._helper.folder)
        if checkpoint is not None:
            feeds = _feeds(self._basenames, self._helper.get_ckpt_asset_dir(checkpoint))
            session.run(self._ops, feeds, options=run_options(_TIMEOUT_MINUTES))


def _feeds(basenames: Sequence[Any], folder: str) -> dict[str, str]:
    return {basename.name: f"{folder}hash_filter_{i}" for i, basename in enumerate(basenames)}
