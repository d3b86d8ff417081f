"""Cells: what training itself does to its tracker: clocks, forks, threads, and ways to end."""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos.matrix import ROWS, begin, cell
from tests.support.world import World

HOUR_S = 3600
CLOCK = """
import os, time

PATH = os.environ["CLOCK_SHIFT_FILE"]

def shift_s():
    try:
        with open(PATH) as file:
            return int(file.read() or 0)
    except OSError:
        return 0

# Read anew ten times a second of the steady clock: a file call in each logging call would be the test's own.
known = [shift_s(), time.monotonic()]
real_time, real_time_ns = time.time, time.time_ns

def shift():
    now = time.monotonic()
    if now - known[1] > 0.1:
        known[:] = shift_s(), now
    return known[0]

time.time = lambda: real_time() + shift()
time.time_ns = lambda: real_time_ns() + shift() * 10**9
"""
"""Shifts the wall clock of every Python process of a world, as sitecustomize: setting the machine's own hits others."""


def _jump(world: World, shift_s: int) -> None:
    folder = world.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    root = Path(__file__).parents[2]
    world.environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(root)])
    world.environment["CLOCK_SHIFT_FILE"] = str(folder / "shift")
    begin(world)
    partial = folder / "partial"
    partial.write_text(str(shift_s))
    partial.rename(folder / "shift")
    world.wait_logged(ROWS // 2)
    world.restart_daemon()


@cell("training", "clock forward")
def _(world: World) -> None:
    _jump(world, 30 * 24 * HOUR_S)


@cell("training", "clock back")
def _(world: World) -> None:
    _jump(world, -HOUR_S)


@cell("training", "fork")
def _(world: World) -> None:
    begin(world, "--fork-at", str(ROWS // 2))


@cell("training", "exit without finish")
def _(world: World) -> None:
    begin(world, "--ending", "exit")


@cell("training", "os._exit")
def _(world: World) -> None:
    begin(world, "--ending", "os_exit")


@cell("training", "unhandled exception")
def _(world: World) -> None:
    begin(world, "--ending", "exception")


@cell("training", "2,000 threads")
def _(world: World) -> None:
    begin(world, "--threads", "2000", rows=6000, rows_per_s=1000)
