"""Shows one stream of the command as it comes, and hands its text on in batches.

A thread per stream, so that a reader that holds one up does not hold the other up; it alone reads the stream and
writes where it is shown. Showing comes first: whatever goes wrong with the text costs the text, never the stream. Who
reads slowly what is shown holds the command up, and who went away ends the pipe, both as without a launcher.
"""

from __future__ import annotations

import codecs
import errno
import math
import os
import select
import threading
import time
from collections.abc import Callable

from client import guard
from telemetryd.cli.limits import OUTPUT_BATCH_BYTES, OUTPUT_BATCH_S, OUTPUT_GRACE_MAX_S, OUTPUT_GRACE_S
from telemetryd.cli.streams import Stream

HandOn = Callable[[str, str, int], None]
"""Takes (stream, text, time in ns of the text's first byte)."""


class OutputTee(threading.Thread):
    """See the module's head. `start()` it, then `finish()` it once the command has ended."""

    def __init__(self, stream: Stream, hand_on: HandOn) -> None:
        super().__init__(name=f"tee-{stream.name}", daemon=True)
        self._stream = stream
        self._hand_on = hand_on
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text: list[str] = []
        self._size = 0
        self._since_s = math.inf  # monotonic time of the first byte in _text
        self._since_ns = 0
        self._showing = True
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._last_read_s = math.inf  # set by finish(): the stream is left at the latest then

    def finish(self) -> None:
        """Take what is still on its way, and end. A stream that something else holds open is left after a pause."""
        self._last_read_s = time.monotonic() + OUTPUT_GRACE_MAX_S
        os.eventfd_write(self._wake, 1)
        self.join()
        os.close(self._wake)

    def run(self) -> None:
        """The thread: until the stream ends, or `finish` has been called and it is silent."""
        try:
            self._pump()
        except Exception as error:  # noqa: BLE001  (the command must find a reader whatever happens here)
            guard.swallow(f"launcher.{self._stream.name}", error)
            self._only_show()
        finally:
            os.close(self._stream.outer)

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._stream.outer, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = dict(poll.poll(self._patience_ms()))
            if self._wake in ready:
                poll.unregister(self._wake)
            if self._stream.outer in ready:
                data = _read(self._stream.outer)
                if not data or not self._show(data):
                    break
                self._take(data)
            elif not ready and self._last_read_s != math.inf:
                break
            if self._size >= OUTPUT_BATCH_BYTES or time.monotonic() >= self._since_s + OUTPUT_BATCH_S:
                self._flush()
            if time.monotonic() >= self._last_read_s:
                break
        self._text.append(self._decoder.decode(b"", final=True))
        self._flush()

    def _patience_ms(self) -> int | None:
        """How long to wait for more: for the batch in hand, for what the ended command left, or for ever."""
        if self._text:
            return max(1, math.ceil((self._since_s + OUTPUT_BATCH_S - time.monotonic()) * 1000))
        return None if self._last_read_s == math.inf else math.ceil(OUTPUT_GRACE_S * 1000)

    def _take(self, data: bytes) -> None:
        if not self._text:
            self._since_s, self._since_ns = time.monotonic(), time.time_ns()
        self._text.append(self._decoder.decode(data))
        self._size += len(data)

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        self._size, self._since_s = 0, math.inf
        if not text:
            return
        try:
            self._hand_on(self._stream.name, text, self._since_ns or time.time_ns())
        except Exception as error:  # noqa: BLE001  (the text is lost, the stream goes on)
            guard.swallow(f"launcher.{self._stream.name}.text", error)

    def _show(self, data: bytes) -> bool:
        """Write where the stream is shown; False when the command should see its end, as without a launcher."""
        view = memoryview(data)
        while view and self._showing:
            try:
                view = view[os.write(self._stream.shown, view) :]
            except BlockingIOError:  # somebody made the descriptor non-blocking
                select.select([], [self._stream.shown], [])
            except OSError as error:
                if error.errno == errno.EPIPE:
                    return False
                self._showing = False  # a terminal that hung up, a full disk: the command goes on unseen
        return True

    def _only_show(self) -> None:
        while data := _read(self._stream.outer):
            if not self._show(data):
                return


def _read(descriptor: int) -> bytes:
    """What the stream has; empty at its end, which a pseudo-terminal tells with EIO."""
    try:
        return os.read(descriptor, OUTPUT_BATCH_BYTES)
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise
