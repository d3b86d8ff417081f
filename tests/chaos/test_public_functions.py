"""Every public function of the client returns within its stated bound while the daemon is dead, stopped or absent."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import public_functions
from tests.support.processes import python, spawn
from tests.support.world import World


@pytest.fixture
def world(short_path: Path) -> Iterator[World]:
    made = World(short_path / "w")
    yield made
    made.close()


@pytest.mark.chaos
@pytest.mark.leaves_files("killed workers leave their temporary folders")
@pytest.mark.parametrize("daemon", ["dead", "stopped", "absent"])
def test_every_public_function_returns_within_its_bound(daemon: str, world: World) -> None:
    if daemon != "absent":
        world.start_daemon()
    go = world.folder / "go"
    caller = spawn(python("-m", "tests.chaos.public_functions", go), world.folder / "caller", env=world.environment)
    try:
        caller.wait_out("ready", 30)
        if daemon == "dead":
            world.kill_daemon()
        elif daemon == "stopped":
            world.signal("daemon", signal.SIGSTOP)
        go.touch()
        assert caller.wait(60) == 0, caller.told()
    finally:
        caller.kill()
    told = json.loads(caller.out().splitlines()[-1])
    bounds = public_functions.bounds()
    assert set(told) == set(bounds)
    late = {name: took for name, took in told.items() if took[0] > bounds[name].seconds}
    assert late == {}
