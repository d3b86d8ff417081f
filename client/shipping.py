"""Where the sender stands in the journal: the next stretch of records to ship, as bytes.

Owned by the sender's thread. Records are found by number: `seek` walks the one segment in which a resend begins, which
happens on a new connection only; from then on shipping goes from committed length to committed length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from client.journal import format as fmt
from client.journal import links
from client.journal.blobs import Blobs
from client.journal.segment import Segment
from client.journal.writer import JournalWriter
from client.protocol.framing import spans


class Stretch(NamedTuple):
    """Records `first` to `last`, and their bytes."""

    first: int
    last: int
    payload: bytes


class Shipping:
    """A reading position in the segments of one JournalWriter."""

    def __init__(self, writer: JournalWriter, blobs: Blobs) -> None:
        self._writer = writer
        self._blobs = blobs
        self._pieces: Iterator[tuple[int, int, bytes]] = iter(())
        """What is left of a stretch with media bytes in it, which goes in several."""
        self._segment: Segment | None = None
        self._offset = fmt.HEADER_BYTES
        self._number = 1

    def seek(self, number: int) -> None:
        """Make record `number` the next one; what lies before it in the journal is acked."""
        self._segment, self._offset = None, fmt.HEADER_BYTES
        self._pieces = iter(())
        for segment in self._writer.segments():
            if segment.last >= number or segment is self._writer.current:
                self._segment = segment
                self._offset = _offset_of(segment, number)
                self._number = max(number, segment.first)
                return

    def next(self) -> Stretch | None:
        """The committed records behind the position, of one segment; moves behind them. None: all were shipped.

        Links come as the Blobs that they stand for, and then in several stretches.
        """
        while True:
            for first, last, payload in self._pieces:
                return Stretch(first, last, payload)
            segment = self._segment
            if segment is None:
                self.seek(1)
                continue
            is_current = segment is self._writer.current
            records, end = segment.committed
            if end > self._offset:
                stretch = Stretch(self._number, segment.first + records - 1, segment.bytes[self._offset : end])
                self._offset, self._number = end, stretch.last + 1
                if not links.may_hold_links(stretch.payload):
                    return stretch
                self._pieces = links.expand(stretch.payload, stretch.first, self._blobs.read)
                continue
            if is_current:
                return None
            self.seek(self._number)

    def leave_shipped(self) -> None:
        """Step off a sealed segment that was shipped to its end, so that it may be recycled."""
        segment = self._segment
        if segment is not None and segment is not self._writer.current and segment.committed[1] == self._offset:
            self.seek(self._number)


def _offset_of(segment: Segment, number: int) -> int:
    """Where record `number` begins in its segment; behind the last record when it is still to come."""
    offset = fmt.HEADER_BYTES
    current = segment.first
    if number > current:
        for _, stop in spans(memoryview(segment.bytes), fmt.HEADER_BYTES, segment.committed[1]):
            offset, current = stop, current + 1
            if current >= number:
                break
    return offset
