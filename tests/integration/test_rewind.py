"""`resume_from` with a real worker, the real wandb and the stand-in.

What was logged beyond the step leaves the history, what is logged anew stands in its place, and nothing of either is
lost or doubled, whoever is killed meanwhile. Where the run cannot be rewound, nothing leaves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol.messages import RunSpec
from client.protocol.records import Rank, Record, Rewind, Row
from telemetryd.runs import control
from tests.standin.client import Standin
from tests.standin.fixture import running, standin
from tests.support.processes import wait_until
from tests.support.rigs import online_rig
from tests.support.run_rig import RunRig, Worker
from tests.support.world import World

__all__ = ["online_rig", "standin"]

NEW = "ab" * 16
OLD_ROWS, BACK_TO, NEW_ROWS = 20, 9, 5


@pytest.fixture
def rig(online_rig: RunRig) -> RunRig:
    """Of a run that has rows already."""
    online_rig.add_run(RunSpec("r1", project="p", mode="online"))
    online_rig.append([Row(step, 1 + step, {"i": step}) for step in range(OLD_ROWS)])
    return online_rig


def again(step: int = BACK_TO, rows: int = NEW_ROWS) -> list[Record]:
    """What a training says that was begun with resume_from: rows of its own behind `step`."""
    anew = [
        Row(number, 100 + number, {"i": 1000 + number}, explicit=True) for number in range(step + 1, step + 1 + rows)
    ]
    return [Rewind(step, 50), *anew]


def history(standin: Standin) -> list[tuple[int, int]]:
    return [(row["_step"], row["i"]) for row in standin.rows("r1")]


def arrived(standin: Standin, rows: int) -> bool:
    return any(run["name"] == "r1" for run in standin.runs()) and standin.row_count("r1") >= rows


def archived(standin: Standin) -> list[list[int]]:
    """The steps that each rewind took out of the history."""
    return [[row["_step"] for row in rows] for rows in standin.run("r1").get("archived", [])]


KEPT = [(step, step) for step in range(BACK_TO + 1)]
REWOUND = [*KEPT, *((step, 1000 + step) for step in range(BACK_TO + 1, BACK_TO + 1 + NEW_ROWS))]
BEYOND = list(range(BACK_TO + 1, OLD_ROWS))


def note_of(rig: RunRig) -> str:
    """The state of the rewind that the run's notes tell; empty without one."""
    path = rig.state / "workers" / f"{rig.run_id}.json"
    return (json.loads(path.read_bytes())["rewind"] or {"state": ""})["state"] if path.exists() else ""


def asked(rig: RunRig, *, store_progress: bool = True) -> Worker:
    """A worker that has come to the rewind and ended for it."""
    worker = rig.start()
    worker.store_progress = store_progress
    trouble = worker.wait_for(control.Trouble)
    assert (trouble.reason, trouble.permanent) == (control.REWIND, False)
    assert worker.wait() != 0
    assert note_of(rig) == "asked"
    return worker


def test_rows_beyond_the_step_leave_the_history_and_those_logged_anew_take_their_place(
    rig: RunRig, standin: Standin
) -> None:
    rig.append(again(), NEW)
    asked(rig)
    assert len(history(standin)) == OLD_ROWS, "everything before is delivered first"
    worker = rig.start()
    assert worker.wait_for(control.Started).starting_step == BACK_TO + 1
    progress = worker.finish(0)
    assert history(standin) == REWOUND
    assert archived(standin) == [BEYOND]
    assert (progress.delivered, progress.dropped, progress.late) == (OLD_ROWS + NEW_ROWS, {}, 0)
    assert standin.summary("r1")["i"] == REWOUND[-1][1]


@pytest.mark.chaos
def test_a_run_that_was_finished_is_rewound_too_and_a_second_time(rig: RunRig, standin: Standin) -> None:
    rig.start().finish()
    for number, session in enumerate((NEW, "cd" * 16)):
        anew = again()
        anew[0] = Rewind(BACK_TO, 50 + number)
        rig.append(anew, session)
        asked(rig)
        rig.start().finish()
        assert history(standin) == REWOUND
    assert archived(standin) == [BEYOND, [step for step, _ in REWOUND[BACK_TO + 1 :]]]


@pytest.mark.chaos
def test_a_worker_killed_before_it_has_rewound_or_after_loses_and_doubles_nothing(
    rig: RunRig, standin: Standin
) -> None:
    rig.append(again(), NEW)
    first = rig.start()
    first.wait_for(control.Started)
    first.kill()  # before the rewind is noted
    asked(rig, store_progress=False)  # and as if the daemon had died with the report
    second = rig.start()
    wait_until(lambda: archived(standin), 60, second.log.read_text)
    second.kill()  # the server has rewound; whether that is noted is left to chance
    third = rig.start()
    third.wait_for(control.Progress, lambda report: report.delivered > OLD_ROWS)
    third.kill()
    fourth = rig.start()
    progress = fourth.finish()
    assert history(standin) == REWOUND
    assert [rows for rows in archived(standin) if rows] == [BEYOND]
    assert (progress.delivered, progress.late) == (OLD_ROWS + NEW_ROWS, 0)


