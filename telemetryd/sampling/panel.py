"""A reading as one run's System panel has it: W&B's keys, the GPU numbered as CUDA numbers it for the training.

Pure. The panel shows what is the run's: the host, its processes and container, its GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from telemetryd.sampling.catalogue import BY_NAME, split
from telemetryd.sampling.messages import HOST, Device, Reading, Target
from telemetryd.sampling.visible import visible


class Panel:
    """One run's panel. `label` is put behind every key, as wandb does for a run with several nodes ("/l:node1")."""

    def __init__(self, target: Target, devices: Sequence[Device], label: str | None = None) -> None:
        shown = visible(devices, target.visible, target.order)
        self._run = f"run:{target.run}"
        self._suffix = f"/l:{label}" if label else ""
        self.ordinals: dict[str, int] = {device.uuid: ordinal for ordinal, device in enumerate(shown)}
        """The CUDA ordinal of each of the run's GPUs, by UUID."""

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
        return shown
