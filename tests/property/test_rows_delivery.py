"""Delivery against a sink that loses what it has not confirmed, killed at any moment, any number of times."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from client.protocol import framing
from client.protocol.records import (
    Alert,
    Arrived,
    Attributes,
    Await,
    Config,
    End,
    Metric,
    Output,
    Pins,
    Process,
    Record,
    Row,
    Summary,
)
from telemetryd.inbox.reader import StoredBatch
from telemetryd.runs import delivery as delivery_module
from telemetryd.runs.control import Started
from telemetryd.runs.delivery import Delivery
from telemetryd.runs.errors import RowRefusedError
from telemetryd.runs.limits import CHECKPOINTS_MAX
from telemetryd.runs.media.blobs import BlobStore
from telemetryd.runs.rows import FinishedRow
from telemetryd.runs.sink import Existing, Position

SESSIONS = ("a" * 32, "b" * 32)
REFUSED = "refused"


@dataclass
class Disk:
    """What survives a kill: the run's files, as one list in order of writing."""

    entries: list[tuple[str, Any]] = field(default_factory=list)

    def steps(self) -> list[int]:
        return [row.step for kind, row in self.entries if kind == "row"]

    def outputs(self) -> list[str]:
        return [text for kind, text in self.entries if kind == "output"]

    def alerts(self) -> list[str]:
        return [title for kind, title in self.entries if kind == "alert"]


@dataclass
class LossySink:
    """Writes to memory; `flush_to_disk` makes a prefix of it durable, as wandb-core does now and then."""

    disk: Disk
    memory: list[tuple[str, Any]] = field(default_factory=list)
    durable: int = 0

    def open(self) -> Started:
        return Started("", "offline")

    def existing(self, next_step: int) -> Existing:
        steps = tuple(s for s in self.disk.steps() if s >= next_step)
        return Existing(steps, len(self.disk.outputs()), alerts=len(self.disk.alerts()))

    def row(self, row: FinishedRow) -> None:
        if REFUSED in row.data:
            raise RowRefusedError("this row")
        self.memory.append(("row", row))

    def config(self, record: Config) -> None:
        self.memory.append(("config", record))

    def summary(self, record: Summary) -> None:
        self.memory.append(("summary", record))

    def metric(self, record: Metric) -> None:
        self.memory.append(("metric", record))

    def output(self, record: Output) -> None:
        self.memory.append(("output", record.text))

    def attributes(self, record: Attributes) -> None:
        self.memory.append(("attributes", record))

    def alert(self, record: Alert) -> None:
        self.memory.append(("alert", record.title))

    def preempting(self) -> None:
        self.memory.append(("preempting", None))

    def pins(self, record: Pins) -> None:
        self.memory.append(("pins", record))

    def process(self, record: Process) -> None:
        self.memory.append(("process", record))

    def flush(self) -> None:
        pass

    def check(self) -> None:
        pass

    def media_lost(self) -> dict[str, int]:
        return {}

    def look(self) -> None:
        pass

    def finish(self, exit_code: int) -> None:
        self.flush_to_disk(len(self.memory))

    def abandon(self) -> None:
        pass

    def flush_to_disk(self, upto: int) -> None:
        self.disk.entries += self.memory[self.durable : upto]
        self.durable = max(self.durable, upto)

    def written(self) -> Position:
        return Position(sum(kind == "row" for kind, _ in self.memory), {0: len(self.memory)})

    def confirmed_rows(self) -> int:
        return sum(kind == "row" for kind, _ in self.memory[: self.durable])

    def unread_rows(self) -> int:
        return sum(kind == "row" for kind, _ in self.memory[self.durable :])

    def is_confirmed(self, position: Position) -> bool:
        return self.durable >= position.others[0]


