"""Telemetry's own troubles end here: counted, told rarely, never raised into training.

In the project's tests (TELEMETRYD_RAISE=1) what is swallowed is also kept in `raised`, and a test fails on it.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from client.limits import LOG_PERIOD_S

log = logging.getLogger("telemetryd.client")

counts: dict[str, int] = {}
"""How often each place had trouble, since the process began."""

newest: dict[str, tuple[int, str]] = {}
"""(how often, the newest message) of each place that had trouble."""

raised: list[tuple[str, BaseException]] = []
"""In the project's own tests: every swallowed error, to be raised by the test that caused it."""

_lock = threading.Lock()
_told_at_s: dict[str, float] = {}


def swallow(where: str, error: BaseException) -> None:
    """Count an error of telemetry's own at `where` ("journal.supply"), and log it at most once a minute a place."""
    now_s = time.monotonic()
    with _lock:
        counts[where] = counts.get(where, 0) + 1
        newest[where] = counts[where], f"{type(error).__name__}: {error}"
        tell = now_s - _told_at_s.get(where, -LOG_PERIOD_S) >= LOG_PERIOD_S
        if tell:
            _told_at_s[where] = now_s
    if os.environ.get("TELEMETRYD_RAISE"):
        raised.append((where, error))
    if tell:
        log.warning("%s: %s: %s (seen %d times)", where, type(error).__name__, error, counts[where])


def renew_after_fork() -> None:
    """Give the child locks of its own: the parent's may have been held by a thread that the child does not have."""
    global _lock
    _lock = threading.Lock()
