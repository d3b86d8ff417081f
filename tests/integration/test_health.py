"""Health rules against the real thing: processes that crash, hang and are killed, disks that fill up, a driver that
reports faults. Each is recognised within the time that docs/health.md states, with the right cause."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from telemetryd.settings.rules import BY_NAME
from telemetryd.supervision.stacks import find_py_spy
from tests.fake_nvml.driver import GIB, FakeDriver, uuid
from tests.standin.fixture import running
from tests.support.cgroups import control_group
from tests.support.health import HEALTHY, SLACK_S, Machine, built, driver, machine
from tests.support.processes import Spawned, wait_until
from tests.support.requirements import require

__all__ = ["built", "driver", "machine"]
pytestmark = pytest.mark.timeout(180)

WAITS = "while not os.path.exists(end): time.sleep(0.02)\n"
SEGFAULT = WAITS + "import ctypes; ctypes.string_at(0)\n"
ERROR = WAITS + "raise RuntimeError('the loss exploded')\n"
FILLS_MEMORY = WAITS + "held = []\nwhile True: held.append(bytearray(1 << 20))\n"
DEADLOCK = """
import threading
one, other = threading.Lock(), threading.Lock()
both = threading.Barrier(2)
def loader_waits():
    with one:
        both.wait()
        other.acquire()
threading.Thread(target=loader_waits, name="loader", daemon=True).start()
def main_waits():
    with other:
        both.wait()
        one.acquire()
main_waits()
"""
FILLS = (
    """
import errno
for path in sys.argv[3:]:
    with open(path, "wb", buffering=0) as checkpoint:
        try:
            while True: checkpoint.write(bytes(1 << 16))
        except OSError as error:
            assert error.errno == errno.ENOSPC
