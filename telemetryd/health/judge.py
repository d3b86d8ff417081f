"""What samples of the machine say about its health. Pure: readings in, findings out.

    reading (scope, values, time) ──► one Level or Burst for each rule and subject ──► Finding: it begins, it is over

Subjects: a GPU's UUID, "host", "run N", or a file system, which is named by `place` so that several paths on one disk
are one subject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from telemetryd.health.level import Burst, Level, Share
from telemetryd.settings.rules import Limit
from telemetryd.settings.values import format_duration

SHARED_MEMORY = "/dev/shm"
THROTTLED_BITS = {3: "the hardware's protection", 5: "heat", 6: "heat (hardware)", 7: "the power supply"}
"""NVML's bits of why clocks are lowered, without what is harmless: idle, clocks that somebody set, the display."""
POWER_CAP_BIT = 2
CAPPED_CLOCK_SHARE = 0.6
"""A busy card is at its power limit much of the time and well; with its clock below this share of the highest it is
not."""
ECC_QUIET_S = 600.0
"""Errors that are so far apart are told anew."""
ECC_COUNTS = {
    "gpu_ecc_uncorrected_volatile_errors": "uncorrected ECC errors",
    "gpu_memory_uncorrected_errors": "uncorrected errors in device memory",
    "gpu_remapped_rows_failed": "memory rows that could not be replaced",
}


@dataclass(frozen=True)
class Finding:
    """`begins` False: it is over. `scope` is the reading's. `value` is what was measured."""

    rule: str
    subject: str
    scope: str
    begins: bool
    time_ns: int
    message: str
    value: float | None = None


