"""The inbox's file is removed or replaced while the daemon has it open: everything goes on in a new one of its name."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Row
from telemetryd.errors import AlreadyServingError, InboxUnavailableError
from telemetryd.inbox import home
from telemetryd.inbox.database import prepare
from telemetryd.inbox.home import Home
from telemetryd.inbox.reader import InboxReader
from telemetryd.inbox.store import Inbox
from telemetryd.supervision.state_folder import FolderLock, make
from tests.support.wire_client import encode_all

SESSION = "a" * 32


class Place:
    """An inbox with the connections of two threads, as a daemon has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "inbox.sqlite3"
        make(folder)
        self.lock = FolderLock(folder)
        prepare(self.path)
        self.home = Home(self.path, self.lock.hold_on)
        self.one, self.other = Inbox(self.path, self.home), Inbox(self.path, self.home)
        with self.one.transaction():
            self.one.intake.hello(Hello(SESSION, run=RunSpec(run_id="r"), pid=7), 1)
        self.sent = 0

    def append(self, inbox: Inbox, count: int = 1) -> None:
        first = self.sent + 1
        records = [Row(number, 0, {"x": number}) for number in range(first, first + count)]
        with inbox.transaction():
            inbox.intake.append(SESSION, first, first + count - 1, encode_all(records, first))
        self.sent += count

    def close(self) -> None:
        self.one.close()
        self.other.close()
        self.lock.release()

    def stored(self) -> list[tuple[int, int]]:
        """(first, last) of every batch, read by nobody who was there before."""
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as reader:
            found = reader.execute("SELECT first, last FROM batches ORDER BY batch").fetchall()
        reader.close()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "state")
    yield made
    made.close()


def _remove_folder(place: Place) -> None:
    shutil.rmtree(place.folder)


def _remove_file(place: Place) -> None:
    place.path.unlink()


def _remove_log(place: Place) -> None:
    Path(f"{place.path}-wal").unlink()


def _remove_all_files(place: Place) -> None:
    for path in place.folder.glob("inbox.sqlite3*"):
        path.unlink()


REMOVALS: list[Callable[[Place], None]] = [_remove_folder, _remove_file, _remove_log, _remove_all_files]


@pytest.mark.parametrize("remove", REMOVALS)
def test_what_was_committed_before_and_after_a_removal_is_in_the_new_file_for_everybody(place: Place, remove) -> None:
    place.append(place.one, 5)
    remove(place)
    place.append(place.other, 3)
    place.append(place.one, 2)
    assert place.home.returns == 1
    assert place.stored() == [(1, 5), (6, 8), (9, 10)]
    assert place.other.intake.acked(SESSION) == place.one.intake.acked(SESSION) == 10
    assert (place.folder / "daemon.lock").exists()
    assert place.folder.stat().st_mode & 0o777 == 0o700
    assert not list(place.folder.glob("*.partial"))


def test_a_removal_is_noticed_without_anything_to_write(place: Place) -> None:
    place.append(place.one, 4)
    shutil.rmtree(place.folder)
    place.one.database.stay_home()
    assert place.stored() == [(1, 4)]


def test_nothing_is_copied_while_the_file_is_at_its_place(place: Place) -> None:
    before = place.path.stat().st_ino
    for inbox in (place.one, place.other) * 20:
        place.append(inbox)
        inbox.database.stay_home()
        inbox.database.give_back(100)
    assert (place.home.returns, place.path.stat().st_ino) == (0, before)


def test_it_returns_as_often_as_it_is_removed(place: Place) -> None:
    for number in range(1, 5):
        place.append(place.one)
        shutil.rmtree(place.folder)
        place.append(place.other)
        assert place.home.returns == number
    assert place.stored() == [(number, number) for number in range(1, 9)]


def test_somebody_elses_file_at_its_place_is_moved_aside_and_not_read(place: Place) -> None:
    place.append(place.one, 2)
    place.path.unlink()
    place.path.write_bytes(b"a backup, perhaps")
    place.append(place.one)
    assert place.stored() == [(1, 2), (3, 3)]
    (aside,) = place.folder.glob("inbox.sqlite3.replaced-*")
    assert aside.read_bytes() == b"a backup, perhaps"


def test_nothing_is_taken_while_it_cannot_return_and_everything_once_it_can(place: Place) -> None:
    place.append(place.one, 2)
    gone = place.folder.with_name("gone")
    place.folder.rename(gone)
    place.folder.write_bytes(b"a file where the folder was")
    for inbox in (place.one, place.other):
        with pytest.raises(InboxUnavailableError, match="not put back"):
            place.append(inbox)
    assert place.one.ledger.total().offered == 2, "reading goes on in the old file"
    place.folder.unlink()
    place.append(place.one)
    assert place.stored() == [(1, 2), (3, 3)]
    shutil.rmtree(gone)


def test_a_folder_that_another_daemon_has_taken_meanwhile_is_left_to_it(place: Place) -> None:
    shutil.rmtree(place.folder)
    make(place.folder)
    other = FolderLock(place.folder)
    with pytest.raises(InboxUnavailableError, match="another daemon"):
        place.append(place.one)
    assert not place.path.exists()
    other.release()
    place.append(place.one)
    with pytest.raises(AlreadyServingError):
        FolderLock(place.folder)


def test_threads_that_write_and_read_amid_removals_lose_nothing(place: Place) -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                place.other.ledger.total()
                with contextlib.suppress(InboxUnavailableError):  # the folder goes just now
                    place.other.database.stay_home()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(60):
            place.append(place.one, 3)
            if number % 6 == 5:
                shutil.rmtree(place.folder, ignore_errors=True)
    finally:
        done.set()
        thread.join()
    assert errors == []
    place.one.database.stay_home()
    assert place.stored() == [(first, first + 2) for first in range(1, 181, 3)]


def test_a_worker_follows_into_the_new_file_and_goes_on_behind_what_it_read(place: Place) -> None:
    place.append(place.one, 2)
    with InboxReader(place.path) as reader:
        assert reader.run(1).key == "//r"
        (read,) = reader.batches(1, 0, 1 << 62, 1 << 20)
        assert not reader.follow()
        shutil.rmtree(place.folder)
        assert not reader.follow(), "there is nothing to follow to"
        place.append(place.one, 3)
        assert reader.follow()
        assert not reader.follow()
        (next_batch,) = reader.batches(1, read.number, 1 << 62, 1 << 20)
        assert (next_batch.first, next_batch.rows) == (3, 3)


def test_a_worker_does_not_follow_into_a_database_without_its_run(place: Place) -> None:
    with InboxReader(place.path) as reader:
        assert reader.run(1).key == "//r"
        shutil.rmtree(place.folder)
        place.folder.mkdir()
        prepare(place.path)
        assert not reader.follow()
        place.path.write_bytes(b"no database at all")
        assert not reader.follow()
        assert reader.run(1).key == "//r"


def test_a_thread_that_hangs_on_the_disk_holds_the_others_up_for_a_while_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetryd.inbox.home.INBOX_BUSY_TIMEOUT_S", 0.05)
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        with place.other.transaction():
            entered.set()
            release.wait(30)

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        assert entered.wait(10)
        with pytest.raises(InboxUnavailableError, match="another thread"):
            place.append(place.one)
        with pytest.raises(InboxUnavailableError, match="another thread"):
            place.one.database.stay_home()
        assert place.one.ledger.total().offered == 0, "reading goes on"
    finally:
        release.set()
        thread.join()
    place.append(place.one)


def test_the_log_of_a_database_is_part_of_what_it_is_known_by(place: Place) -> None:
    assert None not in home.identity(place.path)
