"""`telemetryd status`: with a daemon, without one, for a person and for a program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from client.journal import folder as spool_folder
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Row
from client.session import Session
from telemetryd.cli import exit_codes
from telemetryd.health.counters import KNOWN
from tests.support.daemon import Daemon
from tests.support.terminal import Terminal
from tests.support.wire_daemon import WireDaemon

LEDGER = ("offered", "delivered", "dropped", "pending")


def status(*arguments: str) -> tuple[int, str]:
    line = [sys.executable, "-m", "telemetryd", "status", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_daemon_is_shown_as_json_with_its_ledger(daemon: Daemon) -> None:
    code, told = status("--json")
    answer = json.loads(told)
    assert code == exit_codes.OK
    assert answer["daemon"]["pid"] == daemon.pid
    assert [answer[name] for name in LEDGER] == [0, 0, {}, 0]
    assert answer["runs"] == []
    assert set(answer["counters"]) == set(KNOWN)


def test_a_daemon_is_shown_to_a_person(daemon: Daemon) -> None:
    code, told = status()
    assert code == exit_codes.OK
    assert f"serves {daemon.endpoint} (process {daemon.pid}, up " in told
    assert str(daemon.state_dir) in told
    assert "no runs yet" in told
    assert "0 open" in told
    assert "reception ok" in told


def test_runs_troubles_components_and_counters_that_are_not_zero_are_shown(isolated: Path) -> None:
    run = {"state": "running", "delivered": 0, "dropped": {}, "mode": "offline", "directory": "/x/[run]-1"}
    answer = {
        "daemon": {"pid": 77, "version": "9.9", "endpoint": "ipc:///x", "started_ns": time.time_ns() - 7530 * 10**9},
        "offered": 1500, "delivered": 1200, "dropped": {"corrupt": 3}, "pending": 297, "sessions": 2,
        "runs": [
            {**run, "key": "me/p/aa11", "name": "first", "offered": 1000, "delivered": 1000, "pending": 0},
            {**run, "key": "me/p/bb22", "state": "refused", "offered": 500, "delivered": 200, "dropped": {"corrupt": 3},
             "pending": 297, "trouble": "W&B answers 401: mend the key"},
        ],
        "components": {"reception": {"state": "ok", "reason": None},
                       "inbox": {"state": "recoverable", "reason": "the disk is full"}},
        "counters": {"rows_received": 1500, "refused_gap": 0},
    }  # fmt: skip
    with WireDaemon(f"ipc://{isolated}/run/telemetryd/daemon.sock") as fake:
        fake.replies["status"] = lambda args: answer
        code, told = status()
    assert code == exit_codes.OK
    lines = [line.split() for line in told.splitlines()]
    assert ["first", "(aa11)", "running", "1,000", "1,000", "0", "0"] in lines
    assert ["bb22", "refused", "500", "200", "3", "297"] in lines
    assert lines.count(["/x/[run]-1"]) == 2
    assert ["all", "1,500", "1,200", "3", "297"] in lines
    assert "  ! W&B answers 401: mend the key" in told
    assert "up 2 h 5 min" in told
    assert "2 open" in told
    assert "! inbox: the disk is full" in told
    assert ["1,500", "rows_received"] in lines
    assert "refused_gap" not in told


def test_the_shares_of_several_processes_in_a_run_are_shown_and_those_of_a_single_one_are_not(isolated: Path) -> None:
    def share(pid: int, offered: int) -> dict[str, Any]:
        counts = {"offered": offered, "delivered": offered - 2, "dropped": {"late": 1}, "pending": 1}
        return {"session": "a" * 32, "pid": pid, "host": "node[7]", "state": "open", **counts}

    run = {"key": "//r", "state": "running", "offered": 30, "delivered": 26, "dropped": {"late": 2}, "pending": 2}
    answer = {**run, "daemon": {"pid": 77}, "sessions": 2, "components": {}, "counters": {}}
    runs = [{**run, "processes": [share(11, 10), share(12, 20)]}, {**run, "key": "//s", "processes": [share(13, 30)]}]
    many = {**run, "key": "//t", "processes": [share(pid, 9) for pid in range(100, 130)]}
    with WireDaemon(f"ipc://{isolated}/run/telemetryd/daemon.sock") as fake:
        fake.replies["status"] = lambda args: {**answer, "runs": [*runs, many]}
        _, told = status()
    lines = [line.split() for line in told.splitlines()]
    assert ["11", "on", "node[7]", "open", "10", "8", "1", "1"] in lines
    assert ["12", "on", "node[7]", "open", "20", "18", "1", "1"] in lines
    assert not any(line[:1] == ["13"] for line in lines)
    assert ["and", "14", "earlier", "processes:", "--json"] in lines


def test_without_a_daemon_the_exit_code_is_3_and_it_says_how_to_start_one(isolated: Path) -> None:
    code, told = status()
    assert code == exit_codes.NO_DAEMON
    assert f"no daemon at ipc://{isolated}/run/telemetryd/daemon.sock" in told
    assert "`telemetryd serve`" in told
    assert "`telemetryd run -- python train.py`" in told
    assert not (isolated / "state" / "telemetryd").exists(), "looking makes nothing"


def test_without_a_daemon_the_json_has_the_same_ledger(isolated: Path) -> None:
    code, told = status("--json")
    answer = json.loads(told)
    assert code == exit_codes.NO_DAEMON
    assert answer["daemon"] is None
    assert [answer[name] for name in LEDGER] == [0, 0, {}, 0]


def test_without_a_daemon_it_tells_what_spool_and_inbox_hold(stopped_daemon: Daemon) -> None:
    daemon = stopped_daemon.start(env={"TELEMETRYD_MAX_WORKERS": "1"})
    spec = RunSpec("run1", project="p", directory=str(daemon.folder), mode="offline")
    hello = Hello("cd" * 16, run=spec, pid=1, host="far", start_time_ns=1)
    session = Session.open(hello, endpoint=daemon.endpoint, spool_dir=daemon.spool_dir)
    from client.protocol.records import encode

    for step in range(50):
        session.append(encode(Row(step, 1, {"a": step})), is_row=True)
    assert session.wait_acked(20)
    daemon.kill()
    for name in ("ab", "ef"):
        _, lock = spool_folder.create(daemon.spool_dir, Hello(name * 16, run=spec))
        if name == "ab":
            lock.release()
    try:
        code, told = status("--json")
        answer = json.loads(told)
        assert code == exit_codes.NO_DAEMON
        assert answer["offered"] == 50
        assert answer["pending"] + answer["delivered"] == 50
        assert [run["key"] for run in answer["runs"]] == ["/p/run1"]
        assert answer["spool"]["sessions"] == 3
        assert answer["spool"]["living"] == 2
        assert answer["spool"]["bytes"] > 0
        _, page = status()
        assert "3 journals" in page
        assert "2 of living processes, 1 left by dead ones" in page
        assert "the next daemon on these folders delivers what is pending" in page
    finally:
        lock.release()
        session.close(0)


def test_an_inbox_that_cannot_be_read_is_told(isolated: Path) -> None:
    state = isolated / "state" / "telemetryd"
    state.mkdir(parents=True)
    (state / "inbox.sqlite3").write_bytes(b"no database at all" * 1000)
    code, told = status()
    assert code == exit_codes.NO_DAEMON
    assert f"the inbox {state}/inbox.sqlite3 cannot be read" in told


def test_a_daemon_that_does_not_answer_is_told_apart_from_none(isolated: Path) -> None:
    with WireDaemon(f"ipc://{isolated}/run/telemetryd/daemon.sock") as fake:
        fake.mute = True
        code, told = status()
    assert code == exit_codes.NO_DAEMON
    assert "a daemon listens and does not answer" in told
    assert "telemetryd doctor" in told


@pytest.mark.parametrize("columns", [60, 200])
def test_it_is_whole_on_narrow_and_wide_terminals(daemon: Daemon, columns: int) -> None:
    with Terminal([sys.executable, "-m", "telemetryd", "status"], size=(24, columns)) as terminal:
        assert terminal.wait() == 0
    assert "no runs yet" in terminal.text
