"""The machine's samples in a run's System panel, by way of a real daemon, a real run worker and a real wandb-core."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs import wandb_file
from tests.fake_nvml.driver import CRASH, FakeDriver, h100, uuid
from tests.fake_nvml.fixture import built
from tests.standin.fixture import running
from tests.support.processes import Spawned, alive, command_line, send, spawn, wait_until, with_environment
from tests.support.requirements import require
from tests.support.sampled_world import SampledWorld
from tests.support.world import MARK

__all__ = ["built"]
pytestmark = pytest.mark.timeout(240)

TRAIN = """
import os, sys, time
import client
run = client.init(project="p", id=sys.argv[1], settings=client.Settings(**eval(sys.argv[2])))
step = 0
while not os.path.exists(sys.argv[3]):
    run.log({"loss": 1.0 / (1 + step)})
    step += 1
    time.sleep(0.01)
run.finish()
"""
Stats = list[tuple[int, dict[str, float]]]


class Machine(SampledWorld):
    """What is asked of its samples."""

    def train(self, run_id: str = "r1", *prefix: str, settings: str = "{}", **environment: str) -> Spawned:
        command = [*prefix, sys.executable, "-c", TRAIN, run_id, settings, str(self.end_path(run_id))]
        env = self.environment | environment
        root = str(Path(__file__).parents[2])
        process = spawn(command, self.folder / f"train-{run_id}", env={"PYTHONPATH": root, **env})
        self.trainings.append(process)
        return process

    def end(self, run_id: str = "r1") -> None:
        """Let the training end, and wait until its run has."""
        self.end_path(run_id).touch()
        self.wait_finished(run_id)

    def stats(self, run_id: str = "r1") -> Stats:
        """(time in ns, values) of every sample in the run's files, in their order."""
        found: Stats = []
        for path in sorted(self.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb")):
            for record in wandb_file.records(path):
                if record.WhichOneof("record_type") == "stats":
                    values = {item.key: float(item.value_json) for item in record.stats.item}
                    found.append((record.stats.timestamp.ToNanoseconds(), values))
        return found

    def wait_stats(self, condition: Callable[[Stats], object], what: str, run_id: str = "r1") -> Stats:
        stats: Stats = []

        def reached() -> bool:
            nonlocal stats
            stats = self.stats(run_id)
            return bool(condition(stats))

        wait_until(reached, 60, lambda: f"{what}; {len(stats)} samples came\n{self.told()}", poll_s=0.1)
        return stats

    def sampler_pids(self) -> list[int]:
        mark = f"{MARK}={self.folder}"
        return [pid for pid in with_environment(mark) if alive(pid) and "telemetryd.sampling.main" in command_line(pid)]

    def counter(self, name: str) -> int:
        return int(self.status()["counters"][name])


def _keys(stats: Stats) -> list[str]:
    return sorted({key for _, values in stats for key in values})


def series(stats: Stats, key: str) -> list[float]:
    return [values[key] for _, values in stats if key in values]


@pytest.fixture
def driver(built: FakeDriver, short_path: Path) -> FakeDriver:
    made = FakeDriver(built.folder, short_path / "nvml")
    made.update(h100(4))
    return made


@pytest.fixture
def machine(short_path: Path, driver: FakeDriver) -> Iterator[Machine]:
    made = Machine(short_path / "w", driver)
    made.environment["TELEMETRYD_SAMPLE_PERIOD_S"] = "1"
    yield made
    made.close()


def test_samples_are_in_the_system_panel_as_cuda_numbers_the_trainings_gpus(machine: Machine) -> None:
    machine.start_daemon()
    began_ns = time.time_ns()
    machine.train(CUDA_VISIBLE_DEVICES="2,0")
    machine.wait_stats(lambda stats: len(series(stats, "gpu.0.smActive")) >= 4, "GPM four times")
    machine.end()
    stats = machine.stats()
    assert set(series(stats, "gpu.0.temp")) == {32}
    assert set(series(stats, "gpu.1.temp")) == {30}
    assert not [key for key in _keys(stats) if key.startswith(("gpu.2", "gpu.3"))]
    assert {
        "cpu",
        "proc.memory.rssMB",
        "proc.tree.processes",
        "memory_percent",
        "host.load.1m",
        "network.sent",
        "disk./.usagePercent",
        f"disk.{machine.runs_dir}.freeBytes",
        "disk./dev/shm.usagePercent",
    } <= set(_keys(stats))
    assert all(began_ns <= at_ns <= time.time_ns() for at_ns, _ in stats)
    # One source: a sample a second, one more at the beginning, and wandb's own first.
    at_ns = [at for at, values in stats if "memory_percent" in values]
    assert len(at_ns) <= (max(at_ns) - min(at_ns)) / 1e9 + 3


def test_the_metadata_still_names_cpu_gpu_memory_and_disk(machine: Machine) -> None:
    machine.start_daemon()
    machine.train()
    machine.wait_stats(lambda stats: series(stats, "gpu.0.temp"), "a sample of a GPU")
    machine.end()
    said: dict[str, Any] = {}
    for path in machine.runs_dir.glob("wandb/*run-*/run-r1.wandb"):
        for record in wandb_file.records(path):
            if record.WhichOneof("record_type") == "environment":
                about = record.environment
                said["gpus"] = said.get("gpus") or [gpu.name for gpu in about.gpu_nvidia]
                said["cpus"] = said.get("cpus") or about.cpu_count_logical
                said["memory"] = said.get("memory") or about.memory.total
                said["disk"] = said.get("disk") or dict(about.disk)
    assert said["gpus"] == ["NVIDIA H100 80GB HBM3"] * 4
    assert said["cpus"] == os.cpu_count()
    assert said["memory"] > 1 << 30
    assert "/" in said["disk"]


def test_an_xid_is_in_status_with_run_step_and_gpu(machine: Machine) -> None:
    machine.start_daemon()
    machine.train(CUDA_VISIBLE_DEVICES="3,1", RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    machine.wait_delivering()
    wait_until(lambda: machine.status()["delivered"] > 50, 60, "fifty rows")
    delivered = machine.status()["delivered"]
    machine.driver.xid(1, 79)
    events = wait_until(lambda: machine.status()["events"], 30, machine.told)
    (event,) = events
    assert (event["kind"], event["code"], event["uuid"], event["gpu"], event["fatal"]) == ("xid", 79, uuid(1), 1, True)
    assert event["run"].endswith("/p/r1")
    assert event["rank"] == 0
    assert delivered - 1 <= event["step"] <= delivered + 2000
    assert "bus" in event["message"]
    assert event["advice"]
    assert machine.counter("gpu_events") == 1
    assert "event " in machine.told()
    machine.end()


def test_online_the_samples_reach_the_server_with_their_own_time(short_path: Path, driver: FakeDriver) -> None:
    with running() as standin:
        machine = Machine(short_path / "w", driver, standin)
        try:
            machine.environment |= {"TELEMETRYD_SAMPLE_PERIOD_S": "1", "WANDB_MODE": "online"}
            machine.start_daemon()
            began_s = time.time()
            machine.train(CUDA_VISIBLE_DEVICES="1")
            standin.wait_for(
                lambda there: [row for row in there.events("r1") if "system.gpu.0.smClock" in row],
                60,
                "samples of a GPU",
            )
            machine.end()
            rows = [row for row in standin.events("r1") if "system.gpu.0.temp" in row]
            assert {row["system.gpu.0.temp"] for row in rows} == {31}
            assert all(began_s <= row["_timestamp"] <= time.time() for row in rows)
            assert not [row for row in rows if "system.gpu.1.temp" in row]
        finally:
            machine.close()


def test_two_runs_see_their_own_gpus_and_processes(machine: Machine) -> None:
    machine.start_daemon()
    machine.train("r1", CUDA_VISIBLE_DEVICES="0")
    machine.train("r2", CUDA_VISIBLE_DEVICES=uuid(3)[:12])
    machine.wait_stats(lambda stats: series(stats, "gpu.0.temp") and series(stats, "cpu"), "a GPU of the first", "r1")
    machine.wait_stats(lambda stats: series(stats, "gpu.0.temp") and series(stats, "cpu"), "a GPU of the second", "r2")
    machine.end("r1")
    machine.end("r2")
    assert set(series(machine.stats("r1"), "gpu.0.temp")) == {30}
    assert set(series(machine.stats("r2"), "gpu.0.temp")) == {33}
    assert len(machine.sampler_pids()) == 1


@pytest.mark.parametrize("how", ["killed", "crashed by the driver's library"])
def test_a_sampler_that_dies_is_started_again_and_no_row_is_the_worse_for_it(machine: Machine, how: str) -> None:
    machine.start_daemon()
    machine.train()
    machine.wait_stats(lambda stats: series(stats, "gpu.0.temp"), "a sample of a GPU")
    (pid,) = machine.sampler_pids()
    if how == "killed":
        send(pid, signal.SIGKILL)
    else:
        machine.driver.set("0.clock.1", CRASH)
    wait_until(lambda: machine.counter("samplers_failed"), 30, machine.told)
    machine.driver.set("0.clock.1", 111)
    machine.wait_stats(lambda stats: 111 in series(stats, "gpu.0.smClock") or how == "killed", "samples again")
    wait_until(lambda: machine.sampler_pids() not in ([], [pid]), 30, machine.told)
    wait_until(lambda: machine.status()["components"]["sampling"]["state"] == "ok", 30, machine.told)
    machine.end()
    run = machine.status()["runs"][0]
    assert (run["pending"], run["dropped"], run["offered"]) == (0, {}, run["delivered"])


def test_sampling_goes_on_after_the_run_worker_was_killed(machine: Machine) -> None:
    machine.start_daemon()
    machine.train()
    machine.wait_stats(lambda stats: series(stats, "gpu.0.temp"), "a sample of a GPU")
    (worker,) = machine.worker_pids()
    send(worker, signal.SIGKILL)
    machine.driver.set("0.temperature.0", 77)
    machine.wait_stats(lambda stats: 77 in series(stats, "gpu.0.temp"), "a sample by the next worker")
    assert machine.counter("workers_failed") == 1
    machine.end()


@pytest.mark.leaves_files("the daemon ends by SIGKILL, and its worker amid whatever it does")
def test_the_sampler_does_not_outlive_a_killed_daemon(machine: Machine) -> None:
    machine.start_daemon()
    machine.train()
    wait_until(machine.sampler_pids, 30, "a sampler")
    machine.kill_daemon()
    wait_until(lambda: not machine.sampler_pids(), 30, "the sampler's end")


def test_nothing_is_sampled_while_there_is_no_run(machine: Machine) -> None:
    machine.start_daemon()
    assert machine.sampler_pids() == []
    assert machine.status()["components"]["sampling"] == {"state": "ok", "reason": "waits for a run"}


def test_sampled_always_the_machine_is_watched_without_a_run(machine: Machine) -> None:
    machine.environment["TELEMETRYD_SAMPLING"] = "always"
    machine.start_daemon()
    wait_until(machine.sampler_pids, 30, "a sampler")

    def heard() -> object:  # again and again: those before the driver is listened to are nobody's
        machine.driver.xid(3, 48)
        return machine.status()["events"]

    wait_until(heard, 30, machine.told, poll_s=0.5)
    assert "run" not in machine.status()["events"][0]


def test_switched_off_wandbs_own_sampler_works(machine: Machine) -> None:
    machine.environment["TELEMETRYD_SAMPLING"] = "off"
    machine.start_daemon()
    machine.train(settings='{"x_stats_sampling_interval": 1.0}')
    machine.wait_stats(lambda stats: len(series(stats, "proc.memory.rssMB")) >= 3, "samples by wandb")
    assert machine.sampler_pids() == []
    machine.end()
    assert not series(machine.stats(), "host.load.1m")


def test_a_run_that_wants_no_samples_gets_none(machine: Machine) -> None:
    machine.start_daemon()
    machine.train("r1", settings='{"x_disable_stats": True}')
    machine.train("r2")
    machine.wait_stats(lambda stats: len(series(stats, "gpu.0.temp")) >= 2, "samples of the other", "r2")
    machine.end("r1")
    machine.end("r2")
    assert machine.stats("r1") == []


def test_a_run_that_wants_few_samples_gets_no_more(machine: Machine) -> None:
    machine.start_daemon()
    machine.train("r1", settings='{"x_stats_sampling_interval": 3.0}')
    machine.train("r2")
    machine.wait_stats(lambda stats: len(series(stats, "host.load.1m")) >= 8, "eight samples of the other", "r2")
    machine.end("r1")
    machine.end("r2")
    at_ns = [at for at, values in machine.stats("r1") if "host.load.1m" in values]
    assert len(at_ns) >= 2
    assert min(later - earlier for earlier, later in itertools.pairwise(at_ns)) > 2.5e9


@pytest.mark.parametrize(
    ("settings", "environment", "label"),
    [
        ("{}", {"SLURM_NNODES": "2", "SLURMD_NODENAME": "node7"}, "node7"),
        ('{"x_label": "mine"}', {}, "mine"),
        ("{}", {"SLURM_NNODES": "1", "SLURMD_NODENAME": "node7"}, None),
    ],
)
def test_keys_carry_the_node_when_the_job_has_several(
    machine: Machine, settings: str, environment: dict[str, str], label: str | None
) -> None:
    machine.start_daemon()
    machine.train(settings=settings, **environment)
    key = "gpu.0.temp" + (f"/l:{label}" if label else "")
    machine.wait_stats(lambda stats: series(stats, key), key)
    machine.end()


def test_a_training_process_in_another_process_namespace_is_recognised(machine: Machine) -> None:
    unshare = shutil.which("unshare")
    require(unshare is not None, "unshare, of util-linux")
    made = subprocess.run([str(unshare), "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    require(made.returncode == 0, "a process namespace")
    machine.start_daemon()
    machine.train("r1", str(unshare), "--pid", "--fork", "--mount-proc", "--kill-child")
    stats = machine.wait_stats(lambda stats: series(stats, "proc.tree.processes"), "the process tree")
    assert series(stats, "proc.memory.rssMB")[-1] > 5
    machine.end()
