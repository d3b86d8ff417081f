"""The hot path: a record into mapped memory, then one 8-byte store that commits it.

Invariants
* `append` makes no system call: no file, no socket, no clock. It takes `lock`, which is never held across I/O. Only
  when the sender fell behind in making segments does a call give way to it, without the lock and for SUPPLY_WAIT_S at
  most, or map a piece of anonymous memory, which does not outlive the process.
* Records are numbered 1, 2, 3 … without a gap in the order of their commits. What is dropped gets no number.
* A call that interrupts another of its own thread (a signal handler, a finaliser) leaves its record in `_set_aside`,
  which the interrupted call appends before it returns. An exception raised by a handler leaves the journal usable.
* Full segments stand in `sealed`, oldest first; the sender takes them from there once they are acked.
* At the caps a record is dropped and counted: large ones first (`near_cap`), then all but `append_vital`'s.

    spares (made by supply) ──► current (written here) ──► sealed ──► acked: recycled into spares, or removed
"""

from __future__ import annotations

import threading
import time
from collections import deque
from zlib import crc32

from client import guard
from client.fastlog import Tail
from client.journal import format as fmt
from client.journal.blobs import Chunk
from client.journal.segment import Segment
from client.limits import (
    LARGE_RECORD_BYTES,
    MEMORY_MAX_BYTES,
    RESERVED_FOR_SMALL,
    SEGMENT_BYTES,
    SUPPLY_WAIT_S,
    SUPPLY_WAIT_STEPS,
)
from client.protocol.framing import HEADER, HEADER_BYTES, LOW_BITS, frame, seed
from client.protocol.limits import RECORD_MAX_BYTES
from client.protocol.records import Losses, encode

_pack_header = HEADER.pack
_ONE_RECORD = fmt.ONE_RECORD
_END_MASK = fmt.END_MASK


