"""Tables through a worker that is killed: increments go on, what was logged is not stored twice, charts are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

import client
from client import testing
from client.protocol.messages import RunSpec
from client.protocol.records import is_row
from telemetryd.runs import control
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.run_rig import RunRig

__all__ = ["standin"]

Log = Callable[[dict[str, Any]], None]


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    rig = RunRig(short_path / "rig")
    yield rig
    rig.close()


@pytest.fixture
def online(rig: RunRig, standin: Standin, monkeypatch: pytest.MonkeyPatch) -> RunRig:
    for name, value in standin.environment().items():
        monkeypatch.setenv(name, value)
    return rig


def bodies(script: Callable[[Log], None]) -> list[bytes]:
    """The rows that a training process logs; small tables stand within them."""
    with testing.recording() as recorded:
        run = client.init(project="p")
        script(run.log)
        run.finish()
    return [body for body in recorded.run.session.bodies if is_row(body)]


def growing(log: Log) -> None:
    fixed = client.Table(columns=["n"], data=[[1]])
    table = client.Table(columns=["n"], log_mode="INCREMENTAL")
    mutable = client.Table(columns=["n"], log_mode="MUTABLE")
    for number in range(6):
        table.add_data(number)
        mutable.add_data(number)
        log({"growing": table, "fixed": fixed, "mutable": mutable})
    log({"chart": client.plot.line(fixed, "n", "n", title="Kept")})
    log({"fixed": fixed})


def deliver_with_kills(rig: RunRig, records: list[bytes], *, store_progress: bool) -> None:
    """By three workers; two are killed when their rows are confirmed, with or without a trace of that in the inbox."""
    rig.add_run(RunSpec("r1", project="p"))
    done = 0
    for part in (records[:2], records[2:4], records[4:]):
        rig.append(part)
        done += len(part)
        worker = rig.start()
        worker.store_progress = store_progress
        worker.wait_for(control.Progress, lambda report, done=done: report.delivered == done)
        if done < len(records):
            worker.kill()
    worker.finish()


@pytest.mark.parametrize("store_progress", [True, False], ids=["progress stored", "replayed from the start"])
def test_tables_go_on_where_a_killed_worker_left_them(rig: RunRig, store_progress: bool) -> None:
    deliver_with_kills(rig, bodies(growing), store_progress=store_progress)
    rows = [row for _, row in rig.rows()]
    increments = [row["growing"] for row in rows if "growing" in row]
    assert [each["increment_num"] for each in increments] == list(range(6))
    assert [each["nrows"] for each in increments] == [1, 2, 3, 4, 5, 6]
    artifacts = [each["artifact_path"] for each in increments]
    assert len(set(artifacts)) == 6
    assert [each["previous_increments_paths"] for each in increments] == [artifacts[:n] for n in range(6)]
    assert len({row["fixed"]["path"] for row in rows if "fixed" in row}) == 1
    assert {row["fixed"]["artifact_path"] for row in rows if "fixed" in row} == {rows[-1]["fixed"]["artifact_path"]}
    assert [row["mutable"]["nrows"] for row in rows if "mutable" in row] == [1, 2, 3, 4, 5, 6]
    assert rows[6]["chart_table"]["path"] == rows[0]["fixed"]["path"]


def test_how_charts_are_drawn_stands_in_the_newest_file_after_a_kill(rig: RunRig) -> None:
    from telemetryd.runs.carried import carried_from
    from telemetryd.runs.notes import Folder

    deliver_with_kills(rig, bodies(growing), store_progress=True)
    newest = rig.files()[-1]
    charts = carried_from([Folder(str(newest.parent), str(newest), "offline", 0)]).drawn
    assert charts["visualize"]["chart"]["panel_config"]["stringSettings"] == {"title": "Kept"}


def test_increments_of_killed_workers_reach_the_server_each_once(online: RunRig, standin: Standin) -> None:
    deliver_with_kills(online, bodies(growing), store_progress=True)
    (run,) = standin.runs()
    assert [row["growing"]["increment_num"] for row in standin.rows("r1") if "growing" in row] == list(range(6))
    entries: set[str] = set()
    for artifact in standin.artifacts():
        if artifact["name"].endswith("incr-growing") or "incr-growing" in str(artifact.get("key", "")):
            entries |= set(artifact["contents"])
    numbers = sorted(name.partition("-")[0] for name in entries)
    assert numbers == ["1", "2", "3", "4", "5", "None"], standin.artifacts()
    assert run["config"]["_wandb"]["value"]["visualize"]["chart"]


def changing(log: Log) -> None:
    for number in range(3):
        log({"t": client.Table(columns=["n"], data=[[number]])})


def assert_every_row_has_its_table(standin: Standin) -> None:
    """The versions of a table that is logged three times, each committed once, in the order of the rows naming them."""
    named = [row["t"]["artifact_path"].split("/")[2].partition(":")[0] for row in standin.rows("r1")]
    assert len(named) == 3
    versions = {each["version"]: each["clients"] for each in standin.artifacts() if each["state"] == "COMMITTED"}
    assert sorted(versions) == [0, 1, 2]
    assert [name in versions[number] for number, name in enumerate(named)] == [True] * 3


@pytest.mark.parametrize("where", ["graphql:CreateArtifact", "upload:artifact"])
def test_tables_that_a_killed_worker_had_not_uploaded_are_committed_though_w_and_b_has_their_rows(
    online: RunRig, standin: Standin, where: str
) -> None:
    online.add_run(RunSpec("r1", project="p"))
    online.append(bodies(changing))
    standin.hang(where)
    worker = online.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 3)
    worker.kill()
    standin.clear()
    online.start().finish()
    assert_every_row_has_its_table(standin)
    assert not list(online.folder.rglob("*.artifacts")), "what is committed is not kept"


def test_tables_logged_without_a_key_are_uploaded_once_there_is_one(
    online: RunRig, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    online.add_run(RunSpec("r1", project="p", mode="online"))
    online.append(bodies(changing))
    worker = online.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 3)
    worker.kill()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    for _ in range(2):
        worker = online.start()
        worker.wait_for(control.Progress, lambda report: report.delivered == 3)
        worker.kill()
    online.start().finish()
    assert_every_row_has_its_table(standin)


def test_a_table_that_w_and_b_refuses_is_counted_as_lost_and_its_row_is_there(online: RunRig, standin: Standin) -> None:
    online.add_run(RunSpec("r1", project="p"))
    online.append(bodies(changing))
    standin.graphql_error("CreateArtifact", message="no room for artifacts")
    worker = online.start()
    worker.wait_for(control.Progress, lambda report: report.media_lost.get("refused") == 3)
    standin.clear()
    worker.finish()
    assert len(standin.rows("r1")) == 3
