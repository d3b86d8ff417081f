"""The tables of the daemon's benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.results import Column, publish, table

COLUMNS = (Column("what", "title"), Column("rows/s", "rate", "{:,.0f}"), Column("goal", "goal", "{:,}"))


def test_figures_stand_on_the_right_and_what_is_not_known_is_a_dash() -> None:
    figures = [{"title": "one", "rate": 1234.6, "goal": 1000}, {"title": "two", "rate": 7.2, "goal": None}]
    assert table(COLUMNS, figures).splitlines() == [
        "| what | rows/s | goal |",
        "|---|---:|---:|",
        "| one | 1,235 | 1,000 |",
        "| two | 7 | – |",
    ]


def test_a_result_is_a_marked_table_and_a_map_with_the_machine(tmp_path: Path, capsys) -> None:
    figures = [{"title": "one", "rate": 1.0, "goal": 2}]
    text = publish("drain", COLUMNS, figures, "Said.", tmp_path)
    assert text.startswith("<!-- drain: from python -m tests.bench.drain -->\n| what |")
    assert text.endswith("\n<!-- end of drain -->")
    assert capsys.readouterr().out.strip() == text == (tmp_path / "drain.md").read_text().strip()
    kept = json.loads((tmp_path / "drain.json").read_text())
    assert kept["figures"] == figures
    assert kept["machine"]["cores"]
