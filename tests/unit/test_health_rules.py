"""Health rules as state machines: fed with samples and times, no clock and no machine."""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryd.health.exit_cause import Evidence, cause_of
from telemetryd.health.judge import Finding, Judge
from telemetryd.health.level import GAP_S, Burst, Level, Share
from telemetryd.health.stall import Stall
from telemetryd.runs.loss_watch import LossWatch
from telemetryd.sampling.catalogue import RING
from telemetryd.sampling.limits import RING_PERIOD_S
from telemetryd.settings.limits import SAMPLE_PERIOD_S
from telemetryd.settings.rules import BY_NAME, PERCENT, RULES, limits_of, parse_rules

GPU = "gpu:GPU-a"


def judge(rules: str = "") -> Judge:
    return Judge(limits_of(parse_rules(rules)))


def feed(judged: Judge, scope: str, name: str, values: list[float], period_s: float = 1.0) -> list[tuple[bool, float]]:
    """(begins, second) of every finding."""
    found: list[tuple[bool, float]] = []
    for number, value in enumerate(values):
        at_ns = int((1_000_000 + number * period_s) * 1e9)
        found += [(one.begins, number * period_s) for one in judged.feed(scope, {name: value}, at_ns)]
    return found


# Levels, bursts, shares.


def test_a_level_begins_after_it_has_lasted_and_ends_below_its_lower_bound() -> None:
    level = Level(98.0, 95.0, 3.0)
    seen = [level.feed(value, second) for second, value in enumerate([97, 99, 99, 97, 99, 99, 99, 99, 96, 97, 95, 99])]
    assert seen == [None] * 7 + [True, None, None, False, None]


def test_what_was_not_seen_does_not_count_as_lasting() -> None:
    level = Level(98.0, 95.0, 30.0)
    assert level.feed(99, 0.0) is None
    assert level.feed(99, GAP_S + 1) is None
    assert level.feed(99, GAP_S + 32) is True


@given(st.lists(st.floats(0, 100), max_size=200), st.floats(50, 99), st.floats(1, 49), st.floats(0, 5))
def test_episodes_of_a_level_begin_and_end_in_turn_whatever_comes(
    values: list[float], threshold: float, clear: float, lasting_s: float
) -> None:
    level = Level(threshold, clear, lasting_s)
    told = [said for second, value in enumerate(values) if (said := level.feed(value, float(second))) is not None]
    assert told == [number % 2 == 0 for number in range(len(told))]
    assert level.over is (len(told) % 2 == 1)


def test_a_burst_is_one_episode_until_it_was_quiet() -> None:
    burst = Burst(600.0)
    assert [burst.hit(at) for at in (0.0, 10.0, 500.0)] == [True, False, False]
    assert not burst.is_over(1000.0)
    assert burst.is_over(1100.0)
    assert not burst.is_over(2000.0)
    assert burst.hit(2001.0)


def test_a_share_is_told_once_its_window_is_covered() -> None:
    share = Share(10.0)
    told = [share.feed(second % 2 == 0, float(second)) for second in range(30)]
    assert told[:9] == [None] * 9
    assert all(value is not None and 40 <= value <= 60 for value in told[9:])


# Rules on samples.


SAMPLED = [
    ("gpu_memory", GPU, "gpu_memory_used_percent", 99.0, 90.0),
    ("host_memory", "host", "host_memory_used_percent", 96.0, 80.0),
    ("container_memory", "run:1", "container_memory_percent", 96.0, 80.0),
    ("cpu_throttled", "run:1", "container_cpu_throttled_percent", 40.0, 5.0),
    ("shared_memory", "run:1", "disk_used_percent[/dev/shm]", 99.0, 50.0),
    ("disk", "host", "disk_used_percent[/data]", 99.0, 50.0),
    ("gpu_throttled", GPU, "gpu_throttle_reasons", float(1 << 6), 0.0),
]
"""(rule, scope, metric, a value that is amiss, one that is not)."""


