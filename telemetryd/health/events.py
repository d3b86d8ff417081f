"""What happened, newest last: faults of GPUs, and whatever else a person should hear of. Told by `telemetryd status`.

Kept in memory; the log has all of them. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from telemetryd.limits import EVENTS_KEPT, EVENTS_SHOWN


@dataclass(frozen=True)
class Event:
    """One event. `kind` is a word of a closed list (docs/sampling.md); `run` is the run's key, `rank` and `step` what
    ran there then, `gpu` the CUDA ordinal that the run knows the device `uuid` by; each is None where there is none."""

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

    def add(self, event: Event) -> None:
        """Keep an event; the oldest goes when there are too many."""
        with self._lock:
            self._events.append(event)

    def all(self) -> list[Event]:
        """Those that are kept, oldest first."""
        with self._lock:
            return list(self._events)

    def as_list(self) -> list[dict[str, Any]]:
        """The newest, as `status` tells them."""
        return [event.as_map() for event in self.all()[-EVENTS_SHOWN:]]
