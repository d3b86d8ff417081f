"""How long a stop may take. Pure.

running ──first signal──► draining until the deadline ──second signal──► the rest of it is cut to a second
"""

from __future__ import annotations

from telemetryd.limits import LAST_RESORT_STOP_S


class Shutdown:
    """A stop that was asked for, or not yet. Seconds of any steadily rising clock."""

    def __init__(self, drain_timeout_s: float) -> None:
        self._drain_timeout_s = drain_timeout_s
        self.deadline_s: float | None = None
        self.asked = 0

    @property
    def draining(self) -> bool:
        """Whether the daemon is to stop."""
        return self.deadline_s is not None

    def ask(self, now_s: float) -> None:
        """A signal came (or the daemon retires). The first sets the deadline, every further one brings it near."""
        self.asked += 1
        if self.deadline_s is None:
            self.deadline_s = now_s + self._drain_timeout_s
        else:
            self.deadline_s = min(self.deadline_s, now_s + LAST_RESORT_STOP_S)

    def left_s(self, now_s: float) -> float:
        """What is left until the deadline; 0 after it, and infinite while nobody has asked."""
        return float("inf") if self.deadline_s is None else max(0.0, self.deadline_s - now_s)
