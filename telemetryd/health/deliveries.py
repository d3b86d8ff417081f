"""How each run's delivery stands just now: what the supervisor knows and reports tell to clients.

Kept in memory only: after a restart every run that is not finished is `starting` again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

RANKS_KEPT = 200
"""Runs whose ranks' figures are kept: as many as `status` lists."""


@dataclass(frozen=True)
class Delivery:
    """`state` is one of messages.Report's; `trouble` says why a run is "retrying" or "refused"."""

    state: str = "starting"
    trouble: str | None = None


@dataclass(frozen=True)
class Newest:
    """The newest row that a run's worker has written: its step, and some of its plain values."""

    step: int | None = None
    values: dict[str, float | str] = field(default_factory=dict)


class Deliveries:
    """The delivery state of runs by their number, shared between supervisor and reception."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[int, Delivery] = {}
        self._stops: set[int] = set()
        self._ranks: dict[int, dict[str, Any]] = {}
        self._newest: dict[int, Newest] = {}

    def set(self, run_id: int, state: str, trouble: str | None = None) -> bool:
        """Note a run's state; True when that is a change."""
        delivery = Delivery(state, trouble)
        with self._lock:
            changed = self._runs.get(run_id) != delivery
            self._runs[run_id] = delivery
        return changed

    def get(self, run_id: int) -> Delivery:
        """A run's state; "starting" when nothing is known of it."""
        with self._lock:
            return self._runs.get(run_id, Delivery())

    def request_stop(self, run_id: int) -> None:
        """W&B's stop button was pressed for the run."""
        with self._lock:
            self._stops.add(run_id)

    def stop_requested(self, run_id: int) -> bool:
        """Whether W&B's stop button was pressed since the run began its present life."""
        with self._lock:
            return run_id in self._stops

    def set_ranks(self, run_id: int, figures: dict[str, Any]) -> None:
        """Keep the newest figures of a distributed run's ranks; they stay when the run is finished."""
        with self._lock:
            if figures:
                self._ranks[run_id] = figures
                for oldest in list(self._ranks)[:-RANKS_KEPT]:
                    del self._ranks[oldest]

    def ranks(self, run_id: int) -> dict[str, Any]:
        """What is known of a run's ranks; empty for one without."""
        with self._lock:
            return self._ranks.get(run_id, {})

    def set_newest(self, run_id: int, newest: Newest) -> None:
        """Keep a run's newest row; it stays when the run is finished."""
        with self._lock:
            self._newest[run_id] = newest
            for oldest in list(self._newest)[:-RANKS_KEPT]:
                del self._newest[oldest]

    def newest(self, run_id: int) -> Newest:
        """A run's newest row, as far as it is known."""
        with self._lock:
            return self._newest.get(run_id, Newest())

    def forget(self, run_id: int) -> None:
        """Drop what is known of a run that is finished."""
        with self._lock:
            self._runs.pop(run_id, None)
            self._stops.discard(run_id)
