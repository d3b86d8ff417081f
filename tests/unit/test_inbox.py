from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from client.protocol import framing
from client.protocol.errors import MalformedError
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Config, End, Losses, Output, Row, Sample
from telemetryd.errors import InboxUnavailableError, PlaceError, SessionClaimError, UnknownSessionError
from telemetryd.inbox.database import Database, migrations, prepare
from telemetryd.inbox.progress import SessionEnd
from telemetryd.inbox.reader import InboxReader
from telemetryd.inbox.store import Inbox
from telemetryd.limits import EARLY_OUTPUT_KEPT_NS, EARLY_OUTPUT_MAX_BYTES
from telemetryd.runs import feed
from tests.support.wire_client import encode_all

TRAIN = "a" * 32
CONSOLE = "b" * 32
LAUNCH = "c" * 32


@pytest.fixture
def inbox(tmp_path: Path):
    prepare(tmp_path / "inbox.sqlite3")
    opened = Inbox(tmp_path / "inbox.sqlite3")
    yield opened
    opened.close()


def row(step: int) -> Row:
    return Row(step, 0, {"x": step})


def train(session: str = TRAIN, run_id: str = "r", launch: str | None = None, pid: int = 7) -> Hello:
    return Hello(session, run=RunSpec(run_id=run_id), launch=launch, pid=pid)


def hello(inbox: Inbox, greeting: Hello):
    with inbox.transaction():
        return inbox.intake.hello(greeting, 1)


def append(inbox: Inbox, session: str, first: int, *records, offered: int = 0):
    with inbox.transaction():
        return inbox.intake.append(session, first, first + len(records) - 1, encode_all(records, first), offered)


def close(inbox: Inbox, run_id: int, code: int = 0):
    return inbox.progress.close(run_id, lambda sessions: code)


def batches(inbox: Inbox, where: str = "1 = 1") -> list:
    return inbox.database.rows(f"SELECT session, first, last FROM batches WHERE {where} ORDER BY batch")


def test_the_config_of_a_further_session_of_an_open_run_goes_to_the_worker_before_its_rows(inbox: Inbox) -> None:
    hello(inbox, train())
    second = train("d" * 32)
    assert second.run is not None
    second.run.config = {"lr": 0.5, "layers": [1, 2]}
    assert hello(inbox, second).acked == 0
    assert hello(inbox, second).acked == 0, "said again after a break: it is not added twice"
    append(inbox, "d" * 32, 1, row(0))
    assert batches(inbox) == [("d" * 32, 0, 0), ("d" * 32, 1, 1)]
    with InboxReader(inbox.path) as reader:
        config, first_row = reader.batches(1, 0, 100, 1 << 20)
    losses = feed.Losses()
    assert [record for record, _ in feed.decoded(config, losses)] == [Config({"lr": 0.5, "layers": [1, 2]})]
    assert (config.rows, first_row.rows, losses.others) == (0, 1, 0)


def test_a_resend_that_overlaps_keeps_only_the_new_part(inbox: Inbox) -> None:
    hello(inbox, train())
    append(inbox, TRAIN, 1, row(0), row(1), row(2))
    kept = append(inbox, TRAIN, 2, row(1), row(2), row(3), row(4))
    assert (kept.acked, kept.records, kept.rows) == (5, 2, 2)
    first, body = inbox.database.row("SELECT first, body FROM batches ORDER BY batch DESC LIMIT 1")
    assert [(n, b is not None) for n, b in framing.bodies(body, first)] == [(4, True), (5, True)]


def test_a_batch_of_a_session_without_hello_is_refused(inbox: Inbox) -> None:
    with pytest.raises(UnknownSessionError):
        append(inbox, TRAIN, 1, row(0))


def test_another_process_cannot_claim_a_session(inbox: Inbox) -> None:
    hello(inbox, train())
    with pytest.raises(SessionClaimError):
        hello(inbox, train(pid=8))
    with pytest.raises(SessionClaimError):
        hello(inbox, train(run_id="other"))


