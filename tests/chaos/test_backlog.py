"""A backlog on its way to W&B: `python -m tests.bench.drain` is the long version, which tells how fast that is."""

from __future__ import annotations

import pytest

from tests.bench.drain import measure

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400), pytest.mark.leaves_files("the daemon ends by SIGKILL")]


@pytest.mark.parametrize("online", [False, True])
def test_every_row_of_a_backlog_is_there_once_in_order_and_the_summary_is_the_last_ones(online: bool) -> None:
    assert measure(30_000, online=online)["rows_per_s"] > 0
