"""Sweeps in a world of their own: one training script, and each of the agents that can run it."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.standin.client import Standin
from tests.support.processes import Spawned, spawn, wait_until
from tests.support.world import World

TRAIN = """
import glob, json, os, sys, time
import client as wandb

def train():
    assert not [name for name in os.environ if "API_KEY" in name], "training has a key"
    run = wandb.init(project="elsewhere", config={"x": -1, "own": 1})
    run.config.update({"x": -2, "later": 2}, allow_val_change=True)
    run.log({"x": run.config["x"]})
    told = {"config": run.config.as_dict(), "sweep": run.sweep_id, "project": run.project, "stopped": False}
    try:
        if run.config["x"] == FAILS or (FAILS == "fourth" and len(glob.glob("told-*")) == 3):
            raise RuntimeError("bad luck")
        while run.config["x"] == STOPS:
            run.log({"tick": 1})
            time.sleep(0.02)
    except KeyboardInterrupt:
        told["stopped"] = True
        raise
    finally:
        run.log({"last": 1})
        with open(f"told-{run.id}.json", "w") as file:
            json.dump(told, file)
    run.finish(timeout_s=0)
"""


GRID = {"method": "grid", "parameters": {"x": {"values": [1, 2, 3]}, "nested": {"parameters": {"y": {"value": 1e-05}}}}}


class SweepRig:
    """A daemon with the key, and a folder in which agents work without it."""

    def __init__(self, world: World, standin: Standin, *, fails: Any = None, stops: Any = None) -> None:
        self.world = world
        self.standin = standin
        self.work = world.folder / "work"
        self.work.mkdir()
        source = f"FAILS, STOPS = {fails!r}, {stops!r}\n{TRAIN}\nif __name__ == '__main__':\n    train()\n"
        (self.work / "train.py").write_text(source)
        keyless = {name: value for name, value in world.environment.items() if name != "WANDB_API_KEY"}
        self.environment = {**keyless, "PYTHONPATH": str(Path.cwd())}
        world.start_daemon()

    def script(self, source: str, name: str = "script") -> Spawned:
        """Run a Python script there."""
        return self._spawn([sys.executable, "-c", textwrap.dedent(source)], name)

    def sweep(self, config: dict[str, Any]) -> str:
        """Make a sweep with `client.sweep`; its id. Unless it says otherwise, its program is the training script."""
        config = {"program": "train.py", "command": ["${env}", sys.executable, "${program}"], **config}
        source = f"import client; client.sweep({config!r}, project='p')"
        made = self.script(source, "sweep")
        assert made.wait(60) == 0, made.told()
        return made.out().partition("Create sweep with ID: ")[2].split()[0]

    def functions(self, sweep: str) -> Spawned:
        """`client.agent` with a function."""
        return self.script(f"import client, train; client.agent({sweep!r}, train.train, project='p')", "functions")

    def command(self, sweep: str, *flags: str, bare: bool = False) -> Spawned:
        """`telemetryd agent`, which does not wait for each run's delivery; `bare`: without a command of its own."""
        agent = [sys.executable, "-m", "telemetryd", "agent", f"standin/p/{sweep}", "--drain-timeout", "0", *flags]
        return self._spawn(agent if bare else [*agent, "--", sys.executable, "train.py"], "command")

    def stock(self, sweep: str, *, poll_s: float = 0.1) -> Spawned:
        """wandb's own agent, as its command runs it, but asked more often. It has a key by netrc, and trials by no
        variable."""
        netrc = self.world.folder / "netrc"
        host = self.standin.url.partition("://")[2]
        netrc.write_text(f"machine {host}\n  login user\n  password {self.standin.environment()['WANDB_API_KEY']}\n")
        netrc.chmod(0o600)
        source = f"""
            from wandb import wandb_agent
            from wandb.cli.cli import cli
            wandb_agent.Agent.POLL_INTERVAL = {poll_s}
            cli(["agent", "standin/p/{sweep}"])
        """
        command = [sys.executable, "-c", textwrap.dedent(source)]
        return spawn(command, self.world.folder / "stock", cwd=self.work, env={**self.environment, "NETRC": str(netrc)})

    def _spawn(self, command: list[str], name: str) -> Spawned:
        return spawn(command, self.world.folder / name, cwd=self.work, env=self.environment)

    def told(self, run: str) -> dict[str, Any]:
        """What a trial's training found."""
        found: dict[str, Any] = json.loads((self.work / f"told-{run}.json").read_text())
        return found

    def wait_delivered(self, sweep: str, deadline_s: float = 120.0) -> None:
        """Until every run of the sweep has ended in W&B, with all that was logged."""

        def ended() -> bool:
            runs = self.runs(sweep)
            return bool(runs) and all(run["exit_code"] is not None for run in runs)

        wait_until(ended, deadline_s, lambda: f"the end of {self.runs(sweep)}", poll_s=0.1)
        self.world.wait_settled()

    def runs(self, sweep: str) -> list[dict[str, Any]]:
        """The sweep's runs in W&B, in the order of their beginning."""
        return [run for run in self.standin.runs() if run["sweep"] == sweep]


@contextlib.contextmanager
def ending(agent: Spawned) -> Iterator[Spawned]:
    """An agent that is gone at the end, with all that it started."""
    try:
        yield agent
    finally:
        agent.kill()


def stop_the_third(rig: SweepRig, sweep: str, agent: Spawned) -> None:
    """W&B's controller terminates the run that goes on for ever, once it has logged."""

    def third() -> str | None:
        runs = [run for run in rig.runs(sweep) if run["config"]["x"]["value"] == 3]
        return str(runs[0]["key"]) if runs and rig.standin.row_count(runs[0]["key"]) > 0 else None

    key = wait_until(lambda: third() or not agent.running(), 60, agent.told, poll_s=0.1)
    assert isinstance(key, str), agent.told()
    rig.standin.request_stop(key)


def check_grid(rig: SweepRig, start: Callable[[SweepRig, str], Spawned]) -> None:
    """A sweep of three runs, of which one fails and one is stopped, goes to its end; all their rows are in W&B."""
    standin = rig.standin
    sweep = rig.sweep(GRID)
    with ending(start(rig, sweep)) as agent:
        stop_the_third(rig, sweep, agent)
        assert agent.wait(90) == 0, agent.told()
    rig.wait_delivered(sweep)
    runs = rig.runs(sweep)
    assert [standin.config(run["key"])["x"] for run in runs] == [1, 2, 3]
    for number, run in enumerate(runs, 1):
        told = rig.told(run["name"])
        assert told == {
            "config": {"x": number, "nested": {"y": 1e-05}, "own": 1, "later": 2},
            "sweep": sweep,
            "project": "p",
            "stopped": number == 3,
        }
        assert standin.config(run["key"]) == told["config"]
        rows = standin.rows(run["key"])
        assert rows[0]["x"] == number
        assert rows[-1]["last"] == 1  # also of the run that was stopped: it ended in its own way
    assert [run["state"] for run in runs] == ["failed", "finished", "failed"]
    (known,) = standin.sweeps()
    assert known["state"] == "FINISHED"
    said = agent.told()
    assert "Ignoring project 'elsewhere' when running a sweep." in said
    assert "Config item 'x' was locked by 'sweep' (ignored update)." in said
