"""The table of docs/faults.md has a line for every cell of the fault matrix, and shows what is required."""

from __future__ import annotations

import re

import pytest

from tests.chaos.matrix import LONGEST_CALL_MS, P999_MS, Cell, all_cells
from tests.chaos.report import DOCUMENT, key, lines_of

LINES = lines_of(DOCUMENT.read_text())


@pytest.mark.parametrize("one", all_cells(), ids=lambda one: one.id)
def test_the_table_has_a_line_for_the_cell_that_shows_what_is_required(one: Cell) -> None:
    line = LINES[key(one.part, one.fault)]
    if "not played" in line:
        return
    logged, in_wandb, missing, doubled, exceptions, longest, p999 = (
        float(re.sub(r"[ ,ms]", "", field)) for field in line.split("|")[3:-1]
    )
    assert (missing, doubled, exceptions) == (0, 0, 0)
    assert logged <= in_wandb <= logged + one.trainer_dies
    assert longest < LONGEST_CALL_MS
    assert p999 < P999_MS


def test_the_table_has_no_line_that_is_no_cell() -> None:
    assert set(LINES) - {key(one.part, one.fault) for one in all_cells()} == set()
