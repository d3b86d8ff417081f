"""Finds the GPUs that there are, and the instances of those in MIG mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from telemetryd.sampling.errors import DriverError, LostError, NvmlError
from telemetryd.sampling.messages import Device
from telemetryd.sampling.nvml import Nvml


@dataclass(frozen=True)
class Found:
    """A device with its handle, and with its card's where it is an instance."""

    device: Device
    handle: Any
    card: Any = None


def find(nvml: Nvml) -> list[Found]:
    """Every card that answers, and its instances behind it. Raises DriverError; a card that is lost is left out."""
    found: list[Found] = []
    for index in range(nvml.call("nvmlDeviceGetCount")):
        try:
            handle = nvml.call("nvmlDeviceGetHandleByIndex", index)
            card = _describe(nvml, handle, index)
        except DriverError:
            raise
        except NvmlError:
            continue
        found.append(Found(card, handle))
        if card.mig:
            found += _instances(nvml, handle, card)
    return found


def versions(nvml: Nvml) -> tuple[str | None, str | None]:
    """(driver, CUDA), each None where it is not told."""
    driver, cuda = _told(nvml, "nvmlSystemGetDriverVersion"), _told(nvml, "nvmlSystemGetCudaDriverVersion_v2")
    return driver, None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}"


def _describe(nvml: Nvml, handle: Any, index: int) -> Device:
    memory = _told(nvml, "nvmlDeviceGetMemoryInfo", handle)
    mode = _told(nvml, "nvmlDeviceGetMigMode", handle)
    pci = _told(nvml, "nvmlDeviceGetPciInfo", handle)
    cores = _told(nvml, "nvmlDeviceGetNumGpuCores", handle) or 0
    clock = _told(nvml, "nvmlDeviceGetMaxClockInfo", handle, 1) or 0
    return Device(
        uuid=nvml.call("nvmlDeviceGetUUID", handle),
        index=index,
        name=_told(nvml, "nvmlDeviceGetName", handle) or "",
        pci=_text(pci.busId) if pci is not None else "",
        memory_bytes=memory.total if memory is not None else 0,
        speed=cores * clock,
        mig=bool(mode is not None and mode[0]),
    )


def _instances(nvml: Nvml, card_handle: Any, card: Device) -> list[Found]:
    found: list[Found] = []
    for number in range(_told(nvml, "nvmlDeviceGetMaxMigDeviceCount", card_handle) or 0):
        try:
            handle = nvml.call("nvmlDeviceGetMigDeviceHandleByIndex", card_handle, number)
            uuid = nvml.call("nvmlDeviceGetUUID", handle)
        except (LostError, DriverError):
            raise
        except NvmlError:
            continue  # no instance of this number
        memory = _told(nvml, "nvmlDeviceGetMemoryInfo", handle)
        device = Device(
            uuid=uuid,
            index=card.index,
            name=_told(nvml, "nvmlDeviceGetName", handle) or card.name,
            pci=card.pci,
            memory_bytes=memory.total if memory is not None else 0,
            speed=card.speed,
            parent=card.uuid,
            gpu_instance=_told(nvml, "nvmlDeviceGetGpuInstanceId", handle),
            compute_instance=_told(nvml, "nvmlDeviceGetComputeInstanceId", handle),
        )
        found.append(Found(device, handle, card_handle))
    return found


def _told(nvml: Nvml, function: str, *arguments: Any) -> Any:
    """The answer, None where there is none. Raises LostError or DriverError."""
    try:
        return nvml.call(function, *arguments)
    except (LostError, DriverError):
        raise
    except NvmlError:
        return None


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
