"""When a worker that failed is started again. Pure: times and jitter are passed in.

The pause doubles from failure to failure up to a maximum; a worker that lived without trouble for a while starts over.
Trouble that somebody must mend first (a wrong API key) has longer pauses, so as not to be a nuisance to the server.
"""

from __future__ import annotations

from telemetryd.limits import (
    RESTART_FIRST_DELAY_S,
    RESTART_HEALTHY_AFTER_S,
    RESTART_MAX_DELAY_S,
    RESTART_PERMANENT_FIRST_DELAY_S,
    RESTART_PERMANENT_MAX_DELAY_S,
)

_JITTER_SHARE = 0.25
_DOUBLINGS_MAX = 32


class RestartPolicy:
    """The failures of one run's workers."""

    def __init__(self) -> None:
        self.failures = 0

    def failed(self, lived_s: float, *, permanent: bool, jitter: float) -> float:
        """A worker failed after `lived_s`: how many seconds to wait. `jitter` in [0, 1) adds up to a quarter."""
        if lived_s >= RESTART_HEALTHY_AFTER_S and not permanent:
            self.failures = 0
        first, most = (
            (RESTART_PERMANENT_FIRST_DELAY_S, RESTART_PERMANENT_MAX_DELAY_S)
            if permanent
            else (RESTART_FIRST_DELAY_S, RESTART_MAX_DELAY_S)
        )
        delay_s = min(first * 2.0 ** min(self.failures, _DOUBLINGS_MAX), most)
        self.failures += 1
        return delay_s * (1.0 + _JITTER_SHARE * jitter)
