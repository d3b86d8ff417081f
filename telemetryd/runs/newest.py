"""The newest row as a person looks at it: its plain numbers and short texts, some of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from telemetryd.runs.limits import NEWEST_TEXT_MAX_CHARS, NEWEST_VALUES_MAX


def newest_values(data: Mapping[str, Any]) -> dict[str, float | str]:
    """The first few of a row's values that can be shown in a line. What is not finite is told as a text, since it
    equals nothing, itself included."""
    shown: dict[str, float | str] = {}
    for key, value in data.items():
        if key.startswith("_") or len(key) > NEWEST_TEXT_MAX_CHARS:
            continue
        if isinstance(value, bool):
            shown[key] = str(value).lower()
        elif isinstance(value, (int, float)):
            try:
                number = float(value)
            except OverflowError:
                continue
            shown[key] = number if math.isfinite(number) else str(number)
        elif isinstance(value, str) and len(value) <= NEWEST_TEXT_MAX_CHARS:
            shown[key] = value
        if len(shown) >= NEWEST_VALUES_MAX:
            break
    return shown
