"""The join of ranks against a model, in any order of arrival, with kills of the worker at any moment."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from client.protocol.records import End, Gone, Rank, Row
from telemetryd.runs.ranks import Ranks
from telemetryd.runs.rows import FinishedRow, RowAssembly

SECOND_NS = 10**9


class Machine:
    """Ranks and row assembly as delivery ties them together."""

    def __init__(self) -> None:
        self.ranks = Ranks()
        self.rows = RowAssembly()
        self.out: list[FinishedRow] = []
        self.calls = 0

    def take(self, session: str, record: Any) -> None:
        calls: list[Any] = []
        if isinstance(record, Row):
            self.calls += 1
            calls = self.ranks.row(session, record, msgspec.msgpack.encode(record))
        elif isinstance(record, Rank):
            calls = self.ranks.join(session, record)
        elif isinstance(record, End | Gone):
            calls = self.ranks.end(session)
        self._feed(calls)

    def _feed(self, calls: Iterable[Any]) -> None:
        for call in calls:
            self.out += self.rows.add(*call)
        assert self.calls == self.rows.finished_calls + self.rows.waiting + self.ranks.absorbed + self.ranks.waiting

    def flush(self) -> None:
        self._feed(self.ranks.flush())

    def finish(self) -> list[FinishedRow]:
        self._feed(self.ranks.finish())
        self.out += self.rows.finish()
        assert self.calls == self.rows.finished_calls + self.ranks.absorbed
        return self.out

    def reborn(self) -> Machine:
        """The machine that a worker makes of this one's snapshots."""
        other = Machine()
        other.ranks = Ranks.restore(self.ranks.snapshot())
        other.rows = RowAssembly.restore(self.rows.snapshot())
        other.out, other.calls = list(self.out), self.calls
        return other


def data(rows: Iterable[FinishedRow]) -> list[tuple[int, dict[str, Any]]]:
    return [(row.step, row.data) for row in rows]


def expected(by_rank: dict[int, float]) -> dict[str, Any]:
    ranks = sorted(by_rank)
    values = np.array([by_rank[rank] for rank in ranks])
    return {
        "v/rank_mean": values.mean(), "v/rank_min": values.min(), "v/rank_max": values.max(),
        "v/rank_std": values.std(),
        "v/rank_argmin": ranks[int(values.argmin())], "v/rank_argmax": ranks[int(values.argmax())],
    }  # fmt: skip


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if isinstance(value, float):
            assert math.isclose(found[key], value, rel_tol=1e-9, abs_tol=1e-9), key
        else:
            assert found[key] == value, key


@st.composite
def jobs(draw: st.DrawFn) -> tuple[int, dict[int, dict[int, float]], list[tuple[str, Any]]]:
    """(world size, values by step and rank, the records of all sessions in an order of arrival)."""
    world = draw(st.integers(1, 5))
    steps = draw(st.integers(1, 8))
    values: dict[int, dict[int, float]] = {step: {} for step in range(steps)}
    streams: list[list[tuple[str, Any]]] = []
    for rank in range(world):
        name = f"s{rank}"
        stream: list[tuple[str, Any]] = [(name, Rank(rank, world, 1, policy="aggregate", timeout_s=1000.0))]
        for step in range(steps):
            if rank and draw(st.integers(0, 5)) == 0:
                continue  # a rank may skip a step, for it logs now and then
            value = draw(st.floats(-1e6, 1e6))
            values[step][rank] = value
            stream.append((name, Row(step, (step + 1) * SECOND_NS, {"v": value}, explicit=True)))
        stream.append((name, End(1)))
        streams.append(stream)
    order = draw(st.permutations([rank for rank, stream in enumerate(streams) for _ in stream]))
    places = [0] * world
    arrival = []
    for rank in order:
        arrival.append(streams[rank][places[rank]])
        places[rank] += 1
    return world, values, arrival


@given(jobs())
@settings(max_examples=200, deadline=None)
def test_every_step_has_the_statistics_of_the_ranks_that_logged_it_in_whatever_order_they_came(job: Any) -> None:
    world, values, arrival = job
    machine = Machine()
    for session, record in arrival:
        machine.take(session, record)
    rows = machine.finish()
    assert [row.step for row in rows] == sorted(values)
    for row in rows:
        by_rank = values[row.step]
        wanted = {"v": by_rank[0], **expected(by_rank)}
        if len(by_rank) < world:
            wanted["_telemetryd/ranks"] = len(by_rank)
        assert_same(row.data, wanted)
    assert machine.ranks.late == 0


@given(jobs(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_worker_that_dies_at_any_moment_and_goes_on_from_its_snapshot_writes_the_same_rows(
    job: Any, draws: Any
) -> None:
    _, _, arrival = job
    straight = Machine()
    for session, record in arrival:
        straight.take(session, record)
    cuts = draws.draw(st.sets(st.integers(0, len(arrival)), max_size=3))
    flushes = draws.draw(st.sets(st.integers(0, len(arrival)), max_size=2))
    one, other = Machine(), Machine()
    for number, (session, record) in enumerate(arrival):
        for machine in (one, other):
            machine.take(session, record)
            if number in flushes:
                machine.flush()
        if number in cuts:
            other = other.reborn()
    assert data(one.finish()) == data(other.finish())
    assert [row.step for row in straight.finish()] == sorted({row.step for row in straight.out})


@given(st.integers(2, 6), st.integers(1, 30), st.data())
@settings(max_examples=100, deadline=None)
def test_nothing_that_a_rank_logged_is_unaccounted_for_whatever_it_is(world: int, count: int, draws: Any) -> None:
    """Any steps, open rows, times and restarts: the ledger holds at every moment, and steps rise."""
    machine = Machine()
    policies = draws.draw(st.sampled_from(["main", "aggregate", "all", "main,v=all", "all,w=aggregate"]))
    sessions: dict[int, str] = {}
    for number in range(count):
        rank = draws.draw(st.integers(0, world - 1))
        if rank not in sessions or draws.draw(st.integers(0, 9)) == 0:
            sessions[rank] = f"{rank}-{number}"
            machine.take(
                sessions[rank], Rank(rank, world, number, restart=draws.draw(st.integers(0, 1)), policy=policies)
            )
        row = Row(
            draws.draw(st.integers(0, 12)),
            draws.draw(st.integers(0, 100)) * SECOND_NS,
            {draws.draw(st.sampled_from(["v", "w"])): number},
            draws.draw(st.booleans()),
            draws.draw(st.booleans()),
        )
        machine.take(sessions[rank], row)
        if draws.draw(st.integers(0, 9)) == 0:
            machine.take(sessions[rank], draws.draw(st.sampled_from([End(1), Gone(1)])))
        if draws.draw(st.integers(0, 14)) == 0:
            machine = machine.reborn()
    steps = [row.step for row in machine.finish()]
    assert steps == sorted(set(steps))
