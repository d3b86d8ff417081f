"""A world whose machine is sampled: a fake driver, and trainings that go on until they are told to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fake_nvml.driver import FakeDriver
from tests.support.processes import Spawned, wait_until
from tests.support.world import World


class SampledWorld(World):
    """`trainings` are those that were started; a run's training ends once its `end_path` is there."""

    def __init__(self, folder: Path, driver: FakeDriver, standin: Any = None) -> None:
        super().__init__(folder, standin)
        self.driver = driver
        self.environment |= driver.environment()
        self.trainings: list[Spawned] = []

    def end_path(self, run_id: str = "r1") -> Path:
        return self.folder / f"end-{run_id}"

    def wait_finished(self, run_id: str = "r1") -> None:
        def finished() -> bool:
            return any(run["key"] == f"/p/{run_id}" and run["state"] == "finished" for run in self.status()["runs"])

        wait_until(finished, 90, lambda: f"the end of {run_id}: {json.dumps(self.status())}\n{self.told()}")

    def told(self) -> str:
        log = self.state_dir / "workers" / "sampling.log"
        daemon = self.daemon.told() if self.daemon else ""
        trainings = "\n".join(training.told() for training in self.trainings)
        return f"{daemon}\n{log.read_text() if log.exists() else ''}\n{self.worker_logs()}\n{trainings}"

    def close(self) -> None:
        for training in self.trainings:
            training.kill()
        super().close()
