"""The state machines that health rules are made of. Pure: values and times in, "it begins" and "it is over" out.

    Level   a value at or above a threshold for some time begins an episode, one at or below a lower value ends it
    Burst   something that happens at moments: the first begins an episode, some time without another ends it
    Share   no state of its own to tell: the percentage of the last while in which something held

Times are seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections import deque

GAP_S = 120.0
"""A value that was not told for so long begins anew: nobody knows what was in between."""


class Level:
    """See the module's head. `over` tells whether an episode is on."""

    def __init__(self, threshold: float, clear: float, lasting_s: float) -> None:
        self._threshold = threshold
        self._clear = min(clear, threshold)
        self._lasting_s = lasting_s
        self._since_s: float | None = None
        self._seen_s = 0.0
        self.over = False

    def feed(self, value: float, now_s: float) -> bool | None:
        """True when an episode begins with this value, False when one ends, else None."""
        if now_s - self._seen_s > GAP_S:
            self._since_s = None
        self._seen_s = now_s
        if self.over:
            if value <= self._clear:
                self.over, self._since_s = False, None
                return False
            return None
        if value < self._threshold:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < self._lasting_s:
            return None
        self.over = True
        return True


class Burst:
    """See the module's head."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._last_s: float | None = None

    def hit(self, now_s: float) -> bool:
        """It happened; whether that begins an episode."""
        begins = self._last_s is None or now_s - self._last_s >= self._quiet_s
        self._last_s = now_s
        return begins

    def is_over(self, now_s: float) -> bool:
        """Whether an episode was on and has ended by now; told once."""
        if self._last_s is None or now_s - self._last_s < self._quiet_s:
            return False
        self._last_s = None
        return True


class Share:
    """Over a sliding window, of samples at any distance from each other."""

    def __init__(self, window_s: float, covered: float = 0.9) -> None:
        """`covered`: so much of the window must have been seen before anything is told."""
        self._window_s = window_s
        self._needed_s = covered * window_s
        self._seen: deque[tuple[float, bool]] = deque()

    def feed(self, held: bool, now_s: float) -> float | None:
        """The percentage of the window's samples for which it held; None while the window is not covered."""
        if self._seen and now_s - self._seen[-1][0] > GAP_S:
            self._seen.clear()
        self._seen.append((now_s, held))
        while now_s - self._seen[0][0] > self._window_s:
            self._seen.popleft()
        if now_s - self._seen[0][0] < self._needed_s or len(self._seen) < 2:
            return None
        return 100.0 * sum(held for _, held in self._seen) / len(self._seen)
