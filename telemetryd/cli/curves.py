"""The last value and a sparkline of each metric of a run, read back from what wandb has written of it.

Reading it back, instead of remembering it on the way, costs training nothing and shows what is really in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from telemetryd.cli.limits import CURVE_CHARS, CURVES_MAX, CURVES_MAX_FILE_BYTES
from telemetryd.runs.wandb_file import HISTORY, NotWandbFileError, RecordReader, fields, kind_of

BARS = "▁▂▃▄▅▆▇█"

# Field numbers in wandb/proto/wandb_internal.proto.
_ITEM = 1  # of HistoryRecord
_KEY, _NESTED_KEY, _VALUE_JSON = 1, 2, 16  # of HistoryItem


def lines(directory: str | None) -> list[str]:
    """A line for each metric of the run in a wandb run directory; none when there is nothing to be read quickly."""
    if not directory:
        return []
    curves: dict[str, list[float]] = {}
    try:
        for path in sorted(Path(directory).glob("*.wandb")):
            if path.stat().st_size > CURVES_MAX_FILE_BYTES:
                return []
            _collect(path, curves)
    except (OSError, NotWandbFileError):  # the run is where it was; only the look at it is missing
        return []
    shown = sorted(curves.items())[:CURVES_MAX]
    width = max((len(name) for name, _ in shown), default=0)
    said = [f"{name:<{width}}  {number(values[-1]):>10}  {sparkline(values)}" for name, values in shown]
    if more := len(curves) - len(shown):
        said.append(f"… and {more} more")
    return said


def number(value: float) -> str:
    """Five significant digits."""
    return f"{value:.5g}"


def sparkline(values: Sequence[float], chars: int = CURVE_CHARS) -> str:
    """The values' course in at most `chars` characters, each the mean of its share; a space where none is finite."""
    count = min(chars, len(values))
    means = []
    for index in range(count):
        share = values[index * len(values) // count : (index + 1) * len(values) // count]
        finite = [value for value in share if math.isfinite(value)]
        means.append(math.fsum(finite) / len(finite) if finite else math.nan)
    drawn = [mean for mean in means if math.isfinite(mean)]
    if not drawn:
        return " " * count
    low, high = min(drawn), max(drawn)
    span = high - low
    if not 0 < span < math.inf:  # all alike, or further apart than a float can tell
        return "".join(BARS[0] if math.isfinite(mean) else " " for mean in means)
    top = len(BARS) - 1
    return "".join(BARS[round((mean - low) / span * top)] if math.isfinite(mean) else " " for mean in means)


def _collect(path: Path, curves: dict[str, list[float]]) -> None:
    for record in RecordReader(path).read():
        if kind_of(record)[0] != HISTORY:
            continue
        for tag, history in fields(record):
            if tag == HISTORY and isinstance(history, bytes):
                for name, value in _values(history):
                    curves.setdefault(name, []).append(value)


def _values(history: bytes) -> list[tuple[str, float]]:
    """The numbers of a history record by their dotted names, wandb's own (`_step` …) left out."""
    found = []
    for tag, item in fields(history):
        if tag != _ITEM or not isinstance(item, bytes):
            continue
        names: list[str] = []
        text = ""
        for part, content in fields(item):
            if not isinstance(content, bytes):
                continue
            if part in (_KEY, _NESTED_KEY) and content:
                names.append(content.decode(errors="replace"))
            elif part == _VALUE_JSON:
                text = content.decode(errors="replace")
        value = _number(text)
        if names and value is not None and not names[0].startswith("_"):
            found.append((".".join(names), value))
    return found


def _number(text: str) -> float | None:
    """A JSON value as a number; None for what is not one. wandb writes NaN and infinities as words."""
    try:
        value = json.loads(text)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
