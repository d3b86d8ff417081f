"""`run.log`: what it takes, what it refuses, and that nothing gets in its way."""

from __future__ import annotations

import collections
import os
import signal
import sys
import threading
import types

import numpy as np
import pytest

import client
from client.errors import UsageError
from client.protocol.records import Media, Row, decode
from tests.support.recording_session import history, recording, rows


@pytest.mark.parametrize("data", [None, 3, "loss", [("loss", 1)], {"loss"}])
def test_data_that_is_no_mapping_is_refused(data: object) -> None:
    log, bodies = history()
    with pytest.raises(TypeError, match=r"wandb.log must be passed a dictionary"):
        log.log(data)  # type: ignore[arg-type]
    assert bodies == []


@pytest.mark.parametrize("key", [1, None, ("a",), b"a", 1.5])
def test_a_key_that_is_no_str_is_refused_and_uses_up_no_step(key: object) -> None:
    log, bodies = history()
    with pytest.raises(TypeError, match=r"Key values passed to `wandb.log` must be strings.*use str\("):
        log.log({"ok": 1, key: 2})  # type: ignore[dict-item]
    assert bodies == []
    assert log.steps.next == 0


@pytest.mark.parametrize("step", [1.0, 1.5, "4", True, [1]])
def test_a_step_that_is_no_integer_is_refused(step: object) -> None:
    log, bodies = history()
    with pytest.raises(TypeError, match="must be an integer"):
        log.log({"a": 1}, step=step)  # type: ignore[arg-type]
    assert bodies == []


def test_a_step_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        history()[0].log({"a": 1}, step=2**63)


def test_a_commit_that_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(TypeError, match="must be True, False or None"):
        history()[0].log({"a": 1}, commit="yes")  # type: ignore[arg-type]


def test_a_value_that_cannot_be_stored_uses_up_no_step() -> None:
    log, bodies = history()
    with pytest.raises(TypeError, match="not JSON serializable"):
        log.log({"a": object()})
    log.log({"a": 1})
    assert [row.step for row in rows(bodies)] == [0]


def test_every_kind_of_mapping_is_taken() -> None:
    log, bodies = history()
    for data in (
        types.MappingProxyType({"a": 1}),
        collections.UserDict(a=1),
        collections.ChainMap({"a": 1}),
        collections.OrderedDict(a=1),
    ):
        log.log(data)  # type: ignore[arg-type]
    assert [row.data for row in rows(bodies)] == [{"a": 1}] * 4


def test_values_are_those_of_the_moment_of_the_call() -> None:
    log, bodies = history()
    data: dict = {"list": [1], "dict": {"x": 1}, "bytes": bytearray(b"a")}
    log.log(data)
    data["list"].append(2)
    data["dict"]["x"] = 2
    data["new"] = 3
    assert rows(bodies)[0].data == {"list": [1], "dict": {"x": 1}, "bytes": b"a"}


def test_the_callers_dict_is_left_as_it_is() -> None:
    log, _ = history()
    data = {"a": 2**70, "_step": 3}
    log.log(data)
    assert data == {"a": 2**70, "_step": 3}


@pytest.mark.parametrize(
    ("step", "commit", "closes", "explicit"),
    [(None, None, True, False), (None, False, False, False), (3, None, False, True), (3, True, True, True)],
)
def test_the_body_laid_out_by_hand_is_a_row(
    step: int | None, commit: bool | None, closes: bool, explicit: bool
) -> None:
    log, bodies = history()
    log.log({"a": 1.5}, step, commit)
    row = decode(bodies[0])
    assert isinstance(row, Row)
    assert (row.step, row.data, row.closes, row.explicit) == (step or 0, {"a": 1.5}, closes, explicit)
    assert row.time_ns > 1_600_000_000 * 10**9


def test_steps_rise_in_the_order_of_the_stream_when_threads_log() -> None:
    log, bodies = history()
    begin = threading.Barrier(8)

    def work(name: str) -> None:
        begin.wait(10)
        for value in range(500):
            log.log({name: value})

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    logged = rows(bodies)
    assert [row.step for row in logged] == list(range(4000))
    for index in range(8):
        assert [row.data[f"t{index}"] for row in logged if f"t{index}" in row.data] == list(range(500))


def _logs_within_append(step: int | None) -> list[Row]:
    """Rows when a signal handler logs while `append` runs, as it may between any two bytecodes of a call."""
    entered = 0

    def append(body: bytes, is_row: bool = True) -> bool:
        nonlocal entered
        entered += 1
        if entered == 1:
            signal.raise_signal(signal.SIGUSR1)
        bodies.append(body)
        return True

    bodies: list[bytes] = []
    log, _ = history(append)
    earlier = signal.signal(signal.SIGUSR1, lambda *_: log.log({"handler": 1}))
    try:
        log.log({"main": 1}, step)
        log.log({"main": 2})
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    return rows(bodies)