"""
    + HEALTHY
)


def crash(machine: Machine, training: Spawned) -> dict[str, Any]:
    """Let a training come to its bad end; the event."""
    machine.wait_delivering(90)
    wait_until(lambda: machine.status()["components"]["sampling"]["state"] == "ok", 30, machine.told)
    machine.end()
    training.wait(30)
    event = machine.wait_raised("process_gone")
    machine.wait_finished()
    return event


def test_a_segmentation_fault_is_told_by_its_name_and_leaves_a_post_mortem(machine: Machine) -> None:
    machine.start_daemon()
    training = machine.train(SEGFAULT, RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    event = crash(machine, training)
    assert "segmentation fault" in event["message"]
    assert str(training.pid) in event["message"]
    assert (event["run"], event["rank"], event["fatal"]) == ("/p/r1", 0, True)
    files = machine.post_mortem()
    (folder,) = machine.runs_dir.glob("wandb/*run-*/files/telemetryd/post-mortem/*")
    assert event["advice"].endswith(f"what came before is in the run's files, telemetryd/post-mortem/{folder.name}")
    report = json.loads(files["report.json"])
    assert (report["cause"], report["signal"], report["pid"]) == ("segfault", signal.SIGSEGV, training.pid)
    assert "the last line" in files["console.txt"]
    samples = [json.loads(line) for line in files["samples.jsonl"].splitlines()]
    assert {sample["scope"] for sample in samples} >= {"host", "run:1", f"gpu:{uuid(0)}"}
    assert [sample["time"] for sample in samples] == sorted(sample["time"] for sample in samples)
    summary = machine.summary()
    assert "segmentation fault" in summary["process_gone"]
    assert summary["process_gone/count"] == 1
    (alert,) = machine.alerts()
    assert alert[0] == BY_NAME["process_gone"].title
    assert "segmentation fault" in alert[1]
    assert machine.raised() == {"process_gone": 1}
    counters = machine.status()["counters"]
    assert (counters["health_raised"], counters["health_alerts"], counters["post_mortems"]) == (1, 1, 1)
    run = machine.status()["runs"][0]
    assert (run["offered"], run["delivered"], run["pending"]) == (20, 20, 0)


def test_behind_the_launcher_a_kill_is_told_by_its_signal_and_nothing_is_told_of_a_good_end(machine: Machine) -> None:
    machine.start_daemon("--health", "process_gone=on")
    training = machine.train(WAITS, prefix=(sys.executable, "-m", "telemetryd", "run", "--"))
    healthy = machine.train(HEALTHY, run_id="r2")
    machine.wait_delivering(90)
    pids = wait_until(lambda: machine.training_pids("r1"), 30, machine.told)
    os.kill(pids[0], signal.SIGKILL)
    event = machine.wait_raised("process_gone")
    assert "SIGKILL" in event["message"]
    training.wait(60)
    machine.end("r2")
    healthy.wait(30)
    machine.wait_finished("r1")
    machine.wait_finished("r2")
    assert machine.raised() == {"process_gone": 1}
    assert "the last line" in machine.post_mortem()["console.txt"]
    assert machine.alerts("r2") == []
    assert machine.summary("r2") == {}


def test_an_oom_kill_in_a_memory_cgroup_is_told_from_its_counter(machine: Machine) -> None:
    with control_group() as group:
        require(group, "control groups that can be made (root)")
        assert group is not None
        group.limit_memory(160 << 20)
        machine.start_daemon()
        event = crash(machine, machine.train(FILLS_MEMORY, prefix=group.enter))
        assert "out of memory" in event["message"]
        assert "control group" in event["message"]
        files = machine.post_mortem()
        report = json.loads(files["report.json"])
        assert (report["cause"], report["signal"]) == ("oom", signal.SIGKILL)
        assert machine.raised().keys() <= {"process_gone", "container_memory"}


def test_a_deadlock_of_two_threads_is_told_with_their_stacks(machine: Machine) -> None:
    require(find_py_spy(), "py-spy")
    machine.driver.update({"0.utilization": "0 0", "1.utilization": "0 0"})
    machine.start_daemon("--health", "no_progress=8s")
    machine.train(DEADLOCK)
    machine.wait_delivering(90)
    began_s = time.monotonic()
    event = machine.wait_raised("no_progress")
    assert time.monotonic() - began_s <= 8 + BY_NAME["no_progress"].within_s + SLACK_S
    assert "main_waits" in event["message"]
    assert machine.active() == ["no_progress"]
    wait_until(lambda: machine.summary().get("no_progress/active"), 30, "the summary")
    pattern = "wandb/*run-*/files/telemetryd/no-progress/*-stacks.txt"
    (stacks,) = wait_until(lambda: list(machine.runs_dir.glob(pattern)), 30, machine.told)
    assert f"the run's files, telemetryd/no-progress/{stacks.name};" in event["advice"]
    assert str(machine.trainings[0].pid) in event["advice"]
    text = stacks.read_text()
    assert "main_waits" in text
    assert "loader_waits" in text
    machine.trainings[0].kill()
    machine.wait_raised("process_gone")
    machine.wait_finished()
    assert "loader_waits" in machine.post_mortem()["stacks.txt"]
    machine.wait_cleared("no_progress")
    assert [alert[0] for alert in machine.alerts()] == [BY_NAME[rule].title for rule in ("no_progress", "process_gone")]


def mounted(*places: Path) -> tuple[str, ...]:
    """What starts a command with small memory file systems at these places, in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    require(unshare, "unshare, of util-linux")
    tried = [str(unshare), "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    require(subprocess.run(tried, check=False, capture_output=True).returncode == 0, "a mount namespace (root)")
    mounts = " && ".join(f"mount -t tmpfs -o size=4m none {place}" for place in places)
    return (str(unshare), "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh")


def test_full_shared_memory_and_a_full_disk_are_told_and_over_when_there_is_room_again(machine: Machine) -> None:
    places = {"shared_memory": Path("/dev/shm"), "disk": machine.folder / "checkpoints"}
    places["disk"].mkdir()
    machine.start_daemon()
    training = machine.train(
        FILLS,
        *(str(place / "checkpoint") for place in places.values()),
        prefix=mounted(*places.values()),
        RUN_SETTINGS=repr({"x_stats_disk_paths": [str(places["disk"])]}),
    )
    for rule, place in places.items():
        event = machine.wait_raised(rule)
        assert event["message"] == f"100.0 % of {place} are in use"
    root = Path("/proc") / str(machine.training_pids("r1")[0]) / "root"
    for place in places.values():
        (root / str(place).lstrip("/") / "checkpoint").unlink()
    for rule in places:
        machine.wait_cleared(rule)
    machine.end()
    training.wait(30)
    machine.wait_finished()
    assert machine.raised() == {"shared_memory": 1, "disk": 1}
    assert machine.summary()["disk/active"] is False
    assert len(machine.alerts()) == 2


def test_gpu_faults_of_every_kind_are_told_once_with_gpu_and_rank(machine: Machine) -> None:
    machine.start_daemon("--health", "gpu_memory=98/2s,gpu_throttled=50/4s,gpu_power_capped=50/4s")
    training = machine.train(HEALTHY, RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", CUDA_VISIBLE_DEVICES="1")
    machine.wait_delivering(90)
    wait_until(lambda: machine.status()["components"]["sampling"]["state"] == "ok", 30, machine.told)
    driver = machine.driver
    driver.update({
        "1.memory": f"{80 * GIB} {GIB // 2} {GIB // 10} {80 * GIB - GIB}",
        "1.throttle_reasons": 1 << 6 | 1 << 2, "1.clock.1": 600, "1.field.4": 2,
    })  # fmt: skip
    for rule, word in (("gpu_memory", "memory"), ("gpu_throttled", "heat"), ("gpu_power_capped", "600 of 1982 MHz")):
        event = machine.wait_raised(rule)
        assert word in event["message"]
        assert (event["gpu"], event["rank"], event["uuid"]) == (0, 0, uuid(1))
    driver.xid(1, 79)
    driver.event(1, 2)
    wait_until(lambda: machine.raised().keys() >= {"xid", "ecc"}, 30, lambda: f"{machine.raised()}\n{machine.told()}")
    driver.xid(1, 79)
    driver.update({"1.memory": f"{80 * GIB} {GIB // 2} {70 * GIB} {10 * GIB}", "1.throttle_reasons": 0})
    for rule in ("gpu_memory", "gpu_throttled", "gpu_power_capped"):
        machine.wait_cleared(rule)
    wait_until(lambda: machine.status()["counters"]["gpu_events"] == 3, 30, machine.told)
    driver.set("1.lost", 1)
    wait_until(lambda: "gpu_lost" in machine.active(), 30, machine.told)
    driver.set("1.lost", 0)
    machine.wait_cleared("gpu_lost")
    assert machine.daemon is not None
    for rule in ("gpu_memory", "gpu_throttled", "gpu_power_capped", "xid", "ecc", "gpu_lost"):
        assert f"health_raised rule={rule} message=" in machine.daemon.err()
    machine.end()
    training.wait(30)
    machine.wait_finished()
    raised = machine.raised()
    assert raised.pop("ecc") in (1, 2)  # the event, and the count of errors that rose
    assert raised == dict.fromkeys(("gpu_memory", "gpu_throttled", "gpu_power_capped", "xid", "gpu_lost"), 1)
    assert {alert[0] for alert in machine.alerts()} == {BY_NAME[rule].title for rule in machine.raised()}
    summary = machine.summary()
    assert (summary["xid/gpu"], summary["xid/rank"], summary["gpu_throttled/active"]) == (0, 0, False)


def test_a_loss_that_is_not_finite_is_told_where_the_rule_is_on_and_the_alert_reaches_w_and_b(
    short_path: Path, driver: FakeDriver
) -> None:
    program = "run.log({'train/loss': float('nan')})\n" * 3 + "run.log({'train/loss': 0.5})\n" + HEALTHY
    with running() as standin:
        machine = Machine(short_path / "w", driver, standin)
        try:
            machine.environment["WANDB_MODE"] = "online"
            machine.start_daemon("--health", "loss_not_finite=on")
            machine.train(program)
            event = machine.wait_raised("loss_not_finite")
            assert "train/loss is nan" in event["message"]
            assert event["step"] == 20
            machine.wait_cleared("loss_not_finite")
            machine.end()
            machine.wait_finished()
            assert machine.raised() == {"loss_not_finite": 1}
            assert [alert["title"] for alert in standin.alerts("r1")] == [BY_NAME["loss_not_finite"].title]
            summary = standin.summary("r1")
            assert summary["_telemetryd/health/loss_not_finite/step"] == 20
            assert summary["_telemetryd/health/loss_not_finite/active"] is False
        finally:
            machine.close()


def test_online_an_uncaught_error_leaves_a_post_mortem_among_the_runs_files_in_w_and_b(
    short_path: Path, driver: FakeDriver
) -> None:
    with running() as standin:
        machine = Machine(short_path / "w", driver, standin)
        try:
            machine.environment["WANDB_MODE"] = "online"
            machine.start_daemon()
            event = crash(machine, machine.train(ERROR))
            assert "exit code 1" in event["message"]
            names = [name for name in standin.files("r1") if name.startswith("telemetryd/post-mortem/")]
            assert {Path(name).name for name in names} >= {"report.json", "samples.jsonl", "console.txt"}
            (report,) = [name for name in names if name.endswith("report.json")]
            assert json.loads(standin.read_file("r1", report))["cause"] == "error"
            (console,) = [name for name in names if name.endswith("console.txt")]
            assert "RuntimeError: the loss exploded" in standin.read_file("r1", console).decode()
        finally:
            machine.close()


RANK = """
while not os.path.exists(end):
    run.log({"time": time.time()})
    time.sleep(0.05 * (1 + int(os.environ["RANK"])))
run.finish()
"""


def test_a_slow_rank_is_told_with_its_cause_and_a_killed_one_with_its_number(machine: Machine) -> None:
    machine.driver.update({"1.throttle_reasons": 1 << 6, "1.clock.1": 600})
    machine.start_daemon()
    ranks = [
        machine.train(RANK, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
        for rank in range(2)
    ]

    def told() -> dict[str, Any] | None:
        return next((one for one in machine.status()["events"] if one["kind"] == "straggler"), None)

    event = wait_until(told, 90, lambda: f"a straggler: {machine.status()['runs']}\n{machine.told()}")
    assert event is not None
    assert event["rank"] == 1
    assert "heat (hardware) lowers its GPU's clocks (SM clock 600 of 1982 MHz)" in event["advice"]
    os.kill(ranks[1].pid, signal.SIGKILL)
    event = machine.wait_raised("process_gone")
    assert event["rank"] == 1
    machine.end()
    machine.wait_finished()
    assert machine.summary()["process_gone/rank"] == 1
    (folder,) = machine.runs_dir.glob("wandb/*run-*/files/telemetryd/post-mortem/*")
    assert folder.name.endswith(f"{ranks[1].pid}-rank1")
