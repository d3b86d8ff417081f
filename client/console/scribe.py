"""Takes what is printed, in the order in which it comes, and records it in a session.

Invariants
* Nothing here waits or raises, makes a system call, or takes a lock that is held across I/O.
* A line is in the session when the print that ended it has returned.
* What is left out is counted by reason, in the record behind it and by a line in the run's Logs.
* Text that printing within `write` brings (a log line of our own about a failure) is not recorded: no circle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from client import guard
from client.console.throttle import Throttle
from client.limits import OUTPUT_BATCH_BYTES, OUTPUT_BATCH_S
from client.protocol.records import Output


class Scribe:
    """Of one session; `record` takes its records. Thread-safe, also within signal handlers."""

    def __init__(self, record: Callable[[Output], object]) -> None:
        self._record = record
        self._throttle = Throttle()
        self._lock = threading.RLock()
        self._writing = False
        self._pieces: list[str] = []
        self._stream = ""
        self._size = 0
        self._since_s = 0.0

    def add(self, stream: str, text: str) -> None:
        """Take a piece of what a print writes: recorded with the line's end, or by `tick` where none comes.

        A print writes its words one by one; a record of each would cost as much as the line's.
        """
        with self._lock:
            if self._writing or not text:
                return
            if self._stream != stream or not self._pieces:
                self._put()
                self._stream, self._since_s = stream, time.monotonic()
            self._pieces.append(text)
            self._size += len(text)
            if "\n" in text or "\r" in text or self._size >= OUTPUT_BATCH_BYTES:
                self._put()

    def tick(self) -> None:
        """Record the beginning of a line that has waited for its end. Called by the sender's thread; never waits."""
        if self._pieces and time.monotonic() - self._since_s >= OUTPUT_BATCH_S and self._lock.acquire(blocking=False):
            try:
                self._put()
            finally:
                self._lock.release()

    def write(self, stream: str, text: str, time_ns: int | None = None) -> None:
        """Record text of "stdout" or "stderr" at once, written now or at `time_ns`."""
        with self._lock:
            if self._writing or not text:
                return
            self._writing = True
            try:
                size = len(text) if text.isascii() else len(text.encode(errors="replace"))
                if self._throttle.take(size, time.monotonic()):
                    self._tell_left_out(stream)
                    self._record(Output(stream, text, time_ns or time.time_ns()))
            except Exception as error:  # noqa: BLE001 - whatever it was, a print must not notice
                guard.swallow("console.record", error)
            finally:
                self._writing = False

    def close(self) -> None:
        """Record what is left, and tell what was left out."""
        with self._lock:
            self._put()
            try:
                self._tell_left_out("stderr")
            except Exception as error:  # noqa: BLE001 - as above
                guard.swallow("console.record", error)

    def _put(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            self.write(self._stream, "".join(pieces))

    def _tell_left_out(self, stream: str) -> None:
        left_out = self._throttle.untold()
        if left_out:
            said = ", ".join(f"{size} bytes ({reason})" for reason, size in sorted(left_out.items()))
            self._record(
                Output(stream, f"\ntelemetryd: left out of the output here: {said}\n", time.time_ns(), left_out)
            )
