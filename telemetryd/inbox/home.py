"""Where the inbox lies on disk, and its return there when somebody has removed or replaced its file.

SQLite goes on in a file that was removed, as every program does: nobody else could read what it keeps, and it would end
with the daemon. The daemon's connections share one Home. Each write transaction asks it first whether the file is still
the one that is open; if not, the connection that noticed copies all that the open file holds into a new one at the old
place, and every connection goes on there.

Invariants
* One connection writes at a time, so nothing is committed to the old file while it is copied.
* The old file's connections are closed when the new one is at its place, and before anybody opens that: with the last
  one SQLite removes the side files by their names. A reader in another process waits for the new log to be there.
* A file of somebody else's at the place is moved aside, never overwritten.
* What was committed is lost only if the process dies between the file's removal and its return: `ensure` is called
  at least once a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from telemetryd.errors import AlreadyServingError, InboxUnavailableError, PlaceError
from telemetryd.health.node_news import NodeNews
from telemetryd.inbox.tails import Tails
from telemetryd.limits import INBOX_BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from telemetryd.inbox.database import Database

log = logging.getLogger(__name__)

SIDE_FILES = ("-wal", "-shm")
_Identity = tuple[tuple[int, int] | None, ...]


def identity(path: Path) -> _Identity:
    """What tells the files of a database from others of their names: device and inode of itself and its log."""
    return tuple(_inode(f"{path}{suffix}") for suffix in ("", "-wal"))


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - several times a second, and a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Lock(Protocol):
    """threading.Lock and RLock, whose types have no public names."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class Home:
    """The place of one inbox, for all connections of a process. Its methods may be called from any thread."""

    def __init__(self, path: Path, reclaim: Callable[[], None] | None = None) -> None:
        """`reclaim` is called before the file returns: makes sure that the folder is there and still this process's.
        It may raise OSError, PlaceError, and AlreadyServingError when the folder is another's by now."""
        self.path = path
        self.tails = Tails()
        """What sessions printed last, as any of the connections took it in."""
        self.node_news: NodeNews | None = None
        """Who hears what nodes tell of their machines, whichever of the connections takes it in."""
        self.wrote: Callable[[int], None] | None = None
        """Called after each transaction with about how many bytes it has written: somebody makes checkpoints."""
        self.returns = 0
        """How often the file was put back."""
        self._reclaim = reclaim
        self._writing = threading.RLock()
        self._members: list[Database] = []
        self._identity: _Identity = ()

    @contextlib.contextmanager
    def _held(self, lock: _Lock) -> Iterator[None]:
        """Like SQLite's own lock, it is not waited for without end: the thread that has it may hang on a disk."""
        if not lock.acquire(timeout=INBOX_BUSY_TIMEOUT_S):
            raise InboxUnavailableError(f"the inbox {self.path} is locked: another thread waits for the disk")
        try:
            yield
        finally:
            lock.release()

    def join(self, member: Database) -> None:
        """A connection was made; not within one of its uses."""
        with self._held(self._writing):
            self._members.append(member)
            self._identity = self._identity or identity(self.path)

    def leave(self, member: Database) -> None:
        """A connection is closed for good; not within one of its uses."""
        with contextlib.suppress(InboxUnavailableError), self._held(self._writing):
            self._members.remove(member)

    @contextlib.contextmanager
    def writing(self, member: Database) -> Iterator[None]:
        """The right to write, with the file at its place. Raises InboxUnavailableError when it cannot be put there, or
        another thread keeps the right for too long."""
        with self._held(self._writing):
            self.ensure(member)
            yield

    def ensure(self, member: Database) -> None:
        """Put the file back if it is not there any more. Raises InboxUnavailableError as `writing`."""
        with self._held(self._writing):
            if self._identity and identity(self.path) != self._identity:
                self._put_back(member)

    def _put_back(self, member: Database) -> None:
        if not member.is_open:
            raise InboxUnavailableError(f"the inbox {self.path} was removed and is lost: restart the daemon")
        log.error("inbox_gone path=%s; what it holds is put into a new file there", self.path)
        with contextlib.ExitStack() as stack:
            for other in self._members:
                stack.enter_context(self._held(other.in_use))
            try:
                self._move_in(member)
            except (OSError, sqlite3.Error, PlaceError, AlreadyServingError) as error:
                raise InboxUnavailableError(f"the inbox {self.path} was removed, and not put back: {error}") from error
            for other in self._members:
                other.let_go()
            for other in self._members:
                other.reopen()
            self._identity = identity(self.path)
        self.returns += 1
        log.error("inbox_put_back path=%s", self.path)

    def _move_in(self, member: Database) -> None:
        partial = self.path.with_name(f"{self.path.name}.partial")
        if self._reclaim is not None:
            self._reclaim()
        try:
            partial.unlink(missing_ok=True)
            member.copy_to(partial)
            self._clear_place()
            partial.replace(self.path)
        finally:
            with contextlib.suppress(OSError):  # its folder may be gone again
                partial.unlink(missing_ok=True)

    def _clear_place(self) -> None:
        """Nothing of this name may be left: a log of another database would be taken for the new one's."""
        theirs, their_log = identity(self.path)
        if theirs is not None and theirs != self._identity[0]:
            aside = free_name(self.path, "replaced", int(time.time()))
            self.path.rename(aside)
            if their_log is not None and their_log != self._identity[1]:
                Path(f"{self.path}-wal").rename(f"{aside}-wal")
            log.error("inbox_replaced_by_another path=%s moved_to=%s", self.path, aside)
        for suffix in SIDE_FILES:
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def free_name(path: Path, word: str, stamp: int) -> Path:
    """A name beside `path` that nothing has, for a file that is moved aside."""
    first = f"{path.name}.{word}-{stamp}"
    aside, number = path.with_name(first), 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{first}-{number}")
    return aside
