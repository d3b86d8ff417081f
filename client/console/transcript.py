"""Text of several streams in the order in which it was read, handed on in batches: many small writes become one record.

Each stream is read by a thread of its own; all of them add to one transcript, and whichever finds it due hands it on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from client import guard
from client.limits import OUTPUT_BATCH_BYTES, OUTPUT_BATCH_S

HandOn = Callable[[str, str, int], None]
"""Takes (stream, text, time in ns of the text's first byte)."""


class Transcript:
    """See the module's head. Thread-safe; never raises."""

    def __init__(self, hand_on: HandOn, where: str) -> None:
        """`where` names the owner in what is counted when the text cannot be handed on."""
        self._hand_on = hand_on
        self._where = where
        self._lock = threading.Lock()
        self._pieces: list[tuple[str, int, list[str]]] = []
        self._size = 0
        self._since_s = 0.0

    def add(self, stream: str, text: str) -> None:
        """Text that was just read."""
        if not text:
            return
        with self._lock:
            if not self._pieces:
                self._since_s = time.monotonic()
            if not self._pieces or self._pieces[-1][0] != stream:
                self._pieces.append((stream, time.time_ns(), []))
            self._pieces[-1][2].append(text)
            self._size += len(text)

    def due_in_s(self) -> float | None:
        """How long until what is there is to be handed on; None when nothing is."""
        with self._lock:
            if not self._pieces:
                return None
            left_s = self._since_s + OUTPUT_BATCH_S - time.monotonic()
            return 0.0 if self._size >= OUTPUT_BATCH_BYTES else max(0.0, left_s)

    def flush(self) -> None:
        """Hand on what is there."""
        with self._lock:
            pieces, self._pieces, self._size = self._pieces, [], 0
            for stream, time_ns, texts in pieces:
                try:
                    self._hand_on(stream, "".join(texts), time_ns)
                except Exception as error:  # noqa: BLE001 - the text is lost, the streams go on
                    guard.swallow(f"{self._where}.{stream}.text", error)
