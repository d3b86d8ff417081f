"""The thread on NVML's event set, and what its events mean."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from telemetryd.sampling import xid
from telemetryd.sampling.errors import DriverError, NvmlError
from telemetryd.sampling.gpu_devices import Found
from telemetryd.sampling.limits import EVENT_WAIT_MS
from telemetryd.sampling.messages import Event
from telemetryd.sampling.nvml import Nvml

SINGLE_BIT, DOUBLE_BIT, XID, STORM = 0x1, 0x2, 0x8, 0x200
RETIREMENT, RETIREMENT_FAILURE, POISON, FATAL_POISON, UNAVAILABLE, RECOVERY = (
    0x400,
    0x800,
    0x1000,
    0x2000,
    0x4000,
    0x8000,
)
_RESET = "end the jobs on this GPU and reset it: nvidia-smi --gpu-reset, or restart the machine"
_EXCHANGE = "drain the machine, run `dcgmi diag -r 3`; if it comes again, have the card exchanged"

_KINDS: Mapping[int, tuple[str, str, str, bool]] = {
    DOUBLE_BIT: ("ecc_double_bit", "double-bit ECC error: memory was corrupted and could not be mended", _RESET, True),
    STORM: ("ecc_single_bit_storm", "many corrected ECC errors in a short time", _EXCHANGE, False),
    RETIREMENT: ("retirement", "memory was retired", "reset the GPU when it is free", False),
    RETIREMENT_FAILURE: ("retirement_failure", "memory could not be retired", _EXCHANGE, False),
    POISON: ("poison", "wrong data were found and contained", "restart the job; the GPU is well", True),
    FATAL_POISON: ("poison", "wrong data were found and could not be contained", _RESET, True),
    UNAVAILABLE: ("gpu_lost", "the GPU cannot be used any more", _RESET, True),
    RECOVERY: ("recovery_action", "the GPU asks for a recovery action", "nvidia-smi -q tells which", False),
}
"""NVML's event types that are told, XIDs apart: kind, meaning, advice, whether the work on the GPU is lost."""

TYPES = XID | DOUBLE_BIT | STORM | RETIREMENT | RETIREMENT_FAILURE | POISON | FATAL_POISON | UNAVAILABLE | RECOVERY


class GpuEvents:
    """Waits for events of all cards. `emit` is called on its thread, `failed` when the driver is not there any more."""

    def __init__(
        self, nvml: Nvml, found: list[Found], emit: Callable[[Event], None], failed: Callable[[Exception], None]
    ) -> None:
        self._nvml = nvml
        self._cards = [one for one in found if one.device.parent is None]
        self._emit = emit
        self._failed = failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="gpu events", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def stop(self) -> None:
        """End it at the end of a wait."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended by then."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            events = self._nvml.call("nvmlEventSetCreate")
            if not self._register(events):
                return
            while not self._stop.is_set():
                data = self._nvml.wait_event(events, EVENT_WAIT_MS)
                if data is not None:
                    self._emit(self._told(data))
            self._nvml.call("nvmlEventSetFree", events)
        except NvmlError as error:
            if not self._stop.is_set():
                self._failed(error)

    def _register(self, events: Any) -> bool:
        """Whether any card tells of events."""
        told = False
        for card in self._cards:
            try:
                types = self._nvml.call("nvmlDeviceGetSupportedEventTypes", card.handle) & TYPES
                if types:
                    self._nvml.call("nvmlDeviceRegisterEvents", card.handle, types, events)
                    told = True
            except DriverError:
                raise
            except NvmlError:
                continue  # an old card, or a lost one
        return told

    def _told(self, data: Any) -> Event:
        uuid = self._uuid(data.device)
        instance = data.gpuInstanceId if data.gpuInstanceId < 0xFFFFFFFF else None
        if data.eventType == XID:
            code = int(data.eventData)
            known = xid.look_up(code)
            return Event(time.time_ns(), "xid", known.meaning, uuid, code, known.advice, known.fatal, instance)
        unknown = ("recovery_action", f"an event of type {data.eventType:#x}", "nvidia-smi -q may tell more", False)
        kind, message, advice, fatal = _KINDS.get(data.eventType, unknown)
        return Event(time.time_ns(), kind, message, uuid, None, advice, fatal, instance)

    def _uuid(self, handle: Any) -> str | None:
        """Of the card that an event came from; a card that is lost could not be asked for it."""
        same = [card for card in self._cards if _address(card.handle) == _address(handle)]
        return same[0].device.uuid if same else None


def _address(handle: Any) -> int | None:
    """Where a handle points to; pynvml's handles are pointers that compare by identity."""
    return ctypes.cast(handle, ctypes.c_void_p).value
