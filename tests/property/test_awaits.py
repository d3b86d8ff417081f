"""Values that come after their row end at its place, whatever else the sessions say meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from client.protocol.records import AnyRecord, Arrived, Await, Config, End, Gone, Output, Record, Row
from telemetryd.runs.awaits import Awaits
from telemetryd.runs.rows import FinishedRow, RowAssembly

SESSION = "a"


def through(records: list[Record], held_max_bytes: int = 1 << 20) -> tuple[list[AnyRecord], Awaits]:
    awaits = Awaits(held_max_bytes)
    found: list[AnyRecord] = []
    for record in records:
        found += [taken.record for taken in awaits.take(SESSION, record, msgspec.msgpack.encode(record))]  # type: ignore[arg-type]
    return found, awaits


def assembled(records: list[Any]) -> list[FinishedRow]:
    assembly = RowAssembly()
    rows: list[FinishedRow] = []
    for record in records:
        if isinstance(record, Row):
            rows += assembly.add(SESSION, record, msgspec.msgpack.encode(record))
        elif isinstance(record, End):
            rows += assembly.end_session(SESSION)
    return rows + assembly.finish()


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """(what a client sends, the same with every value at its row's place, as if it had been there at once)."""
    sent: list[Record] = []
    at_once: list[Record] = []
    late: list[tuple[int, list[Row], Arrived]] = []
    steps = draw(st.integers(1, 8))
    for step in range(steps):
        if draw(st.booleans()):
            number = len(late) + 1
            fills = [
                Row(step, 1, {f"h{number}_{i}": draw(st.integers(0, 9))}, False, fills=number)
                for i in range(draw(st.integers(0, 3)))
            ]
            sent.append(Await(number))
            at_once += fills
            late.append((len(sent), fills, Arrived(number)))
        for record in (Row(step, 2, {"loss": step}), Config({"step": step})):
            sent.append(record)
            at_once.append(record)
    for position, fills, arrived in reversed(late):
        for fill in fills:
            sent.insert(draw(st.integers(position, len(sent))), fill)
        behind = max([sent.index(fill) + 1 for fill in fills], default=position)
        sent.insert(draw(st.integers(behind, len(sent))), arrived)
    return sent, at_once


@given(streams())
@settings(max_examples=300, deadline=None)
def test_rows_are_those_of_a_stream_whose_values_came_at_once(stream: tuple[list[Record], list[Record]]) -> None:
    sent, at_once = stream
    found, awaits = through(sent)
    assert not awaits.holding
    assert [(row.step, row.data) for row in assembled(found)] == [(row.step, row.data) for row in assembled(at_once)]
    others = [record for record in found if not (isinstance(record, Row) and record.fills)]
    assert others == [record for record in at_once if not (isinstance(record, Row) and record.fills)]


def test_output_does_not_wait() -> None:
    row = Row(0, 1, {"a": 1})
    found, awaits = through([Await(1), row, Output("stdout", "x\n", 1)])
    assert found == [Output("stdout", "x\n", 1)]
    assert awaits.holding
    assert [taken.record for taken in awaits.give_up_all()] == [row]
    assert not awaits.holding


def test_the_end_waits_for_nothing() -> None:
    row, end = Row(0, 1, {"a": 1}), End(1, 0)
    assert through([Await(1), row, end])[0] == [row, end]


def test_too_much_waiting_is_given_up_and_values_come_late() -> None:
    rows = [Row(step, 1, {"text": "x" * 100}) for step in range(20)]
    late = Row(0, 1, {"h": 1}, False, fills=1)
    found, awaits = through([Await(1), *rows, late, Arrived(1)], held_max_bytes=1000)
    assert [record for record in found if record is not late] == rows
    assert late in found
    assert not awaits.holding


def test_sessions_do_not_wait_for_each_other() -> None:
    awaits = Awaits()
    row = Row(0, 1, {"a": 1})
    assert list(awaits.take("a", Await(1), b"")) == []
    assert [taken.session for taken in awaits.take("b", row, b"")] == ["b"]
    assert list(awaits.take("a", row, b"")) == []
    assert [taken.session for taken in awaits.give_up("a")] == ["a"]
    assert list(awaits.give_up("c")) == []


def test_values_that_had_not_come_when_their_session_died_are_counted() -> None:
    sent = [Await(1, "a"), Await(1, "b"), Row(0, 1, {"a": 1}, False, fills=1), Row(0, 2, {"loss": 1}), Arrived(1)]
    sent += [Await(2, "a"), Await(2, "b"), Await(2, "c"), Row(1, 3, {"b": 1, "c": 1}, False, fills=2)]
    sent += [Row(1, 4, {"loss": 2}), Gone(5)]
    found, awaits = through(sent)
    assert [record for record in found if isinstance(record, Row)] == [r for r in sent if isinstance(r, Row)]
    assert awaits.unfinished == 1  # "b" of the first Await has no histogram: its Arrived says that nothing more comes
    assert not awaits.holding
    found, awaits = through(sent[:-1])  # where no Gone comes, the run's end says it
    assert (awaits.unfinished, [taken.record for taken in awaits.end()], awaits.unfinished) == (0, [sent[-2]], 1)
