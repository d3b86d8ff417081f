"""What nodes tell of their machines, made known here: events, health findings, and what their runs are told of those.

    Event record ─► Intake (the transaction that keeps it) ─► records for the run, in the same transaction
                                                         └─► once it is committed: `status`, counters, the log

So a daemon that is killed tells a run of each finding once, as a resend is recognised before it gets here. What is
active is each node's, held by the session that told it, and over when that session ends. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from client.protocol import records
from telemetryd.health.counters import Counters
from telemetryd.health.events import Event, Events
from telemetryd.health.telling import Telling
from telemetryd.limits import NODE_ACTIVE_MAX, NODE_TEXT_MAX_CHARS, NODE_WORD_MAX_CHARS, STEP_FRESH_NS
from telemetryd.settings.rules import BY_NAME, ERROR, Rule

log = logging.getLogger(__name__)

Afterwards = Callable[[Callable[[], None], Callable[[], None]], None]
"""Has one of two called when the transaction is committed, or rolled back."""
_Episode = tuple[str, str]


@dataclass(frozen=True)
class Told:
    """What a run is to be told by a record of a node's."""

    run_id: int
    said: list[records.Record]


class NodeNews:
    """See the module's head. The methods are called within a transaction of the inbox, by its threads."""

    def __init__(
        self, events: Events, counters: Counters, telling: Telling, step_of: Callable[[int], int | None]
    ) -> None:
        """`step_of` may be called from any thread."""
        self._events = events
        self._counters = counters
        self._telling = telling
        self._step_of = step_of
        self._lock = threading.Lock()
        self._holders: dict[_Episode, dict[str, int]] = {}
        """The sessions that told of an episode that is not over, each with its run."""

    def came(
        self, session: str, run_id: int | None, key: str, said: records.Event, afterwards: Afterwards
    ) -> list[records.Record]:
        """A node's session said something of its run, which is not open where `run_id` is None: what the run is to be
        told."""
        if run_id is None:
            afterwards(lambda: self._untold(1 + max(0, said.lost)), _nothing)
            return []
        event = self._event(said, run_id, key)
        rule = BY_NAME.get(said.rule)
        if rule is None:  # or one of a newer node's
            if not said.over:
                afterwards(lambda: self._listed(event, said), _nothing)
            return []
        episode = rule.name, f"{event.node} {said.subject[:NODE_WORD_MAX_CHARS]}"
        if said.over:
            afterwards(lambda: self._over(session, episode, event.message), _nothing)
            return self._telling.cleared(rule.name, besides=episode)
        told = self._telling.raised(run_id, rule, event, active=True)
        afterwards(
            lambda: self._raised(session, run_id, rule, episode, event, said),
            lambda: self._telling.untold(run_id, rule.name),
        )
        return told

    def left(self, session: str, afterwards: Afterwards) -> list[Told]:
        """A session is over or lost: what it held to be active is not known any more."""
        with self._lock:
            held = [(episode, by[session]) for episode, by in self._holders.items() if session in by]
        for episode, _ in held:
            afterwards(partial(self._over, session, episode, "its node is not sampled any more"), _nothing)
        return [Told(run_id, self._telling.cleared(episode[0], besides=episode)) for episode, run_id in held]

    def keep(self, runs: set[int]) -> None:
        """These runs are there: what nodes told of others is over."""
        with self._lock:
            gone = [
                (session, episode)
                for episode, by in self._holders.items()
                for session, run_id in by.items()
                if run_id not in runs
            ]
        for session, episode in gone:
            self._over(session, episode, "the run is over")

    @property
    def holds(self) -> bool:
        """Whether anything is active."""
        return bool(self._holders)

    def _event(self, said: records.Event, run_id: int, key: str) -> Event:
        """As the daemon's own are; texts are cut, since they come from elsewhere."""
        fresh = abs(time.time_ns() - said.time_ns - (said.offset_ns or 0)) < STEP_FRESH_NS
        uuid = said.uuid[:NODE_WORD_MAX_CHARS] if said.uuid is not None else None
        return Event(
            said.time_ns,
            said.kind[:NODE_WORD_MAX_CHARS],
            said.message[:NODE_TEXT_MAX_CHARS],
            said.advice[:NODE_TEXT_MAX_CHARS],
            said.fatal,
            said.code,
            uuid,
            key,
            said.rank,
            self._step_of(run_id) if fresh else None,
            said.gpu,
            said.node[:NODE_WORD_MAX_CHARS],
        )

    # After the commit.

    def _listed(self, event: Event, said: records.Event) -> None:
        self._untold(max(0, said.lost))
        if said.known:
            return
        log.warning("node_event %s", _words(event))
        self._events.add(event)

    def _raised(
        self, session: str, run_id: int, rule: Rule, episode: _Episode, event: Event, said: records.Event
    ) -> None:
        event = replace(event, advice=event.advice or rule.advice)
        self._listed(event, said)
        with self._lock:
            first = episode not in self._holders
            if len(self._holders) >= NODE_ACTIVE_MAX and first:
                return
            self._holders.setdefault(episode, {})[session] = run_id
        if self._telling.alerts:
            self._counters.add("health_alerts")
        if first:
            self._counters.add("health_raised")
            level = logging.ERROR if rule.level == ERROR else logging.WARNING
            log.log(level, "health_raised rule=%s %s", rule.name, _words(event))
            self._events.raise_(rule.name, episode[1], event, lasts=True)

    def _over(self, session: str, episode: _Episode, message: str) -> None:
        with self._lock:
            by = self._holders.get(episode, {})
            by.pop(session, None)
            if by or self._holders.pop(episode, None) is None:
                return
        if self._events.clear(*episode):
            self._counters.add("health_cleared")
            log.info("health_cleared rule=%s subject=%r message=%r", *episode, message)

    def _untold(self, count: int) -> None:
        self._counters.add("health_untold", count)


def _nothing() -> None:
    """Nothing was changed before the commit."""


def _words(event: Event) -> str:
    return " ".join(f"{name}={value!r}" for name, value in event.as_map().items())
