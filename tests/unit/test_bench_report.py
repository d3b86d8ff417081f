"""The benchmark's figures: a wrong quantile would be a wrong promise in the README."""

from __future__ import annotations

from array import array

from tests.bench.measure import Samples
from tests.bench.report import figures, quantile
from tests.bench.units import duration


def test_a_quantile_is_the_smallest_sample_that_covers_its_share() -> None:
    ordered = array("q", range(1, 1001))
    assert [quantile(ordered, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile(array("q", [7]), 0.5) == 7


def test_figures_are_microseconds_per_call() -> None:
    found = figures(Samples(array("q", [3000, 1000, 2000, 9000]), cpu_s=8e-6))
    assert found == {"median_us": 2.0, "p99_us": 9.0, "p99.9_us": 9.0, "max_us": 9.0, "cpu_us": 2.0, "calls": 4}


def test_durations_carry_the_unit_that_suits() -> None:
    assert [duration(us) for us in (0.114, 14.06, 374.2, 3140.0, 51_000.0, 4_804_000.0)] == [
        "0.11 µs",
        "14.1 µs",
        "374 µs",
        "3.14 ms",
        "51 ms",
        "4.8 s",
    ]
