"""The desk on a real inbox, without a socket: what a full disk and an unexpected error do to a turn."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from client.protocol import frames
from client.protocol.messages import Ack, Answer, Ask, Hello, Refuse, RunSpec, Welcome
from client.protocol.records import Output
from telemetryd.health.counters import Counters
from telemetryd.health.deliveries import Deliveries
from telemetryd.health.events import Events
from telemetryd.health.status import Health
from telemetryd.inbox.database import prepare
from telemetryd.inbox.store import Inbox
from telemetryd.reception.desk import Desk
from telemetryd.reception.questions import Questions
from telemetryd.reception.sessions import Sessions
from tests.support.wire_client import encode_all

ONE, TWO = "1" * 32, "2" * 32


class Office:
    """A desk and what lies around it."""

    def __init__(self, path: Path) -> None:
        prepare(path)
        self.inbox = Inbox(path)
        self.health, self.counters = Health(), Counters()
        self.sessions = Sessions()
        questions = Questions(
            self.inbox.ledger,
            self.inbox.progress,
            self.inbox.artifacts,
            self.health,
            self.counters,
            Deliveries(),
            Events(),
            {},
            lambda: None,
        )
        self.desk = Desk(
            self.inbox,
            self.sessions,
            questions,
            self.counters,
            self.health,
            1 << 30,
            "1",
            lambda connection, ack: False,
            lambda connection, ask: self.deferred.append(ask.kind) or True,
        )
        self.deferred: list[str] = []

    def turn(self, *messages: tuple[bytes, list[Any]]) -> list[tuple[bytes, Any]]:
        for connection, parts in messages:
            self.desk.take(connection, parts, 1.0)
        return self.desk.settle(1.0).replies


@pytest.fixture
def office(tmp_path: Path):
    made = Office(tmp_path / "inbox.sqlite3")
    for connection, session in ((b"a", ONE), (b"b", TWO)):
        made.turn((connection, frames.pack(Hello(session, run=RunSpec(run_id=session)))))
    yield made
    made.inbox.close()


def batch(session: str, first: int, size: int = 10) -> list[Any]:
    return frames.batch(session, first, first, encode_all([Output("stdout", "x" * size, 1)], first), 0)


def test_a_turn_acks_each_session_once_with_the_last_record_kept(office: Office) -> None:
    replies = office.turn((b"a", batch(ONE, 1)), (b"b", batch(TWO, 1)), (b"a", batch(ONE, 2)))
    assert replies == [(b"a", Ack(ONE, 2)), (b"b", Ack(TWO, 1))]


def test_on_a_full_disk_everybody_is_told_to_wait_nothing_is_acked_and_it_goes_on_when_there_is_room(
    office: Office,
) -> None:
    database = office.inbox.database
    (pages,) = database.row("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages + 4}")
    replies = office.turn((b"a", batch(ONE, 1)), (b"b", batch(TWO, 1, 500_000)))
    assert [(connection, reply.code) for connection, reply in replies] == [(b"a", "full"), (b"b", "full")]
    component = office.health.get("inbox")
    assert component is not None
    assert component.state.value == "recoverable"
    assert "full" in (component.reason or "")
    assert office.inbox.intake.acked(ONE) == 0
    database.execute("PRAGMA max_page_count = 1073741823")
    replies = office.turn((b"a", batch(ONE, 1)), (b"b", batch(TWO, 1, 500_000)))
    assert replies == [(b"a", Ack(ONE, 1)), (b"b", Ack(TWO, 1))]
    recovered = office.health.get("inbox")
    assert recovered is not None
    assert recovered.state.value == "ok"


def test_an_unexpected_error_costs_only_the_message_that_causes_it(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append = office.inbox.intake.append

    def fragile(session: str, *args: Any, **options: Any) -> Any:
        kept = append(session, *args, **options)
        if session == ONE:
            raise RuntimeError("a defect, after the write")
        return kept

    monkeypatch.setattr(office.inbox.intake, "append", fragile)
    with caplog.at_level(logging.CRITICAL):
        replies = dict(office.turn((b"b", batch(TWO, 1)), (b"a", batch(ONE, 1)), (b"b", batch(TWO, 2))))
    assert isinstance(replies[b"a"], Refuse)
    assert replies[b"b"] == Ack(TWO, 2)
    assert office.inbox.intake.acked(ONE) == 0
    assert office.counters["reception_errors"] == 1


def test_while_stopping_nothing_is_taken_and_questions_are_answered(office: Office) -> None:
    office.desk.stopping = True
    replies = office.turn((b"a", batch(ONE, 1)), (b"c", frames.pack(Hello("3" * 32, run=RunSpec(run_id="c")))))
    assert [reply.code for _, reply in replies] == ["stopping", "stopping"]


def test_a_batch_in_the_turn_of_its_hello_has_not_been_welcomed_yet(office: Office) -> None:
    session = "3" * 32
    replies = office.turn((b"c", frames.pack(Hello(session, run=RunSpec(run_id="c")))), (b"c", batch(session, 1)))
    assert {type(reply) for _, reply in replies} == {Welcome, Refuse}
    assert office.turn((b"c", batch(session, 1))) == [(b"c", Ack(session, 1))]


def test_content_is_taken_from_the_connection_of_its_session_alone_and_a_stranger_is_told_to_say_hello(office) -> None:
    def asked(connection: bytes, kind: str, session: str) -> list[tuple[bytes, Any]]:
        return office.turn((connection, frames.pack(Ask(7, kind, {"session": session, "id": "a" * 32}))))

    assert asked(b"a", "artifact_chunk", ONE) == []
    assert asked(b"a", "artifact_content", ONE) == []
    assert office.deferred == ["artifact_chunk", "artifact_content"]
    for connection, session in ((b"b", ONE), (b"c", ONE), (b"a", "none")):
        told = asked(connection, "artifact_chunk", session)
        assert [type(message) for _, message in told] == [Refuse, Answer]
        assert told[0][1].code == "unknown_session"
        assert "say hello first" in told[1][1].error
    assert len(office.deferred) == 2
    assert asked(b"c", "api", ONE) == [], "what is asked of W&B needs no session"
    office.desk.stopping = True
    assert "stopping" in asked(b"a", "artifact_chunk", ONE)[0][1].error