def stored(script: list[tuple[int, list[Record]]]) -> list[StoredBatch]:
    """Batches as the inbox would have them."""
    first = dict.fromkeys(SESSIONS, 1)
    batches = []
    for number, (index, group) in enumerate(script):
        session = SESSIONS[index]
        bodies = [msgspec.msgpack.encode(record) for record in group]
        payload = b"".join(framing.frame(body, first[session] + i) for i, body in enumerate(bodies))
        rows = sum(isinstance(record, Row) for record in group)
        batches.append(StoredBatch(number + 1, session, first[session], rows, payload))
        first[session] += len(bodies)
    return batches


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[int, list[Record]]]:
    names = iter(range(10_000))

    def record(session: int) -> Record:
        kind = draw(st.sampled_from([0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]))
        name = next(names)
        if kind == 0:
            return Output("stdout", str(name), name)
        if kind == 1:
            return Config({"last": name})
        if kind == 2:
            return End(name, 0)
        if kind == 3:
            return Summary([(["x"], name)])
        if kind == 10:
            return Alert(str(name), "", "INFO", 60_000, name)
        if kind in (11, 12):
            return (Await, Arrived)[kind - 11](draw(st.integers(1, 3)))
        key = REFUSED if kind == 4 else f"v{name}"
        explicit = draw(st.booleans())
        step = draw(st.integers(0, 15))
        fills = draw(st.integers(1, 3)) if kind == 13 else None
        return Row(step, name, {key: name}, draw(st.booleans()), explicit, fills)

    groups = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=1, max_size=12))
    return [(session, [record(session) for _ in range(count)]) for session, count in groups]


@dataclass
class Attempt:
    """A worker on what survived the ones before it. `ends` are the notes that survive, `closing` where orders come."""

    disk: Disk
    batches: list[StoredBatch]
    closing: set[int]
    ends: list[int]
    cursor: int = 0
    snapshot: bytes = b""

    def start(self) -> tuple[LossySink, Delivery]:
        sink = LossySink(self.disk)
        delivery = Delivery(sink, self.cursor, self.snapshot, BlobStore(Path("no-such-folder")))
        delivery.resume(0, sink.existing(delivery.rows.next_step), self.ends)
        return sink, delivery

    def take(self, delivery: Delivery, batch: StoredBatch) -> None:
        delivery.take(batch)
        if batch.number in self.closing and batch.number not in self.ends:
            self.ends.append(batch.number)
            delivery.end()

    def finish(self) -> Delivery:
        sink, delivery = self.start()
        for batch in self.batches[self.cursor :]:
            self.take(delivery, batch)
        delivery.end()
        sink.finish(0)
        delivery.confirm()
        return delivery


def newest(disk: Disk) -> Any:
    """What a summary key holds that every row sets and every Summary record overrides."""
    return next((entry for entry in reversed(disk.entries) if entry[0] in ("row", "summary")), None)


@given(scripts(), st.data())
@settings(max_examples=300, deadline=None)
def test_kills_at_any_moment_change_nothing_in_what_arrives(
    script: list[tuple[int, list[Record]]], data: st.DataObject
) -> None:
    batches = stored(script)
    closing = data.draw(st.sets(st.integers(1, len(batches)), max_size=2))
    expected = Disk()
    reference = Attempt(expected, batches, closing, []).finish()
    calls = sum(batch.rows for batch in batches)
    assert reference.delivered + sum(reference.dropped.values()) == calls

    attempt = Attempt(Disk(), batches, closing, [])
    for _ in range(data.draw(st.integers(0, 4))):
        sink, delivery = attempt.start()
        for batch in batches[attempt.cursor : attempt.cursor + data.draw(st.integers(0, len(batches)))]:
            attempt.take(delivery, batch)
            if data.draw(st.booleans()):
                delivery.checkpoint()
        sink.flush_to_disk(data.draw(st.integers(0, len(sink.memory))))
        delivery.confirm()
        if data.draw(st.booleans()):
            attempt.cursor, attempt.snapshot = delivery.cursor, delivery.snapshot
        assert delivery.delivered + sum(delivery.dropped.values()) <= calls
    delivery = attempt.finish()

    def written(disk: Disk, kind: str) -> list[Any]:
        return [entry for name, entry in disk.entries if name == kind]

    disk = attempt.disk
    assert written(disk, "row") == written(expected, "row")
    assert disk.outputs() == expected.outputs()
    assert disk.alerts() == expected.alerts()
    assert (delivery.delivered, delivery.dropped) == (reference.delivered, reference.dropped)
    assert delivery.settled
    assert written(disk, "config")[-1:] == written(expected, "config")[-1:]
    assert newest(disk) == newest(expected)


