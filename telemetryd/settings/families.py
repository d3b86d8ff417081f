"""The families of metrics that are sampled, and their periods as a setting: "gpu=1s, disk=1min"."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from client import amounts
from telemetryd.settings import limits

FAMILIES: dict[str, str] = {
    "gpu": "utilisation, memory, temperature, power, clocks and throttling of each GPU",
    "gpu_health": "ECC errors, remapped rows, retired pages, PCIe, NVLink and the time throttled of each GPU",
    "gpu_profile": "GPM: SMs, tensor cores and DRAM of Hopper and later",
    "gpu_process": "GPU memory and utilisation of the training's processes",
    "cpu": "CPU and load of the host, and pressure (PSI)",
    "memory": "memory and swap of the host",
    "disk": "space of the run's, spool and checkpoint paths, and disk I/O",
    "network": "network and InfiniBand counters",
    "process": "the training's process tree",
    "container": "limits, throttling, memory events and pressure of the training's cgroup",
}


def parse_period(value: Any) -> float:
    """A period in seconds: 10, "1s", "5min"."""
    seconds = amounts.duration_s(value, maximum_s=limits.SAMPLE_PERIOD_MAX_S)
    if seconds < limits.SAMPLE_PERIOD_MIN_S:
        raise ValueError(f"is too short; the shortest is {limits.SAMPLE_PERIOD_MIN_S:g} s")
    return seconds


def parse_periods(value: Any) -> str:
    """Periods of families as "cpu=1,gpu=0.5": from such a text or, in a file, from a table."""
    if isinstance(value, Mapping):
        pairs = [(str(name), period) for name, period in value.items()]
    elif isinstance(value, str):
        given = [part.partition("=") for part in value.split(",") if part.strip()]
        pairs = [(name.strip(), period) for name, _, period in given]
    else:
        raise ValueError("must be like gpu=1s,disk=1min")  # noqa: TRY004 - what settings' parsers raise
    return ",".join(f"{name}={_period_of(name, period):g}" for name, period in pairs)


def _period_of(name: str, period: Any) -> float:
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=1)
        raise ValueError(
            f"names {name!r}, " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FAMILIES)}")
        )
    try:
        return parse_period(period)
    except ValueError as error:
        raise ValueError(f"gives {name} a period that {error}") from None


def periods_s(text: str, otherwise_s: float) -> dict[str, float]:
    """The period of every family: that of the text (as `parse_periods` gives it), else the one for all."""
    given = dict(part.split("=") for part in text.split(",") if part)
    return {name: float(given.get(name, otherwise_s)) for name in FAMILIES}
