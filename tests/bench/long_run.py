"""One very long run: what grows with its rows, and how long daemon and worker take to go on after SIGKILL.

    python -m tests.bench.long_run [--quick] [--rows 10000000] [--floats 1]

Rows come as fast as the daemon takes them; the run is offline. When so many are delivered, memory is read, and daemon,
worker and wandb-core get SIGKILL at the same moment. A new daemon is started at once, and the time runs until it has
delivered the next row: its own start, wandb's start, and the reading of all that the run's files have by then.
At the end every row must be in the files once and in order.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import time
from typing import Any

from telemetryd.runs.wandb_file import steps_in
from tests.bench import scene
from tests.bench.results import Column, publish
from tests.support.processes import alive, wait_until
from tests.support.world import World

COLUMNS = (
    Column("delivered", "rows", "{:,}"),
    Column("daemon's memory", "daemon_mib", "{:.0f} MiB"),
    Column("worker's", "worker_mib", "{:.0f} MiB"),
    Column("wandb-core's", "core_mib", "{:.0f} MiB"),
    Column("rows/s since the line before", "rows_per_s", "{:,.0f}"),
    Column("rows in the inbox", "pending", "{:,}"),
    Column("inbox on disk", "inbox_mb", "{:,.0f} MB"),
    Column("`.wandb` files", "wandb_mb", "{:,.0f} MB"),
    Column("next row after SIGKILL of all", "recovery_s", "{:.1f} s"),
)


def look(world: World, status: dict[str, Any]) -> dict[str, Any]:
    """Memory and disk now."""
    assert world.daemon is not None
    inbox = sum(path.stat().st_size for path in world.state_dir.glob("inbox.sqlite3*"))
    files = sum(path.stat().st_size for path in world.runs_dir.glob("wandb/*run-*/run-*.wandb"))
    return {
        "rows": status["delivered"],
        "daemon_mib": scene.memory(world.daemon.pid),
        "worker_mib": max(map(scene.memory, world.worker_pids()), default=0.0),
        "core_mib": max(map(scene.memory, world.core_pids()), default=0.0),
        "pending": status["pending"],
        "inbox_mb": inbox / 1e6,
        "wandb_mb": files / 1e6,
    }


def kill_all(world: World) -> float:
    """SIGKILL to daemon, worker and wandb-core, a new daemon; seconds until it has delivered another row."""
    assert world.daemon is not None
    before = scene.status(world)["delivered"]
    killed = world.send([world.daemon.pid, *world.worker_pids(), *world.core_pids()], signal.SIGKILL)
    world.daemon.wait(10)
    wait_until(lambda: not any(alive(pid) for pid in killed), 30)
    begun_s = time.monotonic()
    world.start_daemon()
    wait_until(lambda: scene.status(world)["delivered"] > before, 3600, world.worker_logs, poll_s=0.05)
    return time.monotonic() - begun_s


def measure(floats: int, marks: list[int]) -> list[dict[str, Any]]:
    """The run, looked at when `marks` rows are delivered; a tenth more come behind the last of them."""
    rows = marks[-1] * 11 // 10 + 50_000
    figures = []
    with scene.world() as world:
        world.start_daemon()
        options = ("--floats", str(floats), "--lazy", "--runs", "--deadline-s", "7200")
        load = scene.Load(world, 1, rows, *options)
        try:
            load.go()
            load.wait()
            last, last_s = 0, 0.0
            for mark in marks:
                status = scene.status(world)
                while status["delivered"] < mark:
                    time.sleep(0.25)
                    status = scene.status(world)
                now_s = time.monotonic()
                figures.append(look(world, status))
                if last:
                    figures[-1]["rows_per_s"] = (status["delivered"] - last) / (now_s - last_s)
                figures[-1]["recovery_s"] = kill_all(world)
                last, last_s = scene.status(world)["delivered"], time.monotonic()
                print(figures[-1], flush=True)
            scene.wait_drained(world)
        finally:
            load.close()
        files = sorted(world.runs_dir.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.stat().st_ctime_ns)
        expected = 0
        for step in itertools.chain.from_iterable(map(steps_in, files)):
            assert step == expected, (step, expected)
            expected += 1
        assert expected == rows, (expected, rows)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 rows")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--floats", type=int, default=1)
    given = parser.parse_args()
    rows = 100_000 if given.quick else given.rows
    marks = [mark for mark in (20_000, 100_000, 1_000_000, 10_000_000) if mark <= rows]
    figures = measure(given.floats, marks)
    publish(
        "long_run",
        COLUMNS,
        figures,
        f"Rows of {given.floats} float(s), {marks[-1]:,} and a tenth more, all in the inbox at first.",
    )


if __name__ == "__main__":
    main()
