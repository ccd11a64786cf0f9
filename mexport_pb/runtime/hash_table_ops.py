"""Embedding tables in TensorFlow graphs: :class:`mexport_pb.HashTable` with ``tf.Graph`` in place of GraphBuilder.

Nodes go to TensorFlow's default graph. Names, configurations and collections are those of the other face, by the same
code, so exporters find the tables in either kind of graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from typing import Any

from mexport_pb import table as faces
from mexport_pb.errors import MismatchError
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.basic_restore_hook import CheckpointRestorerListener
from mexport_pb.runtime.emitter import current_graph
from mexport_pb.runtime.save_utils import AssetsSaverListener, SaveHelper, basename_placeholder, run_options
from mexport_pb.table import HashTableConfigInstance
from mexport_pb.table.collections import HASH_TABLES_COLLECTION
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.shards import group_shards

__all__ = [
    "HashTable",
    "HashTableCheckpointRestorerListener",
    "HashTableCheckpointSaverListener",
    "HashTableRestorerSaverListener",
    "extract_slot_from_entry",
    "fused_apply_gradient",
    "fused_lookup",
    "hash_table_from_config",
    "test_hash_table",
]

tf = tensorflow()
_Listener: Any = tf.compat.v1.train.CheckpointSaverListener
_SLEEP_MS = 15
_TIMEOUT_MINUTES = 60


class HashTable(faces.HashTable):
    """A table in a TensorFlow graph; see :class:`mexport_pb.HashTable`.

    A training step is ``table.apply_gradients(ids, tf.gradients(loss, embeddings)[0], global_step)`` for
    ``embeddings = table.lookup(ids)``; run ``as_op()`` of what it returns.
    """

    @staticmethod
    def _default_graph() -> Emitter:
        return current_graph()


def hash_table_from_config(
    config: HashTableConfigInstance,
    hash_filter: Any = None,
    name_suffix: str = "",
    sync_client: Any = None,
    saver_parallel: int = -1,
) -> HashTable:
    """Add a table to the default graph; see :func:`mexport_pb.hash_table_from_config`."""
    made = faces.hash_table_from_config(
        config, hash_filter, name_suffix, sync_client, saver_parallel, graph=current_graph(), face=HashTable
    )
    assert isinstance(made, HashTable)
    return made


def test_hash_table(
    dim_size: int,
    enable_hash_filter: bool = False,
    name_suffix: str | None = None,
    learning_rate: float | Callable[[], Any] = 1.0,
    occurrence_threshold: int = 0,
    use_adagrad: bool = False,
    expire_time: int = 36500,
    sync_client: Any = None,
    extra_restore_names: Sequence[str] = (),
) -> HashTable:
    """Add a table of one segment to the default graph, for tests; see :func:`mexport_pb.table.test_hash_table`."""
    made = faces.test_hash_table(
        dim_size,
        enable_hash_filter,
        name_suffix,
        learning_rate,
        occurrence_threshold,
        use_adagrad,
        expire_time,
        sync_client,
        extra_restore_names,
        graph=current_graph(),
        face=HashTable,
    )
    assert isinstance(made, HashTable)
    return made


# pytest would take it for a test of whoever imports it.
test_hash_table.__test__ = False  # type: ignore[attr-defined]


def fused_lookup(
    tables: Sequence[Any], ids: Any, fused_slot_size: Any, num_of_shards: int, req_time: Any = None
) -> tuple[Any, ...]:
    """Look up in several tables at once; see :func:`mexport_pb.table.fused_lookup`."""
    return faces.fused_lookup(tables, ids, fused_slot_size, num_of_shards, req_time, graph=current_graph())


def fused_apply_gradient(
    tables: Sequence[Any],
    ids: Any,
    indices: Any,
    fused_slot_size: Any,
    id_grads: Any,
    id_offsets: Any,
    grad_offsets: Any,
    learning_rate_tensors: Any,
    req_time: Any,
    global_step: Any,
    num_of_shards: int,
    enable_grad_accumulation: bool = False,
) -> list[Any]:
    """Let the optimizers of several tables take a step; see :func:`mexport_pb.table.fused_apply_gradient`."""
    return faces.fused_apply_gradient(
        tables,
        ids,
        indices,
        fused_slot_size,
        id_grads,
        id_offsets,
        grad_offsets,
        learning_rate_tensors,
        req_time,
        global_step,
        num_of_shards,
        enable_grad_accumulation,
        graph=current_graph(),
    )


def extract_slot_from_entry(entry: Any, fid_v2: bool = True) -> Any:
    """The slot of the id of each serialised EntryDump: int32 [n]."""
    return faces.extract_slot_from_entry(entry, fid_v2, graph=current_graph())


class HashTableCheckpointSaverListener(AssetsSaverListener):
    """Saves the graph's single tables into ``<checkpoint>.assets/``, before the variables.

    For ``tf.compat.v1.train.CheckpointSaverHook(..., listeners=[...])``.

    Args:
        basename: Of the checkpoints, ``<model_dir>/model.ckpt``.
    """

    def begin(self) -> None:
        """Adds the nodes that save."""
        tables = tf.compat.v1.get_collection(HASH_TABLES_COLLECTION)
        self._tables = [(basename_placeholder(), table) for table in tables]
        sleep = _SLEEP_MS * len(tables)  # so that not all write at once
        self._ops = [table.save(basename, sleep).as_op() for basename, table in self._tables]

    def _save(self, session: Any, folder: str, step: int) -> None:
        del step
        feeds = {basename.name: folder + table.file_prefixes[0] for basename, table in self._tables}
        session.run(self._ops, feeds, options=run_options(_TIMEOUT_MINUTES))


class HashTableCheckpointRestorerListener(CheckpointRestorerListener):
    """Restores the graph's single tables from the newest checkpoint.

    Where there is no checkpoint, but one folder ``*.assets``, from that; where there are none or several, nothing is
    restored. A table takes the files of the first of its name and its ``extra_restore_names`` that has any.

    Args:
        basename: Of the checkpoints, ``<model_dir>/model.ckpt``.

    Raises:
        MismatchError: when it restores, there are no files of a table.
    """

    def __init__(self, basename: str | os.PathLike[str]) -> None:
        self._helper = SaveHelper(basename)

    def begin(self) -> None:
        """Adds the nodes that restore."""
        self._restorer = _Restorer()

    def before_restore(self, session: Any) -> None:
        """Restores."""
        checkpoint = tf.train.latest_checkpoint(self._helper.folder)
        if checkpoint is not None:
            self._restorer.run(session, self._helper.get_ckpt_asset_dir(checkpoint))
            return
        folders = [path for path in tf.io.gfile.glob(f"{self._helper.folder}/*.assets") if tf.io.gfile.isdir(path)]
        if len(folders) == 1:
            self._restorer.run(session, f"{folders[0]}/")


class HashTableRestorerSaverListener(_Listener):  # type: ignore[misc]
    """Restores the graph's single tables from each checkpoint as soon as it is saved, so that expired entries go.

    Args:
        ckpt_prefix: Of the checkpoints, ``<model_dir>/model.ckpt``.
    """

    def __init__(self, ckpt_prefix: str | os.PathLike[str]) -> None:
        self._helper = SaveHelper(ckpt_prefix)

    def begin(self) -> None:
        """Adds the nodes that restore."""
        self._restorer = _Restorer()

    def after_save(self, sess: Any, global_step_id: int) -> None:
        """Restores."""
        prefix = self._helper.get_ckpt_prefix(global_step_id)
        self._restorer.run(sess, self._helper.get_ckpt_asset_dir(prefix))


class _Restorer:
    def __init__(self) -> None:
        tables = tf.compat.v1.get_collection(HASH_TABLES_COLLECTION)
        self._tables = [(basename_placeholder(), table) for table in tables]
        self._ops = [table.restore(basename).as_op() for basename, table in self._tables]

    def run(self, session: Any, folder: str) -> None:
        if not self._ops:
            return
        present = group_shards(tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else [])
        feeds = {basename.name: folder + _prefix(folder, present, table) for basename, table in self._tables}
        session.run(self._ops, feeds, options=run_options(_TIMEOUT_MINUTES))


def _prefix(folder: str, present: Container[str], table: HashTable) -> str:
    for prefix in table.file_prefixes:
        if prefix in present:
            return prefix
    raise MismatchError(
        f"Unable to find table checkpoint in {folder}: want files of {' or '.join(map(repr, table.file_prefixes))}"
    )
