"""Whether a run makes progress. Pure.

Signs of life are what the run logs or prints, and work: CPU time of its processes, or GPUs that do something. One GPU
that is at full utilisation and hardly touches its memory spins in a kernel that waits for another (a collective whose
partner is gone); the CPU that spins with it proves nothing then either.

    idle or spinning, and nothing logged, for `after_s`  ──► it begins;  a row or output ──► it is over

Without samples nothing is said: a run that logs once an hour and cannot be seen is left in peace.
"""

from __future__ import annotations

from collections.abc import Mapping

from telemetryd.health.level import Share

CPU_WORKS_PERCENT = 10.0
"""Of one core, over the process tree: the client's own thread takes one or two."""

GPU_WORKS_PERCENT = 5.0
SPINS_PERCENT, SPINS_MEMORY_PERCENT = 95.0, 1.0
"""A GPU spins when its utilisation is at least the first and that of its memory below the second; training reads and
writes memory all the time."""

WORKS_WINDOW_S, WORKS_SHARE_PERCENT = 10.0, 30.0
"""It works when it was seen to in this share of the samples of this window: a garbage collection now and then is no
work."""

_USES = "gpu_process_memory_bytes["

SAMPLES_MISSING_S = 30.0
"""Samples that are older are as good as none."""


class Stall:
    """One run."""

    def __init__(self, after_s: float, now_s: float) -> None:
        self._after_s = after_s
        self._alive_s = now_s
        self._sampled_s: float | None = None
        self._spins: dict[str, bool] = {}
        self._gpu_works: dict[str, bool] = {}
        self._uses: set[str] = set()
        self._share = Share(WORKS_WINDOW_S, covered=0.0)
        self.over = False

    def progressed(self, now_s: float) -> bool:
        """The run logged or printed something; whether that ends an episode."""
        self._alive_s = max(self._alive_s, now_s)
        ended, self.over = self.over, False
        return ended

    def gpu(self, uuid: str, values: Mapping[str, float]) -> None:
        """A sample of one of its GPUs; it counts with the next one of its processes."""
        used = values.get("gpu_utilization_percent")
        if used is None:
            return
        memory = values.get("gpu_memory_utilization_percent")
        spins = used >= SPINS_PERCENT and memory is not None and memory < SPINS_MEMORY_PERCENT
        self._spins[uuid] = spins
        self._gpu_works[uuid] = used >= GPU_WORKS_PERCENT and not spins

    def processes(self, values: Mapping[str, float], now_s: float) -> None:
        """A sample of its process tree, or of the GPUs that its processes use."""
        self._uses |= {name[len(_USES) : -1] for name in values if name.startswith(_USES)}
        cpu = values.get("tree_cpu_percent")
        if cpu is None:
            return
        if self._sampled_s is None or now_s - self._sampled_s > SAMPLES_MISSING_S:
            self._alive_s = max(self._alive_s, now_s)  # what was before, nobody saw
        self._sampled_s = now_s
        works = self._any(self._gpu_works) or (cpu >= CPU_WORKS_PERCENT and not self.spinning)
        share = self._share.feed(works, now_s)
        if share is not None and share >= WORKS_SHARE_PERCENT:
            self._alive_s = max(self._alive_s, now_s)

    @property
    def spinning(self) -> bool:
        """Whether one of its GPUs spins."""
        return self._any(self._spins)

    def _any(self, gpus: Mapping[str, bool]) -> bool:
        """Of those that it uses, as far as the driver tells; of all that it sees where that tells nothing."""
        return any(held for uuid, held in gpus.items() if uuid in self._uses or not self._uses)

    def still_s(self, now_s: float) -> float:
        """For how long there has been no sign of life."""
        return max(0.0, now_s - self._alive_s)

    def begins(self, now_s: float) -> bool:
        """Whether an episode begins now."""
        seen = self._sampled_s is not None and now_s - self._sampled_s <= SAMPLES_MISSING_S
        if self.over or not seen or self.still_s(now_s) < self._after_s:
            return False
        self.over = True
        return True
