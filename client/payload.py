"""The bytes of a media value, captured once: on a shelf of the running session, or in memory while there is none.

Invariant: what is captured does not change any more, whatever the caller does to the buffer that it came from.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from client import guard
from client.limits import INLINE_BYTES
from client.tokens import random_bits

if TYPE_CHECKING:
    from client.journal.blobs import Blobs, Chunk

_shelves: weakref.ref[Blobs] | None = None
_ids = itertools.count()


def use_shelves(blobs: Blobs | None) -> None:
    """Capture on these shelves from now on: the newest run's. None: in memory."""
    global _shelves
    _shelves = weakref.ref(blobs) if blobs is not None else None


def new_blob_id() -> int:
    """A number that no other value of this run has: a random start, then counted up."""
    return next(_ids)


def _draw_ids() -> None:
    global _ids
    _ids = itertools.count(random_bits(62) | 1)


_draw_ids()
os.register_at_fork(after_in_child=_draw_ids)


class Payload:
    """`size` bytes. `chunk` is where they lie on a session's shelf, None: they are in memory."""

    __slots__ = ("chunk", "size", "view")

    def __init__(self, view: memoryview, chunk: Chunk | None = None) -> None:
        self.view = view
        self.size = view.nbytes
        self.chunk = chunk

    @classmethod
    def filled(cls, size: int, fill: Callable[[memoryview], Any]) -> Payload:
        """Room for `size` bytes, which `fill` writes: the one copy that capturing costs."""
        chunk = None
        if size > INLINE_BYTES and _shelves is not None and (shelves := _shelves()) is not None:
            try:
                chunk = shelves.take(size)
            except Exception as error:  # noqa: BLE001 - memory does as well
                guard.swallow("media.capture", error)
        view = chunk.view if chunk is not None else memoryview(bytearray(size))
        fill(view)
        return cls(view, chunk)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Payload:
        """A copy of bytes; of immutable ones just they."""
        if isinstance(data, bytes):
            return cls(memoryview(data))
        source = memoryview(data).cast("B")

        def fill(view: memoryview) -> None:
            view[:] = source

        return cls.filled(source.nbytes, fill)

    def moved_to(self, chunk: Chunk) -> None:
        """The same bytes lie here now, too: bytes that were in memory are dropped there."""
        if self.chunk is None:
            self.chunk, self.view = chunk, chunk.view

    def __bytes__(self) -> bytes:
        return bytes(self.view)
