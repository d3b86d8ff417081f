"""The daemon with the real run worker and the real wandb, offline: what went in is in the .wandb file, once."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client.protocol.messages import Report
from client.protocol.records import Config, End, Losses, Row
from telemetryd.runs.wandb_file import history_rows
from tests.support.daemon import Daemon
from tests.support.processes import wait_until
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.timeout(240)


def rows(first: int, count: int) -> list[Row]:
    return [Row(step, time.time_ns(), {"loss": step / 8}) for step in range(first - 1, first - 1 + count)]


def history(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of every row in the run's .wandb files."""
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        found += [(step, values["loss"]) for step, values in history_rows(path)]
    return found


def test_rows_from_the_wire_are_in_the_wandb_file_and_the_run_ends_with_its_exit_code(
    daemon: Daemon, tmp_path: Path
) -> None:
    with WireClient(daemon.endpoint, directory=str(tmp_path)) as client:
        client.hello()
        client.send(Config({"lr": 0.1}), *rows(1, 500))
        client.send(*rows(501, 500), End(time.time_ns(), exit_code=3))
        report = client.expect(Report, lambda report: report.state == "finished", 120)
    assert (report.offered, report.delivered, report.pending, report.exit_code) == (1000, 1000, 0, 3)
    assert daemon.stop(60) == 0
    assert history(tmp_path) == [(step, step / 8) for step in range(1000)]
    assert report.directory is not None
    assert Path(report.directory).is_relative_to(tmp_path)


def test_no_row_is_lost_or_doubled_when_worker_and_daemon_are_killed_in_the_middle(
    daemon: Daemon, tmp_path: Path
) -> None:
    with WireClient(daemon.endpoint, directory=str(tmp_path)) as client:
        client.hello()
        client.send(*rows(1, 2000))
        client.expect(Report, lambda report: report.delivered >= 1, 120)
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        client.send(*rows(2001, 2000))
        client.wait_acked()
        daemon.kill()
        daemon.start()
        client.reconnect()
        assert client.hello().acked == 4000
        client.send(*rows(4001, 1000), End(time.time_ns(), exit_code=0))
        report = client.expect(Report, lambda report: report.state == "finished", 150)
    assert (report.offered, report.delivered, report.pending, report.dropped) == (5000, 5000, 0, {})
    assert daemon.stop(60) == 0
    assert history(tmp_path) == [(step, step / 8) for step in range(5000)]


def test_no_row_is_lost_or_doubled_when_the_state_folder_is_removed_and_the_worker_killed_after_it(
    daemon: Daemon, tmp_path: Path
) -> None:
    with WireClient(daemon.endpoint, directory=str(tmp_path)) as client:
        client.hello()
        client.send(*rows(1, 2000))
        client.expect(Report, lambda report: report.delivered >= 1, 120)
        shutil.rmtree(daemon.state_dir, ignore_errors=True)
        client.send(*rows(2001, 2000))
        client.expect(Report, lambda report: report.delivered >= 2001, 120)
        (worker,) = daemon.workers()
        os.kill(worker, signal.SIGKILL)
        client.send(*rows(4001, 1000), End(time.time_ns(), exit_code=0))
        report = client.expect(Report, lambda report: report.state == "finished", 150)
    assert (report.offered, report.delivered, report.pending, report.dropped) == (5000, 5000, 0, {})
    status = daemon.status()
    assert status["counters"]["inboxes_put_back"] >= 1
    assert status["counters"]["workers_started"] == 2, "the removal itself costs no restart"
    assert (daemon.state_dir / "daemon.json").exists()
    assert daemon.stop(60) == 0
    assert history(tmp_path) == [(step, step / 8) for step in range(5000)]


