"""What a run is told of what a health rule found: a part of its summary, and an alert. Thread-safe.

    summary: _telemetryd/health/RULE (the newest), and behind that /count, /active, /time, /rank, /step, /gpu, /node

The records are the caller's to write into the inbox. Counts are the run's since the daemon's start, whoever found it.
"""

from __future__ import annotations

import threading
import time

from client.protocol.records import Alert, Record, Summary
from telemetryd.health.events import Event, Events
from telemetryd.settings.rules import Rule

PREFIX = "_telemetryd/health/"


class Telling:
    """See the module's head."""

    def __init__(self, events: Events, *, alerts: bool, alert_wait_s: float) -> None:
        self._events = events
        self.alerts = alerts
        self._wait_ms = max(1, int(alert_wait_s * 1000))
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str], int] = {}

    def raised(self, run_id: int, rule: Rule, event: Event, *, active: bool) -> list[Record]:
        """An episode begins, which counts unless it is taken back (`untold`). `active`: it lasts."""
        with self._lock:
            count = self._counts[run_id, rule.name] = self._counts.get((run_id, rule.name), 0) + 1
        name = f"{PREFIX}{rule.name}"
        values: dict[str, str | int | bool] = {
            name: event.message,
            f"{name}/count": count,
            f"{name}/active": active or self._is_active(rule.name),
            f"{name}/time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.time_ns / 1e9)),
        }
        values |= {f"{name}/{word}": place for word, place in _where(event).items()}
        said: list[Record] = [Summary([([key], value) for key, value in values.items()])]
        if self.alerts:
            said.append(Alert(rule.title, _text(event), rule.level, self._wait_ms, event.time_ns))
        return said

    def untold(self, run_id: int, rule: str) -> None:
        """What `raised` gave was not written."""
        with self._lock:
            self._counts[run_id, rule] = self._counts.get((run_id, rule), 1) - 1

    def was_told(self, run_id: int, rule: str) -> bool:
        """Whether the run has heard of the rule."""
        with self._lock:
            return (run_id, rule) in self._counts

    def cleared(self, rule: str, *, besides: tuple[str, str] | None = None) -> list[Record]:
        """An episode is over. `besides`: the (rule, subject) of one that still counts as active and is over as well."""
        return [Summary([([f"{PREFIX}{rule}/active"], self._is_active(rule, besides))])]

    def forget(self, runs: set[int]) -> None:
        """These runs are there; what is known of others can go."""
        with self._lock:
            self._counts = {key: count for key, count in self._counts.items() if key[0] in runs}

    def _is_active(self, rule: str, besides: tuple[str, str] | None = None) -> bool:
        return any(one == rule and (one, subject) != besides for one, subject, _ in self._events.active())


def _where(event: Event) -> dict[str, int | str]:
    places = {"node": event.node, "rank": event.rank, "step": event.step, "gpu": event.gpu}
    return {word: place for word, place in places.items() if place is not None}


def _text(event: Event) -> str:
    where = ", ".join(f"{word} {place}" for word, place in _where(event).items())
    parts = [f"{event.message} ({where})" if where else event.message, *([event.advice] if event.advice else [])]
    return "\n".join(f"{part[:1].upper()}{part[1:]}." for part in parts)
