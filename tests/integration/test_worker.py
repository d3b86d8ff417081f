"""A real worker with a real wandb, offline: every promise that rests on both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol import framing
from client.protocol.messages import RunSpec
from client.protocol.records import Attributes, Config, End, Metric, Output, Row, Summary
from telemetryd.runs import control, predecessor, wandb_file
from telemetryd.runs.carried import carried_from
from telemetryd.runs.notes import Folder
from telemetryd.runs.worker_main import EXIT_PERMANENT, EXIT_TROUBLE
from tests.support.run_rig import RunRig, rows


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    rig = RunRig(short_path / "rig")
    yield rig
    rig.close()


def test_rows_of_a_run_are_delivered_confirmed_and_finished(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", project="p"))
    last = rig.append(rows(3000))
    worker = rig.start()
    progress = worker.finish(3)
    assert (progress.delivered, progress.cursor, progress.dropped) == (3000, last, {})
    got = rig.rows()
    assert [step for step, _ in got] == list(range(3000))
    assert got[17][1]["m3"] == 17 + 3 / 16
    assert got[17][1]["_timestamp"] == pytest.approx(1_700_000_000.017)


def test_the_run_keeps_its_exit_code_and_is_the_training_process_s(rig: RunRig) -> None:
    metadata = {"program": "train.py", "args": ["--lr", "1"], "host": "node7", "executable": "/opt/py", "pid": 1}
    spec = RunSpec("r1", "team", "p", "first", "why", ["t"], "g", "job", {"lr": 0.1, "big": 2**40}, metadata=metadata)
    rig.add_run(spec)
    rig.append(rows(1))
    rig.start().finish(7)
    records = list(wandb_file.records(rig.files()[0]))
    run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
    assert (run.entity, run.project, run.display_name, run.notes, list(run.tags)) == (
        "team",
        "p",
        "first",
        "why",
        ["t"],
    )
    assert (run.run_group, run.job_type, run.host) == ("g", "job", "node7")
    assert next(r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit") == 7
    environment = next(r.environment for r in records if r.WhichOneof("record_type") == "environment")
    assert (environment.program, list(environment.args), environment.executable) == (
        "train.py",
        ["--lr", "1"],
        "/opt/py",
    )


def test_the_runs_start_is_the_trainings(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.hello_start_ns = 1_700_000_000_500_000_000
    rig.append(rows(1))
    rig.start().finish()
    records = list(wandb_file.records(rig.files()[0]))
    started = next(r.environment.started_at for r in records if r.WhichOneof("record_type") == "environment")
    assert started.ToNanoseconds() == rig.hello_start_ns
    folder = time.strftime("offline-run-%Y%m%d_%H%M%S-r1", time.localtime(1_700_000_000))
    assert rig.files()[0].parent.name == folder


@pytest.mark.parametrize("victim", ["worker", "core"])
def test_sigkill_amid_twenty_thousand_rows_loses_none_and_doubles_none(rig: RunRig, victim: str) -> None:
    rig.add_run(RunSpec("r1", project="p"))
    rig.append(rows(20_000))
    for kills in range(3):
        worker = rig.start()
        started = worker.wait_for(control.Started)
        delivered = kills * 4000
        worker.wait_for(control.Progress, lambda report, delivered=delivered: report.delivered > delivered)
        if victim == "worker":
            worker.kill()
        else:
            assert started.core_pid is not None
            os.kill(started.core_pid, signal.SIGKILL)
            assert worker.wait_for(control.Trouble).reason == "core_died"
            assert worker.wait() == EXIT_TROUBLE
    progress = rig.start().finish()
    assert progress.delivered == 20_000
    got = rig.rows()
    assert [step for step, _ in got] == list(range(20_000))
    assert all(row["m1"] == step + 1 / 16 for step, row in got)


def test_a_worker_killed_before_any_progress_was_stored_repeats_no_row(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(5000))
    worker = rig.start()
    worker.store_progress = False
    worker.wait_for(control.Progress, lambda report: report.delivered > 2000)
    worker.kill()
    assert rig.start().finish().delivered == 5000
    assert [step for step, _ in rig.rows()] == list(range(5000))


def test_a_worker_killed_between_its_last_rows_and_finished_ends_the_run_with_the_same_rows(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append([Row(5, 1, {"a": 5}, explicit=True), Row(2, 1, {"b": 2}, explicit=True)])
    last = rig.append([Row(6, 1, {"a": 6}), Row(7, 1, {"open": 7}, closes=False)])
    worker = rig.start()
    worker.store_progress = False
    worker.order(control.Finish(0, last))
    worker.wait_for(control.Progress, lambda report: report.delivered == 4)
    worker.kill()
    rig.append([Row(8, 1, {"a": 8})])  # the run goes on after all
    assert rig.start().finish().delivered == 5
    assert [(step, row.get("late_step")) for step, row in rig.rows()] == [
        (5, None),
        (6, None),
        (7, None),
        (8, 2),
        (9, None),
    ]


def test_config_summary_metrics_and_output_stand_in_the_newest_file_after_a_kill(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", config={"lr": 1}))
    rig.append(
        [Metric("val", step_metric="epoch", summary="max"), Config({"lr": 2, "new": [1]}), Output("stdout", "one\n", 1)]
    )
    rig.append(
        [Attributes("renamed", "noted", ["x"]), Summary([(["best", "acc"], 0.5)]), Row(0, 1, {"epoch": 3, "val": 1})]
    )
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.cursor == 2)
    worker.kill()
    rig.append([Output("stderr", "two\n", 2), Row(1, 1, {"val": 0.5})])
    rig.start().finish()
    newest = carried_from([Folder("", str(rig.files()[-1]), "offline", 0)])
    assert newest.config == {"lr": 2, "new": [1]}
    assert newest.summary["best"] == {"acc": 0.5}
    assert (newest.name, newest.notes, newest.tags) == ("renamed", "noted", ["x"])
    assert list(newest.metrics) == ["val"]
    assert rig.rows()[1][1]["epoch"] == 3
    texts = [r.output_raw.line for path in rig.files() for r in wandb_file.records(path) if r.HasField("output_raw")]
    assert texts == ["one\n", "two\n"]


def test_stop_leaves_the_run_unfinished_and_the_next_worker_goes_on(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append([*rows(10), Row(10, 1, {"open": 1}, closes=False)])
    worker = rig.start()
    worker.order(control.Stop(30))
    assert worker.wait() == 0
    assert worker.last_progress().delivered == 10
    assert not predecessor.cores_of(worker.process.pid)
    tally = wandb_file.Tally(rig.files()[0])
    tally.update()
    assert (tally.history, tally.exited) == (10, False)
    rig.append([Row(10, 1, {"closed": 1})])
    assert rig.start().finish().delivered == 12
    step, row = rig.rows()[-1]
    assert (step, row["open"], row["closed"]) == (10, 1, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_make_wandb_finish_the_run(rig: RunRig, number: signal.Signals) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(10))
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 10)
    os.kill(worker.process.pid, number)
    if number == signal.SIGTERM:
        assert worker.wait() == 0
        assert not any(r.HasField("exit") for r in wandb_file.records(rig.files()[0]))
    else:
        rig.append(rows(10, start=10))
        assert worker.finish().delivered == 20


def test_a_worker_whose_supervisor_dies_ends_with_its_core_and_without_finishing(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(10))
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 10)
    worker.close_orders()
    worker.wait()
    assert not predecessor.cores_of(worker.process.pid)
    assert not any(r.HasField("exit") for r in wandb_file.records(rig.files()[0]))
    assert rig.start().finish().delivered == 10
    assert len(rig.rows()) == 10


def test_a_hung_predecessor_is_ended_before_its_file_is_read(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(2000))
    hung = rig.start()
    hung.wait_for(control.Started)
    os.kill(hung.process.pid, signal.SIGSTOP)
    assert rig.start().finish().delivered == 2000
    assert hung.wait() == -signal.SIGKILL
    assert [step for step, _ in rig.rows()] == list(range(2000))


def test_a_stopped_core_is_waited_for_and_reported(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(10))
    worker = rig.start()
    core = worker.wait_for(control.Started).core_pid
    assert core is not None
    worker.wait_for(control.Progress, lambda report: report.delivered == 10)
    os.kill(core, signal.SIGSTOP)
    rig.append(rows(10, start=10))
    assert worker.wait_for(control.Trouble).permanent is False
    os.kill(core, signal.SIGCONT)
    worker.wait_for(control.Recovered)
    assert worker.finish().delivered == 20


def test_a_finished_run_that_is_opened_again_continues_after_its_last_step(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append([*rows(3), End(1)])
    rig.start().finish()
    rig.append(rows(2), session="6f" * 16)
    progress = rig.start().finish()
    assert progress.delivered == 5
    assert [(step, row["m0"]) for step, row in rig.rows()] == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]


def test_damaged_and_refused_rows_are_counted_and_the_rest_is_delivered(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    good, bad, unknown = (msgspec.msgpack.encode(row) for row in [*rows(2), Config()])
    broken = bytearray(framing.frame(bad, 2))
    broken[-1] ^= 1
    rig.append_payload("5e" * 16, 1, 2, 2, framing.frame(good, 1) + bytes(broken))
    alien = Row(7, 1, {"a": msgspec.msgpack.Ext(99, b"?")})
    rig._next["5e" * 16] = 3
    rig.append([alien, unknown.replace(b"cfg", b"xyz"), *rows(1, start=9)])
    progress = rig.start().finish()
    assert (progress.delivered, progress.dropped) == (2, {"corrupt": 1, "refused": 1})
    assert [step for step, _ in rig.rows()] == [0, 9]


def test_an_online_run_without_a_key_is_kept_offline_and_says_so(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", mode="online"))
    rig.append(rows(1))
    worker = rig.start()
    assert worker.wait_for(control.Started).mode == "offline"
    worker.finish()
    assert "telemetryd login" in worker.log.read_text()


def test_the_daemons_wandb_variables_do_not_reach_the_run(rig: RunRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix-nowhere")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    rig.add_run(RunSpec("r1", settings={"api_key": "x" * 40, "base_url": "http://evil.invalid", "x_label": "ok"}))
    rig.append(rows(1))
    worker = rig.start()
    worker.finish()
    assert rig.files()[0].name == "run-r1.wandb"
    assert "setting_ignored name=base_url" in worker.log.read_text()


def test_an_unusable_spec_is_permanent_trouble(rig: RunRig) -> None:
    rig.add_run(RunSpec("bad/id"))
    rig.append(rows(1))
    worker = rig.start()
    assert worker.wait_for(control.Trouble).permanent
    assert worker.wait() == EXIT_PERMANENT


def test_late_rows_are_kept_or_dropped_as_the_daemon_is_told(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append([Row(5, 1, {"a": 1}, explicit=True), Row(2, 1, {"b": 1}, explicit=True)])
    progress = rig.start("--late", "drop").finish()
    assert (progress.delivered, progress.dropped, progress.late) == (1, {"late": 1}, 0)


def test_nothing_temporary_is_left_by_a_killed_worker_once_the_next_has_run(rig: RunRig, isolated: Path) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(10))
    worker = rig.start()
    worker.wait_for(control.Started)
    worker.kill()
    rig.start().finish()
    assert list((isolated / "tmp").iterdir()) == []
