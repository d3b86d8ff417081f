"""The worker's ends of the two pipes: orders come in through a thread, reports go out.

The thread acts by itself in two cases, because the main thread may be stuck in wandb: the order pipe closed (the
supervisor is gone: end at once, unfinished), and a Stop whose time is over.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from telemetryd.runs import control
from telemetryd.runs.limits import ORPHAN_GRACE_S, SAMPLES_WAITING_MAX

log = logging.getLogger(__name__)

_READ_BYTES = 1 << 16


class Samples:
    """Samples that wait for the main thread, which may be stuck in wandb: so many at most, the oldest go first."""

    def __init__(self) -> None:
        self._waiting: deque[control.Samples] = deque()
        self._dropped = 0
        self._lock = threading.Lock()

    def put(self, samples: control.Samples) -> None:
        """Keep them."""
        with self._lock:
            self._waiting.append(samples)
            if len(self._waiting) > SAMPLES_WAITING_MAX:
                self._dropped += len(self._waiting.popleft().values)

    def take(self) -> tuple[list[control.Samples], int]:
        """(what has come, how many values had to go since the last time)."""
        with self._lock:
            taken, dropped = list(self._waiting), self._dropped
            self._waiting.clear()
            self._dropped = 0
        return taken, dropped


class Orders:
    """Orders as they come. `leave` ends the process at once; it is called from the thread."""

    def __init__(self, fd: int, leave: Callable[[str], None]) -> None:
        self._fd = fd
        self._leave = leave
        self._queue: queue.SimpleQueue[control.Order] = queue.SimpleQueue()
        self.samples = Samples()
        self._stopped = threading.Event()
        self._stop_deadline_s: float | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next(self, timeout_s: float) -> control.Order | None:
        """The next order, or None after `timeout_s`."""
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def put(self, order: control.Order) -> None:
        """An order from this process itself (a signal)."""
        if isinstance(order, control.Stop):
            self._watch(order)
        self._queue.put(order)

    def _read(self) -> None:
        unpacker = control.Unpacker()
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError as error:
                log.error("orders_broken reason=%r", error.strerror)
                data = b""
            if not data:
                self._leave("the supervisor is gone")
                return
            try:
                for order in unpacker.orders(data):
                    if isinstance(order, control.Samples):
                        self.samples.put(order)  # they wait for nobody, and nobody waits for them
                    else:
                        self.put(order)
            except ValueError as error:
                self._leave(f"the supervisor sent no order: {error}")
                return

    def _watch(self, stop: control.Stop) -> None:
        """End the process when it is still there some time after a Stop's own end."""
        with self._lock:
            watching = self._stop_deadline_s is not None
            deadline = time.monotonic() + max(0.0, stop.within_s) + ORPHAN_GRACE_S
            self._stop_deadline_s = min(deadline, self._stop_deadline_s or deadline)
        if not watching:
            threading.Thread(target=self._enforce, name="stop-deadline", daemon=True).start()

    def _enforce(self) -> None:
        while True:
            with self._lock:
                left = (self._stop_deadline_s or 0.0) - time.monotonic()
            if left <= 0:
                self._leave("the time to stop is over")
                return
            self._stopped.wait(left)


class Reports:
    """Reports to the supervisor, each written as a whole. Thread-safe: wandb's own threads have something to say."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._writing = threading.Lock()

    def send(self, report: control.Report) -> None:
        """Write a report; waits while the pipe is full. Raises BrokenPipeError when the supervisor is gone."""
        view = memoryview(control.pack(report))
        with self._writing:
            while view:
                view = view[os.write(self._fd, view) :]

    def stop_requested(self) -> None:
        """W&B's stop button was pressed; never raises, for wandb calls this."""
        try:
            self.send(control.StopRequested())
        except OSError as error:
            log.error("reports_broken reason=%r", error.strerror)