@pytest.mark.chaos
def test_a_rewind_that_was_done_and_could_not_be_noted_is_done_again_before_any_row(
    rig: RunRig, standin: Standin
) -> None:
    rig.append(again(), NEW)
    asked(rig)
    path = rig.state / "workers" / f"{rig.run_id}.json"
    before = path.read_bytes()
    held = standin.hang("file_stream")
    second = rig.start()
    second.store_progress = False
    second.wait_for(control.Started)
    second.kill()
    assert note_of(rig) == "done"
    assert held
    assert len(standin.rows("r1")) == BACK_TO + 1
    path.write_bytes(before)
    standin.clear()
    rig.start().finish()
    assert history(standin) == REWOUND


def late(standin: Standin) -> list[tuple[int, int, int | None]]:
    return [(row["_step"], row["i"], row.get("late_step")) for row in standin.rows("r1")][OLD_ROWS:]


AS_LATE = [(OLD_ROWS + n, 1000 + BACK_TO + 1 + n, BACK_TO + 1 + n) for n in range(NEW_ROWS)]


def test_where_the_server_refuses_everything_stays_and_what_is_logged_anew_is_late(
    rig: RunRig, standin: Standin
) -> None:
    standin.graphql_error("RewindRun", message="rewind is not enabled")
    rig.append(again(), NEW)
    asked(rig)
    worker = rig.start()
    assert worker.wait_for(control.Trouble).reason == control.REWIND
    worker.wait()
    worker = rig.start()
    notice = worker.wait_for(control.Notice)
    assert notice.kind == "rewind_refused"
    assert "rewind is not enabled" in notice.message
    progress = worker.finish()
    assert history(standin)[:OLD_ROWS] == [(step, step) for step in range(OLD_ROWS)]
    assert late(standin) == AS_LATE
    assert (progress.delivered, progress.late) == (OLD_ROWS + NEW_ROWS, NEW_ROWS)


def test_a_step_that_the_run_has_not_reached_is_refused_and_its_rows_stay(rig: RunRig, standin: Standin) -> None:
    rig.append(again(50), NEW)
    asked(rig)
    worker = rig.start()
    assert "last step in W&B is 19" in worker.wait_for(control.Notice).message
    worker.finish()
    assert history(standin)[OLD_ROWS:] == [(step, 1000 + step) for step in range(51, 51 + NEW_ROWS)]


def test_offline_what_is_logged_anew_is_late(rig: RunRig, monkeypatch: pytest.MonkeyPatch, standin: Standin) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    rig.append(again(), NEW)
    asked(rig)
    worker = rig.start()
    assert "no W&B API key" in worker.wait_for(control.Notice).message
    worker.finish()
    rows = [(step, row["i"], row.get("late_step")) for step, row in rig.rows()]
    assert rows == [*((step, step, None) for step in range(OLD_ROWS)), *AS_LATE]


# With everything real but W&B

SCRIPT = """
import os, sys
import client as wandb
given = {"resume_from": "r1?_step=9"} if sys.argv[1] == "again" else {"id": "r1"}
run = wandb.init(project="p", **given)
for number in range(int(sys.argv[2])):
    run.log({"i": int(sys.argv[3]) + number})
if sys.argv[1] == "again":
    run.finish()
os._exit(0 if sys.argv[1] == "again" else 9)  # the first one is as if killed
"""


@pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")
def test_a_training_that_was_killed_goes_back_to_its_checkpoint(short_path: Path) -> None:
    with running() as standin:
        world = World(short_path, standin=standin, rows=1)
        try:
            world.start_daemon()
            environment = os.environ | world.environment
            for arguments, code in ((["first", "20", "0"], 9), (["again", "5", "1010"], 0)):
                command = [sys.executable, "-c", SCRIPT, *arguments]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
                assert done.returncode == code, done.stderr + world.worker_logs()
                if code:  # else what the dead one left in its spool would come behind the rewind, as late rows
                    wait_until(partial(arrived, standin, OLD_ROWS), 60, world.worker_logs)
            assert history(standin) == REWOUND
            assert archived(standin) == [BEYOND]
            failed = world.status()["counters"].get("workers_failed", 0)
            assert failed == 0, "a worker that ends for a rewind has not failed"
            (run,) = world.status()["runs"]
            assert (run["delivered"], run["late"], run["dropped"]) == (OLD_ROWS + NEW_ROWS, 0, {})
        finally:
            world.close()


def test_of_a_jobs_ranks_the_first_rewinds_and_the_rows_of_all_are_joined(rig: RunRig, standin: Standin) -> None:
    for rank, session in enumerate((NEW, "cd" * 16)):
        place = Rank(rank, 2, 60 + rank, policy="aggregate", restart=1)
        rig.append([place, *again()], session)
    asked(rig)
    rig.start().finish()
    assert history(standin) == REWOUND
    assert archived(standin) == [BEYOND], "once, not for each rank"
    assert [row.get("i/rank_mean") for row in standin.rows("r1")[BACK_TO + 1 :]] == [
        1000.0 + step for step in range(BACK_TO + 1, BACK_TO + 1 + NEW_ROWS)
    ]
