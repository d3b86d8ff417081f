"""Whatever is logged in whatever order: steps never fall, and no call without a step loses another's value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client.protocol.records import Row, decode
from client.steps import Numbered, Steps
from tests.support.recording_session import history, rows

keys = st.sets(st.sampled_from("abcd"), max_size=3)
calls = st.lists(st.tuples(keys, st.none() | st.integers(-2, 12), st.sampled_from([None, True, False])), max_size=30)


@given(calls)
def test_steps_never_fall_except_late_ones(sequence: list) -> None:
    steps = Steps()
    newest = 0
    for names, step, commit in sequence:
        before = steps.next
        one = Numbered(*steps.number(tuple(names), step, commit))
        assert one.late == (step is not None and step < before)
        if one.late:
            assert steps.next == before
            continue
        assert one.step >= newest
        newest = one.step
        assert steps.next == one.step + one.closes


@given(calls)
def test_a_call_without_step_finds_none_of_its_keys_in_the_row_it_joins(sequence: list) -> None:
    steps = Steps()
    merged: dict[int, set[str]] = {}
    for names, step, commit in sequence:
        one = Numbered(*steps.number(tuple(names), step, commit))
        if one.late:
            continue
        row = merged.setdefault(one.step, set())
        if step is None:
            assert row.isdisjoint(names)
        row |= names


@given(calls)
def test_the_fast_path_numbers_as_the_state_machine_does(sequence: list) -> None:
    steps = Steps()
    log, bodies = history()
    expected = []
    for names, step, commit in sequence:
        one = Numbered(*steps.number(tuple(names), step, commit))
        expected.append((one.step, one.closes, one.explicit))
        log.log(dict.fromkeys(names, 1), step, commit)
    assert [(row.step, row.closes, row.explicit) for row in rows(bodies)] == expected
    assert log.steps.next == steps.next


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
    )
)
def test_what_is_logged_is_what_is_read_back(data: dict) -> None:
    log, bodies = history()
    log.log(data)
    row = decode(bodies[0])
    assert isinstance(row, Row)
    assert row.data == data
