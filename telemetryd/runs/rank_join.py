"""Rows of several ranks brought together by step. Pure: no clock but the rows' own, no I/O.

    a rank's row ──► its step's entry: main rank's calls, numbers by key and rank, values under rank{r}/key
                          │ every rank has passed the step, or it is given up
                          ▼
                     one history row: the main rank's values, key/rank_mean …, rank{r}/key

Invariants
* Entries are handed out in the order of steps, each once. `next_step` is the lowest that may still be handed out.
* What a rank adds to a step that was handed out already is late: the main rank's row and values under rank{r}/key go
  out as rows of their own with their step given; numbers for the statistics are left out and counted.
* The same rows in the same order give the same entries, whatever the clock of whoever replays them says.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from client.protocol import records
from client.protocol.rank_policy import AGGREGATE, ALL, RankPolicy
from client.protocol.records import Row
from telemetryd.runs.pending import TIMESTAMP_KEY

RANKS_KEY = "_telemetryd/ranks"
"""In a row that lacks some of the ranks: how many it has."""


class Entry(msgspec.Struct, array_like=True):
    """One step's rows so far. `main` holds the main rank's calls as they came; `numbers` values by key and rank;
    `others` msgpack values by their final key; `marks` the newest time of each rank that has added to it."""

    step: int
    explicit: bool
    main_rank: int
    main: list[bytes] = []
    numbers: dict[str, dict[int, float]] = {}
    others: dict[str, bytes] = {}
    marks: dict[int, int] = {}
    calls: int = 0
    size_bytes: int = 0


class _RawRow(msgspec.Struct):
    d: dict[str, msgspec.Raw]


_raw = msgspec.msgpack.Decoder(_RawRow)


class JoinState(msgspec.Struct):
    """What of a Join is kept in a snapshot. `series` are the names under rank{r}/ that the run has."""

    entries: list[Entry] = []
    next_step: int = 0
    series: list[str] = []
    over_budget: int = 0


class Join:
    """See the module's head. `calls` and `size_bytes` wait in entries; `over_budget` counts values that found no room
    within the budget of series."""

    def __init__(self, state: JoinState) -> None:
        self.entries = {entry.step: entry for entry in state.entries}
        self.next_step = state.next_step
        self.over_budget = state.over_budget
        self.calls = sum(entry.calls for entry in state.entries)
        self.size_bytes = sum(entry.size_bytes for entry in state.entries)
        self._heap = sorted(self.entries)
        self._series = dict.fromkeys(state.series)

    @property
    def state(self) -> JoinState:
        """For a snapshot."""
        return JoinState(list(self.entries.values()), self.next_step, list(self._series), self.over_budget)

    @property
    def oldest(self) -> Entry | None:
        """The entry of the lowest step."""
        return self.entries[self._heap[0]] if self._heap else None

    @property
    def series(self) -> int:
        """How many series under rank{r}/ the run has."""
        return len(self._series)

    def add(
        self, rank: int, step: int, row: Row, body: bytes, policy: RankPolicy, series_max: int, *, has_main: bool
    ) -> None:
        """A rank's row of a step that was not handed out yet."""
        entry = self.entries.get(step)
        if entry is None:
            entry = self.entries[step] = Entry(step, row.explicit, rank)
            heapq.heappush(self._heap, step)
        if rank == entry.main_rank:
            entry.main.append(body)
            entry.explicit = row.explicit
        elif rank == 0 or (not has_main and rank < entry.main_rank):
            entry.main_rank, entry.main, entry.explicit = rank, [body], row.explicit
        for key, value in _numbers(row.data, policy):
            entry.numbers.setdefault(key, {})[rank] = value
        for name, raw in self._own_values(rank, body, policy, series_max):
            entry.others[name] = raw
        entry.marks[rank] = max(row.time_ns, entry.marks.get(rank, row.time_ns))
        entry.calls += 1
        entry.size_bytes += len(body)
        self.calls += 1
        self.size_bytes += len(body)

    def _own_values(self, rank: int, body: bytes, policy: RankPolicy, series_max: int) -> Iterator[tuple[str, bytes]]:
        """A rank's values under names of its own, as many as the budget of series lets in."""
        if policy.default != ALL and not any(name == ALL for _, name in policy.patterns):
            return
        for key, value in _raw.decode(body).d.items():
            if policy.of(key) != ALL:
                continue
            name = f"rank{rank}/{key}"
            if name not in self._series:
                if len(self._series) >= series_max:
                    self.over_budget += 1
                    continue
                self._series[name] = None
            yield name, bytes(value)

    def late(
        self, rank: int, step: int, row: Row, body: bytes, policy: RankPolicy, series_max: int, *, is_main: bool
    ) -> tuple[Row, bytes] | None:
        """What remains of a row that came too late for its step: a row with the step given; None if nothing does."""
        if is_main:
            values: dict[str, Any] = dict(_raw.decode(body).d)
        else:
            values = {name: msgspec.Raw(raw) for name, raw in self._own_values(rank, body, policy, series_max)}
        return _encoded(step, row.time_ns, values, explicit=True) if values else None

    def take(self, *, world: int, has_main: bool) -> tuple[list[tuple[Row, bytes]], int]:
        """Hand the oldest entry out: (the calls that make its history row, how many calls of ranks they stand for)."""
        step = heapq.heappop(self._heap)
        entry = self.entries.pop(step)
        self.next_step = max(self.next_step, step + 1)
        self.calls -= entry.calls
        self.size_bytes -= entry.size_bytes
        if has_main and entry.main_rank != 0:
            entry.main = []
        made = list(_plain(entry.main[:-1], step, explicit=entry.explicit))
        values: dict[str, Any] = {}
        time_ns = max(entry.marks.values())
        if entry.main:
            values.update(_raw.decode(entry.main[-1]).d)
            time_ns = records.decode(entry.main[-1]).time_ns  # type: ignore[union-attr]
        added = _statistics(entry.numbers)
        added.update((name, msgspec.Raw(raw)) for name, raw in entry.others.items())
        if added and len(entry.marks) < world:
            added[RANKS_KEY] = len(entry.marks)
        values = {**added, **values}  # a key of the caller's own is never overwritten
        if values or entry.main:
            made.append(_encoded(step, time_ns, values, explicit=entry.explicit))
        return made, entry.calls


