"""What happens at the caps, and when the spool's disk fails, is removed, or comes back."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import client
from client import guard, policy
from client.journal import reader, segment
from client.journal.blobs import Blobs
from client.journal.file_system import spool_warning
from client.journal.folder import Home, OwnerLock
from client.journal.segment import Segment
from client.journal.supply import Supply
from client.journal.writer import JournalWriter
from client.limits import SEGMENT_BYTES
from client.policy import Policy
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import End, Losses, Row, encode
from client.session import Session
from client.settings import SettingError
from tests.support.daemon_model import DaemonModel
from tests.support.processes import wait_until

SESSION = "0123456789abcdef" * 2
BIG = encode(Row(0, 1, {"text": "x" * 100_000}))
CAP = 8 << 20
_opened: list[Session] = []


@pytest.fixture
def model(short_path: Path) -> Iterator[DaemonModel]:
    daemon = DaemonModel(f"ipc://{short_path}/d.sock")
    yield daemon
    daemon.stop()


@pytest.fixture(autouse=True)
def _close_sessions(no_leaks: None) -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close(0)


def open_session(model: DaemonModel, short_path: Path, **given: object) -> Session:
    chosen = policy.resolve(given, {})
    hello = Hello(SESSION, run=RunSpec("r"))
    session = Session.open(hello, endpoint=model.endpoint, spool_dir=short_path / "spool", policy=chosen)
    _opened.append(session)
    return session


def fill(session: Session) -> int:
    """Log until the cap is reached; the rows kept. The sender may find that it is reached between a look and its
    append: that row is lost, and counted."""
    kept = 0
    while session.writer.has_room(len(BIG)):
        kept += session.writer.append(BIG)
    return kept


def lost(session: Session) -> dict[str, int]:
    """What the session has dropped so far."""
    return dict(session.writer.dropped)


def steps(model: DaemonModel) -> list[int]:
    return [row.step for row in model.rows(SESSION)]


# What can be set


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("TELEMETRYD_SPOOL_MAX_BYTES", "2GiB", "spool_max_bytes", 2 << 30),
        ("TELEMETRYD_SPOOL_MAX_BYTES", "16777216", "spool_max_bytes", 16 << 20),
        ("TELEMETRYD_MEMORY_MAX_BYTES", "20 MB", "memory_max_bytes", 20_000_000),
        ("TELEMETRYD_ON_FULL", "block", "on_full", "block"),
        ("TELEMETRYD_ON_FULL_TIMEOUT_S", "2min", "on_full_timeout_s", 120.0),
        ("TELEMETRYD_STOP_SIGNAL", "SIGUSR1", "stop_signal", signal.SIGUSR1),
        ("TELEMETRYD_STOP_SIGNAL", "none", "stop_signal", None),
    ],
)
def test_a_policy_is_read_from_the_environment(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(policy.resolve({}, {variable: text}), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TELEMETRYD_SPOOL_MAX_BYTES", "plenty"),
        ("TELEMETRYD_SPOOL_MAX_BYTES", "1KiB"),
        ("TELEMETRYD_ON_FULL", "explode"),
        ("TELEMETRYD_ON_FULL_TIMEOUT_S", "-3"),
        ("TELEMETRYD_STOP_SIGNAL", "SIGKILL"),
    ],
)
def test_a_bad_variable_is_the_users_mistake_and_named_at_init(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch, short_path: Path
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingError, match=f"{variable}='{text}'"):
        client.init(mode="offline")
    assert not (short_path / "state" / "telemetryd").exists(), "nothing was opened"


def test_settings_given_to_init_win_over_the_environment_and_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = client.Settings(on_full="block", on_full_timeout_s="5s", run_group="g")
    environ = {"TELEMETRYD_ON_FULL": "drop", "TELEMETRYD_SPOOL_MAX_BYTES": "1GiB"}
    resolved = policy.resolve(given.given(), environ)
    assert resolved == Policy(on_full="block", on_full_timeout_s=5.0, spool_max_bytes=1 << 30)
    with pytest.raises(SettingError, match="on_drop"):
        client.init(mode="offline", settings=client.Settings(on_drop="no function"))


def test_the_launchers_session_ignores_a_bad_variable_and_says_so(
    model: DaemonModel, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRYD_ON_FULL", "explode")
    session = Session.open(Hello(SESSION), endpoint=model.endpoint, spool_dir=short_path / "spool")
    assert session.policy == Policy()
    session.close(0)
    assert [where for where, _ in guard.raised] == ["session.policy"]
    guard.raised.clear()


# At the caps


def test_block_waits_for_room_and_loses_nothing_once_a_daemon_takes_rows(model: DaemonModel, short_path: Path) -> None:
    session = open_session(model, short_path, on_full="block", on_full_timeout_s=20, spool_max_bytes=CAP)
    kept = fill(session)
    before = lost(session)
    waiting = threading.Thread(target=lambda: session.append(BIG))
    waiting.start()
    assert waiting.is_alive()
    model.start()
    waiting.join(15)
    assert not waiting.is_alive()
    for _ in range(kept):
        assert session.append(BIG)
    assert session.close(10)
    assert session.ledger == (2 * kept + 1 + sum(before.values()), 2 * kept + 1, 0, before)
    assert len(model.rows(SESSION)) == 2 * kept + 1


def test_block_drops_and_counts_when_its_time_is_over(model: DaemonModel, short_path: Path) -> None:
    session = open_session(model, short_path, on_full="block", on_full_timeout_s=0.3, spool_max_bytes=CAP)
    kept = fill(session)
    before = lost(session).get("spool_full", 0)
    began_s = time.monotonic()
    assert session.append(BIG) is False
    assert 0.3 <= time.monotonic() - began_s < 3
    assert session.ledger == (kept + before + 1, 0, kept, {"spool_full": before + 1})
    session.close(0)


def test_drop_never_waits_at_the_cap(model: DaemonModel, short_path: Path) -> None:
    session = open_session(model, short_path, spool_max_bytes=CAP)
    fill(session)
    began_s = time.monotonic()
    for _ in range(1000):
        session.append(BIG)
    assert time.monotonic() - began_s < 1
    session.close(0)


def test_memory_and_disk_together_stay_within_their_caps(model: DaemonModel, short_path: Path) -> None:
    session = open_session(model, short_path, spool_max_bytes=CAP, memory_max_bytes=CAP)
    fill(session)
    held = sum(one.size for one in session.writer.segments())
    assert held <= CAP + CAP + (4 << 20)
    session.close(0)
    on_disk = sum(path.stat().st_size for path in (short_path / "spool" / SESSION).glob("*.seg"))
    assert on_disk <= CAP + CAP + (4 << 20)


def test_near_the_cap_large_records_are_dropped_before_small_ones(model: DaemonModel, short_path: Path) -> None:
    session = open_session(model, short_path, spool_max_bytes=32 << 20, memory_max_bytes=CAP)
    large = encode(Row(0, 1, {"text": "x" * (1 << 20)}))
    wait_until(lambda: session.append(large) is False, 10, "the first large record that is dropped")
    assert session.writer.has_room(1000)
    assert session.append(encode(Row(1, 1, {"loss": 1.0})))
    session.close(0)


def test_a_run_at_its_cap_still_ends_and_tells_what_was_lost_before_its_end(
    model: DaemonModel, short_path: Path
) -> None:
    session = open_session(model, short_path, spool_max_bytes=CAP, memory_max_bytes=CAP)
    kept = fill(session)
    while session.append(encode(Row(0, 1, {"loss": 1.0}))):  # what is left of the last segment
        kept += 1
    lost = sum(session.ledger.dropped.values())
    session.record(End(time.time_ns(), 3))
    model.start()
    assert session.close(15)
    assert model.kept[SESSION][-1] == End(model.kept[SESSION][-1].time_ns, 3)  # type: ignore[union-attr]
    told = [record for record in model.kept[SESSION] if isinstance(record, Losses)]
    assert sum(record.rows["spool_full"] for record in told) == lost
    assert len(model.rows(SESSION)) == kept


# The disk


def test_a_spool_that_is_removed_is_made_again_with_everything_that_is_not_acked(
    model: DaemonModel, short_path: Path
) -> None:
    session = open_session(model, short_path)
    folder = short_path / "spool" / SESSION
    for step in range(1000):
        session.append(encode(Row(step, 1, {"loss": 0.5})))
    shutil.rmtree(short_path / "spool")
    for step in range(1000, 1100):
        session.append(encode(Row(step, 1, {"loss": 0.5})))
    wait_until(lambda: (folder / "hello.msgpack").exists() and session.disk_trouble is None, 10, "the folder made anew")
    assert {where for where, _ in guard.raised} == {"journal.disk"}
    assert any("removed" in str(error) for _, error in guard.raised)
    guard.raised.clear()
    assert OwnerLock.take(folder) is None, "the new folder is locked by its owner"
    for step in range(1100, 1200):
        session.append(encode(Row(step, 1, {"loss": 0.5})))
    content = reader.read_spool(folder)
    assert [number for stretch in content.stretches() for number in (stretch.first, stretch.last)][-1] == 1200
    assert sum(stretch.last - stretch.first + 1 for stretch in content.stretches()) == 1200
    model.start()
    assert session.close(10)
    assert steps(model) == list(range(1200))
    assert not folder.exists()


def test_a_spool_that_stays_away_costs_nothing_while_a_daemon_answers(model: DaemonModel, short_path: Path) -> None:
    model.start()
    session = open_session(model, short_path)
    assert session.wait_connected(10)
    shutil.rmtree(short_path / "spool")
    (short_path / "spool").write_text("in the way")
    wait_until(lambda: session.disk_trouble, 10, "the trouble")
    for step in range(30_000):
        assert session.append(encode(Row(step, 1, {"loss": 0.5, "text": "x" * 500})))
    assert session.close(20)
    assert steps(model) == list(range(30_000))
    assert {where for where, _ in guard.raised} == {"journal.disk"}
    guard.raised.clear()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_no_room_no_inodes_and_read_only_are_one_path_and_end_when_the_disk_is_back(
    model: DaemonModel, short_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = segment.os.open

    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(segment.os, "open", refuse)
    monkeypatch.setattr("client.session._first_segment", lambda *_: None)
    hello = Hello(SESSION, run=RunSpec("r"))
    monkeypatch.setattr("client.journal.folder.Home.make", refuse)
    session = Session.open(hello, endpoint=model.endpoint, spool_dir=short_path / "spool", policy=Policy())
    for step in range(100):
        assert session.append(encode(Row(step, 1, {"loss": 0.5})))
    assert os.strerror(number) in (session.disk_trouble or "")
    monkeypatch.undo()
    assert segment.os.open is real
    wait_until(lambda: session.disk_trouble is None, 10, "the end of the trouble")
    assert session.close(0.2) is False
    content = reader.read_spool(short_path / "spool" / SESSION)
    assert [(stretch.first, stretch.last) for stretch in content.stretches()] == [(1, 100)]
    guard.raised.clear()


def test_no_call_waits_for_the_sender_while_the_disk_gives_no_segment(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(short_path / "spool", Hello(SESSION, run=RunSpec("r")))
    home.make()
    identity = bytes.fromhex(SESSION)
    writer = JournalWriter(identity, Segment.in_file(home.path / "00000001.seg", SEGMENT_BYTES, identity))
    supply = Supply(writer, Blobs(lambda: None), home, 1 << 30)
    supply.tend(0, 0.0)
    assert writer.fed

    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_two() -> int:
        for _ in range(2 * SEGMENT_BYTES // len(BIG)):
            assert writer.append(BIG)
        return writer.sequence

    monkeypatch.setattr(segment.os, "open", refuse)
    acked = fill_two()
    supply.tend(0, 10.0)
    assert (len(writer.spares), writer.fed) == (1, False)
    supply.tend(acked, 10.1)  # before the disk is tried again
    assert (len(writer.spares), writer.fed) == (3, False), "what is acked is used again, and nothing else comes"
    monkeypatch.undo()
    supply.tend(fill_two(), 20.0)
    assert writer.fed
    writer.close("closed")
    supply.close()
    writer.release()
    home.release()
    guard.raised.clear()


def test_a_spool_in_memory_or_on_a_network_is_told() -> None:
    mounts = "/dev/sda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\nserver:/x /home nfs4 rw 0 0\n"
    assert "gone after a restart" in (spool_warning(Path("/dev/shm/spool"), mounts) or "")
    assert "network" in (spool_warning(Path("/home/me/spool"), mounts) or "")
    assert spool_warning(Path("/var/spool"), mounts) is None


@pytest.mark.skipif(spool_warning(Path("/dev/shm")) is None, reason="/dev/shm is no tmpfs here")
def test_a_session_on_tmpfs_says_so_once_on_stderr(
    model: DaemonModel, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.session._spool_told", False)
    model.start()
    spool = Path("/dev/shm") / f"telemetryd-test-{os.getpid()}"
    try:
        for number in range(2):
            hello = Hello(f"{number}" * 32, run=RunSpec("r"))
            session = Session.open(hello, endpoint=model.endpoint, spool_dir=spool, policy=Policy())
            assert session.wait_connected(10)
            assert session.close(10)
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    assert capfd.readouterr().err.count("is in memory (tmpfs)") == 1


# The clock


def test_delivery_does_not_depend_on_the_wall_clock(short_path: Path) -> None:
    """With a clock that jumps by years at every look, rows arrive, in order, with the times that the clock gave."""
    program = f"""
import itertools, sys, time
from pathlib import Path
jumps = itertools.cycle([4e9, 1.0, 2e9, 5e8])
time.time = lambda: next(jumps)
time.time_ns = lambda: int(next(jumps) * 1e9)
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Row, encode
from client.session import Session
from tests.support.daemon_model import DaemonModel
model = DaemonModel("ipc://{short_path}/d.sock")
session = Session.open(Hello({SESSION!r}, run=RunSpec("r")), endpoint=model.endpoint,
                       spool_dir=Path({str(short_path)!r}) / "spool")
for step in range(500):
    session.append(encode(Row(step, time.time_ns(), {{}})))
model.start()
done = session.close(15)
model.stop()
rows = model.rows({SESSION!r})
assert done and [row.step for row in rows] == list(range(500)), (done, len(rows))
assert {{row.time_ns for row in rows}} == {{int(t * 1e9) for t in (4e9, 1.0, 2e9, 5e8)}}
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
