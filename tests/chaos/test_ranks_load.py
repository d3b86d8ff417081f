"""Many ranks on one daemon, for seconds: `python -m tests.bench.ranks` is the long version, with a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.ranks import measure

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(400),
    pytest.mark.leaves_files("the daemon ends by SIGKILL"),
]


@pytest.mark.parametrize(("ranks", "rows_per_s"), [(64, 100.0), (512, 1.0)])
def test_many_ranks_lose_no_row_and_every_row_has_all_of_them(short_path: Path, ranks: int, rows_per_s: float) -> None:
    outcome = measure(short_path / "load", ranks, rows_per_s, seconds=10, metrics=10, policy="aggregate")
    assert outcome.offered == outcome.delivered == ranks * rows_per_s * 10
    assert (outcome.dropped, outcome.incomplete) == (0, 0)
