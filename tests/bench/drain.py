"""How fast a backlog in the inbox reaches W&B: the run worker and wandb-core, offline and against the stand-in.

    python -m tests.bench.drain [--quick]

The rows are in the inbox when the clock starts; it starts with the first row that is through, since wandb's own start
takes seconds. A row is through when it can be read back from the .wandb file; online, when the server has it. At the
end every row is read back: each once, in order, with its values, and the summary is the last row's. Beside it, the
same rows by `wandb.log` in a loop.
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
from tests.bench.load import VARIANTS, keys, variants
from tests.bench.results import Column, in_rounds, publish
from tests.standin.client import StandinError
from tests.support.processes import wait_until
from tests.support.world import World

COLUMNS = (
    Column("drained", "title"),
    Column("rows/s", "rows_per_s", "{:,.0f}"),
    Column("slowest and fastest round", "spread"),
    Column("worker, µs of CPU a row", "worker_us", "{:.1f}"),
    Column("wandb-core", "core_us", "{:.1f}"),
    Column("daemon", "daemon_us", "{:.1f}"),
    Column("stand-in", "standin_us", "{:.1f}"),
    Column("goal, rows/s", "goal", "{:,}"),
)
GOAL = 12_000
ROWS = 200_000
RUN = "load-0"


class Meter:
    """CPU time of everybody who takes part, from one moment to another; `look` before any of them may have ended."""

    def __init__(self, world: World, standin_pid: int | None) -> None:
        assert world.daemon is not None
        self._pids = {"daemon": [world.daemon.pid], "worker": world.worker_pids(), "core": world.core_pids()}
        self._pids["standin"] = [standin_pid] if standin_pid else []
        self._before = self._now()
        self._last = dict(self._before)

    def _now(self) -> dict[str, float]:
        return {name: scene.cpu_of(pids) for name, pids in self._pids.items()}

    def look(self) -> None:
        """Note what they have used by now."""
        for name, used_s in self._now().items():
            self._last[name] = max(self._last[name], used_s)

    def per_row_us(self, rows: int) -> dict[str, float | None]:
        """Microseconds a row, by who spent them."""
        return {
            f"{name}_us": (self._last[name] - self._before[name]) / rows * 1e6 if pids else None
            for name, pids in self._pids.items()
        }


class TooFewRowsError(Exception):
    """All of them were through at the first look: there is no rate of that. The message says what to do."""

    def __init__(self, rows: int) -> None:
        super().__init__(
            f"all {rows:,} rows were through at the first look, so no rate can be told: ask for more with --rows"
            f" ({ROWS:,} by default)"
        )


def timed(world: World, rows: int, standin_pid: int | None = None) -> dict[str, Any]:
    """Rows a second from the first that is through to the last; `rows` lie in the inbox.

    Raises TooFewRowsError.
    """

    def through() -> int:
        if world.standin is None:
            return int(scene.status(world)["delivered"])
        with contextlib.suppress(StandinError):  # a run that it does not know yet
            return world.standin.row_count(RUN)
        return 0

    first = wait_until(through, 120, world.worker_logs, poll_s=0.02)
    if first >= rows:
        raise TooFewRowsError(rows)
    begun_s, meter = time.monotonic(), Meter(world, standin_pid)
    while (now := through()) < rows:
        meter.look()
        time.sleep(0.02 if rows - now < 20_000 else 0.2)
        assert time.monotonic() - begun_s < scene.SETTLE_DEADLINE_S, world.worker_logs()
    took_s = time.monotonic() - begun_s
    last = scene.wait_drained(world)
    assert (last["offered"], last["delivered"], sum(last["dropped"].values())) == (rows, rows, 0), last
    return {"rows_per_s": (rows - first) / took_s, **meter.per_row_us(rows - first)}


def check(world: World, rows: int, floats: int = 10) -> None:
    """Every row once and in order, with its values; the summary is what the last row said."""
    data, names = variants(VARIANTS, floats), keys(floats)
    expected = 0
    if world.standin is not None:
        found = iter((int(row["_step"]), row) for row in world.standin.rows(RUN))
        summary = world.standin.run(RUN)["summary"]
    else:
        from telemetryd.runs.carried import carried_from
        from telemetryd.runs.notes import Folder
        from telemetryd.runs.wandb_file import history_rows

        (file,) = world.runs_dir.glob(f"wandb/*run-*/run-{RUN}.wandb")
        found = history_rows(file)
        summary = carried_from([Folder(str(file.parent), str(file), "offline", 0)]).summary
    for step, row in found:
        assert step == expected, (step, expected)
        wanted = data[(step + 1) % VARIANTS]
        assert all(row[name] == wanted[name] for name in names), (row, wanted)
        expected += 1
    assert expected == rows, (expected, rows)
    wanted = data[rows % VARIANTS]
    assert {name: summary[name] for name in names} == wanted, summary
    assert summary["_step"] == rows - 1, summary


def measure(rows: int, *, online: bool) -> dict[str, Any]:
    """One round with a fresh daemon, and a fresh stand-in where online."""
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(scene.world())
        pid = None
        if online:
            standin, pid = stack.enter_context(scene.standin(world.folder))
            world.standin = standin
            world.environment |= standin.environment()
        world.start_daemon()
        load = scene.Load(world, 1, rows, "--mode", "online" if online else "offline", "--runs")
        stack.callback(load.close)
        load.run()
        found = timed(world, rows, pid)
        wait_until(lambda: all(run["state"] == "finished" for run in scene.status(world)["runs"]), 120)
        check(world, rows)
        return found


WANDB_LOOP = """
import os, sys, time
sys.path.insert(0, os.getcwd())
from tests.bench.load import VARIANTS, variants
import wandb
data, rows = variants(VARIANTS), int(sys.argv[1])
run = wandb.init(project="load", dir=sys.argv[2], mode="offline", settings=wandb.Settings(console="off", silent=True))
begun = time.monotonic()
for number in range(rows):
    run.log(data[number % VARIANTS])
run.finish()
print(rows / (time.monotonic() - begun))
"""


def wandb_itself(rows: int) -> dict[str, Any]:
    """The same rows by `wandb.log`, offline, with `finish`: all of it is in the file then."""
    with scene.world() as world:
        told = subprocess.run(
            [sys.executable, "-c", WANDB_LOOP, str(rows), str(world.runs_dir)],
            env=os.environ | {"WANDB_SILENT": "true"}, cwd=Path(__file__).parents[2], capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return {"rows_per_s": float(told.stdout.split()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the rows, one round")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows, rounds = (given.rows // 4, 1) if given.quick else (given.rows, given.rounds)
    ways = {
        "offline": lambda: measure(rows, online=False),
        "online, to the stand-in": lambda: measure(rows, online=True),
        "`wandb.log` in a loop, offline": lambda: wandb_itself(rows // 4),
    }
    try:
        figures = in_rounds(ways, rounds)
    except TooFewRowsError as error:
        parser.error(str(error))
    for one in figures:
        one["goal"] = None if "wandb.log" in one["title"] else GOAL
    said = f"{rows:,} rows of ten floats in each of {rounds} rounds, medians; the stand-in shares the cores."
    publish("drain", COLUMNS, figures, said)


if __name__ == "__main__":
    main()
