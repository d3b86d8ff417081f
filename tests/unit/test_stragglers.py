"""A slow rank is an event once, and again when it is another one or the same one anew."""

from __future__ import annotations

from typing import Any

from telemetryd.supervision.stragglers import Stragglers


def figures(rank: int, slower_by: float) -> dict[str, Any]:
    return {"slowest": rank, "slower_by": slower_by, "slowest_step_s": 0.1 * (1 + slower_by), "median_step_s": 0.1}


def test_a_slow_rank_is_told_once_with_what_is_known_of_the_cause() -> None:
    stragglers = Stragglers(lambda run, rank: f"rank {rank} of {run} is throttled")
    assert stragglers.look("r", {}, 1) is None
    assert stragglers.look("r", figures(2, 0.1), 1) is None
    event = stragglers.look("r", figures(2, 0.5), 7)
    assert event is not None
    assert (event.kind, event.run, event.rank, event.time_ns) == ("straggler", "r", 2, 7)
    assert event.message == "rank 2 takes 0.15 s a step, the median of the ranks 0.1 s"
    assert event.advice == "rank 2 of r is throttled"
    assert stragglers.look("r", figures(2, 0.6), 8) is None
    assert stragglers.look("other", figures(2, 0.6), 8) is not None


def test_another_rank_or_the_same_after_it_was_well_is_told_again() -> None:
    stragglers = Stragglers()
    assert stragglers.look("r", figures(2, 0.5), 1) is not None
    assert stragglers.look("r", figures(3, 0.5), 2) is not None
    assert stragglers.look("r", figures(3, 0.15), 3) is None
    assert stragglers.look("r", figures(3, 0.5), 4) is None
    assert stragglers.look("r", figures(3, 0.05), 5) is None
    assert stragglers.look("r", figures(3, 0.5), 6) is not None
