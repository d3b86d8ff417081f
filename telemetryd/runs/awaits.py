"""Values that come after their row: what waits for them, as a pure state machine over the records of all sessions.

    Await ──► the session's lane: its records wait here, all but output ──Arrived──► on, in the order they came
                 ▲ rows that fill the Await go ahead, as if they stood at its place

Invariants
* Without an Await nothing is touched.
* Records of a session keep their order, but for output and for rows that fill an Await.
* What waits is bounded: over `held_max_bytes` a lane is opened, and values that come afterwards are late rows.
* While anything waits (`holding`), the place in the inbox is not one to go on from: a worker that comes later replays
  from before the Await, and this state machine is a function of the records.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from client.protocol.records import AnyRecord, Arrived, Await, Clock, End, Gone, Output, Row
from telemetryd.runs.limits import AWAIT_HELD_MAX_BYTES

log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A record with its body as it came."""

    session: str
    record: AnyRecord
    body: bytes | memoryview


@dataclass(slots=True)
class _Mark:
    """An Await's place. `early` holds rows that fill it, while an earlier Await keeps the place from being reached."""

    number: int
    open: bool = True
    early: list[Taken] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """Of values that have not come."""


@dataclass(slots=True)
class _Lane:
    waiting: deque[Taken | _Mark] = field(default_factory=deque)
    marks: dict[int, _Mark] = field(default_factory=dict)
    size_bytes: int = 0

    def add(self, taken: Taken) -> None:
        row = taken.record if isinstance(taken.record, Row) else None
        mark = self.marks.get(row.fills or 0) if row is not None else None
        taken = taken._replace(body=bytes(taken.body))
        self.size_bytes += len(taken.body)
        if row is not None and mark is not None:
            mark.keys.difference_update(row.data)
            mark.early.append(taken)
        else:
            self.waiting.append(taken)

    def expected(self) -> int:
        """How many announced values have not come."""
        return sum(len(mark.keys) for mark in self.marks.values() if mark.open)

    def released(self) -> Iterator[Taken]:
        """What stands behind no open Await any more, oldest first; it is taken out."""
        while self.waiting:
            first = self.waiting[0]
            if isinstance(first, _Mark):
                for taken in first.early:
                    self.size_bytes -= len(taken.body)
                    yield taken
                first.early.clear()
                if first.open:
                    return
                del self.marks[first.number]
                self.waiting.popleft()
                continue
            self.waiting.popleft()
            self.size_bytes -= len(first.body)
            yield first


class Awaits:
    """See the module's head."""

    def __init__(self, held_max_bytes: int = AWAIT_HELD_MAX_BYTES) -> None:
        self._held_max_bytes = held_max_bytes
        self._lanes: dict[str, _Lane] = {}
        self.unfinished = 0
        """Values that sessions which have ended had announced, and that never came."""

    @property
    def holding(self) -> bool:
        """Whether anything waits."""
        return bool(self._lanes)

    def take(self, session: str, record: AnyRecord, body: bytes | memoryview) -> Iterator[Taken]:
        """One record in; out come those that are to be worked on now."""
        lane = self._lanes.get(session)
        if isinstance(record, Await):
            lane = self._lanes.setdefault(session, lane or _Lane())
            mark = lane.marks.get(record.number)
            if mark is None:
                lane.marks[record.number] = mark = _Mark(record.number)
                lane.waiting.append(mark)
            if record.key:
                mark.keys.add(record.key)
        elif lane is None or isinstance(record, Output | Clock):
            if not isinstance(record, Arrived):
                yield Taken(session, record, body)
        elif isinstance(record, Arrived):
            if record.number in lane.marks:
                lane.marks[record.number].open = False
            yield from lane.released()
            if not lane.waiting:
                del self._lanes[session]
        elif isinstance(record, End | Gone):
            self.unfinished += lane.expected()
            yield from self.give_up(session)
            yield Taken(session, record, body)
        else:
            lane.add(Taken(session, record, body))
            yield from lane.released()  # rows that fill the first Await
            if lane.size_bytes > self._held_max_bytes:
                log.warning("awaits_given_up session=%s bytes=%d open=%d", session, lane.size_bytes, len(lane.marks))
                yield from self.give_up(session)

    def give_up(self, session: str) -> Iterator[Taken]:
        """Wait no longer for this session's values."""
        lane = self._lanes.pop(session, None)
        if lane is not None:
            for mark in lane.marks.values():
                mark.open = False
            yield from lane.released()

    def end(self) -> Iterator[Taken]:
        """The run is over, and with it every session: nothing more comes."""
        self.unfinished += sum(lane.expected() for lane in self._lanes.values())
        yield from self.give_up_all()

    def give_up_all(self, but: str | None = None) -> Iterator[Taken]:
        """Wait for nothing any more, except in the session `but`."""
        for session in list(self._lanes):
            if session != but:
                yield from self.give_up(session)
