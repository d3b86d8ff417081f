"""The sampler's end of the report pipe. Never waits: what the daemon does not read is kept up to a cap, then dropped.

Readings are dropped first; everything else has some room of its own beyond the cap. Readings wait for the next `flush`,
so that those of one second go together and wake the daemon once; everything else goes at once.
"""

from __future__ import annotations

import os
import threading

from telemetryd.sampling import messages
from telemetryd.sampling.limits import BACKLOG_MAX_BYTES


class Outbox:
    """Thread-safe."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self.dropped = 0
        """Frames that were dropped."""
        self.broken = False
        """The daemon is gone."""

    def send(self, report: messages.Report) -> None:
        """Pass a report on, or keep it, or drop it."""
        frame = messages.pack(report)
        may_wait = isinstance(report, messages.Reading)
        cap = BACKLOG_MAX_BYTES * (1 if may_wait else 2)
        with self._lock:
            if len(self._waiting) + len(frame) > cap:
                self.dropped += 1
            else:
                self._waiting += frame
            if not may_wait:
                self._write()

    def flush(self) -> None:
        """Pass on what was kept, as far as the pipe takes it."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        try:
            while self._waiting and not self.broken:
                sent = os.write(self._fd, self._waiting)
                del self._waiting[:sent]
        except BlockingIOError:
            pass  # the pipe is full: the daemon is busy or stopped
        except BrokenPipeError:
            self.broken = True
