"""Whether a metric that stands for the loss is finite. Pure; the worker's, who sees the rows.

One episode for each metric: the first value that is NaN or infinite begins it, the first finite one ends it.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from typing import Any

from telemetryd.runs.limits import LOSS_NAMES_MAX


class LossWatch:
    """`names` are names of metrics with ":" between, `*` matching anything; empty watches nothing."""

    def __init__(self, names: str = "") -> None:
        self._patterns = tuple(name for name in names.split(":") if name)
        self._watched: dict[str, bool] = {}
        """By metric that was seen: whether it is to be watched."""
        self._bad: set[str] = set()

    def look(self, data: Mapping[str, Any]) -> list[tuple[str, float]]:
        """(metric, value) where an episode begins with this row, or ends with a finite value."""
        if not self._patterns:
            return []
        found = []
        for name, value in data.items():
            if not isinstance(value, float) or not self._is_watched(name):
                continue
            bad = not math.isfinite(value)
            if bad != (name in self._bad):
                found.append((name, value))
                (self._bad.add if bad else self._bad.discard)(name)
        return found

    def _is_watched(self, name: str) -> bool:
        known = self._watched.get(name)
        if known is None:
            known = any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)
            if len(self._watched) < LOSS_NAMES_MAX:
                self._watched[name] = known
        return known
