"""How sizes and durations are written in variables, files and flags: one grammar for training and daemon.

`size_bytes` and `duration_s` raise ValueError with the part of a message that follows the setting's name.
"""

from __future__ import annotations

import math
import re
from typing import Any

from client.errors import UsageError
from client.limits import TIMEOUT_MAX_S

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_SIZE_UNITS = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "kib": 1 << 10, "ki": 1 << 10,
    "m": 10**6, "mb": 10**6, "mib": 1 << 20, "mi": 1 << 20,
    "g": 10**9, "gb": 10**9, "gib": 1 << 30, "gi": 1 << 30,
    "t": 10**12, "tb": 10**12, "tib": 1 << 40, "ti": 1 << 40,
}  # fmt: skip

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d)?\s*")
_DURATION_UNITS = {None: 1.0, "ms": 1e-3, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def size_bytes(value: Any, minimum: int) -> int:
    """A size: 8589934592, "8GiB", "500 MB"; at least `minimum` bytes."""
    match = _SIZE.fullmatch(str(value))
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError("is no size; write it like 8GiB, 500MB or a number of bytes")
    size = int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
    if size < minimum:
        raise ValueError(f"is too small; it needs at least {format_bytes(minimum)}")
    return size


def duration_s(value: Any, maximum_s: float) -> float:
    """A duration in seconds: 60, 2.5, "90s", "5min", "1h"; from 0 to `maximum_s`."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("is no duration; write it like 60, 90s, 5min or 1h")
    seconds = float(match[1]) * _DURATION_UNITS[match[2]]
    if not math.isfinite(seconds) or seconds > maximum_s:
        raise ValueError(f"is too long; the longest is {maximum_s:g} s")
    return seconds


def timeout_s(timeout: Any, seconds: float | None, default_s: float) -> float:
    """A call's `timeout=`, or the same in plain seconds, `timeout_s=`. Raises UsageError."""
    if timeout is None and seconds is None:
        return default_s
    if timeout is not None and seconds is not None:
        raise UsageError("timeout and timeout_s are the same: give one of them")
    given = seconds if timeout is None else timeout
    try:
        return duration_s(given, TIMEOUT_MAX_S)
    except ValueError as error:
        raise UsageError(f"timeout={given!r} {error}") from None


def format_bytes(size: int) -> str:
    """A size as a person reads it: 8 GiB, 1.5 MiB, 12 bytes."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
        amount /= 1024
    raise AssertionError("unreachable")
