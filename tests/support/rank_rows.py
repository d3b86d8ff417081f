"""What the ranks of a run logged, out of its .wandb files, under the policy `all`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from telemetryd.runs.wandb_file import history_rows


def rows_by_rank(files: Iterable[Path], ranks: int) -> dict[int, Counter[int]]:
    """How often each number that a rank logged as `i` stands in the files."""
    found: dict[int, Counter[int]] = {number: Counter() for number in range(ranks)}
    for path in files:
        for _, row in history_rows(path):
            for number in found:
                if (value := row.get(f"rank{number}/i")) is not None:
                    found[number][int(value)] += 1
    return found
