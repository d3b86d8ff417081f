"""When to tell clients about a run: at most so often, at once when it is important. Pure; times are passed in."""

from __future__ import annotations


class ReportSchedule:
    """Runs with news, and when their next report is due. Seconds of any steadily rising clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._sent_s: dict[int, float] = {}
        self._due_s: dict[int, float] = {}

    def changed(self, run_id: int, now_s: float, *, important: bool) -> None:
        """The run has news; important news are due now."""
        due_s = now_s if important else max(now_s, self._sent_s.get(run_id, -self._interval_s) + self._interval_s)
        self._due_s[run_id] = min(due_s, self._due_s.get(run_id, due_s))

    def next_due_s(self) -> float | None:
        """When the next report is due, None when nothing is."""
        return min(self._due_s.values(), default=None)

    def take_due(self, now_s: float) -> set[int]:
        """The runs to report on now."""
        due = {run_id for run_id, due_s in self._due_s.items() if due_s <= now_s}
        for run_id in due:
            del self._due_s[run_id]
            self._sent_s[run_id] = now_s
        if len(self._sent_s) > 1000:  # what was sent long ago delays nothing any more
            self._sent_s = {run: sent for run, sent in self._sent_s.items() if now_s - sent < self._interval_s}
        return due
