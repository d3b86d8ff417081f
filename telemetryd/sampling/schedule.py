"""When which families are read. Pure: the time is passed in, in seconds of any steadily rising clock.

A lane reads its families at whole multiples of their periods, so that readings of different lanes, families and days
fall together; the ring's metrics are read once a second in between. What was missed (a call that took long, a machine
that slept) is not made up for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

_SLACK_S = 1e-6


@dataclass(frozen=True)
class Due:
    """What is to be read now."""

    families: frozenset[str]
    ring: bool

    def __bool__(self) -> bool:
        return bool(self.families) or self.ring


class Schedule:
    """The periods of a lane's families, in seconds."""

    def __init__(self, periods_s: Mapping[str, float], ring_period_s: float | None, now_s: float) -> None:
        """`ring_period_s` None: no ring. Everything is due at once."""
        self._periods_s = dict(periods_s)
        self._ring_period_s = ring_period_s
        self._next_s = dict.fromkeys(self._periods_s, now_s)
        self._next_ring_s = now_s if ring_period_s is not None else math.inf

    def next_s(self) -> float:
        """When something is due next."""
        return min([self._next_ring_s, *self._next_s.values()])

    def take(self, now_s: float) -> Due:
        """What is due at this time; it is due again a period later."""
        families = frozenset(name for name, at_s in self._next_s.items() if at_s <= now_s + _SLACK_S)
        for name in families:
            self._next_s[name] = _after(now_s, self._periods_s[name])
        ring = self._next_ring_s <= now_s + _SLACK_S
        if ring and self._ring_period_s is not None:
            self._next_ring_s = _after(now_s, self._ring_period_s)
        return Due(families, ring)


def _after(now_s: float, period_s: float) -> float:
    """The first multiple of the period after now."""
    return (math.floor((now_s + _SLACK_S) / period_s) + 1) * period_s
