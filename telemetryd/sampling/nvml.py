"""The door to NVIDIA's driver: the only importer of pynvml, which is imported when the driver is first asked for.

Invariants
* Every error of NVML becomes one of errors.py's, which say what a caller does next: never ask again, leave it out this
  time, give the card up, or initialise anew.
* `busy` says which call a thread is in, so that one that does not return can be named.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from telemetryd.sampling.errors import (
    DriverError,
    LostError,
    NoDriverError,
    NotNowError,
    NvmlError,
    UnsupportedError,
)

_UNINITIALIZED, _INVALID_ARGUMENT, _NOT_SUPPORTED, _NO_PERMISSION = 1, 2, 3, 4
_DRIVER_NOT_LOADED, _TIMEOUT, _LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND, _GPU_IS_LOST = 9, 10, 12, 13, 15
_RESET_REQUIRED, _VERSION_MISMATCH, _VGPU_ECC, _ARGUMENT_VERSION, _DEPRECATED, _GPU_NOT_FOUND = 16, 18, 22, 25, 26, 28

_KINDS: dict[int, type[NvmlError]] = {
    **dict.fromkeys(
        (_INVALID_ARGUMENT, _NOT_SUPPORTED, _NO_PERMISSION, _FUNCTION_NOT_FOUND, _VGPU_ECC, _ARGUMENT_VERSION,
         _DEPRECATED),
        UnsupportedError,
    ),
    **dict.fromkeys((_GPU_IS_LOST, _RESET_REQUIRED, _GPU_NOT_FOUND), LostError),
    **dict.fromkeys((_UNINITIALIZED, _VERSION_MISMATCH), DriverError),
    **dict.fromkeys((_LIBRARY_NOT_FOUND, _DRIVER_NOT_LOADED), NoDriverError),
}  # fmt: skip

_VALUE_PARTS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class Nvml:
    """NVML as this process has it. Thread-safe as NVML is; calls block for as long as the driver does."""

    def __init__(self) -> None:
        self._module: Any = None
        self._functions: dict[str, Any] = {}
        self.busy: dict[int, tuple[str, float]] = {}
        """What each thread (by its identifier) has asked the driver and not been answered yet, and when."""

    def start(self) -> None:
        """Load the library and initialise it. Raises NoDriverError where there is none."""
        if self._module is None:
            try:
                import pynvml  # 4 MB, and nothing on a machine without a GPU

                self._module = pynvml
            except ImportError as error:
                raise NoDriverError("the package nvidia-ml-py is not installed") from error
        self.call("nvmlInit")

    def stop(self) -> None:
        """Shut it down; a driver that is gone already is no error."""
        try:
            self.call("nvmlShutdown")
        except NvmlError:
            pass  # it was not initialised any more: that is what was wanted

    def call(self, function: str, *arguments: Any) -> Any:
        """The function's answer. Raises NvmlError."""
        found = self._functions.get(function)
        if found is None:
            found = getattr(self._module, function, None)
            if found is None:
                raise UnsupportedError(f"this nvidia-ml-py has no {function}")
            self._functions[function] = found
        thread = threading.get_ident()
        self.busy[thread] = (function, time.monotonic())
        try:
            return found(*arguments)
        except self._module.NVMLError as error:
            raise _kind(error.value)(f"{function}: {error}") from None
        finally:
            self.busy.pop(thread, None)

    def fields(self, handle: Any, wanted: Sequence[tuple[int, int]]) -> list[float | NvmlError]:
        """Field values in one call, in the order of `wanted` (id, scope); an error in the place of what is not to be
        had. Raises NvmlError when the card or the driver has no field values at all."""
        answers = self.call("nvmlDeviceGetFieldValues", handle, list(wanted))
        found: list[float | NvmlError] = []
        for answer in answers:
            if answer.nvmlReturn:
                found.append(_kind(answer.nvmlReturn)(f"field {answer.fieldId}: error {answer.nvmlReturn}"))
            elif answer.valueType < len(_VALUE_PARTS):
                found.append(float(getattr(answer.value, _VALUE_PARTS[answer.valueType])))
            else:
                found.append(UnsupportedError(f"field {answer.fieldId} has a type that is not known"))
        return found

    def gpm_sample(self, device: Any, gpu_instance: int | None) -> Any:
        """A sample of GPU performance monitoring; free it with `gpm_free`. Raises NvmlError."""
        sample = self.call("nvmlGpmSampleAlloc")
        try:
            if gpu_instance is None:
                self.call("nvmlGpmSampleGet", device, sample)
            else:
                self.call("nvmlGpmMigSampleGet", device, gpu_instance, sample)
        except NvmlError:
            self.gpm_free(sample)
            raise
        return sample

    def gpm_free(self, sample: Any) -> None:
        """Give a sample back."""
        try:
            self.call("nvmlGpmSampleFree", sample)
        except NvmlError:
            pass  # of a driver that is gone; its memory went with it

    def gpm_supported(self, device: Any) -> bool:
        """Whether the card has GPU performance monitoring."""
        try:
            return bool(self.call("nvmlGpmQueryDeviceSupport", device).isSupportedDevice)
        except UnsupportedError:
            return False

    def gpm_metrics(self, first: Any, second: Any, wanted: Sequence[int]) -> list[float | NvmlError]:
        """Metrics between two samples. Raises NvmlError."""
        module = self._module
        request = module.c_nvmlGpmMetricsGet_t()
        request.version = module.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(wanted)
        request.sample1, request.sample2 = first, second
        for index, metric in enumerate(wanted):
            request.metrics[index].metricId = metric
        self.call("nvmlGpmMetricsGet", request)
        answers = [request.metrics[index] for index in range(len(wanted))]
        return [
            _kind(answer.nvmlReturn)(f"GPM {answer.metricId}") if answer.nvmlReturn else float(answer.value)
            for answer in answers
        ]

    def wait_event(self, events: Any, timeout_ms: int) -> Any:
        """The next event of a set, None after `timeout_ms`. Raises NvmlError."""
        try:
            return self._module.nvmlEventSetWait_v2(events, timeout_ms)  # long by intention: not `busy`
        except self._module.NVMLError as error:
            if error.value == _TIMEOUT:
                return None
            raise _kind(error.value)(f"nvmlEventSetWait: {error}") from None


def _kind(code: int) -> type[NvmlError]:
    return _KINDS.get(code, NotNowError)
