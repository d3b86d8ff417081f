"""The metrics of a GPU. Names under `wandb` that wandb has itself mean the same there, in the same unit."""

from __future__ import annotations

from telemetryd.sampling.metric import COUNTER, Call, FieldValue, Gpm, Metric, Read, Share, Source

_KIB, _MIB = 1024.0, float(1 << 20)
ALL_LINKS = 0xFFFFFFFF
"""The scope of an NVLink field that stands for all links of the card."""


def _metric(
    name: str,
    unit: str,
    wandb: str,
    sources: tuple[Source, ...],
    help_: str,
    *,
    family: str = "gpu",
    kind: str = "gauge",
    scale: float = 1.0,
    ring: bool = False,
) -> Metric:
    return Metric("gpu_" + name, unit, family, sources, "gpu.{gpu}." + wandb, help_, kind, scale, ring)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


_STATE = (
    _metric("utilization_percent", "percent", "gpu", (Call("nvmlDeviceGetUtilizationRates", part="gpu"),),
            "time in which a kernel ran", ring=True),
    _metric("memory_utilization_percent", "percent", "memory", (Call("nvmlDeviceGetUtilizationRates", part="memory"),),
            "time in which the memory was read or written", ring=True),
    _metric("memory_used_bytes", "bytes", "memoryAllocatedBytes",
            (Call("nvmlDeviceGetMemoryInfo", (0x02000028,), "used"), Call("nvmlDeviceGetMemoryInfo", part="used")),
            "memory in use, without what the driver reserves (with it on old drivers)", ring=True),
    _metric("memory_free_bytes", "bytes", "memoryFreeBytes",
            (Call("nvmlDeviceGetMemoryInfo", (0x02000028,), "free"), Call("nvmlDeviceGetMemoryInfo", part="free")),
            "memory that can be had"),
    _metric("memory_reserved_bytes", "bytes", "memoryReservedBytes",
            (Call("nvmlDeviceGetMemoryInfo", (0x02000028,), "reserved"),), "memory that the driver keeps"),
    _metric("memory_total_bytes", "bytes", "memoryTotalBytes",
            (Call("nvmlDeviceGetMemoryInfo", (0x02000028,), "total"), Call("nvmlDeviceGetMemoryInfo", part="total")),
            "memory of the card", ring=True),
    _metric("memory_used_percent", "percent", "memoryAllocated",
            (Share("gpu_memory_used_bytes", "gpu_memory_total_bytes"),), "memory in use, of all", ring=True),
    _metric("temperature_celsius", "celsius", "temp",
            (Call("nvmlDeviceGetTemperature", (0,)), Call("nvmlDeviceGetTemperatureV", (0,))),
            "temperature of the chip", ring=True),
    _metric("memory_temperature_celsius", "celsius", "memoryTemp", (FieldValue(82),), "temperature of the memory"),
    _metric("temperature_margin_celsius", "celsius", "tempMargin", (Call("nvmlDeviceGetMarginTemperature"),),
            "degrees left before the card slows down"),
    _metric("temperature_max_celsius", "celsius", "maxOpTemp", (Call("nvmlDeviceGetTemperatureThreshold", (3,)),),
            "temperature at which the card begins to slow down"),
    _metric("memory_temperature_max_celsius", "celsius", "memoryMaxOpTemp",
            (Call("nvmlDeviceGetTemperatureThreshold", (2,)),), "the memory's highest temperature"),
    _metric("power_watts", "watts", "powerWatts", (Call("nvmlDeviceGetPowerUsage"),),
            "power drawn (over the last second from Ampere on, else at the moment)", scale=1e-3, ring=True),
    _metric("power_instant_watts", "watts", "powerInstantWatts", (FieldValue(186),), "power drawn at the moment",
            scale=1e-3),
    _metric("power_average_watts", "watts", "powerAverageWatts", (FieldValue(185),), "power drawn over a second",
            scale=1e-3),
    _metric("power_limit_watts", "watts", "enforcedPowerLimitWatts",
            (Call("nvmlDeviceGetEnforcedPowerLimit"), Call("nvmlDeviceGetPowerManagementLimit")),
            "power limit in force", scale=1e-3, ring=True),
    _metric("power_percent", "percent", "powerPercent", (Share("gpu_power_watts", "gpu_power_limit_watts"),),
            "power drawn, of the limit", ring=True),
    _metric("energy_joules", "joules", "energyJoules",
            (Call("nvmlDeviceGetTotalEnergyConsumption"), FieldValue(83)), "energy since the driver was loaded",
            kind=COUNTER, scale=1e-3),
    _metric("graphics_clock_mhz", "megahertz", "graphicsClock", (Call("nvmlDeviceGetClockInfo", (0,)),),
            "clock of the graphics engine"),
    _metric("sm_clock_mhz", "megahertz", "smClock", (Call("nvmlDeviceGetClockInfo", (1,)),), "clock of the SMs",
            ring=True),
    _metric("memory_clock_mhz", "megahertz", "memoryClock", (Call("nvmlDeviceGetClockInfo", (2,)),),
            "clock of the memory"),
    _metric("video_clock_mhz", "megahertz", "videoClock", (Call("nvmlDeviceGetClockInfo", (3,)),),
            "clock of encoder and decoder"),
    _metric("graphics_clock_max_mhz", "megahertz", "maxGraphicsClock", (Call("nvmlDeviceGetMaxClockInfo", (0,)),),
            "the graphics engine's highest clock"),
    _metric("sm_clock_max_mhz", "megahertz", "maxSmClock", (Call("nvmlDeviceGetMaxClockInfo", (1,)),),
            "the SMs' highest clock"),
    _metric("memory_clock_max_mhz", "megahertz", "maxMemoryClock", (Call("nvmlDeviceGetMaxClockInfo", (2,)),),
            "the memory's highest clock"),
    _metric("video_clock_max_mhz", "megahertz", "maxVideoClock", (Call("nvmlDeviceGetMaxClockInfo", (3,)),),
            "the video engines' highest clock"),
    _metric("performance_state", "state", "performanceState",
            (Call("nvmlDeviceGetPerformanceState"), Call("nvmlDeviceGetPowerState")),
            "P-state: 0 is the fastest, 15 the slowest"),
    _metric("fan_percent", "percent", "fanSpeed", (Call("nvmlDeviceGetFanSpeed"),), "intended speed of the fan"),
    _metric("encoder_percent", "percent", "encoderUtilization", (Call("nvmlDeviceGetEncoderUtilization", part=0),),
            "utilisation of the video encoder"),
    _metric("decoder_percent", "percent", "decoderUtilization", (Call("nvmlDeviceGetDecoderUtilization", part=0),),
            "utilisation of the video decoder"),
    _metric("jpeg_percent", "percent", "jpegUtilization", (Call("nvmlDeviceGetJpgUtilization", part=0),),
            "utilisation of the JPEG engine"),
    _metric("optical_flow_percent", "percent", "opticalFlowUtilization", (Call("nvmlDeviceGetOfaUtilization", part=0),),
            "utilisation of the optical flow engine"),
)  # fmt: skip

