"""on_drop, on_error and on_lag: called for what happened, on a thread that can hurt nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import client
from client import callbacks, guard, policy
from client.callbacks import Figures, Lookout
from client.errors import NoAnswerError
from client.protocol.errors import ProtocolError
from client.protocol.messages import Hello, Report, RunSpec
from client.protocol.records import Row, encode
from client.session import Session
from tests.support.daemon_model import DaemonModel
from tests.support.processes import wait_until

SESSION = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "WATCH_PERIOD_S", 0.02)


@pytest.fixture
def model(short_path: Path) -> Iterator[DaemonModel]:
    daemon = DaemonModel(f"ipc://{short_path}/d.sock")
    yield daemon
    daemon.stop()


def open_session(model: DaemonModel, short_path: Path, **given: object) -> Session:
    hello = Hello(SESSION, run=RunSpec("r"))
    chosen = policy.resolve(given, {})
    return Session.open(hello, endpoint=model.endpoint, spool_dir=short_path / "spool", policy=chosen)


def test_on_drop_is_told_every_lost_row_once_and_by_reason(model: DaemonModel, short_path: Path) -> None:
    told: list[dict[str, int]] = []
    session = open_session(model, short_path, on_drop=told.append)
    for _ in range(3):
        session.append(bytes((16 << 20) + 1))
    wait_until(lambda: told, 5, "the callback")
    session.append(bytes((16 << 20) + 1))
    session.close(0)
    assert sum(rows["too_large"] for rows in told) == 4, told
    assert {thread.name for thread in threading.enumerate()} & {"telemetryd-watch"} == set()


def test_what_the_daemon_loses_is_told_too(model: DaemonModel, short_path: Path) -> None:
    told: list[dict[str, int]] = []
    session = open_session(model, short_path, on_drop=told.append)
    session._sender.report = Report(SESSION, "running", dropped={"refused": 2})
    wait_until(lambda: told == [{"refused": 2}], 5, lambda: str(told))
    session.close(0)
    assert told == [{"refused": 2}]


def test_on_error_hears_of_the_disk_and_of_w_and_b(model: DaemonModel, short_path: Path) -> None:
    told: list[tuple[str, str]] = []
    session = open_session(model, short_path, on_error=lambda where, text: told.append((where, text)))
    guard.swallow("journal.disk", OSError(28, "No space left on device"))
    session._sender.report = Report(SESSION, "refused", trouble="the key is wrong")
    wait_until(lambda: len(told) == 2, 5, lambda: str(told))
    session.close(0)
    assert dict(told) == {"journal.disk": "OSError: [Errno 28] No space left on device", "delivery": "the key is wrong"}
    guard.raised.clear()


def test_on_lag_is_told_when_pending_rows_stand_still(
    model: DaemonModel, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "LAG_AFTER_S", 0.2)
    told: list[tuple[int, float]] = []
    session = open_session(model, short_path, on_lag=lambda pending, behind_s: told.append((pending, behind_s)))
    for step in range(5):
        session.append(encode(Row(step, 1, {})))
    wait_until(lambda: len(told) >= 2, 5, "two calls")
    model.start()
    assert session.close(10)
    assert told[0][0] == 5
    assert told[0][1] >= 0.2
    assert told[1][1] - told[0][1] >= 0.15, "not oftener than that"


def test_a_callback_that_raises_or_hangs_harms_nobody(model: DaemonModel, short_path: Path) -> None:
    model.start()
    release = threading.Event()

    def hang(_: object) -> None:
        release.wait(30)
        raise RuntimeError("from a callback")

    session = open_session(model, short_path, on_drop=hang)
    session.append(bytes((16 << 20) + 1))
    began_s = time.monotonic()
    for step in range(5000):
        assert session.append(encode(Row(step, 1, {})))
    assert session.wait_acked(10)
    assert session.close(10)
    assert time.monotonic() - began_s < 10
    release.set()
    wait_until(lambda: guard.raised, 5, "the swallowed error")
    assert [where for where, _ in guard.raised] == ["callback.on_drop"]
    guard.raised.clear()


def test_a_callback_may_log_and_finish_without_a_deadlock(short_path: Path) -> None:
    """Whatever the callback does with the run is an ordinary call from another thread."""
    done = threading.Event()

    def on_drop(rows: dict[str, int]) -> None:
        run.log({"lost": sum(rows.values())})
        run.finish(quiet=True)
        done.set()

    run = client.init(mode="offline", settings=client.Settings(on_drop=on_drop, silent=True))
    run.log({"text": "x" * ((16 << 20) + 1)})
    assert done.wait(10)


def test_a_session_without_callbacks_has_no_such_thread(model: DaemonModel, short_path: Path) -> None:
    session = open_session(model, short_path)
    assert "telemetryd-watch" not in {thread.name for thread in threading.enumerate()}
    session.close(0)


def test_lag_is_counted_from_the_last_progress() -> None:
    lookout = Lookout()
    step = callbacks.LAG_AFTER_S / 4
    assert [lookout.behind_s(Figures({}, 5, 7, None), 100 + i * step) is not None for i in range(6)] == [
        False, False, False, False, True, False,
    ]  # fmt: skip
    assert lookout.behind_s(Figures({}, 5, 8, None), 200) is None, "it moved"
    assert lookout.behind_s(Figures({}, 0, 8, None), 300) is None, "nothing is pending"
    assert lookout.behind_s(Figures({}, 3, 8, None), 300 + step) is None


def test_errors_from_before_the_session_are_not_told(model: DaemonModel, short_path: Path) -> None:
    guard.swallow("sender.receive", ProtocolError("old"))
    told: list[tuple[str, str]] = []
    session = open_session(model, short_path, on_error=lambda where, text: told.append((where, text)))
    guard.swallow("sender.turn", NoAnswerError("new"))
    wait_until(lambda: told, 5, "the callback")
    session.close(0)
    assert told == [("sender.turn", "NoAnswerError: new")]
    guard.raised.clear()
