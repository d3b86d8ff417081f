"""The last minutes at 1 Hz, in memory: what a post-mortem shows of the time before a crash.

Not thread-safe; the daemon's main thread owns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from telemetryd.sampling.catalogue import RING, split
from telemetryd.sampling.limits import RING_KEEPS_S, RING_MAX_READINGS
from telemetryd.sampling.messages import Reading


class Ring:
    """Readings cut to the ring's metrics, oldest first."""

    def __init__(self, keeps_s: float = RING_KEEPS_S, max_readings: int = RING_MAX_READINGS) -> None:
        self._keeps_ns = int(keeps_s * 1e9)
        self._readings: deque[Reading] = deque(maxlen=max_readings)

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, reading: Reading) -> None:
        """Keep a reading, and forget what is too old beside it."""
        values = reading.values
        if reading.families:  # else it holds nothing but the ring's
            values = {name: value for name, value in values.items() if split(name)[0] in RING}
        if values:
            self._readings.append(Reading(reading.time_ns, reading.scope, values))
        while self._readings and self._readings[0].time_ns < reading.time_ns - self._keeps_ns:
            self._readings.popleft()

    def since(self, time_ns: int, scopes: frozenset[str] | None = None) -> Iterator[Reading]:
        """Readings from that moment on, of all scopes or of some."""
        for reading in list(self._readings):
            if reading.time_ns >= time_ns and (scopes is None or reading.scope in scopes):
                yield reading