_REASONS = "nvmlDeviceGetCurrentClocksEventReasons"
_REASONS_BEFORE = "nvmlDeviceGetCurrentClocksThrottleReasons"

THROTTLE_BITS = (
    ("idle", 0, "nothing runs"),
    ("application_clocks", 1, "somebody set lower clocks"),
    ("power_cap", 2, "the power limit (software)"),
    ("hardware_slowdown", 3, "the hardware halved the clocks: heat or power"),
    ("sync_boost", 4, "another card of its boost group is slower"),
    ("thermal", 5, "heat (software)"),
    ("hardware_thermal", 6, "heat (hardware)"),
    ("power_brake", 7, "the power supply asked for it"),
    ("display_clocks", 8, "the display's clocks"),
)
"""Why clocks are lower than they could be: name, bit of NVML's answer, meaning."""

_THROTTLING = (
    _metric("throttle_reasons", "bits", "throttleReasons", (Call(_REASONS), Call(_REASONS_BEFORE)),
            "why clocks are lower than they could be: NVML's bits", ring=True),
    *(
        _metric(f"throttled_{name}", "boolean", "throttled." + _camel(name),
                (Call(_REASONS, bit=bit), Call(_REASONS_BEFORE, bit=bit)), f"clocks are lowered: {meaning}")
        for name, bit, meaning in THROTTLE_BITS
    ),
)  # fmt: skip

_THROTTLED_TIMES = (
    ("power_cap", 74, 0, "the power limit (software)"),
    ("thermal_policy", 75, 1, "heat"),
    ("sync_boost", 76, 2, "another card of its boost group"),
    ("board_limit", 77, 3, "the board's limit"),
    ("low_utilization", 78, 4, "low utilisation"),
    ("reliability", 79, 5, "reliability (voltage)"),
    ("application_clocks", 80, 10, "clocks that somebody set"),
    ("base_clocks", 81, 11, "anything, below the base clock"),
    ("thermal", 269, None, "heat (software)"),
    ("hardware_thermal", 270, None, "heat (hardware)"),
    ("power_brake", 271, None, "the power supply"),
)

