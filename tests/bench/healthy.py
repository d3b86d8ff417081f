"""A healthy run under every health rule: what is raised in the given time. Nothing must be.

    python -m tests.bench.healthy [--minutes 30] [--write docs/health.md]

The daemon runs with its default periods and thresholds, `loss_not_finite` on besides. Under it a training of two rows a
second with a child that prepares data, in a control group with a memory limit and a CPU quota where this process may
make one, on two cards of the fake driver. It does what healthy runs do: it rests half a minute for an evaluation every
five minutes, is near its memory limit and not at it, is stopped by its quota now and then, fills a part of /dev/shm;
its cards are at full utilisation, change their clocks, reach their power limit and are hot for moments.

Exit code 1 when a rule raised something or a row was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.errors import NoAnswerError
from telemetryd.sampling.processes import read_stat
from telemetryd.settings import marked
from telemetryd.settings.rules import RULES
from tests.fake_nvml.driver import GIB, FakeDriver, h100
from tests.support.cgroups import ControlGroup, control_group
from tests.support.processes import Spawned, command_line, running, wait_until, with_environment
from tests.support.world import MARK, World

BEGIN, END = "<!-- healthy: from tests/bench/healthy.py -->", "<!-- end of healthy -->"
GPUS = 2
MEMORY_LIMIT_BYTES = 256 << 20
QUOTA_CORES = 0.5
EVALUATION_EVERY_S, EVALUATION_S = 300.0, 30.0
LOOK_S = 5.0

TRAIN = """
import math, os, subprocess, sys, time
import client
run = client.init(project="healthy", id="healthy")
end, evaluation, shared = sys.argv[1], sys.argv[2], sys.argv[3]
prepares = "import time\\nwhile True:\\n    sum(i * i for i in range(20000))\\n    time.sleep(0.2)"
loader = subprocess.Popen([sys.executable, "-c", prepares])
held = bytearray(os.urandom(1 << 20)) * 160
step = 0
while not os.path.exists(end):
    if os.path.exists(evaluation):
        sum(i * i for i in range(100000))
        time.sleep(0.5)
        continue
    run.log({"loss": 2.0 * math.exp(-step / 500), "accuracy": 1 - 1 / (1 + step)})
    if step % 20 == 0:
        print("step", step, flush=True)
        with open(shared, "wb") as batch:
            batch.write(bytes((step % 8 + 1) << 20))
    if step % 120 == 0:
        batch = bytearray(24 << 20)
        until = time.monotonic() + 0.3
        while time.monotonic() < until: pass
        del batch
    step += 1
    time.sleep(0.5)
loader.kill()
loader.wait()
os.unlink(shared)
run.finish()
"""

FED = {
    "gpu_memory": ("gpu_memory_used_percent", "GPU memory in use", "%"),
    "gpu_throttled": ("gpu_throttle_reasons", "bits of why clocks are lowered", ""),
    "gpu_power_capped": ("gpu_sm_clock_mhz", "SM clock", "MHz"),
    "host_memory": ("host_memory_used_percent", "the host's memory in use", "%"),
    "container_memory": ("container_memory_percent", "working set, of the container's limit", "%"),
    "cpu_throttled": ("container_cpu_throttled_percent", "periods in which the quota stopped it", "%"),
    "shared_memory": ("disk_used_percent[/dev/shm]", "/dev/shm in use", "%"),
    "disk": ("disk_used_percent[/]", "disk in use", "%"),
    "no_progress": ("tree_cpu_percent", "CPU of the training's processes", "%"),
}
"""What shows that a rule had something to judge: by rule, a metric and how it is called."""


@dataclass
class Found:
    """What a healthy run came to. `seen` has the lowest and the highest value of each metric."""

    minutes: float
    raised: dict[str, int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    rows: int = 0
    delivered: int = 0
    samples: int = 0
    cpu_percent: float = 0.0
    rss_mb: tuple[float, float] = (0.0, 0.0)
    """Of daemon and sampler together; memory at the beginning and at the end."""

    @property
    def well(self) -> bool:
        return not self.raised and not self.events and self.rows == self.delivered > 0


def run(folder: Path, driver: FakeDriver, group: ControlGroup | None, seconds: float) -> Found:
    """A healthy run of so many seconds; what was raised, and what the rules saw."""
    world = World(folder)
    world.environment |= driver.environment()
    found = Found(seconds / 60)
    shared = Path(f"/dev/shm/telemetryd-healthy-{os.getpid()}")
    end, evaluation = folder / "end", folder / "evaluation"
    try:
        world.start_daemon("--health", "loss_not_finite=on")
        with _training(world, group, (str(end), str(evaluation), str(shared))) as training:
            world.wait_delivering(120)
            wait_until(lambda: _is_sampled(world), 60, world.worker_logs, poll_s=0.1)
            if group is not None:
                group.limit_cpu(QUOTA_CORES)
            before, began_s = _usage(world), time.monotonic()
            _watch(world, driver, evaluation, seconds, found)
            after = _usage(world)
            found.cpu_percent = 100 * (after[0] - before[0]) / (time.monotonic() - began_s)
            found.rss_mb = before[1], after[1]
            end.touch()
            assert training.wait(60) == 0, training.told()

            def finished() -> bool:
                return all(one["state"] == "finished" for one in world.status()["runs"])

            wait_until(finished, 90, world.worker_logs, poll_s=0.1)
            _look(world.status(), found)
    finally:
        shared.unlink(missing_ok=True)
        world.close()
    return found


def _is_sampled(world: World) -> bool:
    """Whether there are samples of the host, of both cards and of the training's processes."""
    status = world.status()
    cards = [card for card in status["machine"]["gpus"] if card["values"]]
    return bool(status["machine"]["host"] and len(cards) == GPUS and status["runs"][0].get("machine"))


