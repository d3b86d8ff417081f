"""Row assembly: from `log` calls as the client numbered them to finished history rows, each with a final step.

Pure and deterministic: no clock, no I/O. The same calls in the same order give the same rows, and a restored snapshot
goes on exactly where it was taken, so a worker that replays after a crash produces the rows that are already in W&B
again, with the same steps, and can skip them.

    log call ──► open row of its session ──closes──► finished row            (step on time)
        │               ▲ equal steps merge          ▲
        └── late ──► held ──────── a free step ──────┘                       (carries `late_step`)

Invariants
* Finished rows have strictly increasing steps; `next_step` is the first step that is still free.
* Every call ends in exactly one finished row, or in `dropped_late` (policy "drop"), or is still `waiting`.
* With one session, nothing late and a run that starts at 0, steps and merging are wandb's own.

Steps
* A session has at most one open row. Calls of equal client step merge into it the way wandb merges: nested mappings by
  leaf, everything else replaced, an empty mapping changes nothing, the newest timestamp wins.
* A step that the caller gave is absolute. One that the client counted is relative to the session's `base`: it is
  shifted up whenever the run is already further (it resumed in W&B, another session wrote before, a late row took a
  step), so automatic rows are never late. An explicit step that is on time sets the base back to 0, because the
  client counts on from that step.
* An explicit step below the session's open row, or below `next_step`, is late. Policy "keep" holds the row until steps
  are certain to stay free: those skipped before the next finished row, or those after the run's last. It gets its own
  step if that is among them, else the first free one and its own step under `late_step`. Held rows over
  `held_max_bytes` take the next free step at once, oldest first.
* The first call of a new session closes the open rows of the others: a process that came back with the same run id
  continues after what its killed predecessor had left open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from client.protocol.records import Row
from telemetryd.runs.limits import HELD_MAX_BYTES, OPEN_ROW_MAX_BYTES
from telemetryd.runs.pending import Pending, rebuild

Late = Literal["keep", "drop"]
LATE_KEY = "late_step"
_SNAPSHOT_VERSION = 1


class FinishedRow(msgspec.Struct, frozen=True, gc=False):
    """One history row. `time_ns` is the newest call's; `calls` counts the `log` calls merged into it."""

    step: int
    time_ns: int
    data: dict[str, Any]
    calls: int = 1


@dataclass(slots=True)
class _Session:
    base: int = 0
    counter: int = 0
    """The lowest client step that is on time for this session, as the client sees it."""
    open: Pending | None = None


