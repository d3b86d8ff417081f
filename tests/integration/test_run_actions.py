"""Alerts, preemption, pins and watched models, with the real wandb: offline in the file, online at the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol.messages import RunSpec
from client.protocol.records import Alert, Arrived, Await, Pins, Preempting, Record, Row, Saved
from telemetryd.runs import control, wandb_file
from tests.standin.client import Standin
from tests.standin.fixture import running
from tests.support.run_rig import RunRig, rows

MINUTE_MS, S = 60_000, 1_000_000_000

SCRIPT = """
    import datetime
    import wandb

    with wandb.init(project="p", id="r1", config={"lr": 1, "seed": 2}) as run:
        run.log({"a": 1})
        run.alert("one", "text one", "WARN", 90)
        wandb.alert("two", "text two", level=wandb.AlertLevel.ERROR, wait_duration=datetime.timedelta(seconds=5))
        wandb.alert("one", "again")
        run.pin_config_keys(["seed", "lr"])
        run.mark_preempting()
        run.tags += ("later",)
        run.notes = "noted"
        run.log({"a": 2})
"""


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    rig = RunRig(short_path / "rig")
    yield rig
    rig.close()


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with running() as standin:
        for name, value in standin.environment().items():
            monkeypatch.setenv(name, value)
        yield standin


def run_script(folder: Path, *, sidecar: bool, mode: str) -> None:
    folder.mkdir()
    source = textwrap.dedent(SCRIPT)
    script = folder / "script.py"
    script.write_text(source.replace("import wandb\n", "import client as wandb\n") if sidecar else source)
    command = [sys.executable, str(script)]
    if sidecar:
        command = [sys.executable, "-m", "telemetryd", "run", "--", *command]
    environment = os.environ | {"WANDB_MODE": mode, "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def actions(folder: Path) -> dict[str, Any]:
    """What the run's file says beside rows."""
    (path,) = folder.glob("wandb/*run-*/*.wandb")
    found: dict[str, Any] = {"alerts": [], "preempting": 0, "pins": None, "tags": None, "notes": None}
    for record in wandb_file.records(path):
        kind = record.WhichOneof("record_type")
        if kind == "alert":
            alert = record.alert
            found["alerts"].append((alert.title, alert.text, alert.level, alert.wait_duration))
        elif kind == "preempting":
            found["preempting"] += 1
        elif kind == "run":
            found["tags"], found["notes"] = sorted(record.run.tags), record.run.notes
        elif kind == "config":
            for item in record.config.update:
                if list(item.nested_key) == ["_wandb", "pinned_keys"]:
                    found["pins"] = json.loads(item.value_json)
    return found


def test_offline_the_file_holds_what_wandbs_holds(short_path: Path) -> None:
    run_script(short_path / "wandb", sidecar=False, mode="offline")
    run_script(short_path / "ours", sidecar=True, mode="offline")
    theirs = actions(short_path / "wandb")
    assert theirs["alerts"] == [
        ("one", "text one", "WARN", 90_000), ("two", "text two", "ERROR", 5000), ("one", "again", "INFO", MINUTE_MS),
    ]  # fmt: skip
    assert actions(short_path / "ours") == theirs
    assert theirs["pins"] == ["seed", "lr"]


def test_online_the_server_has_what_it_has_from_wandb(short_path: Path) -> None:
    seen = []
    for sidecar in (False, True):
        with running() as standin, pytest.MonkeyPatch.context() as patch:
            for name, value in standin.environment().items():
                patch.setenv(name, value)
            run_script(short_path / str(sidecar), sidecar=sidecar, mode="online")
            run = standin.run("r1")
            names = ("title", "text", "severity", "waitDuration")
            alerts = [{name: alert[name] for name in names} for alert in run["alerts"]]
            pins = run["config"]["_wandb"]["value"]["pinned_keys"]
            seen.append((alerts, sorted(run["tags"]), run["notes"], pins))
    assert seen[1] == seen[0]
    assert [alert["title"] for alert in seen[0][0]] == ["one", "two", "one"]


def alert(title: str, time_ns: int = 0) -> Alert:
    return Alert(title, "x", "INFO", MINUTE_MS, time_ns)