class Judge:
    """The rules that are fed with samples."""

    def __init__(
        self, limits: Mapping[str, Limit], place: Callable[[str, str], str] = lambda scope, path: path
    ) -> None:
        """`place(scope, path)` names the file system that a path lies on."""
        self._limits = limits
        self._place = place
        self._levels: dict[tuple[str, str], Level] = {}
        self._shares: dict[tuple[str, str], Share] = {}
        self._bursts: dict[tuple[str, str], Burst] = {}
        self._counts: dict[tuple[str, str], float] = {}
        self._clock_max: dict[str, float] = {}

    def feed(self, scope: str, values: Mapping[str, float], time_ns: int) -> list[Finding]:
        """What a reading amounts to."""
        found: list[Finding | None] = []
        if scope.startswith("gpu:"):
            found += self._gpu(scope, values, time_ns)
        elif scope == "host":
            found.append(self._level("host_memory", "host", scope, values.get("host_memory_used_percent"), time_ns,
                                     "{:.0f} % of the host's memory are in use"))  # fmt: skip
        else:
            subject = scope.replace(":", " ")
            found.append(self._level("container_memory", subject, scope, values.get("container_memory_percent"),
                                     time_ns, "{:.0f} % of the container's memory limit are in use"))  # fmt: skip
            throttled = values.get("container_cpu_throttled_percent")
            found.append(self._level("cpu_throttled", subject, scope, throttled, time_ns,
                                     "the CPU quota stops the container in {:.0f} % of all periods"))  # fmt: skip
            if "container_memory_used_bytes" in values and "container_memory_limit_bytes" not in values:
                found.append(self._lifted("container_memory", subject, scope, time_ns, "memory limit"))
            if "container_cpu_percent" in values and "container_cpu_limit_cores" not in values:
                found.append(self._lifted("cpu_throttled", subject, scope, time_ns, "CPU quota"))
        for name, value in values.items():
            if name.startswith("disk_used_percent["):
                path = name[len("disk_used_percent[") : -1]
                rule = "shared_memory" if path == SHARED_MEMORY else "disk"
                subject = self._place(scope, path)
                found.append(self._level(rule, subject, scope, value, time_ns, "{:.1f} % of " + path + " are in use"))
        return [finding for finding in found if finding is not None]

    def forget(self, subject: str) -> None:
        """A subject is not sampled any more: what was begun of it is over without a word."""
        kept: tuple[dict[tuple[str, str], Any], ...] = (self._levels, self._shares, self._bursts, self._counts)
        for states in kept:
            for key in [key for key in states if key[1] == subject]:
                del states[key]

    def look(self, now_s: float) -> list[tuple[str, str]]:
        """(rule, subject) of bursts that are over by now; times as those of the readings, in seconds."""
        return [key for key, burst in self._bursts.items() if burst.is_over(now_s)]

    def _gpu(self, scope: str, values: Mapping[str, float], time_ns: int) -> list[Finding | None]:
        uuid = scope.removeprefix("gpu:")
        found: list[Finding | None] = [
            self._level(
                "gpu_memory",
                uuid,
                scope,
                values.get("gpu_memory_used_percent"),
                time_ns,
                "{:.1f} % of the GPU's memory are in use",
            )
        ]
        self._clock_max[uuid] = values.get("gpu_sm_clock_max_mhz", self._clock_max.get(uuid, 0.0))
        reasons = values.get("gpu_throttle_reasons")
        if reasons is not None:
            bits = int(reasons)
            why = [meaning for bit, meaning in THROTTLED_BITS.items() if bits >> bit & 1]
            slow = self._share("gpu_throttled", uuid, bool(why), time_ns)
            found.append(self._level("gpu_throttled", uuid, scope, slow, time_ns,
                                     f"{', '.join(why) or 'heat or power'} lowered the GPU's clocks in {{:.0f}} % of"
                                     f" the last {self._window('gpu_throttled')}"))  # fmt: skip
            clock, highest = values.get("gpu_sm_clock_mhz"), self._clock_max[uuid]
            low = clock is not None and bool(highest) and clock < CAPPED_CLOCK_SHARE * highest
            capped = self._share("gpu_power_capped", uuid, bool(bits >> POWER_CAP_BIT & 1) and low, time_ns)
            at = f" (now {clock:.0f} of {highest:.0f} MHz)" if clock is not None else ""
            found.append(self._level("gpu_power_capped", uuid, scope, capped, time_ns,
                                     "the power limit held the GPU's clock far down in {:.0f} % of the last"
                                     f" {self._window('gpu_power_capped')}{at}"))  # fmt: skip
        for name, what in ECC_COUNTS.items():
            if name in values:
                found.append(self._count(uuid, scope, name, what, values[name], time_ns))
        return found

    def _share(self, rule: str, subject: str, held: bool, time_ns: int) -> float | None:
        limit = self._limits.get(rule)
        if limit is None:
            return None
        share = self._shares.setdefault((rule, subject), Share(limit.lasting_s))
        return share.feed(held, time_ns / 1e9)

    def _window(self, rule: str) -> str:
        limit = self._limits.get(rule)
        return format_duration(limit.lasting_s) if limit is not None else ""

    def _level(
        self, rule: str, subject: str, scope: str, value: float | None, time_ns: int, message: str
    ) -> Finding | None:
        limit = self._limits.get(rule)
        if limit is None or value is None:
            return None
        key = (rule, subject)
        lasting_s = 0.0 if key in self._shares else limit.lasting_s  # a share has lasted by itself
        level = self._levels.setdefault(key, Level(limit.number, limit.clear, lasting_s))
        begins = level.feed(value, time_ns / 1e9)
        if begins is None:
            return None
        return Finding(rule, subject, scope, begins, time_ns, message.format(value), value)

    def _lifted(self, rule: str, subject: str, scope: str, time_ns: int, what: str) -> Finding | None:
        """A limit is there no more, and so there is no value that could fall."""
        level = self._levels.pop((rule, subject), None)
        if level is None or not level.over:
            return None
        return Finding(rule, subject, scope, False, time_ns, f"the container has no {what} any more")

    def _count(self, uuid: str, scope: str, name: str, what: str, value: float, time_ns: int) -> Finding | None:
        """A count that has risen; what there was before the first look is the card's past."""
        if "ecc" not in self._limits:
            return None
        before = self._counts.get((name, uuid), value)
        self._counts[name, uuid] = value
        if value <= before:
            return None
        if not self._bursts.setdefault(("ecc", uuid), Burst(ECC_QUIET_S)).hit(time_ns / 1e9):
            return None
        message = f"{value - before:.0f} new {what} ({value:.0f} in all)"
        return Finding("ecc", uuid, scope, True, time_ns, message, value)
