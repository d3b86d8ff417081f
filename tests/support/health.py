"""A machine for tests of health rules: a daemon with a fake driver, trainings that come to an end of their own, and
what was told of them in status, the run's file and its files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs import wandb_file
from telemetryd.settings.rules import BY_NAME
from tests.fake_nvml.driver import FakeDriver, h100
from tests.fake_nvml.fixture import built
from tests.support.processes import Spawned, command_line, spawn, wait_until, with_environment
from tests.support.sampled_world import SampledWorld
from tests.support.world import MARK

__all__ = ["built"]

SLACK_S = 20.0
"""On top of a stated time: two busy cores do everything late."""

TRAIN = """
import os, sys, time
import client
run = client.init(project="p", id=sys.argv[1], settings=client.Settings(**eval(os.environ.get("RUN_SETTINGS", "{}"))))
step = 0
def log():
    global step
    run.log({"loss": 1.0 / (1 + step)})
    step += 1
for _ in range(20):
    log()
    time.sleep(0.01)
print("the last line", flush=True)
end = sys.argv[2]
"""
HEALTHY = """
while not os.path.exists(end):
    log()
    time.sleep(0.05)
run.finish()
"""


class Machine(SampledWorld):
    """A sampled world with trainings that come to an end of their own."""

    def __init__(self, folder: Path, driver: FakeDriver, standin: Any = None) -> None:
        super().__init__(folder, driver, standin)
        self.environment["TELEMETRYD_SAMPLE_PERIOD_S"] = "1"

    def train(self, program: str, *arguments: str, run_id: str = "r1", prefix: tuple[str, ...] = (),
              **environment: str) -> Spawned:  # fmt: skip
        root = str(Path(__file__).parents[2])
        command = [*prefix, sys.executable, "-c", TRAIN + program, run_id, str(self.end_path(run_id)), *arguments]
        training = spawn(command, self.folder / f"train-{run_id}",
                         env={"PYTHONPATH": root, **self.environment, **environment})  # fmt: skip
        self.trainings.append(training)
        return training

    def training_pids(self, run_id: str) -> list[int]:
        """The training processes of a run, without what started them."""
        end = str(self.end_path(run_id))
        return [pid for pid in with_environment(f"{MARK}={self.folder}")
                if end in command_line(pid) and command_line(pid).startswith(f"{sys.executable} -c")]  # fmt: skip

    def end(self, run_id: str = "r1") -> None:
        """Let the training go on to its end."""
        self.end_path(run_id).touch()

    def wait_finished(self, run_id: str = "r1") -> None:
        super().wait_finished(run_id)
        # A worker that is killed on its way out would leave its temporary folder behind.
        wait_until(lambda: not self.worker_pids(), 60, lambda: f"the worker's exit\n{self.told()}")

    def raised(self) -> dict[str, int]:
        return {rule: count for rule, count in self.status()["health"]["raised"].items() if count}

    def active(self) -> list[str]:
        return [one["rule"] for one in self.status()["health"]["active"]]

    def wait_raised(self, rule: str) -> dict[str, Any]:
        """The newest event of a rule, once it is there; within its stated time."""

        def there() -> dict[str, Any] | None:
            return next((one for one in reversed(self.status()["events"]) if one["kind"] == rule), None)

        def told() -> str:
            return f"an event {rule}\n{json.dumps(self.status())}\n{self.told()}"

        found = wait_until(there, BY_NAME[rule].within_s + SLACK_S, told, poll_s=0.1)
        assert found is not None
        return dict(found)

    def wait_cleared(self, rule: str) -> None:
        wait_until(lambda: rule not in self.active(), 30, lambda: f"the end of {rule}: {self.active()}\n{self.told()}")

    def summary(self, run_id: str = "r1") -> dict[str, Any]:
        """What the run's file says of health."""
        found: dict[str, Any] = {}
        for record in self.records(run_id):
            if record.WhichOneof("record_type") == "summary":
                for item in record.summary.update:
                    name = item.key or "/".join(item.nested_key)
                    if name.startswith("_telemetryd/health/"):
                        found[name.removeprefix("_telemetryd/health/")] = json.loads(item.value_json)
        return found

    def alerts(self, run_id: str = "r1") -> list[tuple[str, str, str]]:
        return [(one.alert.title, one.alert.text, one.alert.level) for one in self.records(run_id)
                if one.WhichOneof("record_type") == "alert"]  # fmt: skip

    def records(self, run_id: str = "r1") -> Iterator[Any]:
        for path in sorted(self.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb")):
            yield from wandb_file.records(path)

    def post_mortem(self, run_id: str = "r1") -> dict[str, str]:
        """The files of the one post-mortem, by name."""
        found = list(self.runs_dir.glob(f"wandb/*run-*{run_id}/files/telemetryd/post-mortem/*/*"))
        assert len({path.parent for path in found}) == 1, found
        return {path.name: path.read_text() for path in found}


@pytest.fixture
def driver(built: FakeDriver, short_path: Path) -> FakeDriver:
    made = FakeDriver(built.folder, short_path / "nvml")
    made.update(h100(2))
    return made


@pytest.fixture
def machine(short_path: Path, driver: FakeDriver) -> Iterator[Machine]:
    made = Machine(short_path / "w", driver)
    yield made
    made.close()
