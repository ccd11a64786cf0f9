"""Small training jobs with embedding tables, in real sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from mexport_pb.runtime import hash_table_ops, multi_hash_table_ops
from mexport_pb.runtime.basic_restore_hook import CheckpointRestorerHook

__all__ = ["global_step", "sessions", "train_session"]

v1 = tf.compat.v1


def global_step() -> Any:
    """The step and an operation that takes one, made if needed."""
    return v1.train.get_or_create_global_step()


@contextmanager
def sessions(model_dir: Path, *, savers: Sequence[Any], restorers: Sequence[Any] = (), **saver: Any) -> Iterator[Any]:
    """A session of the default graph that restores, saves after every step, and saves at its end."""
    hooks = [
        CheckpointRestorerHook(listeners=list(restorers)),
        v1.train.CheckpointSaverHook(
            str(model_dir),
            save_steps=1,
            listeners=list(savers),
            saver=v1.train.Saver(sharded=True, save_relative_paths=True, **saver),
        ),
    ]
    with v1.train.SingularMonitoredSession(hooks=hooks, checkpoint_dir=str(model_dir)) as session:
        yield session


def train_session(model_dir: Path, build: Callable[[], Any], steps: int = 1, **saver: Any) -> None:
    """Build a graph, run what `build` returns and a step so often, and leave checkpoints with tables."""
    basename = model_dir / "model.ckpt"
    with tf.Graph().as_default():
        step = global_step()
        train_op = build()
        with tf.control_dependencies([train_op]):
            train_op = v1.assign_add(step, 1)
        with sessions(
            model_dir,
            savers=[
                hash_table_ops.HashTableCheckpointSaverListener(basename),
                multi_hash_table_ops.MultiHashTableCheckpointSaverListener(basename),
            ],
            restorers=[
                hash_table_ops.HashTableCheckpointRestorerListener(basename),
                multi_hash_table_ops.MultiHashTableCheckpointRestorerListener(basename),
            ],
            **saver,
        ) as session:
            for _ in range(steps):
                session.run(train_op)
