"""What the daemon knows of the machine: devices, the newest value of everything, and the last minutes at 1 Hz.

This is what health rules, post-mortems, /metrics and views read: a snapshot whenever they want, or every reading and
event as it comes (`listen`). Thread-safe; listeners are called on the thread that brings the news, the daemon's main
thread, and must be quick.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from telemetryd.sampling.messages import Device, Devices, Event, Reading
from telemetryd.sampling.ring import Ring

ReadingListener = Callable[[Reading], None]
EventListener = Callable[[Event], None]


class Machine:
    """The machine, as sampled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ring = Ring()
        self._latest: dict[str, dict[str, tuple[float, int]]] = {}
        self._devices = Devices()
        self._on_reading: list[ReadingListener] = []
        self._on_event: list[EventListener] = []

    def listen(self, on_reading: ReadingListener | None = None, on_event: EventListener | None = None) -> None:
        """Have every reading, or every event, passed on from now on."""
        self._on_reading += [on_reading] if on_reading is not None else []
        self._on_event += [on_event] if on_event is not None else []

    def latest(self) -> dict[str, dict[str, tuple[float, int]]]:
        """By scope and metric: (value, time in ns since the epoch) of the newest reading that had it."""
        with self._lock:
            return {scope: dict(values) for scope, values in self._latest.items()}

    def devices(self) -> Devices:
        """The GPUs that there are, and their driver."""
        with self._lock:
            return self._devices

    def device(self, uuid: str) -> Device | None:
        """One of them."""
        return next((device for device in self.devices().devices if device.uuid == uuid), None)

    def ring(self, since_ns: int = 0, scopes: frozenset[str] | None = None) -> list[Reading]:
        """Readings at 1 Hz from that moment on, oldest first, of all scopes ("host", "gpu:UUID", "run:N") or some."""
        with self._lock:
            return list(self._ring.since(since_ns, scopes))

    # What the sampler brings.

    def add(self, reading: Reading) -> None:
        """A reading came."""
        with self._lock:
            self._ring.add(reading)
            latest = self._latest.setdefault(reading.scope, {})
            for name, value in reading.values.items():
                latest[name] = (value, reading.time_ns)
        for listener in self._on_reading:
            listener(reading)

    def happened(self, event: Event) -> None:
        """An event came."""
        for listener in self._on_event:
            listener(event)

    def set_devices(self, devices: Devices) -> None:
        """The list of GPUs has changed; what is not there any more has no newest values."""
        with self._lock:
            self._devices = devices
            there = {f"gpu:{device.uuid}" for device in devices.devices}
            for scope in [scope for scope in self._latest if scope.startswith("gpu:") and scope not in there]:
                del self._latest[scope]

    def forget(self, run: int) -> None:
        """A run has ended; the ring keeps its readings for as long as any."""
        with self._lock:
            self._latest.pop(f"run:{run}", None)
