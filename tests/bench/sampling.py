"""What sampling costs: CPU and memory of daemon and sampler, idle and with eight fake GPUs, beside wandb's own sampler.

    python -m tests.bench.sampling [--seconds 30] [--write docs/sampling.md]

Every figure is of living processes: CPU from /proc/PID/stat over the given seconds, after a warm-up; memory is PSS
(pages that several processes share are divided among them) with RSS beside it. The fake driver answers in microseconds;
a real one takes longer, which costs a lane's wall time and hardly CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from telemetryd.sampling.processes import pss_bytes, read_stat
from telemetryd.settings import marked
from tests.fake_nvml.driver import FakeDriver, h100
from tests.support.processes import (
    Spawned,
    alive,
    command_line,
    descendants,
    kill_tree,
    spawn,
    wait_until,
    with_environment,
)
from tests.support.world import MARK, World

GPUS = 8
WARM_UP_S = 12.0
BEGIN, END = "<!-- cost: from tests/bench/sampling.py -->", "<!-- end of cost -->"

TRAIN = """
import sys, time
import client
run = client.init(project="p", id="cost")
while True:
    run.log({"loss": 1.0})
    time.sleep(1)
"""
PEER = """
import sys, time
import wandb
settings = wandb.Settings(x_stats_sampling_interval=float(sys.argv[1]), silent=True)
run = wandb.init(mode="offline", project="p", dir=sys.argv[2], settings=settings)
while True:
    run.log({"loss": 1.0})
    time.sleep(1)
"""


@dataclass
class Cost:
    """Of one process, over the time that was measured."""

    what: str
    process: str
    cpu_percent: float
    pss_mb: float
    rss_mb: float


def measure(what: str, pids: dict[str, int], seconds: float) -> list[Cost]:
    def cpu_s(pid: int) -> float:
        stat = read_stat(pid)
        assert stat is not None, f"process {pid} has ended"
        return stat.cpu_s

    before, began_s = {name: cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)  # nothing to wait for: this is what is measured
    took_s = time.monotonic() - began_s
    costs = []
    for name, pid in pids.items():
        stat = read_stat(pid)
        assert stat is not None
        share = 100 * (cpu_s(pid) - before[name]) / took_s
        costs.append(Cost(what, name, share, (pss_bytes(pid) or 0) / 1e6, stat.rss_bytes / 1e6))
    return costs


def _of_ours(
    folder: Path, driver: FakeDriver, what: str, seconds: float, period: str | None, *, training: bool
) -> list[Cost]:
    world = World(folder / f"ours-{period}-{training}")
    sampling = {"TELEMETRYD_SAMPLE_PERIOD_S": period} if period else {"TELEMETRYD_SAMPLING": "off"}
    world.environment |= driver.environment() | sampling
    process: Spawned | None = None
    try:
        world.start_daemon()
        assert world.daemon is not None
        pids = {"daemon": world.daemon.pid}
        if training:
            env = world.environment | {"PYTHONPATH": str(Path(__file__).parents[2])}
            process = spawn([sys.executable, "-c", TRAIN], world.folder / "train", env=env)
            mark = f"{MARK}={world.folder}"
            names = {"sampler": "telemetryd.sampling.main", "run worker": "telemetryd.runs.worker_main",
                     "wandb-core": "wandb-core", "wandb-symon": "wandb-symon"}  # fmt: skip
            done = "samples_published" if period else "rows_received"
            wait_until(lambda: world.status()["counters"][done], 60, "the run to be there")
            world.wait_delivering()
            for name, part in names.items():
                found = [pid for pid in with_environment(mark) if alive(pid) and part in command_line(pid)]
                pids |= {name: found[0]} if found else {}
        time.sleep(WARM_UP_S)
        return measure(what, pids, seconds)
    finally:
        if process is not None:
            process.kill()
        world.close()


def _of_wandb(folder: Path, driver: FakeDriver, what: str, seconds: float, period: str) -> list[Cost]:
    target = folder / f"theirs-{period}"
    target.mkdir()
    env = {**os.environ, **driver.environment()}
    peer = subprocess.Popen([sys.executable, "-c", PEER, period, str(target)], env=env, start_new_session=True)
    try:

        def symon() -> list[int]:
            return [pid for pid in descendants(peer.pid) if "wandb-symon" in command_line(pid)]

        wait_until(symon, 60, "wandb's sampler")
        time.sleep(WARM_UP_S)
        pids = {"training with wandb": peer.pid}
        for name in ("wandb-core", "wandb-symon"):
            pids[name] = next(pid for pid in descendants(peer.pid) if name in command_line(pid))
        return measure(what, pids, seconds)
    finally:
        kill_tree(peer.pid)
        peer.wait()


def table(costs: list[Cost]) -> str:
    lines = ["| | process | CPU, of one core | memory (PSS) | RSS |", "|---|---|---:|---:|---:|"]
    for number, cost in enumerate(costs):
        what = cost.what if number == 0 or costs[number - 1].what != cost.what else ""
        lines.append(
            f"| {what} | {cost.process} | {cost.cpu_percent:.2f} % | {cost.pss_mb:.0f} MB | {cost.rss_mb:.0f} MB |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    os.environ |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    with tempfile.TemporaryDirectory(prefix="tdc-", dir="/tmp") as name:
        folder = Path(name)
        driver = FakeDriver.build(folder / "driver")
        driver.update(h100(GPUS))
        costs = _of_ours(folder, driver, "telemetryd, no run", given.seconds, "10", training=False)
        costs += _of_ours(folder, driver, "telemetryd, a run, sampling off", given.seconds, None, training=True)
        costs += _of_ours(folder, driver, "telemetryd, 8 GPUs every 10 s", given.seconds, "10", training=True)
        costs += _of_ours(folder, driver, "telemetryd, 8 GPUs every second", given.seconds, "1", training=True)
        costs += _of_wandb(folder, driver, "wandb, 8 GPUs every 10 s", given.seconds, "10")
        costs += _of_wandb(folder, driver, "wandb, 8 GPUs every second", given.seconds, "1")
    shown = table(costs)
    print(shown)
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        when, load = time.strftime("%-d %B %Y", time.gmtime()), os.getloadavg()[2]
        where = (
            f"Measured on {when} for {given.seconds:.0f} s each on {os.cpu_count()} cores, Python"
            f" {platform.python_version()}, at a load average of {load:.0f} by other work, which makes CPU times longer"
            " and uneven."
        )
        given.write.write_text(marked.renewed(text, BEGIN, END, f"{shown}\n\n{where}"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
