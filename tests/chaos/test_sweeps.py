"""Whole sweeps by each agent, and what an agent outlives."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.processes import Spawned, wait_until
from tests.support.sweep_rig import SweepRig, check_grid, ending
from tests.support.world import World

__all__ = ["standin"]
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does"),
]

Start = Callable[[SweepRig, str], Spawned]
AGENTS = pytest.mark.parametrize("start", [SweepRig.functions, SweepRig.command, SweepRig.stock])
SWEEPS = {
    "a grid of 6": {"method": "grid", "parameters": {"x": {"values": [1, 2, 3]}, "y": {"values": ["a", "b"]}}},
    "a random sweep of 10": {"method": "random", "run_cap": 10, "parameters": {"x": {"values": list(range(1, 100))}}},
}


@pytest.fixture
def world(short_path: Path, standin: Standin) -> Iterator[World]:
    made = World(short_path, standin=standin)
    yield made
    made.close()


@pytest.mark.parametrize("start", [SweepRig.functions, SweepRig.stock])
def test_a_grid_goes_to_its_end_though_a_run_fails_and_another_is_stopped(
    world: World, standin: Standin, start: Start
) -> None:
    check_grid(SweepRig(world, standin, fails=1, stops=3), start)


@AGENTS
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_goes_to_its_end_with_the_rows_of_all_its_runs(
    world: World, standin: Standin, name: str, start: Start
) -> None:
    """Of the random sweep the fourth run fails, whatever it has drawn."""
    is_random = name == "a random sweep of 10"
    rig = SweepRig(world, standin, fails="fourth" if is_random else None)
    sweep = rig.sweep(SWEEPS[name])
    with ending(start(rig, sweep)) as agent:
        assert agent.wait(400) == 0, agent.told()
    rig.wait_delivered(sweep, 200)
    runs = rig.runs(sweep)
    assert len(runs) == (10 if is_random else 6)
    configs = [standin.config(run["key"]) for run in runs]
    assert [standin.rows(run["key"])[0]["x"] for run in runs] == [config["x"] for config in configs]
    assert [run["state"] for run in runs] == [
        "failed" if is_random and number == 4 else "finished" for number in range(1, len(runs) + 1)
    ]
    if not is_random:
        assert [(config["x"], config["y"]) for config in configs] == [(x, y) for x in (1, 2, 3) for y in "ab"]
    (known,) = standin.sweeps()
    assert known["state"] == "FINISHED"
    assert sum(world.status()["runs"][0]["dropped"].values()) == 0


def test_an_agent_outlives_w_and_b_and_the_daemon_and_ends_its_run_when_it_is_told_to_leave(
    world: World, standin: Standin
) -> None:
    rig = SweepRig(world, standin, stops=3)
    sweep = rig.sweep({"method": "grid", "parameters": {"x": {"values": [3, 4]}}})
    with ending(rig.command(sweep)) as agent:
        (run,) = wait_until(lambda: [run for run in rig.runs(sweep) if standin.row_count(run["key"])], 60, agent.told)
        standin.down()
        world.kill_daemon()
        world.start_daemon()
        wait_until(lambda: "gets no answer" in agent.told(), 30, agent.told)
        standin.up()
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.wait(60) == 0, agent.told()
    assert rig.told(run["name"])["stopped"] is True
    world.wait_settled()
    assert standin.rows(run["key"])[-1]["last"] == 1
    assert len(rig.runs(sweep)) == 1
