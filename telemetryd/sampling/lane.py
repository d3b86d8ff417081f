"""A lane: one thread that reads what may hang together, so that it delays nothing else. GPUs have one each.

A lane that is stuck in a call is left to itself and goes on when the call returns; `busy` tells since when.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from telemetryd.sampling.schedule import Due, Schedule

log = logging.getLogger(__name__)


class Lane:
    """One lane. `read` is called on its thread with what is due; an exception of it is logged and the lane goes on,
    except for those in `ends`, which `ended` is told."""

    def __init__(
        self,
        name: str,
        periods_s: Mapping[str, float],
        ring_period_s: float | None,
        read: Callable[[Due], None],
        ends: tuple[type[Exception], ...] = (),
        ended: Callable[[Exception], None] | None = None,
    ) -> None:
        self.name = name
        self._schedule = Schedule(periods_s, ring_period_s, time.monotonic())
        self._read = read
        self._ends = ends
        self._ended = ended
        self._stop = threading.Event()
        self._since_s: float | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._main, name=f"lane {name}", daemon=True)

    def start(self) -> None:
        """Begin; everything is read at once."""
        self._thread.start()

    def stop(self) -> None:
        """End it when it comes back from what it reads."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended by then."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def busy_s(self, now_s: float) -> float:
        """For how long it has been reading; 0 between readings."""
        since_s = self._since_s
        return 0.0 if since_s is None else now_s - since_s

    def _main(self) -> None:
        while not self._stop.wait(max(0.0, self._schedule.next_s() - time.monotonic())):
            now_s = time.monotonic()
            due = self._schedule.take(now_s)
            if not due:
                continue
            self._since_s = now_s
            try:
                self._read(due)
                self._failures = 0
            except self._ends as error:
                if self._ended is not None:
                    self._ended(error)
                return
            except Exception:
                self._failures += 1
                if self._failures == 1:
                    log.exception("reading_failed lane=%s", self.name)
            finally:
                self._since_s = None
