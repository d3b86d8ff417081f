"""Row assembly, one rule at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.protocol.records import Row
from telemetryd.runs.pending import merge
from telemetryd.runs.rows import FinishedRow, RowAssembly

S = "a" * 32
T = "b" * 32


def log(
    assembly: RowAssembly,
    step: int,
    data: dict[str, Any],
    *,
    session: str = S,
    closes: bool = True,
    explicit: bool = False,
    time_ns: int = 1,
) -> list[FinishedRow]:
    row = Row(step, time_ns, data, closes, explicit)
    return assembly.add(session, row, msgspec.msgpack.encode(row))


def written(*batches: list[FinishedRow]) -> list[tuple[int, dict[str, Any]]]:
    return [(row.step, row.data) for batch in batches for row in batch]


def test_a_closed_call_is_finished_at_its_own_step() -> None:
    assembly = RowAssembly()
    assert log(assembly, 0, {"a": 1}, time_ns=7) == [FinishedRow(0, 7, {"a": 1}, 1)]
    assert assembly.next_step == 1


def test_calls_of_one_step_merge_until_one_closes_and_the_newest_time_stays() -> None:
    assembly = RowAssembly()
    assert log(assembly, 0, {"a": 1, "b": 1}, closes=False, time_ns=5) == []
    assert assembly.waiting == 1
    assert log(assembly, 0, {"b": 2}, time_ns=6) == [FinishedRow(0, 6, {"a": 1, "b": 2}, 2)]
    assert (assembly.waiting, assembly.finished_calls) == (0, 2)


def test_a_timestamp_given_by_an_earlier_call_gives_way_to_the_time_of_a_later_one() -> None:
    assembly = RowAssembly()
    log(assembly, 0, {"_timestamp": 5.0}, closes=False)
    assert written(log(assembly, 0, {"b": 2})) == [(0, {"b": 2})]


def test_a_later_step_finishes_the_open_row_first() -> None:
    assembly = RowAssembly()
    log(assembly, 3, {"a": 1}, closes=False, explicit=True)
    assert written(log(assembly, 9, {"a": 2}, explicit=True)) == [(3, {"a": 1}), (9, {"a": 2})]


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (
            {"a": {"b": 1, "z": {"q": 1}}},
            {"a": {"c": 2, "z": {"p": 2}}},
            {"a": {"b": 1, "c": 2, "z": {"q": 1, "p": 2}}},
        ),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 5}, {"a": {}}, {"a": 5}),
        ({"a": []}, {"a": {"x": {}}}, {"a": []}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {}}}, {"a": {"b": {"c": 1}}}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": None}}, {"a": {"b": None}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ],
)
def test_values_merge_as_wandb_merges_them(first: Any, second: Any, result: Any) -> None:
    merge(first, second)
    assert first == result


def test_a_late_row_takes_a_skipped_step_and_carries_its_own() -> None:
    assembly = RowAssembly()
    log(assembly, 5, {"a": 1}, explicit=True)
    assert log(assembly, 2, {"late": 1}, explicit=True) == []
    assert written(log(assembly, 9, {"a": 2}, explicit=True)) == [(6, {"late": 1, "late_step": 2}), (9, {"a": 2})]
    assert assembly.late == 1


def test_a_late_row_gets_its_own_step_when_that_is_still_free() -> None:
    assembly = RowAssembly()
    log(assembly, 1000, {"a": 1}, closes=False, explicit=True)
    log(assembly, 995, {"val": 1}, explicit=True)
    assert written(log(assembly, 1001, {"a": 2})) == [(995, {"val": 1}), (1000, {"a": 1}), (1001, {"a": 2})]


def test_late_rows_without_a_free_step_are_written_at_the_end_in_the_order_they_came() -> None:
    assembly = RowAssembly()
    for step in range(3):
        log(assembly, step, {"a": step})
    log(assembly, 1, {"x": 1}, explicit=True)
    log(assembly, 0, {"x": 0}, explicit=True)
    assert written(assembly.finish()) == [(3, {"x": 1, "late_step": 1}), (4, {"x": 0, "late_step": 0})]


def test_late_calls_of_one_step_share_a_row_unless_they_would_overwrite() -> None:
    assembly = RowAssembly()
    log(assembly, 9, {"a": 1}, explicit=True)
    log(assembly, 3, {"x": 1}, explicit=True)
    log(assembly, 3, {"y": 2}, explicit=True)
    log(assembly, 3, {"x": 7}, explicit=True)
    rows = assembly.finish()
    assert written(rows) == [(10, {"x": 1, "y": 2, "late_step": 3}), (11, {"x": 7, "late_step": 3})]
    assert [row.calls for row in rows] == [2, 1]


def test_held_rows_over_the_cap_take_the_next_step_and_automatic_steps_shift() -> None:
    assembly = RowAssembly(held_max_bytes=10)
    log(assembly, 0, {"a": 0})
    log(assembly, 1, {"a": 1})
    assert written(log(assembly, 0, {"x": 1}, explicit=True)) == [(2, {"x": 1, "late_step": 0})]
    assert written(log(assembly, 2, {"a": 2}), log(assembly, 3, {"a": 3})) == [(3, {"a": 2}), (4, {"a": 3})]


def test_the_drop_policy_drops_and_counts_late_calls() -> None:
    assembly = RowAssembly(late_policy="drop")
    log(assembly, 5, {"a": 1}, explicit=True)
    assert log(assembly, 2, {"late": 1}, explicit=True) == []
    assert assembly.finish() == []
    assert (assembly.late, assembly.dropped_late) == (0, 1)


def test_a_later_session_numbered_from_zero_continues_after_the_first() -> None:
    assembly = RowAssembly()
    log(assembly, 0, {"a": 0})
    log(assembly, 1, {"a": 1}, closes=False)
    rows = log(assembly, 0, {"a": 2}, session=T)
    assert written(rows) == [(1, {"a": 1}), (2, {"a": 2})]
    assert written(log(assembly, 1, {"a": 3}, session=T)) == [(3, {"a": 3})]


def test_two_sessions_that_write_at_once_both_get_increasing_steps() -> None:
    assembly = RowAssembly()
    rows: list[FinishedRow] = []
    for step in range(3):
        rows += log(assembly, step, {"s": step})
        rows += log(assembly, step, {"t": step}, session=T)
    assert [row.step for row in rows] == list(range(6))


def test_a_run_that_starts_later_in_wandb_shifts_automatic_steps_and_keeps_explicit_ones() -> None:
    assembly = RowAssembly()
    assembly.start_at(100)
    assert written(log(assembly, 0, {"a": 0}), log(assembly, 1, {"a": 1})) == [(100, {"a": 0}), (101, {"a": 1})]
    assert written(log(assembly, 500, {"a": 2}, explicit=True)) == [(500, {"a": 2})]
    assert written(log(assembly, 501, {"a": 3})) == [(501, {"a": 3})]


def test_automatic_steps_go_on_without_a_gap_after_an_explicit_one_that_came_too_late_for_the_run() -> None:
    assembly = RowAssembly()
    assembly.start_at(1000)
    log(assembly, 500, {"a": 0}, explicit=True)
    assert written(log(assembly, 501, {"a": 1})) == [(1000, {"a": 1})]


def test_the_end_of_a_session_finishes_its_open_row() -> None:
    assembly = RowAssembly()
    log(assembly, 0, {"a": 0}, closes=False)
    assert written(assembly.end_session(S)) == [(0, {"a": 0})]
    assert assembly.end_session(S) == []


def test_a_row_that_outgrows_its_cap_is_closed_early() -> None:
    assembly = RowAssembly(open_max_bytes=40)
    rows: list[FinishedRow] = []
    for number in range(6):
        rows += log(assembly, 0, {f"k{number}": number}, closes=False)
    rows += assembly.finish()
    assert [row.step for row in rows] == list(range(len(rows)))
    assert len(rows) > 1
    assert {key for row in rows for key in row.data} == {f"k{number}" for number in range(6)}


def test_a_snapshot_of_another_version_is_refused() -> None:
    state = msgspec.msgpack.decode(RowAssembly().snapshot())
    state["version"] = 99
    with pytest.raises(ValueError, match="version 99"):
        RowAssembly.restore(msgspec.msgpack.encode(state))
