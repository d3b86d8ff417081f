"""A real worker with a real wandb that talks to the local W&B stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol.messages import RunSpec
from client.protocol.records import Config
from telemetryd.runs import control, wandb_file
from telemetryd.runs.wandb_server import RunName, Server
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.rigs import online_rig as rig
from tests.support.run_rig import RunRig, rows

__all__ = ["rig", "standin"]


def steps(standin: Standin) -> list[int]:
    return [row["_step"] for row in standin.rows("r1")]


def test_an_online_run_arrives_at_the_server_and_ends_with_its_exit_code(rig: RunRig, standin: Standin) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append([*rows(500), Config({"lr": 1})])
    worker = rig.start()
    started = worker.wait_for(control.Started)
    assert (started.mode, started.starting_step, started.resumed) == ("online", 0, False)
    assert started.url
    worker.finish(3)
    assert steps(standin) == list(range(500))
    run = standin.run("r1")
    assert run["exit_code"] == 3


def test_rows_of_a_killed_worker_reach_the_server_once(rig: RunRig, standin: Standin) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append(rows(8000))
    for kills in range(2):
        worker = rig.start()
        worker.wait_for(control.Progress, lambda report, kills=kills: report.delivered > (kills + 1) * 2000)
        worker.kill()
    progress = rig.start().finish()
    assert progress.delivered == 8000
    assert steps(standin) == list(range(8000))


def test_a_run_begun_without_a_key_arrives_whole_once_there_is_one(
    rig: RunRig, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append(rows(300))
    worker = rig.start()
    assert worker.wait_for(control.Started).mode == "offline"
    worker.wait_for(control.Progress, lambda report: report.delivered == 300)
    worker.order(control.Stop(10))
    worker.wait()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    rig.append(rows(100, start=300))
    rig.start().finish()
    assert steps(standin) == list(range(400))


def test_a_resumed_run_continues_after_the_servers_last_step(rig: RunRig, standin: Standin, short_path: Path) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append(rows(10))
    rig.start().finish()
    other = RunRig(short_path / "other")  # another machine: nothing is known of the run but its id
    try:
        other.add_run(RunSpec("r1", project="p", mode="online", resume="allow"))
        other.append(rows(5))
        worker = other.start()
        started = worker.wait_for(control.Started)
        assert (started.resumed, started.starting_step) == (True, 10)
        worker.finish()
    finally:
        other.close()
    assert steps(standin) == list(range(15))


@pytest.mark.parametrize("ahead", [500, 7])
def test_rows_behind_a_summary_that_was_uploaded_ahead_of_them_are_not_lost(
    rig: RunRig, standin: Standin, ahead: int
) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append(rows(8))
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 8)
    worker.kill()
    server = Server(standin.url, os.environ["WANDB_API_KEY"])
    name = RunName(None, "p", "r1")
    facts = server.run(name)
    assert facts is not None
    server.set_summary(facts.storage_id, {**facts.summary, "_step": ahead})
    rig.append(rows(50, start=8))
    rig.start().finish()
    assert steps(standin) == list(range(58))
    assert standin.summary("r1")["_step"] == 57


def test_a_run_with_rows_of_another_origin_is_refused_and_its_rows_are_kept(
    rig: RunRig, standin: Standin, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RunRig(short_path / "other")
    try:
        other.add_run(RunSpec("r1", project="p", mode="online"))
        other.append(rows(10))
        other.start().finish()
    finally:
        other.close()
    key = os.environ["WANDB_API_KEY"]
    monkeypatch.delenv("WANDB_API_KEY")
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    rig.append(rows(5))
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 5)
    worker.order(control.Stop(5))
    worker.wait()
    monkeypatch.setenv("WANDB_API_KEY", key)
    worker = rig.start()
    trouble = worker.wait_for(control.Trouble)
    assert (trouble.reason, trouble.permanent, worker.wait()) == ("strangers", True, 78)
    assert steps(standin) == list(range(10))
    assert [step for step, _ in rig.rows()] == list(range(5))


def sync(rig: RunRig, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wandb", "sync", "--yes", str(folder)]
    environment = {**os.environ, "TMPDIR": str(rig.state)}  # it leaves a log there
    return subprocess.run(
        command, cwd=rig.folder, env=environment, timeout=90, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("cut", [1, 20_000, 40_001])
def test_wandb_sync_uploads_exactly_the_rows_that_our_reader_finds_in_a_torn_file(
    rig: RunRig, standin: Standin, cut: int
) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="offline"))
    rig.append(rows(200))
    rig.start().finish()
    (file,) = rig.files()
    os.truncate(file, file.stat().st_size - cut)
    readable = wandb_file.history_steps(file)
    assert 0 < len(readable) <= 200
    done = sync(rig, file.parent)
    assert steps(standin) == readable, done.stdout + done.stderr


def test_syncing_every_folder_of_a_killed_offline_run_brings_each_row_once(rig: RunRig, standin: Standin) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="offline", config={"lr": 1}))
    rig.append([Config({"lr": 2}), *rows(3000)])
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered > 1000)
    worker.kill()
    rig.start().finish(4)
    assert len(rig.files()) == 2
    for file in rig.files():
        done = sync(rig, file.parent)
        assert done.returncode == 0, done.stdout + done.stderr
    assert steps(standin) == list(range(3000))
    run = standin.run("r1")
    assert run["exit_code"] == 4
    assert "lr" in str(run["config"])
