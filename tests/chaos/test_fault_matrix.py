"""Whatever breaks, training runs on and nothing is lost: every cell of the fault matrix (see docs/faults.md).

Cells are played several at once, since most of their time is waiting. A cell that was only too slow is played again,
alone: the slowness may be the other cells'. What came of all goes to the file named by TELEMETRYD_FAULTS_OUT.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.matrix import Cell, Result, all_cells, measure

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.leaves_files("killed workers leave their temporary folders"),
]

OUT = os.environ.get("TELEMETRYD_FAULTS_OUT")
"""Read here: a test's environment has no variable of ours."""
AT_ONCE = max(2, 2 * (os.cpu_count() or 1))
WAITING_AT_ONCE = 3 * AT_ONCE
TRIES_ALONE = 2


class Matrix:
    """Plays the chosen cells, a batch when the first of it is asked for."""

    def __init__(self, chosen: list[Cell]) -> None:
        self._left = chosen
        self._played: dict[str, Future[Result]] = {}

    def result(self, one: Cell, folder: Path) -> Result:
        """What came of a cell. Raises what it raised, a skip for instance."""
        if one.id not in self._played:
            self._play_batch(one, folder)
        result = self._played[one.id].result()
        for again in range(TRIES_ALONE):
            if not result.lost_or_doubled() and result.too_slow():
                result = measure(one, folder / f"again-{again}")
        return result

    def _play_batch(self, one: Cell, folder: Path) -> None:
        most = WAITING_AT_ONCE if one.waits else AT_ONCE
        batch = [one, *(other for other in self._left if other is not one and other.waits == one.waits)][:most]
        self._left = [other for other in self._left if other not in batch]
        with ThreadPoolExecutor(len(batch)) as pool:
            for number, other in enumerate(batch):
                self._played[other.id] = pool.submit(measure, other, folder / str(number))


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    items = [item for item in request.session.items if item.path == request.path]
    return Matrix([item.callspec.params["one"] for item in items if "one" in item.callspec.params])


@pytest.fixture(scope="module")
def results() -> Iterator[list[Result]]:
    found: list[Result] = []
    yield found
    if OUT:
        Path(OUT).write_text(json.dumps([result.as_json() for result in found], indent=1))


@pytest.mark.parametrize("one", all_cells(), ids=lambda one: one.id)
def test_training_neither_waits_nor_raises_and_every_row_arrives_once(
    one: Cell, matrix: Matrix, results: list[Result], short_path: Path
) -> None:
    try:
        result = matrix.result(one, short_path / "m")
    except pytest.skip.Exception as skipped:
        results.append(Result(one.part, one.fault, skipped=str(skipped)))
        raise
    results.append(result)
    assert result.lost_or_doubled() + result.too_slow() == []
