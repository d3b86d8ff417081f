"""A session against a daemon that comes late, goes away, loses answers, refuses, or never comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import guard
from client.errors import NoAnswerError
from client.journal import reader
from client.journal.folder import OwnerLock
from client.limits import ASKING_TICK_S, ASKING_TICKS_FOR_S, LEISURE_TURNS, TICK_S
from client.protocol.messages import Batch, Hello, Message, Refuse, RunSpec
from client.protocol.records import End, Row, encode
from client.sender import Sender
from client.session import Session
from tests.support.daemon_model import DaemonModel
from tests.support.processes import wait_until

SESSION = "0123456789abcdef" * 2
ROW = {f"train/m{i}": i * 0.37 for i in range(10)}


@pytest.fixture
def model(short_path: Path) -> Iterator[DaemonModel]:
    daemon = DaemonModel(f"ipc://{short_path}/d.sock")
    yield daemon
    daemon.stop()


@pytest.fixture
def session(model: DaemonModel, short_path: Path) -> Iterator[Session]:
    opened = Session.open(Hello(SESSION, run=RunSpec("r")), endpoint=model.endpoint, spool_dir=short_path / "spool")
    yield opened
    opened.close(0)


@pytest.fixture
def at_rest(model: DaemonModel, session: Session) -> Session:
    """The daemon has its ten rows."""
    model.start()
    log(session, range(10))
    assert session.wait_acked(10)
    return session


def log(session: Session, steps: range) -> None:
    for step in steps:
        assert session.append(encode(Row(step, time.time_ns(), ROW)))


def steps(model: DaemonModel) -> list[int]:
    return [row.step for row in model.rows(SESSION)]


def test_rows_reach_the_daemon_once_and_in_order(model: DaemonModel, session: Session) -> None:
    model.start()
    log(session, range(30_000))
    assert session.wait_acked(20)
    assert steps(model) == list(range(30_000))
    assert session.ledger == (30_000, 30_000, 0, {})


def test_rows_logged_before_the_daemon_starts_are_delivered_when_it_does(model: DaemonModel, session: Session) -> None:
    log(session, range(100))
    assert not session.connected
    assert session.ledger.pending == 100
    model.start()
    assert session.wait_acked(10)
    assert steps(model) == list(range(100))


def test_a_daemon_that_restarts_gets_the_rest_and_nothing_twice(model: DaemonModel, session: Session) -> None:
    for turn in range(4):
        model.start()
        log(session, range(turn * 1000, turn * 1000 + 1000))
        assert session.wait_acked(10)
        model.stop()
        log(session, range(4000 + turn * 10, 4010 + turn * 10))
    model.start()
    assert session.wait_acked(10)
    assert sorted(steps(model)) == list(range(4040))


def test_lost_acks_double_nothing(model: DaemonModel, session: Session) -> None:
    model.drop_ack = lambda batch: batch % 2 == 1
    model.start()
    log(session, range(500))
    assert session.wait_connected(5)
    model.stop()
    log(session, range(500, 1000))
    model.start()
    log(session, range(1000, 1001))
    model.drop_ack = lambda _: False
    log(session, range(1001, 1100))
    assert session.wait_acked(20)
    assert steps(model) == list(range(1100))


def test_a_full_daemon_is_waited_for(model: DaemonModel, session: Session) -> None:
    refusals = [Refuse("full", "the inbox is at its cap", SESSION)]

    def refuse_once(_: Batch) -> Message | None:
        return refusals.pop() if refusals else None

    model.answer_batch = refuse_once
    model.start()
    log(session, range(50))
    assert session.wait_acked(10)
    assert steps(model) == list(range(50))
    assert [where for where, _ in guard.raised] == ["sender.refused"]
    guard.raised.clear()


def test_a_daemon_of_another_major_keeps_the_journal_and_says_so(
    model: DaemonModel, session: Session, short_path: Path
) -> None:
    model.answer_batch = lambda _: Refuse("version", "this daemon speaks protocol 9.0", SESSION)
    model.start()
    log(session, range(50))
    assert session.wait_acked(0.5) is False
    assert session.refusal == "this daemon speaks protocol 9.0"
    assert session.close(0.1) is False
    content = reader.read_spool(short_path / "spool" / SESSION)
    assert [(stretch.first, stretch.last) for stretch in content.stretches()] == [(1, 50)]
    guard.raised.clear()


def test_close_without_a_daemon_leaves_an_unlocked_spool_with_everything(session: Session, short_path: Path) -> None:
    log(session, range(5000))
    session.record(End(time.time_ns(), 0))
    started_s = time.monotonic()
    assert session.close(0.2) is False
    assert time.monotonic() - started_s < 2
    folder = short_path / "spool" / SESSION
    lock = OwnerLock.take(folder)
    assert lock is not None
    lock.release()
    content = reader.read_spool(folder)
    assert content.hello.run is not None
    assert content.hello.run.run_id == "r"
    stretches = list(content.stretches())
    assert stretches[0].first == 1
    assert stretches[-1].last == 5001
    assert content.damage == []
    assert [path.name for path in sorted(folder.glob("*.seg"))] == ["00000001.seg"], "spares are removed"


def test_close_with_a_daemon_leaves_no_spool(model: DaemonModel, session: Session, short_path: Path) -> None:
    model.start()
    log(session, range(10))
    assert session.close(10) is True
    assert list((short_path / "spool").iterdir()) == []
    assert session.append(b"late") is False
    assert session.ledger.dropped == {"finished": 1}


def test_an_unwritable_spool_keeps_the_journal_in_memory_and_still_delivers(
    model: DaemonModel, short_path: Path
) -> None:
    (short_path / "file").write_text("in the way")
    hello = Hello(SESSION, run=RunSpec("r"))
    session = Session.open(hello, endpoint=model.endpoint, spool_dir=short_path / "file" / "spool")
    log(session, range(100))
    assert session.disk_trouble
    model.start()
    assert session.wait_acked(10)
    assert session.close(5) is True
    assert steps(model) == list(range(100))
    assert guard.raised[0][0] == "journal.spool"
    assert {where for where, _ in guard.raised} <= {"journal.spool", "journal.disk"}  # it is tried again
    guard.raised.clear()


def test_at_the_spool_cap_new_rows_are_dropped_and_counted_and_the_kept_ones_delivered(
    model: DaemonModel, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRYD_SPOOL_MAX_BYTES", str(8 << 20))
    hello = Hello(SESSION, run=RunSpec("r"))
    session = Session.open(hello, endpoint=model.endpoint, spool_dir=short_path / "spool")
    body = encode(Row(0, 1, {"text": "x" * 100_000}))
    kept = sum(session.append(body) for _ in range(2000))
    ledger = session.ledger
    assert ledger.offered == 2000
    assert ledger.dropped == {"spool_full": 2000 - kept}
    assert 0 < kept < 2000
    model.start()
    assert session.wait_acked(10)
    assert session.close(5)
    assert len(model.rows(SESSION)) == kept
    told = [record for record in model.kept[SESSION] if type(record).__name__ == "Losses"]
    assert sum(record.rows["spool_full"] for record in told) == 2000 - kept  # type: ignore[union-attr]


def test_a_record_over_the_limit_is_dropped_and_counted(session: Session) -> None:
    assert session.append(bytes((16 << 20) + 1)) is False
    assert session.ledger.dropped == {"too_large": 1}
    assert session.append(encode(Row(0, 1, {"text": "x" * (10 << 20)}))) is True


def test_threads_append_without_losing_or_mixing_records(model: DaemonModel, session: Session) -> None:
    model.start()

    def work(number: int) -> None:
        log(session, range(number * 2000, number * 2000 + 2000))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.wait_acked(20)
    assert sorted(steps(model)) == list(range(16_000))


def test_a_signal_handler_that_logs_within_a_logging_call_neither_deadlocks_nor_loses(
    model: DaemonModel, session: Session
) -> None:
    model.start()
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        session.append(encode(Row(-1, 1, {})))
        handled += 1

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        log(session, range(20_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert handled > 0
    log(session, range(20_000, 20_001))
    assert session.wait_acked(20)
    found = steps(model)
    assert [step for step in found if step >= 0] == list(range(20_001))
    assert found.count(-1) == handled


def test_a_forked_child_is_silent_and_harms_nothing(model: DaemonModel, session: Session) -> None:
    model.start()
    log(session, range(10))
    pid = os.fork()
    if pid == 0:
        kept = session.append(encode(Row(99, 1, {})))
        closed = session.close(1)
        try:
            session.ask("ping", {}, 1)
        except NoAnswerError:
            os._exit(0 if not kept and not closed else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    log(session, range(10, 20))
    assert session.wait_acked(10)
    assert steps(model) == list(range(20))


def test_while_nothing_presses_most_turns_only_ship(
    model: DaemonModel, at_rest: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, heard = [0], [0]
    ship, receive = Sender._ship, Sender._receive

    def counting_ship(sender: Sender, now_s: float) -> None:
        shipped[0] += 1
        log(at_rest, range(1))
        ship(sender, now_s)

    def counting_receive(sender: Sender, now_s: float) -> None:
        heard[0] += 1
        receive(sender, now_s)

    monkeypatch.setattr(Sender, "_ship", counting_ship)
    monkeypatch.setattr(Sender, "_receive", counting_receive)
    wait_until(lambda: shipped[0] >= 3 * LEISURE_TURNS, 20)
    assert 2 <= heard[0] <= shipped[0] // 2
    monkeypatch.undo()
    assert at_rest.wait_acked(10)
    assert len(model.rows(SESSION)) == 10 + shipped[0]


def test_a_question_that_nobody_waits_for_hurries_the_sender_only_for_a_while(
    at_rest: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = at_rest._sender
    assert sender._tick_s() == TICK_S
    question = sender.post("status", {})
    assert sender._tick_s() == ASKING_TICK_S
    assert question.result(10) == {"kind": "status"}
    assert sender._tick_s() == TICK_S
    sender._asked[10**6] = question  # one whose answer was lost with its daemon
    assert sender._tick_s() == ASKING_TICK_S
    monkeypatch.setattr(sender, "_asked_s", time.monotonic() - ASKING_TICKS_FOR_S)
    assert sender._tick_s() == TICK_S


def test_a_question_is_answered_or_says_who_did_not(model: DaemonModel, session: Session) -> None:
    with pytest.raises(NoAnswerError, match=r"did not answer `ping` within 0\.1 s"):
        session.ask("ping", {}, 0.1)
    model.start()
    assert session.ask("status", {}, 5) == {"kind": "status"}


@pytest.mark.parametrize(("rows", "sender_turns"), [(10, True), (40_000, True), (120_000, True), (60_000, False)])
def test_a_process_killed_right_after_append_leaves_every_row_in_its_spool(
    short_path: Path, rows: int, sender_turns: bool
) -> None:
    """As fast as it goes, from the first moment, with a sender that has few turns or none at all."""
    program = f"""
import os, signal
from client.sender import Sender
if not {sender_turns}:
    Sender._run = lambda sender: None
from pathlib import Path
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Row, encode
from client.session import Session
row = {ROW!r}
session = Session.open(Hello({SESSION!r}, run=RunSpec("r")), endpoint="ipc://{short_path}/none.sock",
                       spool_dir=Path({str(short_path)!r}) / "spool")
for step in range({rows}):
    session.append(encode(Row(step, 1, row)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    content = reader.read_spool(short_path / "spool" / SESSION)
    stretches = list(content.stretches())
    assert stretches[0].first == 1
    assert stretches[-1].last == rows
    assert sum(stretch.last - stretch.first + 1 for stretch in stretches) == rows
    assert content.damage == []


def test_a_live_owner_cannot_be_adopted(session: Session, short_path: Path) -> None:
    assert OwnerLock.take(short_path / "spool" / SESSION) is None


def test_without_a_daemon_stderr_says_once_how_to_start_one(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.sender.NOTICE_AFTER_S", 0.0)
    assert session.wait_acked(1)
    assert session.wait_connected(0.3) is False
    said = capsys.readouterr().err
    assert said.count("no daemon answers at") == 1
    assert "telemetryd serve" in said
