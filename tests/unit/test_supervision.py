from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryd.health.counters import Counters
from telemetryd.health.status import Health, State
from telemetryd.inbox.progress import SessionEnd
from telemetryd.limits import (
    CONSOLE_GRACE_S,
    LAST_RESORT_STOP_S,
    RESTART_FIRST_DELAY_S,
    RESTART_MAX_DELAY_S,
    RESTART_PERMANENT_FIRST_DELAY_S,
    RESTART_PERMANENT_MAX_DELAY_S,
)
from telemetryd.runs.lifecycle import DIED, closing_code
from telemetryd.supervision import leftovers
from telemetryd.supervision.leftovers import Process, WorkerRecord
from telemetryd.supervision.restart_policy import RestartPolicy
from telemetryd.supervision.shutdown import Shutdown

OPEN = SessionEnd("open", None, False)
LOST = SessionEnd("lost", None, False)


def ended(code: int | None, *, implicit: bool = False) -> SessionEnd:
    return SessionEnd("ended", code, implicit)


@pytest.mark.parametrize(
    ("sessions", "console", "waited_s", "code"),
    [
        ([], None, 9, None),
        ([OPEN], None, 9, None),
        ([ended(0), OPEN], None, 9, None),
        ([ended(3)], None, 0, 3),
        ([ended(None)], None, 0, 0),
        ([ended(3)], OPEN, 0, None),  # its last lines are waited for
        ([ended(3)], OPEN, CONSOLE_GRACE_S, 3),
        ([ended(3)], ended(7), 0, 3),  # finish() said it; the launcher's code is another matter
        ([ended(1, implicit=True)], None, 0, 1),
        ([ended(None, implicit=True)], None, 0, 0),
        ([ended(None, implicit=True)], OPEN, 999, None),
        ([ended(None, implicit=True)], ended(137), 0, 137),
        ([ended(1, implicit=True)], LOST, 0, 1),
        ([LOST], None, 0, DIED),
        ([LOST], OPEN, 999, None),
        ([LOST], ended(137), 0, 137),
        ([LOST], LOST, 0, DIED),
        ([LOST, ended(0)], None, 0, 0),
        ([ended(0), LOST], None, 0, DIED),
    ],
)
def test_a_run_closes_with_the_exit_code_of_whoever_knows_it_best(sessions, console, waited_s, code) -> None:
    assert closing_code([replace(session, launcher=console) for session in sessions], waited_s) == code


def rank(number: int, end: SessionEnd, world: int = 4, launcher: SessionEnd | None = None) -> SessionEnd:
    return replace(end, rank=number, world_size=world, launcher=launcher)


WELL = [rank(number, ended(0)) for number in range(4)]


@pytest.mark.parametrize(
    ("sessions", "code"),
    [
        (WELL, 0),
        ([rank(1, ended(3)), WELL[2], WELL[3], WELL[0]], 3),  # whoever ended last ended well
        ([*WELL[:3], rank(3, OPEN)], None),
        ([*WELL[:3], rank(3, LOST)], DIED),
        ([rank(3, LOST), *WELL], 0),  # started again, and ended well
        ([WELL[3], rank(3, LOST), *WELL[:3]], DIED),  # started again, and died
        ([rank(0, LOST), rank(1, ended(1, implicit=True)), rank(2, ended(143)), rank(3, LOST)], 1),  # who failed first
        ([rank(0, LOST), rank(1, ended(143)), rank(2, LOST), WELL[3]], 143),
        ([rank(2, ended(5)), rank(1, ended(4)), WELL[0], WELL[3]], 4),
        ([rank(2, LOST), rank(3, LOST), rank(0, ended(0), 2), rank(1, ended(0), 2)], 0),  # 4 → 2: two are no more
        ([rank(0, LOST, 2), rank(1, LOST, 2), *WELL], 0),  # 2 → 4
        ([rank(0, ended(0), 1), rank(2, ended(6), 1)], 6),  # a world that is told wrongly leaves nobody out who came
        ([ended(0), rank(0, ended(7))], 7),  # a process without a rank beside the ranks
        ([ended(7), *WELL], 7),
        ([rank(0, LOST, 2, ended(0)), rank(1, LOST, 2, ended(137))], 137),  # each has a launcher of its own
        ([rank(0, ended(0), 2, ended(0)), rank(1, LOST, 2, OPEN)], None),
    ],
)
def test_a_run_of_ranks_closes_with_the_worst_of_the_last_that_each_rank_was(sessions, code) -> None:
    assert closing_code(sessions, 9) == code


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans(), st.floats(0, 0.999)), max_size=50))
def test_pauses_between_restarts_are_bounded(failures: list) -> None:
    policy = RestartPolicy()
    for lived_s, permanent, jitter in failures:
        pause_s = policy.failed(lived_s, permanent=permanent, jitter=jitter)
        assert RESTART_FIRST_DELAY_S <= pause_s <= 1.25 * (600 if permanent else RESTART_MAX_DELAY_S)


def test_pauses_double_and_a_healthy_while_starts_them_over() -> None:
    policy = RestartPolicy()
    pauses = [policy.failed(1, permanent=False, jitter=0) for _ in range(12)]
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert pauses[-1] == RESTART_MAX_DELAY_S
    assert policy.failed(3600, permanent=False, jitter=0) == RESTART_FIRST_DELAY_S
    assert policy.failed(3600, permanent=True, jitter=0) == 2 * RESTART_PERMANENT_FIRST_DELAY_S
    assert [policy.failed(1, permanent=True, jitter=0) for _ in range(12)][-1] == RESTART_PERMANENT_MAX_DELAY_S


def test_a_second_signal_brings_the_deadline_near_and_never_moves_it_away() -> None:
    stop = Shutdown(60)
    assert not stop.draining
    assert stop.left_s(0) == float("inf")
    stop.ask(100)
    assert stop.left_s(110) == 50
    stop.ask(110)
    assert stop.left_s(110) == LAST_RESORT_STOP_S
    stop.ask(110.5)
    assert stop.left_s(111) == 0


def test_a_recorded_process_is_killed_only_while_it_is_the_same(tmp_path) -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        known = leftovers.identify(process.pid)
        assert known is not None
        record = WorkerRecord(tmp_path)
        record.write([Process(known.pid, known.start_ticks + 1)])
        assert record.clear_away() == 0
        assert process.poll() is None
        record.write([known])
        assert record.clear_away() == 1
        assert process.wait(10) == -9
        assert record.clear_away() == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[[1]]", b'[["x", 2]]', b"[1]"])
def test_a_damaged_worker_record_does_not_stop_the_start(tmp_path, content: bytes) -> None:
    (tmp_path / "workers.json").write_bytes(content)
    assert WorkerRecord(tmp_path).clear_away() == 0


def test_a_zombie_and_a_missing_process_are_nobody() -> None:
    process = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert leftovers.identify(process.pid) is None
    finally:
        process.wait()
    assert leftovers.identify(process.pid) is None
    own = leftovers.identify(os.getpid())
    assert own is not None
    assert own.pid == os.getpid()


def test_components_have_a_state_of_the_closed_set_and_a_reason() -> None:
    health = Health()
    health.set("inbox", State.STARTING)
    health.set("inbox", State.RECOVERABLE, "the disk is full")
    assert health.as_map() == {"inbox": {"state": "recoverable", "reason": "the disk is full"}}
    assert health.get("nothing") is None


def test_only_known_counters_can_be_counted() -> None:
    counters = Counters()
    counters.add("turns", 2)
    assert counters["turns"] == 2
    with pytest.raises(KeyError):
        counters.add("tuns")
