"""The machine as `status`, `top` and /metrics show it: the newest values that are not stale.

A value is stale when its family should have been read three times since; a sampler that died, or a card that hangs,
must not look alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from telemetryd.sampling.catalogue import BY_NAME, split
from telemetryd.sampling.limits import RING_PERIOD_S, STALE_AFTER_PERIODS, STALE_MIN_S
from telemetryd.sampling.machine import Machine
from telemetryd.sampling.messages import HOST

Values = dict[str, float]


def fresh(machine: Machine, periods_s: Mapping[str, float], now_ns: int) -> dict[str, Values]:
    """By scope ("host", "gpu:UUID", "run:N") and metric: what was read not too long ago."""
    shown: dict[str, Values] = {}
    for scope, values in machine.latest().items():
        kept = {
            name: value for name, (value, time_ns) in values.items() if now_ns - time_ns <= _keeps_ns(name, periods_s)
        }
        if kept:
            shown[scope] = kept
    return shown


def _keeps_ns(name: str, periods_s: Mapping[str, float]) -> int:
    metric = BY_NAME.get(split(name)[0])
    period_s = periods_s.get(metric.family, 0.0) if metric is not None else 0.0
    if metric is not None and metric.ring:
        period_s = min(period_s, RING_PERIOD_S)
    return int(max(STALE_MIN_S, STALE_AFTER_PERIODS * period_s) * 1e9)


def as_map(machine: Machine, periods_s: Mapping[str, float], node: str, now_ns: int) -> dict[str, Any]:
    """What `status` tells of the machine. `runs` are by their number."""
    values = fresh(machine, periods_s, now_ns)
    devices = machine.devices()
    return {
        "node": node,
        "driver": devices.driver,
        "host": values.get(HOST, {}),
        "gpus": [
            {
                "uuid": device.uuid,
                "index": device.index,
                "name": device.name,
                "memory_bytes": device.memory_bytes,
                "parent": device.parent,
                "gpu_instance": device.gpu_instance,
                "values": values.get(f"gpu:{device.uuid}", {}),
            }
            for device in devices.devices
        ],
        "runs": {scope.removeprefix("run:"): found for scope, found in values.items() if scope.startswith("run:")},
    }
