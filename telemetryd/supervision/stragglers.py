"""When a rank that is slower than the others becomes an event: once, and again when it is another one. Pure.

`cause` may tell why, from whatever is sampled of the rank's machine; without it the event says who and by how much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from telemetryd.health.events import Event
from telemetryd.limits import STRAGGLER_OVER_SHARE, STRAGGLER_UNDER_SHARE

KIND = "straggler"


class Stragglers:
    """The slow ranks of every run, as they were told last."""

    def __init__(self, cause: Callable[[str, int], str] = lambda run, rank: "") -> None:
        """`cause(run key, rank)` is why a rank is likely to be slow; empty where nothing tells."""
        self._told: dict[str, int] = {}
        self._cause = cause

    def look(self, run: str, figures: dict[str, Any], now_ns: int) -> Event | None:
        """The event that a run's newest figures (runs/ranks.py) amount to, None when there is nothing new in them."""
        rank, slower_by = figures.get("slowest"), figures.get("slower_by", 0.0)
        if rank is None:
            return None
        if slower_by <= STRAGGLER_UNDER_SHARE:
            self._told.pop(run, None)
        if slower_by < STRAGGLER_OVER_SHARE or self._told.get(run) == rank:
            return None
        self._told[run] = rank
        step_s, median_s = figures.get("slowest_step_s", 0.0), figures.get("median_step_s", 0.0)
        message = f"rank {rank} takes {step_s:.4g} s a step, the median of the ranks {median_s:.4g} s"
        return Event(now_ns, KIND, message, self._cause(run, rank), run=run, rank=rank)
