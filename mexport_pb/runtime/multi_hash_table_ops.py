"""Several embedding tables behind one handle in TensorFlow graphs; see :mod:`mexport_pb.runtime.hash_table_ops`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from mexport_pb import table as faces
from mexport_pb._proto.ckpt_info_pb2 import CkptInfo
from mexport_pb.errors import MismatchError
from mexport_pb.graph.export_mode import is_exporting
from mexport_pb.messages.text import to_text
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.basic_restore_hook import CheckpointRestorerListener
from mexport_pb.runtime.emitter import current_graph
from mexport_pb.runtime.save_utils import AssetsSaverListener, SaveHelper, basename_placeholder, run_options
from mexport_pb.table import HashTableConfigInstance, RaggedIds
from mexport_pb.table.collections import MULTI_HASH_TABLES_COLLECTION
from mexport_pb.table.emitter import Emitter
from mexport_pb.table.shards import group_shards

__all__ = [
    "MultiHashTable",
    "MultiHashTableCheckpointRestorerListener",
    "MultiHashTableCheckpointSaverListener",
    "MultiHashTableRestorerSaverListener",
    "RaggedIds",
]

tf = tensorflow()
_Listener: Any = tf.compat.v1.train.CheckpointSaverListener
_TIMEOUT_MINUTES = 60


class MultiHashTable(faces.MultiHashTable):
    """Tables in a TensorFlow graph; see :class:`mexport_pb.MultiHashTable`.

    They are among TensorFlow's shared resources, so a ``tf.compat.v1.train.Scaffold`` makes them along with the
    variables; a plain session runs ``initializer``. Where ragged ids are wanted, a ``tf.RaggedTensor`` does.
    """

    @classmethod
    def from_configs(
        cls,
        configs: Mapping[str, HashTableConfigInstance],
        hash_filter: Any = None,
        sync_client: Any = None,
        name_suffix: str = "",
        saver_parallel: int = -1,
        *,
        graph: Emitter | None = None,
    ) -> Self:
        """Add tables to the default graph; see :meth:`mexport_pb.MultiHashTable.from_configs`."""
        return super().from_configs(
            configs, hash_filter, sync_client, name_suffix, saver_parallel, graph=graph or current_graph()
        )

    @staticmethod
    def _default_graph() -> Emitter:
        return current_graph()

    def _register(self, is_initialized: Any) -> None:
        if is_exporting():
            return  # the main op makes them, and the collection is nothing that a message can hold
        from tensorflow.python.ops.resources import register_resource

        register_resource(self.handle, self.initializer, is_initialized, is_shared=True)


class MultiHashTableCheckpointSaverListener(AssetsSaverListener):
    """Saves the graph's sets of tables into ``<checkpoint>.assets/``, before the variables.

    Writes ``ckpt.info-<step>`` too: the number of entries of each table, those of equal names added up.

    Args:
        basename: Of the checkpoints, ``<model_dir>/model.ckpt``.
    """

    def begin(self) -> None:
        """Adds the nodes that save."""
        tables = tf.compat.v1.get_collection(MULTI_HASH_TABLES_COLLECTION)
        self._tables = [(basename_placeholder(), table) for table in tables]
        self._ops = [table.save(basename).as_op() for basename, table in self._tables]
        self._stats = [table.feature_stat(basename) for basename, table in self._tables]

    def _save(self, session: Any, folder: str, step: int) -> None:
        if not self._tables:
            return
        feeds = {basename.name: folder + table.shared_name for basename, table in self._tables}
        session.run(self._ops, feeds, options=run_options(_TIMEOUT_MINUTES))
        info = CkptInfo()
        for features, counts in session.run(self._stats, feeds, options=run_options(_TIMEOUT_MINUTES)):
            for feature, count in zip(features, counts, strict=True):
                info.feature_counts[feature.decode()] += int(count)
        path = self._helper.get_ckpt_info(step)
        with tf.io.gfile.GFile(f"{path}-tmp", "w") as file:
            file.write(to_text(info))
        tf.io.gfile.rename(f"{path}-tmp", path, overwrite=True)


class MultiHashTableCheckpointRestorerListener(CheckpointRestorerListener):
    """Makes the graph's sets of tables, and restores them from the newest checkpoint, if there is one.

    Tables that the checkpoint does not have stay empty, and its tables that the graph does not have are passed over.

    Args:
        basename: Of the checkpoints, ``<model_dir>/model.ckpt``.

    Raises:
        MismatchError: when it restores, there are no files of a set.
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


class MultiHashTableRestorerSaverListener(_Listener):  # type: ignore[misc]
    """Reads each checkpoint of the graph's sets of tables as soon as it is saved.

    Entries that came after the save stay, for several tables are restored by adding to them.

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
        tables = tf.compat.v1.get_collection(MULTI_HASH_TABLES_COLLECTION)
        self._tables = [(basename_placeholder(), table) for table in tables]
        self._ops = [table.restore(basename).as_op() for basename, table in self._tables]

    def run(self, session: Any, folder: str) -> None:
        if not self._tables:
            return
        present = group_shards(tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else [])
        for _, table in self._tables:
            if table.shared_name not in present:
                raise MismatchError(f"Unable to find table checkpoint in {folder}: want files of {table.shared_name!r}")
        session.run([table.initializer for _, table in self._tables])
        feeds = {basename.name: folder + table.shared_name for basename, table in self._tables}
        session.run(self._ops, feeds, options=run_options(_TIMEOUT_MINUTES))
