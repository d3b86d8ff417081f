"""Sweeps: the real agent runs what the stand-in's controller tells it, to the end."""

from __future__ import annotations

from pathlib import Path

from tests.standin.client import Standin
from tests.standin.fixture import standin as standin
from tests.standin.sdk import Sdk

#: The agent sleeps five seconds between heartbeats; tests have no time for that.
HURRY = """
import time
_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.05))
import wandb
"""


def test_a_grid_is_run_to_its_end_though_one_run_fails(standin: Standin, tmp_path: Path) -> None:
    outcome = Sdk(standin, tmp_path).run(
        HURRY
        + """
def train():
    run = wandb.init()
    run.log({"got": run.config["lr"]})
    if run.config["lr"] == 2:
        raise RuntimeError("bad luck")
    run.finish()
sweep = wandb.sweep({"method": "grid", "parameters": {"lr": {"values": [1, 2, 3]}}}, project="p")
wandb.agent(sweep, function=train, project="p")
found = wandb.Api().sweep(f"standin/p/{sweep}")
print(found.state, sorted((run.config["lr"], run.state) for run in found.runs))
"""
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == "FINISHED [(1, 'finished'), (2, 'failed'), (3, 'finished')]"
    (sweep,) = standin.sweeps()
    assert {run["sweep"] for run in standin.runs()} == {sweep["name"]}
    assert [standin.rows(run["key"])[0]["got"] for run in standin.runs()] == [1, 2, 3]


def test_a_stop_reaches_the_agent_as_a_command_and_a_cancelled_sweep_ends_it(standin: Standin, tmp_path: Path) -> None:
    outcome = Sdk(standin, tmp_path).run(
        """
        import json, wandb
        from wandb.apis.public.sweeps import _agent_heartbeat, _register_agent, _set_sweep_state
        api = wandb.Api()
        sweep = wandb.sweep({"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}, "run_cap": 5},
                            project="p")
        agent = _register_agent(api, "here", sweep_id=sweep, project="p", entity="standin")["id"]
        (first,) = _agent_heartbeat(api, agent, {}, {})
        name = first["run_id"]
        print(first["type"], 0 <= first["args"]["x"]["value"] <= 1, _agent_heartbeat(api, agent, {}, {name: True}))
        api.run(f"standin/p/{name}").stop()
        print([c["type"] for c in _agent_heartbeat(api, agent, {}, {name: True})])
        _set_sweep_state(api, sweep, "CANCELED", project="p", entity="standin")
        print([c["type"] for c in _agent_heartbeat(api, agent, {}, {})])
        """
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-3:] == ["run True []", "['stop']", "['exit']"]
