"""The sessions of a distributed job: which rank each is, at which step it stands, and who is still waited for. Pure.

    Rank record ──► member of a round ──rows──► position rises ──End / Gone──► ended
                       │
    round: one start of the ranks together; a restart or another world size begins the next

Invariants
* A member's `position` is the lowest step that it may still add to without being late. It never falls.
* Steps are the job's own, over all rounds: a step that was given (`step=`) counts as it is; one that the client counted
  is shifted by the member's `base`, so that a round goes on behind the highest step of the rounds before it.
* A member is waited for at a step until it has passed it, ended, or been excused (because it did not come in time); it
  is no longer excused once it has caught up. A rank of the present round of which there is no session yet counts alike.
"""

from __future__ import annotations

import msgspec

from client.protocol.records import Rank, Row
from telemetryd.runs.limits import (
    ENDED_MEMBERS_MAX,
    RANK_ROUNDS_MAX,
    RANK_TIMEOUT_MAX_S,
    RANK_TIMEOUT_S,
    ROUND_JOIN_MAX_S,
    SERIES_MAX,
    WORLD_MAX,
)


class Member(msgspec.Struct, array_like=True):
    """One session that is a rank. `counter` is the lowest step on time as its client counts."""

    session: str
    rank: int
    policy: str
    timeout_ns: int
    series_max: int
    base: int
    counter: int = 0
    position: int = 0
    newest_ns: int = 0
    ended: bool = False
    excused: bool = False


class Round(msgspec.Struct, array_like=True):
    """One start of the ranks together; `start_ns` is its first member's."""

    restart: int
    world: int
    start_ns: int
    base: int
    members: list[int] = []


class Members(msgspec.Struct):
    """See the module's head. `top` is one more than the highest step that any rank has added to."""

    members: dict[str, Member] = {}
    rounds: list[Round] = []
    top: int = 0
    excused_ranks: list[int] = []
    """Ranks of the present round that were waited for in vain and have not come yet."""

    @property
    def world(self) -> int:
        """The present round's world size, 0 before the first."""
        return self.rounds[-1].world if self.rounds else 0

    @property
    def has_main(self) -> bool:
        """Whether there has been a session of rank 0."""
        return any(0 in one.members for one in self.rounds)

    def join(self, session: str, record: Rank) -> Member | None:
        """Take a session in as a rank; None where the record cannot be."""
        if session in self.members or not 0 <= record.rank < record.world <= WORLD_MAX:
            return self.members.get(session)
        found = self._round_of(record)
        if record.rank not in found.members:
            found.members.append(record.rank)
        given_s = RANK_TIMEOUT_S if record.timeout_s is None else record.timeout_s
        timeout_s = min(max(0.0, given_s), RANK_TIMEOUT_MAX_S)
        series_max = SERIES_MAX if record.series_max is None else max(0, record.series_max)
        member = Member(session, record.rank, record.policy, int(timeout_s * 1e9), series_max, found.base)
        self.members[session] = member
        if record.rank in self.excused_ranks:
            self.excused_ranks.remove(record.rank)
        return member

    def _round_of(self, record: Rank) -> Round:
        """The round that a process belongs to: one of its kind that lacks its rank and began about when it did."""
        fitting = [
            one
            for one in self.rounds
            if (one.restart, one.world) == (record.restart, record.world)
            and record.rank not in one.members
            and abs(one.start_ns - record.start_ns) <= ROUND_JOIN_MAX_S * 1e9
        ]
        if fitting:
            return min(fitting, key=lambda one: abs(one.start_ns - record.start_ns))
        if self.rounds and record.start_ns < self.rounds[-1].start_ns:  # of an earlier round, heard of only now
            return min(self.rounds, key=lambda one: abs(one.start_ns - record.start_ns))
        begun = Round(record.restart, record.world, record.start_ns, self.top)
        self.rounds = [*self.rounds, begun][-RANK_ROUNDS_MAX:]
        self.excused_ranks = []
        return begun

    def place(self, member: Member, row: Row) -> tuple[int, bool]:
        """(the job's step that a row belongs to, whether it is late within its own session)."""
        member.ended = False
        member.newest_ns = max(member.newest_ns, row.time_ns)
        if row.explicit:
            step = row.step
            if step < member.position:
                if row.step >= member.counter:  # the client counts on from here
                    member.counter = row.step + int(row.closes)
                    member.base = member.position - member.counter
                return step, True
            member.base = 0
        else:
            step = row.step + member.base
            if step < member.position:
                member.base += member.position - step
                step = member.position
        member.counter = row.step + int(row.closes)
        member.position = step + int(row.closes)
        self.top = max(self.top, step + 1)
        return step, False

    def end(self, session: str) -> Member | None:
        """The session logs no more."""
        member = self.members.get(session)
        if member is not None:
            member.ended = True
            ended = [one.session for one in self.members.values() if one.ended]
            for oldest in ended[:-ENDED_MEMBERS_MAX]:
                del self.members[oldest]
        return member

    def waited_for(self, step: int) -> set[str]:
        """Who may still add to a step: sessions, and "#rank" for ranks that have not come."""
        waiting = set()
        living = set()
        for member in self.members.values():
            if member.ended:
                continue
            living.add(member.rank)
            if member.position <= step and not member.excused:
                waiting.add(member.session)
        if self.rounds:
            present = self.rounds[-1]
            there = living.union(present.members, self.excused_ranks)
            waiting |= {f"#{rank}" for rank in range(present.world) if rank not in there}
        return waiting

    def excuse(self, waiting: set[str]) -> None:
        """Wait for these no longer, until they catch up."""
        for who in waiting:
            if who.startswith("#"):
                self.excused_ranks.append(int(who[1:]))
            elif who in self.members:
                self.members[who].excused = True

    def waits_for_main(self, waiting: set[str]) -> bool:
        """Whether the newest living session of rank 0 is among those waited for: the history is its own, and waits."""
        mains = [one.session for one in self.members.values() if one.rank == 0 and not one.ended]
        return bool(mains) and mains[-1] in waiting

    def missing(self) -> list[int]:
        """Ranks that are not waited for at present although they belong to the job."""
        sessions = {one.rank for one in self.members.values() if one.excused and not one.ended}
        return sorted(sessions.union(self.excused_ranks))
