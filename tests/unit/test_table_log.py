"""What a run worker remembers of tables that were logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.media import table_log
from telemetryd.runs.media.table_log import TableLog


def args(identity: str = "p-1", *, version: int = 0, increment: int | None = None, count: int = 1) -> dict[str, Any]:
    return {"id": identity, "version": version, "increment": increment, "count": count, "columns": ["a"]}


def stored(number: int | None = None, before: list[str] | None = None) -> dict[str, Any]:
    json: dict[str, Any] = {"path": "media/table/x", "ncols": 1, "nrows": 1, "artifact_path": f"artifact {number}"}
    return json if number is None else json | {"increment_num": number, "previous_increments_paths": before}


def test_a_table_that_has_not_changed_is_answered_with_what_was_stored(tmp_path: Path) -> None:
    log = TableLog(tmp_path / "log")
    assert log.answer(args(), 0) is None
    log.add(args(), "key", 0, stored())
    assert log.answer(args(count=7), 1) == stored() | {"nrows": 7}
    assert log.answer(args(), 0) == stored()  # under a second key of the same row
    assert log.answer(args(version=1), 1) is None
    assert log.answer(args("p-2"), 1) is None


def test_the_next_worker_answers_too_but_for_the_row_that_it_writes_again(tmp_path: Path) -> None:
    TableLog(tmp_path / "log").add(args(), "key", 3, stored())
    log = TableLog(tmp_path / "log")
    assert log.answer(args(), 4) == stored()
    assert log.answer(args(), 3) is None
    log.add(args(), "key", 3, stored() | {"artifact_path": "another"})
    assert TableLog(tmp_path / "log").answer(args(), 4) == stored() | {"artifact_path": "another"}


def test_increments_are_numbered_on_by_the_next_worker(tmp_path: Path) -> None:
    log = TableLog(tmp_path / "log")
    assert log.before(args(increment=0), "key") == (None, None)  # wandb may look into the summary
    log.add(args(increment=0), "key", 0, stored(0, []))
    assert log.before(args(increment=1), "key") == (1, ["artifact 0"])
    log.add(args(increment=1), "key", 1, stored(1, ["artifact 0"]))
    log = TableLog(tmp_path / "log")
    assert log.before(args(increment=2), "key") == (2, ["artifact 0", "artifact 1"])
    assert log.answer(args(increment=1), 5) == stored(1, ["artifact 0"])


def test_an_increment_that_is_written_again_keeps_its_number_and_those_before_it(tmp_path: Path) -> None:
    log = TableLog(tmp_path / "log")
    log.add(args(increment=0), "key", 0, stored(0, []))
    log.add(args(increment=1), "key", 1, stored(1, ["artifact 0"]))
    log = TableLog(tmp_path / "log")
    assert log.answer(args(increment=1), 1) is None
    assert log.before(args(increment=1), "key") == (1, ["artifact 0"])
    log.add(args(increment=1), "key", 1, stored(1, ["artifact 0"]) | {"artifact_path": "again"})
    assert log.before(args(increment=2), "key") == (2, ["artifact 0", "again"])


def test_increments_that_a_resumed_run_had_before_are_counted(tmp_path: Path) -> None:
    log = TableLog(tmp_path / "log")
    log.add(args(increment=0), "key", 0, stored(4, ["a", "b"]))  # as wandb found it in the summary
    assert log.before(args(increment=1), "key") == (5, ["a", "b", "artifact 4"])


def test_a_second_table_of_the_same_process_begins_anew(tmp_path: Path) -> None:
    log = TableLog(tmp_path / "log")
    log.add(args(increment=0), "key", 0, stored(0, []))
    assert log.before(args("p-2", increment=0), "key") == (None, [])
    assert log.before(args("q-1", increment=0), "key") == (None, None)
    assert log.before(args("p-3", increment=0), "another key") == (None, None)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    log = TableLog(tmp_path / "log")
    log.add(args(), "key", 0, stored())
    log.add(args("p-2"), "key", 1, stored())
    whole = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(whole[:-9])
    log = TableLog(tmp_path / "log")
    assert log.answer(args(), 5) == stored()
    assert log.answer(args("p-2"), 5) is None
    log.add(args("p-2"), "key", 1, stored())
    assert TableLog(tmp_path / "log").answer(args("p-2"), 5) == stored()


def test_only_the_newest_tables_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_log, "TABLES_KEPT", 3)
    log = TableLog(tmp_path / "log")
    for number in range(5):
        log.add(args(f"p-{number}"), "key", number, stored())
    assert [log.answer(args(f"p-{number}"), 9) is None for number in range(5)] == [True, True, False, False, False]
    log.clear()
    assert not (tmp_path / "log").exists()
