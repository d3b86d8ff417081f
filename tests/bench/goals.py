"""What `log` and what stands beside it are meant to reach, each as a limit on figures of one interleaved run.

Ratios compare within the run; a figure in µs is the machine's, too, and is to be read with it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.bench.figures import ratio
from tests.bench.units import duration, times

Results = dict[str, Any]

US = " µs"


@dataclass(frozen=True)
class Goal:
    """`met` is None where it was not measured."""

    what: str
    goal: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class Table:
    """The results, asked for figures that may be lacking."""

    results: Results

    def call(self, scenario: str, peer: str, figure: str = "median_us") -> float | None:
        """A figure of a scenario of single calls."""
        found = self.results["calls"].get(scenario, {}).get(peer, {}).get(figure)
        return None if found is None else float(found)

    def of(self, part: str, peer: str, figure: str) -> float | None:
        """A figure of another part."""
        found = self.results.get(part, {}).get(peer, {}).get(figure)
        return None if found is None else float(found)

    def slowdown(self, peer: str) -> float | None:
        """Percent that a step becomes longer, median."""
        found = self.results["steps"].get(peer, {}).get("slowdown_percent", {}).get("median")
        return None if found is None else float(found)


def at_most(what: str, value: float | None, limit: float, unit: str, aside: str = "") -> Goal:
    """A figure that may not be above its limit. In µs it is written with the unit that suits."""
    if value is None:
        return Goal(what, f"at most {limit:g}{unit}", "–", None)
    written = duration(value) if unit == US else f"{value:.3g}{unit}"
    return Goal(what, f"at most {limit:g}{unit}", written + aside, value <= limit)


def below(what: str, theirs: float | None, ours: float | None, limit: float) -> Goal:
    """A figure of ours that has to be so many times below wandb's."""
    found = ratio(theirs, ours)
    goal = f"at least {limit:g}x below wandb"
    return Goal(what, goal, "–", None) if found is None else Goal(what, goal, times(found), found >= limit)


def evaluate(results: Results) -> list[Goal]:
    """All goals, in the order of the page."""
    table = Table(results)
    call, of = table.call, table.of
    ours, encode = (call("back_to_back", peer) for peer in ("client", "encode"))
    nothing = table.slowdown("noop")
    beside = "" if nothing is None else f"; a call that does nothing: {nothing:.2g} %"
    loop_us = of("cpu", "noop", "process_us")
    loop = "" if loop_us is None else f", of which the loop {duration(loop_us)}"

    def both(scenario: str, figure: str = "median_us") -> tuple[float | None, float | None]:
        return call(scenario, "wandb", figure), call(scenario, "client", figure)

    def single(part: str) -> tuple[float | None, float | None]:
        return of(part, "wandb", "median_us"), of(part, "client", "median_us")

    tree = ratio(of("cpu", "client", "tree_us"), of("cpu", "wandb", "tree_us"))
    return [
        at_most("10 floats, back to back: median over encode alone", ratio(ours, encode), 2, "x"),
        below("the same: median", *both("back_to_back"), 50),
        at_most("the same: p99.9", call("back_to_back", "client", "p99.9_us"), 10, US),
        below("one call a millisecond: median", *both("at_1_khz"), 25),
        below("the same: p99.9", *both("at_1_khz", "p99.9_us"), 10),
        at_most("beside a thread that holds the GIL: p99.9", call("contended", "client", "p99.9_us"), 500, US),
        at_most("10 numpy scalars: median over 10 floats", ratio(call("numpy", "client"), ours), 4, "x"),
        at_most("10 torch CPU scalars: median over 10 floats", ratio(call("torch", "client"), ours), 4, "x"),
        at_most("CPU of the training process per row", of("cpu", "client", "process_us"), 3, US, loop),
        at_most("CPU of the whole tree per row, over wandb's", tree, 0.5, "x"),
        at_most("slowdown of a 1 ms step that logs once", table.slowdown("client"), 1.5, " %", beside),
        below("512x512 RGB image: median", *single("images"), 100),
        at_most("the same, made and logged", single("images")[1], 200, US),
        below(f"artifact call, {results['artifact_mb']} MB: median", *single("artifacts"), 100),
        at_most("`import` + `init`: time", of("starts", "client", "ms"), 60, " ms"),
        at_most("`import` + `init`: memory", of("starts", "client", "mb"), 15, " MB"),
    ]
