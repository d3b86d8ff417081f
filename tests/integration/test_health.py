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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs import wandb_file
from telemetryd.settings.rules import BY_NAME
from telemetryd.supervision.stacks import find_py_spy
from tests.fake_nvml.driver import GIB, FakeDriver, h100, uuid
from tests.fake_nvml.fixture import built
from tests.standin.fixture import running
from tests.support.processes import Spawned, command_line, spawn, wait_until, with_environment
from tests.support.requirements import require
from tests.support.world import MARK, World

__all__ = ["built"]
pytestmark = pytest.mark.timeout(180)

SLACK_S = 20.0
"""On top of a stated time: two busy cores do everything late."""

TRAIN = """
import os, sys, time
import client
run = client.init(project="p", id=sys.argv[1], settings=client.Settings(**eval(os.environ.get("RUN_SETTINGS", "{}"))))
step = 0
def log():
    global step
    run.log({"loss": 1.0 / (1 + step)})
    step += 1
for _ in range(20):
    log()
    time.sleep(0.01)
print("the last line", flush=True)
end = sys.argv[2]
"""
HEALTHY = """
while not os.path.exists(end):
    log()
    time.sleep(0.05)
run.finish()
"""
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


class Machine(World):
    """A world with a fake driver, and trainings that come to an end of their own."""

    def __init__(self, folder: Path, driver: FakeDriver, standin: Any = None) -> None:
        super().__init__(folder, standin)
        self.driver = driver
        self.environment |= driver.environment() | {"TELEMETRYD_SAMPLE_PERIOD_S": "1"}
        self.trainings: list[Spawned] = []

    def train(self, program: str, *arguments: str, run_id: str = "r1", prefix: tuple[str, ...] = (),
              **environment: str) -> Spawned:  # fmt: skip
        root = str(Path(__file__).parents[2])
        command = [*prefix, sys.executable, "-c", TRAIN + program, run_id, str(self.end_path(run_id)), *arguments]
        training = spawn(command, self.folder / f"train-{run_id}",
                         env={"PYTHONPATH": root, **self.environment, **environment})  # fmt: skip
        self.trainings.append(training)
        return training

    def training_pids(self, run_id: str) -> list[int]:
        """The training processes of a run, without what started them."""
        end = str(self.end_path(run_id))
        return [pid for pid in with_environment(f"{MARK}={self.folder}")
                if end in command_line(pid) and command_line(pid).startswith(f"{sys.executable} -c")]  # fmt: skip

    def end_path(self, run_id: str = "r1") -> Path:
        return self.folder / f"end-{run_id}"

    def end(self, run_id: str = "r1") -> None:
        """Let the training go on to its end."""
        self.end_path(run_id).touch()

    def wait_finished(self, run_id: str = "r1") -> None:
        def finished() -> bool:
            return any(run["key"] == f"/p/{run_id}" and run["state"] == "finished" for run in self.status()["runs"])

        wait_until(finished, 90, lambda: f"the end of {run_id}: {json.dumps(self.status())}\n{self.told()}")
        # A worker that is killed on its way out would leave its temporary folder behind.
        wait_until(lambda: not self.worker_pids(), 60, lambda: f"the worker's exit\n{self.told()}")

    def raised(self) -> dict[str, int]:
        return {rule: count for rule, count in self.status()["health"]["raised"].items() if count}

    def active(self) -> list[str]:
        return [one["rule"] for one in self.status()["health"]["active"]]

    def wait_raised(self, rule: str) -> dict[str, Any]:
        """The newest event of a rule, once it is there; within its stated time."""

        def there() -> dict[str, Any] | None:
            return next((one for one in reversed(self.status()["events"]) if one["kind"] == rule), None)

        def told() -> str:
            return f"an event {rule}\n{json.dumps(self.status())}\n{self.told()}"

        found = wait_until(there, BY_NAME[rule].within_s + SLACK_S, told, poll_s=0.1)
        assert found is not None
        return dict(found)

    def wait_cleared(self, rule: str) -> None:
        wait_until(lambda: rule not in self.active(), 30, lambda: f"the end of {rule}: {self.active()}\n{self.told()}")

    def summary(self, run_id: str = "r1") -> dict[str, Any]:
        """What the run's file says of health."""
        found: dict[str, Any] = {}
        for record in self.records(run_id):
            if record.WhichOneof("record_type") == "summary":
                for item in record.summary.update:
                    name = item.key or "/".join(item.nested_key)
                    if name.startswith("_telemetryd/health/"):
                        found[name.removeprefix("_telemetryd/health/")] = json.loads(item.value_json)
        return found

    def alerts(self, run_id: str = "r1") -> list[tuple[str, str, str]]:
        return [(one.alert.title, one.alert.text, one.alert.level) for one in self.records(run_id)
                if one.WhichOneof("record_type") == "alert"]  # fmt: skip

    def records(self, run_id: str = "r1") -> Iterator[Any]:
        for path in sorted(self.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb")):
            yield from wandb_file.records(path)

    def post_mortem(self, run_id: str = "r1") -> dict[str, str]:
        """The files of the one post-mortem, by name."""
        found = list(self.runs_dir.glob(f"wandb/*run-*{run_id}/files/telemetryd/post-mortem/*/*"))
        assert len({path.parent for path in found}) == 1, found
        return {path.name: path.read_text() for path in found}

    def told(self) -> str:
        log = self.state_dir / "workers" / "sampling.log"
        daemon = self.daemon.told() if self.daemon else ""
        trainings = "\n".join(training.told() for training in self.trainings)
        return f"{daemon}\n{log.read_text() if log.exists() else ''}\n{self.worker_logs()}\n{trainings}"

    def close(self) -> None:
        for training in self.trainings:
            training.kill()
        super().close()


@pytest.fixture
def driver(built: FakeDriver, short_path: Path) -> FakeDriver:
    made = FakeDriver(built.folder)
    made.state_path = short_path / "nvml"
    made.update(h100(2))
    return made


@pytest.fixture
def machine(short_path: Path, driver: FakeDriver) -> Iterator[Machine]:
    made = Machine(short_path / "w", driver)
    yield made
    made.close()


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


def memory_cgroup() -> Path | None:
    """A new control group with a memory limit, None where this process may not make one."""
    for parent, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = parent / f"telemetryd-test-{os.getpid()}-{time.time_ns()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(160 << 20))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    return None


def test_an_oom_kill_in_a_memory_cgroup_is_told_from_its_counter(machine: Machine) -> None:
    group = memory_cgroup()
    require(group, "a memory control group that can be written (root)")
    assert group is not None
    machine.start_daemon()
    try:
        enter = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        event = crash(machine, machine.train(FILLS_MEMORY, prefix=("sh", "-c", enter, "sh")))
        assert "out of memory" in event["message"]
        assert "control group" in event["message"]
        files = machine.post_mortem()
        report = json.loads(files["report.json"])
        assert (report["cause"], report["signal"]) == ("oom", signal.SIGKILL)
        assert machine.raised().keys() <= {"process_gone", "container_memory"}
    finally:
        for training in machine.trainings:
            training.kill()
        wait_until(lambda: not (group / "cgroup.procs").read_text().strip(), 10, "an empty group")
        group.rmdir()


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
