"""What a worker takes over from the files of those before it, at the cost of a few bytes a row."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wandb.proto import wandb_internal_pb2 as pb

from telemetryd.runs import carried, wandb_file
from telemetryd.runs.carried import carried_from, step_of_row
from telemetryd.runs.notes import Folder
from tests.unit.test_wandb_file import leveldb


def row(step: int, *, number: int = 1, text: str = "1.5") -> bytes:
    record = pb.Record(num=number)
    record.history.item.add(key="loss", value_json=text)
    record.history.step.num = step
    return record.SerializeToString()


def summary(*update: tuple[str, str], remove: tuple[str, ...] = (), said: bool = False) -> bytes:
    record = pb.Record(num=1)
    for path, text in update:
        parts = path.split(".")
        item = record.summary.update.add(value_json=text)
        if len(parts) == 1:
            item.key = path
        else:
            item.nested_key.extend(parts)
    for path in remove:
        record.summary.remove.add(key=path)
    if said:
        record._info.stream_id = "s"
    return record.SerializeToString()


def folder(path: Path, records: list[bytes]) -> Folder:
    path.write_bytes(leveldb(records))
    return Folder(str(path.parent), str(path), "offline", 0)


@given(st.integers(0, 2**62), st.integers(0, 2**40), st.sampled_from(["1", '"a\\u0012\\u0008"', "[1, 2]", ""]))
def test_the_step_of_a_row_is_found_at_its_records_end(step: int, number: int, text: str) -> None:
    assert wandb_file.step_in(row(step, number=number, text=text)) == step


def test_the_step_of_a_row_is_found_whatever_stands_behind_it() -> None:
    record = pb.Record(num=5)
    record.history.step.num = 7
    record._info.stream_id = "stream"
    assert wandb_file.step_in(record.SerializeToString()) == 7


def test_a_runs_rows_are_counted_and_the_newest_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "STEPS_REMEMBERED", 5)
    monkeypatch.setattr(carried, "CARRIED_BEAT_RECORDS", 10)
    beats: list[int] = []
    found = folder(tmp_path / "a.wandb", [row(3 * step) for step in range(40)])
    result = carried_from([found], lambda: beats.append(1))
    assert (result.rows, list(result.steps), len(beats)) == (40, [105, 108, 111, 114, 117], 4)
    assert [step_of_row([found, found], number) for number in (0, 39, 40, 79, 80)] == [0, 117, 0, 117, None]


paths = st.sampled_from(["a", "b", "c", "n.x", "n.y", "n", "n.x.z"])
values = st.sampled_from(["1", "2.5", '"t"', "{}", '{"x": 4}', "null"])
changes = st.lists(
    st.tuples(st.lists(st.tuples(paths, values), max_size=4), st.lists(st.sampled_from(["a", "b"]), max_size=1)),
    max_size=12,
)


@given(changes, st.integers(1, 4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_summaries_decoded_together_are_those_decoded_one_by_one(tmp_path: Path, said: list[Any], at_once: int) -> None:
    records = [summary(*update, remove=tuple(remove), said=index % 3 == 0)
               for index, (update, remove) in enumerate(said)]  # fmt: skip
    one_by_one = carried.Carried()
    for record in records:
        carried._fold_summary(pb.Record.FromString(record).summary, one_by_one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried, "SUMMARIES_AT_ONCE", at_once)
        together = carried_from([folder(tmp_path / "s.wandb", records)])
    assert together.summary == one_by_one.summary


def test_of_a_long_offline_run_the_rows_before_the_remembered_ones_are_taken_to_be_there() -> None:
    from telemetryd.runs.wandb_sink import WandbSink

    sink: Any = WandbSink.__new__(WandbSink)
    sink._run = SimpleNamespace(settings=SimpleNamespace(mode="offline"))
    sink._carried = carried.Carried(rows=6, steps=deque([4, 6, 8]))
    assert (sink.existing(0).steps, sink.existing(0).below) == ((4, 6, 8), 4)
    assert sink.existing(7).steps == (8,)
    sink._carried = carried.Carried(rows=3, steps=deque([4, 6, 8]))
    assert (sink.existing(5).steps, sink.existing(5).below) == ((6, 8), None)