@dataclass(slots=True)
class RowAssembly:
    """The state machine of one run."""

    late_policy: Late = "keep"
    held_max_bytes: int = HELD_MAX_BYTES
    open_max_bytes: int = OPEN_ROW_MAX_BYTES
    next_step: int = 0
    late: int = 0
    """Calls kept although late, since the run began."""
    dropped_late: int = 0
    """Calls dropped because late, since the run began."""
    finished_calls: int = 0
    """Calls merged into finished rows, since the run began."""
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _held: list[Pending] = field(default_factory=list)
    _held_bytes: int = 0
    _before: set[str] = field(default_factory=set)
    """Sessions from before a rewind: what still comes of them is late, whatever its step."""

    @property
    def waiting(self) -> int:
        """Calls in open and held rows."""
        opened = sum(len(session.open.bodies) for session in self._sessions.values() if session.open)
        return opened + sum(len(row.bodies) for row in self._held)

    def knows(self, session_id: str) -> bool:
        """Whether the session has logged before, and has not ended."""
        return session_id in self._sessions

    def waiting_of_sessions(self) -> dict[str, int]:
        """`waiting` by session, of those that have any."""
        found: dict[str, int] = {}
        pending = [session.open for session in self._sessions.values() if session.open] + self._held
        for row in pending:
            found[row.session] = found.get(row.session, 0) + len(row.bodies)
        return found

    def start_at(self, step: int) -> None:
        """W&B has every step below `step` already (a resumed run)."""
        self.next_step = max(self.next_step, step)

    def rewind(self, step: int, keep: str = "") -> None:
        """The run goes on at `step`, and has none from there on any more. To be called when nothing waits. What comes
        later of the sessions so far is late; `keep` is one that is not a process's own."""
        self.next_step = step
        self._before |= self._sessions.keys() - {keep}
        self._sessions.clear()

    def add(self, session_id: str, row: Row, body: bytes | memoryview) -> list[FinishedRow]:
        """Take one `log` call, decoded and as it came. Returns the rows that are finished by it, in order."""
        if session_id in self._before:
            return self._take_late(Pending.of(session_id, row, body))
        session = self._sessions.get(session_id)
        if session is None:
            finished = self._close_all()
            session = self._sessions[session_id] = _Session()
        else:
            finished = []
        if row.closes and session.open is None and not self._held and not (row.explicit and row.step < self.next_step):
            return [*finished, self._at_once(session, row)]
        opened = session.open
        if opened is not None:
            if row.step == opened.step:
                opened.absorb(row.data, row.time_ns, [bytes(body)], len(body))
                if row.closes or opened.size_bytes > self.open_max_bytes:
                    finished += self._close(session)
                return finished
            if row.explicit and row.step < opened.step:
                return finished + self._take_late(Pending.of(session_id, row, body))
            finished += self._close(session)
        if row.explicit:
            if row.step < self.next_step:
                self._follow(session, row)
                return finished + self._take_late(Pending.of(session_id, row, body))
            session.base = 0
        session.counter = max(session.counter, row.step)
        session.open = Pending.of(session_id, row, body)
        if row.closes:
            finished += self._close(session)
        return finished

    def _at_once(self, session: _Session, row: Row) -> FinishedRow:
        """The usual case, without a pending row: a call that opens its row on time and closes it."""
        if row.explicit:
            session.base = 0
        elif row.step + session.base < self.next_step:
            session.base = self.next_step - row.step
        session.counter = row.step + 1
        step = row.step + session.base
        self.next_step = step + 1
        self.finished_calls += 1
        return FinishedRow(step, row.time_ns, row.data, 1)

    def end_session(self, session_id: str) -> list[FinishedRow]:
        """The session logs no more: its open row is finished."""
        session = self._sessions.pop(session_id, None)
        return self._close(session) if session is not None else []

    def finish(self) -> list[FinishedRow]:
        """The run ends here: finish the open rows, then the held ones at the next free steps."""
        finished = self._close_all()
        finished += self._place_held(None)
        return finished

    def _follow(self, session: _Session, row: Row) -> None:
        """Keep the automatic steps of a client together that counts on from an explicit step we call late."""
        if row.step >= session.counter:
            session.counter = row.step + int(row.closes)
            session.base = self.next_step - session.counter

    def _close_all(self) -> list[FinishedRow]:
        finished: list[FinishedRow] = []
        for session in self._sessions.values():
            finished += self._close(session)
        return finished

    def _close(self, session: _Session) -> list[FinishedRow]:
        row = session.open
        if row is None:
            return []
        session.open = None
        session.counter = row.step + 1
        if row.explicit:
            if row.step < self.next_step:  # another session has been quicker
                session.base = self.next_step - session.counter
                return self._take_late(row)
            step = row.step
        else:
            step = row.step + session.base
            if step < self.next_step:
                session.base += self.next_step - step
                step = self.next_step
        finished = self._place_held(step) if self._held else []
        finished.append(self._finished(row, step))
        return finished

    def _finished(self, row: Pending, step: int) -> FinishedRow:
        self.next_step = step + 1
        calls = len(row.bodies)
        self.finished_calls += calls
        return FinishedRow(step, row.time_ns, row.data, calls)

    def _late_row(self, row: Pending, step: int) -> FinishedRow:
        if step != row.step:
            row.data.setdefault(LATE_KEY, row.step)
        return self._finished(row, step)

    def _take_late(self, row: Pending) -> list[FinishedRow]:
        if self.late_policy == "drop":
            self.dropped_late += len(row.bodies)
            return []
        self.late += len(row.bodies)
        self._held_bytes += row.size_bytes
        last = self._held[-1] if self._held else None
        if (
            last is not None
            and (last.session, last.step) == (row.session, row.step)
            and not last.data.keys() & row.data.keys()
            and last.size_bytes + row.size_bytes <= self.open_max_bytes
        ):
            last.absorb(row.data, row.time_ns, row.bodies, row.size_bytes)
        else:
            self._held.append(row)
        finished: list[FinishedRow] = []
        while self._held_bytes > self.held_max_bytes:
            oldest = self._held.pop(0)
            self._held_bytes -= oldest.size_bytes
            finished.append(self._late_row(oldest, self.next_step))
        return finished

    def _place_held(self, before: int | None) -> list[FinishedRow]:
        """Finish held rows at free steps below `before` (None: the run's end); what finds no room stays held."""
        first = self.next_step
        taken: dict[int, Pending] = {}
        rest: list[Pending] = []
        for row in self._held:
            if first <= row.step and (before is None or row.step < before) and row.step not in taken:
                taken[row.step] = row
            else:
                rest.append(row)
        still: list[Pending] = []
        step = first
        for row in rest:
            while step in taken:
                step += 1
            if before is not None and step >= before:
                still.append(row)
            else:
                taken[step] = row
        self._held = still
        self._held_bytes = sum(row.size_bytes for row in still)
        return [self._late_row(taken[step], step) for step in sorted(taken)]

    def snapshot(self) -> bytes:
        """The whole state as msgpack; `restore` makes the same machine of it."""
        state = {
            "version": _SNAPSHOT_VERSION,
            "next_step": self.next_step,
            "late": self.late,
            "dropped_late": self.dropped_late,
            "finished_calls": self.finished_calls,
            "sessions": [
                (name, session.base, session.counter, session.open.bodies if session.open else [])
                for name, session in self._sessions.items()
            ],
            "held": [(row.session, row.bodies) for row in self._held],
            "before": sorted(self._before),
        }
        return msgspec.msgpack.encode(state)

    @classmethod
    def restore(
        cls,
        snapshot: bytes,
        *,
        late_policy: Late = "keep",
        held_max_bytes: int = HELD_MAX_BYTES,
        open_max_bytes: int = OPEN_ROW_MAX_BYTES,
    ) -> RowAssembly:
        """The machine of a snapshot; empty bytes are a run that has not begun. Raises ValueError on anything else."""
        assembly = cls(late_policy, held_max_bytes, open_max_bytes)
        if not snapshot:
            return assembly
        state = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        if state.version != _SNAPSHOT_VERSION:
            raise ValueError(f"row snapshot of version {state.version}; this telemetryd reads {_SNAPSHOT_VERSION}")
        assembly.next_step = state.next_step
        assembly.late = state.late
        assembly.dropped_late = state.dropped_late
        assembly.finished_calls = state.finished_calls
        for name, base, counter, bodies in state.sessions:
            opened = rebuild(name, bodies) if bodies else None
            assembly._sessions[name] = _Session(base, counter, opened)
        assembly._held = [rebuild(name, bodies) for name, bodies in state.held]
        assembly._held_bytes = sum(row.size_bytes for row in assembly._held)
        assembly._before = set(state.before)
        return assembly


class _Snapshot(msgspec.Struct):
    version: int
    next_step: int
    late: int
    dropped_late: int
    finished_calls: int
    sessions: list[tuple[str, int, int, list[bytes]]]
    held: list[tuple[str, list[bytes]]]
    before: list[str] = []