@pytest.mark.parametrize(("rule", "scope", "metric", "bad", "good"), SAMPLED)
def test_each_rule_begins_once_when_it_has_lasted_and_ends_once(
    rule: str, scope: str, metric: str, bad: float, good: float
) -> None:
    lasting = BY_NAME[rule].lasting_s
    found = feed(judge(), scope, metric, [good] * 130 + [bad] * 300 + [good] * 300)
    assert [begins for begins, _ in found] == [True, False]
    assert 130 + min(lasting, 50) <= found[0][1] <= 130 + lasting + 1
    assert found[1][1] < 430 + 130
    assert feed(judge(f"{rule}=off"), scope, metric, [good] * 130 + [bad] * 300) == []
    assert feed(judge(), scope, metric, [good, bad] * 2 + [good] * 300) == [] or not lasting


@pytest.mark.parametrize("early", [0.97, 1.0, 1.03], ids=["samples early", "on time", "late"])
@pytest.mark.parametrize(("rule", "scope", "metric", "bad", "good"), SAMPLED)
def test_each_rule_tells_within_its_stated_time_at_the_default_periods(
    rule: str, scope: str, metric: str, bad: float, good: float, early: float
) -> None:
    ring = metric.partition("[")[0] in RING
    period_s = early * (RING_PERIOD_S if ring else SAMPLE_PERIOD_S)
    before = 200  # the fault begins behind the last of these samples, as far before the next one as can be
    found = feed(judge(), scope, metric, [good] * before + [bad] * 400, period_s)
    told_s = next(second for begins, second in found if begins) - (before - 1) * period_s
    assert told_s <= BY_NAME[rule].lasting_s + BY_NAME[rule].within_s


@pytest.mark.parametrize(
    ("rule", "usage", "limit", "share"),
    [
        ("container_memory", "container_memory_used_bytes", "container_memory_limit_bytes", "container_memory_percent"),
        ("cpu_throttled", "container_cpu_percent", "container_cpu_limit_cores", "container_cpu_throttled_percent"),
    ],
)
def test_a_limit_that_is_lifted_ends_the_episode(rule: str, usage: str, limit: str, share: str) -> None:
    judged, found = judge(), []
    for second in range(200):
        limited = {limit: 1.0, share: 99.0} if second < 150 else {}
        found += judged.feed("run:1", {usage: 5.0, **limited}, int((1e6 + second) * 1e9))
    assert [(one.rule, one.begins) for one in found] == [(rule, True), (rule, False)]
    assert "any more" in found[1].message


def test_several_paths_on_one_disk_are_one_subject() -> None:
    judged = Judge(limits_of(""), lambda scope, path: "disk 8:1" if path != "/dev/shm" else path)
    values = {"disk_used_percent[/]": 99.0, "disk_used_percent[/data]": 99.0, "disk_used_percent[/dev/shm]": 97.0}
    found = judged.feed("host", values, 10**18)
    assert [(one.rule, one.subject) for one in found] == [("disk", "disk 8:1"), ("shared_memory", "/dev/shm")]


def test_a_busy_card_at_its_power_limit_is_well_until_its_clock_falls() -> None:
    def at(clock: float) -> list[Finding]:
        judged, found = judge(), []
        for second in range(200):
            values = {"gpu_throttle_reasons": 4.0, "gpu_sm_clock_mhz": clock, "gpu_sm_clock_max_mhz": 1980.0}
            found += judged.feed(GPU, values, int((1e6 + second) * 1e9))
        return found

    assert at(1500.0) == []
    assert [one.rule for one in at(600.0)] == ["gpu_power_capped"]
    assert "600 of 1980 MHz" in at(600.0)[0].message


def test_uncorrected_errors_are_told_when_their_count_rises_and_not_for_a_cards_past() -> None:
    name = "gpu_ecc_uncorrected_volatile_errors"
    assert feed(judge(), GPU, name, [5.0] * 10) == []
    assert feed(judge(), GPU, name, [5.0, 5.0, 7.0, 7.0, 8.0]) == [(True, 2.0)]


# Progress.


def stalled(seconds: int, gpu: tuple[float, float] | None, cpu: float, after_s: float = 60.0) -> float | None:
    """When a run that logs nothing is found out."""
    stall = Stall(after_s, 0.0)
    for second in range(seconds):
        if gpu is not None:
            stall.gpu("a", {"gpu_utilization_percent": gpu[0], "gpu_memory_utilization_percent": gpu[1]})
        stall.processes({"tree_cpu_percent": cpu}, float(second))
        if stall.begins(float(second)):
            return float(second)
    return None


