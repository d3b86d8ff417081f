"""The limit on the rate of uploads, with everything real but W&B."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.test_artifacts import train
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.world import World
from tests.support.worlds import world

__all__ = ["standin", "world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")

SIZE = 20_000_000
RATE = 4_000_000
TRAINING = f"""
import client as wandb, json, os, time
with open("m.pt", "wb") as stream:
    stream.write(os.urandom({SIZE}))
with wandb.init(project="p", id="r") as run:
    artifact = run.log_artifact("m.pt", name="m", type="model")
    artifact.wait_staged(30)
    began, step = time.monotonic(), 0
    while not artifact.done and time.monotonic() - began < 60:
        run.log({{"i": step, "took": time.monotonic() - began}})
        step += 1
        time.sleep(0.05)
    took = time.monotonic() - began
    artifact.wait(60)
    print(json.dumps([artifact.version, took, step]))
"""


def test_at_a_limit_an_upload_takes_its_time_and_the_rows_come_meanwhile(world: World, standin: Standin) -> None:
    world.start_daemon("--upload-max", f"{RATE}/s")
    version, took_s, steps = train(world, TRAINING)
    print(version, took_s, steps)
    for r in standin.ask("requests", **{}) if False else []:
        print(r)
