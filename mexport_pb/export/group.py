"""Several staged directories that become one version: docs/distributed.md has the protocol."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mexport_pb.errors import PublishError, VersionExistsError
from mexport_pb.export.journal import Journal, JournalMember, locked_base, recover, remove_journal, write_journal
from mexport_pb.export.publish import StagedDirectory, remove_dead_stagings, sync, taken

__all__ = ["ENTRY", "GroupMember", "StagedGroup", "recovered_base", "staged_group"]

ENTRY: Final = "entry"
"""The sub-model that clients call: the last one to be published, and the one that may make readers use the others."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupMember:
    """A sub-model of a version.

    Attributes:
        name: Its folder below the base.
        suffix: What its directory's name has behind the version.
    """

    name: str
    suffix: str = ""


class StagedGroup:
    """Directories in the making: fill the folders of :attr:`paths`, then :meth:`commit` all or :meth:`discard` all.

    Args:
        base: The folder of sub-models; made with its parents.
        members: In the order of publishing.
        version: The number that their names begin with.
        next_version: Gives another number, one that is free for all, when one of the names is taken; without it that is
            an error.

    Raises:
        VersionExistsError: One of the targets is there already.
        OSError: A folder cannot be made or written.
    """

    def __init__(
        self,
        base: str | os.PathLike[str],
        members: Sequence[GroupMember],
        version: int,
        *,
        next_version: Callable[[], int] | None = None,
    ) -> None:
        self._base = Path(os.path.abspath(base))
        self._members = list(members)
        self._version = version
        self._next_version = next_version
        self._staged: list[StagedDirectory] = []
        self._synced: set[int] = set()
        try:
            for member in self._members:
                target = self._base / member.name / f"{version}{member.suffix}"
                self._staged.append(StagedDirectory(target, may_move=next_version is not None))
        except BaseException:
            self.discard()
            raise

    @property
    def paths(self) -> list[Path]:
        """The staged folders, in the members' order."""
        return [staged.path for staged in self._staged]

    def sync(self, number: int) -> None:
        """Makes one staged directory durable, which is finished; :meth:`commit` does it for those that are not.

        Args:
            number: Its place among the members. Several threads may sync several of them.

        Raises:
            OSError: A file cannot be synced.
        """
        self._staged[number].sync()
        self._synced.add(number)

    def commit(self) -> list[Path]:
        """Publishes all directories as one: the last one is there only when all others are, and all are durable.

        Returns:
            The final paths, in the members' order.

        Raises:
            VersionExistsError: A name is taken; nothing was published.
            PublishError: A rename or sync failed. The message says what became of what had been renamed.
            OSError: The staged files cannot be synced, or the base not be locked; nothing was published.
        """
        for number in range(len(self._staged)):
            if number not in self._synced:
                self.sync(number)
        with locked_base(self._base):
            found = recover(self._base)
            while True:
                try:
                    self._refuse_taken()
                    self._publish()
                    break
                except VersionExistsError:
                    if self._next_version is None:
                        raise
                    self._move(self._next_version())
        if found:
            _sweep(self._base)
        return [staged.target for staged in self._staged]

    def discard(self) -> None:
        """Removes the staged directories; does nothing to published ones."""
        for staged in reversed(self._staged):
            staged.discard()

    def _refuse_taken(self) -> None:
        for staged in self._staged:
            if os.path.lexists(staged.target):
                raise taken(staged.target)

    def _move(self, version: int) -> None:
        self._version = version
        for member, staged in zip(self._members, self._staged, strict=True):
            staged.target = staged.target.parent / f"{version}{member.suffix}"

    def _publish(self) -> None:
        last = self._staged[-1]
        journal = Journal(
            f"{ENTRY}/{self._version}",
            tuple(JournalMember.of(str(s.target.relative_to(self._base)), s.path) for s in self._staged),
        )
        try:
            write_journal(self._base, journal)
            for staged in self._staged[:-1]:
                staged.rename()
            _sync_parents(self._staged[:-1])
            last.rename()
        except BaseException as error:
            if not _has_its_name(last):
                self._take_back(error)
            # Else Ctrl-C came after the last rename: readers may use the version. The next export syncs it.
            raise
        try:
            sync(last.target.parent)
            remove_journal(self._base)
        except OSError as error:
            raise PublishError(
                f"{self._base}: version {self._version} was published, but is perhaps not durable: {error}"
            ) from error
        for staged in self._staged:
            staged.release()

    def _take_back(self, error: BaseException) -> None:
        """Undoes what was renamed, so that the journal is not needed; raises what says so, or returns."""
        renamed = [
            (member.name, staged)
            for member, staged in zip(self._members, self._staged, strict=True)
            if _has_its_name(staged)
        ]
        what = ", ".join(name for name, _ in renamed) or "nothing"
        try:
            for _, staged in reversed(renamed):
                staged.take_back()
            _sync_parents([staged for _, staged in renamed])
            # Not there if it could not be made.
            with contextlib.suppress(FileNotFoundError):
                remove_journal(self._base)
        except OSError as problem:
            raise PublishError(
                f"{self._base}: version {self._version} was not published: {error}; {what} had been renamed, and "
                f"could not be taken back: {problem}; the next export will try again"
            ) from error
        if isinstance(error, VersionExistsError):
            raise VersionExistsError(f"{error}; {what} had been renamed and was taken back") from error
        if isinstance(error, OSError):
            raise PublishError(
                f"{self._base}: version {self._version} was not published: {error}; {what} had been renamed and was "
                "taken back"
            ) from error


@contextlib.contextmanager
def staged_group(
    base: str | os.PathLike[str],
    members: Sequence[GroupMember],
    version: int,
    *,
    next_version: Callable[[], int] | None = None,
) -> Iterator[StagedGroup]:
    """A :class:`StagedGroup` that is discarded when the block is left without a commit, in whatever way."""
    group = StagedGroup(base, members, version, next_version=next_version)
    try:
        yield group
    finally:
        group.discard()


@contextlib.contextmanager
def recovered_base(base: str | os.PathLike[str]) -> Iterator[None]:
    """Cleans up after exporters that died, and keeps others from publishing into the base within the block.

    Raises:
        PublishError: Another process keeps the base locked.
        OSError: The clean-up failed.
    """
    folder = Path(os.path.abspath(base))
    if not folder.is_dir():
        yield
        return
    with locked_base(folder):
        recover(folder)
        yield
    _sweep(folder)


def _has_its_name(staged: StagedDirectory) -> bool:
    # The exporter's lock keeps others from removing the staged directory.
    return not os.path.lexists(staged.path)


def _sync_parents(staged: Sequence[StagedDirectory]) -> None:
    for folder in dict.fromkeys(one.target.parent for one in staged):
        sync(folder)


def _sweep(base: Path) -> None:
    with os.scandir(base) as entries:
        folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for folder in folders:
        try:
            remove_dead_stagings(folder)
        except OSError as error:
            _log.warning("cannot look for what dead exports left in %s: %s", folder, error)
