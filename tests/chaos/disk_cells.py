"""Cells: spool, inbox and run directory on a disk that is full, read-only, slow, or gone."""

from __future__ import annotations

import shutil
import signal

from tests.chaos import disks
from tests.chaos.matrix import ROWS, begin, begin_delivering, cell
from tests.support.processes import wait_until
from tests.support.world import World

PADDING = "4000"
"""Characters added to each row, so that 3,000 rows need 12 MB: three segments."""
SLOW_MS = 30.0
INODES = 300
"""Enough for what a spool, a daemon and a run begin with."""
TOLD_S = 30.0


def _settle_within(world: World) -> None:
    """For what is undone at a block's end: training has ended and all is delivered before that."""
    assert world.trainer is not None
    world.trainer.wait(60)
    world.wait_settled()


@cell("spool", "full")
def _(world: World) -> None:
    with disks.small_disk(world.spool_dir, 6):
        begin(world, "--padding", PADDING)
        assert world.trainer is not None
        with disks.full(world.spool_dir, [world.trainer.pid]):
            world.wait_logged(ROWS)
        _settle_within(world)


@cell("spool", "out of inodes")
def _(world: World) -> None:
    with disks.small_disk(world.spool_dir, 64, INODES):
        begin(world, "--padding", PADDING)
        with disks.no_inodes(world.spool_dir):
            world.wait_logged(ROWS)
        _settle_within(world)


@cell("spool", "read-only")
def _(world: World) -> None:
    begin(world, "--padding", PADDING)
    with disks.read_only(world.spool_dir):
        world.wait_logged(ROWS)
    _settle_within(world)


@cell("spool", "slow")
def _(world: World) -> None:
    begin(world, "--padding", PADDING)
    assert world.trainer is not None
    with disks.slow([world.trainer.pid], world.folder / "strace", SLOW_MS):
        world.wait_logged(ROWS)


@cell("spool", "removed")
def _(world: World) -> None:
    begin(world, "--padding", PADDING)
    disks.remove(world.spool_dir)


@cell("inbox", "full")
def _(world: World) -> None:
    with disks.small_disk(world.state_dir, 64):
        begin(world, "--padding", PADDING)
        assert world.daemon is not None
        with disks.full(world.state_dir, [world.daemon.pid]):
            world.wait_logged(ROWS)
        _settle_within(world)
        world.stop_daemon()
        shutil.copytree(world.state_dir, world.folder / "kept")
    shutil.copytree(world.folder / "kept", world.state_dir, dirs_exist_ok=True)
    world.start_daemon()


@cell("inbox", "out of inodes")
def _(world: World) -> None:
    with disks.small_disk(world.state_dir, 64, INODES):
        begin(world, "--padding", PADDING)
        with disks.no_inodes(world.state_dir):
            (worker,) = world.signal("worker", signal.SIGKILL)
            world.wait_logged(ROWS)
            wait_until(lambda: worker not in world.worker_pids(), TOLD_S, "the worker's end")
        _settle_within(world)
        world.stop_daemon()
        shutil.copytree(world.state_dir, world.folder / "kept")
    shutil.copytree(world.folder / "kept", world.state_dir, dirs_exist_ok=True)
    world.start_daemon()


@cell("inbox", "read-only")
def _(world: World) -> None:
    begin(world)
    world.kill_daemon()
    with disks.read_only(world.state_dir):
        daemon = world.spawn_daemon()
        assert daemon.wait(TOLD_S) != 0, "a daemon that can write nothing is of no use"
        assert str(world.state_dir) in daemon.err(), daemon.told()
        world.wait_logged(ROWS)
    world.start_daemon()


@cell("inbox", "slow")
def _(world: World) -> None:
    begin(world)
    assert world.daemon is not None
    with disks.slow([world.daemon.pid], world.folder / "strace", SLOW_MS):
        world.wait_logged(ROWS)


@cell("inbox", "removed")
def _(world: World) -> None:
    begin(world)
    disks.remove(world.state_dir)


@cell("run directory", "full", waits=True)
def _(world: World) -> None:
    with disks.small_disk(world.runs_dir, 64):
        begin_delivering(world, "--padding", PADDING)
        with disks.full(world.runs_dir, world.target("core")):
            world.wait_logged(ROWS)
        _settle_within(world)
        shutil.copytree(world.runs_dir, world.folder / "kept")
    shutil.copytree(world.folder / "kept", world.runs_dir, dirs_exist_ok=True)


@cell("run directory", "out of inodes", waits=True)
def _(world: World) -> None:
    with disks.small_disk(world.runs_dir, 64, INODES):
        begin_delivering(world)
        with disks.no_inodes(world.runs_dir):
            (worker,) = world.signal("worker", signal.SIGKILL)
            wait_until(lambda: set(world.worker_pids()) - {worker}, TOLD_S, "the next worker")
            world.wait_logged(ROWS)
        _settle_within(world)
        shutil.copytree(world.runs_dir, world.folder / "kept")
    shutil.copytree(world.folder / "kept", world.runs_dir, dirs_exist_ok=True)


@cell("run directory", "read-only")
def _(world: World) -> None:
    begin_delivering(world)
    with disks.read_only(world.runs_dir):
        (worker,) = world.signal("worker", signal.SIGKILL)
        wait_until(lambda: set(world.worker_pids()) - {worker}, TOLD_S, "the next worker")
        world.wait_logged(ROWS)


@cell("run directory", "slow")
def _(world: World) -> None:
    begin_delivering(world)
    with disks.slow(world.target("core"), world.folder / "strace", SLOW_MS):
        world.wait_logged(ROWS)


@cell("run directory", "removed", online=True, waits=True)
def _(world: World) -> None:
    begin_delivering(world)
    disks.remove(world.runs_dir / "wandb")
