"""Calls the callbacks of a session's policy, on a thread of its own that only sessions with callbacks have.

It looks at the session's figures once a period and touches nothing else: a callback that hangs or raises harms the
next callback alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from client import guard
from client.limits import LAG_AFTER_S, WATCH_END_S, WATCH_PERIOD_S
from client.policy import Policy


class Figures(NamedTuple):
    """What is looked at: rows lost so far by reason, rows pending, and how far delivery has come (any rising number).

    `trouble` is the daemon's word on what keeps it from delivering.
    """

    dropped: dict[str, int]
    pending: int
    progress: int
    trouble: str | None


class Lookout:
    """Which callbacks are due: pure, times are passed in."""

    def __init__(self) -> None:
        self._dropped: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._trouble: str | None = None
        self._progress = -1
        self._moved_s: float | None = None
        self._lag_told_s = 0.0

    def lost(self, figures: Figures) -> dict[str, int]:
        """Rows lost by reason since the last call."""
        fresh = {reason: count - self._dropped.get(reason, 0) for reason, count in figures.dropped.items()}
        self._dropped = dict(figures.dropped)
        return {reason: count for reason, count in fresh.items() if count > 0}

    def errors(self, figures: Figures, newest: dict[str, tuple[int, str]]) -> list[tuple[str, str]]:
        """(where, message) of each trouble that is new; `newest` holds (count, message) by place."""
        fresh = [(where, text) for where, (count, text) in newest.items() if count > self._errors.get(where, 0)]
        self._errors = {where: count for where, (count, _) in newest.items()}
        if figures.trouble and figures.trouble != self._trouble:
            fresh.append(("delivery", figures.trouble))
        self._trouble = figures.trouble
        return fresh

    def behind_s(self, figures: Figures, now_s: float) -> float | None:
        """For how long pending rows have made no progress, when that is to be told now."""
        if figures.progress != self._progress or not figures.pending or self._moved_s is None:
            self._progress, self._moved_s = figures.progress, now_s
        waited_s = now_s - self._moved_s
        if waited_s < LAG_AFTER_S or now_s - self._lag_told_s < LAG_AFTER_S:
            return None
        self._lag_told_s = now_s
        return waited_s


class Watch:
    """The thread behind a session's callbacks."""

    def __init__(self, policy: Policy, look: Callable[[], Figures]) -> None:
        self._policy = policy
        self._look = look
        self._lookout = Lookout()
        self._lookout.errors(Figures({}, 0, 0, None), dict(guard.newest))  # what was before is not this session's
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetryd-watch", daemon=True)

    @classmethod
    def start(cls, policy: Policy, look: Callable[[], Figures]) -> Watch | None:
        """Watch, where there is a callback to call and a thread to be had."""
        if policy.on_drop is None and policy.on_error is None and policy.on_lag is None:
            return None
        watch = cls(policy, look)
        try:
            watch._thread.start()
        except RuntimeError as error:  # as in Sender.start
            guard.swallow("watch.start", error)
            return None
        return watch

    def stop(self) -> None:
        """Call what is still due, and end. Waits for a callback that is busy at most WATCH_END_S."""
        self._end.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(WATCH_END_S)

    def _run(self) -> None:
        while not self._end.wait(WATCH_PERIOD_S):
            self._turn()
        self._turn()

    def _turn(self) -> None:
        policy, lookout = self._policy, self._lookout
        try:
            figures = self._look()
        except Exception as error:  # noqa: BLE001 - whatever it was, training must not notice
            guard.swallow("watch.look", error)
            return
        lost = lookout.lost(figures)
        if lost and policy.on_drop is not None:
            self._call("on_drop", policy.on_drop, lost)
        errors = lookout.errors(figures, dict(guard.newest))
        if policy.on_error is not None:
            for where, message in errors:
                if not where.startswith("callback."):  # or a callback that raises would be called for ever
                    self._call("on_error", policy.on_error, where, message)
        behind_s = lookout.behind_s(figures, time.monotonic())
        if behind_s is not None and policy.on_lag is not None:
            self._call("on_lag", policy.on_lag, figures.pending, behind_s)

    def _call(self, name: str, callback: Callable[..., object], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - as above
            guard.swallow(f"callback.{name}", error)
