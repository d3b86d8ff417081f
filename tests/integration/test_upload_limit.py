"""The limit on the rate of uploads, with everything real but W&B."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.processes import running
from tests.support.upload_beside import training, upload_took_s, wait_for_rows_before_the_file
from tests.support.world import World
from tests.support.worlds import world

__all__ = ["standin", "world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")

SIZE = 20_000_000
RATE = 4_000_000
TRAINING = training(SIZE)


def test_at_a_limit_an_upload_takes_its_time_and_the_rows_come_meanwhile(world: World, standin: Standin) -> None:
    def train(run_id: str) -> float:
        """Train and log an artifact beside; how long the upload took, in seconds."""
        work = world.folder / "work"
        work.mkdir(exist_ok=True)
        environment = world.environment | {"PYTHONPATH": os.fspath(Path.cwd())}
        command = [sys.executable, "-c", TRAINING, run_id]
        with running(command, world.folder / run_id, env=environment, cwd=work) as trainer:
            if run_id == "limited":
                wait_for_rows_before_the_file(standin, run_id)
            assert trainer.wait(100) == 0, f"{trainer.told()}\n{world.worker_logs()}"
        world.wait_settled()
        assert [a["name"] for a in standin.artifacts() if a["state"] == "COMMITTED"][-1] == run_id
        return upload_took_s(standin)

    world.start_daemon("--upload-max", f"{RATE / 1e6}MB/s")
    limited_s = train("limited")
    assert (world.state_dir / "upload-line").exists()
    world.stop_daemon()
    (world.state_dir / "upload-line").unlink()
    world.start_daemon("--upload-max", "0")
    free_s = train("free")
    assert limited_s >= SIZE / RATE - 0.1 > 4
    assert free_s < limited_s / 2, "it was the limit that took the time"
    assert not (world.state_dir / "upload-line").exists(), "and without one nothing of it is there"