class JournalWriter(Tail):
    """Appends records to segments; see the module's head."""

    def __init__(self, session: bytes, first: Segment | None, memory_max_bytes: int = MEMORY_MAX_BYTES) -> None:
        self.lock = threading.RLock()
        self.session = session
        self.spares: deque[Segment] = deque()
        self.sealed: deque[Segment] = deque()
        self.other_records = 0
        self.dropped: dict[str, int] = {}
        self.closed: str | None = None
        self.at_cap = False
        self.near_cap = False
        self.fed = True
        """Whether spares come when there are none: not while the disk gives nothing, or hangs."""
        self.memory_max_bytes = memory_max_bytes
        self.wanted = threading.Event()
        self.pins: deque[tuple[int, Chunk]] = deque()
        """(record, the chunk that its Link names), oldest first: held until the record is acked."""
        self.busy = False
        self._vital = False
        self._losses_told: dict[str, int] = {}
        self._set_aside: deque[tuple[bytes, bool]] = deque()
        self.word = fmt.EMPTY
        self.before = 0
        self._use(first or Segment.in_memory(SEGMENT_BYTES, session))

    def append(self, body: bytes, is_row: bool = True) -> bool:
        """Journal one record; returns whether it was kept. A row not kept is counted in `dropped`.

        Thread-safe, also within a signal handler. Costs a checksum and a copy of `body`.
        """
        with self.lock:
            if self.busy:
                self._set_aside.append((body, is_row))
                return True
            self.busy = True
            try:
                word = self.word
                start = word & _END_MASK
                size = HEADER_BYTES + len(body)
                if start + size <= self.size:
                    number = self.before + (word >> 32) + 1
                    crc = crc32(body, number if number <= LOW_BITS else seed(number))
                    self._bytes[start : start + size] = _pack_header(len(body), crc) + body
                    self.word = self._words[1] = word + _ONE_RECORD + size  # the commit
                    if not is_row:
                        self.other_records += 1
                    return True
                kept = self._place(body, is_row)
            finally:
                try:
                    if self._set_aside:
                        self._flush_set_aside()
                finally:
                    self.busy = False
        if self.fed and not self.spares:
            self._give_way()
        return kept

    def _give_way(self) -> None:
        """The last spare is in use: let the sender make others before it is full. A thread that logs without a pause
        keeps the interpreter from it, 5 ms for each of its file calls. In vain only once: see `fed`."""
        for _ in range(SUPPLY_WAIT_STEPS):
            if self.spares or self.at_cap or self.closed:
                return
            time.sleep(SUPPLY_WAIT_S / SUPPLY_WAIT_STEPS)
        self.fed = False

    def append_link(self, body: bytes, chunk: Chunk) -> bool:
        """As `append`, for a Link; its chunk is held until the record is acked."""
        with self.lock:
            if kept := self.put(body):
                self.other_records += 1
            else:
                kept = self.append(body, is_row=False)
            if kept:  # within an interrupted call the record's number is still to come, and at most this
                number = self.before + (self.word >> 32)
                self.pins.append((number + self.busy + len(self._set_aside), chunk))
            return kept

    def append_vital(self, body: bytes) -> bool:
        """As `append`, for the few small records without which a run does not end: the caps do not hold for them."""
        with self.lock:
            self._vital = True
            try:
                return self.append(body, is_row=False)
            finally:
                self._vital = False

    def append_losses(self, *, vital: bool = False) -> None:
        """Journal what was dropped since the last time, so that the daemon's ledger has it too."""
        with self.lock:
            fresh = {reason: count - self._losses_told.get(reason, 0) for reason, count in self.dropped.items()}
            fresh = {reason: count for reason, count in fresh.items() if count > 0}
            if not fresh:
                return
            body = encode(Losses(fresh))
            if self.append_vital(body) if vital else self.append(body, is_row=False):
                self._losses_told = dict(self.dropped)

    def has_room(self, body_bytes: int) -> bool:
        """Whether a record of this size would be decided at once: kept, or dropped for another reason than a cap."""
        with self.lock:
            if self.closed or self.busy or body_bytes > RECORD_MAX_BYTES:
                return True
            size = HEADER_BYTES + body_bytes
            if (self.word & _END_MASK) + size <= self.size:
                return True
            self.wanted.set()
            return self._may_grow(fmt.HEADER_BYTES + size, large=body_bytes > LARGE_RECORD_BYTES)

    def roll(self) -> None:
        """Go on in a spare, when there is one, although the current segment is not full. Called by the sender."""
        with self.lock:
            if not self.closed and not self.busy and self.spares and self.current.last >= self.current.first:
                self._go_on()

    @property
    def sequence(self) -> int:
        """The number of the last record kept."""
        with self.lock:
            return self.before + (self.word >> 32)

    @property
    def rows(self) -> int:
        """Rows kept so far."""
        return self.sequence - self.other_records

    def segments(self) -> list[Segment]:
        """Every segment that holds records not yet released, oldest first. Called by the sender."""
        with self.lock:
            return [*self.sealed, self.current]

    def release_acked(self, acked: int) -> list[Segment]:
        """Take out the sealed segments whose records are all at or below `acked`. Called by the sender."""
        freed = []
        while self.pins and self.pins[0][0] <= acked:
            self.pins.popleft()
        with self.lock:
            while self.sealed and self.sealed[0].last <= acked:
                freed.append(self.sealed.popleft())
        return freed

    def leave_memory(self) -> None:
        """Go on in a spare when the current segment is in memory only. Called by the sender."""
        with self.lock:
            if self.current.path is None and self.spares and not self.closed and not self.busy:
                self._go_on()

    def close(self, reason: str) -> None:
        """Take no record any more; later ones are counted as dropped for `reason`."""
        with self.lock:
            self.closed = reason
            self.size = 0

    def release(self) -> None:
        """After `close`, and when the sender has stopped: let go of all memory. The files stay."""
        with self.lock:
            self.leave()
            for segment in (*self.sealed, self.current):
                segment.release(remove=False)
            self.sealed.clear()
        self.pins.clear()

    def orphan(self) -> None:
        """In a forked child: the mapped memory belongs to the parent, so nothing may be written to it any more."""
        self.lock = threading.RLock()
        self.wanted = threading.Event()
        self.busy = False
        self._set_aside.clear()
        self.leave()
        self.pins = deque()
        self.dropped = {}
        self.closed = "forked"
        self.fed = False
        self.size = 0

    def _flush_set_aside(self) -> None:
        while self._set_aside:
            self._place(*self._set_aside.popleft())

    def _place(self, body: bytes, is_row: bool) -> bool:
        size = HEADER_BYTES + len(body)
        if len(body) > RECORD_MAX_BYTES:
            return self._drop("too_large", is_row)
        if self.closed:
            return self._drop(self.closed, is_row)
        if (self.word & _END_MASK) + size > self.size:
            following = self._next_segment(fmt.HEADER_BYTES + size, large=len(body) > LARGE_RECORD_BYTES)
            if following is None:
                return self._drop("spool_full", is_row)
            self.sealed.append(self.current)
            self._use(following)
        start = self.word & _END_MASK
        number = self.sequence + 1
        self._bytes[start : start + size] = frame(body, number)
        self.word = self._words[fmt.COMMITTED_WORD] = self.word + _ONE_RECORD + size
        if not is_row:
            self.other_records += 1
        return True

    def _may_grow(self, needed_bytes: int, *, large: bool) -> bool:
        """Whether the caps allow another segment."""
        if large and self.near_cap and not self._vital:
            return False
        if needed_bytes <= SEGMENT_BYTES and self.spares:
            return True
        in_memory = sum(segment.size for segment in self.sealed if segment.path is None)
        size = max(SEGMENT_BYTES, needed_bytes)
        if self._vital:
            return in_memory + size <= self.memory_max_bytes + SEGMENT_BYTES
        limit = self.memory_max_bytes * (1 - RESERVED_FOR_SMALL) if large else self.memory_max_bytes
        return not self.at_cap and in_memory + size <= limit

    def _next_segment(self, needed_bytes: int, *, large: bool) -> Segment | None:
        """A spare; when there is none or it is too small, anonymous memory up to its cap; None at the cap."""
        self.wanted.set()
        if not self._may_grow(needed_bytes, large=large):
            return None
        if needed_bytes <= SEGMENT_BYTES and self.spares:
            return self.spares.popleft()
        try:
            return Segment.in_memory(max(SEGMENT_BYTES, needed_bytes), self.session)
        except (OSError, MemoryError) as error:
            guard.swallow("journal.memory", error)
            return None

    def _go_on(self) -> None:
        self.busy = True  # keeps the compiled log, which takes no lock, from the segment that is left
        try:
            self.sealed.append(self.current)
            self._use(self.spares.popleft())
        finally:
            self.busy = False

    def _drop(self, reason: str, is_row: bool) -> bool:
        if is_row:
            self.dropped[reason] = self.dropped.get(reason, 0) + 1
        return False

    def _use(self, segment: Segment) -> None:
        before = self.sequence
        segment.begin(before + 1)
        self.size = 0  # an exception of a handler in between leaves a tail into which nothing goes
        self.enter(segment.bytes)
        self.current = segment
        self.before = before
        self._bytes = segment.bytes
        self._words = segment.words
        self.word = fmt.EMPTY
        self.size = segment.size
