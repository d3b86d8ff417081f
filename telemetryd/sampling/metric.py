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
        """The exported name."""
        return f"telemetryd_{self.name}" + ("_total" if self.kind == COUNTER else "")
