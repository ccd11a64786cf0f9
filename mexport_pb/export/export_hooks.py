"""Exports during training. Importing this module imports TensorFlow."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, get_args

from mexport_pb.errors import InvalidArgumentError, VersionExistsError
from mexport_pb.export.spec import ReceiverFn
from mexport_pb.export.state import get_global_step, record_exports
from mexport_pb.runtime._tensorflow import tensorflow
from mexport_pb.runtime.save_utils import SaveHelper

__all__ = ["ExportSaverListener", "Exporter"]

tf = tensorflow()
_Listener: Any = tf.compat.v1.train.CheckpointSaverListener
_OnError = Literal["log", "raise"]

_log = logging.getLogger(__name__)


class Exporter(Protocol):
    """What makes a version of a checkpoint; the exporters of this package do."""

    def export_saved_model(
        self, serving_input_receiver_fn: ReceiverFn, checkpoint_path: str | None = None, global_step: int | None = None
    ) -> bytes | str | Mapping[str, bytes | str]:
        """Exports; returns the directory, or the directories by sub-model."""


class ExportSaverListener(_Listener):  # type: ignore[misc]
    """Exports each checkpoint as soon as it is saved, and removes the versions of checkpoints that are gone.

    For ``tf.compat.v1.train.CheckpointSaverHook(..., listeners=[...])``, behind the listeners that save tables. A
    version stays as long as the file ``checkpoint`` names the checkpoint of its step, or its checkpoint is exempt. The
    books are kept in each folder of versions (:mod:`mexport_pb.export.state`).

    An export that fails is logged with its traceback, and training goes on; the next checkpoint is the next try.
    Monolith's listener ends the job there, as this one does with ``on_error="raise"``. A version that is there already,
    as when a job is started again and saves the step that it began with, is no failure.

    Args:
        save_path: What the names of the checkpoints have in front of ``-<step>``, ``<model_dir>/model.ckpt``.
        serving_input_receiver_fn: Builds the inputs of the serving graph.
        exporter: A :class:`mexport_pb.StandaloneExporter`, or another whose ``export_saved_model`` returns a directory
            or a mapping to directories.
        exempt_checkpoint_paths: Checkpoints, ``…/model.ckpt-<step>``, whose versions stay for good.
        dense_only: The model's checkpoints are of its dense part: versions of steps with a full checkpoint, in
            ``../..`` of a folder of versions, stay too.
        on_error: ``"log"`` or ``"raise"``.

    Attributes:
        failures: The exports in a row that failed; 0 after one that did not.
        last_error: What the last of them failed with, else None.

    Raises:
        InvalidArgumentError: by the constructor, for an exempt path without a step and for another ``on_error``.
    """

    def __init__(
        self,
        save_path: str | os.PathLike[str],
        serving_input_receiver_fn: ReceiverFn,
        exporter: Exporter,
        exempt_checkpoint_paths: Iterable[str | os.PathLike[str]] | None = None,
        dense_only: bool = False,
        *,
        on_error: _OnError = "log",
    ) -> None:
        if on_error not in get_args(_OnError):
            raise InvalidArgumentError(f"on_error: got {on_error!r}, want one of {', '.join(get_args(_OnError))}")
        self._save_path = os.fspath(save_path)
        self._helper = SaveHelper(self._save_path)
        self._serving_input_receiver_fn = serving_input_receiver_fn
        self._exporter = exporter
        self._exempt_steps = {get_global_step(path) for path in exempt_checkpoint_paths or ()}
        self._dense_only = dense_only
        self._on_error = on_error
        self.failures = 0
        self.last_error: Exception | None = None

    def after_save(self, session: Any, global_step_value: int) -> None:
        """Exports the checkpoint of this step.

        Raises:
            Exception: whatever the export fails with, if it was asked for.
        """
        del session
        step = int(global_step_value)
        checkpoint = self._helper.get_ckpt_prefix(step)
        try:
            result = self._exporter.export_saved_model(self._serving_input_receiver_fn, checkpoint, step)
            paths = result.values() if isinstance(result, Mapping) else [result]
            existing = self._helper.get_existing_checkpoint_steps()
            if step not in existing:
                _log.warning("%s: is not in the list of checkpoints: no version is removed", checkpoint)
            keep = functools.partial(self._steps_to_keep, existing) if step in existing else None
            record_exports(map(os.fsdecode, paths), step, keep)
        except VersionExistsError as error:
            # Of a job that was started again, and saves the checkpoint once more that it began with.
            _log.warning("%s is not exported again: %s", checkpoint, error)
        except Exception as error:
            self.failures += 1
            self.last_error = error
            if self._on_error == "raise":
                raise
            _log.exception("the export of %s failed (%d in a row); training goes on", checkpoint, self.failures)
        else:
            self.failures = 0
            self.last_error = None

    def _steps_to_keep(self, existing: set[int], folder: str) -> set[int]:
        steps = existing | self._exempt_steps
        if self._dense_only:
            full = os.path.join(folder, os.pardir, os.pardir, os.path.basename(self._save_path))
            steps |= SaveHelper(full).get_existing_checkpoint_steps()
        return steps
