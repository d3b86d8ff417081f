"""What W&B has confirmed leaves the inbox and its file; a stop does not wait for a stuck worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.protocol.records import Row
from telemetryd.limits import INBOX_WAL_KEEP_BYTES
from tests.support.fake_daemon import FakeDaemon
from tests.support.processes import alive, command_line, descendants, wait_until
from tests.support.wire_client import WireClient

WORKER = "tests.support.fake_worker"
MIB = 1 << 20


@pytest.fixture
def fake(isolated: Path, tmp_path: Path) -> Iterator[FakeDaemon]:
    state = isolated / "state" / "t"
    daemon = FakeDaemon(tmp_path / "daemon", f"ipc://{isolated / 'run'}/d.sock", state, state / "spool")
    yield daemon
    daemon.end()


def workers(daemon: FakeDaemon) -> set[int]:
    return {pid for pid in descendants(daemon.pid) if alive(pid) and WORKER in command_line(pid)}


def test_after_fifty_megabytes_were_delivered_the_inbox_is_small_again(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "refuse"})
    inbox = fake.state_dir / "inbox.sqlite3"
    rows = [Row(step, 0, {"text": "x" * 100_000}) for step in range(10)]
    with WireClient(fake.endpoint) as client:
        client.hello()
        for _ in range(50):
            client.send(*rows)
            client.wait_acked()
    wait_until(lambda: inbox.stat().st_size + Path(f"{inbox}-wal").stat().st_size > 50 * MIB, 20, "a large inbox")
    assert fake.stop() == 0
    assert inbox.stat().st_size > 45 * MIB
    fake.start(env={"FAKE_WORKER": ""})
    wait_until(lambda: len(fake.delivered()) == 500, 20, lambda: str(len(fake.delivered())))
    wait_until(lambda: fake.status()["delivered"] == 500, 20, "the confirmation")
    wal = Path(f"{inbox}-wal")

    def small() -> bool:
        return inbox.stat().st_size < 4 * MIB and wal.stat().st_size <= INBOX_WAL_KEEP_BYTES

    wait_until(small, 30, lambda: f"{inbox.stat().st_size} and {wal.stat().st_size} bytes")
    assert fake.stop() == 0
    assert inbox.stat().st_size < 4 * MIB
    assert not wal.exists()


def test_sigterm_with_a_stopped_worker_exits_with_0_and_a_count_and_leaves_no_process(fake: FakeDaemon) -> None:
    fake.start(["--drain-timeout", "1"])
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(Row(0, 0, {}))
        (worker,) = wait_until(lambda: workers(fake), 20, "a worker")
        wait_until(lambda: fake.status()["delivered"] == 1, 20, "the first row")
        os.kill(worker, signal.SIGSTOP)
        client.send(*[Row(step, 0, {}) for step in range(1, 6)])
        client.wait_acked()
        began_s = time.monotonic()
        assert fake.stop(20) == 0
        assert time.monotonic() - began_s < 10
    assert "0 rows delivered" in fake.told() or "1 rows delivered" in fake.told()
    assert "5 pending, kept in" in fake.told()
    assert not alive(worker)
    fake.start()
    wait_until(lambda: fake.status()["delivered"] == 6, 20, lambda: str(fake.status()))


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_of_either_kind_is_faster(fake: FakeDaemon, second: signal.Signals) -> None:
    fake.start(["--drain-timeout", "100"], env={"FAKE_WORKER": "lame"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(Row(0, 0, {}))
        client.wait_acked()
        wait_until(lambda: workers(fake), 20, "a worker")
        os.kill(fake.pid, signal.SIGTERM)
        wait_until(lambda: fake.status()["components"]["reception"]["state"] == "stopping", 10)
        began_s = time.monotonic()
        os.kill(fake.pid, second)
        assert fake.spawned is not None
        assert fake.spawned.wait(20) == 0
        assert time.monotonic() - began_s < 10
    assert "1 pending, kept in" in fake.told()
