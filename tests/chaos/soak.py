"""A long run at a steady rate, watched from outside: does anything grow that should not?

    python -m tests.chaos.soak --minutes 60 --rows-per-s 1000 --out soak-out [--online]

Samples resident memory, file descriptors and threads of the training process, the daemon, the run worker and
wandb-core, and the bytes of spool and inbox, every few seconds; writes soak.json and soak.md: each figure at a tenth
of the run (when everything is warm), at its end, and at its highest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.standin.fixture import running
from tests.support.processes import spawn, wait_until
from tests.support.world import World

PERIOD_S = 5.0

TRAINER = """
import sys, time, client
rows_per_s, seconds, out = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
run = client.init(project="soak", id="soak")
start = due = time.monotonic()
calls, longest_ns, over_ms = 0, 0, 0
while due - start < seconds:
    due += 1 / rows_per_s
    while (left := due - time.monotonic()) > 0:
        time.sleep(left)
    row = {f"train/m{i}": calls * 0.1 + i for i in range(10)}
    began = time.perf_counter_ns()
    run.log(row)
    took = time.perf_counter_ns() - began
    calls += 1
    longest_ns = max(longest_ns, took)
    over_ms += took > 1_000_000
open(out, "w").write(f"{calls} {longest_ns} {over_ms}")
run.finish(timeout_s=120)
"""


def sample(pids: dict[str, Callable[[], list[int]]], world: World) -> dict[str, float]:
    """One reading of everything."""
    found: dict[str, float] = {}
    for name, find in pids.items():
        for pid in find()[:1]:
            try:
                process = psutil.Process(pid)
                found[f"{name} memory MB"] = process.memory_info().rss / 1e6
                found[f"{name} file descriptors"] = process.num_fds()
                found[f"{name} threads"] = process.num_threads()
                found[f"{name} CPU s"] = sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
    spool = [path for path in world.spool_dir.rglob("*") if path.is_file()]
    inbox = list(world.state_dir.glob("inbox*"))
    found["spool MB"] = sum(path.stat().st_size for path in spool if path.exists()) / 1e6
    found["inbox MB"] = sum(path.stat().st_size for path in inbox if path.exists()) / 1e6
    return found


def table(samples: list[dict[str, float]], heading: str) -> str:
    """The figures as Markdown."""
    warm = samples[len(samples) // 10]
    lines = [heading, "", "| | warm | end | highest after warm |", "|---|---|---|---|"]
    for name in sorted(warm):
        after = [one[name] for one in samples[len(samples) // 10 :] if name in one]
        lines.append(f"| {name} | {warm[name]:.1f} | {after[-1]:.1f} | {max(after):.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rows-per-s", type=float, default=1000)
    parser.add_argument("--out", type=Path, default=Path("soak-out"))
    parser.add_argument("--online", action="store_true", help="against a W&B stand-in of its own")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="td-soak-", dir="/tmp")))
        standin = stack.enter_context(running(folder / "standin")) if arguments.online else None
        world = World(folder / "world", standin)
        stack.callback(world.close)
        soak(world, arguments.minutes * 60, arguments.rows_per_s, arguments.out)


def soak(world: World, seconds: float, rows_per_s: float, out: Path) -> None:
    """Train, sample, wait for the last row, write the figures. Raises AssertionError when rows are missing."""
    world.start_daemon()
    result = world.folder / "calls"
    command = [sys.executable, "-c", TRAINER, str(rows_per_s), str(seconds), str(result)]
    world.trainer = spawn(command, world.folder / "trainer", env=world.environment)
    names = ("trainer", "daemon", "worker", "core")
    finders = {"worker": world.worker_pids, "core": world.core_pids}
    pids = {name: finders.get(name, lambda name=name: world.target(name)) for name in names}
    samples: list[dict[str, float]] = []
    began_s = time.monotonic()
    while world.trainer.running() and not result.exists():
        samples.append({"at s": time.monotonic() - began_s, **sample(pids, world)})
        (out / "soak.json").write_text(json.dumps(samples))
        time.sleep(PERIOD_S)
    wait_until(result.exists, 60, world.trainer.told)
    calls, longest_ns, over_ms = (int(word) for word in result.read_text().split())
    status = world.wait_settled(600)
    assert (status["offered"], status["delivered"], status["dropped"]) == (calls, calls, {}), status
    where = "online" if world.standin else "offline"
    heading = (
        f"{seconds / 60:g} minutes at {rows_per_s:g} rows/s of 10 floats, {where}: {calls} rows logged, "
        f"{status['delivered']} delivered, longest `log()` {longest_ns / 1e6:.2f} ms, {over_ms} calls over 1 ms."
    )
    text = table(samples, heading)
    (out / "soak.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
