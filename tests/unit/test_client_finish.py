"""`finish`: the report adds up, whatever the daemon said or did not say."""

from __future__ import annotations

from typing import Any

import pytest

import client
from client.ledger import Ledger
from client.protocol.messages import Report
from client.report import FinishReport, finish_report
from tests.support.recording_session import RecordingSession, recording


def adds_up(report: FinishReport) -> bool:
    return report.offered == report.delivered + sum(report.dropped.values()) + report.pending


@pytest.mark.parametrize("acked", [True, False])
@pytest.mark.parametrize("said", [
    None,
    Report(session="s", state="finished", offered=10, delivered=10, directory="/d", url="u"),
    Report(session="s", state="running", offered=7, delivered=5, pending=2),
    Report(session="s", state="refused", offered=10, delivered=0, pending=10, trouble="401"),
    Report(session="s", state="finished", offered=12, delivered=9, dropped={"corrupt": 1, "spool_full": 2}),
    Report(session="s", state="running", offered=2, delivered=2),
])  # fmt: skip
def test_offered_is_delivered_and_dropped_and_pending(said: Report | None, acked: bool) -> None:
    report = finish_report(Ledger(10, 8, 0, {"spool_full": 2}), said, acked, "/spool")
    assert adds_up(report)
    assert report.offered >= 10
    assert min(report.pending, report.delivered) >= 0


def test_without_a_daemon_the_rows_are_spooled_and_the_report_says_where() -> None:
    report = finish_report(Ledger(3, 0, 3, {}), None, False, "/spool/x")
    assert (report.state, report.where, report.pending) == ("spooled", "/spool/x", 3)
    assert "3 rows offered: 0 delivered, 0 dropped, 3 pending" in str(report)
    assert "/spool/x" in str(report)


def test_what_several_processes_logged_to_a_run_and_this_one_s_share_are_told_apart() -> None:
    said = Report(session="s", state="finished", offered=30, delivered=29, dropped={"spool_full": 1})
    report = finish_report(Ledger(10, 9, 0, {"spool_full": 1}), said, True, None)
    assert adds_up(report)
    assert (report.offered, report.process) == (30, Ledger(10, 9, 0, {"spool_full": 1}))
    assert "of these from this process: 10, 1 dropped, 0 with no daemon yet" in str(report)


@pytest.mark.parametrize("timeout", [{"timeout": 0.01}, {"timeout": "10ms"}, {"timeout_s": 0.01}, {"timeout": 0}])
def test_finish_and_flush_take_a_timeout_and_wait_no_longer(
    timeout: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []

    def wait_acked(session: RecordingSession, timeout_s: float) -> bool:
        waits_s.append(timeout_s)
        return False

    monkeypatch.setattr(RecordingSession, "wait_acked", wait_acked)
    with recording():
        run = client.init(project="p")
        assert not run.flush(**timeout)
        assert not run.flush(*timeout.values())
        client.finish(quiet=True, **timeout)
    assert len(waits_s) == 3
    assert max(waits_s) <= 0.01


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"timeout": "soon"}, "write it like 60, 90s, 5min or 1h"),
        ({"timeout": -1}, "no duration"),
        ({"timeout": True}, "no duration"),
        ({"timeout": float("nan")}, "no duration"),
        ({"timeout": float("inf")}, "no duration"),
        ({"timeout": "99d"}, "the longest is"),
        ({"timeout": 1, "timeout_s": 1}, "give one of them"),
    ],
)
@pytest.mark.parametrize("mode", ["online", "disabled"])
def test_what_is_no_timeout_is_refused_at_once_and_the_run_goes_on(given: dict[str, Any], says: str, mode: str) -> None:
    with recording():
        run = client.init(project="p", mode=mode)
        for call in (run.flush, run.finish, client.finish):
            with pytest.raises(client.UsageError, match=says):
                call(**given)
        run.log({"a": 1})
        run.finish(quiet=True)


def test_losses_are_named() -> None:
    report = finish_report(
        Ledger(3, 1, 0, {"spool_full": 2}), Report(session="s", state="finished", delivered=1), True, None
    )
    assert "2 dropped (2 spool_full)" in str(report)


def test_finish_waits_for_what_the_daemon_says_and_returns_it(capsys: pytest.CaptureFixture[str]) -> None:
    with recording() as recorded:
        run = client.init(project="p")
        run.log({"a": 1})
        recorded.run.session.say(
            Report(
                session="s",
                state="finished",
                offered=1,
                delivered=1,
                directory="/runs/x",
                url="https://w/e/p/runs/i",
                name="n",
            )
        )
        assert (run.name, run.url, run.project_url, run.dir) == (
            "n", "https://w/e/p/runs/i", "https://w/e/p", "/runs/x/files",
        )  # fmt: skip
        report = run.finish()
        assert report == FinishReport(
            1, 1, {}, 0, "finished", "/runs/x", "https://w/e/p/runs/i", None, Ledger(1, 1, 0, {})
        )
        assert run.finish() is report
        assert run.flush()
    assert capsys.readouterr().err.count("1 delivered") == 1


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_given_is_recorded(code: int | None, expected: int) -> None:
    with recording() as recorded:
        client.init(project="p").finish(code, quiet=True)
    assert recorded.run.exit_code == expected


def test_a_with_block_that_raises_ends_the_run_with_1() -> None:
    with recording() as recorded:
        with pytest.raises(ValueError, match="x"), client.init(project="p"):
            raise ValueError("x")
        assert client.run is None
    assert recorded.run.exit_code == 1


def test_the_recording_ends_runs_that_are_left_open() -> None:
    with recording() as recorded:
        client.init(project="p").write_logs("hello")
        assert not recorded.run.finished
    assert recorded.run.finished
    assert recorded.run.output == "hello\n"
    assert client.run is None
