"""How long a step takes each rank, told by the clocks of its own rows. Pure.

A rank's step time is the time between two of its rows over the steps between them, as an exponentially weighted mean:
no collective, no clock but the rank's own, so clocks that differ from node to node do not matter. Where every step ends
in a collective, all ranks wait for the slowest and take the same time; what is told apart is what differs between them.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

import msgspec

from telemetryd.runs.limits import STEP_TIME_MIN_STEPS, STEP_TIME_WEIGHT


class RankTime(msgspec.Struct, array_like=True):
    """One rank: its newest row, and seconds per step over `steps` measurements."""

    step: int
    time_ns: int
    mean_s: float = 0.0
    steps: int = 0


class Slowest(NamedTuple):
    """The slowest rank, its seconds per step, and the median of all."""

    rank: int
    step_s: float
    median_s: float


class StepTimes:
    """The step times of a run's ranks."""

    def __init__(self, ranks: dict[int, RankTime] | None = None) -> None:
        self.ranks = ranks or {}

    def observe(self, rank: int, step: int, time_ns: int) -> None:
        """A rank closed the row of a step. Steps or times that go back begin a new measurement."""
        last = self.ranks.get(rank)
        if last is None or step <= last.step or time_ns < last.time_ns:
            self.ranks[rank] = RankTime(step, time_ns, *((last.mean_s, last.steps) if last else ()))
            return
        took_s = (time_ns - last.time_ns) / 1e9 / (step - last.step)
        weight = max(STEP_TIME_WEIGHT, 1 / (last.steps + 1))  # the plain mean until there are enough
        last.mean_s += weight * (took_s - last.mean_s)
        last.step, last.time_ns, last.steps = step, time_ns, last.steps + 1

    def forget(self, rank: int) -> None:
        """The rank's process is another one now: the time between the two is no step."""
        self.ranks.pop(rank, None)

    def slowest(self) -> Slowest | None:
        """The slowest of the ranks that are measured, None while there are fewer than two."""
        measured = {rank: time.mean_s for rank, time in self.ranks.items() if time.steps >= STEP_TIME_MIN_STEPS}
        if len(measured) < 2:
            return None
        rank = max(sorted(measured), key=lambda number: measured[number])
        return Slowest(rank, measured[rank], statistics.median(measured.values()))
