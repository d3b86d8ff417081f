"""What happened, newest last: faults of GPUs, and whatever else a person should hear of. Told by `telemetryd status`.

What a health rule finds is an event whose `kind` is the rule's name, and until it is over also *active*: one for each
rule and subject (a GPU, a path, a run). Kept in memory; the log has all of them. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from telemetryd.limits import EVENT_KINDS_MAX, EVENTS_KEPT, EVENTS_SHOWN
from telemetryd.settings.rules import RULES


@dataclass(frozen=True)
class Event:
    """One event. `kind` is a word of a closed list (docs/sampling.md); `run` is the run's key, `rank` and `step` what
    ran there then, `gpu` the CUDA ordinal that the run knows the device `uuid` by, `node` the host where it is not the
    daemon's own; each is None where there is none."""

    time_ns: int
    kind: str
    message: str
    advice: str = ""
    fatal: bool = False
    code: int | None = None
    uuid: str | None = None
    run: str | None = None
    rank: int | None = None
    step: int | None = None
    gpu: int | None = None
    node: str | None = None

    def as_map(self) -> dict[str, Any]:
        """Without what is not there."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None and value != "" and value is not False
        }


class Events:
    """The last events of the daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._active: dict[tuple[str, str], Event] = {}
        self._raised = dict.fromkeys((rule.name for rule in RULES), 0)
        self._counts: dict[tuple[str, int | None], int] = {}

    def add(self, event: Event) -> None:
        """Keep an event; the oldest goes when there are too many."""
        with self._lock:
            self._events.append(event)
            what = event.kind, event.code
            if what not in self._counts and len(self._counts) >= EVENT_KINDS_MAX:
                what = event.kind, None
            self._counts[what] = self._counts.get(what, 0) + 1

    def all(self) -> list[Event]:
        """Those that are kept, oldest first."""
        with self._lock:
            return list(self._events)

    def counts(self) -> dict[tuple[str, int | None], int]:
        """How often each kind of event happened since the daemon's start, XIDs by their number."""
        with self._lock:
            return dict(self._counts)

    def as_list(self) -> list[dict[str, Any]]:
        """The newest, as `status` tells them."""
        return [event.as_map() for event in self.all()[-EVENTS_SHOWN:]]

    # Health rules.

    def raise_(self, rule: str, subject: str, event: Event, *, lasts: bool) -> None:
        """A rule found something: count it, and keep it as active where it `lasts` until `clear`. The event itself is
        added apart, for there may be one for each run. Raises KeyError on a rule that does not exist."""
        with self._lock:
            self._raised[rule] += 1
            if lasts:
                self._active[rule, subject] = event

    def clear(self, rule: str, subject: str) -> bool:
        """It is over; whether it was active."""
        with self._lock:
            return self._active.pop((rule, subject), None) is not None

    def active(self) -> list[tuple[str, str, Event]]:
        """(rule, subject, event) of everything that is not over, oldest first."""
        with self._lock:
            return [(rule, subject, event) for (rule, subject), event in self._active.items()]

    def raised(self) -> dict[str, int]:
        """How often each rule has found something since the daemon's start, by the rule's name; all rules are there."""
        with self._lock:
            return dict(self._raised)

    def health_map(self) -> dict[str, Any]:
        """As `status` tells it."""
        active = [{"rule": rule, "subject": subject, **event.as_map()} for rule, subject, event in self.active()]
        return {"active": active[-EVENTS_SHOWN:], "raised": self.raised()}
