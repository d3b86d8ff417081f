"""Sweeps with everything real but W&B: agents, training processes, the daemon, and the stand-in's controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.sweep_rig import SweepRig, check_grid
from tests.support.world import World
from tests.support.worlds import world

__all__ = ["standin", "world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")


def test_a_grid_goes_to_its_end_though_a_run_fails_and_another_is_stopped(world: World, standin: Standin) -> None:
    check_grid(SweepRig(world, standin, fails=1, stops=3), SweepRig.command)


def test_the_run_knows_its_sweep_and_wandb_finds_it_there(world: World, standin: Standin) -> None:
    rig = SweepRig(world, standin)
    done = rig.script(
        """
        import client as wandb
        def config():
            return {"method": "random", "run_cap": 5, "parameters": {"x": {"min": 1.0, "max": 2.0}}, "project": "p"}
        sweep = wandb.sweep(config, prior_runs=["a"])
        def trial():
            with wandb.init() as run:
                run.log({"x": run.config.x})
                run.flush(timeout_s=20)
                print("URL", run.sweep_url == f"{run.project_url}/sweeps/{sweep}", run.sweep_id == sweep)
        wandb.agent(sweep, trial, count=1)
        after = wandb.init(project="q", id="after")
        print("AFTER", after.sweep_id, after.project, after.id)
        after.finish(timeout_s=0)
        """
    )
    assert done.wait(90) == 0, done.told()
    assert "URL True True" in done.out()
    assert "AFTER None q after" in done.out()
    assert "/standin/p/sweeps/" in done.out()
    (sweep,) = standin.sweeps()
    assert "distribution: uniform" in sweep["config"]


def test_without_a_key_or_a_daemon_or_offline_a_sweep_says_what_it_needs(world: World, standin: Standin) -> None:
    rig = SweepRig(world, standin)
    done = rig.script(
        """
        import client, os
        from client import errors
        def told(call, kind):
            try:
                call()
            except kind as error:
                print(type(error).__name__, error)
        make = lambda: client.sweep({"method": "grid", "parameters": {"x": {"values": [1]}}}, project="p")
        told(lambda: client.agent("nobody", lambda: None, entity="standin", project="p"), errors.SweepNotFoundError)
        told(lambda: client.sweep({"parameters": {"x": {"min": 1, "max": 2.0}}}, project="p"), ValueError)
        os.environ["WANDB_MODE"] = "offline"
        told(make, errors.UsageError)
        told(lambda: client.agent("s", lambda: None), errors.UsageError)
        os.environ["WANDB_MODE"] = "online"
        os.environ["TELEMETRYD_ENDPOINT"] = "ipc:///nowhere/d.sock"
        import client.sweeps.service as service
        service.SWEEP_ASK_TIMEOUT_S = 0.5
        told(make, errors.NoAnswerError)
        """
    )
    assert done.wait(60) == 0, done.told()
    lines = done.out().splitlines()
    assert lines[0].startswith("SweepNotFoundError W&B does not know the sweep standin/p/nobody")
    assert lines[1].startswith("ValueError Parameter x is ambiguous")
    assert lines[2] == lines[3]
    assert lines[2].startswith("UsageError sweeps need W&B")
    assert "WANDB_MODE is 'offline'" in lines[2]
    assert lines[4].startswith("NoAnswerError no daemon answers")
    rig.environment["WANDB_MODE"] = "offline"
    refused = rig.command("s")
    assert refused.wait(30) == 2
    assert "sweeps need W&B" in refused.told()


def test_a_daemon_without_a_key_refuses_and_says_how_to_give_it_one(short_path: Path, standin: Standin) -> None:
    world = World(short_path, standin=standin)
    world.environment["WANDB_API_KEY"] = ""
    try:
        rig = SweepRig(world, standin)
        done = rig.script("import client; client.sweep({'method': 'grid', 'parameters': {'x': {'value': 1}}})")
        assert done.wait(60) == 1
        assert "CommError: the daemon has no W&B API key: give it one with `telemetryd login`" in done.told()
    finally:
        world.close()


def test_three_failures_at_once_end_an_agent_unless_it_may_not(world: World, standin: Standin) -> None:
    rig = SweepRig(world, standin)
    sweep = rig.sweep({"method": "grid", "parameters": {"x": {"values": [1, 2, 3, 4]}}})
    done = rig.script(
        f"""
        import client, os
        def fail():
            tried.append(1)
            raise ValueError("never works")
        for name, value in (("WANDB_AGENT_DISABLE_FLAPPING", "false"), ("WANDB_AGENT_DISABLE_FLAPPING", "true")):
            tried = []
            os.environ[name] = value
            client.agent({sweep!r}, fail, project="p")
            print("tried", len(tried))
        """
    )
    assert done.wait(60) == 0, done.told()
    assert done.out().splitlines() == ["tried 3", "tried 1"]
    assert "Detected 3 failed runs in the first 60 seconds, killing sweep." in done.told()


def test_without_a_command_the_agent_starts_the_sweeps_own(world: World, standin: Standin, tmp_path: Path) -> None:
    rig = SweepRig(world, standin)
    config: dict[str, Any] = {
        "method": "grid",
        "program": "shown.py",
        "command": [
            "sh",
            "-c",
            'echo "$0" "$@" >> args',
            "${program}",
            "${args_no_hyphens}",
            "${envvar:WANDB_SWEEP_ID}",
        ],
        "parameters": {"x": {"values": [7, 8]}},
    }
    sweep = rig.sweep(config)
    agent = rig.command(sweep, "--count", "1", bare=True)
    assert agent.wait(60) == 0, agent.told()
    assert (rig.work / "args").read_text() == f"shown.py x=7 {sweep}\n"
    through_python = rig.script(f"import client; client.agent({sweep!r}, project='p')")
    assert through_python.wait(60) == 0, through_python.told()
    assert (rig.work / "args").read_text().splitlines()[1:] == [f"shown.py x=8 {sweep}"]
