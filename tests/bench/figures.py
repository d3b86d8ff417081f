"""From samples to figures. Pure: numbers in, numbers out."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

P99_CALLS, P999_CALLS = 100, 1000
"""Of fewer calls a quantile would be the maximum under another name, and is left out."""

SLOWER = [99, 95, 90, *(share / 10**power for power in range(7) for share in (80, 60, 50, 40, 30, 20, 15, 10))]
"""In percent: for each the time is kept that so many of the calls exceed. A plot needs no more of 20,000 calls."""


@dataclass
class Samples:
    """Nanoseconds of every call of one peer in one scenario, by block, and the CPU seconds per call of each block."""

    blocks: list[array[int]] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def add(self, block: array[int], cpu_s: float) -> None:
        """One block more."""
        self.blocks.append(block)
        self.cpu_s.append(cpu_s)


def quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest sample that at least `share` of all samples do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * round(share * 1_000_000) // 1_000_000) - 1))]


def figures(samples: Samples) -> dict[str, Any]:
    """Microseconds per call, how many calls there were, and how far the blocks lie apart."""
    ordered = array("q", sorted(ns for block in samples.blocks for ns in block))
    return {
        "median_us": quantile(ordered, 0.5) / 1e3,
        "p99_us": quantile(ordered, 0.99) / 1e3 if len(ordered) >= P99_CALLS else None,
        "p99.9_us": quantile(ordered, 0.999) / 1e3 if len(ordered) >= P999_CALLS else None,
        "max_us": ordered[-1] / 1e3,
        "cpu_us": statistics.fmean(samples.cpu_s) * 1e6 if samples.cpu_s else None,
        "calls": len(ordered),
        "blocks": len(samples.blocks),
        "medians_of_blocks_us": spread([statistics.median(block) / 1e3 for block in samples.blocks]),
        "slower_percent_us": slower(ordered),
    }


def slower(ordered: Sequence[int]) -> list[tuple[float, float]]:
    """(percent of calls, the µs that they exceed), down to one call."""
    count = len(ordered)
    kept = [percent for percent in SLOWER if percent * count >= 100]
    return [(percent, quantile(ordered, 1 - percent / 100) / 1e3) for percent in sorted(kept, reverse=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, quartiles and greatest."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return dict.fromkeys(("min", "q1", "median", "q3", "max"), ordered[0])
    first, middle, third = statistics.quantiles(ordered, n=4, method="inclusive")
    return {"min": ordered[0], "q1": first, "median": middle, "q3": third, "max": ordered[-1]}


def slowdown_percent(pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Of (bare, logging) times: by how much logging made the same steps longer; median and spread over the pairs."""
    return spread([(logging / bare - 1) * 100 for bare, logging in pairs])


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """None where one of the two is lacking or there is nothing to divide by."""
    return numerator / denominator if numerator is not None and denominator else None
