"""One segment: mapped memory, backed by a file in the spool or, when the disk gives none, by nothing.

Made, recycled and removed by the sender's thread (`supply`), written by logging threads (`writer`), read by the
sender. Only `begin` runs on a logging thread; it touches memory alone.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from client.journal import format as fmt
from client.limits import POPULATE_BYTES

_MADV_POPULATE_WRITE = 23
_libc = ctypes.CDLL(None, use_errno=True)


def make_file(path: Path, size_bytes: int, head: bytes = b"") -> mmap.mmap:
    """A new file mapped into memory, its blocks reserved so that no later store can fail. Raises OSError.

    `head` is written before: through the mapping that would fault in pages, megabytes at a time where a file system
    has large folios, and a spare may never need them.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
        os.write(descriptor, head)
        return mmap.mmap(descriptor, size_bytes)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def populate(memory: mmap.mmap, start: int, stop: int) -> None:
    """Fault in pages of a mapped file, without holding the interpreter. A hint: may do nothing."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _libc.madvise(ctypes.c_void_p(address + start), ctypes.c_size_t(stop - start), _MADV_POPULATE_WRITE)


def _head(session: bytes, size_bytes: int) -> bytes:
    return fmt.HEADER.pack(fmt.MAGIC, fmt.EMPTY, session, 0, size_bytes)


class Segment:
    """`size` bytes of journal; `path` None: in memory only."""

    __slots__ = ("_address", "bytes", "first", "path", "populated", "saved", "size", "words")

    def __init__(self, memory: mmap.mmap, session: bytes, path: Path | None) -> None:
        self.bytes = memory
        self.size = len(memory)
        self.path = path
        self.saved = False
        self.first = 0
        self.populated = fmt.HEADER_BYTES if path else self.size
        if path is None:
            memory[: fmt.HEADER_BYTES] = _head(session, self.size)
        self.words = memoryview(memory)[: fmt.HEADER_BYTES].cast("Q")
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) if path else 0

    @classmethod
    def in_file(cls, path: Path, size_bytes: int, session: bytes) -> Segment:
        """A new file of `size_bytes`, its blocks reserved so that no later store can fail. Raises OSError."""
        return cls(make_file(path, size_bytes, _head(session, size_bytes)), session, path)

    @classmethod
    def in_memory(cls, size_bytes: int, session: bytes) -> Segment:
        """A segment that dies with the process, for when the disk is full, gone or slow. Raises OSError."""
        return cls(mmap.mmap(-1, size_bytes), session, None)

    @property
    def committed(self) -> tuple[int, int]:
        """(records, end): how many records are complete, and the offset behind them."""
        word = self.words[fmt.COMMITTED_WORD]
        return word >> 32, word & fmt.END_MASK

    @property
    def last(self) -> int:
        """The number of the last complete record; `first` - 1 when there is none."""
        return self.first + (self.words[fmt.COMMITTED_WORD] >> 32) - 1

    def begin(self, first: int) -> None:
        """Make the empty segment the one whose records start at number `first`."""
        self.words[fmt.COMMITTED_WORD] = fmt.EMPTY
        self.words[fmt.FIRST_WORD] = first
        self.first = first

    @property
    def is_ahead(self) -> bool:
        """Whether enough pages behind the last record are faulted in for now."""
        return self.populated == self.size or self.populated - self.committed[1] >= POPULATE_BYTES // 2

    def populate(self) -> None:
        """Fault in pages to write to, POPULATE_BYTES to twice that behind the last record, without holding the
        interpreter. A hint: may do nothing."""
        start = self.populated & -mmap.PAGESIZE
        stop = min(self.size, (self.committed[1] + 2 * POPULATE_BYTES - 1) & -POPULATE_BYTES)
        if stop > self.populated and self._address:
            _libc.madvise(ctypes.c_void_p(self._address + start), ctypes.c_size_t(stop - start), _MADV_POPULATE_WRITE)
            self.populated = stop

    def rename(self, path: Path) -> None:
        """Give the file of a recycled segment its new place in the order. Raises OSError."""
        assert self.path is not None
        self.path.rename(path)
        self.path = path

    def save(self, path: Path) -> None:
        """Write a sealed memory segment to a file that adoption can read. Raises OSError; leaves no torn file."""
        partial = path.with_suffix(".partial")
        end = self.committed[1]
        try:
            with partial.open("xb") as file:
                file.write(memoryview(self.bytes)[:end])
            partial.rename(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self.path = path
        self.saved = True

    def detach(self) -> None:
        """The file is gone: what the segment holds is in memory only, until it is saved."""
        self.path = None
        self.saved = False

    def release(self, *, remove: bool) -> None:
        """Let go of the memory and, with `remove`, of the file. Raises OSError where that cannot be removed."""
        self.words.release()
        self.bytes.close()
        if remove and self.path is not None:
            self.path.unlink(missing_ok=True)
