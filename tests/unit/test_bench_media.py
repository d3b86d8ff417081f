"""The benchmark of media: every value of its table, by its name, with what a watched step costs more."""

from __future__ import annotations

from tests.bench import media
from tests.support.requirements import require_module


def test_the_cases_are_those_that_the_document_shows() -> None:
    for module in ("numpy", "matplotlib"):
        require_module(module)
    shown = media.DOCUMENT.read_text().partition(media.BEGIN)[2].partition(media.END)[0]
    first_cells = [line.split(" | ")[0].removeprefix("| ") for line in shown.splitlines() if line.startswith("| ")]
    assert first_cells[1:] == [*media.cases(), media.WATCHED]


def test_a_row_has_median_and_p90_without_the_warm_up_and_the_first_call() -> None:
    found = {"a film": {"client": [9_000, 1_000, 2_000, 3_000], "wandb": [8_000_000, 5_000_000, 6_000_000, 7_000_000]}}
    watched = {
        "unwatched": [(0.0, 0.1)] * 3,
        "client": [(0.0, 0.111), (0.0, 0.112), (0.0, 0.113)],
        "wandb": [(0.0, 0.5), (0.0, 0.6), (0.0, 0.7)],
    }
    rows = media.table(found, 1, watched).splitlines()[2:]
    assert [row.split(" | ")[1:] for row in rows] == [
        ["2.00 µs", "3.00 µs", "9.00 µs", "6.00 ms", "7.00 ms", "8.00 ms |"],
        ["12 ms", "13 ms", "", "500 ms", "600 ms", " |"],
    ]
