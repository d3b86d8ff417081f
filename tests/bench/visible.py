"""How long after `log` a row is at the server: a real training process, the daemon, wandb-core and the stand-in.

    python -m tests.bench.visible [--quick]

A process logs at a steady rate, each row with the time of its `log` call. Beside it a reader asks the stand-in again
and again how many rows it has; the first time that a row is counted is when anybody's browser could have shown it. The
reader's own period adds to the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import scene
from tests.bench.results import Column, publish
from tests.standin.client import StandinError
from tests.support.processes import wait_until

COLUMNS = (
    Column("logged at", "title"),
    Column("`log` to visible: median", "median_s", "{:.2f} s"),
    Column("p99", "p99_s", "{:.2f} s"),
    Column("longest", "max_s", "{:.2f} s"),
    Column("rows", "rows", "{:,}"),
    Column("goal: median", "goal_median_s", "{:g} s"),
    Column("p99", "goal_p99_s", "{:g} s"),
)
LOOK_S = 0.02
RUN = "visible"

TRAINING = """
import sys, time
import client
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
run = client.init(project="load", id="visible", mode="online")
keys = [f"train/metric_{number}" for number in range(9)]
begun = time.time()
for number in range(int(rate * seconds)):
    left = begun + number / rate - time.time()
    if left > 0:
        time.sleep(left)
    run.log({"at": time.time(), **dict.fromkeys(keys, number + 0.5)})
run.finish(timeout_s=120)
"""


def measure(rows_per_s: float, seconds: float, warm_up_s: float) -> dict[str, Any]:
    """A run of so many seconds; its first ones, in which wandb starts, do not count."""
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(scene.world())
        standin, _ = stack.enter_context(scene.standin(world.folder))
        world.standin = standin
        world.environment |= standin.environment()
        world.start_daemon()
        seen: list[float] = []
        with (world.folder / "training.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", TRAINING, str(rows_per_s), str(seconds)],
                env=os.environ | world.environment, cwd=Path(__file__).parents[2], stdout=log, stderr=log,
            )  # fmt: skip
        try:
            total = int(rows_per_s * seconds)
            deadline_s = time.monotonic() + seconds + 120
            while len(seen) < total:
                with contextlib.suppress(StandinError):
                    count = standin.row_count(RUN)
                    seen += [time.time()] * (count - len(seen))
                assert time.monotonic() < deadline_s, (world.folder / "training.log").read_text() + world.worker_logs()
                time.sleep(LOOK_S)
            wait_until(lambda: process.poll() is not None, 120, "the end of training")
        finally:
            process.kill()
            process.wait()
        logged = [float(row["at"]) for row in standin.rows(RUN)]
    assert len(logged) == total
    first = logged[0] + warm_up_s
    waits = sorted(there - at for there, at in zip(seen, logged, strict=True) if at >= first)
    return {
        "title": f"{rows_per_s:,.0f} rows/s",
        "median_s": waits[len(waits) // 2],
        "p99_s": waits[int(len(waits) * 0.99)],
        "max_s": waits[-1],
        "rows": len(waits),
        "goal_median_s": 2,
        "goal_p99_s": 4,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 seconds of each rate")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    seconds = 20.0 if given.quick else given.seconds
    figures = [measure(rate, seconds, warm_up_s=8.0) for rate in (10, 1000)]
    publish(
        "visible",
        COLUMNS,
        figures,
        f"{seconds:g} seconds of each rate; the first 8, in which wandb starts, are left out.",
    )


if __name__ == "__main__":
    main()
