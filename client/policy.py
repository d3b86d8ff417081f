"""What happens at the caps, when rows are lost and when W&B asks for a stop: a session's policy.

Given as `init(settings=client.Settings(on_full="block"))` or, where that says nothing, by environment variables.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from client import amounts
from client.limits import (
    ARTIFACT_MAX_BYTES,
    CAP_MIN_BYTES,
    MEMORY_MAX_BYTES,
    ON_FULL_TIMEOUT_MAX_S,
    ON_FULL_TIMEOUT_S,
    SPOOL_MAX_BYTES,
)
from client.protocol import rank_policy

STOP_SIGNALS = {
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "SIGUSR1": signal.SIGUSR1,
    "none": None,
}


class Policy(msgspec.Struct, frozen=True):
    """See the module's head.

    `ranks` is what becomes of a distributed job's values (rank_policy.py; None: the daemon's setting),
    `ranks_timeout_s` how long a row waits for the other ranks, `ranks_series_max` how many series `rank{r}/key` there
    may be.

    `on_full`: "drop" loses and counts the newest row at a cap; "block" lets the call that logs it wait for room, at
    most `on_full_timeout_s`, and only then drops it. `stop_signal` is sent to this process when somebody presses W&B's
    stop button (None: nothing is).

    Callbacks, each called on a thread of its own, at most once a second, and never with a lock held:
    `on_drop(rows)` with {reason: rows lost since the last call}; `on_error(where, message)` for a trouble that logging
    goes on without; `on_lag(pending, behind_s)` while `pending` rows have made no progress for `behind_s` seconds.
    """

    spool_max_bytes: int = SPOOL_MAX_BYTES
    memory_max_bytes: int = MEMORY_MAX_BYTES
    artifact_max_bytes: int = ARTIFACT_MAX_BYTES
    on_full: str = "drop"
    on_full_timeout_s: float = ON_FULL_TIMEOUT_S
    stop_signal: signal.Signals | None = signal.SIGINT
    ranks: str | None = None
    ranks_timeout_s: float | None = None
    ranks_series_max: int | None = None
    on_drop: Callable[[dict[str, int]], object] | None = None
    on_error: Callable[[str, str], object] | None = None
    on_lag: Callable[[int, float], object] | None = None


NAMES = frozenset(Policy.__struct_fields__)
"""What `client.Settings` takes beside wandb's names."""

_ENVIRONMENT = {
    "spool_max_bytes": "TELEMETRYD_SPOOL_MAX_BYTES",
    "memory_max_bytes": "TELEMETRYD_MEMORY_MAX_BYTES",
    "artifact_max_bytes": "TELEMETRYD_ARTIFACT_MAX_BYTES",
    "on_full": "TELEMETRYD_ON_FULL",
    "on_full_timeout_s": "TELEMETRYD_ON_FULL_TIMEOUT_S",
    "stop_signal": "TELEMETRYD_STOP_SIGNAL",
    "ranks": "TELEMETRYD_RANKS",
    "ranks_timeout_s": "TELEMETRYD_RANKS_TIMEOUT_S",
    "ranks_series_max": "TELEMETRYD_RANKS_SERIES_MAX",
}


def resolve(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Policy:
    """The policy that settings, and the environment where they say nothing, add up to.

    Raises ValueError, naming what is to be mended.
    """
    values: dict[str, Any] = {}
    for name in NAMES:
        variable = _ENVIRONMENT.get(name, "")
        value, source = given.get(name), name
        if value is None:
            value, source = environ.get(variable) or None, f"environment variable {variable}"
        if value is not None:
            try:
                values[name] = _parse(name, value)
            except ValueError as error:
                raise ValueError(f"{source}={value!r} {error}") from None
    return Policy(**values)


def _parse(name: str, value: Any) -> Any:
    if name.endswith("_bytes"):
        return amounts.size_bytes(value, 0 if name == "artifact_max_bytes" else CAP_MIN_BYTES)
    if name in ("on_full_timeout_s", "ranks_timeout_s"):
        return amounts.duration_s(value, ON_FULL_TIMEOUT_MAX_S)
    if name == "ranks":
        return rank_policy.parse(value).text()
    if name == "ranks_series_max":
        return _count(value)
    if name == "on_full":
        if value not in ("drop", "block"):
            raise ValueError("must be drop or block")
        return value
    if name == "stop_signal":
        text = value.name if isinstance(value, signal.Signals) else str(value)
        if text not in STOP_SIGNALS:
            raise ValueError(f"must be one of {', '.join(STOP_SIGNALS)}")
        return STOP_SIGNALS[text]
    if callable(value):
        return value
    raise ValueError("must be a function")


def _count(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal():
        raise ValueError("must be a whole number, 0 or more")
    return int(text)
