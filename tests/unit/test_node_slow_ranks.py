"""A node tells why one of its ranks is slow: once samples show it, once for each time that the rank is named."""

from __future__ import annotations

from telemetryd.node.question import Run
from telemetryd.node.slow_ranks import SlowRanks
from telemetryd.sampling.machine import Machine
from telemetryd.sampling.messages import Device, Process, Reading, Target
from telemetryd.sampling.panel import Panel
from telemetryd.supervision.watched import Watched

GPU = Device("GPU-a", 0, memory_bytes=1)
HEAT = 1 << 5


def run(slow: int | None) -> Run:
    return Run(7, "//r", 2, [], slow)


def watched() -> dict[int, Watched]:
    target = Target(7, [Process(1, 1, rank=5, local_rank=0)])
    return {7: Watched(7, "//r", target, "n2", 0.0, Panel(target, [GPU], "n2"))}


def test_the_cause_is_told_once_samples_show_it_and_again_when_the_rank_is_slow_anew() -> None:
    slow_ranks, machine = SlowRanks(), Machine()
    assert slow_ranks.look([run(5)], watched(), machine) == [], "nothing shows why yet"
    machine.add(Reading(1, "gpu:GPU-a", {"gpu_throttle_reasons": HEAT}))
    ((key, event),) = slow_ranks.look([run(5)], watched(), machine)
    assert (key, event.kind, event.rank, event.rule) == ("//r", "straggler", 5, "")
    assert "heat" in event.advice
    assert slow_ranks.look([run(5)], watched(), machine) == []
    assert slow_ranks.look([run(None)], watched(), machine) == []
    assert len(slow_ranks.look([run(5)], watched(), machine)) == 1


def test_a_rank_of_another_machine_and_a_run_that_is_not_sampled_are_not_spoken_of() -> None:
    slow_ranks, machine = SlowRanks(), Machine()
    machine.add(Reading(1, "gpu:GPU-a", {"gpu_throttle_reasons": HEAT}))
    assert slow_ranks.look([run(4)], watched(), machine) == []
    assert slow_ranks.look([run(5)], {}, machine) == []
