"""A reading as one run's System panel has it: W&B's keys, the GPU numbered as CUDA numbers it for the training.

Pure. The panel shows what is the run's: the host, its processes and container, its GPUs. As wandb does, it repeats some
values of a GPU under `gpu.process` while the run's processes use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from telemetryd.sampling.catalogue import BY_NAME, split
from telemetryd.sampling.messages import HOST, Device, Reading, Target
from telemetryd.sampling.visible import visible

REPEATED = frozenset(
    {
        "gpu_utilization_percent", "gpu_memory_utilization_percent", "gpu_memory_used_percent", "gpu_memory_used_bytes",
        "gpu_temperature_celsius", "gpu_power_watts", "gpu_power_limit_watts", "gpu_power_percent",
    }
)  # fmt: skip
"""What wandb writes again under `gpu.process.N`, which its charts "Process GPU …" are made of."""
_USES = "gpu_process_memory_bytes"


class Panel:
    """One run's panel. `label` is put behind every key, as wandb does for a run with several nodes ("/l:node1")."""

    def __init__(self, target: Target, devices: Sequence[Device], label: str | None = None) -> None:
        shown = visible(devices, target.visible, target.order)
        self._run = f"run:{target.run}"
        self._suffix = f"/l:{label}" if label else ""
        self.ordinals: dict[str, int] = {device.uuid: ordinal for ordinal, device in enumerate(shown)}
        """The CUDA ordinal of each of the run's GPUs, by UUID."""
        self._repeated: dict[str, dict[str, float]] = {}
        """The newest of what is repeated, by UUID; a GPU's reading comes before that of the processes that use it."""

    def keys(self, reading: Reading) -> Mapping[str, float]:
        """What the panel shows of a reading whose families are complete; empty where it is not this run's. Metrics
        that came only because the ring wanted them are left out."""
        ordinal: int | None = None
        if reading.scope.startswith("gpu:"):
            ordinal = self.ordinals.get(reading.scope.removeprefix("gpu:"))
            if ordinal is None:
                return {}
        elif reading.scope not in (HOST, self._run):
            return {}
        families = frozenset(reading.families)
        shown: dict[str, float] = {}
        for name, value in reading.values.items():
            metric_name, label = split(name)
            metric = BY_NAME.get(metric_name)
            if metric is None or metric.family not in families:
                continue
            number = self.ordinals.get(label) if metric.family == "gpu_process" else ordinal
            if "{gpu}" in metric.wandb and number is None:
                continue
            shown[metric.wandb.format(gpu=number, label=label) + self._suffix] = value
            if metric_name == _USES:
                shown |= self._repeated.get(label, {})
        if ordinal is not None and "gpu" in families:
            self._repeated[reading.scope.removeprefix("gpu:")] = self._of_process(reading.values, ordinal)
        return shown

    def _of_process(self, values: Mapping[str, float], ordinal: int) -> dict[str, float]:
        keys = {name: BY_NAME[name].wandb.format(gpu=f"process.{ordinal}") for name in REPEATED & values.keys()}
        return {key + self._suffix: values[name] for name, key in keys.items()}
