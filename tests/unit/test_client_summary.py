"""`run.summary`: the mirror shows what wandb 0.31 shows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

import client
from client.protocol.records import Summary
from client.run import Run
from client.testing import RecordedRun
from tests.support.recording_session import recording


@pytest.fixture
def pair() -> Iterator[tuple[Run, RecordedRun]]:
    with recording() as recorded:
        run = client.init(project="p")
        yield run, recorded.run


def shown(run: Run) -> dict:
    return {key: value for key, value in run.summary._as_dict().items() if not key.startswith("_")}


def test_the_last_logged_value_of_each_key(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"a": 1, "b": 1})
    run.log({"a": 2})
    run.log({"b": 3, "n": math.nan, "text": "x", "list": (1, 2)})
    summary = shown(run)
    assert math.isnan(summary.pop("n"))
    assert summary == {"a": 2, "b": 3, "text": "x", "list": [1, 2]}
    assert run.summary["_step"] == 2


def test_nested_values_merge_and_none_removes(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"d": {"x": 1}})
    run.log({"d": {"y": 2}})
    assert shown(run) == {"d": {"x": 1, "y": 2}}
    run.log({"d": {"x": None}})
    assert shown(run) == {"d": {"y": 2}}
    run.log({"d": {}})
    assert shown(run) == {"d": {"y": 2}}


def test_a_row_that_is_still_open_does_not_show(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"k": 1})
    run.log({"k": 2}, step=500)
    assert run.summary["k"] == 1
    run.log({"k": 3}, step=501)
    assert run.summary["k"] == 2
    run.log({"other": 3}, commit=True)
    assert run.summary["k"] == 3


def test_a_late_row_does_not_show(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"k": 2}, step=5, commit=True)
    run.log({"k": 1}, step=3)
    assert run.summary["k"] == 2


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ("min", {"min": 1}),
        ("max", {"max": 3}),
        ("mean", {"mean": 2.0}),
        ("first", {"first": 3}),
        ("last", {"last": 2}),
        ("min,max", {"min": 1, "max": 3}),
        ("MAX,last", {"max": 3, "last": 2}),
        ("copy", 2),
    ],
)
def test_define_metric_aggregates(pair: tuple[Run, RecordedRun], ops: str, expected: object) -> None:
    run, recorded = pair
    run.define_metric("a", summary=ops)
    for value in (3, np.float32(1), 2):
        run.log({"a": value, "b": value})
    assert shown(run) == {"a": expected, "b": 2}
    assert recorded.summary == {"a": expected, "b": 2}


def test_define_metric_none_removes_the_key(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.define_metric("a", summary="none")
    run.log({"a": 1, "b": 1})
    assert shown(run) == {"b": 1}


def test_define_metric_with_a_glob_and_a_nested_name(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.define_metric("d.x", summary="max")
    run.define_metric("k.*", summary="min")
    run.define_metric("val/*", summary="max")
    run.log({"d": {"x": 3}, "k": {"q": 3}, "val/loss": 1})
    run.log({"d": {"x": 1}, "k": {"q": 4}, "val/loss": 0})
    assert shown(run) == {"d": {"x": {"max": 3}}, "k": {"q": {"min": 3}}, "val/loss": {"max": 1}}


def test_define_metric_adds_to_earlier_calls_unless_told_to_overwrite(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.define_metric("a", summary="max")
    run.define_metric("a", summary="min")
    run.log({"a": 1})
    run.log({"a": 3})
    assert run.summary.get("a") == {"min": 1, "max": 3}
    run.define_metric("a", summary="mean", overwrite=True)
    run.log({"a": 2})
    assert run.summary.get("a") == {"mean": 2.0}


def test_nan_stays_in_an_aggregate_and_text_does_not_count(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.define_metric("*", summary="max")
    for a, c in ((3, 3), (math.nan, "text"), (5, None), (1, 2)):
        run.log({"a": a, "c": c})
    assert math.isnan(run.summary["a"]["max"])
    assert run.summary["c"]["max"] == 3


def test_a_value_set_by_hand_holds_until_the_next_row_and_ends_the_rule(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.define_metric("a", summary="max")
    run.log({"a": 3})
    run.summary["a"] = 100
    assert run.summary["a"] == 100
    run.log({"a": 1})
    assert run.summary["a"] == 1


def test_nested_keys_can_be_set_one_by_one(pair: tuple[Run, RecordedRun]) -> None:
    run, recorded = pair
    run.summary["n"] = {"x": 1}
    run.summary["n"]["y"] = 2
    run.summary.n.z = 3
    assert run.summary["n"]._as_dict() == {"x": 1, "y": 2, "z": 3}
    paths = [path for record in recorded.records if isinstance(record, Summary) for path, _ in record.update]
    assert paths == [["n"], ["n", "y"], ["n", "z"]]
    del run.summary["n"]["x"]
    assert recorded.summary == shown(run) == {"n": {"y": 2, "z": 3}}


def test_it_reads_like_a_dict(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.summary.update({"a": 1, "t": (1, 2), "nan": math.nan})
    assert run.summary.keys() == list(run.summary) == ["a", "t"]  # wandb stores null for NaN, and shows no nulls
    assert run.summary.get("zzz", 3) == 3
    assert "a" in run.summary
    assert not hasattr(run.summary, "zzz")
    with pytest.raises(KeyError):
        run.summary["zzz"]
    with pytest.raises(KeyError):
        run.summary.zzz  # noqa: B018


@pytest.mark.parametrize("update", [{1: 2}, {"a": {1: 2}}, {"a": object()}, [1], None])
def test_what_wandb_refuses_is_refused(pair: tuple[Run, RecordedRun], update: object) -> None:
    run, recorded = pair
    with pytest.raises(TypeError):
        run.summary.update(update)  # type: ignore[arg-type]
    assert shown(run) == recorded.summary == {}


def test_it_can_be_read_after_finish_but_not_written(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"a": 1}, commit=False)
    run.finish(quiet=True)
    with pytest.raises(client.UsageError, match="is finished"):
        run.summary["a"] = 2


def test_a_large_array_shows_as_wandbs_histogram(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"h": np.arange(50.0), "small": np.arange(3)})
    assert run.summary.get("small") == [0, 1, 2]
    histogram = run.summary.get("h")
    assert histogram["_type"] == "histogram"
    assert sum(histogram["values"]) == 50
    assert len(histogram["bins"]) == 33


def test_the_mirror_keeps_no_row_that_has_been_read(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.log({"a": 1})
    shown(run)
    assert all(slot.body is None for slot in run._history.slots.values())


def test_many_nested_rows_are_folded_in_between_and_bounded(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    for index in range(1000):
        run.log({"d": {f"k{index % 100}": index}})
    assert len(run._history.mirror._backlog) < 64
    assert run.summary["d"]._as_dict() == {f"k{index % 100}": index for index in range(900, 1000)}
    for index in range(1000):
        run.log({"d": {"x": index}}, step=2000)
    assert len(run._history.mirror._backlog) < 64
    run.log({"end": 1}, commit=True)
    assert run.summary["d"]["x"] == 999