_HEALTH = (
    *(
        _metric(f"throttled_{name}_seconds", "seconds",
                "throttledSeconds." + _camel(name),
                (FieldValue(field),) if policy is None
                else (FieldValue(field), Call("nvmlDeviceGetViolationStatus", (policy,), "violationTime")),
                f"time with lowered clocks because of {why}", family="gpu_health", kind=COUNTER, scale=1e-9)
        for name, field, policy, why in _THROTTLED_TIMES
    ),
    *(
        _metric(f"ecc_{kind}_{since}_errors", "errors", f"ecc.{kind}{since.title()}",
                (FieldValue(field), Call("nvmlDeviceGetTotalEccErrors", (error, counter))),
                f"{kind} memory errors {meaning}", family="gpu_health", kind=COUNTER)
        for kind, since, field, error, counter, meaning in (
            ("corrected", "volatile", 3, 0, 0, "since the driver was loaded"),
            ("uncorrected", "volatile", 4, 1, 0, "since the driver was loaded"),
            ("corrected", "aggregate", 5, 0, 1, "of the card's life"),
            ("uncorrected", "aggregate", 6, 1, 1, "of the card's life"),
        )
    ),
    _metric("memory_corrected_errors", "errors", "correctedMemoryErrors",
            (Call("nvmlDeviceGetMemoryErrorCounter", (0, 0, 2)),), "corrected errors in device memory since the driver"
            " was loaded", family="gpu_health", kind=COUNTER),
    _metric("memory_uncorrected_errors", "errors", "uncorrectedMemoryErrors",
            (Call("nvmlDeviceGetMemoryErrorCounter", (1, 0, 2)),), "uncorrected errors in device memory since the"
            " driver was loaded", family="gpu_health", kind=COUNTER),
    *(
        _metric(f"remapped_rows_{name}", unit, f"remappedRows.{name}",
                (Call("nvmlDeviceGetRemappedRows", part=part), FieldValue(142 + part)), meaning, family="gpu_health")
        for part, (name, unit, meaning) in enumerate((
            ("corrected", "rows", "memory rows replaced because of corrected errors"),
            ("uncorrected", "rows", "memory rows replaced because of uncorrected errors"),
            ("pending", "boolean", "a row will be replaced when the GPU is reset"),
            ("failed", "boolean", "a row could not be replaced: the card is to be exchanged"),
        ))
    ),
    _metric("retired_pages_corrected", "pages", "retiredPages.corrected",
            (FieldValue(29), Call("nvmlDeviceGetRetiredPages", (0,), count=True)),
            "memory pages retired after many corrected errors (before Ampere)", family="gpu_health"),
    _metric("retired_pages_uncorrected", "pages", "retiredPages.uncorrected",
            (FieldValue(30), Call("nvmlDeviceGetRetiredPages", (1,), count=True)),
            "memory pages retired after an uncorrected error (before Ampere)", family="gpu_health"),
    _metric("retired_pages_pending", "boolean", "retiredPages.pending",
            (FieldValue(31), Call("nvmlDeviceGetRetiredPagesPendingStatus")),
            "a page will be retired when the driver is loaded again (before Ampere)", family="gpu_health"),
    *(
        _metric(f"pcie_{name}", unit, key, (Call(function),), meaning, family="gpu_health")
        for name, unit, key, function, meaning in (
            ("generation", "generation", "pcieLinkGen", "nvmlDeviceGetCurrPcieLinkGeneration", "PCIe generation now"),
            ("width", "lanes", "pcieLinkWidth", "nvmlDeviceGetCurrPcieLinkWidth", "PCIe lanes now"),
            ("generation_max", "generation", "maxPcieLinkGen", "nvmlDeviceGetMaxPcieLinkGeneration",
             "PCIe generation that card and slot can do"),
            ("width_max", "lanes", "maxPcieLinkWidth", "nvmlDeviceGetMaxPcieLinkWidth",
             "PCIe lanes that card and slot can do"),
        )
    ),
    _metric("pcie_replays", "replays", "pcieReplays", (FieldValue(94), Call("nvmlDeviceGetPcieReplayCounter")),
            "PCIe packets that had to be sent again", family="gpu_health", kind=COUNTER),
    _metric("pcie_sent_bytes_per_second", "bytes_per_second", "pcieTxBytes",
            (Gpm(20, _MIB), Call("nvmlDeviceGetPcieThroughput", (0,), scale=_KIB)),
            "bytes a second that the card sends over PCIe", family="gpu_health"),
    _metric("pcie_received_bytes_per_second", "bytes_per_second", "pcieRxBytes",
            (Gpm(21, _MIB), Call("nvmlDeviceGetPcieThroughput", (1,), scale=_KIB)),
            "bytes a second that the card receives over PCIe", family="gpu_health"),
    _metric("pcie_sent_bytes", "bytes", "pcieTxTotalBytes", (FieldValue(197),), "bytes sent over PCIe",
            family="gpu_health", kind=COUNTER),
    _metric("pcie_received_bytes", "bytes", "pcieRxTotalBytes", (FieldValue(198),), "bytes received over PCIe",
            family="gpu_health", kind=COUNTER),
    _metric("nvlink_sent_bytes", "bytes", "nvlinkTxTotalBytes", (FieldValue(138, ALL_LINKS),), "bytes sent over NVLink",
            family="gpu_health", kind=COUNTER, scale=_KIB),
    _metric("nvlink_received_bytes", "bytes", "nvlinkRxTotalBytes", (FieldValue(139, ALL_LINKS),),
            "bytes received over NVLink", family="gpu_health", kind=COUNTER, scale=_KIB),
    *(
        _metric(f"nvlink_{name}_errors", "errors", f"nvlinkErrors.{key}", (FieldValue(field),), meaning,
                family="gpu_health", kind=COUNTER)
        for name, key, field, meaning in (
            ("crc_flit", "crcFlit", 38, "NVLink flow control errors"),
            ("crc_data", "crcData", 45, "NVLink data errors"),
            ("replay", "replay", 52, "NVLink packets sent again"),
            ("recovery", "recovery", 59, "NVLink links that had to be trained again"),
            ("ecc_data", "eccData", 160, "NVLink data errors found by ECC"),
        )
    ),
)  # fmt: skip

