"""What a health rule found, told everywhere: the log, `status`, counters, and the runs that it concerns.

A run is told through the inbox, as records of the daemon's own behind everything that is stored of it: what its summary
says (`_telemetryd/health/<rule>…`), an alert with a wait, files. So a worker that is restarted, or W&B that is down,
loses none of it, and nothing is told twice. A run that is over is told nothing; that is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from client.protocol.records import Record, Saved
from telemetryd.errors import InboxError
from telemetryd.health.counters import Counters
from telemetryd.health.events import Event, Events
from telemetryd.health.telling import Telling
from telemetryd.inbox.store import Inbox
from telemetryd.settings.rules import ERROR, Rule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Concerned:
    """A run that something concerns: its number and key, the rank and the run's own number of the GPU, if any."""

    run_id: int
    key: str
    rank: int | None = None
    gpu: int | None = None


class Teller:
    """Tells. Runs on the daemon's main thread, which owns the inbox's connection."""

    def __init__(
        self,
        inbox: Inbox,
        events: Events,
        counters: Counters,
        step_of: Callable[[int], int | None],
        woken: Callable[[set[int]], None],
        *,
        alerts: bool,
        alert_wait_s: float,
    ) -> None:
        """`woken` is called with runs that have something new in the inbox."""
        self._inbox = inbox
        self._events = events
        self._counters = counters
        self._step_of = step_of
        self._woken = woken
        self.telling = Telling(events, alerts=alerts, alert_wait_s=alert_wait_s)

    def raised(
        self,
        rule: Rule,
        subject: str,
        event: Event,
        concerned: Sequence[Concerned],
        *,
        lasts: bool,
        known: bool = False,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """An episode begins. `known`: the event itself is among the events already."""
        self._counters.add("health_raised")
        event = replace(event, advice=event.advice or rule.advice, fatal=event.fatal)
        told = [self._of(event, one) for one in concerned] or [event]
        self._events.raise_(rule.name, subject, told[0], lasts=lasts)
        for number, one in enumerate(told):
            log.log(logging.ERROR if rule.level == ERROR else logging.WARNING, "health_raised rule=%s %s",
                    rule.name, _words(one, rule))  # fmt: skip
            if not known:
                self._events.add(one)
            if concerned:
                self._tell_run(rule, concerned[number], one, files or {})

    def cleared(self, rule: Rule, subject: str, message: str, concerned: Sequence[Concerned]) -> None:
        """An episode is over."""
        if not self._events.clear(rule.name, subject):
            return
        self._counters.add("health_cleared")
        log.info("health_cleared rule=%s subject=%r message=%r", rule.name, subject, message)
        for one in concerned:
            if self.telling.was_told(one.run_id, rule.name):
                self.write(one.run_id, self.telling.cleared(rule.name))

    def write(self, run_id: int, said: Sequence[Record]) -> bool:
        """Have a run told; False, and counted, when that is not possible."""
        try:
            with self._inbox.transaction():
                told = self._inbox.intake.tell(run_id, said)
        except InboxError as error:
            log.warning("health_untold run=%d reason=%r", run_id, str(error))
            told = False
        if told:
            self._woken({run_id})
        else:
            self._counters.add("health_untold")
        return told

    def save(self, run_id: int, files: Mapping[str, bytes]) -> bool:
        """Have files saved with a run; False, and counted, when that is not possible."""
        return self.write(run_id, [Saved(path, "now", content=content) for path, content in files.items()])

    def forget(self, runs: set[int]) -> None:
        """These runs are there; what is known of others can go."""
        self.telling.forget(runs)

    def _of(self, event: Event, one: Concerned) -> Event:
        return replace(
            event,
            run=one.key,
            rank=event.rank if event.rank is not None else one.rank,
            step=event.step if event.step is not None else self._step_of(one.run_id),
            gpu=event.gpu if event.gpu is not None else one.gpu,
        )

    def _tell_run(self, rule: Rule, one: Concerned, event: Event, files: Mapping[str, bytes]) -> None:
        summary, *alert = self.telling.raised(one.run_id, rule, event, active=False)
        saved = [Saved(path, "now", content=content) for path, content in files.items()]
        if self.write(one.run_id, [summary, *saved, *alert]) and alert:
            self._counters.add("health_alerts")


def _words(event: Event, rule: Rule) -> str:
    """For the log, which has a time of its own: what happened, what to do, and where."""
    said = {name: value for name, value in event.as_map().items() if name != "time_ns" and value != rule.name}
    return " ".join(f"{name}={value!r}" for name, value in sorted(said.items(), key=lambda one: one[0] == "kind"))
