"""What a ``tf.compat.v1.train`` session restores beside its variables, once these are restored."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.runtime._tensorflow import tensorflow

__all__ = ["CheckpointRestorerHook", "CheckpointRestorerListener", "check_restored"]

tf = tensorflow()
_Hook: Any = tf.compat.v1.train.SessionRunHook

# Of each graph, the listeners that want to restore something before anything is saved. They know the graph, and must
# not keep it alive from here.
_pending: weakref.WeakKeyDictionary[Any, weakref.WeakSet[CheckpointRestorerListener]] = weakref.WeakKeyDictionary()


class CheckpointRestorerListener:
    """Is told when a session is made. The defaults do nothing."""

    def begin(self) -> None:
        """Called while the graph can still be added to."""

    def before_restore(self, session: Any) -> None:
        """Called when the session is made and its variables are restored or initialised; restores."""

    def after_restore(self, session: Any) -> None:
        """Called after ``before_restore`` of all listeners."""


class CheckpointRestorerHook(_Hook):  # type: ignore[misc]
    """Lets listeners restore what is not a variable.

    A hook that saves, such as CheckpointSaverHook, saves as soon as there is a session. It must come after this one in
    the list of hooks, or skip that save as :class:`~mexport_pb.runtime.save_utils.NoFirstSaveCheckpointSaverHook` does:
    otherwise it would write empty tables over those of the checkpoint. The listeners for tables refuse to do that.
    """

    def __init__(self, listeners: Sequence[CheckpointRestorerListener] | None = None) -> None:
        self._listeners = list(listeners or ())

    def begin(self) -> None:
        """Lets the listeners add to the graph."""
        for listener in self._listeners:
            listener.begin()
        graph = tf.compat.v1.get_default_graph()
        _pending.setdefault(graph, weakref.WeakSet()).update(self._listeners)

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Lets the listeners restore."""
        del coord
        for listener in self._listeners:
            listener.before_restore(session)
        for listener in self._listeners:
            listener.after_restore(session)
        _pending.get(session.graph, weakref.WeakSet()).difference_update(self._listeners)


def check_restored(graph: Any) -> None:
    """Refuse to save a graph of which something is still to be restored.

    Raises:
        InvalidArgumentError: a CheckpointRestorerHook has not had its turn.
    """
    waiting = sorted({type(listener).__name__ for listener in _pending.get(graph, ())})
    if waiting:
        raise InvalidArgumentError(
            f"a checkpoint now would lose what {', '.join(waiting)} is still to restore: want CheckpointRestorerHook "
            "before the hook that saves, or NoFirstSaveCheckpointSaverHook as that hook"
        )
