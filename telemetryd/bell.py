"""A bell: any thread or signal handler rings it, one thread waits for it among its other file descriptors."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping


class Bell:
    """A non-blocking pipe. Ringing twice before it is heard is one ring."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closed = False

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._reading

    @property
    def signal_fd(self) -> int:
        """The descriptor for `signal.set_wakeup_fd`."""
        return self._writing

    def ring(self) -> None:
        """Wake the waiting thread. Never blocks; does nothing once closed."""
        if self._closed:
            return
        try:
            os.write(self._writing, b"!")
        except BlockingIOError:  # full: it is ringing already
            pass

    def silence(self) -> None:
        """Forget the rings so far."""
        try:
            while os.read(self._reading, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close both ends. Nobody may wait for it any more."""
        if not self._closed:
            self._closed = True
            os.close(self._reading)
            os.close(self._writing)


@contextlib.contextmanager
def ringing(wake_fd: int, handlers: Mapping[signal.Signals, Callable[[int, object], None]]) -> Iterator[None]:
    """Within, each of these signals runs its handler and makes `wake_fd`'s bell ring. Only in the main thread."""
    before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
    wake_before = signal.set_wakeup_fd(wake_fd, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wake_before)
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
