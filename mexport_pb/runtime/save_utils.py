"""Where a training job's checkpoints keep what is not a variable, and what saves and deletes it along with them.

::

    model.ckpt-<step>.{index,data-…,meta}      variables, by TensorFlow
    model.ckpt-<step>.assets/                  tables and filters
    ckpt.info-<step>                           entries of each of several tables, a CkptInfo as text
"""

from __future__ import annotations

import abc
import os
import posixpath
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.basic_restore_hook import check_restored

__all__ = [
    "AssetsSaverListener",
    "NoFirstSaveCheckpointSaverHook",
    "SaveHelper",
    "basename_placeholder",
    "run_options",
]

tf = tensorflow()
_Listener: Any = tf.compat.v1.train.CheckpointSaverListener
_SaverHook: Any = tf.compat.v1.train.CheckpointSaverHook


class SaveHelper:
    """The paths of a job's checkpoints.

    Args:
        basename: What their names have in front of the step, ``<model_dir>/model.ckpt``.
    """

    def __init__(self, basename: str | os.PathLike[str]) -> None:
        self._basename = os.fspath(basename)

    @property
    def folder(self) -> str:
        """Where the checkpoints are."""
        return posixpath.dirname(self._basename) or "."

    def get_ckpt_prefix(self, global_step: int) -> str:
        """``<model_dir>/model.ckpt-<step>``."""
        return f"{self._basename}-{global_step}"

    @staticmethod
    def get_ckpt_asset_dir(ckpt_prefix: str) -> str:
        """The folder of a checkpoint's tables and filters, with a slash at its end."""
        return f"{ckpt_prefix}.assets/"

    def get_ckpt_info(self, global_step: int) -> str:
        """``<model_dir>/ckpt.info-<step>``."""
        return posixpath.join(self.folder, f"ckpt.info-{global_step}")

    @staticmethod
    def get_global_step_from_prefix(ckpt_prefix: str) -> int:
        """The step of ``…-<step>``, 0 for a name without ``-``.

        Raises:
            InvalidArgumentError: there is no number behind the last ``-``.
        """
        _, dash, step = posixpath.basename(ckpt_prefix).rpartition("-")
        if dash and not (step.isascii() and step.isdigit()):
            raise InvalidArgumentError(f"{ckpt_prefix}: got {step!r}, want the number of a step at its end")
        return int(step) if dash else 0

    def get_existing_checkpoint_steps(self) -> set[int]:
        """The steps of the checkpoints that the file ``checkpoint`` names; none if there is no such file.

        Those of other basenames do not count. Folders are not compared: one may be absolute and the other relative.
        """
        state = tf.compat.v1.train.get_checkpoint_state(self.folder)
        names = [posixpath.basename(path) for path in (() if state is None else state.all_model_checkpoint_paths)]
        own = f"{posixpath.basename(self._basename)}-"
        steps = (name.removeprefix(own) for name in names if name.startswith(own))
        return {int(step) for step in steps if step.isascii() and step.isdigit()}


class AssetsSaverListener(_Listener, abc.ABC):  # type: ignore[misc]
    """Saves something into ``<checkpoint>.assets/`` before the variables are, and deletes it after they are.

    The folder of a checkpoint goes when the Saver forgot the checkpoint, as it does by its ``max_to_keep``, and
    removed its files.

    Args:
        basename: As for :class:`SaveHelper`.
    """

    def __init__(self, basename: str | os.PathLike[str]) -> None:
        self._helper = SaveHelper(basename)
        self._before: set[int] = set()

    def before_save(self, sess: Any, global_step_id: int) -> None:
        """Saves.

        Raises:
            InvalidArgumentError: a restorer of the same graph has not had its turn.
        """
        check_restored(sess.graph)
        self._before = self._helper.get_existing_checkpoint_steps()
        folder = self._helper.get_ckpt_asset_dir(self._helper.get_ckpt_prefix(global_step_id))
        tf.io.gfile.makedirs(folder)
        self._save(sess, folder, int(global_step_id))

    def after_save(self, sess: Any, global_step_id: int) -> None:
        """Deletes what belongs to checkpoints that went."""
        for step in self._before - self._helper.get_existing_checkpoint_steps():
            prefix = self._helper.get_ckpt_prefix(step)
            folder = self._helper.get_ckpt_asset_dir(prefix)
            if not tf.io.gfile.exists(f"{prefix}.index") and tf.io.gfile.isdir(folder):
                tf.io.gfile.rmtree(folder)

    @abc.abstractmethod
    def _save(self, session: Any, folder: str, step: int) -> None: ...


class NoFirstSaveCheckpointSaverHook(_SaverHook):  # type: ignore[misc]
    """A CheckpointSaverHook that does not save at once when there is a session, but at its first turn."""

    _first = False

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Writes the graph, and saves no checkpoint."""
        self._first = True
        try:
            super().after_create_session(session, coord)
        finally:
            self._first = False

    def _save(self, session: Any, step: int) -> bool:
        return not self._first and bool(super()._save(session, step))


def basename_placeholder() -> Any:
    """What a listener feeds with the path to save to or to restore from: string []."""
    return tf.compat.v1.placeholder(tf.string, [], name="basename")


def run_options(minutes: int) -> Any:
    """Options for a ``session.run`` that may take so long."""
    return tf.compat.v1.RunOptions(timeout_in_ms=minutes * 60 * 1000)
