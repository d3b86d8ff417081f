"""Where the bytes of media values lie until they are acked: files beside the segments, mapped into memory.

    00000003.blob   raw bytes, chunk behind chunk; what lies where is said by Link records (links.py) in the segments

A large value is copied once, on the thread that logs it, from the caller's buffer into a chunk. The journal gets a Link
of some 40 bytes for it; the sender, or whoever adopts the folder, puts the bytes in its place (the wire's Blob record)
and computes their checksum, so neither is paid on the training thread.

Invariants
* A chunk is written before the Link that names it is committed, and only by the thread that took it.
* A chunk's place is used again when nobody holds the chunk: the value that captured it, and the Links not yet acked.
* `take` makes no system call while a shelf with room is at hand; the sender keeps one. When none is, as at the first
  large value or in a burst, the caller makes a file itself, outside every lock: a value of which `log` has returned
  must not die with the process, so it is not kept in memory alone as long as there is a disk.
"""

from __future__ import annotations

import itertools
import mmap
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from client import guard
from client.journal.segment import make_file, populate
from client.limits import BLOB_ALIGN_BYTES, SHELF_BYTES, SHELVES_KEPT_BYTES

SUFFIX = ".blob"


def file_name(index: int) -> str:
    """The name of a session's `index`th shelf, counted from 1."""
    return f"{index:08d}{SUFFIX}"


class Shelf:
    """One file of chunks, or anonymous memory while the disk gives none."""

    __slots__ = ("freed", "index", "memory", "on_disk", "populated", "retired", "size", "taken", "used", "view")

    def __init__(self, index: int, memory: mmap.mmap, *, on_disk: bool) -> None:
        self.index = index
        self.memory = memory
        self.view = memoryview(memory)
        self.size = len(memory)
        self.used = 0
        self.taken = 0
        self.freed: deque[None] = deque()
        """One entry for each chunk that is gone: an append is atomic, wherever the collector runs."""
        self.on_disk = on_disk
        self.populated = False
        self.retired = False
        """The file in the folder is a copy: nothing more may be written here."""

    @property
    def idle(self) -> bool:
        """Whether nobody holds a chunk of it."""
        return len(self.freed) == self.taken

    def cut(self, size: int) -> Chunk | None:
        """A chunk, when there is room. Called under the lock."""
        if self.used and len(self.freed) == self.taken:  # idle
            self.reset()
        start = self.used
        if self.retired or start + size > self.size:
            return None
        self.used = (start + size + BLOB_ALIGN_BYTES - 1) & -BLOB_ALIGN_BYTES
        self.taken += 1
        return Chunk(self, start, size)

    def reset(self) -> None:
        """Begin anew; nobody holds a chunk."""
        self.used = self.taken = 0
        self.freed.clear()


class Chunk:
    """Bytes on a shelf. Dropping the last reference gives the place back."""

    __slots__ = ("offset", "shelf", "size", "view")

    def __init__(self, shelf: Shelf, offset: int, size: int) -> None:
        self.shelf = shelf
        self.offset = offset
        self.size = size
        self.view = shelf.view[offset : offset + size]

    def __del__(self) -> None:
        self.shelf.freed.append(None)