def test_a_killed_workers_alerts_are_not_sent_again(rig: RunRig, standin: Standin) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    titles = ["first", "second"]
    last = rig.append([*rows(1), *map(alert, titles)])
    for title in ("third", "fourth"):
        worker = rig.start()
        worker.store_progress = False  # all of it is replayed
        worker.wait_for(control.Progress, lambda report, last=last: report.cursor >= last)
        standin.wait_for(lambda standin, titles=titles: len(standin.alerts("r1")) >= len(titles), 20)
        worker.kill()
        last = rig.append([alert(title)])
        titles = [*titles, title]
    rig.start().finish()
    assert [sent["title"] for sent in standin.alerts("r1")] == titles


def test_alerts_of_a_run_that_had_no_key_reach_the_server_once_there_is_one(
    rig: RunRig, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    last = rig.append([*rows(1), alert("first"), Pins(["lr"])])
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.cursor >= last)
    worker.order(control.Stop(10))
    worker.wait()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    rig.append([alert("second"), Preempting()])
    rig.start().finish()
    assert [sent["title"] for sent in standin.alerts("r1")] == ["first", "second"]
    assert standin.run("r1")["config"]["_wandb"]["value"]["pinned_keys"] == ["lr"]


def test_alerts_that_waited_for_the_daemon_count_by_the_trainings_time(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="offline"))
    rig.append([alert("t", 1000 * S), alert("t", 1010 * S), alert("t", 1070 * S)])
    rig.start().finish()
    (path,) = rig.files()
    kept = [record.alert for record in wandb_file.records(path) if record.WhichOneof("record_type") == "alert"]
    first, second, third = (alert.wait_duration for alert in kept)
    assert (first, third) == (MINUTE_MS, 1), "the third came 70 s after the first, in training's time"
    assert second == MINUTE_MS


def test_a_worker_killed_while_rows_wait_for_a_value_loses_and_doubles_nothing(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="offline"))
    before: list[Record] = [*rows(10), Await(1), Row(10, 1, {"loss": 1.0}), Row(11, 1, {"loss": 2.0})]
    rig.append(before)
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered >= 10)
    worker.kill()
    histogram = {"_type": "histogram", "values": [1], "bins": [0, 1]}
    rig.append([Row(10, 1, {"gradients/w": histogram}, False, fills=1), Arrived(1)])
    progress = rig.start().finish()
    assert progress.delivered == 13
    steps = [(step, sorted(key for key in row if key[0] != "_")) for step, row in rig.rows() if step >= 10]
    assert steps == [(10, ["gradients/w", "loss"]), (11, ["loss"])]


def test_a_run_ends_although_a_value_never_came(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", project="p", mode="offline"))
    rig.append([Await(1), Row(0, 1, {"loss": 1.0}), Row(1, 1, {"loss": 2.0})])
    assert rig.start().finish().delivered == 2
    assert [step for step, _ in rig.rows()] == [0, 1]


def test_saved_files_of_a_killed_worker_reach_the_server(rig: RunRig, standin: Standin, short_path: Path) -> None:
    live = short_path / "user" / "live.txt"
    live.parent.mkdir()
    live.write_text("first")
    folder = live.parent.stat()
    rig.add_run(RunSpec("r1", project="p", mode="online"))
    files = [
        Saved("deep/now.txt", "now", [], b"of now"),
        Saved("user/live.txt", "live", [str(live), folder.st_dev, folder.st_ino], b"first"),
        Saved("../out.txt", "now", [], b"x"),
        Saved("gone.txt", "end", ["/nowhere/gone.txt", 1, 2]),
    ]
    last = rig.append([*rows(1), *files])
    worker = rig.start("--trust-paths")
    worker.wait_for(control.Progress, lambda report: report.cursor >= last)
    worker.kill()
    live.write_text("changed")
    rig.append(rows(1, start=1))
    worker = rig.start("--trust-paths")
    worker.finish()
    assert standin.read_file("r1", "deep/now.txt") == b"of now"
    assert standin.read_file("r1", "user/live.txt") == b"changed"
    assert not any("out.txt" in name or "gone" in name for name in standin.files("r1"))
    assert not list(rig.folder.rglob("out.txt"))