def test_a_cursor_moves_only_to_what_is_confirmed() -> None:
    disk = Disk()
    sink = LossySink(disk)
    delivery = Delivery(sink, 0, b"", BlobStore(Path("no-such-folder")))
    for batch in stored([(0, [Row(0, 1, {"a": 1})]), (0, [Row(1, 1, {"a": 2}), Config({"b": 1})])]):
        delivery.take(copy.copy(batch))
        delivery.checkpoint()
    sink.flush_to_disk(2)
    assert delivery.confirm()
    assert (delivery.cursor, delivery.delivered, delivery.settled) == (1, 2, False)
    sink.flush_to_disk(3)
    assert delivery.confirm()
    assert (delivery.cursor, delivery.settled) == (2, True)


def test_a_summary_value_that_a_later_row_replaced_is_not_written_again() -> None:
    batches = stored([(0, [Row(0, 1, {"x": 1}), Summary([(["x"], 2)]), Row(1, 1, {"x": 3}), Summary([(["y"], 4)])])])
    disk = Disk()
    sink = LossySink(disk)
    delivery = Delivery(sink, 0, b"", BlobStore(Path("no-such-folder")))
    delivery.take(batches[0])
    sink.flush_to_disk(3)
    Attempt(disk, batches, set(), []).finish()
    assert [name for name, _ in disk.entries] == ["row", "summary", "row", "summary"]


def test_a_sessions_first_row_waits_for_its_values_and_not_for_those_of_others() -> None:
    disk = Disk()
    fill = Row(0, 1, {"h": 1}, False, fills=1)
    batches = [(0, [Await(1), Row(0, 1, {"a": 1})]), (0, [fill, Arrived(1), Await(2), Row(1, 1, {"a": 2})])]
    Attempt(disk, stored([*batches, (1, [Row(0, 1, {"b": 1})])]), set(), []).finish()
    rows = [row.data for kind, row in disk.entries if kind == "row"]
    assert rows == [{"h": 1, "a": 1}, {"a": 2}, {"b": 1}]


def test_however_many_boundaries_wait_the_oldest_ones_and_the_newest_are_kept() -> None:
    sink = LossySink(Disk())
    delivery = Delivery(sink, 0, b"", BlobStore(Path("no-such-folder")))
    for batch in stored([(0, [Row(number, 1, {"a": number})]) for number in range(40)]):
        delivery.take(batch)
        delivery.checkpoint()
    for rows, cursor in ((1, 1), (3, 3), (39, CHECKPOINTS_MAX - 1), (40, 40)):
        sink.flush_to_disk(rows)
        delivery.confirm()
        assert (delivery.cursor, delivery.delivered) == (cursor, rows)
    assert delivery.settled


def test_nothing_more_is_taken_while_too_much_cannot_be_read_back_or_is_not_confirmed(monkeypatch) -> None:
    monkeypatch.setattr(delivery_module, "UNREAD_MAX_ROWS", 3)
    monkeypatch.setattr(delivery_module, "UNCONFIRMED_MAX_ROWS", 5)
    sink = LossySink(Disk())
    delivery = Delivery(sink, 0, b"", BlobStore(Path("no-such-folder")))
    batches = stored([(0, [Row(number, 1, {"a": number})]) for number in range(5)])
    for batch in batches[:3]:
        assert not delivery.full
        delivery.take(batch)
    assert delivery.full
    sink.flush_to_disk(3)  # readable, but nobody has looked whether it is confirmed
    assert not delivery.full
    for batch in batches[3:]:
        delivery.take(batch)
    sink.flush_to_disk(5)
    assert delivery.full
    delivery.confirm()
    assert not delivery.full
