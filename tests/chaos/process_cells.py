"""Cells: the four processes killed, stopped for ten seconds, and asked to end."""

from __future__ import annotations

import signal
import time

from tests.chaos.matrix import ROWS, begin, begin_delivering, cell
from tests.support.world import World

STOPPED_S = 10.0
STOPPED_ROWS = 4000
"""Sixteen seconds of training: the stop begins and ends within them."""


@cell("trainer", "SIGKILL", trainer_dies=True)
def _(world: World) -> None:
    begin(world, until=ROWS // 2)
    world.signal("trainer", signal.SIGKILL)


@cell("trainer", "SIGTERM", trainer_dies=True)
def _(world: World) -> None:
    begin(world, until=ROWS // 2)
    world.signal("trainer", signal.SIGTERM)


@cell("daemon", "SIGKILL")
def _(world: World) -> None:
    begin(world)
    world.kill_daemon()
    world.wait_logged(ROWS // 2)
    world.start_daemon()


@cell("daemon", "SIGTERM")
def _(world: World) -> None:
    world.start_daemon("--drain-timeout", "5")
    begin(world)
    assert world.daemon is not None
    world.signal("daemon", signal.SIGTERM)
    assert world.daemon.wait(15) == 0, world.daemon.told()
    world.start_daemon()


@cell("worker", "SIGKILL")
def _(world: World) -> None:
    begin_delivering(world)
    world.signal("worker", signal.SIGKILL)


@cell("worker", "SIGTERM")
def _(world: World) -> None:
    begin_delivering(world)
    world.signal("worker", signal.SIGTERM)


@cell("core", "SIGKILL")
def _(world: World) -> None:
    begin_delivering(world)
    world.signal("core", signal.SIGKILL)


@cell("core", "SIGTERM")
def _(world: World) -> None:
    begin_delivering(world)
    world.signal("core", signal.SIGTERM)


def _stop_and_continue(world: World, name: str) -> None:
    begin_delivering(world, rows=STOPPED_ROWS)
    pids = world.signal(name, signal.SIGSTOP)
    time.sleep(STOPPED_S)  # the fault's length
    world.resume(pids)


@cell("trainer", "SIGSTOP 10 s", waits=True)
def _(world: World) -> None:
    _stop_and_continue(world, "trainer")


@cell("daemon", "SIGSTOP 10 s", waits=True)
def _(world: World) -> None:
    _stop_and_continue(world, "daemon")


@cell("worker", "SIGSTOP 10 s", waits=True)
def _(world: World) -> None:
    _stop_and_continue(world, "worker")


@cell("core", "SIGSTOP 10 s", waits=True)
def _(world: World) -> None:
    _stop_and_continue(world, "core")
