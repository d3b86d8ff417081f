"""A session's folder in the spool: who owns it, and the Hello to introduce it with.

Invariants
* The owner holds an exclusive flock on `owner.lock` for its whole life; the kernel frees it however the owner dies. Who
  can take the lock may adopt the folder.
* `hello.msgpack` is written whole (temporary name, then rename) before the first record.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import msgspec

from client.protocol.messages import Hello

HELLO_NAME = "hello.msgpack"
LOCK_NAME = "owner.lock"

_decoder = msgspec.msgpack.Decoder(Hello)


class OwnerLock:
    """The flock on a session's folder."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, folder: Path) -> OwnerLock | None:
        """Take the lock; None while another process lives that holds it. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(folder / LOCK_NAME, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def is_in(self, folder: Path) -> bool:
        """Whether the file that is locked is still the one in `folder`. Raises OSError where that cannot be told."""
        if self._descriptor is None:
            return False
        try:
            found = (folder / LOCK_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        mine = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def release(self) -> None:
        """Give the lock up. In a forked child this closes the child's copy alone: the parent keeps the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Home:
    """A session's folder in the hands of its owner: made by `make`, also anew after somebody removed it."""

    def __init__(self, spool_dir: Path, hello: Hello) -> None:
        self.path = spool_dir / hello.session
        self._hello = hello
        self._lock: OwnerLock | None = None

    @property
    def held(self) -> bool:
        """Whether the folder was made and has not been given up."""
        return self._lock is not None

    def make(self) -> None:
        """Make the folder and take its lock. Raises OSError; leaves nothing half made."""
        _, self._lock = create(self.path.parent, self._hello)

    def is_there(self) -> bool:
        """Whether the folder that was made is still in its place. Raises OSError where that cannot be told."""
        return self._lock is not None and self._lock.is_in(self.path)

    def remove(self) -> None:
        """Remove the folder with all that is in it, and give it up."""
        if self.held:
            remove(self.path)
        self.release()

    def release(self) -> None:
        """Give the folder up as it is. In a forked child the parent keeps it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def create(spool_dir: Path, hello: Hello) -> tuple[Path, OwnerLock]:
    """Make the folder of a new session and take its lock. Raises OSError; leaves nothing half made."""
    spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = spool_dir / hello.session
    folder.mkdir(mode=0o700)
    lock = None
    try:
        lock = OwnerLock.take(folder)
        if lock is None:
            raise OSError(f"the spool folder {folder} of this very session is locked by another process")
        write_hello(folder, hello)
    except BaseException:
        if lock is not None:
            lock.release()
        remove(folder)
        raise
    return folder, lock


def write_hello(folder: Path, hello: Hello) -> None:
    """Write or replace the folder's Hello. Raises OSError."""
    partial = folder / f"{HELLO_NAME}.partial"
    partial.write_bytes(msgspec.msgpack.encode(hello))
    partial.rename(folder / HELLO_NAME)


def open_owned(path: Path, owner: int | None) -> int:
    """Open a file of this user for reading; None: of anybody. Raises OSError, also for a link and what is no file.

    In a folder of another user a name may lead anywhere, so the open file is looked at, not its name.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or owner not in (None, found.st_uid):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "no file of the user to whom its folder belongs", os.fspath(path))
    return descriptor


def read_hello(folder: Path, owner: int | None = None) -> Hello:
    """The folder's Hello. Raises OSError, or msgspec.MsgspecError (a ValueError) where it is damaged."""
    with os.fdopen(open_owned(folder / HELLO_NAME, owner), "rb") as file:
        return _decoder.decode(file.read())


def remove(folder: Path) -> None:
    """Remove a session's folder with all that is in it; a missing one is fine."""
    import shutil  # not with every start: it brings three compressors; the sender's thread loads it in good time

    shutil.rmtree(folder, ignore_errors=True)
