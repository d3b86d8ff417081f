"""Why a rank of this machine is slower than the others: the run's daemon says which is, the samples here say why."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from client.protocol.records import Event
from telemetryd.node.question import Run
from telemetryd.sampling.machine import Machine
from telemetryd.supervision import slowness
from telemetryd.supervision.stragglers import KIND
from telemetryd.supervision.watched import Watched


class SlowRanks:
    """Tells once of each slow rank, as soon as samples show a cause, and again when it was another one meanwhile."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}

    def look(self, runs: Iterable[Run], watched: Mapping[int, Watched], machine: Machine) -> list[tuple[str, Event]]:
        """(run's key, what it is to be told)."""
        found = []
        slow = {run.run: (run.key, run.slow) for run in runs if run.slow is not None}
        self._told = {number: rank for number, rank in self._told.items() if slow.get(number, ("", None))[1] == rank}
        for number, (key, rank) in slow.items():
            if number not in watched or number in self._told or rank is None:
                continue
            if cause := slowness.why(watched[number], rank, machine.latest()):
                self._told[number] = rank
                message = f"rank {rank} is slower than the others"
                found.append((key, Event(time.time_ns(), KIND, message, advice=cause, rank=rank)))
        return found
