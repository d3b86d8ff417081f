"""What happens on this machine, told to the runs that it concerns by their sessions (streams.py), as Event records.

Events of GPUs come as sampling ties them to runs, episodes of health rules as MachineRules finds them. The run's daemon
makes them known like its own: `status`, counters, the run's summary and an alert. All of it is in the node's log, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from client.protocol import records
from telemetryd.health.events import Event, Events
from telemetryd.settings.rules import Rule
from telemetryd.supervision.teller import Concerned

log = logging.getLogger(__name__)

Tell = Callable[[str, records.Event], None]
"""Has a run told, by its key."""


class NodeEvents(Events):
    """The node's events: each is passed on to its run."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def add(self, event: Event) -> None:
        """Keep an event, and tell its run."""
        super().add(event)
        if event.run is not None:
            self._tell(event.run, _record(event))


class Findings:
    """Tells of what MachineRules finds. Used by one thread."""

    def __init__(self, events: Events, tell: Tell) -> None:
        self._events = events
        self._tell = tell
        self._told: dict[tuple[str, str], set[str]] = {}
        """Of each episode that is not over: the keys of the runs that were told."""

    def raised(
        self,
        rule: Rule,
        subject: str,
        event: Event,
        concerned: Sequence[Concerned],
        *,
        lasts: bool,
        known: bool = False,
    ) -> None:
        """An episode begins."""
        log.warning("health_raised rule=%s subject=%r message=%r", rule.name, subject, event.message)
        self._events.raise_(rule.name, subject, event, lasts=lasts)
        told = self._told.setdefault((rule.name, subject), set())
        for one in concerned:
            told.add(one.key)
            found = _record(event)
            found.rank, found.gpu = one.rank, one.gpu
            found.rule, found.subject, found.known = rule.name, subject, known
            self._tell(one.key, found)

    def cleared(self, rule: Rule, subject: str, message: str, concerned: Sequence[Concerned]) -> None:
        """An episode is over, for everybody who was told of it."""
        told = self._told.pop((rule.name, subject), set())
        if not self._events.clear(rule.name, subject):
            return
        log.info("health_cleared rule=%s subject=%r message=%r", rule.name, subject, message)
        for key in sorted(told):
            over = records.Event(time.time_ns(), rule.name, message, rule=rule.name, subject=subject, over=True)
            self._tell(key, over)


def _record(event: Event) -> records.Event:
    return records.Event(
        event.time_ns,
        event.kind,
        event.message,
        advice=event.advice,
        fatal=event.fatal,
        code=event.code,
        uuid=event.uuid,
        rank=event.rank,
        gpu=event.gpu,
    )