_PROFILE = tuple(
    _metric(name, unit, wandb, (Gpm(metric),), meaning, family="gpu_profile", scale=scale)
    for name, unit, wandb, metric, meaning, scale in (
        ("graphics_active_percent", "percent", "grEngineActive", 1, "time in which the graphics engine was busy", 1.0),
        ("sm_active_percent", "percent", "smActive", 2, "time in which SMs were busy", 1.0),
        ("sm_occupancy_percent", "percent", "smOccupancy", 3, "warps that were active, of those that fit", 1.0),
        ("tensor_active_percent", "percent", "pipeTensorActive", 5, "time in which tensor cores were busy", 1.0),
        ("dram_active_percent", "percent", "dramActive", 10, "memory bandwidth used", 1.0),
        ("fp64_active_percent", "percent", "pipeFp64Active", 11, "time in which FP64 pipes were busy", 1.0),
        ("fp32_active_percent", "percent", "pipeFp32Active", 12, "time in which FP32 pipes were busy", 1.0),
        ("fp16_active_percent", "percent", "pipeFp16Active", 13, "time in which FP16 pipes were busy", 1.0),
        ("nvlink_received_bytes_per_second", "bytes_per_second", "nvlinkRxBytes", 60, "NVLink bytes in a second", _MIB),
        ("nvlink_sent_bytes_per_second", "bytes_per_second", "nvlinkTxBytes", 61, "NVLink bytes out a second", _MIB),
    )
)  # fmt: skip

_UTILIZATION = (Read("nvmlDeviceGetProcessUtilization, the samples of the training's processes"),)

PROCESS_METRICS = (
    Metric("gpu_process_memory_bytes", "bytes", "gpu_process",
           (Read("nvmlDeviceGetComputeRunningProcesses and …GraphicsRunningProcesses, of the training's processes"),),
           "gpu.process.{gpu}.memoryUsedBytes", "GPU memory of the training's processes"),
    Metric("gpu_process_sm_percent", "percent", "gpu_process", _UTILIZATION, "gpu.process.{gpu}.smUtilization",
           "time in which the training's processes had SMs busy"),
    Metric("gpu_process_memory_percent", "percent", "gpu_process", _UTILIZATION,
           "gpu.process.{gpu}.memoryUtilization", "time in which they read or wrote GPU memory"),
    Metric("gpu_process_encoder_percent", "percent", "gpu_process", _UTILIZATION,
           "gpu.process.{gpu}.encoderUtilization", "their share of the video encoder"),
    Metric("gpu_process_decoder_percent", "percent", "gpu_process", _UTILIZATION,
           "gpu.process.{gpu}.decoderUtilization", "their share of the video decoder"),
)  # fmt: skip

DEVICE_METRICS = (*_STATE, *_THROTTLING, *_HEALTH, *_PROFILE)
