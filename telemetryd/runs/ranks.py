"""The ranks of a run: whose rows are the history, whose are joined to it, and whose are left out. Pure.

Between the inbox and row assembly: every `log` call of a rank comes in, and calls for row assembly come out.

    policy of the session      main rank (0)                     other ranks
    main                       to row assembly, as it is         left out: counted as delivered and as `left_out`
    aggregate or all, any key  joined by step (rank_join.py), and given to row assembly as one session "ranks"

Invariants
* A run without ranks is not touched: its rows go to row assembly as they came.
* calls taken = calls given to row assembly + `absorbed` + `waiting`, at every moment. `absorbed` calls live on in the
  row that stands for them, or were left out because the policy says so.
* Everything depends on the records in the order of the inbox and on their own times, so a replay decides alike. What a
  clock decided (`flush`) must be noted by the caller with the batch it came after.

The main rank is 0. Rows of others are kept for a moment while no rank 0 has come; then the lowest that has is it.
A session that no launcher numbered counts as rank 0 of the ranks it shares a run with.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import msgspec

from client.protocol import rank_policy, records
from client.protocol.rank_policy import RankPolicy
from client.protocol.records import Clock, Rank, Row
from telemetryd.runs.limits import (
    JOIN_MAX_BYTES,
    MAIN_WAIT_MAX_BYTES,
    MAIN_WAIT_S,
    RANK_SUMMARY_INTERVAL_S,
    RANK_TIMEOUT_S,
)
from telemetryd.runs.rank_join import Join, JoinState
from telemetryd.runs.rank_members import Member, Members
from telemetryd.runs.step_times import RankTime, StepTimes

log = logging.getLogger(__name__)

JOINED = "ranks"
"""The session under which joined rows go to row assembly."""

MISSING_SHOWN = 32

Call = tuple[str, Row, bytes | memoryview]
"""What row assembly's `add` takes."""


class _State(msgspec.Struct):
    members: Members
    join: JoinState
    times: dict[int, RankTime]
    clocks: dict[int, tuple[int, int]] = {}
    held: list[tuple[str, bytes]] = []
    held_since_ns: int = 0
    main: int = 0
    plain: str = ""
    absorbed: int = 0
    left_out: int = 0
    late: int = 0
    given_up: int = 0
    summary_ns: int = 0


