"""`telemetryd push`: what a dead process left on another machine reaches the daemon, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from telemetryd.cli.main import main
from tests.support.daemon import Daemon
from tests.support.fake_daemon import FakeDaemon

LOG_AND_DIE = """
import os, signal
from pathlib import Path
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Row, encode
from client.session import Session
session = Session.open(Hello("cd" * 16, run=RunSpec("r"), pid=os.getpid(), host="elsewhere", start_time_ns=1),
                       endpoint="{endpoint}", spool_dir=Path("{spool}"))
for step in range(1000):
    session.append(encode(Row(step, 1, {{"v": step}})))
if {some_arrive}:
    assert session.wait_acked(20)
    for step in range(1000, 1500):
        session.append(encode(Row(step, 1, {{"v": step}})))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("some_arrive", [False, True])
def test_what_a_dead_process_left_arrives_once_and_its_session_ends(
    isolated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    some_arrive: bool,
) -> None:
    state, spool = isolated / "state" / "telemetryd", isolated / "spool-of-the-node"
    endpoint = f"ipc://{isolated}/d.sock"
    daemon: Daemon = FakeDaemon(tmp_path / "daemon", endpoint, state, state / "spool")
    daemon.start()
    try:
        where = endpoint if some_arrive else f"ipc://{isolated}/none.sock"
        program = LOG_AND_DIE.format(endpoint=where, spool=spool, some_arrive=some_arrive)
        ran = subprocess.run([sys.executable, "-c", program], env=os.environ | {"TELEMETRYD_RAISE": "0"}, check=False)
        assert ran.returncode == -signal.SIGKILL
        monkeypatch.setenv("TELEMETRYD_ENDPOINT", endpoint)
        monkeypatch.setenv("TELEMETRYD_SPOOL_DIR", str(spool))
        assert main(["push"]) == 0
        assert "records delivered" in capsys.readouterr().out
        assert list(spool.iterdir()) == []
        rows = 1500 if some_arrive else 1000
        status = daemon.wait_status(lambda found: found["sessions"] == 0, 20, "the session's end")
        assert status["offered"] == rows
        assert status["counters"]["rows_received"] == rows
        assert main(["push"]) == 0
        assert "nothing of dead processes" in capsys.readouterr().out
    finally:
        daemon.end()


def test_without_a_daemon_the_journal_stays(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from telemetryd.cli import push

    spool = isolated / "spool"
    program = LOG_AND_DIE.format(endpoint=f"ipc://{isolated}/none.sock", spool=spool, some_arrive=False)
    subprocess.run([sys.executable, "-c", program], check=False)
    monkeypatch.setattr(push, "PUSH_TIMEOUT_S", 0.2)
    monkeypatch.setenv("TELEMETRYD_ENDPOINT", f"ipc://{isolated}/none.sock")
    monkeypatch.setenv("TELEMETRYD_SPOOL_DIR", str(spool))
    assert main(["push"]) == 1
    assert "no daemon took it" in capsys.readouterr().out
    assert len(list(spool.iterdir())) == 1
