"""What a line of the catalogue is: a metric, and where its value comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """A function of pynvml, called with a device's handle and `args`. `part` picks an attribute or an item of the
    answer; `bit` picks one bit of it, `count` its length. `scale` comes on top of the metric's."""

    function: str
    args: tuple[int, ...] = ()
    part: str | int | None = None
    bit: int | None = None
    count: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class FieldValue:
    """A field of nvmlDeviceGetFieldValues; all that a device is asked for come in one call."""

    field_id: int
    scope: int = 0


@dataclass(frozen=True)
class Gpm:
    """A metric of NVML's GPU performance monitoring, over the time since the sample before. Hopper and later."""

    metric_id: int
    scale: float = 1.0


@dataclass(frozen=True)
class Share:
    """Percent that one metric is of another, both of the same reading."""

    of: str
    whole: str


@dataclass(frozen=True)
class Read:
    """Read by code of ours; `where` tells a person from what."""

    where: str


Source = Call | FieldValue | Gpm | Share | Read

GAUGE, COUNTER = "gauge", "counter"

_BASE_UNITS = {"_mb": ("_bytes", 2.0**20), "_gb": ("_bytes", 2.0**30), "_mhz": ("_hertz", 1e6)}
"""Units that wandb's keys have, by the ending of a metric's name, and what Prometheus has in their place."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    `name` is what readings carry. `sources` are tried in this order until the card supports one. `scale` turns the
    source's unit into `unit`. `wandb` is the key in the System panel: "{gpu}" stands for the CUDA ordinal, "{label}"
    for the disk, interface or port. `prometheus` is the exported name, with the unit and, for counters, `_total` in it.
    `ring` is set where it is sampled once a second for post-mortems, whatever the family's period.
    """

    name: str
    unit: str
    family: str
    sources: tuple[Source, ...]
    wandb: str
    help: str
    kind: str = GAUGE
    scale: float = 1.0
    ring: bool = False

    @property
    def prometheus(self) -> str:
        """The exported name: in base units, whatever the System panel's key wants."""
        name, _ = self._in_base_unit()
        return f"telemetryd_{name}" + ("_total" if self.kind == COUNTER else "")

    @property
    def prometheus_scale(self) -> float:
        """What a value is multiplied with to be in the exported name's unit."""
        return self._in_base_unit()[1]

    def _in_base_unit(self) -> tuple[str, float]:
        for suffix, (base, scale) in _BASE_UNITS.items():
            if self.name.endswith(suffix):
                return self.name.removesuffix(suffix) + base, scale
        return self.name, 1.0

    @property
    def label(self) -> str | None:
        """What the label of a reading's name is: "disk_free_bytes[/data]" has a "path"; None for names without one."""
        if self.family == "gpu_process":
            return "uuid"
        if self.name.startswith("infiniband_"):
            return "port"
        if self.family == "disk":
            return "path" if self.name.startswith(("disk_used", "disk_free")) else "device"
        return None