def test_a_signal_handler_that_logs_within_a_call_neither_deadlocks_nor_disturbs_the_order() -> None:
    logged = _logs_within_append(None)
    assert [(row.step, row.data) for row in logged] == [(0, {"main": 1}), (1, {"handler": 1}), (2, {"main": 2})]


def test_a_signal_handler_that_logs_within_a_call_with_a_step_joins_its_row() -> None:
    logged = _logs_within_append(5)
    assert [(row.step, row.data) for row in logged] == [(5, {"main": 1}), (5, {"handler": 1}), (6, {"main": 2})]


def test_a_value_whose_own_code_logs_does_not_deadlock() -> None:
    log, bodies = history()

    class Talkative(float):
        def __float__(self) -> float:
            log.log({"inner": 1})
            return 2.0

    class Model:
        model_fields: dict = {}

        def model_dump(self) -> dict:
            log.log({"inner": 1})
            return {"x": 1}

    log.log({"outer": Model()})
    assert [(row.step, row.data) for row in rows(bodies)] == [(0, {"inner": 1}), (1, {"outer": {"x": 1}})]


def test_an_interrupt_within_append_leaves_the_log_usable() -> None:
    calls = 0

    def append(body: bytes, is_row: bool = True) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        bodies.append(body)
        return True

    bodies: list[bytes] = []
    log, _ = history(append)
    with pytest.raises(KeyboardInterrupt):
        log.log({"a": 1})
    log.log({"a": 2})
    other = threading.Thread(target=log.log, args=({"a": 3},))
    other.start()
    other.join(10)
    assert not other.is_alive()
    assert [row.data["a"] for row in rows(bodies)] == [2, 3]


def test_a_forked_child_is_silent_says_so_once_and_waits_for_no_lock(capfd: pytest.CaptureFixture[str]) -> None:
    with recording() as recorded:
        run = client.init(project="p")
        run.log({"a": 1})
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with run._history._lock:
                held.set()
                release.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                run.log({"a": 2})
                client.log({"b": 3})
                run.summary["x"] = 1
                run.config.update({"y": 1})
                run.define_metric("a", summary="max")
                run.finish()
                counted = run._history.rows_after_fork == 2 and len(recorded.run.calls) == 1
                os._exit(0 if counted else 1)
            except BaseException:
                os._exit(2)
        release.set()
        holder.join(10)
        _, status = os.waitpid(child, 0)
        run.log({"a": 4})
    assert os.waitstatus_to_exitcode(status) == 0
    assert capfd.readouterr().err.count("was forked") == 1
    assert [call.data for call in recorded.run.calls] == [{"a": 1}, {"a": 4}]


def test_logging_after_finish_is_refused_as_in_wandb() -> None:
    with recording() as recorded:
        run = client.init(project="p", id="abc")
        run.log({"a": 1})
        run.finish(quiet=True)
        for call in (lambda: run.log({"a": 2}), lambda: run.log({"b": 2}, step=9), lambda: run.log(3)):  # type: ignore[arg-type]
            with pytest.raises(UsageError, match=r"Run \(abc\) is finished. The call to `log` will be ignored"):
                call()
        with pytest.raises(client.Error, match=r"You must call wandb.init\(\) before wandb.log\(\)"):
            client.log({"a": 1})
    assert len(recorded.run.calls) == 1


def test_the_number_of_key_sets_kept_for_the_summary_is_bounded() -> None:
    log, _ = history()
    for index in range(1000):
        log.log({f"key{index}": index})
    assert len(log.slots) <= 64
    tree = log.read_summary()
    assert all(tree[f"key{index}"] == index for index in range(1000))


def test_keys_that_had_an_image_take_plain_values_and_images_in_any_order() -> None:
    log, bodies = history()
    image = client.Image(np.zeros((2, 2, 3), dtype="u1"))
    values = [1.5, image, image, 2.5, 3.5, image, 4, 1 << 70, image, "\ud800"]
    for value in values:
        log.log({"v": value, "n": 1})
    kept = [row.data["v"] for row in rows(bodies)]
    assert [type(value) is Media for value in kept] == [value is image for value in values]
    assert [value for value in kept if type(value) is not Media] == [1.5, 2.5, 3.5, 4, 1 << 70, "\ufffd"]


def test_a_row_behind_an_image_is_not_tried_as_a_plain_one_and_one_behind_a_plain_row_is() -> None:
    log, _ = history()
    image = client.Image(np.zeros((2, 2, 3), dtype="u1"))
    told = []
    for value in (1.5, image, image, 2.5, 3.5):
        log.log({"v": value})
        told.append(log.slots[("v",)].rich)
    assert told == [False, True, True, False, False]
