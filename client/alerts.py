"""`run.alert`: its arguments checked as wandb checks them."""

from __future__ import annotations

import datetime
import enum
import time

from client.protocol import records


class AlertLevel(enum.Enum):
    """How grave an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


def checked(
    title: str,
    text: str,
    level: str | AlertLevel | None = None,
    wait_duration: float | datetime.timedelta | None = None,
) -> records.Alert:
    """The record of an `alert` call. Raises ValueError and TypeError as wandb, and for texts that are none."""
    for name, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            raise TypeError(f"alert({name}=...) must be a str, not {type(value).__name__}: use str({value!r})")
    level = level or AlertLevel.INFO
    level_name = level.value if isinstance(level, enum.Enum) else level
    if level_name not in {known.value for known in AlertLevel}:
        raise ValueError("level must be one of 'INFO', 'WARN', or 'ERROR'")
    wait = wait_duration or datetime.timedelta(minutes=1)
    if isinstance(wait, (int, float)):
        wait = datetime.timedelta(seconds=wait)
    if not callable(getattr(wait, "total_seconds", None)):
        raise TypeError("wait_duration must be an int, float, or datetime.timedelta")
    return records.Alert(title, text, level_name, int(wait.total_seconds() * 1000), time.time_ns())
