"""What the benchmarks of the daemon's side print and write: Markdown tables between marks, and JSON beside them.

    <!-- NAME: from python -m tests.bench.NAME -->        docs/throughput.md holds the tables between such marks
    <!-- end of NAME -->

`<out>/NAME.md` and `<out>/NAME.json` hold the newest result: {"machine": where, "figures": [one map per row]}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.report import machine

OUT = Path("bench-out")


@dataclass(frozen=True)
class Column:
    """A column: its head, the figure's name, and how the figure is written."""

    head: str
    name: str
    form: str = "{}"

    def cell(self, figures: dict[str, Any]) -> str:
        """The figure as text; a dash where there is none."""
        value = figures.get(self.name)
        return "–" if value is None else self.form.format(value)


def table(columns: Sequence[Column], figures: Sequence[dict[str, Any]]) -> str:
    """A Markdown table; numbers stand on the right."""
    left = [any(isinstance(one.get(column.name), str) for one in figures) for column in columns]
    lines = [
        "| " + " | ".join(column.head for column in columns) + " |",
        "|" + "|".join("---" if is_left else "---:" for is_left in left) + "|",
    ]
    lines += ["| " + " | ".join(column.cell(one) for column in columns) + " |" for one in figures]
    return "\n".join(lines)


def in_rounds(ways: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> list[dict[str, Any]]:
    """Each way in turn, `rounds` times: its title, the medians of its figures (None where a round has none), and the
    `spread` of its rows a second."""
    taken: dict[str, list[dict[str, Any]]] = {title: [] for title in ways}
    for _ in range(rounds):
        for title, way in ways.items():
            taken[title].append(way())
    figures = []
    for title, found in taken.items():
        rates = sorted(one["rows_per_s"] for one in found)
        middle = {
            name: median(values) if None not in (values := [one[name] for one in found]) else None for name in found[0]
        }
        figures.append({"title": title, **middle, "spread": f"{rates[0]:,.0f}–{rates[-1]:,.0f}"})
    return figures


def publish(
    name: str,
    columns: Sequence[Column],
    figures: Sequence[dict[str, Any]],
    said: str,
    out: Path = OUT,
    module: str = "",
) -> str:
    """Print the table with its marks, and write NAME.md and NAME.json to `out`; the Markdown. `said` follows it.

    `module`: of tests.bench, where it is not called as the table."""
    where = machine()
    text = "\n".join(
        [
            f"<!-- {name}: from python -m tests.bench.{module or name} -->",
            table(columns, figures),
            "",
            f"{said} {where['cores']} cores of {where['cpu']}, Python {where['python']}, wandb {where['wandb']}.",
            f"<!-- end of {name} -->",
        ]
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n")
    (out / f"{name}.json").write_text(json.dumps({"machine": where, "figures": list(figures)}, indent=2) + "\n")
    print(text, flush=True)
    return text
