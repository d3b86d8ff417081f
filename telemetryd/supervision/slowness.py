"""Why a rank is likely to be slower than the others, from the samples of its machine. Pure.

Only causes that samples show, the surest first: its GPU is lowered in its clocks, its PCIe link is narrower than it can
be, the container's CPU quota stops it, it waits for data (its GPU idles while processes wait for disks or the CPU is
full). The ranks of other machines are seen there, by `telemetryd node`.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from telemetryd.health.judge import CAPPED_CLOCK_SHARE, POWER_CAP_BIT, THROTTLED_BITS
from telemetryd.supervision.watched import Watched

Latest = Mapping[str, Mapping[str, tuple[float, int]]]

QUOTA_PERCENT = 5.0
"""Of periods: what a rank that waits for all others at every step cannot hide."""
IDLE_BELOW = 0.6
"""Its GPU is less busy than this share of the median of the run's GPUs."""
IO_PRESSURE_PERCENT, CPU_FULL_PERCENT = 10.0, 95.0


def why(watched: Watched, rank: int, latest: Latest) -> str:
    """A sentence, or several, on the rank; empty where nothing tells, or where the rank is not on this machine."""
    if rank not in [process.rank for process in watched.target.processes]:
        return ""
    uuid = next((uuid for uuid in watched.panel.ordinals if watched.rank_on(uuid) == rank), None)
    gpu = _values(latest, f"gpu:{uuid}") if uuid is not None else {}
    causes = _clocks(gpu) + _link(gpu)
    run, host = _values(latest, f"run:{watched.run}"), _values(latest, "host")
    throttled = run.get("container_cpu_throttled_percent", 0.0)
    if throttled >= QUOTA_PERCENT:
        causes.append(f"the container's CPU quota stops it in {throttled:.0f} % of all periods")
    causes += _data(gpu, run, host, [_values(latest, f"gpu:{other}") for other in watched.panel.ordinals])
    return f"likely because {'; '.join(causes)}" if causes else ""


def _clocks(gpu: Mapping[str, float]) -> list[str]:
    bits = int(gpu.get("gpu_throttle_reasons", 0))
    why = [meaning for bit, meaning in THROTTLED_BITS.items() if bits >> bit & 1]
    clock, highest = gpu.get("gpu_sm_clock_mhz"), gpu.get("gpu_sm_clock_max_mhz")
    at = f" (SM clock {clock:.0f} of {highest:.0f} MHz)" if clock is not None and highest else ""
    if why:
        return [f"{', '.join(why)} lowers its GPU's clocks{at}"]
    capped = bits >> POWER_CAP_BIT & 1 and clock is not None and highest and clock < CAPPED_CLOCK_SHARE * highest
    return [f"its GPU is at its power limit{at}"] if capped else []


def _link(gpu: Mapping[str, float]) -> list[str]:
    found = []
    for what, unit in (("width", "lanes"), ("generation", "")):
        now, best = gpu.get(f"gpu_pcie_{what}"), gpu.get(f"gpu_pcie_{what}_max")
        # A link rests at a lower generation while nothing is to be done; its width stays.
        busy = what == "width" or gpu.get("gpu_utilization_percent", 0.0) >= 50.0
        if now is not None and best is not None and now < best and busy:
            number = f"{now:.0f} of {best:.0f} {unit}".strip()
            found.append(
                f"its GPU's PCIe link has {number}" if unit else f"its GPU's PCIe link runs at generation {number}"
            )
    return found


def _data(
    gpu: Mapping[str, float], run: Mapping[str, float], host: Mapping[str, float], others: list[Mapping[str, float]]
) -> list[str]:
    used = gpu.get("gpu_utilization_percent")
    all_used = [one["gpu_utilization_percent"] for one in others if "gpu_utilization_percent" in one]
    if used is None or len(all_used) < 2 or used >= IDLE_BELOW * median(all_used):
        return []
    idle = f"its GPU is busy {used:.0f} % of the time, the median of the run's {median(all_used):.0f} %"
    pressure = max(run.get("container_pressure_io_some_percent", 0.0), host.get("host_pressure_io_some_percent", 0.0))
    if run.get("tree_uninterruptible", 0.0) or pressure >= IO_PRESSURE_PERCENT:
        return [f"it waits for data: {idle}, and processes wait for disks"]
    if host.get("host_cpu_percent", 0.0) >= CPU_FULL_PERCENT:
        return [f"it waits for data: {idle}, and the host's CPU is full"]
    return [f"it waits for data or the host: {idle}"]


def _values(latest: Latest, scope: str) -> dict[str, float]:
    return {name: value for name, (value, _) in latest.get(scope, {}).items()}