class Ranks:
    """See the module's head."""

    def __init__(self, default_policy: str = "main") -> None:
        self._default = default_policy
        self._members = Members()
        self._join = Join(JoinState())
        self._times = StepTimes()
        self._clocks: dict[int, tuple[int, int]] = {}
        self._held: list[tuple[str, bytes]] = []
        self._held_since_ns = 0
        self._main = 0
        self._waiting: set[str] | None = None
        """Whom the oldest entry waits for; None: to be found out."""
        self._policies: dict[str, RankPolicy] = {}
        self._summary_ns = 0
        self._warned = False
        self.plain = ""
        """The newest session that no launcher numbered."""
        self.absorbed = 0
        self.left_out = 0
        """Calls of other ranks that the policy leaves out."""
        self.late = 0
        """Calls of other ranks that came after their step was written, of which nothing was kept."""
        self.given_up = 0
        """Rows written without some of the ranks."""

    @property
    def active(self) -> bool:
        """Whether a launcher numbered any session of this run."""
        return bool(self._members.members)

    @property
    def waiting(self) -> int:
        """Calls that are neither absorbed nor given to row assembly."""
        return self._join.calls + len(self._held)

    def waiting_of_sessions(self) -> dict[str, int]:
        """`waiting` by session, as far as is known: a rank's calls of one step count as one."""
        sessions = {member.rank: session for session, member in self._members.members.items()}
        found = Counter(session for session, _ in self._held)
        for entry in self._join.entries.values():
            found.update(sessions[rank] for rank in entry.marks if rank in sessions)
        return found

    def is_other(self, session: str) -> bool:
        """Whether a session is a rank whose config, summary and name are not the run's."""
        member = self._members.members.get(session)
        return member is not None and member.rank != self._main and (self._has_main or self._main != 0)

    @property
    def _has_main(self) -> bool:
        return bool(self.plain) or self._members.has_main

    # What comes in

    def join(self, session: str, record: Rank) -> list[Call]:
        """A session tells its rank."""
        member = self._members.join(session, record)
        if member is None:
            log.error("rank_refused session=%s rank=%d world=%d", session, record.rank, record.world)
            return []
        self._waiting = None
        self._times.forget(member.rank)
        if member.rank == 0:
            self._main = 0
            return self._let_go_of_held()
        if self.plain:
            self._adopt_plain()
        return []

    def _adopt_plain(self) -> None:
        """The session that no launcher numbered is rank 0 of the others' job, unless that has one of its own."""
        if self.plain in self._members.members or self._members.has_main:
            return
        model = next(reversed(self._members.members.values()))
        started_ns = self._members.rounds[-1].start_ns
        self._members.join(
            self.plain,
            Rank(0, self._members.world, started_ns, policy=model.policy, timeout_s=model.timeout_ns / 1e9,
                 series_max=model.series_max),
        )  # fmt: skip
        self._waiting = None

    def clock(self, session: str, record: Clock) -> None:
        """A session tells how its clock stands to the daemon's."""
        member = self._members.members.get(session)
        if member is not None:
            self._clocks[member.rank] = (record.offset_ns, record.delay_ns)

    def row(self, session: str, row: Row, body: bytes | memoryview) -> list[Call]:
        """Take one `log` call; the calls that row assembly gets for it, and for others that waited for it."""
        member = self._members.members.get(session)
        if member is None:
            self.plain = session
            if self.active:
                self._adopt_plain()
                member = self._members.members.get(session)
            if member is None:
                return [(session, row, body)]
        step, late = self._members.place(member, row)
        if row.closes and not late:
            self._times.observe(member.rank, step, row.time_ns)
        policy = self._policy(member.policy)
        if policy.joins:
            return self._joined(member, policy, step, row, bytes(body))
        if member.rank == self._main and (self._has_main or self._main != 0):
            return [(session, row, body)]
        if self._has_main or self._main != 0:
            self.absorbed += 1
            self.left_out += 1
            return []
        return self._hold(member, row, bytes(body))

    def _policy(self, text: str) -> RankPolicy:
        policy = self._policies.get(text)
        if policy is None:
            try:
                policy = rank_policy.parse(text or self._default)
            except ValueError as error:
                log.error("rank_policy_unusable policy=%r reason=%r", text[:200], str(error))
                policy = rank_policy.parse(self._default)
            self._policies[text] = policy
        return policy

    # Joined rows

    def _joined(self, member: Member, policy: RankPolicy, step: int, row: Row, body: bytes) -> list[Call]:
        is_main = member.rank == self._main
        join = self._join
        if step < join.next_step:
            return self._too_late(member, policy, step, row, body, is_main=is_main)
        member.excused = False
        oldest_before = join.oldest
        over_budget = join.over_budget
        join.add(member.rank, step, row, body, policy, member.series_max, has_main=self._has_main)
        if join.over_budget > over_budget:
            self._warn_of_budget(member)
        oldest = join.oldest
        if oldest is not oldest_before:
            self._waiting = None
        elif self._waiting is not None and oldest is not None and member.position > oldest.step:
            self._waiting.discard(member.session)
            self._waiting.discard(f"#{member.rank}")
        return self._hand_out(member, row.time_ns)

    def _too_late(
        self, member: Member, policy: RankPolicy, step: int, row: Row, body: bytes, *, is_main: bool
    ) -> list[Call]:
        made = self._join.late(member.rank, step, row, body, policy, member.series_max, is_main=is_main)
        if self._waiting is not None:
            self._waiting = None
        if made is not None:
            return [(JOINED, *made), *self._hand_out(member, row.time_ns)]
        self.absorbed += 1
        self.late += 1
        return self._hand_out(member, row.time_ns)

    def _hand_out(self, member: Member | None, now_ns: int) -> list[Call]:
        """Every entry that waits for nobody any more, or has waited long enough by the clock of `member`'s rows."""
        calls: list[Call] = []
        while (oldest := self._join.oldest) is not None:
            waiting = self._waiting
            if waiting is None:
                waiting = self._waiting = self._members.waited_for(oldest.step)
            if waiting:
                mark_ns = oldest.marks.get(member.rank) if member is not None else None
                overdue = mark_ns is not None and member is not None and now_ns - mark_ns >= member.timeout_ns
                full = self._join.size_bytes > JOIN_MAX_BYTES
                if not full and not (overdue and not self._members.waits_for_main(waiting)):
                    break
                self._members.excuse(waiting)
            calls += self._take()
        return calls

    def _take(self) -> list[Call]:
        world = self._members.world
        oldest = self._join.oldest
        assert oldest is not None
        self.given_up += len(oldest.marks) < world
        made, stands_for = self._join.take(world=world, has_main=self._has_main)
        self.absorbed += stands_for - len(made)
        self.left_out += stands_for if not made else 0
        self._waiting = None
        return [(JOINED, row, body) for row, body in made]

    def _warn_of_budget(self, member: Member) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "series_budget_spent series=%d effect=%r", member.series_max, "further rank{r}/key series are left out"
            )

    @property
    def timeout_s(self) -> float:
        """How long rows wait for other ranks: what the ranks that log ask for at most."""
        asked_ns = [one.timeout_ns for one in self._members.members.values() if not one.ended]
        return max(asked_ns, default=int(RANK_TIMEOUT_S * 1e9)) / 1e9

    @property
    def flushable(self) -> bool:
        """Whether `flush` would hand anything out: rows wait, and not for the main rank."""
        if self._held:
            return True
        oldest = self._join.oldest
        return oldest is not None and not self._members.waits_for_main(self._members.waited_for(oldest.step))

    def flush(self) -> list[Call]:
        """Nothing has come for too long: hand out what does not wait for the main rank."""
        calls = self._promote() if self._held else []
        while (oldest := self._join.oldest) is not None:
            waiting = self._members.waited_for(oldest.step)
            if self._members.waits_for_main(waiting):
                break
            self._members.excuse(waiting)
            calls += self._take()
        return calls

    def rewind(self, step: int) -> None:
        """The run goes on at `step`. To be called when nothing waits (`finish`)."""
        self._join.next_step = self._members.top = step
        self._waiting = None

    def end(self, session: str) -> list[Call]:
        """A session logs no more."""
        member = self._members.end(session)
        if member is None:
            return []
        self._waiting = None
        return self._hand_out(None, 0)

    def finish(self) -> list[Call]:
        """The run ends here: hand everything out."""
        calls = self._promote() if self._held else []
        while self._join.oldest is not None:
            calls += self._take()
        return calls

    # Rows kept until it is known whose the history is

    def _hold(self, member: Member, row: Row, body: bytes) -> list[Call]:
        if not self._held:
            self._held_since_ns = row.time_ns
        self._held.append((member.session, body))
        size_bytes = sum(len(kept) for _, kept in self._held) if len(self._held) % 64 == 0 else 0
        if size_bytes < MAIN_WAIT_MAX_BYTES and row.time_ns - self._held_since_ns < MAIN_WAIT_S * 1e9:
            return []
        return self._promote()

    def _promote(self) -> list[Call]:
        """No rank 0 has come: the lowest of those that have is the main one."""
        self._main = min(self._members.members[session].rank for session, _ in self._held)
        log.info("main_rank rank=%d reason=%r", self._main, "rank 0 logs nothing")
        return self._let_go_of_held()

    def _let_go_of_held(self) -> list[Call]:
        held, self._held = self._held, []
        calls: list[Call] = []
        for session, body in held:
            row = records.decode(body)
            assert isinstance(row, Row)
            if self._members.members[session].rank == self._main:
                calls.append((session, row, body))
            else:
                self.absorbed += 1
                self.left_out += 1
        return calls

    # What is told

    def view(self) -> dict[str, Any]:
        """The ranks' figures for `status`; empty for a run without ranks."""
        if not self.active:
            return {}
        figures: dict[str, Any] = {
            "world_size": self._members.world,
            "starts": len(self._members.rounds),
            "missing": self._members.missing()[:MISSING_SHOWN],
            "waiting_rows": self.waiting,
            "left_out": self.left_out,
            "late": self.late,
            "incomplete_rows": self.given_up,
            "series": self._join.series,
            "over_budget": self._join.over_budget,
        }
        slowest = self._times.slowest()
        if slowest is not None:
            figures.update(
                slowest=slowest.rank,
                slowest_step_s=round(slowest.step_s, 6),
                median_step_s=round(slowest.median_s, 6),
                slower_by=round(slowest.step_s / slowest.median_s - 1, 4) if slowest.median_s else 0.0,
            )
        if self._clocks:
            figures["clock_offsets_s"] = {
                str(rank): round(offset_ns / 1e9, 6)
                for rank, (offset_ns, _) in sorted(self._clocks.items())[:MISSING_SHOWN]
            }
        return figures

    def summary(self) -> dict[str, Any]:
        """The figures that go into the run's summary."""
        shown = {name: value for name, value in self.view().items() if not isinstance(value, list | dict)}
        shown.pop("waiting_rows", None)
        return shown

    def summary_due(self, now_ns: int) -> bool:
        """Whether the summary is to be written again, by the clock of the rows."""
        if not self.active or now_ns - self._summary_ns < RANK_SUMMARY_INTERVAL_S * 1e9:
            return False
        self._summary_ns = now_ns
        return True

    def snapshot(self) -> bytes:
        """The whole state; `restore` makes the same machine of it. Empty where nothing is to be kept."""
        if not self.active and not self.plain:
            return b""
        state = _State(
            self._members, self._join.state, self._times.ranks, self._clocks, self._held, self._held_since_ns,
            self._main, self.plain, self.absorbed, self.left_out, self.late, self.given_up, self._summary_ns,
        )  # fmt: skip
        return msgspec.msgpack.encode(state)

    @classmethod
    def restore(cls, snapshot: bytes, default_policy: str = "main") -> Ranks:
        """The machine of a snapshot. Raises ValueError on bytes that are none."""
        ranks = cls(default_policy)
        if not snapshot:
            return ranks
        state = msgspec.msgpack.decode(snapshot, type=_State)
        ranks._members, ranks._join, ranks._times = state.members, Join(state.join), StepTimes(state.times)
        ranks._clocks, ranks._held, ranks._held_since_ns = state.clocks, state.held, state.held_since_ns
        ranks._main, ranks.plain, ranks._summary_ns = state.main, state.plain, state.summary_ns
        ranks.absorbed, ranks.left_out, ranks.late = state.absorbed, state.left_out, state.late
        ranks.given_up = state.given_up
        return ranks
