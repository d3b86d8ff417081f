"""Random kills and stops of all four processes lose and double no row. More seeds: tests/chaos/random_schedule.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.random_schedule import play_seed, schedule

SECONDS = 12.0
SEEDS = (range(3), range(3, 6))
"""Played three at once."""


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.leaves_files("killed workers leave their temporary folders")
@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
@pytest.mark.parametrize("seeds", SEEDS, ids=lambda seeds: f"seeds_{seeds[0]}_to_{seeds[-1]}")
def test_random_kills_and_stops_lose_and_double_no_row(seeds: range, online: bool, short_path: Path) -> None:
    with ThreadPoolExecutor(len(seeds)) as pool:
        played = [pool.submit(play_seed, short_path / str(seed), seed, SECONDS, online=online) for seed in seeds]
    errors = [error for one in played if (error := one.exception()) is not None]
    if errors:
        raise AssertionError("\n\n".join(map(str, errors))) from errors[0]


def test_a_seed_gives_the_same_schedule_each_time_and_another_seed_another() -> None:
    assert schedule(7, 20) == schedule(7, 20)
    assert schedule(7, 20) != schedule(8, 20)


def test_over_many_seeds_every_process_is_killed_and_stopped() -> None:
    seen = {(event.target, event.signum.name) for seed in range(100) for event in schedule(seed, 20)}
    assert seen >= {(t, s) for t in ("trainer", "daemon", "worker", "core") for s in ("SIGKILL", "SIGSTOP")}
