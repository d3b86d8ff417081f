"""Shows one stream of a command as it comes, and adds its text to a transcript.

A thread per stream, so that a reader that holds one up does not hold the other up; it alone reads the stream and
writes where it is shown. Showing comes first: whatever goes wrong with the text costs the text, never the stream. Who
reads slowly what is shown holds the command up, and who went away ends the pipe, both as without a tee.
"""

from __future__ import annotations

import codecs
import errno
import math
import os
import select
import threading
import time

from client import guard
from client.console.streams import Stream
from client.console.transcript import Transcript
from client.limits import OUTPUT_BATCH_BYTES, OUTPUT_GRACE_MAX_S, OUTPUT_GRACE_S


class Tee(threading.Thread):
    """See the module's head. `start()` it, then `finish()` it once the command has ended."""

    def __init__(self, stream: Stream, transcript: Transcript, where: str, *, stay: bool = False) -> None:
        """`where` names the owner in what is counted. `stay`: after `finish`, go on showing until the stream ends."""
        super().__init__(name=f"tee-{stream.name}", daemon=not stay)
        self._stream = stream
        self._transcript = transcript
        self._where = where
        self._stay = stay
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._showing = True
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._last_read_s = math.inf  # set by finish(): the stream is left at the latest then
        self._recorded = threading.Event()

    def finish(self) -> None:
        """Take what is still on its way, and end. A stream that something else holds open is left after a pause."""
        self._last_read_s = time.monotonic() + OUTPUT_GRACE_MAX_S
        os.eventfd_write(self._wake, 1)
        if self._stay:
            self._recorded.wait()
            return
        self.join()
        os.close(self._wake)

    def run(self) -> None:
        """The thread: until the stream ends, or `finish` has been called and it is silent."""
        try:
            if self._pump() and self._stay:
                self._recorded.set()
                self._only_show()
        except Exception as error:  # noqa: BLE001  (the command must find a reader whatever happens here)
            guard.swallow(f"{self._where}.{self._stream.name}", error)
            self._only_show()
        finally:
            self._recorded.set()
            os.close(self._stream.outer)

    def _pump(self) -> bool:
        """Whether the stream is still open at the end."""
        poll = select.poll()
        poll.register(self._stream.outer, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        is_open = True
        while is_open:
            ready = dict(poll.poll(self._patience_ms()))
            if self._wake in ready:
                poll.unregister(self._wake)
            if self._stream.outer in ready:
                data = _read(self._stream.outer)
                is_open = bool(data) and self._show(data)
                self._take(data)
            elif not ready and self._last_read_s != math.inf and self._transcript.due_in_s() is None:
                break
            if self._transcript.due_in_s() == 0.0:
                self._transcript.flush()
            if time.monotonic() >= self._last_read_s:
                break
        self._transcript.add(self._stream.name, self._decoder.decode(b"", final=True))
        self._transcript.flush()
        return is_open

    def _patience_ms(self) -> int | None:
        """How long to wait for more: for the batch in hand, for what the ended command left, or for ever."""
        due_s = self._transcript.due_in_s()
        if due_s is not None:
            return max(1, math.ceil(due_s * 1000))
        return None if self._last_read_s == math.inf else math.ceil(OUTPUT_GRACE_S * 1000)

    def _take(self, data: bytes) -> None:
        self._transcript.add(self._stream.name, self._decoder.decode(data))

    def _show(self, data: bytes) -> bool:
        """Write where the stream is shown; False when the command should see its end, as without a tee."""
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
