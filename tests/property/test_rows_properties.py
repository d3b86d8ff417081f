"""Row assembly under every order of calls that hypothesis thinks of."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from client.protocol.records import Row
from telemetryd.runs.rows import LATE_KEY, FinishedRow, RowAssembly

SESSIONS = ("a" * 32, "b" * 32, "c" * 32)


@dataclass
class Call:
    data: dict[str, Any]
    step: int | None
    commit: bool | None


calls = st.builds(
    Call,
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), max_size=3),
    st.none() | st.integers(0, 12),
    st.none() | st.booleans(),
)


@dataclass
class ClientNumbering:
    """How wandb's core numbers the calls of one process; the client's rows carry the outcome."""

    step: int = 0
    rows: list[Row] = field(default_factory=list)

    def log(self, call: Call, time_ns: int) -> None:
        closes = call.commit if call.commit is not None else call.step is None
        explicit = call.step is not None
        step = self.step if call.step is None else call.step
        if step >= self.step:
            self.step = step + 1 if closes else step
        self.rows.append(Row(step, time_ns, copy.deepcopy(call.data), closes, explicit))


@dataclass
class Wandb:
    """What wandb's core does with the same calls: late ones are dropped, equal steps merge."""

    step: int = 0
    row: dict[str, Any] | None = None
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def flush(self, next_step: int) -> None:
        if self.row is not None:
            self.history.append((self.step, self.row))
        self.row = None
        self.step = next_step

    def log(self, call: Call) -> None:
        if call.step is not None and call.step < self.step:
            return
        if call.step is not None and call.step > self.step:
            self.flush(call.step)
        self.row = {**(self.row or {}), **call.data}
        if call.commit if call.commit is not None else call.step is None:
            self.flush(self.step + 1)


def run(assembly: RowAssembly, stream: list[tuple[str, Row]]) -> list[FinishedRow]:
    finished: list[FinishedRow] = []
    for session, row in stream:
        finished += assembly.add(session, copy.deepcopy(row), msgspec.msgpack.encode(row))
    return finished


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, Row]]:
    """Calls of up to three processes, interleaved; every call has a value that no other has."""
    numberings = {session: ClientNumbering() for session in SESSIONS}
    stream: list[tuple[str, Row]] = []
    for number, (session, call) in enumerate(draw(st.lists(st.tuples(st.sampled_from(SESSIONS), calls), max_size=25))):
        numberings[session].log(Call({f"call{number}": number}, call.step, call.commit), number)
        stream.append((session, numberings[session].rows[-1]))
    return stream


@given(st.lists(calls, max_size=30))
@settings(max_examples=300, deadline=None)
def test_a_single_session_gets_the_rows_and_steps_that_wandb_would_give_it(script: list[Call]) -> None:
    numbering, wandb = ClientNumbering(), Wandb()
    for number, call in enumerate(script):
        numbering.log(call, number)
        wandb.log(call)
    wandb.flush(wandb.step + 1)
    assembly = RowAssembly(late_policy="drop")
    rows = run(assembly, [(SESSIONS[0], row) for row in numbering.rows]) + assembly.finish()
    assert [(row.step, row.data) for row in rows] == wandb.history
    assert assembly.finished_calls + assembly.dropped_late == len(script)


@given(streams(), st.sampled_from([0, 7]), st.sampled_from([60, 1 << 20]))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_nothing_doubled_and_steps_increase(
    stream: list[tuple[str, Row]], start: int, held_max_bytes: int
) -> None:
    assembly = RowAssembly(held_max_bytes=held_max_bytes)
    assembly.start_at(start)
    rows = run(assembly, stream)
    assert assembly.finished_calls + assembly.waiting == len(stream)
    rows += assembly.finish()
    steps = [row.step for row in rows]
    assert all(step >= start for step in steps)
    assert steps == sorted(set(steps))
    values = sorted(value for row in rows for key, value in row.data.items() if key != LATE_KEY)
    assert values == list(range(len(stream)))
    assert sum(row.calls for row in rows) == len(stream) == assembly.finished_calls
    assert assembly.waiting == 0


@given(streams(), st.data(), st.sampled_from([60, 1 << 20]))
@settings(max_examples=300, deadline=None)
def test_replay_from_a_snapshot_gives_the_same_rows(
    stream: list[tuple[str, Row]], data: st.DataObject, held_max_bytes: int
) -> None:
    cut = data.draw(st.integers(0, len(stream)))
    whole = RowAssembly(held_max_bytes=held_max_bytes)
    run(whole, stream[:cut])
    snapshot = whole.snapshot()
    again = RowAssembly.restore(snapshot, held_max_bytes=held_max_bytes)
    assert again.snapshot() == snapshot
    rest = run(whole, stream[cut:]) + whole.finish()
    assert run(again, stream[cut:]) + again.finish() == rest
    assert again.snapshot() == whole.snapshot()
    assert (again.late, again.dropped_late) == (whole.late, whole.dropped_late)


@given(streams())
@settings(max_examples=200, deadline=None)
def test_an_explicit_step_is_the_rows_own_or_written_beside_it(stream: list[tuple[str, Row]]) -> None:
    assembly = RowAssembly()
    rows = run(assembly, stream) + assembly.finish()
    placed = {value: row for row in rows for key, value in row.data.items() if key != LATE_KEY}
    for number, (_, row) in enumerate(stream):
        if row.explicit and placed[number].calls == 1:
            assert row.step in (placed[number].step, placed[number].data.get(LATE_KEY))
