"""GPUs as the sampling process reads them through the real pynvml, from a fake driver (tests/fake_nvml)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from telemetryd.sampling import xid
from telemetryd.sampling.catalogue import split
from telemetryd.sampling.gpu_catalogue import DEVICE_METRICS, PROCESS_METRICS
from telemetryd.sampling.messages import Condition, Devices, Event, Reading, Target
from telemetryd.sampling.nvml import Nvml
from tests.fake_nvml import driver as fake
from tests.fake_nvml.driver import CRASH, GIB, HANG, UNKNOWN, FakeDriver, a100_mig, h100, old_card, uuid
from tests.fake_nvml.fixture import built
from tests.support.sampler import SamplerRig, this_process

__all__ = ["built"]

Start = Callable[..., SamplerRig]
GPU_FAMILIES = ("gpu", "gpu_health", "gpu_profile", "gpu_process")


@pytest.fixture
def driver(built: FakeDriver, tmp_path: Path) -> FakeDriver:
    """A driver with a state of its own."""
    made = FakeDriver(built.folder)
    made.state_path, made.calls_path = tmp_path / "state", tmp_path / "calls"
    made.write()
    return made


@pytest.fixture
def start(driver: FakeDriver, tmp_path: Path) -> Iterator[Start]:
    rigs: list[SamplerRig] = []

    def make(*, count_calls: bool = False, **options: float) -> SamplerRig:
        rigs.append(SamplerRig(tmp_path / "rig", driver.environment(count_calls=count_calls), **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def gpu(number: int, family: str = "a0") -> str:
    return f"gpu:{uuid(number, family)}"


def test_an_h100_tells_every_metric_of_the_catalogue(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(2))
    driver.update({"1.throttle_reasons": 0x44, "1.fan": 30, "1.field.29": 2, "1.field.30": 1, "1.field.31": 1})
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(1), *GPU_FAMILIES)  # the first has no GPM yet
    values = rig.reading(gpu(1), *GPU_FAMILIES).values
    assert {metric.name for metric in DEVICE_METRICS} - values.keys() == set()
    expected = {
        "gpu_utilization_percent": 91, "gpu_memory_utilization_percent": 41,
        "gpu_memory_used_bytes": 11 * GIB - GIB // 2, "gpu_memory_reserved_bytes": GIB // 2,
        "gpu_memory_free_bytes": 69 * GIB, "gpu_memory_total_bytes": 80 * GIB, "gpu_memory_used_percent": 13.125,
        "gpu_temperature_celsius": 31, "gpu_memory_temperature_celsius": 56, "gpu_temperature_margin_celsius": 49,
        "gpu_temperature_max_celsius": 87, "gpu_power_watts": 401, "gpu_power_instant_watts": 421,
        "gpu_power_average_watts": 410, "gpu_power_limit_watts": 700, "gpu_energy_joules": 5000.001,
        "gpu_sm_clock_mhz": 1975, "gpu_sm_clock_max_mhz": 1982, "gpu_memory_clock_mhz": 2619,
        "gpu_graphics_clock_mhz": 1980, "gpu_video_clock_mhz": 1545, "gpu_performance_state": 0, "gpu_fan_percent": 30,
        "gpu_encoder_percent": 1, "gpu_decoder_percent": 2, "gpu_throttle_reasons": 0x44, "gpu_throttled_power_cap": 1,
        "gpu_throttled_hardware_thermal": 1, "gpu_throttled_thermal": 0, "gpu_throttled_power_cap_seconds": 7,
        "gpu_throttled_thermal_seconds": 3, "gpu_ecc_corrected_volatile_errors": 5,
        "gpu_ecc_uncorrected_aggregate_errors": 1, "gpu_memory_corrected_errors": 4, "gpu_remapped_rows_corrected": 1,
        "gpu_remapped_rows_pending": 0, "gpu_retired_pages_corrected": 2, "gpu_retired_pages_pending": 1,
        "gpu_pcie_generation": 5, "gpu_pcie_width": 16, "gpu_pcie_replays": 1, "gpu_pcie_sent_bytes": 111_001,
        "gpu_pcie_sent_bytes_per_second": 100 * (1 << 20), "gpu_nvlink_sent_bytes": 5001 * 1024,
        "gpu_nvlink_replay_errors": 2, "gpu_nvlink_received_bytes_per_second": 300 * (1 << 20),
        "gpu_sm_active_percent": 88.5, "gpu_sm_occupancy_percent": 42.25, "gpu_tensor_active_percent": 61,
        "gpu_dram_active_percent": 37.5,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == pytest.approx(expected)


def test_the_driver_and_its_devices_are_told(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(8))
    rig = start()
    rig.watch(all_gpus=True)
    told = rig.devices()
    assert (told.driver, told.cuda) == ("570.86.15", "12.8")
    assert [device.uuid for device in told.devices] == [uuid(number) for number in range(8)]
    assert {device.name for device in told.devices} == {"NVIDIA H100 80GB HBM3"}
    assert told.devices[3].pci == "00000000:1C:00.0"


def test_what_a_card_does_not_support_is_absent_and_asked_once(driver: FakeDriver, start: Start) -> None:
    driver.update(old_card())
    rig = start(count_calls=True)
    rig.watch(all_gpus=True)
    for _ in range(5):
        values = rig.reading(gpu(0, "d0"), *GPU_FAMILIES).values
    present = {
        "gpu_utilization_percent": 50, "gpu_memory_used_bytes": 3 * GIB, "gpu_memory_used_percent": 25,
        "gpu_temperature_celsius": 70, "gpu_fan_percent": 33, "gpu_sm_clock_mhz": 745, "gpu_sm_clock_max_mhz": 875,
        "gpu_throttle_reasons": 2, "gpu_throttled_application_clocks": 1, "gpu_retired_pages_corrected": 2,
        "gpu_retired_pages_uncorrected": 1, "gpu_pcie_generation": 3,
    }  # fmt: skip
    assert {name: values[name] for name in present} == pytest.approx(present)
    absent = {"gpu_power_watts", "gpu_energy_joules", "gpu_ecc_corrected_volatile_errors", "gpu_sm_active_percent"}
    assert not absent & values.keys()
    assert not [value for value in values.values() if value < 0]
    calls = driver.calls()
    once = [
        "nvmlDeviceGetFieldValues 0.fields",
        "nvmlDeviceGetPowerUsage 0.power_mw",
        "nvmlGpmQueryDeviceSupport 0.gpm",
        "nvmlDeviceGetTotalEnergyConsumption 0.energy_mj",
        "nvmlDeviceGetTotalEccErrors 0.ecc.0.0",
    ]
    assert {name: calls[name] for name in once} == dict.fromkeys(once, 1)
    assert calls["nvmlDeviceGetUtilizationRates 0.utilization"] >= 5


def test_field_values_come_in_one_call(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1))
    rig = start(count_calls=True)
    rig.watch(all_gpus=True)
    for _ in range(4):
        rig.reading(gpu(0), *GPU_FAMILIES)
    rig.close()
    calls = driver.calls()
    fields = calls["field 0.field.82"]
    batches = calls["nvmlDeviceGetFieldValues 0.fields"]
    assert fields >= 4
    assert batches <= fields + 3  # a second one at first, for the next sources of what is not supported


def test_a_value_that_fails_once_is_absent_from_that_reading_alone(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1))
    rig = start()
    rig.watch(all_gpus=True)
    assert "gpu_temperature_celsius" in rig.reading(gpu(0), *GPU_FAMILIES).values
    driver.update({"0.temperature.0": UNKNOWN, "0.field.82": UNKNOWN})
    lacking = rig.wait_for(
        Reading,
        lambda read: read.scope == gpu(0) and read.families and "gpu_temperature_celsius" not in read.values,
    )
    assert "gpu_memory_temperature_celsius" not in lacking.values
    assert {"gpu_power_watts", "gpu_power_instant_watts", "gpu_utilization_percent"} <= lacking.values.keys()
    driver.update({"0.temperature.0": 44, "0.field.82": 66})
    back = rig.wait_for(Reading, lambda read: read.values.get("gpu_temperature_celsius") == 44 and read.families)
    assert back.values["gpu_memory_temperature_celsius"] == 66


def test_instances_of_a_card_in_mig_mode_are_devices_of_their_own(driver: FakeDriver, start: Start) -> None:
    driver.update(a100_mig())
    rig = start()
    rig.watch(all_gpus=True)
    told = rig.devices()
    card, first, second, other = told.devices
    assert (card.mig, first.mig, other.mig) == (True, False, False)
    assert (first.parent, first.gpu_instance, second.gpu_instance) == (card.uuid, 1, 2)
    values = rig.reading(f"gpu:{first.uuid}", *GPU_FAMILIES).values
    assert values["gpu_memory_total_bytes"] == 20 * GIB
    assert values["gpu_memory_used_percent"] == 50
    assert values["gpu_temperature_celsius"] == 35  # its card's
    assert "gpu_utilization_percent" not in values
    assert rig.reading(gpu(1, "b0"), *GPU_FAMILIES).values["gpu_utilization_percent"] == 55


def test_gpm_of_an_instance_is_its_own(driver: FakeDriver, start: Start) -> None:
    driver.update(a100_mig())
    driver.update({"0.gpm": 1, "0.gpm.2": 99.0, "0.mig.1.gpm": 1, "0.mig.1.gpm.2": 12.5})
    rig = start()
    rig.watch(all_gpus=True)
    second = rig.devices().devices[2]
    read = rig.wait_for(
        Reading, lambda read: read.scope == f"gpu:{second.uuid}" and "gpu_sm_active_percent" in read.values
    )
    assert read.values["gpu_sm_active_percent"] == 12.5


def test_only_the_gpus_that_cuda_shows_to_the_job_are_sampled(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(8))
    rig = start()
    rig.watch(Target(1, visible="6,2"))
    rig.reading(gpu(6), *GPU_FAMILIES)
    rig.reading(gpu(2), *GPU_FAMILIES)
    rig.reading(gpu(6), *GPU_FAMILIES)
    scopes = {report.scope for report in rig.reports if isinstance(report, Reading) and report.scope.startswith("gpu:")}
    assert scopes == {gpu(6), gpu(2)}
    rig.watch(Target(1, visible="6,2"), Target(2, visible=uuid(7)[:12]))
    rig.reading(gpu(7), *GPU_FAMILIES)


def test_memory_and_utilisation_of_the_trainings_processes_alone_are_told(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mine = f"{os.getpid()}:{2 * GIB} {child.pid}:{GIB} 1:{5 * GIB}"
        util = f"{os.getpid()}:40:10:1:0 {child.pid}:20:5:0:2 1:7:7:7:7"
        driver.update({"0.processes": mine, "0.process_utilization": util})
        rig = start()
        rig.watch(this_process())
        read = rig.wait_for(
            Reading, lambda read: read.values.get(f"gpu_process_memory_bytes[{uuid(0)}]") == 3 * GIB
            and f"gpu_process_sm_percent[{uuid(0)}]" in read.values
        )  # fmt: skip
        values = {split(name)[0]: value for name, value in read.values.items()}
        assert read.scope == "run:1"
        assert values.keys() == {metric.name for metric in PROCESS_METRICS}
        assert values["gpu_process_sm_percent"] == 60
        assert values["gpu_process_decoder_percent"] == 2
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


@pytest.mark.parametrize("code", [13, 31, 48, 63, 79, 94, 119])
def test_an_xid_is_told_at_once_with_its_meaning_and_what_to_do(driver: FakeDriver, start: Start, code: int) -> None:
    driver.update(h100(2))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(1), *GPU_FAMILIES)
    driver.xid(1, code)
    event = rig.event("xid")
    known = xid.XIDS[code]
    assert (event.uuid, event.code, event.message, event.advice, event.fatal) == (
        uuid(1), code, known.meaning, known.advice, known.fatal,
    )  # fmt: skip
    assert abs(time.time_ns() - event.time_ns) < 10e9


def test_an_xid_that_is_not_listed_is_told_too(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(0), *GPU_FAMILIES)
    driver.xid(0, 4711)
    event = rig.event("xid")
    assert (event.code, event.fatal) == (4711, False)
    assert event.advice


def test_a_double_bit_ecc_error_is_an_event(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(2))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(0), *GPU_FAMILIES)
    driver.event(0, fake.DOUBLE_BIT)
    event = rig.event("ecc_double_bit")
    assert (event.uuid, event.fatal) == (uuid(0), True)


def test_events_of_gpus_that_are_not_the_jobs_are_not_told(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(2))
    rig = start()
    rig.watch(Target(1, visible="1"))
    rig.reading(gpu(1), *GPU_FAMILIES)
    driver.xid(0, 31)
    driver.xid(1, 13)
    assert rig.event("xid").uuid == uuid(1)
    assert rig.events() == ["xid"]


def test_a_lost_gpu_is_reported_once_the_others_go_on_and_it_comes_back(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(2))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(1), *GPU_FAMILIES)
    driver.set("1.lost", 1)
    lost = rig.event("gpu_lost")
    assert (lost.uuid, lost.fatal) == (uuid(1), True)
    rig.wait_for(Condition, lambda told: told.part == "gpu" and uuid(1) in (told.reason or ""))
    rig.reading(gpu(0), *GPU_FAMILIES)
    rig.wait_for(Devices, lambda told: [device.uuid for device in told.devices] == [uuid(0)])  # looked for, in vain
    rig.reading(gpu(0), *GPU_FAMILIES)
    driver.set("1.lost", 0)
    assert rig.event("gpu_back").uuid == uuid(1)
    rig.reading(gpu(1), *GPU_FAMILIES)
    assert rig.events() == ["gpu_lost", "gpu_back"]


def test_a_driver_that_is_restarted_is_found_again(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(2))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(1), *GPU_FAMILIES)
    driver.unload()
    assert rig.event("driver_lost").uuid is None
    rig.reading("host", "cpu")
    driver.restart()
    rig.event("driver_back")
    rig.reading(gpu(1), *GPU_FAMILIES)
    driver.xid(1, 13)
    assert rig.event("xid").uuid == uuid(1)  # the event set is a new one, too
    assert rig.events() == ["driver_lost", "driver_back", "xid"]


def test_a_driver_restarted_between_two_calls_is_noticed(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(0), *GPU_FAMILIES)
    driver.restart()
    rig.event("driver_back")
    rig.reading(gpu(0), *GPU_FAMILIES)


def test_a_call_that_hangs_delays_nothing_else_and_is_reported(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(3))
    rig = start()
    rig.watch(this_process(), all_gpus=True)
    rig.reading(gpu(1), *GPU_FAMILIES)
    driver.set("1.power_mw", HANG)
    began = time.monotonic()
    hung = rig.event("gpu_hung")
    assert 9 < time.monotonic() - began < 20
    assert hung.uuid == uuid(1)
    assert "nvmlDeviceGetPowerUsage" in hung.message
    before = len(rig.reports)
    for scope in (gpu(0), gpu(2), "host", "run:1"):
        rig.wait_for(Reading, lambda read, scope=scope: read.scope == scope)  # type: ignore[misc]
    late = [report for report in rig.reports[before:] if isinstance(report, Reading) and report.scope == gpu(1)]
    assert late == []
    driver.set("1.power_mw", 333_000)
    assert rig.event("gpu_answers").uuid == uuid(1)
    assert rig.reading(gpu(1), *GPU_FAMILIES).values["gpu_power_watts"] == 333


def test_a_hanging_initialisation_leaves_the_host_sampled(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1) | {"driver.init": HANG})
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading("host", "cpu")
    told = rig.wait_for(Condition, lambda told: "nvmlInit" in (told.reason or ""))
    assert told.reason is not None
    driver.remove("driver.init")
    rig.reading(gpu(0), *GPU_FAMILIES)


def test_a_driver_library_that_crashes_ends_the_sampler_alone(driver: FakeDriver, start: Start) -> None:
    driver.update(h100(1))
    rig = start()
    rig.watch(all_gpus=True)
    rig.reading(gpu(0), *GPU_FAMILIES)
    driver.set("0.clock.1", CRASH)
    assert rig.process.wait(20) == -signal.SIGSEGV


def test_without_a_driver_that_is_said_once_and_the_host_is_sampled(tmp_path: Path) -> None:
    rig = SamplerRig(tmp_path, {"LD_LIBRARY_PATH": ""})
    try:
        if _has_driver():
            pytest.skip("this machine has an NVIDIA driver")
        rig.watch(this_process(), all_gpus=True)
        told = rig.wait_for(Condition)
        assert (told.part, told.wanting) == ("gpu", False)
        assert "no NVIDIA driver" in (told.reason or "")
        for _ in range(5):
            rig.reading("host", "cpu", "memory")
        assert len([report for report in rig.reports if isinstance(report, (Condition, Event))]) == 1
        assert rig.log_path.read_text().count("no_gpus") == 1
        assert rig.end() == 0
    finally:
        rig.close()


def test_without_nvidia_ml_py_that_is_said_once(tmp_path: Path, driver: FakeDriver) -> None:
    driver.update(h100(1))
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "pynvml.py").write_text("raise ImportError('hidden by a test')\n")
    rig = SamplerRig(tmp_path / "rig", driver.environment() | {"PYTHONPATH": str(tmp_path / "shadow")})
    try:
        rig.watch(all_gpus=True)
        assert "nvidia-ml-py is not installed" in (rig.wait_for(Condition).reason or "")
        rig.reading("host", "cpu")
    finally:
        rig.close()


def _has_driver() -> bool:
    try:
        Nvml().start()
    except Exception:
        return False
    return True


@pytest.mark.gpu
def test_a_real_gpu_tells_the_essentials(tmp_path: Path) -> None:
    rig = SamplerRig(tmp_path)
    try:
        if not _has_driver():
            pytest.skip("no NVIDIA driver here")
        rig.watch(all_gpus=True)
        device = rig.wait_for(Devices, lambda told: told.devices).devices[0]
        values = rig.reading(f"gpu:{device.uuid}", "gpu").values
        assert 0 <= values["gpu_utilization_percent"] <= 100
        assert 0 < values["gpu_memory_total_bytes"] == device.memory_bytes
        assert 0 < values["gpu_temperature_celsius"] < 120
    finally:
        rig.close()
