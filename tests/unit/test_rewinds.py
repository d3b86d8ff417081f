"""What is made of a batch that asks for a rewind, and of rows from before one. No process, no wandb."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from client.protocol import framing
from client.protocol.records import Rank, Record, Rewind, Row
from telemetryd.inbox.reader import StoredBatch
from telemetryd.runs import notes, rewinds
from telemetryd.runs.limits import REWIND_TRIES_MAX, ROUND_JOIN_MAX_S
from telemetryd.runs.notes import Notebook
from telemetryd.runs.online import Approach
from telemetryd.runs.rows import RowAssembly

S = 1_000_000_000


def batch(session: str, *records: Record) -> StoredBatch:
    payload = b"".join(framing.frame(msgspec.msgpack.encode(each), number) for number, each in enumerate(records, 1))
    return StoredBatch(7, session, 1, 0, payload)


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "workers" / "1.json", 1, "keep")


def test_a_batch_without_a_rewind_asks_for_none_even_if_its_rows_say_so(notebook: Notebook) -> None:
    assert rewinds.news(notebook, batch("a", Row(0, 1, {"t": "rwd"}))) is None
    assert rewinds.news(notebook, batch("a", Row(0, 1, {"x": {"t": "rwd"}}))) is None


def ranked(rank: int, start_s: float, *, step: int = 9, world: int = 3, restart: int = 1) -> StoredBatch:
    start_ns = int(start_s * S)
    return batch(f"{rank}@{start_s}", Rank(rank, world, start_ns, restart=restart), Rewind(step, start_ns))


def test_ranks_of_one_start_ask_once(notebook: Notebook) -> None:
    first = rewinds.news(notebook, ranked(1, 100))
    assert first is not None
    notebook.notes.rewind = first
    assert rewinds.news(notebook, ranked(1, 100)) is None, "the batch again, by the next worker"
    assert rewinds.news(notebook, ranked(0, 99)) is None
    assert rewinds.news(notebook, ranked(2, 99 + ROUND_JOIN_MAX_S)) is None
    stored = Notebook(notebook._path, 1, "keep").notes.rewind
    assert stored is not None
    assert sorted(stored.ranks) == [0, 1, 2]


@pytest.mark.parametrize(
    "other", [ranked(1, 101), ranked(0, 101, step=8), ranked(0, 101, restart=2), ranked(0, 102 + ROUND_JOIN_MAX_S),
              batch("plain", Rewind(9, 101 * S))]
)  # fmt: skip
def test_another_start_asks_anew(notebook: Notebook, other: StoredBatch) -> None:
    notebook.notes.rewind = rewinds.news(notebook, ranked(1, 100))
    assert rewinds.news(notebook, other) is not None


def test_a_rewind_of_a_process_older_than_the_last_one_does_not_take_its_rows(notebook: Notebook) -> None:
    notebook.notes.rewind = rewinds.news(notebook, batch("new", Rewind(9, 100 * S)))
    assert rewinds.news(notebook, batch("old", Rewind(3, 50 * S))) is None


def test_a_worker_begins_where_the_note_says_until_the_inbox_is_beyond(notebook: Notebook) -> None:
    assert rewinds.position(notebook, 5, b"five") == (5, b"five", False)
    notebook.notes.rewind = notes.Rewind(9, 1, cursor=6, snapshot=b"six")
    assert rewinds.position(notebook, 5, b"five") == (6, b"six", True)
    assert rewinds.position(notebook, 6, b"other") == (6, b"six", True)
    assert rewinds.position(notebook, 7, b"seven") == (7, b"seven", False)


def test_wandb_is_not_asked_for_ever() -> None:
    rewind = notes.Rewind(9, 1, tries=REWIND_TRIES_MAX)
    assert "tries" in (rewinds.hindrance(rewind, Approach(online=True)) or "")


def test_what_still_comes_of_a_process_from_before_the_rewind_is_late_whatever_its_step() -> None:
    rows = RowAssembly()
    finished = [done for step in range(20) for done in rows.add("old", Row(step, 1, {"i": step}), b"")]
    assert len(finished) == 20
    rows.rewind(10)
    rows = RowAssembly.restore(rows.snapshot())
    body = msgspec.msgpack.encode(Row(20, 1, {"i": 20}))
    assert rows.add("old", Row(20, 1, {"i": 20}), body) == []
    new = [done.step for step in (10, 11) for done in rows.add("new", Row(step, 1, {"i": 0}, explicit=True), b"")]
    assert new == [10, 11], "in their places"
    assert [(row.step, row.data) for row in rows.finish()] == [(20, {"i": 20})]
    assert rows.late == 1