@pytest.mark.leaves_files(
    "what would tell the next worker of a killed one's temporary folder is removed with the state"
)
def test_a_state_folder_removed_while_no_worker_lives_costs_no_row_and_doubles_none(
    daemon: Daemon, tmp_path: Path
) -> None:
    with WireClient(daemon.endpoint, directory=str(tmp_path)) as client:
        client.hello()
        client.send(*rows(1, 2000))
        client.expect(Report, lambda report: report.delivered >= 1, 120)
        (worker,) = daemon.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "worker_failed" in daemon.told(), 20, daemon.told)
        shutil.rmtree(daemon.state_dir, ignore_errors=True)
        client.send(*rows(2001, 1000), End(time.time_ns(), exit_code=0))
        report = client.expect(Report, lambda report: report.state == "finished", 150)
    assert (report.offered, report.delivered, report.pending, report.dropped) == (3000, 3000, 0, {})
    assert daemon.stop(60) == 0
    assert history(tmp_path) == [(step, step / 8) for step in range(3000)]


def adds_up(account: dict[str, Any]) -> bool:
    return account["offered"] == account["delivered"] + sum(account["dropped"].values()) + account["pending"]


def test_each_process_that_writes_to_a_run_has_an_account_that_adds_up_and_so_has_the_run(
    daemon: Daemon, tmp_path: Path
) -> None:
    assert daemon.stop(60) == 0
    daemon.start(["--late", "drop"])
    ends = End(time.time_ns(), exit_code=0)
    with WireClient(daemon.endpoint, directory=str(tmp_path)) as one, WireClient(
        daemon.endpoint, directory=str(tmp_path), pid=os.getppid()
    ) as other:  # fmt: skip
        one.hello()
        one.send(*rows(1, 1000), Losses({"spool_full": 4}))
        one.wait_acked()
        other.hello()
        late = [Row(step, time.time_ns(), {"loss": 0.0}, explicit=True) for step in range(5)]
        refused = Row(5000, time.time_ns(), {"loss": msgspec.msgpack.Ext(2, b"no array")}, explicit=True)
        still_open = Row(6000, time.time_ns(), {"loss": 1.0}, closes=False, explicit=True)
        other.send(*late, refused, *rows(1, 20), still_open)
        other.wait_acked()
        seen = []

        def settled() -> bool:
            (run,) = daemon.status()["runs"]
            seen.append(run)
            return [process["pending"] for process in run["processes"]] == [0, 1]

        wait_until(settled, 120, lambda: f"{seen[-1:]}")
        assert all(adds_up(account) for run in seen for account in (run, *run["processes"]))
        daemon.kill()
        daemon.start()
        for client in (one, other):
            client.reconnect()
            client.hello()
            client.send(ends)
        one.expect(Report, lambda report: report.state == "finished", 120)
    (run,) = daemon.status()["runs"]
    first, second = run["processes"]
    assert (first["pid"], second["pid"]) == (os.getpid(), os.getppid())
    assert {process["state"] for process in run["processes"]} == {"ended"}
    assert (first["offered"], first["delivered"], first["dropped"]) == (1004, 1000, {"spool_full": 4})
    assert (second["offered"], second["delivered"]) == (27, 21)
    assert second["dropped"] == {
        "late": 5,
        **{reason: 1 for reason in ("refused", "corrupt") if reason in run["dropped"]},
    }
    for name in ("offered", "delivered", "pending"):
        assert run[name] == first[name] + second[name]
    assert daemon.stop(60) == 0


def test_sigterm_drains_an_open_run_and_the_next_daemon_finishes_it(daemon: Daemon, tmp_path: Path) -> None:
    with WireClient(daemon.endpoint, directory=str(tmp_path)) as client:
        client.hello()
        client.send(*rows(1, 300))
        client.wait_acked()
        assert daemon.stop(60) == 0
        assert "300 rows delivered, 0 pending" in daemon.told()
        assert len(history(tmp_path)) == 300
        daemon.start()
        client.reconnect()
        wait_until(lambda: client.hello().acked == 300, 20)
        client.send(*rows(301, 10), End(time.time_ns(), exit_code=0))
        client.expect(Report, lambda report: report.state == "finished", 120)
    assert daemon.stop(60) == 0
    assert history(tmp_path) == [(step, step / 8) for step in range(310)]