def _plain(bodies: list[bytes], step: int, *, explicit: bool) -> Iterator[tuple[Row, bytes]]:
    for body in bodies:
        row = records.decode(body)
        assert isinstance(row, Row)
        yield _encoded(step, row.time_ns, dict(_raw.decode(body).d), explicit=explicit, closes=False)


def _encoded(
    step: int, time_ns: int, values: dict[str, Any], *, explicit: bool, closes: bool = True
) -> tuple[Row, bytes]:
    body = records.encode(Row(step, time_ns, values, closes, explicit))
    row = records.decode(body)
    assert isinstance(row, Row)
    return row, body


def _numbers(data: dict[str, Any], policy: RankPolicy) -> Iterator[tuple[str, float]]:
    """The numbers that a row adds to the statistics; those of nested mappings under dotted names, as W&B shows them."""
    for key, value in data.items():
        if policy.of(key) == AGGREGATE and key != TIMESTAMP_KEY:
            yield from _leaves(key, value)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, float]]:
    kind = type(value)
    if kind is float:
        yield name, value
    elif kind is int:
        try:
            yield name, float(value)
        except OverflowError:
            return
    elif kind is dict:
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)


def _statistics(numbers: dict[str, dict[int, float]]) -> dict[str, Any]:
    """Mean, least, greatest, standard deviation (of the population) and where the extremes are, over the ranks.

    Sums are exact (fsum), so the order in which ranks come does not show. NaN is both extremes, as in numpy.
    """
    found: dict[str, Any] = {}
    for key, by_rank in numbers.items():
        ranks = sorted(by_rank)
        values = [by_rank[rank] for rank in ranks]
        mean = _mean(values)
        low = _extreme(values, min)
        high = _extreme(values, max)
        found[f"{key}/rank_mean"] = mean
        found[f"{key}/rank_min"] = values[low]
        found[f"{key}/rank_max"] = values[high]
        found[f"{key}/rank_std"] = math.sqrt(_mean([(value - mean) * (value - mean) for value in values]))
        found[f"{key}/rank_argmin"] = ranks[low]
        found[f"{key}/rank_argmax"] = ranks[high]
    return found


def _mean(values: list[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):  # a sum beyond the floats; inf and -inf together
        return sum(values) / len(values)


def _extreme(values: list[float], choose: Any) -> int:
    for index, value in enumerate(values):
        if value != value:
            return index
    return values.index(choose(values))