class Blobs:
    """The shelves of one session."""

    def __init__(self, folder: Callable[[], Path | None]) -> None:
        """`folder` says where files go; None: nowhere now."""
        self.may_grow: Callable[[int, bool], bool] = lambda size, on_disk: True
        """Asks the caps about so many bytes more, of the disk or of memory."""
        self._folder = folder
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._current: Shelf | None = None
        self._shelves: list[Shelf] = []
        self._closed = False
        self._spare_wanted = False

    def held_bytes(self, *, in_memory: bool = False) -> int:
        """What the shelves take; `in_memory`: only those that have no file."""
        return sum(shelf.size for shelf in list(self._shelves) if not (in_memory and shelf.on_disk))

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to tend: no large value is under way."""
        return not self._spare_wanted and all(shelf.populated and shelf.idle for shelf in list(self._shelves))

    def read(self, index: int, offset: int, size: int) -> memoryview:
        """What a Link names. Raises ValueError when it is not here."""
        for shelf in list(self._shelves):
            if shelf.index == index and offset + size <= shelf.size:
                return shelf.view[offset : offset + size]
        raise ValueError(f"no shelf {index}")

    def owns(self, chunk: Chunk) -> bool:
        """Whether the chunk lies on one of these shelves, so that a Link of this session may name it."""
        return chunk.shelf in self._shelves

    def take(self, size: int) -> Chunk | None:
        """Room for `size` bytes; None at the caps and after `close`."""
        with self._lock:
            if self._closed:
                return None
            current = self._current
            chunk = current.cut(size) if current is not None else None
            if chunk is None:
                chunk = self._cut_elsewhere(size)
        if chunk is not None:
            return chunk
        self._spare_wanted = True
        shelf = self._make(max(SHELF_BYTES, size))
        if shelf is None:
            return None
        with self._lock:
            chunk = shelf.cut(size)
            self._shelves.append(shelf)
            if self._current is None or shelf.size == SHELF_BYTES:
                self._current = shelf
        return chunk

    def _cut_elsewhere(self, size: int) -> Chunk | None:
        for shelf in self._shelves:
            if shelf is not self._current and shelf.idle and not shelf.retired and shelf.size >= size:
                shelf.reset()
                self._current = shelf
                self._spare_wanted = True
                return shelf.cut(size)
        return None

    def _make(self, size: int) -> Shelf | None:
        size = (size + mmap.PAGESIZE - 1) & -mmap.PAGESIZE
        index = next(self._numbers)
        folder = self._folder()
        if folder is not None:
            if not self.may_grow(size, True):
                return None
            try:
                return Shelf(index, make_file(folder / file_name(index), size), on_disk=True)
            except OSError as error:
                guard.swallow("journal.blobs", error)
        if not self.may_grow(size, False):
            return None
        try:
            return Shelf(index, mmap.mmap(-1, size), on_disk=False)
        except (OSError, MemoryError) as error:
            guard.swallow("journal.memory", error)
            return None

    # On the sender's thread.

    def tend(self) -> None:
        """Keep a spare shelf ready once large values are logged, let go of what is idle beyond that. Never raises."""
        with self._lock:
            idle = [s for s in self._shelves if s.idle and (s is not self._current or s.retired)]
            surplus = sum(shelf.size for shelf in idle) - SHELVES_KEPT_BYTES
            released = []
            for shelf in idle:
                if surplus > 0 or shelf.retired or not shelf.on_disk:
                    surplus -= shelf.size
                    released.append(shelf)
                    self._shelves.remove(shelf)
            wanted = self._spare_wanted and len(idle) == len(released) and not self._closed
            self._spare_wanted = False
        for shelf in released:
            self._remove(shelf)
        if wanted and (spare := self._make(SHELF_BYTES)) is not None:
            self._populate(spare)
            with self._lock:
                self._shelves.append(spare)
        for shelf in list(self._shelves):
            self._populate(shelf)

    def _populate(self, shelf: Shelf) -> None:
        """Fault in what is still to be written, off the logging threads."""
        if not shelf.populated:
            shelf.populated = True
            start = min(shelf.used & -mmap.PAGESIZE, shelf.size - mmap.PAGESIZE)
            populate(shelf.memory, start, shelf.size)

    def detach(self) -> None:
        """The files are gone: what lies here is in memory only, until it is saved."""
        for shelf in list(self._shelves):
            shelf.on_disk = False

    def save(self) -> None:
        """Bring to disk what is in memory alone. Raises OSError."""
        folder = self._folder()
        if folder is None:
            return
        for shelf in list(self._shelves):
            if shelf.on_disk or shelf.idle:
                continue
            path = folder / file_name(shelf.index)
            with self._lock:
                shelf.retired = True  # what is cut from now on would not be in the file
            partial = path.with_suffix(".partial")
            partial.write_bytes(shelf.view[: shelf.used])
            partial.rename(path)
            shelf.on_disk = True

    def _remove(self, shelf: Shelf) -> None:
        folder = self._folder()
        if folder is None or not shelf.on_disk:
            return
        try:
            (folder / file_name(shelf.index)).unlink(missing_ok=True)
        except OSError as error:
            guard.swallow("journal.remove", error)

    def close(self) -> None:
        """Take no more. What values still hold stays readable for them."""
        with self._lock:
            self._closed = True

    def release(self) -> None:
        """After `close`, and when the sender has stopped: let go of the memory as far as no value holds it."""
        self._current = None
        self._shelves = []

    def orphan(self) -> None:
        """In a forked child: the memory is the parent's, and nothing may be written to it any more."""
        self._lock = threading.Lock()
        self._closed = True
        self._current = None
        self._shelves = []
