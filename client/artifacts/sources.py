"""A local file that goes into an artifact: what it was at the call, and a copy of it that nobody else can change.

The rule, tried in this order
    read       up to 256 KiB are read within the call, and written by the staging thread
    move       a file that `new_file` made is ours, and is moved
    reflink    FICLONE: the copy shares the blocks and takes none of its own (btrfs, xfs, bcachefs, ZFS 2.2 …); what is
               not on the disk yet is written first
    hardlink   only under policy="immutable", where the caller promises not to change the file, and only of a file of
               the same user: the content then survives its removal
    copy       copy_file_range, in the kernel, on the staging thread

Invariants
* A copy counts only when the file is afterwards what it was at the call: same inode, size, mtime, and ctime unless its
  number of links has changed. Otherwise SourceChangedError, and the copy is gone.
* At the call the file system's clock is past the file's mtime, so that every later write gives another mtime.
* What is copied is the file that was there at the call, by its descriptor: removing or replacing it harms nothing.
  Writing through a memory map is the one change that no file system tells of at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from client.limits import (
    ARTIFACT_CLOCK_WAIT_S,
    ARTIFACT_COPY_BYTES,
    ARTIFACT_HELD_FILES,
    ARTIFACT_INLINE_BYTES,
)

FICLONE = 0x40049409
_CLOCK_REALTIME_COARSE = 5  # what the kernel stamps files with; Python's time module has no name for it
_NOT_HERE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}
_DISK_TROUBLE = {errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT}
"""What a copy would meet as well. Whatever else keeps a file from being cloned does not keep it from being copied: ZFS
says EAGAIN of blocks that are not on the disk yet, and file servers have words of their own. As cp has it."""

_held_lock = threading.Lock()
_held = 0


class SourceChangedError(Exception):
    """The file was written to while it was being staged."""


class Signature(NamedTuple):
    """What tells a file that was written to from one that was not."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int

    @classmethod
    def of(cls, found: os.stat_result) -> Signature:
        """The signature in a stat."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink)

    def holds(self, now: Signature) -> bool:
        """Whether the content is still the same. A changed number of links explains a new ctime by itself."""
        return self[:4] == now[:4] and (self.ctime_ns == now.ctime_ns or self.links != now.links)


class Source:
    """A file to be staged. Made when it is added, `capture`d when the artifact is logged, `freeze`d by the thread."""

    def __init__(self, path: str, policy: str = "mutable", *, owner: object = None) -> None:
        """`owner`: what keeps the file there, when it is ours alone. Raises OSError when it cannot be opened."""
        self.path = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
        self.policy = policy
        self._owner = owner
        self._descriptor: int | None = None
        self._data: bytes | None = None
        self._signature: Signature | None = None
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._added = Signature.of(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        self.size_bytes = self._added.size
        if owner is None and _may_hold():
            self._descriptor = descriptor
        else:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        global _held
        descriptor, self._descriptor = self.__dict__.get("_descriptor"), None
        self._data = None
        if descriptor is not None:
            os.close(descriptor)
            with _held_lock:
                _held -= 1

    def read(self) -> bytes | None:
        """The whole content as captured, when it was small enough to be read at once."""
        return self._data

    def open(self) -> int:
        """A descriptor of the file as it was added or captured, for the caller to close. Raises OSError."""
        if self._descriptor is not None:
            return os.dup(self._descriptor)  # shares the offset: read with pread alone
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def capture(self, inline_bytes_left: int) -> int:
        """Note what the file is now; the bytes that were read of it.

        A file that was removed or replaced since it was added is taken as it was then, where it was kept open. Raises
        OSError when it is gone.
        """
        descriptor = self.open()
        try:
            self._signature = Signature.of(os.fstat(descriptor))
            self.size_bytes = size = self._signature.size
            if self._owner is not None or size > min(ARTIFACT_INLINE_BYTES, inline_bytes_left):
                return 0
            data = bytearray()
            while piece := os.pread(descriptor, size + 1 - len(data), len(data)):
                data += piece
            if len(data) == size:
                self._data = bytes(data)
                return size
            return 0
        finally:
            os.close(descriptor)

    @property
    def newest_ns(self) -> int:
        """The mtime that the clock must be past; 0 where the content has been read."""
        return 0 if self._data is not None or self._signature is None else self._signature.mtime_ns

    def freeze(self, target: str, step: Callable[[int], None]) -> str:
        """Put the content as it was captured at `target`, which must not exist; how it was done.

        `step(bytes)` is called for what has been done, and may raise. Raises SourceChangedError, OSError.
        """
        assert self._signature is not None
        if self._data is not None:
            with open(target, "xb") as stream:  # noqa: PTH123 - a str, and hot for many files
                stream.write(self._data)
            step(len(self._data))
            return "read"
        if self._owner is not None and self._move(target):
            step(self.size_bytes)
            return "move"
        descriptor = self.open()
        try:
            self._check(descriptor)
            how = self._fill(descriptor, target, step)
            self._check(descriptor)
            if how == "copy" and os.stat(target).st_size != self._signature.size:  # noqa: PTH116
                raise SourceChangedError(self._changed())
        except BaseException:
            _remove(target)
            raise
        finally:
            os.close(descriptor)
        return how

    def _check(self, descriptor: int) -> None:
        assert self._signature is not None
        if not self._signature.holds(Signature.of(os.fstat(descriptor))):
            raise SourceChangedError(self._changed())

    def _changed(self) -> str:
        return (
            f"source changed: {self.path} was written to before it was staged; wait for `artifact.staged` before you"
            " overwrite it, or write beside it and rename"
        )

    def _move(self, target: str) -> bool:
        try:
            os.rename(self.path, target)  # noqa: PTH104 - hot for many files
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        return True

    def _fill(self, descriptor: int, target: str, step: Callable[[int], None]) -> str:
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if _reflink(descriptor, out):
                step(self.size_bytes)
                return "reflink"
            if self.policy == "immutable" and self._hardlink(descriptor, target):
                step(self.size_bytes)
                return "hardlink"
            _copy(descriptor, out, step)
            return "copy"
        finally:
            os.close(out)

    def _hardlink(self, descriptor: int, target: str) -> bool:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return False
        beside = f"{target}.link"
        try:
            by_descriptor = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:  # a folder's descriptor has Python use linkat, which alone follows what stands for the descriptor
                os.link(str(descriptor), beside, src_dir_fd=by_descriptor, follow_symlinks=True)
            finally:
                os.close(by_descriptor)
            os.rename(beside, target)  # noqa: PTH104
        except OSError as error:
            if error.errno in _NOT_HERE or error.errno in (errno.EMLINK, errno.ENOENT):
                return False
            raise
        return True


def _may_hold() -> bool:
    global _held
    with _held_lock:
        if _held >= ARTIFACT_HELD_FILES:
            return False
        _held += 1
        return True


def settle(sources: Iterable[Source]) -> None:
    """Wait, at most a tick of a few milliseconds, until a later write to any of these gives it another mtime."""
    newest_ns = max((source.newest_ns for source in sources), default=0)
    end_s = time.monotonic() + ARTIFACT_CLOCK_WAIT_S
    while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) <= newest_ns and time.monotonic() < end_s:
        time.sleep(0.0002)


def open_regular(path: str) -> None:
    """Raise ValueError when `path` is no file that can be staged, such as a pipe or a device."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - as wandb takes them: str or PathLike
        raise ValueError(f"Path is not a file: {path!r}")


def _reflink(source: int, target: int) -> bool:
    """Whether the target is the whole source now; ZFS before 2.2.3 calls done what ends at the first dirty block."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _DISK_TROUBLE:
            raise
        return False
    return os.fstat(target).st_size == os.fstat(source).st_size


def _copy(source: int, target: int, step: Callable[[int], None]) -> None:
    """Copy to the end of the source, in the kernel where it can."""
    in_kernel = True
    offset = 0
    while True:
        done = 0
        if in_kernel:
            try:
                done = os.copy_file_range(source, target, ARTIFACT_COPY_BYTES, offset, offset)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                in_kernel = False
        if not in_kernel:
            piece = os.pread(source, ARTIFACT_COPY_BYTES, offset)
            view = memoryview(piece)
            while done < len(piece):
                done += os.pwrite(target, view[done:], offset + done)
        if done == 0:
            return
        offset += done
        step(done)


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        pass
