"""When an alert counts, in the training's time: W&B judges by when one arrives, and a daemon may be late. Pure.

W&B sends no alert whose title it has sent within `wait_duration`. An alert that was on its way for a while is given
another wait, so that W&B decides what it would have decided on the day: one that came long enough after the last is
sent, however soon behind it it arrives; one that came too soon is not, however late it arrives.
"""

from __future__ import annotations

from client.protocol.records import Alert

AT_ONCE_MS = 1
"""The shortest wait: wandb takes 0 for its default."""


class AlertTimes:
    """The alerts of a run that were sent, by title."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[int, int]] = {}

    def wait_ms(self, alert: Alert, now_ns: int) -> int:
        """The wait to tell W&B, in milliseconds, when the alert is handed over at `now_ns`."""
        raised_ns, told_ns = self._sent.get(alert.title, (None, 0))
        if raised_ns is None:
            self._sent[alert.title] = alert.time_ns, now_ns
            return alert.wait_ms
        since_ms = max(0, now_ns - told_ns) // 1_000_000
        counts = alert.time_ns - raised_ns >= alert.wait_ms * 1_000_000
        if counts:
            self._sent[alert.title] = alert.time_ns, now_ns
        if counts == (since_ms >= alert.wait_ms):
            return alert.wait_ms
        return AT_ONCE_MS if counts else since_ms + alert.wait_ms
