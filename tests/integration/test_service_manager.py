"""A real daemon under a service manager that listens."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.processes import descendants, wait_until


def test_a_daemon_says_when_it_is_ready_that_it_lives_and_that_it_stops(
    stopped_daemon: Daemon, short_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_path / "notify"))
        manager.settimeout(60)
        environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "6000000"}
        stopped_daemon.start(["--sampling", "always"], environ)
        said = manager.recv(4096).decode()
        assert said == f"READY=1\nMAINPID={stopped_daemon.pid}"
        assert [manager.recv(4096).decode() for _ in range(2)] == ["WATCHDOG=1"] * 2

        children = wait_until(lambda: descendants(stopped_daemon.pid), 30, "the daemon's children")
        for pid in children:
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()

        stopped_daemon.pause()
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # what was on its way
                manager.recv(4096)
        manager.settimeout(4)  # twice the time between two words
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        stopped_daemon.resume()
        manager.settimeout(60)
        assert manager.recv(4096) == b"WATCHDOG=1"

        assert stopped_daemon.stop() == 0
        words = ""
        while words != "STOPPING=1":
            words = manager.recv(4096).decode()