@contextlib.contextmanager
def _training(world: World, group: ControlGroup | None, arguments: tuple[str, ...]) -> Iterator[Spawned]:
    prefix = group.enter if group is not None else ()
    env = world.environment | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with running([*prefix, sys.executable, "-c", TRAIN, *arguments], world.folder / "train", env=env) as training:
        yield training


def _watch(world: World, driver: FakeDriver, evaluation: Path, seconds: float, found: Found) -> None:
    noise, began_s, looked_s = random.Random(6), time.monotonic(), 0.0
    while (now_s := time.monotonic() - began_s) < seconds:
        rests = now_s % EVALUATION_EVERY_S >= EVALUATION_EVERY_S - EVALUATION_S
        if rests:
            evaluation.touch()
        else:
            evaluation.unlink(missing_ok=True)
        driver.update(_cards(noise, rests=rests))
        if now_s - looked_s >= LOOK_S:
            looked_s = now_s
            with contextlib.suppress(NoAnswerError):  # a machine so busy that it answers late
                _look(world.status(), found)
        time.sleep(1.0)  # how often cards change: nothing is waited for
    evaluation.unlink(missing_ok=True)


def _cards(noise: random.Random, *, rests: bool) -> Mapping[str, Any]:
    state: dict[str, Any] = {}
    for n in range(GPUS):
        busy = 0 if rests and noise.random() < 0.7 else noise.randint(70, 100)
        used = int(noise.uniform(60, 77) * GIB)
        reasons = noise.choice((0, 1, 4, 4, 4)) if noise.random() > 0.05 else 1 << 5  # at times a moment of heat
        state |= {
            f"{n}.utilization": f"{busy} {busy // 2}",
            f"{n}.memory": f"{80 * GIB} {GIB // 2} {80 * GIB - GIB // 2 - used} {used}",
            f"{n}.clock.1": noise.randint(1300, 1980),
            f"{n}.throttle_reasons": reasons,
        }
    return state


def _look(status: dict[str, Any], found: Found) -> None:
    found.raised = {rule: count for rule, count in status["health"]["raised"].items() if count}
    found.events = status["events"]
    found.samples = status["counters"]["samples_published"]
    runs = status["runs"]
    found.rows, found.delivered = sum(one["offered"] for one in runs), sum(one["delivered"] for one in runs)
    machine = status["machine"]
    for values in (
        machine["host"],
        *(card["values"] for card in machine["gpus"]),
        *(r.get("machine") or {} for r in runs),
    ):
        for metric, _, _ in FED.values():
            if (value := values.get(metric)) is not None:
                low, high = found.seen.get(metric, (value, value))
                found.seen[metric] = min(low, value), max(high, value)


def table(found: Found) -> str:
    """Markdown: every rule, what it saw, and how often it was raised."""
    lines = ["| rule | what it saw | from … to | raised |", "|---|---|---|---:|"]
    for rule in RULES:
        metric, words, unit = FED.get(rule.name, ("", rule.needs, ""))
        span = found.seen.get(metric)
        seen = f"{_number(span[0])} … {_number(span[1])} {unit}".strip() if span else "nothing" if metric else ""
        lines.append(f"| `{rule.name}` | {words} | {seen} | {found.raised.get(rule.name, 0)} |")
    return "\n".join(lines)


def told(found: Found, load: str, group: str) -> str:
    """Where and when it was measured, and what else there is to say."""
    return (
        f"Measured on {time.strftime('%-d %B %Y', time.gmtime())} for {found.minutes:.0f} minutes on {os.cpu_count()}"
        f" cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}; control group: {group};"
        f" load average by other work: {load}. {found.samples:,} values sampled, {found.rows:,} rows logged,"
        f" {found.delivered:,} delivered, {sum(found.raised.values())} findings, {len(found.events)} events. Daemon and"
        f" sampler took {found.cpu_percent:.2f} % of a core, and {found.rss_mb[0]:.0f} MB at the beginning,"
        f" {found.rss_mb[1]:.0f} MB at the end."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _usage(world: World) -> tuple[float, float]:
    """CPU seconds and resident megabytes of daemon and sampler."""
    ours = ("telemetryd serve", "telemetryd.sampling.main")
    pids = [
        pid for pid in with_environment(f"{MARK}={world.folder}") if any(part in command_line(pid) for part in ours)
    ]
    stats = [read_stat(pid) for pid in pids]
    return sum(one.cpu_s for one in stats if one), sum(one.rss_bytes for one in stats if one) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.healthy", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--write", type=Path, help="a document whose part between the marks is renewed")
    given = parser.parse_args()
    os.environ |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "TELEMETRYD_HTTP": "off"}
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="tdh-", dir="/tmp") as name, control_group() as group:
        driver = FakeDriver.build(Path(name) / "driver")
        driver.update(h100(GPUS))
        if group is not None:
            group.limit_memory(MEMORY_LIMIT_BYTES)
        found = run(Path(name) / "w", driver, group, given.minutes * 60)
    before = f"{load[2]:.0f} before, {os.getloadavg()[2]:.0f} after"
    where = told(found, before, f"of version {group.version}" if group is not None else "none")
    shown = f"{table(found)}\n\n{where}"
    print(shown)
    if found.events:
        print(json.dumps(found.events, indent=1))
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        given.write.write_text(marked.renewed(text, BEGIN, END, shown), encoding="utf-8")
    return 0 if found.well else 1


if __name__ == "__main__":
    sys.exit(main())