def test_client_losses_and_the_end_are_spotted_among_the_records(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    kept = append(inbox, TRAIN, 1, row(0), Losses({"spool_full": 3}), End(5, exit_code=4, implicit=True), offered=4)
    assert kept.ended
    account = inbox.ledger.run(run_id).account
    assert (account.offered, account.dropped, account.pending) == (4, {"spool_full": 3}, 1)
    seen = []
    inbox.progress.close(run_id, seen.append)
    assert seen == [[SessionEnd("ended", 4, True)]]


def test_rows_that_a_dead_client_took_with_it_are_dropped_not_pending(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, row(0), row(1), offered=10)
    assert inbox.ledger.run(run_id).account.pending == 10
    with inbox.transaction():
        assert inbox.intake.lose(TRAIN, 7) == (True, run_id)
        assert inbox.intake.lose(TRAIN, 7) == (False, run_id)
    account = inbox.ledger.run(run_id).account
    assert (account.offered, account.dropped, account.pending) == (10, {"never_arrived": 8}, 2)


def test_numbers_no_client_can_reach_do_no_harm_to_the_ledger(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, row(0), Losses({"x": 2**62, "y": -5}), offered=2**64 - 1)
    append(inbox, TRAIN, 3, Losses({f"reason {n}": 2**62 for n in range(500)}))
    account = inbox.ledger.run(run_id).account
    assert account.offered == account.delivered + sum(account.dropped.values()) + account.pending
    assert len(account.dropped) <= 65


def test_progress_is_stored_whole_and_never_goes_back(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    for step in range(3):
        append(inbox, TRAIN, step + 1, row(step))
    inbox.progress.advance(run_id, 2, b"two", 2, {"corrupt": 1}, 1)
    inbox.progress.advance(run_id, 1, b"one", 1, {}, 0)
    assert inbox.database.row("SELECT cursor, snapshot, delivered FROM runs") == (2, b"two", 2)
    assert inbox.progress.delete_confirmed(run_id) == 2
    assert [first for _, first, _ in batches(inbox)] == [3]
    assert inbox.progress.active()[0].has_backlog


def test_a_finished_run_opens_again_with_a_new_session_and_a_new_life(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, row(0), End(1, exit_code=0))
    assert close(inbox, run_id) == (0, 1)
    assert inbox.progress.finish(run_id, 0, 1)
    assert inbox.progress.active() == []
    resumed = Hello("d" * 32, run=RunSpec(run_id="r", config={"lr": 0.5}))
    again = hello(inbox, resumed)
    assert (again.run_id, again.opened) == (run_id, True)
    assert inbox.progress.spec(run_id).config == {"lr": 0.5}  # what this `init` said, not the first one
    seen = []
    inbox.progress.close(run_id, seen.append)
    assert seen == [[SessionEnd("open", None, False)]]  # the first life's end says nothing about the second


def test_a_run_opened_again_while_its_worker_finishes_is_not_finished_by_it(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, row(0), End(1, exit_code=0))
    code, last = close(inbox, run_id)
    hello(inbox, train("d" * 32))
    assert not inbox.progress.finish(run_id, code, last)
    assert inbox.progress.active()[0].state == "open"


def test_records_behind_the_end_open_the_run_again_rather_than_being_lost(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, row(0), End(1, exit_code=0))
    close(inbox, run_id)
    append(inbox, TRAIN, 3, row(1))
    state = inbox.progress.active()[0]
    assert (state.state, state.open_sessions) == ("open", 1)


def test_a_hello_alone_does_not_open_an_ended_session_again(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, End(1, exit_code=0))
    close(inbox, run_id)
    assert hello(inbox, train()).acked == 1
    assert inbox.progress.active()[0].state == "closing"


NODE = "e" * 32


def node(run_id: str = "r") -> Hello:
    return Hello(NODE, role="node", run=RunSpec(run_id=run_id), pid=9, host="n2")


def sample(time_ns: int, lost: int = 0) -> Sample:
    return Sample(time_ns, {"cpu": 1.0, "disk": 2.0}, "n2", lost=lost)


def test_a_nodes_samples_are_kept_while_its_run_is_open_and_are_no_rows(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    assert hello(inbox, node()).run_id == run_id
    kept = append(inbox, NODE, 1, sample(1), sample(2, lost=5))
    assert (kept.run_id, kept.records, kept.rows, kept.samples_lost) == (run_id, 2, 0, 5)
    assert append(inbox, NODE, 1, sample(1), sample(2, lost=5)).samples_lost == 0, "a resend is counted once"
    assert batches(inbox) == [(NODE, 1, 2)]
    assert inbox.ledger.total().offered == 0
    assert inbox.progress.count_open_sessions() == 1, "a node keeps no daemon"


def test_a_node_neither_opens_a_run_nor_keeps_one_open_nor_gives_its_exit_code(inbox: Inbox) -> None:
    assert hello(inbox, node()).run_id is None
    assert append(inbox, NODE, 1, sample(1)).samples_lost == 2
    assert inbox.progress.active() == []
    run_id = hello(inbox, train()).run_id
    append(inbox, NODE, 2, sample(2))
    append(inbox, TRAIN, 1, End(1, exit_code=0))
    assert inbox.progress.active()[0].open_sessions == 0
    seen: list[list[SessionEnd]] = []
    inbox.progress.close(run_id, seen.append)
    assert seen == [[SessionEnd("ended", 0, False)]]
    close(inbox, run_id)
    late = append(inbox, NODE, 3, sample(3), End(4, exit_code=7))
    assert (late.acked, late.samples_lost, late.ended) == (4, 2, True)
    assert inbox.progress.active()[0].state == "closing", "it is not opened again"
    assert batches(inbox) == [(NODE, 2, 2), (TRAIN, 1, 1)]


def test_a_lost_node_that_comes_back_does_not_open_its_run_again(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    hello(inbox, node())
    append(inbox, NODE, 1, sample(1))
    append(inbox, TRAIN, 1, End(1, exit_code=0))
    close(inbox, run_id)
    with inbox.transaction():
        inbox.intake.lose(NODE, 1)
    assert not hello(inbox, node()).opened
    assert inbox.progress.active()[0].state == "closing"


def test_a_node_with_rows_is_refused(inbox: Inbox) -> None:
    hello(inbox, train())
    hello(inbox, node())
    with pytest.raises(MalformedError):
        append(inbox, NODE, 1, row(0))


def test_a_launchers_early_output_goes_to_the_first_run_of_its_launch(inbox: Inbox) -> None:
    console = Hello(CONSOLE, role="console", launch=LAUNCH)
    assert hello(inbox, console).run_id is None
    append(inbox, CONSOLE, 1, Output("stdout", "early\n", 1))
    run_id = hello(inbox, train(launch=LAUNCH)).run_id
    kept = append(inbox, CONSOLE, 2, Output("stdout", "later\n", 2))
    assert kept.run_id == run_id
    assert batches(inbox, f"run_id = {run_id}") == [(CONSOLE, 1, 1), (CONSOLE, 2, 2)]


def test_a_console_that_comes_after_its_run_finds_it(inbox: Inbox) -> None:
    run_id = hello(inbox, train(launch=LAUNCH)).run_id
    assert hello(inbox, Hello(CONSOLE, role="console", launch=LAUNCH)).run_id == run_id


def test_output_that_waited_is_numbered_beyond_the_cursor_of_a_run_opened_again(inbox: Inbox) -> None:
    hello(inbox, Hello(CONSOLE, role="console", launch=LAUNCH))
    append(inbox, CONSOLE, 1, Output("stdout", "early\n", 1))
    run_id = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, row(0), End(1, exit_code=0))
    code, last = close(inbox, run_id)
    inbox.progress.finish(run_id, code, last)
    assert hello(inbox, train("d" * 32, launch=LAUNCH)).run_id == run_id
    (batch,) = inbox.database.row("SELECT batch FROM batches WHERE session = ?", (CONSOLE,))
    (cursor,) = inbox.database.row("SELECT cursor FROM runs")
    assert batch > cursor


def test_output_between_two_runs_goes_to_the_second_and_is_capped(inbox: Inbox) -> None:
    hello(inbox, Hello(CONSOLE, role="console", launch=LAUNCH))
    first = hello(inbox, train(launch=LAUNCH)).run_id
    append(inbox, TRAIN, 1, End(1, exit_code=0))
    close(inbox, first)
    chunk = Output("stdout", "x" * (EARLY_OUTPUT_MAX_BYTES // 4), 1)
    dropped = sum(append(inbox, CONSOLE, number, chunk).trimmed_bytes for number in range(1, 7))
    assert dropped >= 2 * EARLY_OUTPUT_MAX_BYTES // 4
    second = hello(inbox, train("d" * 32, run_id="second", launch=LAUNCH)).run_id
    kept = batches(inbox, f"run_id = {second}")
    assert kept[-1] == (CONSOLE, 6, 6)
    assert 1 <= len(kept) < 6


def test_a_console_that_ends_without_a_run_leaves_nothing_behind(inbox: Inbox) -> None:
    hello(inbox, Hello(CONSOLE, role="console", launch=LAUNCH))
    append(inbox, CONSOLE, 1, Output("stdout", "nobody trains\n", 1), End(2, exit_code=1))
    with inbox.transaction():
        inbox.intake.hello(Hello("d" * 32, role="console", launch="e" * 32), EARLY_OUTPUT_KEPT_NS + 2)
    assert batches(inbox) == []


def test_a_run_known_only_after_its_launcher_ended_still_gets_the_output(inbox: Inbox) -> None:
    hello(inbox, Hello(CONSOLE, role="console", launch=LAUNCH))
    append(inbox, CONSOLE, 1, Output("stdout", "killed at once\n", 1), End(2, exit_code=137))
    run_id = hello(inbox, train(launch=LAUNCH)).run_id
    assert batches(inbox, f"run_id = {run_id}") == [(CONSOLE, 1, 2)]


def test_old_finished_runs_are_forgotten_and_others_are_not(inbox: Inbox) -> None:
    done = hello(inbox, train()).run_id
    append(inbox, TRAIN, 1, End(1, exit_code=0))
    code, last = close(inbox, done)
    inbox.progress.finish(done, code, last)
    hello(inbox, train("d" * 32, run_id="open"))
    assert inbox.progress.forget(before_ns=1) == []
    assert inbox.progress.forget(before_ns=2) == [done]
    assert [run.key for run in inbox.ledger.listed(10)] == ["//open"]


def test_a_full_disk_is_a_retryable_error_and_nothing_of_the_transaction_stays(inbox: Inbox) -> None:
    hello(inbox, train())
    (pages,) = inbox.database.row("PRAGMA page_count")
    inbox.database.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(InboxUnavailableError, match="full"):
        append(inbox, TRAIN, 1, Output("stdout", "x" * 200_000, 1))
    assert inbox.intake.acked(TRAIN) == 0
    inbox.database.execute("PRAGMA max_page_count = 1073741823")
    assert append(inbox, TRAIN, 1, Output("stdout", "x" * 200_000, 1)).acked == 1


@pytest.mark.parametrize("damage", ["garbage", "torn", "foreign"])
def test_a_damaged_database_is_moved_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "inbox.sqlite3"
    if damage == "garbage":
        path.write_bytes(b"not a database, whatever its name says" * 300)
    elif damage == "foreign":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE other (x)")
        other.close()
    else:
        prepare(path)
        inbox = Inbox(path)
        hello(inbox, train())
        append(inbox, TRAIN, 1, *[Output("stdout", "x" * 5000, 1) for _ in range(50)])
        inbox.database.row("PRAGMA wal_checkpoint(TRUNCATE)")
        inbox.close()
        data = bytearray(path.read_bytes())
        for offset in range(8192 * 2, len(data) - 200, 4096):
            data[offset : offset + 200] = b"\xff" * 200
        path.write_bytes(data)
    before = path.read_bytes()
    aside = prepare(path, now_s=77)
    assert aside == tmp_path / "inbox.sqlite3.corrupt-77"
    assert aside.read_bytes()[100:] == before[100:]  # but for SQLite's own header
    inbox = Inbox(path)
    assert inbox.progress.active() == []
    inbox.close()


def test_an_inbox_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite3"
    prepare(path)
    database = Database(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(PlaceError, match="newer telemetryd"):
        prepare(path)


def test_used_bytes_fall_when_batches_are_deleted(inbox: Inbox) -> None:
    run_id = hello(inbox, train()).run_id
    for number in range(1, 11):
        append(inbox, TRAIN, number, Output("stdout", "x" * 100_000, 1))
    full = inbox.database.used_bytes()
    inbox.progress.advance(run_id, 10, b"", 0, {}, 0)
    inbox.progress.delete_confirmed(run_id)
    assert inbox.database.used_bytes() < full - 900_000
    (before,) = inbox.database.row("PRAGMA page_count")
    inbox.database.give_back(1000)
    (after,) = inbox.database.row("PRAGMA page_count")
    assert after < before - 100


def test_a_database_of_an_older_version_is_migrated_with_its_content(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "inbox.sqlite3"
    prepare(path)
    inbox = Inbox(path)
    hello(inbox, train())
    inbox.close()
    newest = migrations()[-1][0]
    steps = [
        *migrations(),
        (newest + 1, "-- a comment\nALTER TABLE runs ADD COLUMN note TEXT;"),
        (newest + 2, "UPDATE runs SET note = 'new';"),
    ]
    monkeypatch.setattr("telemetryd.inbox.database.migrations", lambda: steps)
    assert prepare(path) is None
    database = Database(path)
    assert database.row("SELECT key, note FROM runs") == ("//r", "new")
    assert database.row("PRAGMA user_version") == (newest + 2,)
    database.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "inbox.sqlite3"
    prepare(path)
    newest = migrations()[-1][0]
    broken = [(newest + 1, "ALTER TABLE runs ADD COLUMN note TEXT; ALTER TABLE nowhere ADD COLUMN x;")]
    monkeypatch.setattr("telemetryd.inbox.database.migrations", lambda: broken)
    with pytest.raises(PlaceError):
        prepare(path)
    database = Database(path)
    assert database.row("PRAGMA user_version") == (newest,)
    assert "note" not in {name for (_, name, *_) in database.rows("PRAGMA table_info(runs)")}
    database.close()
