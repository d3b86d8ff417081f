"""W&B's stop button reaches the training process as a signal, once, and the daemon not at all."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol.messages import RunSpec
from telemetryd.runs import control
from tests.standin.client import Standin
from tests.standin.fixture import running
from tests.support.fake_daemon import FakeDaemon
from tests.support.processes import Spawned, python, spawn, wait_until
from tests.support.run_rig import RunRig, rows

TRAINING = """
import signal, sys, threading, time
import client
got = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: got.append(signal.Signals(number).name))
run = client.init(mode="offline", id="run")
started = time.monotonic()
try:
    while not got and time.monotonic() - started < float(sys.argv[1]):
        run.log({"loss": 1.0})
        time.sleep(0.02)
except KeyboardInterrupt:
    got.append("SIGINT")
try:
    time.sleep(0.7)  # a second signal would come with the next report
except KeyboardInterrupt:
    got.append("SIGINT")
report = run.finish(exit_code=3, quiet=True)
print("got", got, report.state, report.pending, flush=True)
"""


@pytest.fixture
def fake(isolated: Path, tmp_path: Path) -> Iterator[FakeDaemon]:
    state = isolated / "state" / "t"
    daemon = FakeDaemon(tmp_path / "daemon", f"ipc://{isolated / 'run'}/d.sock", state, state / "spool")
    yield daemon.start(env={"FAKE_WORKER": "stop"})
    daemon.end()


def train(fake: FakeDaemon, tmp_path: Path, seconds: float, **environment: str) -> Spawned:
    spawned = spawn(python("-c", TRAINING, str(seconds)), tmp_path / "train", env={**fake.environment, **environment})
    assert spawned.wait(40) == 0, spawned.told()
    return spawned


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_training_gets_the_chosen_signal_once_and_finishes_in_its_own_way(
    fake: FakeDaemon, tmp_path: Path, name: str
) -> None:
    chosen = {} if name == "SIGINT" else {"TELEMETRYD_STOP_SIGNAL": name}
    said = train(fake, tmp_path, 30, **chosen).told()
    assert f"got ['{name}'] finished 0" in said
    assert said.count("W&B asks this run to stop") == 1
    assert fake.spawned is not None
    assert fake.spawned.running()
    (run,) = fake.status()["runs"]
    assert run["exit_code"] == 3


def test_with_none_training_goes_on(fake: FakeDaemon, tmp_path: Path) -> None:
    assert "got [] finished 0" in train(fake, tmp_path, 1.0, TELEMETRYD_STOP_SIGNAL="none").told()


def test_training_that_sleeps_is_woken(fake: FakeDaemon, tmp_path: Path) -> None:
    program = """
import time, client
run = client.init(mode="offline", id="run")
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("woken", flush=True)
"""
    spawned = spawn(python("-c", program), tmp_path / "train", env=fake.environment)
    assert spawned.wait(30) == 0, spawned.told()
    assert "woken" in spawned.told()


def test_the_button_of_a_real_run_is_reported_by_its_worker_which_goes_on(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb looks for the button by itself, and takes up to 15 s to see it."""
    with running() as standin:
        for name, value in standin.environment().items():
            monkeypatch.setenv(name, value)
        rig = RunRig(short_path / "rig")
        try:
            _press_and_finish(rig, standin)
        finally:
            rig.close()


def _press_and_finish(rig: RunRig, standin: Standin) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append(rows(50))
    worker = rig.start()
    worker.wait_for(control.Started)
    wait_until(lambda: standin.runs(), 20, "the run")
    standin.request_stop("r1")
    worker.wait_for(control.StopRequested)
    rig.append(rows(50, start=50))
    assert worker.finish(0).delivered == 100
    assert standin.run("r1")["exit_code"] == 0
    assert worker.process.returncode != -signal.SIGINT
