"""The benchmark's figures: a wrong quantile would be a wrong promise in the README."""

from __future__ import annotations

from array import array

import pytest

from tests.bench.figures import Samples, figures, quantile, ratio, slowdown_percent, slower, spread
from tests.bench.units import duration


def test_a_quantile_is_the_smallest_sample_that_covers_its_share() -> None:
    ordered = array("q", range(1, 1001))
    assert [quantile(ordered, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile(array("q", [7]), 0.5) == 7


def test_figures_are_microseconds_per_call_over_all_blocks() -> None:
    samples = Samples()
    samples.add(array("q", [3000, 1000]), 8e-6)
    samples.add(array("q", [2000, 9000]), 4e-6)
    found = figures(samples)
    assert (found["median_us"], found["max_us"], found["cpu_us"]) == (2.0, 9.0, pytest.approx(6.0))
    assert (found["calls"], found["blocks"]) == (4, 2)
    assert found["medians_of_blocks_us"] == {"min": 2.0, "q1": 2.875, "median": 3.75, "q3": 4.625, "max": 5.5}


def test_quantiles_that_too_few_calls_cannot_tell_are_left_out() -> None:
    def of(calls: int) -> tuple[bool, bool]:
        found = figures(Samples([array("q", range(1, calls + 1))]))
        return found["p99_us"] is not None, found["p99.9_us"] is not None

    assert [of(calls) for calls in (99, 100, 999, 1000)] == [(False, False), (True, False), (True, False), (True, True)]


def test_the_shares_that_are_slower_fall_to_a_single_call_and_the_times_rise() -> None:
    points = slower(array("q", range(1000, 1_001_000, 1000)))
    assert points[0] == (99, 10.0)
    assert points[-1] == (0.1, 999.0)
    assert [percent for percent, _ in points] == sorted((percent for percent, _ in points), reverse=True)
    assert [us for _, us in points] == sorted(us for _, us in points)


def test_a_slowdown_is_the_median_over_pairs_of_steps() -> None:
    found = slowdown_percent([(1000, 1010), (1000, 1020), (2000, 6000)])
    assert found["median"] == pytest.approx(2.0)
    assert found["max"] == pytest.approx(200.0)


def test_a_spread_of_one_value_is_that_value() -> None:
    assert set(spread([4.0]).values()) == {4.0}


def test_a_ratio_without_both_sides_is_none() -> None:
    assert ratio(6.0, 3.0) == 2.0
    assert [ratio(None, 3.0), ratio(6.0, None), ratio(6.0, 0.0)] == [None, None, None]


def test_durations_carry_the_unit_that_suits() -> None:
    assert [duration(us) for us in (0.114, 14.06, 374.2, 3140.0, 51_000.0, 4_804_000.0)] == [
        "0.11 µs",
        "14.1 µs",
        "374 µs",
        "3.14 ms",
        "51 ms",
        "4.8 s",
    ]
