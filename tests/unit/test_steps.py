"""Step numbers come out as wandb 0.31 gives them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from client.steps import Numbered, Steps


def number(steps: Steps, keys: Iterable[str], step: int | None, commit: bool | None) -> Numbered:
    return Numbered(*steps.number(tuple(keys), step, commit))


def numbers(*calls: tuple[dict, int | None, bool | None]) -> list[tuple[int, bool]]:
    steps = Steps()
    numbered = [number(steps, data, step, commit) for data, step, commit in calls]
    return [(one.step, one.late) for one in numbered]


def test_calls_without_a_step_count_up() -> None:
    assert numbers(({"a": 1}, None, None), ({"a": 1}, None, None), ({}, None, None)) == [
        (0, False),
        (1, False),
        (2, False),
    ]


def test_commit_false_leaves_the_row_open_for_the_next_call() -> None:
    assert numbers(({"a": 1}, None, False), ({"b": 1}, None, None), ({"a": 1}, None, None)) == [
        (0, False),
        (0, False),
        (1, False),
    ]


def test_a_given_step_stays_open_until_it_is_committed() -> None:
    assert numbers(({"a": 1}, 5, None), ({"b": 1}, 5, True), ({"c": 1}, None, None)) == [
        (5, False),
        (5, False),
        (6, False),
    ]


def test_a_call_without_step_joins_the_open_row_of_a_given_step() -> None:
    assert numbers(({"a": 1}, 100, None), ({"b": 1}, None, None), ({"b": 2}, None, None)) == [
        (100, False),
        (100, False),
        (101, False),
    ]


def test_a_call_without_step_never_overwrites_a_key_of_the_open_row() -> None:
    assert numbers(({"a": 11}, 100, None), ({"a": 12}, None, None)) == [(100, False), (101, False)]
    assert numbers(({"a": 1}, None, False), ({"a": 2}, None, False)) == [(0, False), (1, False)]


def test_wandbs_own_keys_do_not_make_rows_overlap() -> None:
    assert numbers(({"a": 1, "_timestamp": 1.0}, None, False), ({"b": 2, "_timestamp": 2.0}, None, None)) == [
        (0, False),
        (0, False),
    ]


@pytest.mark.parametrize("commit", [None, True, False])
def test_a_lower_step_is_late_and_changes_nothing(commit: bool | None) -> None:
    steps = Steps()
    number(steps, {"a"}, 5, None)
    late = number(steps, {"a"}, 3, commit)
    assert (late.step, late.late, late.explicit) == (3, True, True)
    assert (steps.next, steps.open) == (5, ("a",))


def test_a_negative_step_is_late() -> None:
    assert numbers(({"a": 1}, -1, None)) == [(-1, True)]


def test_steps_count_as_given_once_the_caller_gave_one() -> None:
    steps = Steps()
    assert not number(steps, {"a"}, None, None).explicit
    assert number(steps, {"a"}, 9, True).explicit
    assert number(steps, {"a"}, None, None).explicit
    assert not steps.is_plain
