"""One GPU, or one instance of a GPU in MIG mode: reads the catalogue's metrics from it.

Invariants
* A metric's sources are tried in their order; one that the card does not support is never asked for again, and when
  all are used up the metric is absent. What failed once for another reason is asked for again next time.
* Field values come in one call, GPM metrics too, and each function is called once for all metrics it answers.
* LostError and DriverError leave: the reading is given up.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Any

from telemetryd.sampling.errors import DriverError, LostError, NvmlError, UnsupportedError
from telemetryd.sampling.gpu_catalogue import DEVICE_METRICS
from telemetryd.sampling.messages import Device
from telemetryd.sampling.metric import Call, FieldValue, Gpm, Metric, Share, Source
from telemetryd.sampling.nvml import Nvml

_GPM_FAMILIES = frozenset(metric.family for metric in DEVICE_METRICS if isinstance(metric.sources[0], Gpm))


_OWN = frozenset(
    {
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetGraphicsRunningProcesses",
    }
)
"""What an instance has of its own; for temperature, power, clocks and errors it stands for its card."""


class Gpu:
    """A device that is sampled, by one thread."""

    def __init__(self, nvml: Nvml, handle: Any, device: Device, card: Any = None) -> None:
        """`card` is the handle of the card that an instance is part of."""
        self._nvml = nvml
        self._handle = handle
        self._card = card if card is not None else handle
        self.device = device
        self._sources: dict[str, tuple[Source, ...]] = {metric.name: metric.sources for metric in DEVICE_METRICS}
        self._gpm_before: Any = None
        self._gpm: bool | None = None
        self._since_us = 0

    @property
    def absent(self) -> list[str]:
        """The metrics that this device turned out not to have."""
        return sorted(name for name, sources in self._sources.items() if not sources)

    def read(self, families: Collection[str], *, ring: bool) -> dict[str, float]:
        """Values by metric: everything of the families, and the ring's metrics. Raises LostError or DriverError."""
        wanted = _wanted(frozenset(families), ring)
        values: dict[str, float] = {}
        self._read_fields(wanted, values)
        self._read_gpm(wanted, families, values)
        self._read_calls(wanted, values)
        for metric in wanted:
            source = self._source(metric)
            if isinstance(source, Share):
                part, whole = values.get(source.of), values.get(source.whole)
                if part is not None and whole:
                    values[metric.name] = 100.0 * part / whole
        return values

    def _source(self, metric: Metric) -> Source | None:
        sources = self._sources[metric.name]
        return sources[0] if sources else None

    def _drop_source(self, metric: Metric) -> None:
        self._sources[metric.name] = self._sources[metric.name][1:]

    def _read_fields(self, wanted: Iterable[Metric], values: dict[str, float]) -> None:
        while True:  # again for a metric whose next source is a field, too
            missing = [metric for metric in wanted if metric.name not in values]
            asked = [(metric, source) for metric in missing if isinstance(source := self._source(metric), FieldValue)]
            if not asked:
                return
            try:
                answers = self._nvml.fields(self._card, [(source.field_id, source.scope) for _, source in asked])
            except (LostError, DriverError):
                raise
            except UnsupportedError:
                self._forget_fields()
                return
            except NvmlError:
                return
            refused = False
            for (metric, _), answer in zip(asked, answers, strict=True):
                if isinstance(answer, float):
                    values[metric.name] = answer * metric.scale
                elif isinstance(answer, UnsupportedError):
                    self._drop_source(metric)
                    refused = True
                elif isinstance(answer, (LostError, DriverError)):
                    raise answer
            if not refused:
                return

    def _forget_fields(self) -> None:
        """The card or its driver has no field values at all."""
        self._sources = {
            name: tuple(source for source in sources if not isinstance(source, FieldValue))
            for name, sources in self._sources.items()
        }

    def _read_gpm(self, wanted: Iterable[Metric], families: Collection[str], values: dict[str, float]) -> None:
        """GPM tells of the time between two samples: the first reading only takes one."""
        if not _GPM_FAMILIES.intersection(families):
            return
        asked = [(metric, source) for metric in wanted if isinstance(source := self._source(metric), Gpm)]
        if not asked:
            return
        if self._gpm is None:
            self._gpm = self._nvml.gpm_supported(self._card)
        if not self._gpm:
            for metric, _ in asked:
                self._drop_source(metric)
            return
        try:
            sample = self._nvml.gpm_sample(self._card, self.device.gpu_instance)
        except (LostError, DriverError):
            raise
        except UnsupportedError:
            self._gpm = False
            return
        except NvmlError:
            return
        before, self._gpm_before = self._gpm_before, sample
        if before is None:
            return
        try:
            answers = self._nvml.gpm_metrics(before, sample, [source.metric_id for _, source in asked])
        except (LostError, DriverError):
            raise
        except NvmlError:
            return
        finally:
            self._nvml.gpm_free(before)
        for (metric, source), answer in zip(asked, answers, strict=True):
            if isinstance(answer, float):
                values[metric.name] = answer * metric.scale * source.scale
            elif isinstance(answer, UnsupportedError):
                self._drop_source(metric)

    def _read_calls(self, wanted: Iterable[Metric], values: dict[str, float]) -> None:
        answers: dict[tuple[str, tuple[int, ...]], Any] = {}
        for metric in wanted:
            while isinstance(source := self._source(metric), Call):
                key = (source.function, source.args)
                if key not in answers:
                    answers[key] = self._call(source)
                answer = answers[key]
                if isinstance(answer, UnsupportedError):
                    self._drop_source(metric)
                    continue
                if not isinstance(answer, NvmlError):
                    values[metric.name] = _pick(answer, source) * source.scale * metric.scale
                break

    def _call(self, source: Call) -> Any:
        """The answer, or the error that says why there is none."""
        try:
            handle = self._handle if source.function in _OWN else self._card
            return self._nvml.call(source.function, handle, *source.args)
        except (LostError, DriverError):
            raise
        except NvmlError as error:
            return error

    # Processes.

    def memory_by_process(self) -> dict[int, int]:
        """Bytes of GPU memory by process number, of those that use the device. Raises LostError or DriverError."""
        found: dict[int, int] = {}
        for function in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            answer = self._once(function)
            for process in answer or ():
                found[process.pid] = max(found.get(process.pid, 0), process.usedGpuMemory or 0)
        return found

    def utilization_by_process(self) -> dict[int, tuple[int, int, int, int]]:
        """Percent of SMs, memory, encoder and decoder by process number, newest sample. Raises as above."""
        found: dict[int, tuple[int, int, int, int]] = {}
        for sample in self._once("nvmlDeviceGetProcessUtilization", self._since_us) or ():
            if sample.timeStamp >= self._since_us:
                self._since_us = max(self._since_us, sample.timeStamp)
                found[sample.pid] = (sample.smUtil, sample.memUtil, sample.encUtil, sample.decUtil)
        return found

    _refused: frozenset[str] = frozenset()

    def _once(self, function: str, *arguments: int) -> Any:
        if function in self._refused:
            return None
        answer = self._call(Call(function, arguments))
        if isinstance(answer, UnsupportedError):
            self._refused |= {function}
        return None if isinstance(answer, NvmlError) else answer

    def close(self) -> None:
        """Give back what NVML holds for it."""
        if self._gpm_before is not None:
            self._nvml.gpm_free(self._gpm_before)
            self._gpm_before = None


@functools.cache
def _wanted(families: frozenset[str], ring: bool) -> tuple[Metric, ...]:
    return tuple(metric for metric in DEVICE_METRICS if metric.family in families or (ring and metric.ring))


def _pick(answer: Any, source: Call) -> float:
    if source.count:
        return float(len(answer))
    if isinstance(source.part, str):
        answer = getattr(answer, source.part)
    elif source.part is not None:
        answer = answer[source.part]
    if source.bit is not None:
        answer = answer >> source.bit & 1
    return float(answer)
