"""Every metric, as data: what docs/sampling.md, the System panel and /metrics are made from."""

from __future__ import annotations

from telemetryd.sampling import gpu_catalogue, host_catalogue
from telemetryd.sampling.metric import Metric
from telemetryd.settings.families import FAMILIES

HOST_METRICS: tuple[Metric, ...] = (
    *host_catalogue.CPU,
    *host_catalogue.MEMORY,
    *host_catalogue.DISK,
    *host_catalogue.NETWORK,
)
RUN_METRICS: tuple[Metric, ...] = (
    *host_catalogue.PROCESS,
    *host_catalogue.CONTAINER,
    *gpu_catalogue.PROCESS_METRICS,
)
METRICS: tuple[Metric, ...] = (*gpu_catalogue.DEVICE_METRICS, *HOST_METRICS, *RUN_METRICS)
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
RING: frozenset[str] = frozenset(metric.name for metric in METRICS if metric.ring)


def of_family(family: str) -> tuple[Metric, ...]:
    """The metrics of one family. Raises KeyError on a name that is none."""
    FAMILIES[family]
    return tuple(metric for metric in METRICS if metric.family == family)


def labelled(name: str, label: str) -> str:
    """How a reading names a metric of one disk, interface or port: "disk_free_bytes[/data]"."""
    return f"{name}[{label}]"


def split(name: str) -> tuple[str, str]:
    """The metric's name and its label, "" where it has none."""
    metric, bracket, label = name.partition("[")
    return (metric, label[:-1]) if bracket else (name, "")
