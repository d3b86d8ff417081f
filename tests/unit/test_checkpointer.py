"""The thread that copies the inbox's log home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Row
from telemetryd import limits
from telemetryd.inbox import checkpointer, database
from telemetryd.inbox.checkpointer import Checkpointer
from telemetryd.inbox.database import prepare
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from tests.support.processes import wait_until
from tests.support.wire_client import encode_all

SESSION = "a" * 32
BATCH_BYTES = 1 << 20


class Place:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "inbox.sqlite3"
        self.log = folder / "inbox.sqlite3-wal"
        prepare(self.path)
        self.home = Home(self.path)
        self.checkpointer = Checkpointer(self.home)
        self.inbox = Inbox(self.path, self.home)
        self.checkpointer.start()
        with self.inbox.transaction():
            self.inbox.intake.hello(Hello(SESSION, run=RunSpec("r"), pid=7), 1)
        self.batches = 0

    def append(self, count: int) -> None:
        for number in range(self.batches + 1, self.batches + count + 1):
            payload = encode_all([Row(number, 0, {"x": "y" * BATCH_BYTES})], number)
            with self.inbox.transaction():
                self.inbox.intake.append(SESSION, number, number, payload)
        self.batches += count


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.checkpointer.close()
    made.inbox.close()


def test_what_was_written_gets_home_without_a_writer_doing_it(place: Place) -> None:
    before = place.path.stat().st_size
    place.append(limits.INBOX_CHECKPOINT_BYTES // BATCH_BYTES + 1)
    wait_until(lambda: place.checkpointer.rounds, 30, "a checkpoint")
    assert place.path.stat().st_size > before + limits.INBOX_CHECKPOINT_BYTES / 2


def test_a_small_amount_waits_for_more(place: Place) -> None:
    place.append(2)
    assert place.checkpointer.rounds == 0


def test_the_log_begins_anew_although_transactions_follow_without_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "INBOX_LOG_MAX_PAGES", 8 * BATCH_BYTES // limits.INBOX_PAGE_BYTES)
    # The thread stays out of it: while it copies, which takes as long as the disk does, the writer cannot, and goes on.
    monkeypatch.setattr(checkpointer, "INBOX_CHECKPOINT_BYTES", 1 << 40)
    place = Place(tmp_path)
    try:
        place.append(60)
        assert place.log.stat().st_size < 60 * BATCH_BYTES / 2
        assert len(place.inbox.database.rows("SELECT batch FROM batches")) == 60
    finally:
        place.checkpointer.close()
        place.inbox.close()


def test_an_inbox_that_was_removed_comes_back_with_what_the_log_held(place: Place) -> None:
    place.append(3)
    place.path.unlink()
    place.append(1)
    place.checkpointer.wrote(limits.INBOX_CHECKPOINT_BYTES)
    wait_until(lambda: place.checkpointer.rounds, 30, "a checkpoint of the new file")
    assert place.home.returns == 1
    assert len(place.inbox.database.rows("SELECT batch FROM batches")) == 4
