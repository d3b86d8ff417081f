"""When each of the daemon's loops last came round: what tells a daemon that works from one that is stuck.

A beat is one store into a dictionary: no lock, no system call but the clock's. Written by the loops, read by others.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Pulse:
    """The beats of loops that come round by themselves, whether or not there is anything to do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats_s: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """The loop has come round."""
        self._beats_s[loop] = self._clock()

    def ages_s(self) -> dict[str, float]:
        """For how long each loop has not come round."""
        now_s = self._clock()
        return {loop: max(0.0, now_s - beat_s) for loop, beat_s in sorted(self._beats_s.items())}