@pytest.mark.parametrize(
    ("gpu", "cpu", "found"),
    [
        (None, 1.0, True),  # a deadlock
        ((0.0, 0.0), 1.0, True),
        ((100.0, 0.0), 100.0, True),  # a collective that waits for ever: everything spins
        (None, 90.0, False),  # works on the CPU
        ((0.0, 0.0), 90.0, False),  # prepares data
        ((97.0, 45.0), 3.0, False),  # trains
        ((20.0, 2.0), 3.0, False),
    ],
)
def test_what_neither_logs_nor_works_makes_no_progress(
    gpu: tuple[float, float] | None, cpu: float, found: bool
) -> None:
    at = stalled(200, gpu, cpu)
    assert (at is not None) is found
    assert at is None or 60 <= at <= 75


def test_a_row_ends_the_episode_and_without_samples_there_is_none() -> None:
    stall = Stall(60.0, 0.0)
    assert not stall.begins(1000.0)
    stall = Stall(60.0, 0.0)
    for second in range(100):
        stall.processes({"tree_cpu_percent": 1.0}, float(second))
    assert stall.begins(100.0)
    assert not stall.begins(101.0)
    assert stall.progressed(102.0)
    assert not stall.progressed(103.0)
    assert not stall.over


def test_other_jobs_on_gpus_that_the_run_does_not_use_are_no_work_of_its() -> None:
    stall = Stall(60.0, 0.0)
    stall.processes({"gpu_process_memory_bytes[b]": 1e9}, 0.0)
    for second in range(100):
        stall.gpu("a", {"gpu_utilization_percent": 90.0, "gpu_memory_utilization_percent": 40.0})
        stall.gpu("b", {"gpu_utilization_percent": 0.0, "gpu_memory_utilization_percent": 0.0})
        stall.processes({"tree_cpu_percent": 1.0}, float(second))
    assert stall.begins(100.0)


# Thirty minutes of a healthy run.


def healthy(scopes: list[str], seconds: int) -> Iterator[tuple[float, str, dict[str, float]]]:
    """As a busy node of two cards is, with the noise of a real one: full GPUs at their power limit, moments of heat,
    evaluations in which the GPUs rest and the CPU works."""
    noise = random.Random(6)
    for second in range(seconds):
        rests = second % 300 >= 280  # an evaluation
        for scope in scopes:
            if scope.startswith("gpu:"):
                used = 0.0 if rests and noise.random() < 0.7 else noise.uniform(80, 100)
                values = {
                    "gpu_utilization_percent": used, "gpu_memory_utilization_percent": used * noise.uniform(0.2, 0.6),
                    "gpu_memory_used_percent": noise.uniform(88, 96.5), "gpu_sm_clock_mhz": noise.uniform(1300, 1980),
                    "gpu_sm_clock_max_mhz": 1980.0, "gpu_throttle_reasons": float(noise.choice((0, 1, 4, 4, 4))),
                    "gpu_ecc_uncorrected_volatile_errors": 1.0,
                }  # fmt: skip
                if noise.random() < 0.05:  # a moment of heat
                    values["gpu_throttle_reasons"] = float(1 << 5)
            elif scope == "host":
                values = {"host_memory_used_percent": noise.uniform(60, 92), "disk_used_percent[/]": 85.0}
            else:
                values = {
                    "tree_cpu_percent": noise.uniform(2, 30) if not rests else noise.uniform(100, 800),
                    "container_memory_percent": noise.uniform(60, 93),
                    "disk_used_percent[/dev/shm]": noise.uniform(1, 80),
                    "container_cpu_throttled_percent": noise.uniform(0, 20) if second % 10 == 0 else 0.0,
                }  # fmt: skip
            yield float(second), scope, values


def test_thirty_minutes_of_a_healthy_run_raise_nothing() -> None:
    judged, stall = judge("loss_not_finite=on"), Stall(600.0, 0.0)
    findings: list[Finding] = []
    for second, scope, values in healthy([GPU, "gpu:GPU-b", "host", "run:1"], 1800):
        findings += judged.feed(scope, values, int((1e6 + second) * 1e9))
        if scope.startswith("gpu:"):
            stall.gpu(scope, values)
        elif scope == "run:1":
            stall.processes(values, second)
        if second % 120 == 0:
            stall.progressed(second)
        assert not stall.begins(second)
    assert findings == []


