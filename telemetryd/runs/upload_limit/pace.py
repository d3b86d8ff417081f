"""How fast may be sent: a token bucket that every run worker of a daemon shares.

Format: a file of 8 bytes, the nanosecond of CLOCK_MONOTONIC (int64, this machine's byte order) up to which the line is
taken by what was sent. Whoever sends moves it on by the time that his bytes take at the limit.

Invariants
* It is read and stored as one aligned word, without a lock: nobody can be stopped while he holds one. Two workers that
  store at the same moment may take one piece for two; that is all.
* Urgent bytes (rows, questions) do not wait behind the others, but they count: what is sent in all stays below the
  limit, and the others wait the longer.
* A word that no sender can have stored, being too far ahead, is from before the machine was started: it is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import mmap
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from telemetryd.runs.limits import (
    UPLOAD_AHEAD_MAX_S,
    UPLOAD_BURST_S,
    UPLOAD_PROMPT_BYTES,
    UPLOAD_PROMPT_CREDIT_S,
    UPLOAD_PROMPT_WINDOW_S,
)

_NS = 10**9
_WORD_BYTES = 8


def grant(now_ns: int, taken_until_ns: int, size: int, bytes_per_s: int, *, urgent: bool) -> tuple[int, int]:
    """Ask to send `size` bytes now: (until when the line is taken, how long to wait before asking again).

    A wait of 0 means that they may be sent, and are counted in. Pure.
    """
    if taken_until_ns - now_ns > UPLOAD_AHEAD_MAX_S * _NS:
        taken_until_ns = now_ns
    taken_until_ns = max(taken_until_ns, now_ns)
    credit_ns = int((UPLOAD_PROMPT_CREDIT_S if urgent else UPLOAD_BURST_S) * _NS)
    wait_ns = taken_until_ns - now_ns - credit_ns
    if wait_ns > 0:
        return taken_until_ns, wait_ns
    return taken_until_ns + size * _NS // bytes_per_s, 0


class Line:
    """The way out of this machine, as all workers of a daemon share it."""

    def __init__(self, path: Path, bytes_per_s: int, clock_ns: Callable[[], int]) -> None:
        """Map the file, made where it is missing. Raises OSError. `clock_ns` is the same for all processes."""
        self._bytes_per_s = bytes_per_s
        self._clock_ns = clock_ns
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < _WORD_BYTES:
                os.ftruncate(descriptor, _WORD_BYTES)
            self._map = mmap.mmap(descriptor, _WORD_BYTES)
        finally:
            os.close(descriptor)
        self._word = memoryview(self._map).cast("q")

    def wait_s(self, size: int, *, urgent: bool) -> float:
        """0 when `size` bytes may be sent now, and are counted; else how long to wait before asking again."""
        before = self._word[0]
        until_ns, wait_ns = grant(self._clock_ns(), before, size, self._bytes_per_s, urgent=urgent)
        if not wait_ns:
            self._word[0] = until_ns
        return wait_ns / _NS

    def close(self) -> None:
        """Unmap the file."""
        self._word.release()
        self._map.close()


class Flow:
    """What a connection has sent lately, and so who goes first: who sent least. Pure."""

    def __init__(self, *, is_upload: bool) -> None:
        """`is_upload`: the connection is known to be one that uploads files, which are never urgent."""
        self._is_upload = is_upload
        self._since_s: float | None = None
        self._sent = 0

    def sends(self, now_s: float, size: int) -> bool:
        """Count the next `size` bytes; whether they are urgent."""
        if self._since_s is None or now_s - self._since_s >= UPLOAD_PROMPT_WINDOW_S:
            self._since_s, self._sent = now_s, 0
        self._sent += size
        return not self._is_upload and self._sent <= UPLOAD_PROMPT_BYTES

    @property
    def rank(self) -> tuple[bool, int]:
        """Where bytes that are not urgent stand in the queue; the smallest goes first."""
        return self._is_upload, self._sent


class Turns:
    """One connection at a time asks the Line for bytes that are not urgent: the one of the smallest rank."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[tuple[bool, int], int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def turn(self, rank: tuple[bool, int]) -> AsyncIterator[None]:
        """Wait for one's turn, and have it for the block."""
        if self._taken:
            given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._numbers), given))
            try:
                await given
            except asyncio.CancelledError:
                if given.done() and not given.cancelled():
                    self._pass_on()
                raise
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            given = heapq.heappop(self._waiting)[2]
            if not given.done():
                given.set_result(None)
                return
        self._taken = False
