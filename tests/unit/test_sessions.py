from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client.protocol.messages import Hello, RunSpec
from telemetryd.inbox.claims import hello_problem
from telemetryd.limits import TAKEOVER_SILENCE_S
from telemetryd.reception.reports import ReportSchedule
from telemetryd.reception.sessions import Sessions

A, B = b"one", b"two"


def test_a_batch_is_taken_only_from_the_connection_that_was_welcomed() -> None:
    sessions = Sessions()
    assert not sessions.heard("s", A, 0.0)
    sessions.welcome("s", A, 1, 0, 0.0)
    assert sessions.heard("s", A, 0.0)
    assert not sessions.heard("s", B, 0.0)


def test_another_connection_waits_until_the_older_one_is_silent() -> None:
    sessions = Sessions()
    sessions.welcome("s", A, 1, 0, 10.0)
    assert sessions.must_wait("s", B, 10.0)
    assert not sessions.must_wait("s", A, 10.0)
    sessions.heard("s", A, 11.0)
    assert sessions.must_wait("s", B, 11.0 + TAKEOVER_SILENCE_S - 0.01)
    assert not sessions.must_wait("s", B, 11.0 + TAKEOVER_SILENCE_S)


def test_a_connection_that_is_gone_takes_all_its_sessions_with_it() -> None:
    sessions = Sessions()
    for session in ("s", "t"):
        sessions.welcome(session, A, 1, 0, 0.0)
    sessions.welcome("u", B, 2, 0, 0.0)
    sessions.welcome("t", B, 1, 0, 0.0)
    assert sessions.gone(A) == ["s"]
    assert {live.session for live in sessions.of_runs({1, 2})} == {"t", "u"}
    assert sessions.gone(A) == []


@given(st.lists(st.tuples(st.sampled_from("wlg"), st.sampled_from("stu"), st.sampled_from([A, B])), max_size=40))
def test_a_session_never_has_two_connections_and_none_is_remembered_without_sessions(events: list) -> None:
    sessions = Sessions()
    model: dict[str, bytes] = {}
    for kind, session, connection in events:
        if kind == "w":
            sessions.welcome(session, connection, 1, 0, 0.0)
            model[session] = connection
        elif kind == "l":
            sessions.leave(session)
            model.pop(session, None)
        else:
            sessions.gone(connection)
            model = {s: c for s, c in model.items() if c != connection}
        assert {live.session: live.connection for live in sessions} == model
        assert set(sessions._by_connection) == set(model.values())


def test_a_hello_that_would_leave_its_folder_is_refused() -> None:
    good = Hello("a" * 32, run=RunSpec(run_id="r", project="p", entity="e"))
    assert hello_problem(good) is None
    for session in ("", "A" * 32, "a" * 31, "../" + "a" * 29, "a" * 32 + "\n"):
        assert hello_problem(Hello(session, run=RunSpec(run_id="r"))), session
    for spec in (RunSpec(run_id=""), RunSpec(run_id="a/b"), RunSpec(run_id="r", project="a/b"), RunSpec("r", "e\0")):
        assert hello_problem(Hello("a" * 32, run=spec)), spec
    assert hello_problem(Hello("a" * 32, role="console"))
    assert hello_problem(Hello("a" * 32, role="console", launch="b" * 32)) is None


def test_reports_of_a_run_are_spaced_and_important_ones_are_not() -> None:
    schedule = ReportSchedule(0.5)
    schedule.changed(1, 10.0, important=False)
    assert schedule.take_due(10.0) == {1}
    schedule.changed(1, 10.1, important=False)
    assert schedule.take_due(10.2) == set()
    assert schedule.next_due_s() == 10.5
    schedule.changed(2, 10.2, important=False)
    schedule.changed(1, 10.3, important=True)
    assert schedule.take_due(10.3) == {1, 2}
    assert schedule.next_due_s() is None
