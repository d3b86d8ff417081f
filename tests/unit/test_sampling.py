"""Schedule, ring, panel, catalogue and XID table: what sampling decides without a driver or a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryd.sampling import catalogue, xid
from telemetryd.sampling.messages import Device, Reading, Target
from telemetryd.sampling.metric import COUNTER, Call, FieldValue, Read, Share
from telemetryd.sampling.panel import Panel
from telemetryd.sampling.ring import Ring
from telemetryd.sampling.schedule import Schedule
from telemetryd.settings.families import FAMILIES, parse_periods, periods_s

SECOND = 10**9


# The schedule.


def test_everything_is_due_at_once_and_then_at_multiples_of_its_period() -> None:
    schedule = Schedule({"gpu": 10.0, "disk": 60.0}, 1.0, 103.5)
    assert schedule.take(103.5).families == {"gpu", "disk"}
    assert schedule.next_s() == 104.0
    due = schedule.take(104.0)
    assert (due.families, due.ring) == (frozenset(), True)
    assert schedule.take(110.0).families == {"gpu"}
    assert schedule.take(120.0).families == {"gpu", "disk"}


def test_what_was_missed_is_not_made_up_for() -> None:
    schedule = Schedule({"gpu": 10.0}, 1.0, 0.0)
    schedule.take(0.0)
    assert schedule.take(1234.5).families == {"gpu"}
    assert not schedule.take(1234.5)
    assert schedule.next_s() == 1235.0


@given(st.floats(0.1, 100), st.floats(0, 1e7), st.lists(st.floats(0, 50), max_size=20))
def test_a_family_is_due_once_a_period_and_never_in_the_past(
    period_s: float, start_s: float, steps: list[float]
) -> None:
    schedule = Schedule({"gpu": period_s}, None, start_s)
    now_s, taken = start_s, 0
    for step in steps:
        now_s += step
        taken += bool(schedule.take(now_s))
        assert schedule.next_s() > now_s - 1e-3
    assert taken <= (now_s - start_s) / period_s + 2


# The ring.


def test_the_ring_keeps_the_last_minutes_of_its_own_metrics() -> None:
    ring = Ring(keeps_s=60)
    for second in range(100):
        ring.add(Reading(second * SECOND, "host", {"host_cpu_percent": second, "host_load5": 1.0}, ["cpu"]))
        ring.add(Reading(second * SECOND, "gpu:a", {"gpu_power_watts": second}))
    kept = list(ring.since(0))
    assert (kept[0].time_ns, kept[-1].time_ns) == (39 * SECOND, 99 * SECOND)
    assert {name for reading in kept for name in reading.values} == {"host_cpu_percent", "gpu_power_watts"}
    assert [reading.time_ns for reading in ring.since(98 * SECOND, frozenset({"gpu:a"}))] == [98 * SECOND, 99 * SECOND]


def test_the_ring_has_a_cap_whatever_comes() -> None:
    ring = Ring(keeps_s=1e9, max_readings=10)
    for second in range(50):
        ring.add(Reading(second, "host", {"host_cpu_percent": 1.0}))
    assert len(ring) == 10


# The panel.

CARDS = [Device("GPU-a", 0, pci="1"), Device("GPU-b", 1, pci="2"), Device("GPU-c", 2, pci="3")]


def test_the_panel_numbers_gpus_as_cuda_does_for_the_training() -> None:
    panel = Panel(Target(7, visible="2,0"), CARDS)
    read = Reading(1, "gpu:GPU-c", {"gpu_temperature_celsius": 40.0}, ["gpu"])
    assert panel.keys(read) == {"gpu.0.temp": 40.0}
    assert panel.keys(Reading(1, "gpu:GPU-a", {"gpu_temperature_celsius": 41.0}, ["gpu"])) == {"gpu.1.temp": 41.0}
    assert panel.keys(Reading(1, "gpu:GPU-b", {"gpu_temperature_celsius": 42.0}, ["gpu"])) == {}


def test_the_panel_shows_whole_families_and_not_what_came_for_the_ring() -> None:
    panel = Panel(Target(7), CARDS)
    values = {"host_cpu_percent": 50.0, "host_memory_used_percent": 60.0}
    assert panel.keys(Reading(1, "host", values, ["memory"])) == {"memory_percent": 60.0}
    assert panel.keys(Reading(1, "host", values)) == {}


def test_what_wandb_repeats_of_a_gpu_is_repeated_while_the_runs_processes_use_it() -> None:
    panel = Panel(Target(1, visible="1,0"), CARDS, "x")
    gpu = {"gpu_utilization_percent": 90.0, "gpu_power_watts": 400.0, "gpu_sm_clock_mhz": 1900.0}
    uses = {"gpu_process_memory_bytes[GPU-b]": 5.0}
    own = {"gpu.process.0.memoryUsedBytes/l:x": 5.0}
    repeated = {"gpu.process.0.gpu/l:x": 90.0, "gpu.process.0.powerWatts/l:x": 400.0}
    assert panel.keys(Reading(0, "run:1", uses, ["gpu_process"])) == own  # before a reading of the GPU
    panel.keys(Reading(0, "gpu:GPU-b", gpu, ["gpu"]))
    assert panel.keys(Reading(0, "run:1", uses, ["gpu_process"])) == own | repeated
    assert panel.keys(Reading(0, "run:1", {}, ["gpu_process"])) == {}


def test_the_panel_shows_the_run_its_own_processes_alone() -> None:
    panel = Panel(Target(7), CARDS)
    values = {"process_rss_mb": 12.0, "gpu_process_memory_bytes[GPU-b]": 5.0}
    families = ["process", "gpu_process"]
    shown = {"proc.memory.rssMB": 12.0, "gpu.process.1.memoryUsedBytes": 5.0}
    assert panel.keys(Reading(1, "run:7", values, families)) == shown
    assert panel.keys(Reading(1, "run:8", values, families)) == {}


def test_labels_of_disks_and_of_nodes_become_part_of_the_key() -> None:
    panel = Panel(Target(7), CARDS, label="node3")
    read = Reading(1, "host", {"disk_used_percent[/data]": 70.0}, ["disk"])
    assert panel.keys(read) == {"disk./data.usagePercent/l:node3": 70.0}


# The catalogue.


def test_names_and_keys_of_the_catalogue_are_unique() -> None:
    for attribute in ("name", "wandb", "prometheus"):
        found = [getattr(metric, attribute) for metric in catalogue.METRICS]
        assert len(set(found)) == len(found), attribute


@pytest.mark.parametrize("metric", catalogue.METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_described(metric: catalogue.Metric) -> None:
    assert metric.family in FAMILIES
    assert metric.help
    assert metric.unit
    assert metric.sources
    assert metric.name.islower()
    assert metric.prometheus.startswith("telemetryd_")
    assert metric.prometheus.endswith("_total") == (metric.kind == COUNTER)
    if "{gpu}" in metric.wandb:
        assert metric.family.startswith("gpu")


def test_every_family_has_metrics_and_shares_are_of_metrics() -> None:
    assert {metric.family for metric in catalogue.METRICS} == FAMILIES.keys()
    for metric in catalogue.METRICS:
        for source in metric.sources:
            if isinstance(source, Share):
                parts = (catalogue.BY_NAME[source.of], catalogue.BY_NAME[source.whole])
                assert {part.family for part in parts} == {metric.family}
                assert not metric.ring or all(part.ring for part in parts)


def test_the_functions_and_fields_that_the_catalogue_names_are_nvmls() -> None:
    import pynvml

    fields = {value for name, value in vars(pynvml).items() if name.startswith("NVML_FI_")}
    for metric in catalogue.METRICS:
        for source in metric.sources:
            if isinstance(source, Call):
                assert callable(getattr(pynvml, source.function)), source
            elif isinstance(source, FieldValue):
                assert source.field_id in fields, source
            elif isinstance(source, Read):
                assert source.where


def test_throttle_bits_are_nvmls() -> None:
    import pynvml

    from telemetryd.sampling.gpu_catalogue import THROTTLE_BITS

    named = {
        "idle": "GpuIdle", "application_clocks": "ApplicationsClocksSetting", "power_cap": "SwPowerCap",
        "hardware_slowdown": "HwSlowdown", "sync_boost": "SyncBoost", "thermal": "SwThermalSlowdown",
        "hardware_thermal": "HwThermalSlowdown", "power_brake": "HwPowerBrakeSlowdown",
        "display_clocks": "DisplayClockSetting",
    }  # fmt: skip
    assert {name: 1 << bit for name, bit, _ in THROTTLE_BITS} == {
        name: getattr(pynvml, f"nvmlClocksEventReason{theirs}") for name, theirs in named.items()
    }


def test_every_xid_says_what_it_means_and_what_to_do() -> None:
    for code, known in xid.XIDS.items():
        assert known.meaning, code
        assert known.advice, code
    assert xid.look_up(999_999) is xid.UNKNOWN


# Periods.


def test_periods_of_families_are_read_from_text_and_table_and_written_back() -> None:
    assert parse_periods("gpu=1s, disk=1min") == "gpu=1,disk=60"
    assert parse_periods({"gpu": "500ms", "cpu": 2}) == "gpu=0.5,cpu=2"
    assert parse_periods(parse_periods("gpu=0.5")) == "gpu=0.5"
    assert parse_periods("") == ""
    found = periods_s("gpu=1,disk=60", 10.0)
    assert found.keys() == FAMILIES.keys()
    assert (found["gpu"], found["disk"], found["cpu"]) == (1.0, 60.0, 10.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus=1", "did you mean 'gpu'"),
        ("gpu=never", "gives gpu a period that is no duration"),
        ("gpu=1ms", "too short"),
        ("gpu=2d", "too long"),
        ("gpu", "gives gpu a period"),
    ],
)
def test_a_wrong_period_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_periods(text)