# Why a process ended.


@pytest.mark.parametrize(
    ("evidence", "kind", "words"),
    [
        (Evidence(status=signal.SIGKILL, oom_kills=1), "oom", "control group"),
        (Evidence(status=signal.SIGKILL, oom_kills=0, kernel_log=("Out of memory: Killed process 7 (python)",)), "oom",
         "machine"),
        (Evidence(oom_kills=1), "oom", "control group"),
        (Evidence(status=signal.SIGKILL, oom_kills=0), "signal", "SIGKILL"),
        (Evidence(status=signal.SIGSEGV | 0x80, oom_kills=0), "segfault", "segmentation fault"),
        (Evidence(kernel_log=("python[7]: segfault at 0 ip 00",)), "segfault", "segmentation fault"),
        (Evidence(launcher_code=139), "segfault", "segmentation fault"),
        (Evidence(launcher_code=137, oom_kills=2), "oom", "control group"),
        (Evidence(status=signal.SIGBUS), "signal", "SIGBUS"),
        (Evidence(status=64), "signal", "SIGRTMAX"),
        (Evidence(status=50), "signal", "signal 50"),
        (Evidence(status=3 << 8, oom_kills=1), "error", "exit code 3; the kernel killed 1 other"),
        (Evidence(session_code=1, launcher_code=0), "error", "exit code 1"),
        (Evidence(status=0), "clean", "without finishing"),
        (Evidence(launcher_code=3), "error", "exit code 3"),
        (Evidence(), "unknown", "nobody saw"),
    ],
)  # fmt: skip
def test_the_cause_of_an_end_is_the_likeliest_that_the_evidence_allows(
    evidence: Evidence, kind: str, words: str
) -> None:
    cause = cause_of(evidence)
    assert cause.kind == kind
    assert words in cause.text


# Losses.


def test_a_loss_is_told_when_it_stops_being_finite_and_when_it_is_again() -> None:
    watch = LossWatch("loss:*/loss")
    rows = [{"loss": 1.0, "lr": math.nan}, {"loss": math.nan}, {"loss": math.inf, "val/loss": math.nan}, {"loss": 2.0}]
    told = [[(name, math.isfinite(value)) for name, value in watch.look(row)] for row in rows]
    assert told == [[], [("loss", False)], [("val/loss", False)], [("loss", True)]]
    assert LossWatch().look({"loss": math.nan}) == []


# The setting.


def test_rules_are_switched_and_moved_by_a_text_or_a_table() -> None:
    text = parse_rules("disk=95%, no_progress=30min, gpu_memory=99/5min, xid=off, loss_not_finite=a:b/*")
    assert text == parse_rules({"disk": 95, "no_progress": "30min", "gpu_memory": "99/5min", "xid": False,
                                "loss_not_finite": "a:b/*"})  # fmt: skip
    limits = limits_of(text)
    assert (limits["disk"].threshold, limits["no_progress"].threshold) == (95.0, 1800.0)
    assert (limits["gpu_memory"].threshold, limits["gpu_memory"].lasting_s) == (99.0, 300.0)
    assert limits["loss_not_finite"].threshold == "a:b/*"
    assert limits["disk"].clear < 95.0
    assert "xid" not in limits
    assert limits_of("").keys() == {rule.name for rule in RULES if rule.on}
    assert "loss_not_finite" not in limits_of("")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dsk=95", "did you mean 'disk'"), ("disk=ninety", "no percentage"), ("disk=0", "from 0 to 100"),
        ("disk=95/5min", "does not have to last"), ("xid=3", "on or off"), ("no_progress=1s", "too short"),
        ("loss_not_finite=:", "list of names"),
    ],
)  # fmt: skip
def test_a_rule_or_threshold_that_cannot_be_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rules(text)


def test_every_rule_with_a_level_says_when_it_is_over() -> None:
    for rule in RULES:
        if rule.unit == PERCENT:
            assert rule.clear is not None
            assert isinstance(rule.threshold, float)
            assert rule.clear < rule.threshold
