"""The inbox under any interleaving of resends, duplicates, gaps, deletions and restarts."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from client.protocol import framing
from client.protocol.errors import ProtocolError
from client.protocol.messages import Hello, RunSpec
from telemetryd.errors import GapError
from telemetryd.inbox.database import prepare
from telemetryd.inbox.store import Inbox
from telemetryd.inbox.survey import survey

SESSIONS = [f"{number:032x}" for number in range(3)]


def body(session: int, number: int) -> bytes:
    """A row's body that tells whose it is; its content is the worker's business."""
    return b"\x83\xa1t\xa1r" + f"{session}/{number}".encode()


def payload(session: int, first: int, last: int) -> bytes:
    return b"".join(framing.frame(body(session, n), n) for n in range(first, last + 1))


class InboxMachine(RuleBasedStateMachine):
    """Two sessions of one run and one of another. The model: how many records of each are kept."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "inbox.sqlite3"
        prepare(self.path)
        self.inbox = Inbox(self.path)
        self.acked = [0, 0, 0]
        self.stored: dict[int, list[int]] = {0: [], 1: [], 2: []}
        self.runs: dict[int, int] = {}
        self.taken: dict[int, list[tuple[str, int]]] = {}
        with self.inbox.transaction():
            for index in range(3):
                self._hello(index)

    def _hello(self, index: int) -> None:
        hello = Hello(SESSIONS[index], run=RunSpec(run_id=f"run{index // 2}"), pid=10 + index)
        greeted = self.inbox.intake.hello(hello, 1)
        assert greeted.run_id is not None
        assert greeted.acked == self.acked[index]
        self.runs[index] = greeted.run_id

    @rule(index=st.integers(0, 2), back=st.integers(0, 6), count=st.integers(1, 6))
    def send(self, index: int, back: int, count: int) -> None:
        first = max(1, self.acked[index] + 1 - back)
        last = first + count - 1
        with self.inbox.transaction():
            kept = self.inbox.intake.append(SESSIONS[index], first, last, payload(index, first, last), last)
        self.stored[index] += range(self.acked[index] + 1, last + 1)
        assert kept.records == max(0, last - self.acked[index])
        assert kept.rows == kept.records
        self.acked[index] = max(self.acked[index], last)
        assert kept.acked == self.acked[index]

    @rule(index=st.integers(0, 2), ahead=st.integers(1, 5), count=st.integers(1, 3), allowed=st.booleans())
    def send_beyond(self, index: int, ahead: int, count: int, allowed: bool) -> None:
        first = self.acked[index] + 1 + ahead
        last = first + count - 1
        data = payload(index, first, last)
        if not allowed:
            with pytest.raises(GapError) as caught, self.inbox.transaction():
                self.inbox.intake.append(SESSIONS[index], first, last, data)
            assert caught.value.acked == self.acked[index]
            return
        with self.inbox.transaction():
            self.inbox.intake.append(SESSIONS[index], first, last, data, gap_allowed=True)
        self.stored[index] += range(first, last + 1)
        self.acked[index] = last

    @rule(index=st.integers(0, 2), wrong=st.integers(1, 3))
    def send_with_wrong_count(self, index: int, wrong: int) -> None:
        first = self.acked[index] + 1
        with pytest.raises(ProtocolError), self.inbox.transaction():
            self.inbox.intake.append(SESSIONS[index], first, first + wrong, payload(index, first, first))

    @rule(index=st.integers(0, 2), count=st.integers(1, 4))
    def lose_a_transaction(self, index: int, count: int) -> None:
        first = self.acked[index] + 1
        with contextlib.suppress(ZeroDivisionError), self.inbox.transaction():
            self.inbox.intake.append(
                SESSIONS[index], first, first + count - 1, payload(index, first, first + count - 1)
            )
            raise ZeroDivisionError

    @rule(index=st.integers(0, 2))
    def say_hello_again(self, index: int) -> None:
        with self.inbox.transaction():
            self._hello(index)

    @rule()
    def restart(self) -> None:
        self.inbox.close()
        prepare(self.path)
        self.inbox = Inbox(self.path)

    @rule(run=st.integers(0, 1), share=st.floats(0, 1))
    def confirm_and_delete(self, run: int, share: float) -> None:
        run_id = self.runs[run * 2]
        batches = self.inbox.database.rows(
            "SELECT batch, session, first, last FROM batches WHERE run_id = ? ORDER BY batch", (run_id,)
        )
        done = batches[: int(len(batches) * share)]
        if not done:
            return
        taken = self.taken.setdefault(run_id, [])
        for _, session, first, last in done:
            taken += [(session, number) for number in range(first, last + 1)]
        self.inbox.progress.advance(run_id, done[-1][0], b"", len(taken), {}, 0)
        while self.inbox.progress.delete_confirmed(run_id, 2) == 2:
            pass

    @invariant()
    def every_record_is_there_once_and_in_order(self) -> None:
        for index, session in enumerate(SESSIONS):
            run_id = self.runs[index]
            numbers = [number for owner, number in self.taken.get(run_id, []) if owner == session]
            for first, last, rows, data in self.inbox.database.rows(
                "SELECT first, last, rows, body FROM batches WHERE session = ? ORDER BY batch", (session,)
            ):
                for number, kept in framing.bodies(data, first):
                    assert kept is not None
                    assert bytes(kept) == body(index, number)
                    numbers.append(number)
                assert number == last
                assert rows == last - first + 1
            assert numbers == self.stored[index]

    @invariant()
    def the_ledger_adds_up(self) -> None:
        total = self.inbox.ledger.total()
        assert total.delivered == sum(map(len, self.taken.values()))
        assert total.pending >= 0
        assert total.offered == total.delivered + sum(total.dropped.values()) + total.pending

    def teardown(self) -> None:
        if hasattr(self, "inbox"):
            self.inbox.close()
            self.folder.cleanup()


InboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestInbox = InboxMachine.TestCase


def test_a_survey_of_random_bytes_raises_nothing_but_the_protocols_errors() -> None:
    from hypothesis import given

    @given(st.binary(max_size=200), st.integers(1, 5), st.integers(0, 5), st.integers(0, 7))
    @settings(max_examples=300, deadline=None)
    def check(data: bytes, first: int, more: int, acked: int) -> None:
        try:
            found = survey(data, first, first + more, acked)
        except ProtocolError:
            return
        assert 0 <= found.start <= len(data)

    check()
