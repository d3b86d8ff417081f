"""How much printed text goes into a run. Pure: times are passed in.

A bucket of BURST_BYTES fills at RATE_BYTES_PER_S; a piece of text takes its size out of it, PIECE_MIN_BYTES at least,
so that many tiny pieces are bounded as well. What does not fit is left out whole and counted under "rate"; beyond
TOTAL_BYTES everything is, under "total". How much was left out is told once text is taken again.
"""

from __future__ import annotations

from client.limits import (
    OUTPUT_BURST_BYTES,
    OUTPUT_PIECE_MIN_BYTES,
    OUTPUT_RATE_BYTES_PER_S,
    OUTPUT_TOTAL_BYTES,
)

RATE, TOTAL = "rate", "total"


class Throttle:
    """Of one session's output."""

    def __init__(self) -> None:
        self._left = float(OUTPUT_BURST_BYTES)
        self._at_s: float | None = None
        self._taken = 0
        self._untold: dict[str, int] = {}

    def take(self, size: int, now_s: float) -> bool:
        """Whether a piece of so many bytes is taken."""
        if self._at_s is not None:
            self._left = min(OUTPUT_BURST_BYTES, self._left + (now_s - self._at_s) * OUTPUT_RATE_BYTES_PER_S)
        self._at_s = now_s
        cost = max(size, OUTPUT_PIECE_MIN_BYTES)
        if self._taken + size > OUTPUT_TOTAL_BYTES:
            return self._leave_out(TOTAL, size)
        if cost > self._left or (self._untold and self._left < OUTPUT_BURST_BYTES / 4):
            return self._leave_out(RATE, size)  # once full, let a quarter run in: few gaps instead of many
        self._left -= cost
        self._taken += size
        return True

    def _leave_out(self, reason: str, size: int) -> bool:
        self._untold[reason] = self._untold.get(reason, 0) + size
        return False

    def untold(self) -> dict[str, int]:
        """Bytes left out by reason since the last call."""
        untold, self._untold = self._untold, {}
        return untold
