"""Makes, recycles and removes segments, off the hot path, on the sender's thread.

Keeps SPARE_SEGMENTS ready, and pages faulted in ahead of the writer, up to the spool's cap. While the disk gives
nothing, the writer goes on in memory; what it filled there is saved to the disk as soon as that is possible. A folder
that somebody removed is made again, and everything that is not acked is brought back into it.
"""

from __future__ import annotations

from pathlib import Path

from client import guard
from client.journal import format as fmt
from client.journal.blobs import Blobs
from client.journal.folder import Home
from client.journal.segment import Segment
from client.journal.writer import JournalWriter
from client.limits import DISK_RETRY_S, RESERVED_FOR_SMALL, SEGMENT_BYTES, SPARE_SEGMENTS


class Supply:
    """Feeds one JournalWriter from one spool folder, which may not be there."""

    def __init__(
        self, writer: JournalWriter, blobs: Blobs, home: Home, max_bytes: int, disk_trouble: str | None = None
    ) -> None:
        """`disk_trouble` says why the folder could not be made, when it could not."""
        self._writer = writer
        self._blobs = blobs
        blobs.may_grow = self._may_grow
        self._home = home
        self._max_bytes = max_bytes
        self._made = sum(1 for _ in home.path.glob(f"*{fmt.SUFFIX}")) if home.held else 0
        self._retry_at_s = 0.0
        self._look_at_s = 0.0
        self.disk_trouble = disk_trouble

    def begin(self, now_s: float) -> None:
        """Make what is missing, for `init`, which does not wait for pages that are not written to at once: the next
        `tend` faults them in. Never raises."""
        self.tend(0, now_s, ahead=False)
        self._writer.wanted.set()

    def tend(self, acked: int, now_s: float, *, ahead: bool = True) -> None:
        """Recycle what is acked, make what is missing, fault in pages ahead. Never raises."""
        writer = self._writer
        for segment in writer.release_acked(acked):
            self._recycle(segment)
        self._blobs.tend()
        if self._home.held and now_s >= self._look_at_s:
            self._look_at_s = now_s + DISK_RETRY_S
            self._look_for_home()
        held = self._held_bytes()
        writer.at_cap = held + SEGMENT_BYTES > self._max_bytes and not writer.spares
        writer.near_cap = held + SEGMENT_BYTES > self._max_bytes * (1 - RESERVED_FOR_SMALL)
        if not writer.wanted.is_set() and not self.disk_trouble and len(writer.spares) >= SPARE_SEGMENTS:
            writer.current.populate()
            return
        writer.wanted.clear()
        if now_s < self._retry_at_s:
            return
        try:
            moved_in = self._move_in()
            self._save_memory_segments()
            while len(writer.spares) < SPARE_SEGMENTS and held + SEGMENT_BYTES <= self._max_bytes:
                writer.spares.append(self._make())
                held += SEGMENT_BYTES
            if moved_in:  # what was written where there was no folder is brought to disk at once
                writer.roll()
                self._save_memory_segments()
            self.disk_trouble = None
            writer.fed = True
        except OSError as error:
            self.disk_trouble = f"{error.strerror or error}: {self._home.path}"
            writer.fed = False
            self._retry_at_s = now_s + DISK_RETRY_S
            self._look_at_s = now_s
            guard.swallow("journal.disk", error)
        if ahead:
            for segment in (writer.current, *list(writer.spares)[:1]):  # further ahead it would only be memory
                segment.populate()

    def _look_for_home(self) -> None:
        """Notice that the folder was removed: its files are memory only from now on."""
        try:
            if self._home.is_there():
                return
        except OSError as error:
            guard.swallow("journal.disk", error)
            return
        writer = self._writer
        while writer.spares:
            writer.spares.popleft().release(remove=False)
        for segment in writer.segments():
            segment.detach()
        self._blobs.detach()
        self._home.release()
        self.disk_trouble = f"the spool folder was removed: {self._home.path}"
        guard.swallow("journal.disk", FileNotFoundError(self.disk_trouble))

    def _move_in(self) -> bool:
        """Make the folder where there is none; True when it was made now. Raises OSError."""
        if self._home.held:
            return False
        self._home.make()
        return True

    def _may_grow(self, size: int, on_disk: bool) -> bool:
        """Whether the caps leave room for so many bytes of media: they go before rows do."""
        if on_disk:
            return self._held_bytes() + size <= self._max_bytes * (1 - RESERVED_FOR_SMALL)
        in_memory = sum(segment.size for segment in self._writer.segments() if segment.path is None)
        in_memory += self._blobs.held_bytes(in_memory=True)
        return in_memory + size <= self._writer.memory_max_bytes * (1 - RESERVED_FOR_SMALL)

    def close(self) -> None:
        """Remove the spares; what holds records stays. A closed journal takes no more. Never raises."""
        while self._writer.spares:
            self._release(self._writer.spares.popleft())

    def save_rest(self) -> None:
        """Last attempt, at close, to bring to disk what is still in memory alone. Never raises."""
        try:
            self._move_in()
            self._save_memory_segments(every=True)
        except OSError as error:
            guard.swallow("journal.save", error)

    def _held_bytes(self) -> int:
        writer = self._writer
        return sum(segment.size for segment in (*writer.segments(), *list(writer.spares))) + self._blobs.held_bytes()

    def _next_path(self) -> Path:
        self._made += 1
        return self._home.path / fmt.file_name(self._made)

    def _make(self) -> Segment:
        return Segment.in_file(self._next_path(), SEGMENT_BYTES, self._writer.session)

    def _recycle(self, segment: Segment) -> None:
        mapped_file = segment.path is not None and not segment.saved and segment.size == SEGMENT_BYTES
        if mapped_file and len(self._writer.spares) < SPARE_SEGMENTS:
            try:
                segment.begin(0)
                segment.rename(self._next_path())
            except OSError as error:
                guard.swallow("journal.recycle", error)
            else:
                self._writer.spares.append(segment)
                self._writer.fed = not self.disk_trouble
                return
        self._release(segment)

    def _release(self, segment: Segment) -> None:
        try:
            segment.release(remove=True)
        except OSError as error:  # a file of acked records that stays is adopted, and nothing of it is taken twice
            guard.swallow("journal.remove", error)

    def _save_memory_segments(self, every: bool = False) -> None:
        self._blobs.save()  # first: a Link that is on disk must find its bytes there
        segments = self._writer.segments()
        for segment in segments if every else segments[:-1]:
            if segment.path is None and segment.last >= segment.first:
                segment.save(self._next_path())
